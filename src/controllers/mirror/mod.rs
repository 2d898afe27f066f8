//! ImageMirror: what a source repository has under some tags, in registries of ECR.
//!
//! Its repositories are EcrRepository objects that it owns ([`child`]). [`prepare`] reads the spec, [`selection`] says which
//! tags it wants, [`observe`] asks the source and the destinations for digests, [`age`] says which of them are old enough,
//! [`plan`] decides what to copy, [`signatures`] and [`verdicts`] what of it may be copied, [`apply`] copies, [`status`] tells;
//! [`unshown`] keeps what the status has no room for; [`sync`] goes through all of it once.

mod age;
mod apply;
mod budgets;
mod child;
mod copier;
pub(crate) mod discovery;
mod ecr_source;
mod failure;
pub(super) mod gauges;
mod limits;
pub(crate) mod names;
mod observe;
mod owned;
mod plan;
mod prepare;
pub(crate) mod preview;
mod progress;
mod prune;
mod released;
mod rivals;
mod schedule;
pub(crate) mod selection;
mod signatures;
mod status;
mod sync;
mod together;
pub(super) mod unshown;
mod verdicts;
mod verification;
mod verified;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use oci_copy::Repository;

use super::context::Context;
use super::failure::{Failure, Retry};
use super::report::Outcome;
use super::{Error, next};
use crate::api::ImageMirror;
use crate::api::conditions::{READY, Reason};
pub(crate) use child::children;
pub use copier::{Copier, CopierError};
pub use limits::CopyLimits;
use schedule::Timing;
#[cfg(test)]
pub(super) use status::tests::cases;

/// The most tags and digests that a mirror may select: what was seen of each is part of its status, and each costs a request
/// to the source on every look.
const MOST_SELECTED: usize = 2_000;

/// Whether a name in a list of tags and digests is a digest. Tags have no colon.
pub(in crate::controllers) fn is_digest(name: &str) -> bool {
    name.contains(':')
}

/// Refuses a selection that is too large for a mirror. `found` is how many tags the source has.
fn check_count(selected: usize, found: Option<usize>) -> Result<(), Failure> {
    if selected <= MOST_SELECTED {
        return Ok(());
    }
    let of = found.map_or_else(String::new, |found| format!(" of the source's {found}"));
    Err(Failure::stalled(
        Reason::TooManyTags,
        format!(
            "spec.tags selects {selected} tags{of}, and a mirror takes {MOST_SELECTED} at most: nothing was copied; narrow it, with latest for one, or use several mirrors"
        ),
    ))
}

