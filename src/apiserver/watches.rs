//! Whether watches go on: when each last heard from the API server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a watch may hear nothing. The API server sends a bookmark about every minute, and ends a watch that was asked for
/// as kube asks after 290 seconds, with news or without; then it is started anew. This is twice that, and some.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// When each watch that was ever started last heard something: an event, a bookmark, or any answer, if only an error, to
/// another try. What was started goes on until the program stops, so one that falls silent is wedged. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Watches(Arc<Mutex<BTreeMap<String, Instant>>>);

impl Watches {
    /// A watch of this path of the API was started, or heard something.
    pub(crate) fn heard(&self, path: &str) {
        self.note(path, true);
    }

    /// A list of this path was answered: a watch that had to start over. A list that belongs to no watch counts for nothing.
    pub(crate) fn listed(&self, path: &str) {
        self.note(path, false);
    }

    fn note(&self, path: &str, is_watch: bool) {
        let mut heard = self.lock();
        match heard.get_mut(path) {
            Some(at) => *at = Instant::now(),
            None if is_watch => drop(heard.insert(path.to_owned(), Instant::now())),
            None => {}
        }
    }

    /// How long each watch has heard nothing, by its path.
    pub fn silent(&self) -> Vec<(String, Duration)> {
        let now = Instant::now();
        self.lock().iter().map(|(path, at)| (path.clone(), now.saturating_duration_since(*at))).collect()
    }

    /// The watches that have heard nothing for too long.
    pub fn wedged(&self) -> Vec<(String, Duration)> {
        let mut silent = self.silent();
        silent.retain(|(_, silence)| *silence > PATIENCE);
        silent
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_watch_is_wedged_when_it_has_heard_nothing_for_long() {
        let watches = Watches::default();
        watches.heard("/a");
        watches.heard("/b");
        tokio::time::advance(PATIENCE).await;
        watches.heard("/b");
        assert_eq!(watches.wedged(), []);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(watches.wedged(), [("/a".to_owned(), PATIENCE + Duration::from_secs(1))]);
        watches.listed("/a");
        assert_eq!(watches.wedged(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_alone_starts_no_watch() {
        let watches = Watches::default();
        watches.listed("/a");
        tokio::time::advance(PATIENCE * 2).await;
        assert_eq!(watches.wedged(), []);
    }
}
