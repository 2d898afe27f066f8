//! What is known of a registry from what was done and seen: saves asking again, and tells what can be mounted from where.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::digest::Digest;

/// When there are more facts than these, the old ones are forgotten.
const MANY: usize = 50_000;
/// One blob is remembered in so many repositories, to be mounted from.
const HOLDERS: usize = 4;
/// So many mounts in a row that came to nothing, and the registry is not expected to mount.
const VAIN_MOUNTS: u32 = 3;
/// After this it is tried again: on ECR, mounting is a setting that can be switched on.
const MOUNT_AGAIN: Duration = Duration::from_secs(600);

/// What a registry is known to have, and to do.
///
/// Knowledge is a shortcut and no proof. A registry checks what a manifest names when it is put, and whoever is refused
/// then [forgets](Self::forget) what was believed and looks for itself.
pub(crate) struct Knowledge {
    lifetime: Duration,
    facts: Mutex<Facts>,
}

#[derive(Default)]
struct Facts {
    present: HashMap<Arc<str>, HashMap<Digest, Instant>>,
    holders: HashMap<(Arc<str>, Digest), Vec<Arc<str>>>,
    count: usize,
    mounting: Mounting,
}

/// Whether asking for mounts is of use.
#[derive(Debug, Default)]
struct Mounting {
    vain: u32,
    useless_since: Option<Instant>,
}

impl Mounting {
    fn is_useful(&self, now: Instant) -> bool {
        self.useless_since.is_none_or(|since| now.duration_since(since) >= MOUNT_AGAIN)
    }

    fn answered(&mut self, mounted: bool, now: Instant) {
        if mounted {
            *self = Self::default();
            return;
        }
        self.vain += 1;
        if self.vain >= VAIN_MOUNTS {
            self.useless_since = Some(now);
        }
    }
}

impl Knowledge {
    /// Facts are believed for so long.
    pub(crate) fn new(lifetime: Duration) -> Self {
        Self { lifetime, facts: Mutex::default() }
    }

    /// Whether a repository is known to have a blob or manifest.
    pub(crate) fn has(&self, repository: &str, digest: &Digest) -> bool {
        let facts = self.lock();
        let since = facts.present.get(repository).and_then(|digests| digests.get(digest));
        since.is_some_and(|since| since.elapsed() < self.lifetime)
    }

    /// A repository has a blob or manifest.
    pub(crate) fn learn(&self, repository: &str, digest: &Digest) {
        let mut facts = self.lock();
        facts.make_room(self.lifetime);
        let repository = facts.name(repository);
        let fresh = facts.present.entry(repository).or_default().insert(digest.clone(), Instant::now()).is_none();
        facts.count += usize::from(fresh);
    }

    /// A repository has a blob that came from a source registry.
    ///
    /// A blob is mounted only for images of the registry that it came from: whoever names a digest in a registry of his
    /// own must not get a blob that way which he can't read.
    pub(crate) fn learn_blob(&self, origin: &str, repository: &str, digest: &Digest) {
        self.learn(repository, digest);
        let mut facts = self.lock();
        let (origin, repository) = (facts.name(origin), facts.name(repository));
        let holders = facts.holders.entry((origin, digest.clone())).or_default();
        if !holders.contains(&repository) && holders.len() < HOLDERS {
            holders.push(repository);
        }
    }

    /// Another repository that has a blob, if mounts from it are of use.
    pub(crate) fn holder(&self, origin: &str, repository: &str, digest: &Digest) -> Option<Arc<str>> {
        let facts = self.lock();
        if !facts.mounting.is_useful(Instant::now()) {
            return None;
        }
        let holders = facts.holders.get(&(Arc::from(origin), digest.clone()))?;
        let known = |holder: &&Arc<str>| {
            let since = facts.present.get(*holder).and_then(|digests| digests.get(digest));
            since.is_some_and(|since| since.elapsed() < self.lifetime)
        };
        holders.iter().filter(|holder| &***holder != repository).find(known).cloned()
    }

