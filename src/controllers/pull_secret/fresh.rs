//! When Secrets are renewed. Nothing here does I/O or looks at a clock.
//!
//! A token is renewed when half of its life is over; the Secrets that share it follow over another twelfth, each at its
//! turn. So AWS and the API server are not asked by all at once, and AWS may be away for hours before anything expires.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use crate::controllers::schedule::share;
use crate::ecr::Token;

/// Over which part of a token's life the Secrets that share it are renewed.
const SPREAD: i32 = 12;

/// In how many turns: those of one turn are written in one go.
const TURNS: i32 = 60;

/// The longest wait until Secrets are looked at again: clocks are set, and machines sleep.
const LONGEST: Duration = Duration::from_secs(3600);

/// When a Secret with this token is due. `seed` tells Secrets apart.
pub(super) fn renew_at(token: &Token, seed: &str) -> Timestamp {
    let life = token.issued_at.duration_until(token.expires_at);
    let turn = (share(seed, 0) * f64::from(TURNS)) as i32;
    token.renew_at() + life / SPREAD / TURNS * turn
}

/// Until the first Secret is due.
pub(super) fn until_due(renew_at: Option<Timestamp>, now: Timestamp) -> Duration {
    let Some(renew_at) = renew_at else { return LONGEST };
    Duration::try_from(now.duration_until(renew_at)).unwrap_or_default().clamp(Duration::from_secs(1), LONGEST)
}

#[cfg(test)]
#[path = "fresh_tests.rs"]
mod tests;
