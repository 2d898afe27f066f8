//! Which of several replicas works: the one that holds a Lease. The others keep their caches filled and wait.
//!
//! The algorithm is client-go's. A stand-by takes the Lease over when it has not seen it change for as long as the Lease
//! says, by its own clock: clocks of different nodes are never compared. Whoever holds it gives up well before that time
//! is over, by its own clock, unless it renewed it. Every write of the Lease names the version that it replaces, so of
//! two who try the API server lets one through.
//!
//! What keeps a replica that lost the Lease from writing is the [`Fence`]: a time that every write looks at right before
//! it goes out. It needs no task to run at the right moment, so it holds for a process that was stopped, or starved, and
//! wakes up in the middle of something.

mod election;
mod fence;
mod record;

pub use election::{Candidate, Identity, Lost, Times};
pub use fence::{Fence, Fenced};

use tokio::sync::watch;

/// What the rest of the program knows of the election.
#[derive(Clone, Debug)]
pub struct Leadership {
    fence: Fence,
    leads: watch::Receiver<bool>,
}

/// The side of [`Leadership`] that the election is on.
#[derive(Debug)]
pub struct Elected {
    fence: Fence,
    leads: watch::Sender<bool>,
}

impl Leadership {
    /// A replica that has no rivals: it leads from the start.
    pub fn alone() -> Self {
        // A receiver keeps its last value when the sender is gone.
        let (_, leads) = watch::channel(true);
        Self { fence: Fence::open(), leads }
    }

    /// A replica that does not lead yet.
    pub fn contested() -> (Self, Elected) {
        let (sender, leads) = watch::channel(false);
        let fence = Fence::closed();
        (Self { fence: fence.clone(), leads }, Elected { fence, leads: sender })
    }

    /// What every write has to pass.
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Waits until this replica leads. Pending for ever if it never does.
    pub async fn leads(&self) {
        if self.leads.clone().wait_for(|leads| *leads).await.is_err() {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests;
