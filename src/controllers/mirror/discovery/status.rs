//! What a discovering mirror says of itself: how its mirrors are, summed up. Nothing here does I/O.

use kube::ResourceExt as _;

use super::Discovered;
use crate::api::conditions::{READY, Reason, STALLED};
use crate::api::{Discovery, ImageMirror, ImageMirrorStatus, MirrorCounts};
use crate::controllers::failure::Failure;
use crate::controllers::report::Outcome;

/// How many names a message has.
const NAMED: usize = 5;

/// The status of a discovering mirror.
pub(super) fn status(mirror: &ImageMirror, done: &Discovered) -> ImageMirrorStatus {
    let previous = mirror.status.clone().unwrap_or_default();
    let known = done.mirrors.iter().filter_map(|child| child.status.as_ref());
    let counted = known.clone().filter_map(|status| status.counts.as_ref());
    let sum = |of: fn(&MirrorCounts) -> u32| counted.clone().map(of).fold(0, u32::saturating_add);
    let counts = MirrorCounts {
        selected: number(done.images),
        mirrored: sum(|counts| counts.mirrored),
        kept: sum(|counts| counts.kept),
        waiting: sum(|counts| counts.waiting),
        failed: sum(|counts| counts.failed),
        ..MirrorCounts::default()
    };
    ImageMirrorStatus {
        common: previous.common,
        mirrored: Some(format!("{}/{}", counts.mirrored, counts.selected)),
        last_sync_time: known.filter_map(|status| status.last_sync_time.clone()).max_by_key(|time| time.0),
        counts: Some(counts),
        discovery: Some(Discovery {
            namespaces: number(done.namespaces),
            repositories: number(done.mirrors.len()),
            left_out: number(done.left_out),
        }),
        ..ImageMirrorStatus::default()
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Ready when all its mirrors are.
pub(super) fn outcome(mirror: &ImageMirror, done: &Discovered) -> Outcome {
    if mirror.spec.suspend {
        return Outcome::Suspended;
    }
    let is_ready = |child: &ImageMirror| {
        let status = child.status.as_ref()?;
        let current = status.common.observed_generation == child.metadata.generation;
        let ready = status.common.condition(READY).filter(|_| current)?;
        match ready.status.as_str() {
            "True" => Some(true),
            "False" if ready.reason != Reason::Progressing.as_str() => Some(false),
            _ => None,
        }
    };
    let mut failed = Vec::new();
    let (mut ready, mut running) = (0, 0);
    for child in &done.mirrors {
        match is_ready(child) {
            Some(true) => ready += 1,
            Some(false) => failed.push(child),
            None => running += 1,
        }
    }
    let of = done.mirrors.len();
    let asides = asides(done);
    if let Some(first) = failed.first() {
        let words = first.status.as_ref().and_then(|status| status.common.condition(READY));
        let words = words.map_or("", |ready| ready.message.as_str());
        let message = format!(
            "{} of {of} mirrors are not ready, ImageMirror {} of {} for one: {words}{asides}",
            failed.len(),
            first.name_any(),
            first.spec.source.image
        );
        // They try again by themselves, and this mirror hears of it.
        return Outcome::Failed(match failed.iter().all(|child| is_stalled(child)) {
            true => Failure::stalled(Reason::SomeMirrorsFailed, message),
            false => Failure::transient(Reason::SomeMirrorsFailed, message),
        });
    }
    if running > 0 {
        return Outcome::Progressing { message: format!("{ready} of {of} mirrors are ready{asides}") };
    }
    Outcome::Ready {
        message: format!(
            "{} images of {of} source repositories, used in {} namespaces{asides}",
            done.images, done.namespaces
        ),
    }
}

fn is_stalled(mirror: &ImageMirror) -> bool {
    let stalled = mirror.status.as_ref().and_then(|status| status.common.condition(STALLED));
    stalled.is_some_and(|stalled| stalled.status == "True")
}

/// What else is to be said.
fn asides(done: &Discovered) -> String {
    let mut words = String::new();
    if done.left_out > 0 {
        words.push_str(&format!("; there is no room for {} more", done.left_out));
    }
    if !done.not_served.is_empty() {
        let some: Vec<&str> = done.not_served.iter().take(NAMED).map(String::as_str).collect();
        words.push_str(&format!(
            "; {} namespaces are left out, since no entry of the EcrRegistry's spec.access has them in servesNamespaces: {}{}",
            done.not_served.len(),
            some.join(", "),
            if done.not_served.len() > NAMED { ", …" } else { "" }
        ));
    }
    words
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::ImageMirrorSpec;
    use crate::controllers::report::conditions;
    use crate::controllers::states::Case;
    use k8s_openapi::jiff::Timestamp;

    fn child(name: &str, outcome: &Outcome, mirrored: u32) -> Arc<ImageMirror> {
        let mut child = ImageMirror::new(name, ImageMirrorSpec::default());
        let mut status = ImageMirrorStatus::default();
        status.common.conditions = conditions(&[], None, outcome, Timestamp::UNIX_EPOCH);
        status.counts = Some(MirrorCounts { selected: 2, mirrored, ..MirrorCounts::default() });
        child.status = Some(status);
        Arc::new(child)
    }

    fn done(mirrors: Vec<Arc<ImageMirror>>) -> Discovered {
        Discovered { namespaces: 2, images: 4, left_out: 0, not_served: Default::default(), due: None, mirrors }
    }

    fn parent() -> ImageMirror {
        ImageMirror::new("found", ImageMirrorSpec::default())
    }

    fn ready() -> Outcome {
        Outcome::Ready { message: String::new() }
    }

    #[test]
    fn it_is_ready_when_all_its_mirrors_are() {
        let done = done(vec![child("a", &ready(), 2), child("b", &ready(), 1)]);
        let message = "4 images of 2 source repositories, used in 2 namespaces".to_owned();
        assert_eq!(outcome(&parent(), &done), Outcome::Ready { message });
        let status = status(&parent(), &done);
        assert_eq!(status.mirrored.as_deref(), Some("3/4"));
        assert_eq!(status.discovery, Some(Discovery { namespaces: 2, repositories: 2, left_out: 0 }));
    }

    #[test]
    fn a_mirror_that_runs_makes_it_progress_and_one_that_failed_has_its_words_told() {
        let running = child("a", &Outcome::Progressing { message: String::new() }, 0);
        assert!(matches!(outcome(&parent(), &done(vec![running.clone()])), Outcome::Progressing { .. }));
        let failed = child("b", &Outcome::Failed(Failure::stalled(Reason::TagNotFound, "no such tag")), 0);
        match outcome(&parent(), &done(vec![running, failed])) {
            Outcome::Failed(failure) => {
                assert_eq!(failure.reason, Reason::SomeMirrorsFailed);
                assert!(failure.message.starts_with("1 of 2") && failure.message.contains("no such tag"), "{failure}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_mirror_that_waits_for_its_repository_has_not_failed() {
        let waiting = Outcome::Failed(Failure::transient(Reason::Progressing, "waiting for the repository"));
        assert!(matches!(outcome(&parent(), &done(vec![child("a", &waiting, 0)])), Outcome::Progressing { .. }));
        let retrying = Outcome::Failed(Failure::transient(Reason::Unreachable, "no answer"));
        match outcome(&parent(), &done(vec![child("a", &retrying, 0)])) {
            Outcome::Failed(failure) => assert!(!failure.is_stalled()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_left_out_is_said() {
        let mut done = done(Vec::new());
        done.left_out = 3;
        done.not_served = ["bank".to_owned()].into();
        match outcome(&parent(), &done) {
            Outcome::Ready { message } => {
                assert!(message.contains("no room for 3") && message.contains("servesNamespaces: bank"), "{message}");
            }
            other => panic!("{other:?}"),
        }
    }

    /// What can become of a mirror of what workloads use.
    pub(in crate::controllers) fn cases() -> Vec<Case<ImageMirror>> {
        let case = |what, object: ImageMirror, done: Discovered| {
            let status = status(&object, &done);
            let outcome = outcome(&object, &done);
            Case { what, object, status, outcome }
        };
        let with = |outcome: Outcome| done(vec![child("a", &ready(), 2), child("b", &outcome, 0)]);
        let stalled = Outcome::Failed(Failure::stalled(Reason::TagNotFound, "no such tag"));
        let retrying = Outcome::Failed(Failure::transient(Reason::Unreachable, "no answer"));
        let mut suspended = parent();
        suspended.spec.suspend = true;
        vec![
            case("all its mirrors are ready", parent(), with(ready())),
            case("one of its mirrors copies", parent(), with(Outcome::Progressing { message: String::new() })),
            case("one of its mirrors is stalled", parent(), with(stalled)),
            case("one of its mirrors tries again", parent(), with(retrying)),
            case("it is suspended, and finds no workloads", suspended, done(Vec::new())),
        ]
    }
}
