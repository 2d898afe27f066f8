//! How long each tag has been seen with its digest, and whether that is long enough for `tags.minAge`. Nothing here does
//! I/O.
//!
//! What was seen when is part of the status: a ConfigMap for each mirror would need a right to write ConfigMaps in every
//! namespace, and since a mirror selects no more than [`super::MOST_SELECTED`] tags, it fits.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::observe::Digests;
use crate::api::SeenDigest;
use crate::api::conditions::Reason;

/// The digests that the annotation `ecr-operator.io/release` lets through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Releases<'a>(Vec<(Option<&'a str>, &'a str)>);

impl<'a> Releases<'a> {
    /// Reads the annotation: `<digest>` or `<tag>@<digest>`, or several with commas or spaces between them.
    pub(super) fn read(annotation: Option<&'a String>) -> Self {
        let words =
            annotation.into_iter().flat_map(|text| text.split([',', ' ', '\n'])).filter(|word| !word.is_empty());
        Self(words.map(|word| word.split_once('@').map_or((None, word), |(tag, digest)| (Some(tag), digest))).collect())
    }

    fn name(&self, tag: &str, digest: &str) -> bool {
        self.0.iter().any(|(of, released)| *released == digest && of.is_none_or(|of| of == tag))
    }

    /// Whether a digest is named that waits still.
    pub(super) fn would_release(&self, seen: &[SeenDigest]) -> bool {
        seen.iter().any(|seen| !seen.released && self.name(&seen.tag, &seen.digest))
    }
}

/// Takes note of what the source has now. A tag that is as it was before keeps its time, one that moved starts anew, and one
/// that is gone is forgotten. A tag that could not be looked at is as it was.
pub(super) fn observe(
    previous: &[SeenDigest],
    source: &Digests,
    releases: &Releases<'_>,
    now: Timestamp,
) -> Vec<SeenDigest> {
    let before: HashMap<&str, &SeenDigest> = previous.iter().map(|seen| (seen.tag.as_str(), seen)).collect();
    // The API server keeps no fractions of a second.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    source
        .iter()
        // A digest that the spec names is what somebody looked at.
        .filter(|(name, _)| !super::is_digest(name))
        .filter_map(|(tag, found)| {
            let before = before.get(tag.as_str()).copied();
            let mut seen = match found {
                Ok(Some(digest)) => match before.filter(|before| before.digest == *digest) {
                    Some(before) => before.clone(),
                    None => SeenDigest { tag: tag.clone(), digest: digest.clone(), since: Time(now), released: false },
                },
                Ok(None) => return None,
                Err(failure) if failure.reason == Reason::TagNotFound => return None,
                Err(_) => before?.clone(),
            };
            seen.released |= releases.name(&seen.tag, &seen.digest);
            Some(seen)
        })
        .collect()
}

/// The tags that have to wait, and until when.
pub(super) fn waiting(seen: &[SeenDigest], min_age: Duration, now: Timestamp) -> BTreeMap<String, Timestamp> {
    let until = |seen: &SeenDigest| seen.since.0.checked_add(min_age).unwrap_or(Timestamp::MAX);
    let young = seen.iter().filter(|seen| !seen.released && until(seen) > now);
    young.map(|seen| (seen.tag.clone(), until(seen))).collect()
}

