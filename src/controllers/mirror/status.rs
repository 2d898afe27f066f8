//! What the status of a mirror says.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::apply::Outcomes;
use crate::api::conditions::Reason;
use crate::api::{DestinationStatus, ImageMirror, ImageMirrorStatus, TagState, TagStatus};
use crate::controllers::failure::{Failure, Retry};
use crate::controllers::report::Outcome;

/// How one destination ended.
pub(super) struct DestinationOutcome {
    pub(super) registry: String,
    pub(super) uri: Option<String>,
    /// The tags, or why nothing could be mirrored there.
    pub(super) tags: Result<Outcomes, Failure>,
}

/// The status after all tags were looked at.
pub(super) fn status(mirror: &ImageMirror, outcomes: &[DestinationOutcome], now: Timestamp) -> ImageMirrorStatus {
    let previous = mirror.status.clone().unwrap_or_default();
    let names = &mirror.spec.tags.names;
    let everywhere = names.iter().filter(|name| {
        outcomes.iter().all(|outcome| matches!(&outcome.tags, Ok(tags) if matches!(tags.get(*name), Some(Ok(_)))))
    });
    let looked = outcomes.iter().any(|outcome| outcome.tags.is_ok());
    ImageMirrorStatus {
        common: Default::default(),
        mirrored: Some(format!("{}/{}", everywhere.count(), names.len())),
        last_sync_time: if looked { Some(Time(now)) } else { previous.last_sync_time.clone() },
        platforms: mirror.spec.platforms.clone(),
        destinations: outcomes.iter().map(|outcome| destination(outcome, &previous, names, now)).collect(),
    }
}

fn destination(
    outcome: &DestinationOutcome,
    previous: &ImageMirrorStatus,
    names: &[String],
    now: Timestamp,
) -> DestinationStatus {
    let before = previous
        .destinations
        .iter()
        .find(|known| known.registry == outcome.registry && known.repository_uri == outcome.uri);
    let known = |name: &str| before.and_then(|known| known.tags.iter().find(|tag| tag.name == name));
    let tags = names
        .iter()
        .map(|name| match &outcome.tags {
            Ok(tags) => tag(name, tags.get(name), known(name), now),
            Err(_) => known(name).cloned().unwrap_or_else(|| pending(name)),
        })
        .collect();
    DestinationStatus {
        registry: outcome.registry.clone(),
        repository_uri: outcome.uri.clone(),
        message: outcome.tags.as_ref().err().map(|failure| failure.message.clone()),
        tags,
    }
}

fn pending(name: &str) -> TagStatus {
    TagStatus {
        name: name.to_owned(),
        state: TagState::Pending,
        source_digest: None,
        digest: None,
        mirrored_at: None,
        reason: None,
        message: None,
    }
}

fn tag(
    name: &str,
    outcome: Option<&Result<super::apply::Mirrored, Failure>>,
    known: Option<&TagStatus>,
    now: Timestamp,
) -> TagStatus {
    match outcome {
        None => pending(name),
        Some(Ok(mirrored)) => TagStatus {
            name: name.to_owned(),
            state: TagState::Mirrored,
            source_digest: Some(mirrored.source_digest.clone()),
            digest: Some(mirrored.digest.clone()),
            mirrored_at: match known.and_then(|known| known.mirrored_at.clone()) {
                Some(before) if !mirrored.copied => Some(before),
                _ => Some(Time(now)),
            },
            reason: None,
            message: None,
        },
        // What was mirrored last is still there: its digests stay in the status.
        Some(Err(failure)) => TagStatus {
            state: TagState::Failed,
            reason: Some(failure.reason.as_str().to_owned()),
            message: Some(failure.message.clone()),
            ..known.cloned().unwrap_or_else(|| pending(name))
        },
    }
}

