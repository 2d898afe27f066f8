//! How all mirrors are, in numbers that are brought up to date now and then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::ImageMirror;
use crate::api::conditions::{READY, Reason};
use crate::controllers::context::Context;

/// How often the numbers are brought up to date.
const EVERY: Duration = Duration::from_secs(10);

/// All mirrors in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
struct Summary {
    /// Mirrors by their state.
    mirrors: BTreeMap<&'static str, i64>,
    /// Selected images by what became of them.
    images: BTreeMap<&'static str, i64>,
    /// How long the one that is behind longest has been so.
    behind: SignedDuration,
}

/// Keeps the gauges of mirrors until the program stops.
pub(in crate::controllers) async fn keep(context: Arc<Context>) {
    context.mirrors.filled().await;
    loop {
        let summary = summary(&context.mirrors.store.state(), Timestamp::now());
        let metrics = &context.metrics;
        summary.mirrors.iter().for_each(|(state, count)| metrics.mirrors(state, *count));
        summary.images.iter().for_each(|(state, count)| metrics.mirror_images(state, *count));
        metrics.mirror_behind(summary.behind.as_secs_f64());
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = context.shutdown.cancelled() => return,
        }
    }
}

/// Sums up all mirrors. Those that were made by others count; those that made them don't, so that no image counts twice.
fn summary(mirrors: &[Arc<ImageMirror>], now: Timestamp) -> Summary {
    let mut summary = Summary {
        mirrors: ["ready", "working", "failed", "suspended"].map(|state| (state, 0)).into(),
        images: ["mirrored", "waiting", "kept", "failed", "missing"].map(|state| (state, 0)).into(),
        behind: SignedDuration::ZERO,
    };
    for mirror in mirrors.iter().filter(|mirror| mirror.spec.source.from_workloads.is_none()) {
        let (state, since) = state(mirror, now);
        *summary.mirrors.entry(state).or_default() += 1;
        summary.behind = summary.behind.max(now.duration_since(since.unwrap_or(now)));
        let Some(counts) = mirror.status.as_ref().and_then(|status| status.counts.as_ref()) else { continue };
        let mut add = |state, count: u32| *summary.images.entry(state).or_default() += i64::from(count);
        add("mirrored", counts.mirrored);
        add("waiting", counts.waiting);
        add("kept", counts.kept);
        add("failed", counts.failed);
        let known = counts.mirrored + counts.waiting + counts.kept + counts.failed;
        add("missing", counts.selected.saturating_sub(known));
    }
    summary
}

/// The state of a mirror, and since when it is behind, if it is.
fn state(mirror: &ImageMirror, now: Timestamp) -> (&'static str, Option<Timestamp>) {
    if mirror.spec.suspend {
        return ("suspended", None);
    }
    let status = mirror.status.as_ref();
    let ready = status.and_then(|status| status.common.condition(READY));
    let overdue =
        status.and_then(|status| status.next_sync_time.as_ref()).map(|next| next.0).filter(|next| *next < now);
    match ready {
        Some(ready) if ready.status == "True" => ("ready", overdue),
        Some(ready) if ready.status == "False" && ready.reason != Reason::Progressing.as_str() => {
            ("failed", Some(ready.last_transition_time.0))
        }
        Some(ready) => ("working", Some(ready.last_transition_time.0)),
        None => ("working", mirror.metadata.creation_timestamp.as_ref().map(|created| created.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{FromWorkloads, ImageMirrorSpec, ImageMirrorStatus, MirrorCounts};
    use crate::controllers::failure::Failure;
    use crate::controllers::report::{Outcome, conditions};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn mirror(outcome: &Outcome, since: i64, next: Option<i64>) -> ImageMirror {
        let mut mirror = ImageMirror::new("it", ImageMirrorSpec::default());
        let counts = MirrorCounts { selected: 6, mirrored: 3, waiting: 1, failed: 1, ..MirrorCounts::default() };
        let mut status = ImageMirrorStatus {
            counts: Some(counts),
            next_sync_time: next.map(|next| Time(at(next))),
            ..ImageMirrorStatus::default()
        };
        status.common.conditions = conditions(&[], None, outcome, at(since));
        mirror.status = Some(status);
        mirror
    }

    fn ready() -> Outcome {
        Outcome::Ready { message: String::new() }
    }

    fn summed(mirrors: Vec<ImageMirror>) -> Summary {
        summary(&mirrors.into_iter().map(Arc::new).collect::<Vec<_>>(), at(100))
    }

    #[test]
    fn images_and_mirrors_add_up() {
        let failed = Outcome::Failed(Failure::stalled(Reason::TagNotFound, ""));
        let summary = summed(vec![mirror(&ready(), 0, None), mirror(&failed, 60, None)]);
        assert_eq!((summary.mirrors["ready"], summary.mirrors["failed"], summary.mirrors["working"]), (1, 1, 0));
        assert_eq!((summary.images["mirrored"], summary.images["missing"], summary.images["kept"]), (6, 2, 0));
        assert_eq!(summary.behind, SignedDuration::from_secs(40));
    }

    #[test]
    fn a_mirror_is_behind_when_its_look_is_overdue_or_it_is_not_ready() {
        for (mirror, behind) in [
            (mirror(&ready(), 0, Some(200)), 0),
            (mirror(&ready(), 0, Some(70)), 30),
            (mirror(&Outcome::Progressing { message: String::new() }, 80, None), 20),
        ] {
            assert_eq!(summed(vec![mirror]).behind, SignedDuration::from_secs(behind));
        }
    }

    #[test]
    fn a_suspended_mirror_is_not_behind_and_one_that_makes_others_does_not_count() {
        let failed = Outcome::Failed(Failure::stalled(Reason::TagNotFound, ""));
        let mut suspended = mirror(&failed, 0, None);
        suspended.spec.suspend = true;
        let mut finder = mirror(&failed, 0, None);
        finder.spec.source.from_workloads = Some(FromWorkloads::default());
        let summary = summed(vec![suspended, finder]);
        assert_eq!((summary.mirrors["suspended"], summary.mirrors["failed"]), (1, 0));
        assert_eq!(summary.behind, SignedDuration::ZERO);
    }
}