/// What was let through just now and would have to wait otherwise.
pub(super) fn newly_released<'s>(
    previous: &[SeenDigest],
    seen: &'s [SeenDigest],
    min_age: Duration,
    now: Timestamp,
) -> Vec<&'s SeenDigest> {
    let was = |it: &SeenDigest| previous.iter().any(|before| before.released && *before == *it);
    let young = |it: &SeenDigest| it.since.0.checked_add(min_age).is_ok_and(|until| until > now);
    seen.iter().filter(|it| it.released && young(it) && !was(it)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::failure::Failure;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn source(tags: &[(&str, &str)]) -> Digests {
        tags.iter().map(|(tag, digest)| ((*tag).to_owned(), Ok(Some((*digest).to_owned())))).collect()
    }

    fn look(previous: &[SeenDigest], tags: &[(&str, &str)], second: i64) -> Vec<SeenDigest> {
        observe(previous, &source(tags), &Releases::default(), at(second))
    }

    fn since(seen: &[SeenDigest]) -> Vec<(&str, i64)> {
        seen.iter().map(|seen| (seen.tag.as_str(), seen.since.0.as_second())).collect()
    }

    #[test]
    fn a_digest_counts_from_when_it_was_first_seen_and_a_moved_tag_starts_anew() {
        let first = look(&[], &[("1", "a"), ("2", "b")], 100);
        let second = look(&first, &[("1", "a"), ("2", "c")], 200);
        assert_eq!(since(&second), [("1", 100), ("2", 200)]);
        let back = look(&second, &[("1", "a"), ("2", "b")], 300);
        assert_eq!(since(&back), [("1", 100), ("2", 300)], "it was not unchanged in between");
    }

    #[test]
    fn a_tag_that_is_gone_is_forgotten_and_one_that_could_not_be_looked_at_is_not() {
        let first = look(&[], &[("1", "a"), ("2", "b"), ("3", "c")], 100);
        let found = Digests::from([
            ("1".to_owned(), Err(Failure::transient(Reason::Unreachable, ""))),
            ("2".to_owned(), Err(Failure::stalled(Reason::TagNotFound, ""))),
            ("4".to_owned(), Err(Failure::transient(Reason::Unreachable, ""))),
        ]);
        assert_eq!(since(&observe(&first, &found, &Releases::default(), at(200))), [("1", 100)]);
    }

    #[test]
    fn a_tag_waits_until_its_digest_is_old_enough() {
        let seen = look(&[], &[("1", "a")], 1000);
        let until = at(1000 + 86_400);
        assert_eq!(waiting(&seen, DAY, at(1000)), BTreeMap::from([("1".to_owned(), until)]));
        assert_eq!(waiting(&seen, DAY, at(1000 + 86_399)).len(), 1);
        assert!(waiting(&seen, DAY, until).is_empty());
    }

    #[test]
    fn the_annotation_lets_one_digest_through_under_any_tag_or_one() {
        let tags = [("1", "sha256:a"), ("2", "sha256:a"), ("3", "sha256:b")];
        for (text, released) in [
            ("sha256:a", &["1", "2"][..]),
            ("2@sha256:a", &["2"]),
            ("1@sha256:b", &[]),
            ("2@sha256:a, sha256:b", &["2", "3"]),
            ("", &[]),
            ("sha256", &[]),
        ] {
            let text = text.to_owned();
            let seen = observe(&[], &source(&tags), &Releases::read(Some(&text)), at(0));
            let found: Vec<&str> = seen.iter().filter(|seen| seen.released).map(|seen| seen.tag.as_str()).collect();
            assert_eq!(found, released, "{text:?}");
            assert_eq!(waiting(&seen, DAY, at(0)).len(), 3 - released.len());
        }
    }

    #[test]
    fn a_release_holds_for_its_digest_only_and_is_told_once() {
        let text = "1@a".to_owned();
        let releases = Releases::read(Some(&text));
        let first = look(&[], &[("1", "a"), ("2", "b")], 0);
        assert!(releases.would_release(&first));
        let released = observe(&first, &source(&[("1", "a"), ("2", "b")]), &releases, at(10));
        let told: Vec<_> = newly_released(&first, &released, DAY, at(10)).iter().map(|it| it.tag.as_str()).collect();
        assert_eq!(told, ["1"]);
        assert!(!releases.would_release(&released));

        // The annotation is gone, the digest stays released; a new one is not.
        let kept = look(&released, &[("1", "a"), ("2", "b")], 20);
        assert!(kept[0].released && newly_released(&released, &kept, DAY, at(20)).is_empty());
        assert!(!look(&kept, &[("1", "c"), ("2", "b")], 30)[0].released);
    }

    #[test]
    fn a_release_of_what_is_old_enough_is_no_news() {
        let text = "a".to_owned();
        let first = look(&[], &[("1", "a")], 0);
        let later = at(2 * 86_400);
        let seen = observe(&first, &source(&[("1", "a")]), &Releases::read(Some(&text)), later);
        assert!(newly_released(&first, &seen, DAY, later).is_empty());
    }

    #[test]
    fn digests_of_the_spec_do_not_wait() {
        let digest = format!("sha256:{}", "0".repeat(64));
        assert!(look(&[], &[(&digest, &digest)], 0).is_empty());
    }
}
