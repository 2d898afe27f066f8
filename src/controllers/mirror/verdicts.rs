//! Which images have to be verified, and what happens to those that are not. Nothing here does I/O.

use std::collections::{BTreeMap, HashMap};

use oci_copy::Digest;

use super::plan::Step;
use crate::api::conditions::Reason;
use crate::api::{DestinationStatus, TagState, TagStatus};
use crate::controllers::failure::Failure;
use crate::verify::Rejection;

/// How many reasons a message has.
const REASONS: usize = 2;

/// The tags that have to be verified before the steps are taken, with their digests at the source: what would be copied, and
/// what is there already unless the status says that it was verified by the same policy.
pub(super) fn unsettled(
    steps: &BTreeMap<String, Step>,
    known: Option<&DestinationStatus>,
    fingerprint: &str,
) -> BTreeMap<String, String> {
    let known = known.filter(|known| known.verified_with.as_deref() == Some(fingerprint));
    let tags: HashMap<&str, &TagStatus> =
        known.iter().flat_map(|known| &known.tags).map(|tag| (tag.name.as_str(), tag)).collect();
    // The status has no room for all tags. Those that failed come first in it, so where it has others too, no tag failed that
    // it has no room for.
    let hidden_ones_are_good =
        known.is_some_and(|known| known.more_tags > 0 && known.tags.iter().any(|tag| tag.state != TagState::Failed));
    let is_settled = |tag: &str, digest: &str| match tags.get(tag) {
        Some(tag) => tag.state == TagState::Mirrored && tag.source_digest.as_deref() == Some(digest),
        None => hidden_ones_are_good,
    };
    let needed = steps.iter().filter_map(|(tag, step)| {
        let digest = match step {
            Step::Copy { source_digest, .. } => source_digest,
            Step::Keep { source_digest, .. } if !is_settled(tag, source_digest) => source_digest,
            Step::Keep { .. } | Step::KeepOld { .. } | Step::Wait { .. } | Step::Fail(_) => return None,
        };
        Some((tag.clone(), digest.clone()))
    });
    needed.collect()
}

/// Of the tags that had to be verified, lets those fail that are not: they are not copied, and what is there already does not
/// count as mirrored.
pub(super) fn refuse(
    steps: &mut BTreeMap<String, Step>,
    unsettled: &BTreeMap<String, String>,
    unverified: &BTreeMap<String, Failure>,
) {
    for (tag, digest) in unsettled {
        let (Some(failure), Some(step)) = (unverified.get(digest), steps.get_mut(tag)) else { continue };
        let there = match step {
            Step::Keep { .. } => "it was in the destination before, and is still there",
            _ => "it is not copied",
        };
        *step = Step::Fail(Failure { message: format!("{}; {there}", failure.message), ..failure.clone() });
    }
}

