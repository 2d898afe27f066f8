//! One transfer at a time of a blob into a registry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::digest::Digest;

/// Who brings which blob where. Whoever comes second waits, and finds the blob there: in the same repository it skips
/// it, from another one it mounts it.
#[derive(Default)]
pub(crate) struct InFlight {
    /// By digest, and by what keeps registries and sources apart.
    leaders: Mutex<HashMap<Key, Vec<Leader>>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// The destination registry, as an identity.
    pub(crate) registry: usize,
    /// The registry that the blob comes from.
    pub(crate) origin: Arc<str>,
    pub(crate) digest: Digest,
}

struct Leader {
    repository: Arc<str>,
    done: watch::Receiver<()>,
}

/// Whether one is to bring a blob, or to wait for who does.
pub(crate) enum Claim {
    Lead(Lead),
    Wait(Waiting),
}

/// Another one brings the blob.
pub(crate) struct Waiting(watch::Receiver<()>);

impl Waiting {
    /// Waits until the other one is done, well or not.
    pub(crate) async fn done(mut self) {
        // The sender never sends; it goes.
        let _ = self.0.changed().await;
    }
}

/// As long as one has it, one brings the blob.
pub(crate) struct Lead {
    in_flight: Arc<InFlight>,
    key: Key,
    repository: Arc<str>,
    _done: watch::Sender<()>,
}

impl InFlight {
    /// Claims a blob for a repository. Where the registry mounts, one transfer into any of its repositories is enough
    /// for the others to wait for.
    pub(crate) fn claim(self: &Arc<Self>, key: Key, repository: &Arc<str>, mounts: bool) -> Claim {
        let mut leaders = self.leaders.lock().unwrap_or_else(PoisonError::into_inner);
        let own = leaders.entry(key.clone()).or_default();
        if let Some(leader) = own.iter().find(|leader| mounts || leader.repository == *repository) {
            return Claim::Wait(Waiting(leader.done.clone()));
        }
        let (sender, done) = watch::channel(());
        own.push(Leader { repository: repository.clone(), done });
        Claim::Lead(Lead { in_flight: self.clone(), key, repository: repository.clone(), _done: sender })
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let mut leaders = self.in_flight.leaders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = leaders.get_mut(&self.key) {
            own.retain(|leader| leader.repository != self.repository);
            if own.is_empty() {
                leaders.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(digest: &[u8]) -> Key {
        Key { registry: 1, origin: "x.io".into(), digest: Digest::sha256(digest) }
    }

    fn waits(claim: Claim) -> Option<Waiting> {
        match claim {
            Claim::Lead(_) => None,
            Claim::Wait(waiting) => Some(waiting),
        }
    }

    #[tokio::test]
    async fn a_second_transfer_into_the_same_repository_waits_and_another_blob_does_not() {
        let in_flight = Arc::new(InFlight::default());
        let (a, b) = ("a".into(), "b".into());
        let Claim::Lead(first) = in_flight.claim(key(b"1"), &a, false) else { panic!() };
        assert!(waits(in_flight.claim(key(b"2"), &a, false)).is_none());
        assert!(waits(in_flight.claim(key(b"1"), &b, false)).is_none(), "no mounts, no waiting for others");
        let mut second = Box::pin(waits(in_flight.claim(key(b"1"), &a, false)).unwrap().done());
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        assert!(futures::poll!(&mut second).is_ready());
        assert!(waits(in_flight.claim(key(b"1"), &a, false)).is_none(), "and then it may lead");
    }

    #[tokio::test]
    async fn where_mounts_work_one_transfer_into_the_registry_is_waited_for() {
        let in_flight = Arc::new(InFlight::default());
        let Claim::Lead(first) = in_flight.claim(key(b"1"), &"a".into(), true) else { panic!() };
        let mut others: Vec<_> = ["b", "c"]
            .map(|other| Box::pin(waits(in_flight.claim(key(b"1"), &other.into(), true)).unwrap().done()))
            .into();
        drop(first);
        for other in &mut others {
            assert!(futures::poll!(other).is_ready(), "all of them go on at once");
        }
        assert!(in_flight.leaders.lock().unwrap().is_empty(), "nothing is left behind");
    }
}
