//! What the status of a mirror says.

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::apply::{Ended, Outcomes};
use super::observe::Selected;
use super::selection::newest_first;
use crate::api::conditions::Reason;
use crate::api::{
    CopyProgress, DestinationStatus, ImageMirror, ImageMirrorStatus, MirrorCounts, OnTagChange, SeenDigest, TagState,
    TagStatus, UnselectedTag,
};
use crate::controllers::failure::{Failure, Retry};
use crate::controllers::report::{Outcome, cut};

/// How many tags are shown in all destinations together. With [`super::MOST_SELECTED`] digests that were seen, the status
/// stays well below what etcd takes, and with 1,000 it has less than 250 kB.
const SHOWN: usize = 300;

/// The longest message of a tag, in bytes.
const LONGEST_MESSAGE: usize = 300;

/// How one destination ended.
#[derive(Clone, Debug)]
pub(super) struct DestinationOutcome {
    pub(super) registry: String,
    pub(super) uri: Option<String>,
    /// The tags, or why nothing could be mirrored there.
    pub(super) tags: Result<Outcomes, Failure>,
    /// The tags that the mirror wrote there and no longer selects.
    pub(super) unselected: Vec<UnselectedTag>,
    /// The fingerprint of what its tags were verified with.
    pub(super) verified_with: Option<String>,
}

/// All that a look at the source and the destinations showed.
pub(super) struct Looked {
    pub(super) selected: Selected,
    pub(super) seen: Vec<SeenDigest>,
    pub(super) destinations: Vec<DestinationOutcome>,
    /// When the next tag may be pruned.
    pub(super) prune_due: Option<Timestamp>,
}

/// The status after all tags were looked at.
pub(super) fn status(
    mirror: &ImageMirror,
    looked: &Looked,
    next: Option<Timestamp>,
    now: Timestamp,
) -> ImageMirrorStatus {
    let previous = of_this_source(mirror);
    let counts = counts(looked);
    let any = looked.destinations.iter().any(|outcome| outcome.tags.is_ok());
    let shown = (SHOWN / looked.destinations.len().max(1)).max(1);
    ImageMirrorStatus {
        common: Default::default(),
        mirrored: Some(format!("{}/{}", counts.mirrored, counts.selected)),
        counts: Some(counts),
        last_sync_time: if any { Some(Time(now)) } else { previous.last_sync_time.clone() },
        next_sync_time: next.map(whole_second),
        platforms: mirror.spec.platforms.clone(),
        source: Some(mirror.spec.source.image.clone()),
        discovery: None,
        progress: None,
        seen: looked.seen.clone(),
        destinations: destinations(mirror, looked, &previous, shown, now),
    }
}

/// The destinations with all tags, more than a status has room for.
pub(super) fn all_tags(mirror: &ImageMirror, looked: &Looked, now: Timestamp) -> Vec<DestinationStatus> {
    destinations(mirror, looked, &of_this_source(mirror), usize::MAX, now)
}

fn destinations(
    mirror: &ImageMirror,
    looked: &Looked,
    previous: &ImageMirrorStatus,
    shown: usize,
    now: Timestamp,
) -> Vec<DestinationStatus> {
    let order = newest_first(looked.selected.tags.iter().map(String::as_str));
    let destinations = looked.destinations.iter();
    destinations.map(|outcome| destination(outcome, previous, &order, shown, mirror.spec.on_tag_change, now)).collect()
}

/// What the status said before. Tags of another source than the spec has now are what this mirror wrote, and no images of this
/// source.
fn of_this_source(mirror: &ImageMirror) -> ImageMirrorStatus {
    let mut previous = mirror.status.clone().unwrap_or_default();
    if previous.source.as_ref().is_some_and(|source| *source != mirror.spec.source.image) {
        for tag in previous.destinations.iter_mut().flat_map(|destination| &mut destination.tags) {
            tag.state = TagState::Pending;
            tag.source_digest = None;
        }
    }
    previous
}

/// The status while images are copied: what has ended is as it ended, the rest as it was.
pub(super) fn status_so_far(
    mirror: &ImageMirror,
    looked: &Looked,
    progress: CopyProgress,
    now: Timestamp,
) -> ImageMirrorStatus {
    let last_sync_time = mirror.status.as_ref().and_then(|status| status.last_sync_time.clone());
    ImageMirrorStatus { last_sync_time, progress: Some(progress), ..status(mirror, looked, None, now) }
}

