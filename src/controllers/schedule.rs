//! When an object is looked at again.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::failure::{Failure, Retry};

/// How often things are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    /// How often a registry's repositories are listed, and what else is ready is compared with AWS again.
    pub resync: Duration,
    /// How often a repository is compared with what the list does not show: tags and policies.
    pub audit: Duration,
    /// How often a stalled object is tried again.
    pub stalled: Duration,
    /// The longest delay between retries of a failure that may pass.
    pub longest_backoff: Duration,
}

/// How many times in a row each object has failed.
#[derive(Debug, Default)]
pub struct Retries(Mutex<HashMap<String, Failures>>);

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Timestamp,
}

/// What has not failed for so long is gone: everything is tried again long before.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_hours(48);
/// With fewer objects than this that have failed nothing is forgotten.
const MANY_FAILURES: usize = 1024;

impl Retries {
    /// The delay before the next try of the object with this UID.
    pub fn failed(&self, uid: &str, failure: &Failure, intervals: &Intervals, now: Timestamp) -> Duration {
        let failures = {
            let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if counts.len() >= MANY_FAILURES && counts.len().is_power_of_two() {
                counts.retain(|_, failures| failures.last > now - FORGOTTEN_AFTER);
            }
            let failures = counts.entry(uid.to_owned()).or_insert(Failures { count: 0, last: now });
            *failures = Failures { count: failures.count.saturating_add(1), last: now };
            failures.count
        };
        match failure.retry {
            Retry::Backoff => jittered(backoff(failures, intervals.longest_backoff), uid, u64::from(failures)),
            Retry::At(time) => {
                let wait = Duration::try_from(now.duration_until(time)).unwrap_or_default().max(Duration::from_secs(1));
                // A tenth of hours would be long to wait for nothing.
                let spread = wait.min(SPREAD);
                wait + jittered(spread, uid, 0) - spread
            }
            Retry::Stalled => jittered(intervals.stalled, uid, 0),
        }
    }

    /// Forgets the failures of the object with this UID: it succeeded, or it is gone.
    pub fn succeeded(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

/// What waits for the same named time goes on within a tenth of this.
const SPREAD: Duration = Duration::from_secs(300);

/// 1 s, 2 s, 4 s, ... up to `longest`.
fn backoff(failures: u32, longest: Duration) -> Duration {
    Duration::from_secs(1 << (failures.saturating_sub(1)).min(16)).min(longest)
}

/// The duration plus up to a tenth, the same for the same seed and turn: what starts together does not stay together.
pub fn jittered(duration: Duration, seed: &str, turn: u64) -> Duration {
    duration + duration.mul_f64(share(seed, turn) / 10.0)
}

/// A number from 0 to less than 1, the same for the same seed and turn, and spread evenly over seeds.
pub fn share(seed: &str, turn: u64) -> f64 {
    let mut hasher = DefaultHasher::new();
    (seed, turn).hash(&mut hasher);
    (hasher.finish() % 1000) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::conditions::Reason;

    const INTERVALS: Intervals = Intervals {
        resync: Duration::from_secs(600),
        audit: Duration::from_secs(3600),
        stalled: Duration::from_secs(300),
        longest_backoff: Duration::from_secs(60),
    };

    fn delay(retries: &Retries, failure: &Failure) -> u64 {
        retries.failed("uid", failure, &INTERVALS, Timestamp::UNIX_EPOCH).as_secs()
    }

    #[test]
    fn retries_wait_twice_as_long_each_time_up_to_the_limit() {
        let retries = Retries::default();
        let failure = Failure::transient(Reason::Throttled, "");
        let delays: Vec<u64> = (0..10).map(|_| delay(&retries, &failure)).collect();
        for (delay, least) in delays.iter().zip([1, 2, 4, 8, 16, 32, 60, 60, 60, 60]) {
            assert!((least..=least + least / 10).contains(delay), "{delays:?}");
        }
    }

    #[test]
    fn objects_that_are_gone_are_forgotten_and_others_are_not() {
        let retries = Retries::default();
        let fail =
            |uid: &str, now| retries.failed(uid, &Failure::transient(Reason::Throttled, ""), &INTERVALS, now).as_secs();
        let (before, now) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + FORGOTTEN_AFTER);
        for number in 0..MANY_FAILURES - 1 {
            fail(&number.to_string(), before);
        }
        fail("lives", now - SignedDuration::from_hours(1));
        fail("new", now);
        assert_eq!(retries.0.lock().unwrap().len(), 2);
        assert_eq!(fail("lives", now), 2);
    }

    #[test]
    fn a_success_starts_the_count_anew() {
        let retries = Retries::default();
        let failure = Failure::transient(Reason::Throttled, "");
        delay(&retries, &failure);
        delay(&retries, &failure);
        retries.succeeded("uid");
        assert_eq!(delay(&retries, &failure), 1);
    }

    #[test]
    fn a_stalled_object_waits_for_the_long_interval_at_once() {
        let delay = delay(&Retries::default(), &Failure::stalled(Reason::AccessDenied, ""));
        assert!((300..=330).contains(&delay));
    }

    #[test]
    fn a_named_time_is_waited_for() {
        let at = Timestamp::from_second(1000).expect("in range");
        let failure = Failure { reason: Reason::RateLimited, message: String::new(), retry: Retry::At(at) };
        assert!((1000..=1030).contains(&delay(&Retries::default(), &failure)));
    }
}
