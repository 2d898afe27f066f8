//! The pull budgets of source registries: one for each registry and set of credentials, for all mirrors together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use oci_copy::{Credentials, Digest, Floor, PullBudget};

use crate::registries::Registries;

/// Budgets that nobody uses and nothing is known of are forgotten when there are more than these.
const MANY: usize = 1_000;

/// All budgets.
pub(super) struct Budgets {
    floors: HashMap<String, Floor>,
    known: Mutex<HashMap<Key, Arc<PullBudget>>>,
}

/// A registry's host, and what tells credentials from others without being a secret; none for anonymous.
type Key = (String, Option<Digest>);

impl Budgets {
    pub(super) fn new(registries: &Registries) -> Self {
        let floors = registries.floors().map(|(host, floor)| (host.to_owned(), floor)).collect();
        Self { floors, known: Mutex::default() }
    }

    /// The budget of a registry for these credentials.
    pub(super) fn of(&self, host: &str, credentials: Option<&Credentials>) -> Arc<PullBudget> {
        let key = (host.to_owned(), credentials.map(Credentials::identity));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MANY && !known.contains_key(&key) {
            known.retain(|_, budget| Arc::strong_count(budget) > 1 || budget.told().is_some());
        }
        let new = || PullBudget::new(self.floors.get(host).copied().unwrap_or_default());
        known.entry(key).or_insert_with(new).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_the_same_credentials_for_a_registry_has_the_same_budget() {
        let budgets = Budgets::new(&Registries::default());
        let (one, other) = (Credentials::new("one", "secret"), Credentials::new("other", "secret"));
        let of = |host: &str, credentials: Option<&Credentials>| budgets.of(host, credentials);
        assert!(Arc::ptr_eq(&of("docker.io", None), &of("docker.io", None)));
        assert!(Arc::ptr_eq(&of("docker.io", Some(&one)), &of("docker.io", Some(&one.clone()))));
        for (host, credentials) in [("docker.io", None), ("docker.io", Some(&other)), ("quay.io", Some(&one))] {
            assert!(!Arc::ptr_eq(&of("docker.io", Some(&one)), &of(host, credentials)), "{host} {credentials:?}");
        }
    }
}
