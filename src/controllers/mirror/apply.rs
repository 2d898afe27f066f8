//! Copies images.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use k8s_openapi::jiff::Timestamp;
use oci_copy::{CopyReport, CopyRequest, Engine, ErrorKind, PlatformSelection, Reference};

use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::copier::Reader;
use super::failure::{asked_again, from_engine};
use super::plan::{Backup, Step};
use super::progress::Part;
use crate::api::conditions::Reason;
use crate::controllers::context::Context;
use crate::controllers::failure::{Failure, Retry};
use crate::ecr::Ecr;

/// How one tag ended in one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The destination has what the source has.
    Mirrored(Mirrored),
    /// The destination keeps what it has, although the tag moved upstream.
    Kept { digest: String, upstream: String },
    /// It waits for its age.
    Waiting { source_digest: String, until: Timestamp },
    /// It waits for the source: for pulls, or until it wants to be asked again.
    Limited(Failure),
    /// It failed.
    Failed(Failure),
}

/// A tag that the destination has as the source has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mirrored {
    pub(super) source_digest: String,
    pub(super) digest: String,
    /// Whether it was copied just now.
    pub(super) copied: bool,
}

/// The outcome of each tag in one destination.
pub(super) type Outcomes = BTreeMap<String, Ended>;

/// Where images go from and to.
pub(super) struct Route<'a> {
    pub(super) engine: &'a Engine,
    pub(super) ecr: &'a Arc<Ecr>,
    pub(super) source: &'a BTreeMap<String, Reference>,
    pub(super) reader: &'a Reader,
    pub(super) destination: &'a BTreeMap<String, Reference>,
    pub(super) platforms: &'a PlatformSelection,
    pub(super) progress: Part,
}

/// Does what was planned for one destination. A tag that fails holds up no other.
pub(super) async fn apply(context: &Context, route: &Route<'_>, steps: BTreeMap<String, Step>) -> Outcomes {
    let at_once = context.copier.limits.of_one_mirror();
    // Copies wait for their turns: what needs none is told first.
    let (copies, others): (Vec<_>, Vec<_>) = steps.into_iter().partition(|(_, step)| matches!(step, Step::Copy { .. }));
    let outcomes = stream::iter(others.into_iter().chain(copies))
        .map(|(tag, step)| async move {
            let is_copy = matches!(step, Step::Copy { .. });
            let outcome = match step {
                Step::Keep { source_digest, digest } => {
                    context.metrics.tag("unchanged");
                    Ended::Mirrored(Mirrored { source_digest, digest, copied: false })
                }
                Step::Copy { source_digest, because: _, backup } => {
                    match copy(context, route, &tag, &source_digest, backup).await {
                        Ok(mirrored) => Ended::Mirrored(mirrored),
                        Err(failure) => Ended::Failed(failure),
                    }
                }
                Step::KeepOld { digest, upstream } => {
                    context.metrics.tag("kept");
                    Ended::Kept { digest, upstream }
                }
                Step::Wait { source_digest, until } => {
                    context.metrics.tag("waiting");
                    Ended::Waiting { source_digest, until }
                }
                Step::Fail(failure) => Ended::Failed(failure),
            };
            let outcome = told(context, outcome);
            route.progress.ended(&tag, &outcome, is_copy);
            (tag, outcome)
        })
        .buffer_unordered(at_once)
        .collect()
        .await;
    route.reader.publish(&context.metrics);
    outcomes
}

/// What has a time when it goes on waits, and has not failed.
pub(super) fn told(context: &Context, ended: Ended) -> Ended {
    match ended {
        Ended::Failed(failure) if failure.reason == Reason::RateLimited && matches!(failure.retry, Retry::At(_)) => {
            context.metrics.tag("limited");
            Ended::Limited(failure)
        }
        Ended::Failed(failure) => {
            context.metrics.tag("failed");
            Ended::Failed(failure)
        }
        other => other,
    }
}

async fn copy(
    context: &Context,
    route: &Route<'_>,
    tag: &str,
    digest: &str,
    backup: Option<Backup>,
) -> Result<Mirrored, Failure> {
    // What was judged is what is copied, whatever the tag names by now.
    let source = pinned(&route.source[tag], digest)?;
    let destination = &route.destination[tag];
    let _place = context.copier.limits.copy(source.host(), &route.ecr.host).await?;
    // On the heap from its turn on: thousands may wait for theirs, and each would have room for all of this.
    Box::pin(copy_now(context, route, tag, source, destination, backup)).await
}

