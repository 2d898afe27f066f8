//! What becomes of a service account's `imagePullSecrets`. Nothing here does I/O.

use std::collections::BTreeMap;

/// A service account's list, and which of our objects put which entry there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present<'a> {
    /// The names of the Secrets, in order.
    pub pulls: Vec<&'a str>,
    /// The entry that each object put there, by the object's UID.
    pub claims: BTreeMap<&'a str, &'a str>,
}

/// What a list becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The names of the Secrets, in order.
    pub pulls: Vec<String>,
    /// The entry that the object put there, if it did.
    pub claim: Option<String>,
}

/// What an object's entry in the list takes: that it names `secret`, or that there is none. What others put there stays, at
/// its place; an entry that was there before is theirs, also if it has the name of ours.
pub fn change(present: &Present<'_>, uid: &str, secret: Option<&str>) -> Option<Change> {
    let Present { pulls: before, claims } = present;
    let claimed = claims.get(uid).copied();
    let is_anothers = |name: &str| claims.iter().any(|(other, claim)| *other != uid && *claim == name);
    let mut pulls = before.clone();
    if let Some(old) = claimed
        && secret != Some(old)
        && !is_anothers(old)
        && let Some(at) = pulls.iter().rposition(|name| *name == old)
    {
        pulls.remove(at);
    }
    let claim = secret.filter(|name| {
        if !pulls.contains(name) {
            pulls.push(name);
            return true;
        }
        claimed == Some(*name) || is_anothers(name)
    });
    (pulls != *before || claim != claimed)
        .then(|| Change { pulls: pulls.into_iter().map(str::to_owned).collect(), claim: claim.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: &str = "uid-of-ours";

    fn present<'a>(pulls: &[&'a str], claims: &[(&'a str, &'a str)]) -> Present<'a> {
        Present { pulls: pulls.to_vec(), claims: claims.iter().copied().collect() }
    }

    fn to(pulls: &[&str], claim: Option<&str>) -> Option<Change> {
        Some(Change { pulls: pulls.iter().map(|name| (*name).to_owned()).collect(), claim: claim.map(str::to_owned) })
    }

    #[test]
    fn an_entry_is_added_at_the_end_and_removed_from_where_it_is() {
        assert_eq!(change(&present(&[], &[]), US, Some("ecr")), to(&["ecr"], Some("ecr")));
        assert_eq!(change(&present(&["b", "a"], &[]), US, Some("ecr")), to(&["b", "a", "ecr"], Some("ecr")));
        let ours = present(&["b", "ecr", "a"], &[(US, "ecr")]);
        assert_eq!(change(&ours, US, Some("ecr")), None);
        assert_eq!(change(&ours, US, None), to(&["b", "a"], None));
    }

    #[test]
    fn an_entry_that_was_there_before_stays() {
        let theirs = present(&["ecr", "a"], &[]);
        assert_eq!(change(&theirs, US, Some("ecr")), None);
        assert_eq!(change(&theirs, US, None), None);
        let twice = present(&["ecr", "a", "ecr"], &[(US, "ecr")]);
        assert_eq!(change(&twice, US, None), to(&["ecr", "a"], None), "ours came last");
    }

    #[test]
    fn an_entry_that_somebody_took_away_is_put_back_and_its_claim_goes_with_it() {
        assert_eq!(change(&present(&["a"], &[(US, "ecr")]), US, Some("ecr")), to(&["a", "ecr"], Some("ecr")));
        assert_eq!(change(&present(&["a"], &[(US, "ecr")]), US, None), to(&["a"], None));
    }

    #[test]
    fn a_secret_of_another_name_takes_the_place_of_the_old_one() {
        let ours = present(&["a", "old", "b"], &[(US, "old")]);
        assert_eq!(change(&ours, US, Some("new")), to(&["a", "b", "new"], Some("new")));
        let both = present(&["old", "new"], &[(US, "old")]);
        assert_eq!(change(&both, US, Some("new")), to(&["new"], None), "new is theirs");
    }

    #[test]
    fn an_entry_of_two_objects_goes_with_the_last() {
        let shared = present(&["ecr"], &[("another", "ecr")]);
        assert_eq!(change(&shared, US, Some("ecr")), to(&["ecr"], Some("ecr")));
        let shared = present(&["ecr"], &[("another", "ecr"), (US, "ecr")]);
        assert_eq!(change(&shared, US, None), to(&["ecr"], None));
        assert_eq!(change(&shared, US, Some("ecr")), None);
    }
}
