//! What to do about each tag in a destination. Nothing here does I/O.

use std::collections::BTreeMap;

use super::observe::Digests;
use crate::api::TagStatus;
use crate::controllers::failure::Failure;

/// What to do about one tag in one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The destination has what the source has.
    Keep { source_digest: String, digest: String },
    /// The image is copied.
    Copy(Because),
    /// Nothing can be done.
    Fail(Failure),
}

/// Why an image is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Because {
    /// The destination does not have the tag.
    Missing,
    /// The tag names another image in the destination than in the source.
    Differs,
}

/// Decides about all tags in one destination.
///
/// `subset` says that the spec names platforms: an index then has another digest in the destination than in the source,
/// and `previous` is where the two were last seen to belong together. It is empty when the spec has
/// named other platforms since.
pub(super) fn plan(
    source: &Digests,
    destination: &Digests,
    subset: bool,
    previous: &BTreeMap<&str, &TagStatus>,
) -> BTreeMap<String, Step> {
    source
        .iter()
        .map(|(tag, wanted)| {
            let present = destination.get(tag).unwrap_or(&Ok(None));
            let belongs = |source_digest: &str, digest: &str| match previous.get(tag.as_str()) {
                Some(known) if subset => {
                    known.source_digest.as_deref() == Some(source_digest) && known.digest.as_deref() == Some(digest)
                }
                _ => !subset && source_digest == digest,
            };
            (tag.clone(), step(wanted, present, belongs))
        })
        .collect()
}

fn step(
    wanted: &Result<Option<String>, Failure>,
    present: &Result<Option<String>, Failure>,
    belongs: impl Fn(&str, &str) -> bool,
) -> Step {
    match (wanted, present) {
        (Err(failure), _) | (_, Err(failure)) => Step::Fail(failure.clone()),
        // What is missing at the source is replaced by its reason before it gets here; a copy finds out anew.
        (Ok(None), _) | (_, Ok(None)) => Step::Copy(Because::Missing),
        (Ok(Some(source_digest)), Ok(Some(digest))) if belongs(source_digest, digest) => {
            Step::Keep { source_digest: source_digest.clone(), digest: digest.clone() }
        }
        _ => Step::Copy(Because::Differs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::TagState;
    use crate::api::conditions::Reason;

    fn digests(tag: &str, digest: Option<&str>) -> Digests {
        Digests::from([(tag.to_owned(), Ok(digest.map(str::to_owned)))])
    }

    fn status(source_digest: &str, digest: &str) -> TagStatus {
        TagStatus {
            name: "1".into(),
            state: TagState::Mirrored,
            source_digest: Some(source_digest.into()),
            digest: Some(digest.into()),
            mirrored_at: None,
            reason: None,
            message: None,
        }
    }

    fn one(source: Option<&str>, destination: Option<&str>, subset: bool, previous: Option<&TagStatus>) -> Step {
        let previous = previous.map(|status| ("1", status)).into_iter().collect();
        plan(&digests("1", source), &digests("1", destination), subset, &previous).remove("1").expect("planned")
    }

    #[test]
    fn equal_digests_are_kept() {
        let keep = Step::Keep { source_digest: "a".into(), digest: "a".into() };
        assert_eq!(one(Some("a"), Some("a"), false, None), keep);
    }

    #[test]
    fn a_missing_or_other_image_is_copied() {
        assert_eq!(one(Some("a"), None, false, None), Step::Copy(Because::Missing));
        assert_eq!(one(Some("b"), Some("a"), false, None), Step::Copy(Because::Differs));
    }

    #[test]
    fn a_subset_is_kept_while_both_digests_are_the_ones_of_the_last_copy() {
        let known = status("a", "x");
        let keep = Step::Keep { source_digest: "a".into(), digest: "x".into() };
        assert_eq!(one(Some("a"), Some("x"), true, Some(&known)), keep);
        assert_eq!(one(Some("b"), Some("x"), true, Some(&known)), Step::Copy(Because::Differs));
        assert_eq!(one(Some("a"), Some("y"), true, Some(&known)), Step::Copy(Because::Differs));
        assert_eq!(one(Some("a"), Some("x"), true, None), Step::Copy(Because::Differs), "the platforms changed");
    }

    #[test]
    fn what_could_not_be_looked_at_fails_alone() {
        let failure = Failure::transient(Reason::Unreachable, "away");
        let mut source = digests("1", Some("a"));
        source.insert("2".into(), Err(failure.clone()));
        let mut destination = digests("1", Some("a"));
        destination.insert("2".into(), Ok(None));
        let steps = plan(&source, &destination, false, &BTreeMap::new());
        assert!(matches!(steps["1"], Step::Keep { .. }));
        assert_eq!(steps["2"], Step::Fail(failure));
    }
}