/// Why an image is not verified: none of the signatures that were found counts. `unlisted` is why others could not be found.
pub(super) fn failure(digest: &Digest, rejections: &[Rejection], unlisted: Option<&str>) -> Failure {
    let unlisted = unlisted.map_or_else(String::new, |error| format!(", as far as its source says: {error}"));
    if rejections.is_empty() {
        return Failure::stalled(
            Reason::SignatureNotFound,
            format!("spec.verify asks for a cosign signature and {digest} has none{unlisted}"),
        );
    }
    let mut reasons: Vec<String> = Vec::new();
    for rejection in rejections {
        let reason = rejection.to_string();
        if !reasons.contains(&reason) && reasons.len() < REASONS {
            reasons.push(reason);
        }
    }
    let of = match rejections.len() {
        1 => "the only signature".to_owned(),
        count => format!("any of {count} signatures"),
    };
    Failure::stalled(
        Reason::NotVerified,
        format!("spec.verify does not accept {of} of {digest}: {}{unlisted}", reasons.join("; ")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::mirror::plan::Because;
    use k8s_openapi::jiff::Timestamp;

    fn copy(digest: &str) -> Step {
        Step::Copy { source_digest: digest.into(), because: Because::Missing, backup: None }
    }

    fn keep(digest: &str) -> Step {
        Step::Keep { source_digest: digest.into(), digest: digest.into() }
    }

    fn steps(steps: &[(&str, Step)]) -> BTreeMap<String, Step> {
        steps.iter().map(|(tag, step)| ((*tag).to_owned(), step.clone())).collect()
    }

    fn told(name: &str, state: TagState, digest: &str) -> TagStatus {
        TagStatus { state, source_digest: Some(digest.into()), ..TagStatus::pending(name) }
    }

    fn status(tags: Vec<TagStatus>, more_tags: u32) -> DestinationStatus {
        DestinationStatus { verified_with: Some("p".into()), tags, more_tags, ..DestinationStatus::default() }
    }

    fn needed(planned: &[(&str, Step)], known: &DestinationStatus, fingerprint: &str) -> Vec<String> {
        unsettled(&steps(planned), Some(known), fingerprint).into_keys().collect()
    }

    #[test]
    fn what_would_be_copied_is_verified_each_time() {
        let known = status(vec![told("1", TagState::Mirrored, "a")], 0);
        assert_eq!(needed(&[("1", copy("a")), ("2", copy("a")), ("3", copy("b"))], &known, "p"), ["1", "2", "3"]);
    }

    #[test]
    fn what_is_there_is_verified_once_by_each_policy() {
        let known = status(vec![told("1", TagState::Mirrored, "a"), told("2", TagState::Failed, "b")], 0);
        let planned = [("1", keep("a")), ("2", keep("b")), ("3", keep("c"))];
        assert_eq!(needed(&planned, &known, "p"), ["2", "3"], "what failed, and what the status does not know");
        assert_eq!(needed(&planned, &known, "another"), ["1", "2", "3"]);
        assert_eq!(unsettled(&steps(&planned), None, "p")["3"], "c");
        assert_eq!(needed(&[("1", keep("moved"))], &known, "p"), ["1"]);
    }

    #[test]
    fn tags_that_the_status_has_no_room_for_are_good_unless_all_that_it_shows_failed() {
        let some = status(vec![told("1", TagState::Failed, "a"), told("2", TagState::Mirrored, "b")], 1);
        assert!(needed(&[("3", keep("c"))], &some, "p").is_empty());
        let all = status(vec![told("1", TagState::Failed, "a"), told("2", TagState::Failed, "b")], 1);
        assert_eq!(needed(&[("3", keep("c"))], &all, "p"), ["3"]);
    }

    #[test]
    fn what_is_not_copied_is_not_verified() {
        let planned = [
            ("1", Step::KeepOld { digest: "a".into(), upstream: "b".into() }),
            ("2", Step::Wait { source_digest: "c".into(), until: Timestamp::UNIX_EPOCH }),
            ("3", Step::Fail(Failure::stalled(Reason::TagNotFound, ""))),
        ];
        assert!(unsettled(&steps(&planned), None, "p").is_empty());
    }

    #[test]
    fn an_unverified_image_is_not_copied_and_does_not_count_as_mirrored() {
        let mut planned = steps(&[("1", copy("bad")), ("2", keep("bad")), ("3", copy("good")), ("4", keep("bad"))]);
        let known = status(vec![told("4", TagState::Mirrored, "bad")], 0);
        let doubtful = unsettled(&planned, Some(&known), "p");
        let why = Failure::stalled(Reason::NotVerified, "why");
        refuse(&mut planned, &doubtful, &BTreeMap::from([("bad".to_owned(), why)]));
        let message = |tag: &str| match &planned[tag] {
            Step::Fail(failure) if failure.reason == Reason::NotVerified => failure.message.clone(),
            step => panic!("{step:?}"),
        };
        assert_eq!(message("1"), "why; it is not copied");
        assert_eq!(message("2"), "why; it was in the destination before, and is still there");
        assert_eq!(planned["3"], copy("good"));
        assert_eq!(planned["4"], keep("bad"), "it was verified when it was copied");
    }

    #[test]
    fn a_failure_says_whether_there_is_a_signature_and_why_none_counts() {
        let digest = Digest::sha256(b"x");
        let none = failure(&digest, &[], None);
        assert_eq!(none.reason, Reason::SignatureNotFound);
        assert!(none.message.contains(digest.as_str()), "{none}");
        assert!(failure(&digest, &[], Some("403")).message.contains("403"));

        let one = failure(&digest, &[Rejection::UnknownKey], None);
        assert_eq!(one.reason, Reason::NotVerified);
        assert!(
            one.message.contains("the only signature") && one.message.contains("none of verify.cosign.keys"),
            "{one}"
        );
        let other = || Rejection::OtherImage("y".into());
        let rejections = [Rejection::UnknownKey, Rejection::UnknownKey, other(), Rejection::KeysOnly];
        let many = failure(&digest, &rejections, None);
        assert!(many.message.contains("any of 4 signatures"), "{many}");
        assert_eq!(many.message.matches("none of verify.cosign.keys").count(), 1, "{many}");
        assert!(many.message.contains("\"y\"") && !many.message.contains("keyless"), "{many}");
    }
}
