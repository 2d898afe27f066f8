//! ImageMirror: what a source repository has under some tags, in registries of ECR.
//!
//! Its repositories are EcrRepository objects that it owns ([`child`]). [`prepare`] reads the spec, [`selection`] says which
//! tags it wants, [`observe`] asks the source and the destinations for digests, [`age`] says which of them are old enough,
//! [`plan`] decides what to copy, [`signatures`] and [`verdicts`] what of it may be copied, [`apply`] copies, [`status`] tells;
//! [`sync`] goes through all of it once.

mod age;
mod apply;
mod child;
mod copier;
pub(crate) mod discovery;
mod failure;
pub(super) mod gauges;
pub(crate) mod names;
mod observe;
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
mod verdicts;
mod verification;
mod verified;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;

use super::context::Context;
use super::failure::Failure;
use super::report::Outcome;
use super::{Error, next};
use crate::api::ImageMirror;
use crate::api::conditions::Reason;
pub(crate) use child::children;
pub use copier::{Copier, CopierError};
use schedule::Timing;

/// The most tags and digests that a mirror may select: what was seen of each is part of its status, and each costs a request
/// to the source on every look.
const MOST_SELECTED: usize = 2_000;

/// Whether a name in a list of tags and digests is a digest. Tags have no colon.
fn is_digest(name: &str) -> bool {
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
    let prepared = match prepare::prepare(&mirror, &context).await {
        Ok(prepared) => prepared,
        Err(failure) => return fail(&mirror, &context, failure).await,
    };
    let blocked = prepared.destinations.iter().any(|destination| destination.ready.is_err());
    if !blocked && let Some(wait) = schedule::not_due(&mirror, &timing, Timestamp::now()) {
        return Ok(Action::requeue(wait));
    }

    let looked = tokio::select! {
        looked = sync::sync(&mirror, &context, &prepared) => looked?,
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
    let status = status::status(&mirror, &looked, is_ready.then_some(due), now);
    context.report(mirror.as_ref(), status, &outcome).await?;
    if !is_ready {
        return Ok(next(&context, mirror.as_ref(), &outcome, context.intervals.resync));
    }
    context.retries.succeeded(&uid);
    Ok(Action::requeue(Duration::try_from(now.duration_until(due)).unwrap_or_default().max(Duration::from_secs(1))))
}

async fn fail(mirror: &ImageMirror, context: &Context, failure: Failure) -> Result<Action, Error> {
    let outcome = Outcome::Failed(failure);
    let mut status = mirror.status.clone().unwrap_or_default();
    status.next_sync_time = None;
    context.report(mirror, status, &outcome).await?;
    Ok(next(context, mirror, &outcome, context.intervals.resync))
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
