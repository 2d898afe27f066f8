//! What to do about each tag in a destination. Nothing here does I/O.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use super::names::backup_tag;
use super::observe::Digests;
use crate::api::conditions::Reason;
use crate::api::{OnTagChange, TagStatus};
use crate::controllers::failure::Failure;
use crate::ecr::Mutability;

/// What to do about one tag in one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The destination has what the source has.
    Keep { source_digest: String, digest: String },
    /// The image is copied: this digest, whatever the tag names by then.
    Copy { source_digest: String, because: Because, backup: Option<Backup> },
    /// The tag moved upstream, and the destination keeps what it has.
    KeepOld { digest: String, upstream: String },
    /// The digest is too young.
    Wait { source_digest: String, until: Timestamp },
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

/// A tag that keeps what another one names before it moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backup {
    pub(super) tag: String,
    pub(super) digest: String,
}

/// What is asked for and known about one destination.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms<'a> {
    /// What the destination is, for messages: what image names begin with.
    pub(super) uri: &'a str,
    /// The spec names platforms: an index then has another digest in the destination than in the source.
    pub(super) subset: bool,
    /// Where the spec names platforms: what an image of the source becomes, by its digest, as far as it is known.
    pub(super) rewritten: BTreeMap<String, String>,
    /// What the status says of each tag. Empty when the spec has named other platforms since.
    pub(super) previous: BTreeMap<&'a str, &'a TagStatus>,
    pub(super) on_tag_change: OnTagChange,
    pub(super) backup_tag: Option<&'a str>,
    /// Whether tags can be moved, if that is known.
    pub(super) mutability: Option<&'a Mutability>,
    /// The tags that wait for their age, and until when.
    pub(super) waiting: BTreeMap<String, Timestamp>,
    /// The tags that the lifecycle policy has no room for, each with the rule.
    pub(super) crowded_out: BTreeMap<String, String>,
    /// The tags that older mirrors write, each with its mirror.
    pub(super) rivals: BTreeMap<String, String>,
}

/// Decides about all tags and digests in one destination.
pub(super) fn plan(source: &Digests, destination: &Digests, terms: &Terms<'_>) -> BTreeMap<String, Step> {
    source
        .iter()
        .map(|(tag, wanted)| {
            let present = destination.get(tag).unwrap_or(&Ok(None));
            let step = match (wanted, present) {
                (Err(failure), _) | (_, Err(failure)) => Step::Fail(failure.clone()),
                // What is missing at the source has been replaced by its reason.
                (Ok(None), _) => {
                    Step::Fail(Failure::stalled(Reason::TagNotFound, format!("the source has no {tag:?}")))
                }
                (Ok(Some(wanted)), Ok(present)) => terms.step(tag, wanted, present.as_deref()),
            };
            (tag.clone(), step)
        })
        .collect()
}

impl Terms<'_> {
    fn step(&self, tag: &str, wanted: &str, present: Option<&str>) -> Step {
        let source_digest = wanted.to_owned();
        if let Some(digest) = present.filter(|present| self.belong(tag, wanted, present)) {
            return Step::Keep { source_digest, digest: digest.to_owned() };
        }
        if let Some(other) = self.rivals.get(tag) {
            return Step::Fail(Failure::stalled(
                Reason::OwnedByAnother,
                format!("{other} writes {}:{tag} and is older: leave the tag out in one of the two", self.uri),
            ));
        }
        let Some(present) = present else {
            return match (self.waiting.get(tag), self.crowded_out.get(tag)) {
                (Some(until), _) => Step::Wait { source_digest, until: *until },
                (None, Some(rule)) => Step::Fail(Failure::stalled(
                    Reason::LifecycleConflict,
                    format!(
                        "it is not copied: the lifecycle policy of {} has no room for it and would take it away again, {rule}; let the rule keep more, or select fewer tags",
                        self.uri
                    ),
                )),
                (None, None) => Step::Copy { source_digest, because: Because::Missing, backup: None },
            };
        };
        // With other platforms than at the last look nobody knows yet what the image becomes: it may be what is there.
        let unknown = self.subset && !self.rewritten.contains_key(wanted) && !self.previous.contains_key(tag);
        if self.on_tag_change != OnTagChange::Copy && self.moved_upstream(tag, wanted) && !unknown {
            return Step::KeepOld { digest: present.to_owned(), upstream: source_digest };
        }
        if !unknown && self.mutability.is_some_and(|mutability| mutability.is_fixed(tag)) {
            return Step::Fail(Failure::stalled(
                Reason::TagImmutable,
                format!(
                    "{}:{tag} is immutable and names another image, {present}, than the source does, {wanted}: nothing was sent; delete the tag there, or make it mutable (tagMutability, mutableTags)",
                    self.uri
                ),
            ));
        }
        if let Some(until) = self.waiting.get(tag) {
            return Step::Wait { source_digest, until: *until };
        }
        let backup = self
            .backup_tag
            .map(|pattern| Backup { tag: backup_tag(pattern, tag, present), digest: present.to_owned() });
        Step::Copy { source_digest, because: Because::Differs, backup }
    }

    /// Whether a digest in the destination is what one of the source becomes.
    fn belong(&self, tag: &str, source_digest: &str, digest: &str) -> bool {
        if !self.subset || super::is_digest(tag) {
            return source_digest == digest;
        }
        let told = self.previous.get(tag).is_some_and(|known| {
            known.source_digest.as_deref() == Some(source_digest) && known.digest.as_deref() == Some(digest)
        });
        told || self.rewritten.get(source_digest).is_some_and(|rewritten| rewritten == digest)
    }

    /// Whether the tag names another image at the source than at the last copy. If it does not, somebody moved it in the
    /// destination, and that is put right. Without a record of the last copy it may have moved, and what is there is not ours
    /// to overwrite.
    fn moved_upstream(&self, tag: &str, wanted: &str) -> bool {
        let copied = self.previous.get(tag).and_then(|known| known.source_digest.as_deref());
        copied.is_none_or(|copied| copied != wanted)
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