    /// Whether the registry may be expected to mount.
    pub(crate) fn mounts(&self) -> bool {
        self.lock().mounting.is_useful(Instant::now())
    }

    /// What became of a mount.
    pub(crate) fn mount_answered(&self, mounted: bool) {
        self.lock().mounting.answered(mounted, Instant::now());
    }

    /// What was believed of a repository is not so.
    pub(crate) fn forget(&self, repository: &str) {
        let mut facts = self.lock();
        let gone = facts.present.remove(repository).map_or(0, |digests| digests.len());
        facts.count -= gone;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Facts {
    /// The name as it is kept already, so that a repository's name is kept once.
    fn name(&self, name: &str) -> Arc<str> {
        self.present.get_key_value(name).map_or_else(|| Arc::from(name), |(kept, _)| kept.clone())
    }

    fn make_room(&mut self, lifetime: Duration) {
        if self.count < MANY {
            return;
        }
        // First what is no longer believed, and if that is not enough, the older half.
        for age in [lifetime, lifetime / 2, Duration::ZERO] {
            for digests in self.present.values_mut() {
                digests.retain(|_, since| since.elapsed() < age);
            }
            self.present.retain(|_, digests| !digests.is_empty());
            self.count = self.present.values().map(HashMap::len).sum();
            if self.count < MANY / 2 {
                break;
            }
        }
        let present = &self.present;
        self.holders.retain(|(_, digest), holders| {
            holders.retain(|holder| present.get(holder).is_some_and(|digests| digests.contains_key(digest)));
            !holders.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: usize) -> Digest {
        Digest::sha256(&n.to_be_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn a_fact_is_believed_for_its_lifetime_and_until_it_is_forgotten() {
        let knowledge = Knowledge::new(Duration::from_secs(10));
        knowledge.learn("a", &digest(1));
        assert!(knowledge.has("a", &digest(1)) && !knowledge.has("b", &digest(1)));
        tokio::time::advance(Duration::from_secs(11)).await;
        assert!(!knowledge.has("a", &digest(1)));
        knowledge.learn("a", &digest(1));
        knowledge.learn("b", &digest(2));
        knowledge.forget("a");
        assert!(!knowledge.has("a", &digest(1)) && knowledge.has("b", &digest(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_blob_is_mounted_from_another_repository_that_got_it_from_the_same_registry() {
        let knowledge = Knowledge::new(Duration::from_secs(10));
        knowledge.learn_blob("docker.io", "a", &digest(1));
        assert_eq!(knowledge.holder("docker.io", "b", &digest(1)).as_deref(), Some("a"));
        assert_eq!(knowledge.holder("docker.io", "a", &digest(1)), None);
        assert_eq!(knowledge.holder("evil.example", "b", &digest(1)), None);
        knowledge.forget("a");
        assert_eq!(knowledge.holder("docker.io", "b", &digest(1)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn mounts_that_always_fail_are_not_asked_for_until_a_while_has_passed() {
        let knowledge = Knowledge::new(Duration::from_secs(3600));
        knowledge.learn_blob("docker.io", "a", &digest(1));
        knowledge.mount_answered(false);
        knowledge.mount_answered(false);
        knowledge.mount_answered(true);
        knowledge.mount_answered(false);
        knowledge.mount_answered(false);
        assert!(knowledge.mounts());
        knowledge.mount_answered(false);
        assert!(!knowledge.mounts() && knowledge.holder("docker.io", "b", &digest(1)).is_none());
        tokio::time::advance(MOUNT_AGAIN).await;
        assert!(knowledge.mounts() && knowledge.holder("docker.io", "b", &digest(1)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_does_not_grow_without_end() {
        let knowledge = Knowledge::new(Duration::from_secs(3600));
        for n in 0..MANY * 2 {
            knowledge.learn_blob("docker.io", &format!("r{}", n % 7), &digest(n));
            if n % 1000 == 0 {
                tokio::time::advance(Duration::from_secs(30)).await;
            }
        }
        let facts = knowledge.lock();
        assert!(facts.count <= MANY && facts.holders.len() <= MANY, "{} {}", facts.count, facts.holders.len());
    }
}
