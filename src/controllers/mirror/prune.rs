//! Tags that the mirror wrote and no longer selects: which of them go, and when. [`departed`] and [`judge`] decide; [`prune`]
//! is the I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::runtime::events::EventType;

use super::observe::{self, Digests};
use super::{is_digest, rivals, sync};
use crate::api::conditions::Reason;
use crate::api::{DestinationStatus, ImageMirror, UnselectedTag};
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;
use crate::controllers::report::cut;
use crate::controllers::workloads::{Usage, WorkloadName};
use crate::ecr::Ecr;

/// How many tags that are no longer selected are remembered of all destinations together. What is not remembered stays.
const REMEMBERED: usize = 300;

/// How many users of an image a message names.
const NAMED: usize = 3;

/// The longest message of a tag, in bytes.
const LONGEST_MESSAGE: usize = 300;

/// What the mirror wrote to a destination and no longer selects, and since when: what was known, and what has left since.
///
/// Where nothing at all is selected, nothing is new here: rather than that, the source has lost its tags.
pub(super) fn departed(
    before: Option<&DestinationStatus>,
    selected: &BTreeSet<&str>,
    destinations: usize,
    now: Timestamp,
) -> Vec<UnselectedTag> {
    let Some(before) = before else { return Vec::new() };
    let is_gone = |name: &str| !selected.contains(name);
    let mut all: BTreeMap<&str, UnselectedTag> = BTreeMap::new();
    if !selected.is_empty() {
        // A digest of the spec has no tag that could be taken away.
        for tag in before.tags.iter().filter(|tag| is_gone(&tag.name) && !is_digest(&tag.name)) {
            let (Some(digest), Some(mirrored_at)) = (tag.digest.clone(), tag.mirrored_at.clone()) else { continue };
            let (name, since) = (tag.name.clone(), Time(now));
            all.insert(&tag.name, UnselectedTag { name, digest, mirrored_at, since, message: None });
        }
    }
    for tag in before.unselected.iter().filter(|tag| is_gone(&tag.name)) {
        all.insert(&tag.name, UnselectedTag { message: None, ..tag.clone() });
    }
    let mut all: Vec<_> = all.into_values().collect();
    // Those that left first have a date to keep.
    all.sort_by(|a, b| (a.since.0, &a.name).cmp(&(b.since.0, &b.name)));
    all.truncate((REMEMBERED / destinations.max(1)).max(1));
    all
}

/// When a tag may go.
pub(super) fn due(tag: &UnselectedTag, after: Duration) -> Timestamp {
    let after = SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX);
    tag.since.0.checked_add(after).unwrap_or(Timestamp::MAX)
}

/// When the first of the remembered tags may go that nothing keeps.
pub(super) fn first_due(unselected: &[UnselectedTag], after: Duration) -> Option<Timestamp> {
    unselected.iter().filter(|tag| tag.message.is_none()).map(|tag| due(tag, after)).min()
}

/// What becomes of a tag that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// It goes.
    Delete,
    /// It stays, for now.
    Keep { because: String },
    /// It is none of the mirror's business any more: somebody else moved or deleted it.
    Forget,
}

/// Decides about a tag that is due. `present` is what the tag names now, `others` who else writes it.
fn judge(
    tag: &UnselectedTag,
    present: Option<&Result<Option<String>, Failure>>,
    usage: &Usage,
    others: &BTreeMap<String, String>,
) -> Verdict {
    match present {
        Some(Ok(Some(digest))) if *digest == tag.digest => {}
        Some(Err(failure)) => return Verdict::Keep { because: format!("what it names is not known: {failure}") },
        _ => return Verdict::Forget,
    }
    if let Some(other) = others.get(&tag.name) {
        return Verdict::Keep { because: format!("{other} selects it") };
    }
    let uses = match usage {
        Usage::Known(uses) => uses,
        Usage::Filling => return Verdict::Keep { because: "the cluster's workloads are being read".to_owned() },
        Usage::Unknown { problem } => {
            let because = format!("what the cluster's workloads use is not known, they can't be read: {problem}");
            return Verdict::Keep { because };
        }
    };
    let users = uses.of_image(&tag.digest, std::slice::from_ref(&tag.name));
    match users.is_empty() {
        true => Verdict::Delete,
        false => Verdict::Keep { because: format!("in use by {}", names(&users)) },
    }
}

