//! What one copy, or one look-up, spends of a budget.

use std::sync::{Mutex, PoisonError};

use super::{Purse, Shortage};
use crate::digest::Digest;

/// What is reserved for one copy. What it doesn't need goes back when it ends.
#[derive(Debug)]
pub(crate) struct Pulls {
    purse: Purse,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: u64,
    /// A manifest that came with the index that names it, as the registry counts.
    included: Included,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Included {
    #[default]
    NotYet,
    One,
    Used,
}

/// A manifest is being asked for. Dropping it says that the answer was heard, or that there is none.
pub(crate) struct Asked<'a>(Option<&'a Pulls>);

impl Asked<'_> {
    /// The registry did not count it: it is kept for the next try.
    pub(crate) fn in_vain(mut self) {
        if let Some(pulls) = self.0.take() {
            pulls.lock().held += 1;
            pulls.purse.budget.lock().asked_in_vain();
        }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if let Some(pulls) = self.0 {
            pulls.purse.budget.lock().answered();
        }
    }
}

impl Pulls {
    pub(crate) fn new(purse: Purse) -> Self {
        Self { purse, state: Mutex::default() }
    }

    pub(crate) fn purse(&self) -> &Purse {
        &self.purse
    }

    /// Reserves what an image needs before the first of its manifests is read, as far as that is known.
    pub(crate) fn expect_image(&self, digest: &Digest) -> Result<(), Shortage> {
        let cost = self.purse.budget.cost(digest);
        if cost > 1 { self.hold(cost) } else { Ok(()) }
    }

    /// Reserves what manifests need that are to be read. Of those below the root, which was read, one is included; and if
    /// there is not enough, the next try reserves for all of them first.
    pub(crate) fn expect(&self, manifests: usize, root: Option<&Digest>) -> Result<(), Shortage> {
        let manifests = u64::try_from(manifests).unwrap_or(u64::MAX);
        if manifests == 0 {
            return Ok(());
        }
        let wanted = match root {
            Some(_) => {
                let mut state = self.lock();
                if state.included == Included::NotYet {
                    state.included = Included::One;
                }
                manifests - u64::from(state.included == Included::One)
            }
            None => manifests,
        };
        self.hold(wanted).map_err(|shortage| match root {
            Some(root) => {
                self.purse.budget.learn_cost(root, manifests);
                Shortage { pulls: manifests, ..shortage }
            }
            None => shortage,
        })
    }

    fn hold(&self, pulls: u64) -> Result<(), Shortage> {
        let mut state = self.lock();
        let missing = pulls.saturating_sub(state.held);
        if missing > 0 {
            // The shortage is told of the whole.
            self.purse.reserve(missing).map_err(|shortage| Shortage { pulls, ..shortage })?;
            state.held += missing;
        }
        Ok(())
    }

    /// A manifest is going to be read.
    pub(crate) fn ask(&self) -> Result<Asked<'_>, Shortage> {
        let mut state = self.lock();
        if state.included == Included::One {
            state.included = Included::Used;
            return Ok(Asked(None));
        }
        match state.held.checked_sub(1) {
            Some(left) => state.held = left,
            None => self.purse.reserve(1)?,
        }
        self.purse.budget.lock().ask();
        Ok(Asked(Some(self)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pulls {
    fn drop(&mut self) {
        let held = std::mem::take(&mut self.lock().held);
        self.purse.release(held);
    }
}
