//! Which mirrors there should be for what was found, given those that there are. Nothing here does I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::found::Found;
use crate::controllers::mirror::is_digest;

/// The most mirrors that one mirror makes.
pub(super) const MOST_MIRRORS: usize = 500;

/// The most tags that a mirror names, and the most digests.
const MOST_NAMES: usize = 250;

/// The tags and digests of one source repository, each with the time since when no workload names it.
pub(super) type Names = BTreeMap<String, Option<Timestamp>>;

/// What there should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// The mirrors by their source repository.
    pub(super) mirrors: BTreeMap<String, Names>,
    /// Repositories, tags and digests for which there is no room.
    pub(super) left_out: usize,
    /// When the first name that no workload names any more goes.
    pub(super) due: Option<Timestamp>,
}

/// Keeps what is used, and for a while what no longer is.
pub(super) fn plan(found: &Found, present: &BTreeMap<String, Names>, retention: Duration, now: Timestamp) -> Plan {
    let retention = SignedDuration::try_from(retention).unwrap_or(SignedDuration::MAX);
    let mut plan = Plan::default();
    let sources: BTreeSet<&String> = found.repositories.keys().chain(present.keys()).collect();
    for source in sources {
        let mut names = Names::new();
        for (name, unused_since) in present.get(source).into_iter().flatten() {
            let since = unused_since.unwrap_or(now);
            let until = since.checked_add(retention).unwrap_or(Timestamp::MAX);
            if until > now {
                names.insert(name.clone(), Some(since));
            }
        }
        let used = found.repositories.get(source).into_iter().flatten();
        names.extend(used.map(|name| (name.clone(), None)));
        plan.left_out += trim(&mut names);
        if !names.is_empty() {
            plan.mirrors.insert(source.clone(), names);
        }
    }
    while plan.mirrors.len() > MOST_MIRRORS {
        // Those that are there already stay rather than new ones.
        let new = plan.mirrors.keys().rev().find(|source| !present.contains_key(*source)).cloned();
        let Some(source) = new.or_else(|| plan.mirrors.keys().next_back().cloned()) else { break };
        plan.left_out += plan.mirrors.remove(&source).map_or(0, |names| names.len());
    }
    let unused = plan.mirrors.values().flat_map(BTreeMap::values).flatten();
    plan.due = unused.filter_map(|since| since.checked_add(retention).ok()).min();
    plan
}

/// Leaves out what a mirror has no room for: what is unused for longest first. Says how many.
fn trim(names: &mut Names) -> usize {
    let mut left_out = 0;
    for digests in [false, true] {
        let mut these: Vec<(Timestamp, String)> = names
            .iter()
            .filter(|(name, _)| is_digest(name) == digests)
            .map(|(name, since)| (since.unwrap_or(Timestamp::MAX), name.clone()))
            .collect();
        these.sort();
        for (_, name) in these.iter().take(these.len().saturating_sub(MOST_NAMES)) {
            names.remove(name);
            left_out += 1;
        }
    }
    left_out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn found(repositories: &[(&str, &[&str])]) -> Found {
        let repositories = repositories
            .iter()
            .map(|(source, names)| ((*source).to_owned(), names.iter().map(|name| (*name).to_owned()).collect()))
            .collect();
        Found { repositories, namespaces: 1 }
    }

    fn present(source: &str, names: &[(&str, Option<i64>)]) -> BTreeMap<String, Names> {
        let names = names.iter().map(|(name, since)| ((*name).to_owned(), since.map(at))).collect();
        [(source.to_owned(), names)].into()
    }

    fn names(plan: &Plan, source: &str) -> Vec<(String, Option<i64>)> {
        let names = plan.mirrors.get(source).cloned().unwrap_or_default();
        names.into_iter().map(|(name, since)| (name, since.map(Timestamp::as_second))).collect()
    }

    #[test]
    fn what_is_used_is_mirrored() {
        let plan = plan(&found(&[("a", &["1", "2"])]), &BTreeMap::new(), HOUR, at(0));
        assert_eq!(names(&plan, "a"), [("1".to_owned(), None), ("2".to_owned(), None)]);
        assert_eq!((plan.left_out, plan.due), (0, None));
    }

    #[test]
    fn what_is_no_longer_used_stays_for_the_retention_and_then_goes() {
        let before = present("a", &[("1", None), ("2", Some(500)), ("3", Some(0))]);
        let plan = plan(&found(&[]), &before, HOUR, at(3600));
        assert_eq!(names(&plan, "a"), [("1".to_owned(), Some(3600)), ("2".to_owned(), Some(500))]);
        assert_eq!(plan.due, Some(at(4100)));
    }

    #[test]
    fn what_is_used_again_counts_as_new() {
        let plan = plan(&found(&[("a", &["1"])]), &present("a", &[("1", Some(5))]), HOUR, at(10));
        assert_eq!(names(&plan, "a"), [("1".to_owned(), None)]);
    }

    #[test]
    fn a_mirror_with_nothing_left_goes() {
        let plan = plan(&found(&[]), &present("a", &[("1", Some(0))]), HOUR, at(3600));
        assert!(plan.mirrors.is_empty());
    }

    #[test]
    fn a_second_plan_changes_nothing() {
        let found = found(&[("a", &["1"]), ("b", &["2"])]);
        let first = plan(&found, &present("c", &[("3", None)]), HOUR, at(10));
        assert_eq!(plan(&found, &first.mirrors, HOUR, at(20)), first);
    }

    #[test]
    fn what_there_is_no_room_for_is_counted_and_the_unused_goes_first() {
        let many: Vec<String> = (0..MOST_NAMES + 5).map(|n| format!("{n:04}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let plan = plan(&found(&[("a", &many)]), &present("a", &[("unused", Some(9))]), HOUR, at(10));
        assert_eq!((names(&plan, "a").len(), plan.left_out), (MOST_NAMES, 6));
        assert!(!plan.mirrors["a"].contains_key("unused"));
    }

    #[test]
    fn mirrors_that_are_there_stay_when_there_is_no_room_for_more() {
        let sources: Vec<String> = (0..MOST_MIRRORS + 2).map(|n| format!("{n:04}")).collect();
        let all: Vec<(&str, &[&str])> = sources.iter().map(|source| (source.as_str(), ["1"].as_slice())).collect();
        let last = format!("{:04}", MOST_MIRRORS + 1);
        let plan = plan(&found(&all), &present(&last, &[("1", None)]), HOUR, at(10));
        assert_eq!((plan.mirrors.len(), plan.left_out), (MOST_MIRRORS, 2));
        assert!(plan.mirrors.contains_key(&last));
    }
}