fn names(users: &BTreeSet<&WorkloadName>) -> String {
    let some: Vec<String> = users.iter().take(NAMED).map(ToString::to_string).collect();
    match users.len().saturating_sub(NAMED) {
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}

/// Where tags are pruned.
pub(super) struct Place<'a> {
    pub(super) engine: &'a oci_copy::Engine,
    pub(super) ecr: &'a Arc<Ecr>,
    pub(super) registry: &'a str,
    pub(super) repository: &'a str,
}

/// Takes away the tags of a destination that are due, and says which stay.
pub(super) async fn prune(
    mirror: &ImageMirror,
    context: &Context,
    place: &Place<'_>,
    departed: Vec<UnselectedTag>,
    after: Duration,
    now: Timestamp,
) -> Vec<UnselectedTag> {
    let (ripe, mut kept): (Vec<_>, Vec<_>) = departed.into_iter().partition(|tag| due(tag, after) <= now);
    if ripe.is_empty() {
        return kept;
    }
    let usage = context.workloads.of_repository(&place.ecr.repository_uris(place.repository));
    let present = present(place, &ripe).await;
    let mirrors = context.mirrors.store.state();
    let others =
        rivals::others(mirror, &mirrors, place.registry, place.repository, ripe.iter().map(|tag| tag.name.as_str()));
    let mut doomed = Vec::new();
    for tag in ripe {
        match judge(&tag, present.get(&tag.name), &usage, &others) {
            Verdict::Delete => doomed.push(tag),
            Verdict::Keep { because } => kept.push(told(tag, &because)),
            Verdict::Forget => {}
        }
    }
    kept.extend(delete(mirror, context, place, doomed).await);
    kept
}

fn told(tag: UnselectedTag, because: &str) -> UnselectedTag {
    UnselectedTag { message: Some(cut(because, LONGEST_MESSAGE)), ..tag }
}

/// What the tags name now, one request each: few are due at once.
async fn present(place: &Place<'_>, tags: &[UnselectedTag]) -> Digests {
    let repository = oci_copy::Repository::new(&place.ecr.host, place.repository);
    let names: Vec<String> = tags.iter().map(|tag| tag.name.clone()).collect();
    let references = repository.and_then(|repository| sync::references(&repository, &names));
    match references {
        Ok(references) => observe::digests(place.engine, &references, &place.ecr.host).await,
        Err(error) => {
            let failure = Failure::stalled(Reason::InvalidSpec, error.to_string());
            names.into_iter().map(|name| (name, Err(failure.clone()))).collect()
        }
    }
}

/// Deletes tags, tells of it, and says which are still there.
async fn delete(
    mirror: &ImageMirror,
    context: &Context,
    place: &Place<'_>,
    doomed: Vec<UnselectedTag>,
) -> Vec<UnselectedTag> {
    if doomed.is_empty() {
        return doomed;
    }
    let names: Vec<String> = doomed.iter().map(|tag| tag.name.clone()).collect();
    let failed = match place.ecr.delete_tags(place.repository, &names).await {
        Ok(failed) => failed,
        Err(error) => {
            let words = Failure::from(error).to_string();
            names.iter().map(|name| (name.clone(), words.clone())).collect()
        }
    };
    let (kept, gone): (Vec<_>, Vec<_>) = doomed.into_iter().partition(|tag| failed.contains_key(&tag.name));
    let uri = place.ecr.repository_uri(place.repository);
    if !gone.is_empty() {
        gone.iter().for_each(|_| context.metrics.tag("pruned"));
        let words: Vec<String> = gone.iter().map(|tag| format!("{} ({})", tag.name, tag.digest)).collect();
        let note = format!("deleted from {uri}, no longer selected: {}", words.join(", "));
        tracing::info!("{note}");
        context.event(mirror, EventType::Normal, "Pruned", note).await;
    }
    if let Some((tag, words)) = failed.first_key_value() {
        let note = format!("{} tags of {uri} could not be deleted, {tag} for one: {words}", failed.len());
        context.event(mirror, EventType::Warning, "PruneFailed", note).await;
    }
    kept.into_iter()
        .map(|tag| {
            let because = format!("it could not be deleted: {}", failed[&tag.name]);
            told(tag, &because)
        })
        .collect()
}

#[cfg(test)]
#[path = "prune_tests.rs"]
mod tests;
