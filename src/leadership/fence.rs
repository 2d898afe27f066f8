//! Whether this replica may write.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// Asked right before every write. Clones are the same fence.
#[derive(Clone, Debug)]
pub struct Fence(Arc<Mutex<State>>);

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nobody competes.
    Open,
    /// The Lease is held, as far as is known, until then.
    OpenUntil(Instant),
    /// The Lease is not held yet.
    Closed,
    /// The Lease was lost or given up. This process never gets it again.
    ClosedForGood,
}

/// Something was not written, for this replica does not hold the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this replica does not hold the lease, so it writes nothing")]
pub struct Fenced;

impl Fence {
    /// Never in the way.
    pub fn open() -> Self {
        Self(Arc::new(Mutex::new(State::Open)))
    }

    /// Lets nothing through yet.
    pub(super) fn closed() -> Self {
        Self(Arc::new(Mutex::new(State::Closed)))
    }

    /// Whether something may be written now.
    pub fn check(&self) -> Result<(), Fenced> {
        match *self.lock() {
            State::Open => Ok(()),
            State::OpenUntil(end) if Instant::now() < end => Ok(()),
            State::OpenUntil(_) | State::Closed | State::ClosedForGood => Err(Fenced),
        }
    }

    /// Lets writes through until `end`.
    pub(super) fn open_until(&self, end: Instant) {
        let mut state = self.lock();
        if !matches!(*state, State::ClosedForGood) {
            *state = State::OpenUntil(end);
        }
    }

    /// Lets nothing through any more, whatever comes.
    pub fn close(&self) {
        *self.lock() = State::ClosedForGood;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_closes_by_itself_when_the_time_is_over() {
        let fence = Fence::closed();
        assert_eq!(fence.check(), Err(Fenced));
        fence.open_until(Instant::now() + 2 * SECOND);
        assert_eq!(fence.check(), Ok(()));
        tokio::time::advance(SECOND).await;
        fence.open_until(Instant::now() + 2 * SECOND);
        tokio::time::advance(SECOND).await;
        assert_eq!(fence.check(), Ok(()), "it was renewed");
        tokio::time::advance(SECOND).await;
        assert_eq!(fence.check(), Err(Fenced));
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_comes_late_does_not_open_it_again() {
        let fence = Fence::open();
        fence.close();
        fence.open_until(Instant::now() + SECOND);
        assert_eq!(fence.check(), Err(Fenced));
    }
}
