//! A registry's pull budget, shared by all who read from it with the same credentials.
//!
//! Docker Hub lets so many manifests be read in a window, and tells with each answer about a manifest how many are left;
//! others do it with the same headers. A [`PullBudget`] is what is known of one such budget. Who reads has a [`Purse`] of
//! it, which an [`Engine`](crate::Engine) spends from: what an image needs is reserved before it is asked for, and what is
//! not there is not asked for.
//!
//! `HEAD` is free. An image is one pull, an index one for each of its platforms: the first of them comes with the index.

mod ledger;
mod pulls;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::digest::Digest;
use crate::engine::request::RateLimit;
use ledger::{Claimant, Ledger, Told};
pub(crate) use pulls::Pulls;

/// How many images are remembered that turned out to need more than one pull.
const MANY_COSTS: usize = 2_000;

/// What of a budget is left for others: so many pulls, or so much of the limit, whichever is more. Default: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    /// So many pulls.
    pub pulls: u64,
    /// So much of the limit, in percent.
    pub percent: u8,
}

impl Floor {
    /// How many pulls of a limit are left for others.
    #[must_use]
    pub fn kept(&self, limit: u64) -> u64 {
        let share = (limit.saturating_mul(u64::from(self.percent.min(100)))).div_ceil(100);
        self.pulls.max(share).min(limit)
    }
}

/// Why something is not in a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// It is used up.
    UsedUp,
    /// It would be enough, and others come first.
    OthersFirst,
    /// All of it is not enough.
    TooMuch,
}

/// What a budget lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shortage {
    /// Why.
    pub why: Why,
    /// How many pulls were wanted.
    pub pulls: u64,
    /// How many are left, those for others included; 0 where the registry tells no figures.
    pub remaining: u64,
    /// How many there are in a window; 0 where the registry tells no figures.
    pub limit: u64,
    /// How many of them are kept for others.
    pub kept: u64,
    /// When they are there, at the latest.
    pub until: SystemTime,
    /// When it is worth a look: others may have left more than it seems.
    pub look_at: SystemTime,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { why, pulls, remaining, limit, kept, .. } = self;
        match why {
            Why::UsedUp if *limit == 0 => f.write_str("the pull limit is used up")?,
            Why::UsedUp => write!(f, "{remaining} of {limit} pulls are left, and the image needs {pulls}")?,
            Why::OthersFirst => {
                write!(f, "{remaining} of {limit} pulls are left, and others have waited longer or read less")?;
            }
            Why::TooMuch => write!(f, "the image needs {pulls} pulls, and there are only {limit}")?,
        }
        match kept {
            0 => Ok(()),
            kept => write!(f, "; {kept} are kept for others"),
        }
    }
}

/// The pull budget of one registry for one set of credentials. Without headers of such a budget, everything is free.
pub struct PullBudget {
    ledger: Mutex<Ledger>,
    /// How many pulls an image needs, by its digest, where it was found out in vain.
    costs: Mutex<HashMap<Digest, u64>>,
    rounds: AtomicU64,
    clock: Box<dyn Fn() -> SystemTime + Send + Sync>,
}

impl PullBudget {
    /// A budget of which nothing is known yet.
    #[must_use]
    pub fn new(floor: Floor) -> Arc<Self> {
        Self::with_clock(floor, SystemTime::now)
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(floor: Floor, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            ledger: Mutex::new(Ledger::new(floor)),
            costs: Mutex::default(),
            rounds: AtomicU64::new(0),
            clock: Box::new(clock),
        })
    }

    /// A purse for one of those who share the budget, for one round of its work: what it lacks then is what it wants in all.
    /// `is_new` puts it before those who aren't.
    #[must_use]
    pub fn purse(self: &Arc<Self>, who: &str, is_new: bool) -> Purse {
        let round = self.rounds.fetch_add(1, Ordering::Relaxed);
        Purse { budget: self.clone(), who: Claimant { name: who.into(), is_new, round } }
    }

    /// What the registry told last; none if it tells of no budget.
    #[must_use]
    pub fn told(&self) -> Option<RateLimit> {
        let known = self.lock().known()?;
        Some(RateLimit {
            limit: Some(known.limit),
            remaining: Some(known.remaining),
            window: Some(known.window),
            observed_at: known.at(),
        })
    }

    /// How many pulls may be spent now: what is left but for the floor and what is reserved. None: there is no limit.
    #[must_use]
    pub fn free(&self) -> Option<u64> {
        self.lock().free()
    }

    /// When it is worth a look whether the registry takes pulls again, if it refuses them now.
    #[must_use]
    pub fn refused(&self) -> Option<SystemTime> {
        let now = self.now();
        self.lock().refused_now(now)
    }

    pub(crate) fn now(&self) -> SystemTime {
        (self.clock)()
    }

    /// An answer about a manifest came, with what it tells of the budget.
    pub(crate) fn observe(&self, told: Option<&RateLimit>, sent: SystemTime) {
        let now = self.now();
        match told.and_then(|told| Some((told.remaining?, told))) {
            Some((remaining, told)) => {
                self.lock().observe(Told { limit: told.limit, remaining, window: told.window, sent }, now);
            }
            None => self.lock().unlimited(sent),
        }
    }

    /// The registry refused a pull since the budget is used up.
    pub(crate) fn was_refused(&self, retry_at: Option<SystemTime>) {
        let now = self.now();
        self.lock().refused(retry_at, now);
    }

    fn cost(&self, digest: &Digest) -> u64 {
        self.costs.lock().unwrap_or_else(PoisonError::into_inner).get(digest).copied().unwrap_or(1)
    }

    fn learn_cost(&self, digest: &Digest, pulls: u64) {
        let mut costs = self.costs.lock().unwrap_or_else(PoisonError::into_inner);
        if costs.len() >= MANY_COSTS {
            costs.clear();
        }
        costs.insert(digest.clone(), pulls);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for PullBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullBudget").field("ledger", &*self.lock()).finish_non_exhaustive()
    }
}

/// The part that one reader has in a budget: it is fair among those of different names.
#[derive(Clone, Debug)]
pub struct Purse {
    budget: Arc<PullBudget>,
    who: Claimant,
}

impl Purse {
    /// The budget that it is a part of.
    #[must_use]
    pub fn budget(&self) -> &Arc<PullBudget> {
        &self.budget
    }

    fn reserve(&self, pulls: u64) -> Result<(), Shortage> {
        let now = self.budget.now();
        self.budget.lock().reserve(&self.who, pulls, now)
    }

    fn release(&self, pulls: u64) {
        self.budget.lock().release(&self.who.name, pulls);
    }
}
