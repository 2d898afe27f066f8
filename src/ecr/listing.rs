//! All repositories of a registry, as one paged DescribeRepositories shows them: one sweep answers for every object.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::connect::Ecr;
use super::error::EcrError;
use super::repositories::Repository;

/// How long a failure of the first sweep is remembered, so that a thousand objects don't ask AWS the same question.
const REMEMBER_FAILURE: Duration = Duration::from_secs(2);

/// What the last sweep showed, corrected by what was done since.
#[derive(Debug, Default)]
pub(super) struct Listing {
    known: Mutex<Known>,
    /// Held while a sweep goes on: whoever needs the first one waits for it instead of starting another.
    sweeping: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    swept: bool,
    /// Why the last sweep failed, if nothing but a change by somebody will make it work.
    refused: Option<EcrError>,
    /// When and why there could not be a first sweep.
    failed: Option<(Instant, EcrError)>,
    repositories: HashMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    as_of: Instant,
    repository: Arc<Repository>,
}

impl Ecr {
    /// The repository of this name as the last sweep, or a call since, showed it. The first question starts a sweep.
    pub async fn listed(&self, name: &str) -> Result<Option<Arc<Repository>>, EcrError> {
        if !self.listing.lock().swept {
            let _sweeping = self.listing.sweeping.lock().await;
            let (swept, failed) = {
                let known = self.listing.lock();
                (known.swept, known.failed.clone())
            };
            match failed {
                _ if swept => {}
                Some((at, error)) if at.elapsed() < REMEMBER_FAILURE => return Err(error),
                _ => drop(self.sweep_now().await?),
            }
        }
        let known = self.listing.lock();
        match &known.refused {
            Some(error) => Err(error.clone()),
            None => Ok(known.repositories.get(name).map(|entry| entry.repository.clone())),
        }
    }

    /// Lists all repositories anew, and names those that are not as they were known.
    ///
    /// Where AWS refuses, [`Self::listed`] fails with its words until a sweep succeeds, and every name counts as changed.
    pub async fn sweep(&self) -> Result<BTreeSet<String>, EcrError> {
        let _sweeping = self.listing.sweeping.lock().await;
        self.sweep_now().await
    }

    async fn sweep_now(&self) -> Result<BTreeSet<String>, EcrError> {
        let started = Instant::now();
        match self.all_repositories().await {
            Ok(found) => Ok(self.listing.lock().replace(found, started)),
            Err(error) => {
                let mut known = self.listing.lock();
                known.failed = Some((Instant::now(), error.clone()));
                // What may pass by itself is no news about any repository.
                if known.swept && !error.is_transient() {
                    known.refused = Some(error.clone());
                }
                Err(error)
            }
        }
    }

    /// Looks at one repository now.
    pub async fn look(&self, name: &str) -> Result<Option<Arc<Repository>>, EcrError> {
        match self.repository(name).await? {
            Some(repository) => Ok(Some(self.learn(repository))),
            None => {
                self.forget(name);
                Ok(None)
            }
        }
    }

    /// Takes note of what a call showed.
    pub(super) fn learn(&self, repository: Repository) -> Arc<Repository> {
        let repository = Arc::new(repository);
        let entry = Entry { as_of: Instant::now(), repository: repository.clone() };
        self.listing.lock().repositories.insert(repository.name.clone(), entry);
        repository
    }

    /// Takes note of a change.
    pub(super) fn change_listed(&self, name: &str, change: impl FnOnce(&mut Repository)) {
        if let Some(entry) = self.listing.lock().repositories.get_mut(name) {
            change(Arc::make_mut(&mut entry.repository));
            entry.as_of = Instant::now();
        }
    }

    /// Takes note that a repository is gone.
    pub(crate) fn forget(&self, name: &str) {
        self.listing.lock().repositories.remove(name);
    }
}

impl Listing {
    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Puts in what a sweep found that began at `started`; says what is not as it was known. A page may be older than what
    /// a call of ours changed while the sweep went on: what was learned since it began stays.
    fn replace(&mut self, found: Vec<Repository>, started: Instant) -> BTreeSet<String> {
        let mut changed = BTreeSet::new();
        let mut before = std::mem::take(&mut self.repositories);
        for repository in found {
            let name = repository.name.clone();
            let entry = match before.remove(&name) {
                Some(entry) if entry.as_of >= started || *entry.repository == repository => entry,
                _ => {
                    changed.insert(name.clone());
                    Entry { as_of: started, repository: Arc::new(repository) }
                }
            };
            self.repositories.insert(name, entry);
        }
        for (name, entry) in before {
            if entry.as_of >= started {
                self.repositories.insert(name, entry);
            } else {
                changed.insert(name);
            }
        }
        if self.refused.take().is_some() {
            changed.extend(self.repositories.keys().cloned());
        }
        self.swept = true;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(name: &str, scan_on_push: bool) -> Repository {
        Repository { name: name.to_owned(), scan_on_push, ..Repository::default() }
    }

    fn known(repositories: &[(&str, Instant)]) -> Known {
        let entry = |&(name, as_of): &(&str, Instant)| {
            (name.to_owned(), Entry { as_of, repository: Arc::new(repository(name, false)) })
        };
        Known { swept: true, repositories: repositories.iter().map(entry).collect(), ..Known::default() }
    }

    fn names(set: &BTreeSet<String>) -> Vec<&str> {
        set.iter().map(String::as_str).collect()
    }

    #[test]
    fn a_sweep_that_finds_what_is_known_is_no_news() {
        let before = Instant::now();
        let mut known = known(&[("a", before), ("b", before)]);
        let started = Instant::now();
        assert!(known.replace(vec![repository("b", false), repository("a", false)], started).is_empty());
    }

    #[test]
    fn what_appeared_changed_or_went_away_is_named() {
        let before = Instant::now() - Duration::from_secs(1);
        let mut known = known(&[("changed", before), ("gone", before), ("same", before)]);
        let found = vec![repository("changed", true), repository("new", false), repository("same", false)];
        let changed = known.replace(found, Instant::now());
        assert_eq!(names(&changed), ["changed", "gone", "new"]);
        assert!(known.repositories["changed"].repository.scan_on_push);
        assert!(!known.repositories.contains_key("gone"));
    }

    #[test]
    fn what_was_done_while_a_sweep_went_on_counts_more_than_its_pages() {
        let started = Instant::now();
        let later = started + Duration::from_secs(1);
        let mut known = known(&[("created", later), ("changed", later)]);
        let changed = known.replace(vec![repository("changed", true)], started);
        assert!(changed.is_empty());
        assert!(known.repositories.contains_key("created"));
        assert!(!known.repositories["changed"].repository.scan_on_push);
    }

    #[test]
    fn after_a_refusal_everything_is_news() {
        let before = Instant::now();
        let mut known = known(&[("a", before)]);
        let error = EcrError {
            operation: "ecr:DescribeRepositories",
            kind: crate::ecr::ErrorKind::AccessDenied,
            message: String::new(),
        };
        known.refused = Some(error);
        let changed = known.replace(vec![repository("a", false)], Instant::now());
        assert_eq!(names(&changed), ["a"]);
        assert!(known.refused.is_none());
    }
}
