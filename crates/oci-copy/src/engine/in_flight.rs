//! One transfer at a time of a blob into a repository.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;

use crate::digest::Digest;
use crate::reference::Repository;

type Key = (Repository, Digest);

/// Whose turn it is to bring a blob into a repository. Whoever waited finds the blob there, and skips it.
#[derive(Default)]
pub(crate) struct InFlight(Mutex<HashMap<Key, Weak<tokio::sync::Mutex<()>>>>);

/// Holding it is having the turn.
pub(crate) struct Turn {
    _guard: OwnedMutexGuard<()>,
}

impl InFlight {
    /// Waits for the turn.
    pub(crate) async fn turn(&self, repository: &Repository, digest: &Digest) -> Turn {
        let lock = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (repository.clone(), digest.clone());
            match turns.get(&key).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    if turns.len() == turns.capacity() {
                        // Before it grows, it forgets the turns that are over.
                        turns.retain(|_, lock| lock.strong_count() > 0);
                    }
                    let lock = Arc::default();
                    turns.insert(key, Arc::downgrade(&lock));
                    lock
                }
            }
        };
        Turn { _guard: lock.lock_owned().await }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_transfer_of_the_same_blob_waits_and_another_blob_does_not() {
        let turns = InFlight::default();
        let repository: Repository = "x.io/y".parse().unwrap();
        let (one, two) = (Digest::sha256(b"1"), Digest::sha256(b"2"));
        let first = turns.turn(&repository, &one).await;
        let _other = turns.turn(&repository, &two).await;
        let mut second = Box::pin(turns.turn(&repository, &one));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        assert!(futures::poll!(&mut second).is_ready());
    }

    #[tokio::test]
    async fn turns_that_are_over_are_forgotten() {
        let turns = InFlight::default();
        let repository: Repository = "x.io/y".parse().unwrap();
        for n in 0..10_000_u32 {
            turns.turn(&repository, &Digest::sha256(&n.to_be_bytes())).await;
        }
        assert!(turns.0.lock().unwrap().len() < 100);
    }
}