fn counts(looked: &Looked) -> MirrorCounts {
    let Selected { found, tags, rejected } = &looked.selected;
    let all = |is: fn(&Ended) -> bool| {
        let everywhere = |name: &&String| {
            !looked.destinations.is_empty()
                && looked.destinations.iter().all(|it| matches!(&it.tags, Ok(tags) if tags.get(*name).is_some_and(is)))
        };
        number(tags.iter().filter(everywhere).count())
    };
    let in_one = |is: fn(&Ended) -> bool| {
        let outcomes = looked.destinations.iter().filter_map(|outcome| outcome.tags.as_ref().ok());
        let names: BTreeSet<&String> =
            outcomes.flatten().filter(|(_, ended)| is(ended)).map(|(name, _)| name).collect();
        number(names.len())
    };
    MirrorCounts {
        found: found.map(number),
        selected: number(tags.len()),
        mirrored: all(|ended| matches!(ended, Ended::Mirrored(_))),
        kept: in_one(|ended| matches!(ended, Ended::Kept { .. })),
        waiting: in_one(|ended| matches!(ended, Ended::Waiting { .. } | Ended::Limited(_))),
        failed: in_one(|ended| matches!(ended, Ended::Failed(_))),
        rejected: rejected.iter().map(|(rule, count)| (rule.to_string(), number(*count))).collect(),
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn destination(
    outcome: &DestinationOutcome,
    previous: &ImageMirrorStatus,
    order: &[&str],
    shown: usize,
    on_tag_change: OnTagChange,
    now: Timestamp,
) -> DestinationStatus {
    let before = previous
        .destinations
        .iter()
        .find(|known| known.registry == outcome.registry && known.repository_uri == outcome.uri);
    let by_name: HashMap<&str, &TagStatus> =
        before.iter().flat_map(|known| &known.tags).map(|tag| (tag.name.as_str(), tag)).collect();
    let known = |name: &str| by_name.get(name).copied();
    let ended = |name: &str| outcome.tags.as_ref().ok().and_then(|tags| tags.get(name));
    let urgency = |name: &str| match (ended(name), known(name).map(|known| known.state)) {
        (Some(Ended::Failed(_)), _) | (None, Some(TagState::Failed)) => 0,
        (Some(Ended::Waiting { .. } | Ended::Limited(_)), _) | (None, Some(TagState::Waiting)) => 1,
        (Some(Ended::Kept { .. }), _) | (None, Some(TagState::Kept)) => 2,
        _ => 3,
    };
    let mut names = order.to_vec();
    names.sort_by_key(|name| urgency(name));
    // A tag that is selected again is still one that this mirror wrote.
    let back = |name: &str| {
        let unselected = before.and_then(|known| known.unselected.iter().find(|tag| tag.name == name))?;
        let mirrored_at = Some(unselected.mirrored_at.clone());
        Some(TagStatus { mirrored_at, digest: Some(unselected.digest.clone()), ..TagStatus::pending(name) })
    };
    let tags = names.iter().take(shown).map(|name| match &outcome.tags {
        Ok(_) => tag(name, ended(name), known(name).or(back(name).as_ref()), on_tag_change, now),
        Err(_) => known(name).cloned().unwrap_or_else(|| TagStatus::pending(name)),
    });
    DestinationStatus {
        registry: outcome.registry.clone(),
        repository_uri: outcome.uri.clone(),
        message: outcome.tags.as_ref().err().map(|failure| failure.message.clone()),
        tags: tags.collect(),
        more_tags: number(names.len().saturating_sub(shown)),
        unselected: outcome.unselected.clone(),
        verified_with: outcome.verified_with.clone(),
    }
}

fn tag(
    name: &str,
    ended: Option<&Ended>,
    known: Option<&TagStatus>,
    on_tag_change: OnTagChange,
    now: Timestamp,
) -> TagStatus {
    // What was mirrored last is still there: its digests stay in the status.
    let before =
        TagStatus { reason: None, message: None, ..known.cloned().unwrap_or_else(|| TagStatus::pending(name)) };
    let told = |state: TagState, reason: Reason, message: String| TagStatus {
        state,
        reason: Some(reason.as_str().to_owned()),
        message: Some(cut(&message, LONGEST_MESSAGE)),
        ..before.clone()
    };
    match ended {
        // It is being copied, or waits for its turn.
        None => known.cloned().unwrap_or_else(|| TagStatus::pending(name)),
        Some(Ended::Mirrored(mirrored)) => TagStatus {
            name: name.to_owned(),
            state: TagState::Mirrored,
            source_digest: Some(mirrored.source_digest.clone()),
            digest: Some(mirrored.digest.clone()),
            mirrored_at: match known.and_then(|known| known.mirrored_at.clone()) {
                before if !mirrored.copied => before,
                _ => Some(Time(now)),
            },
            reason: None,
            message: None,
        },
        Some(Ended::Kept { digest, upstream }) => {
            let before = TagStatus { digest: Some(digest.clone()), ..before.clone() };
            match on_tag_change {
                OnTagChange::Warn => TagStatus {
                    digest: before.digest,
                    ..told(TagState::Kept, Reason::TagMoved, format!("the source has {upstream} under this tag by now"))
                },
                _ => TagStatus { state: TagState::Kept, ..before },
            }
        }
        Some(Ended::Waiting { source_digest, until }) => told(
            TagState::Waiting,
            Reason::TooYoung,
            format!("{source_digest} waits for tags.minAge until {}", second(*until)),
        ),
        Some(Ended::Limited(failure)) => told(TagState::Waiting, failure.reason, failure.message.clone()),
        Some(Ended::Failed(failure)) => told(TagState::Failed, failure.reason, failure.message.clone()),
    }
}

/// A time of the status, without fractions of a second.
pub(super) fn whole_second(time: Timestamp) -> Time {
    Time(second(time))
}

/// A time without fractions of a second.
fn second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// When the first of the waiting tags is old enough.
pub(super) fn first_due(outcomes: &[DestinationOutcome]) -> Option<Timestamp> {
    let ended = outcomes.iter().filter_map(|outcome| outcome.tags.as_ref().ok()).flat_map(|tags| tags.values());
    ended
        .filter_map(|ended| match ended {
            Ended::Waiting { until, .. } => Some(*until),
            _ => None,
        })
        .min()
}

/// Ready when every tag is in every destination, or has a reason of the spec's own not to be.
pub(super) fn outcome(outcomes: &[DestinationOutcome]) -> Outcome {
    let mut failures = Vec::new();
    let (mut mirrored, mut kept, mut waiting, mut limited) = (0, 0, 0, 0);
    for outcome in outcomes {
        match &outcome.tags {
            Err(failure) => failures.push((outcome.registry.as_str(), None, failure)),
            Ok(tags) => {
                for (tag, result) in tags {
                    match result {
                        Ended::Mirrored(_) => mirrored += 1,
                        Ended::Kept { .. } => kept += 1,
                        Ended::Waiting { .. } => waiting += 1,
                        Ended::Failed(failure) | Ended::Limited(failure) => {
                            limited += usize::from(matches!(result, Ended::Limited(_)));
                            failures.push((outcome.registry.as_str(), Some(tag.as_str()), failure));
                        }
                    }
                }
            }
        }
    }
    let all = mirrored + kept + waiting + failures.len();
    let Some((registry, tag, first)) = failures.first() else {
        let mut message = format!("{mirrored} of {all} images are mirrored");
        if waiting > 0 {
            let first =
                first_due(outcomes).map_or_else(String::new, |until| format!(", the first until {}", second(until)));
            message.push_str(&format!("; {waiting} wait for tags.minAge{first}"));
        }
        if kept > 0 {
            message.push_str(&format!("; {kept} moved upstream and are kept as onTagChange says"));
        }
        return Outcome::Ready { message };
    };
    let one_reason = failures.iter().all(|(_, _, failure)| failure.reason == first.reason);
    let of = tag.map_or_else(|| format!("registry {registry}"), |tag| format!("tag {tag}"));
    let message = match failures.len() {
        1 => first.message.clone(),
        count => {
            let what = match limited {
                0 => "failed",
                _ if limited == count => "wait",
                _ => "failed or wait",
            };
            format!("{mirrored} of {all} images are mirrored; {count} {what}, {of} for one: {}", first.message)
        }
    };
    Outcome::Failed(Failure {
        reason: if one_reason { first.reason } else { Reason::SomeTagsFailed },
        message,
        retry: soonest(failures.iter().map(|(_, _, failure)| failure.retry)),
    })
}

/// The soonest of several retries.
fn soonest(retries: impl Iterator<Item = Retry>) -> Retry {
    retries
        .min_by_key(|retry| match retry {
            Retry::Backoff => (0, Timestamp::MIN),
            Retry::At(time) => (1, *time),
            Retry::Stalled => (2, Timestamp::MAX),
        })
        .unwrap_or(Retry::Stalled)
}

#[cfg(test)]
#[path = "status_tests.rs"]
pub(super) mod tests;