async fn copy_now(
    context: &Context,
    route: &Route<'_>,
    tag: &str,
    source: Reference,
    destination: &Reference,
    backup: Option<Backup>,
) -> Result<Mirrored, Failure> {
    if let Some(Backup { tag, digest }) = backup {
        let kept = pinned(destination, &digest)?;
        let backup = destination.repository().with_tag(&tag).map_err(|error| unusable(&error))?;
        // The registry has all of it: this looks, and puts one manifest.
        let request = CopyRequest::new(kept, backup).deadline(context.copier.deadline);
        if let Err(error) = route.engine.copy(request).await {
            let failure = failed(&error, route.ecr, route.reader, source.host()).await;
            let message = format!("the backup {tag} could not be made, so the tag stays as it is: {}", failure.message);
            return Err(Failure { message, ..failure });
        }
    }
    // A digest of the spec is copied as it is; one of its parts would have another digest.
    let whole = super::is_digest(tag);
    let platforms = if whole { PlatformSelection::All } else { route.platforms.clone() };
    let request = CopyRequest::new(source.clone(), destination.clone())
        .platforms(platforms)
        .deadline(context.copier.deadline)
        .progress(route.progress.of_image());
    // A task of its own: its hashing and encryption shall hold up no other object. It is cancelled with this future.
    let engine = route.engine.clone();
    let copying = AbortOnDropHandle::new(tokio::spawn(async move { engine.copy(request).await }.in_current_span()));
    let copied = copying.await.map_err(|error| {
        Failure::transient(Reason::CopyFailed, format!("the copy of {source} to {destination} broke off: {error}"))
    })?;
    match copied {
        Ok(report) => Ok(account(context, route.platforms, &source, destination, whole, &report)),
        Err(error) => Err(failed(&error, route.ecr, route.reader, source.host()).await),
    }
}

/// Takes down what a copy did. `whole`: it was asked for by its digest, with all its platforms.
pub(super) fn account(
    context: &Context,
    platforms: &PlatformSelection,
    source: &Reference,
    destination: &Reference,
    whole: bool,
    report: &CopyReport,
) -> Mirrored {
    tracing::info!(
        %source, %destination, digest = %report.digest, bytes = report.bytes_copied,
        blobs_copied = report.blobs_copied, blobs_skipped = report.blobs_skipped,
        blobs_mounted = report.blobs_mounted, "mirrored"
    );
    context.metrics.tag(if report.unchanged { "unchanged" } else { "copied" });
    context.metrics.blobs("copied", report.blobs_copied);
    context.metrics.blobs("skipped", report.blobs_skipped);
    context.metrics.blobs("mounted", report.blobs_mounted);
    context.metrics.bytes(report.bytes_copied);
    let (source_digest, digest) = (report.source_digest.to_string(), report.digest.to_string());
    if !whole {
        context.copier.learn_rewritten(platforms, &source_digest, &digest);
    }
    Mirrored { source_digest, digest, copied: !report.unchanged }
}

/// What a failure of the engine means. A token that ECR refuses is asked for anew next time.
pub(super) async fn failed(error: &oci_copy::Error, ecr: &Ecr, reader: &Reader, source: &str) -> Failure {
    if error.kind() == ErrorKind::Unauthorized && error.place().is_some_and(|place| place.repository.host() == ecr.host)
    {
        ecr.forget_token().await;
    }
    let failure = from_engine(error, source);
    match reader.refused().map(Timestamp::try_from) {
        // A registry that refuses a pull may not say until when; the budget's window does.
        Some(Ok(time)) if error.is_pull_limit() && failure.retry == Retry::Backoff => asked_again(failure, time),
        _ => failure,
    }
}

pub(super) fn pinned(reference: &Reference, digest: &str) -> Result<Reference, Failure> {
    Ok(reference.pinned(digest.parse().map_err(|error| unusable(&error))?))
}

fn unusable(error: &dyn std::fmt::Display) -> Failure {
    Failure::stalled(Reason::CopyFailed, error.to_string())
}
