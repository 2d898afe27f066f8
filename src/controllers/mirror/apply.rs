//! Copies images.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use oci_copy::{CopyRequest, Engine, ErrorKind, PlatformSelection, Reference};

use tokio_util::task::AbortOnDropHandle;

use super::failure::from_engine;
use super::plan::Step;
use crate::api::conditions::Reason;
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;
use crate::ecr::Ecr;

/// How one tag ended in one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mirrored {
    pub(super) source_digest: String,
    pub(super) digest: String,
    /// Whether it was copied just now.
    pub(super) copied: bool,
}

/// The outcome of each tag in one destination.
pub(super) type Outcomes = BTreeMap<String, Result<Mirrored, Failure>>;

/// Where images go from and to.
pub(super) struct Route<'a> {
    pub(super) engine: &'a Engine,
    pub(super) ecr: &'a Arc<Ecr>,
    pub(super) source: &'a BTreeMap<String, Reference>,
    pub(super) destination: &'a BTreeMap<String, Reference>,
    pub(super) platforms: &'a PlatformSelection,
}

/// Does what was planned for one destination. A tag that fails holds up no other.
pub(super) async fn apply(context: &Context, route: &Route<'_>, steps: BTreeMap<String, Step>) -> Outcomes {
    let at_once = steps.len().max(1);
    stream::iter(steps)
        .map(|(tag, step)| async move {
            let outcome = match step {
                Step::Keep { source_digest, digest } => {
                    context.metrics.tag("unchanged");
                    Ok(Mirrored { source_digest, digest, copied: false })
                }
                Step::Copy(_) => copy(context, route, &tag).await,
                Step::Fail(failure) => Err(failure),
            };
            if outcome.is_err() {
                context.metrics.tag("failed");
            }
            (tag, outcome)
        })
        .buffer_unordered(at_once)
        .collect()
        .await
}

async fn copy(context: &Context, route: &Route<'_>, tag: &str) -> Result<Mirrored, Failure> {
    let (source, destination) = (&route.source[tag], &route.destination[tag]);
    let _turn = context.copier.turn().await;
    let request = CopyRequest::new(source.clone(), destination.clone())
        .platforms(route.platforms.clone())
        .deadline(context.copier.deadline);
    // A task of its own: its hashing and encryption shall hold up no other object. It is cancelled with this future.
    let engine = route.engine.clone();
    let copying = AbortOnDropHandle::new(tokio::spawn(async move { engine.copy(request).await }));
    let copied = copying.await.map_err(|error| {
        Failure::transient(Reason::CopyFailed, format!("the copy of {source} to {destination} broke off: {error}"))
    })?;
    match copied {
        Ok(report) => {
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
            Ok(Mirrored {
                source_digest: report.source_digest.to_string(),
                digest: report.digest.to_string(),
                copied: !report.unchanged,
            })
        }
        Err(error) => {
            if error.kind() == ErrorKind::Unauthorized
                && error.place().is_some_and(|place| place.repository.host() == route.ecr.host)
            {
                route.ecr.forget_token().await;
            }
            Err(from_engine(&error, source.host()))
        }
    }
}