/// Ready when every tag is in every destination.
pub(super) fn outcome(outcomes: &[DestinationOutcome]) -> Outcome {
    let mut failures = Vec::new();
    let mut mirrored = 0;
    for outcome in outcomes {
        match &outcome.tags {
            Err(failure) => failures.push((outcome.registry.as_str(), None, failure)),
            Ok(tags) => {
                for (tag, result) in tags {
                    match result {
                        Ok(_) => mirrored += 1,
                        Err(failure) => failures.push((outcome.registry.as_str(), Some(tag.as_str()), failure)),
                    }
                }
            }
        }
    }
    let Some((registry, tag, first)) = failures.first() else {
        return Outcome::Ready { message: format!("{mirrored} of {mirrored} images are mirrored") };
    };
    let one_reason = failures.iter().all(|(_, _, failure)| failure.reason == first.reason);
    let of = tag.map_or_else(|| format!("registry {registry}"), |tag| format!("tag {tag}"));
    let message = match failures.len() {
        1 => first.message.clone(),
        count => format!(
            "{mirrored} of {} images are mirrored; {count} failed, {of} for one: {}",
            mirrored + count,
            first.message
        ),
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
mod tests {
    use super::*;
    use crate::api::ImageMirrorSpec;
    use crate::controllers::mirror::apply::Mirrored;

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).expect("in range")
    }

    fn mirror(tags: &[&str]) -> ImageMirror {
        let mut spec = ImageMirrorSpec::default();
        spec.tags.names = tags.iter().map(|tag| (*tag).to_owned()).collect();
        ImageMirror::new("nginx", spec)
    }

    fn mirrored(digest: &str, copied: bool) -> Result<Mirrored, Failure> {
        Ok(Mirrored { source_digest: digest.into(), digest: digest.into(), copied })
    }

    fn failed(reason: Reason, retry: Retry) -> Result<Mirrored, Failure> {
        Err(Failure { reason, message: format!("because of {reason}"), retry })
    }

    fn destination(tags: Vec<(&str, Result<Mirrored, Failure>)>) -> DestinationOutcome {
        let tags = tags.into_iter().map(|(tag, outcome)| (tag.to_owned(), outcome)).collect();
        DestinationOutcome { registry: "default".into(), uri: Some("ecr/nginx".into()), tags: Ok(tags) }
    }

    fn failure(outcomes: &[DestinationOutcome]) -> Failure {
        match outcome(outcomes) {
            Outcome::Failed(failure) => failure,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_tag_counts_when_it_is_in_every_destination() {
        let everywhere = destination(vec![("1", mirrored("a", true)), ("2", mirrored("b", true))]);
        let partly = destination(vec![("1", mirrored("a", true)), ("2", failed(Reason::TagImmutable, Retry::Stalled))]);
        let status = status(&mirror(&["1", "2"]), &[everywhere, partly], now());
        assert_eq!(status.mirrored.as_deref(), Some("1/2"));
        assert_eq!(status.last_sync_time, Some(Time(now())));
    }

    #[test]
    fn what_was_mirrored_last_stays_in_the_status_of_a_tag_that_fails() {
        let mut object = mirror(&["1"]);
        object.status = Some(status(&object, &[destination(vec![("1", mirrored("a", true))])], now()));
        let after =
            status(&object, &[destination(vec![("1", failed(Reason::Unreachable, Retry::Backoff))])], Timestamp::MAX);
        let tag = &after.destinations[0].tags[0];
        assert_eq!((tag.state, tag.digest.as_deref()), (TagState::Failed, Some("a")));
        assert_eq!(tag.mirrored_at, Some(Time(now())));
        assert_eq!(tag.reason.as_deref(), Some("Unreachable"));
    }

    #[test]
    fn the_time_of_a_copy_stays_while_nothing_is_copied() {
        let mut object = mirror(&["1"]);
        object.status = Some(status(&object, &[destination(vec![("1", mirrored("a", true))])], now()));
        let after = status(&object, &[destination(vec![("1", mirrored("a", false))])], Timestamp::MAX);
        assert_eq!(after.destinations[0].tags[0].mirrored_at, Some(Time(now())));
    }

    #[test]
    fn a_destination_that_can_not_be_used_keeps_what_was_known_and_says_why() {
        let mut object = mirror(&["1", "2"]);
        object.status = Some(status(&object, &[destination(vec![("1", mirrored("a", true))])], now()));
        let blocked = DestinationOutcome {
            registry: "default".into(),
            uri: Some("ecr/nginx".into()),
            tags: Err(Failure::stalled(Reason::RegistryNotFound, "no registry")),
        };
        let after = status(&object, &[blocked], Timestamp::MAX);
        let there = &after.destinations[0];
        assert_eq!(there.message.as_deref(), Some("no registry"));
        assert_eq!(there.tags[0].digest.as_deref(), Some("a"));
        assert_eq!(there.tags[1].state, TagState::Pending);
        assert_eq!(after.last_sync_time, Some(Time(now())), "nothing was looked at since");
    }

    #[test]
    fn one_reason_for_all_failures_is_the_reason_of_the_whole() {
        let same = destination(vec![
            ("1", failed(Reason::TagNotFound, Retry::Stalled)),
            ("2", failed(Reason::TagNotFound, Retry::Stalled)),
            ("3", mirrored("a", true)),
        ]);
        let whole = failure(&[same]);
        assert_eq!((whole.reason, whole.retry), (Reason::TagNotFound, Retry::Stalled));
        assert!(whole.message.contains("1 of 3") && whole.message.contains("tag 1"), "{whole}");
    }

    #[test]
    fn the_soonest_retry_of_several_failures_is_that_of_the_whole() {
        let mixed = destination(vec![
            ("1", failed(Reason::TagNotFound, Retry::Stalled)),
            ("2", failed(Reason::RateLimited, Retry::At(now()))),
        ]);
        let whole = failure(&[mixed]);
        assert_eq!((whole.reason, whole.retry), (Reason::SomeTagsFailed, Retry::At(now())));
    }
}