/// Reconciles one ImageMirror.
pub(super) async fn reconcile(mirror: Arc<ImageMirror>, context: Arc<Context>) -> Result<Action, Error> {
    if mirror.metadata.deletion_timestamp.is_some() {
        // What was mirrored stays; the garbage collector deletes the children, and they take leave of their repositories.
        return Ok(Action::await_change());
    }
    if let Some(source) = &mirror.spec.source.from_workloads {
        return discovery::reconcile(&mirror, source, &context).await;
    }
    if mirror.spec.suspend {
        let mut status = mirror.status.clone().unwrap_or_default();
        status.next_sync_time = None;
        context.report(mirror.as_ref(), status, &Outcome::Suspended).await?;
        return Ok(Action::await_change());
    }
    let timing = match Timing::of(&mirror.spec, Timestamp::now()) {
        Ok(timing) => timing,
        Err(failure) => return fail(&mirror, &context, failure).await,
    };
    let is_due = schedule::not_due(&mirror, &timing, Timestamp::now()).is_none();
    if is_due && let Some(failure) = source_closed(&mirror, &context) {
        return fail(&mirror, &context, failure).await;
    }
    let prepared = {
        let _turn = context.copier.limits.prepare().await;
        // On the heap while it goes on: a thousand may wait for their turns.
        Box::pin(prepare::prepare(&mirror, &context)).await
    };
    let prepared = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => return fail(&mirror, &context, failure).await,
    };
    let blocked = prepared.destinations.iter().any(|destination| destination.ready.is_err());
    if !blocked && let Some(wait) = schedule::not_due(&mirror, &timing, Timestamp::now()) {
        return Ok(Action::requeue(wait));
    }

    let work = async {
        let source = prepared.source.host();
        let _begun = context.copier.limits.begin(source, tell_of_wait(&mirror, &context, source)).await;
        match context.copier.limits.look(source).await {
            Ok(look) => Box::pin(sync::sync(&mirror, &context, &prepared, look)).await,
            Err(failure) => Ok(Err(failure)),
        }
    };
    let looked = tokio::select! {
        looked = work => looked?,
        // Dropping the copies cancels them: blobs that are complete stay, and no tag names anything incomplete.
        () = superseded(&mirror, &context) => return Ok(Action::requeue(Duration::ZERO)),
    };
    let looked = match looked {
        Ok(looked) => looked,
        Err(failure) => return fail(&mirror, &context, failure).await,
    };
    let outcome = status::outcome(&looked.destinations);
    let now = Timestamp::now();
    let uid = mirror.uid().unwrap_or_default();
    // A digest that becomes old enough is not kept waiting for the next look, and a tag whose time has come goes.
    let dues = [status::first_due(&looked.destinations), looked.prune_due];
    let due = dues.into_iter().flatten().fold(timing.next(&uid, now), Timestamp::min);
    let is_ready = matches!(outcome, Outcome::Ready { .. });
    let next_look = match &outcome {
        Outcome::Ready { .. } => Some(due),
        // The time when a limit lets it go on.
        Outcome::Failed(Failure { retry: Retry::At(time), .. }) => Some(*time),
        _ => None,
    };
    let complete = context.unshown.complete(&mirror);
    let status = status::status(&complete, &looked, next_look, now);
    context.unshown.remember(&complete, &looked, &status, now);
    context.report(mirror.as_ref(), status, &outcome).await?;
    if !is_ready {
        return Ok(next(&context, mirror.as_ref(), &outcome, context.intervals.resync));
    }
    context.retries.succeeded(&uid);
    Ok(Action::requeue(Duration::try_from(now.duration_until(due)).unwrap_or_default().max(Duration::from_secs(1))))
}

/// Says that a mirror waits for others, if nothing is said of it yet: what became of its last look matters more.
async fn tell_of_wait(mirror: &ImageMirror, context: &Context, source: &str) {
    let status = mirror.status.clone().unwrap_or_default();
    let ready =
        status.common.condition(READY).filter(|_| status.common.observed_generation == mirror.metadata.generation);
    if ready.is_some_and(|ready| ready.reason != Reason::Progressing.as_str()) {
        return;
    }
    let message = format!("waiting for its turn: other mirrors of {source} come first");
    if let Err(error) = context.report(mirror, status, &Outcome::Progressing { message }).await {
        tracing::debug!(%error, "that the mirror waits could not be told");
    }
}

async fn fail(mirror: &ImageMirror, context: &Context, failure: Failure) -> Result<Action, Error> {
    let mut status = mirror.status.clone().unwrap_or_default();
    status.next_sync_time = match failure.retry {
        Retry::At(time) if failure.reason == Reason::RateLimited => Some(status::whole_second(time)),
        _ => None,
    };
    let outcome = Outcome::Failed(failure);
    context.report(mirror, status, &outcome).await?;
    Ok(next(context, mirror, &outcome, context.intervals.resync))
}

/// Why the source is not asked now, of a mirror that has been looked at already: nothing new is to be said of it.
fn source_closed(mirror: &ImageMirror, context: &Context) -> Option<Failure> {
    let observed = mirror.status.as_ref()?.common.observed_generation;
    if observed != mirror.metadata.generation {
        return None;
    }
    let source: Repository = mirror.spec.source.image.parse().ok()?;
    context.copier.limits.closed(source.host())
}

/// Ends when the object is deleted, or changed, or the program stops.
async fn superseded(mirror: &ImageMirror, context: &Context) {
    const LOOK: Duration = Duration::from_millis(500);
    let key = ObjectRef::from_obj(mirror);
    let changed = async {
        loop {
            tokio::time::sleep(LOOK).await;
            let same = context.mirrors.store.get(&key).is_some_and(|present| {
                present.metadata.uid == mirror.metadata.uid && present.metadata.generation == mirror.metadata.generation
            });
            if !same {
                return;
            }
        }
    };
    tokio::select! {
        () = changed => {}
        () = context.shutdown.cancelled() => {}
    }
}
