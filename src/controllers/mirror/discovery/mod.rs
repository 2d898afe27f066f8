//! A mirror that mirrors what workloads use: it makes a mirror of its own for each source repository that it finds, and keeps
//! them in step. There is one way in which images are mirrored.
//!
//! [`found`](found::found) reads the names of images, [`plan`](plan::plan) says which mirrors there should be,
//! [`children`] makes them, [`status`] sums up how they are.

mod children;
mod found;
mod plan;
pub(in crate::controllers) mod serves;
mod status;

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;

use super::{fail, schedule};
use crate::api::conditions::Reason;
use crate::api::{FromWorkloads, ImageMirror};
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;
use crate::controllers::report::Outcome;
use crate::controllers::signals::Signal;
use crate::controllers::workloads::Usage;
use crate::controllers::{Error, next};
#[cfg(test)]
pub(in crate::controllers) use status::tests::cases;

/// How often the namespaces and workloads are looked at although nothing was heard of them.
const LOOK: Duration = Duration::from_secs(600);

/// Whether a signal is about what a mirror finds.
pub(in crate::controllers) fn is_about(signal: &Signal, mirror: &ImageMirror) -> bool {
    mirror.spec.source.from_workloads.is_some() && matches!(signal, Signal::Images | Signal::Namespace(_))
}

/// Reconciles a mirror whose source is the cluster's workloads.
pub(super) async fn reconcile(
    mirror: &ImageMirror,
    source: &FromWorkloads,
    context: &Context,
) -> Result<Action, Error> {
    match discover(mirror, source, context).await {
        Ok(done) => {
            let outcome = status::outcome(mirror, &done);
            let status = status::status(mirror, &done);
            context.report(mirror, status, &outcome).await?;
            if let Outcome::Failed(_) = outcome {
                return Ok(next(context, mirror, &outcome, context.intervals.resync));
            }
            context.retries.succeeded(&mirror.uid().unwrap_or_default());
            let until = done.due.map(|due| Timestamp::now().duration_until(due));
            let until = until.and_then(|until| Duration::try_from(until).ok()).unwrap_or(LOOK);
            Ok(Action::requeue(until.clamp(Duration::from_secs(1), LOOK)))
        }
        Err(failure) if failure.reason == Reason::Progressing => {
            let message = failure.message;
            let status = mirror.status.clone().unwrap_or_default();
            context.report(mirror, status, &Outcome::Progressing { message }).await?;
            Ok(Action::requeue(Duration::from_secs(1)))
        }
        Err(failure) => fail(mirror, context, failure).await,
    }
}

/// What was found, and the mirrors for it.
struct Discovered {
    namespaces: usize,
    images: usize,
    left_out: usize,
    /// Namespaces that the selector matches and that no EcrRegistry lets this mirror serve.
    not_served: BTreeSet<String>,
    due: Option<Timestamp>,
    mirrors: Vec<std::sync::Arc<ImageMirror>>,
}

async fn discover(mirror: &ImageMirror, source: &FromWorkloads, context: &Context) -> Result<Discovered, Failure> {
    let retention = schedule::duration("source.fromWorkloads.retention", &source.retention)?;
    let served = serves::served(mirror, source, context).await?;
    let named = match context.workloads.of_namespaces(|namespace| served.namespaces.contains(namespace)) {
        Usage::Known(named) => named,
        Usage::Filling => return Err(progressing("reading the cluster's workloads")),
        Usage::Unknown { problem } => {
            return Err(Failure::transient(
                Reason::WorkloadsUnreadable,
                format!("the cluster's workloads can't be read, and what was found before stays: {problem}"),
            ));
        }
    };
    let found = found::found(&named, &source.registries);
    let present = children::present(mirror, context);
    let plan = plan::plan(&found, &children::names(&present), retention, Timestamp::now());
    let mirrors = children::make(mirror, context, &plan, &present).await?;
    let images = plan.mirrors.values().map(|names| names.len()).sum();
    Ok(Discovered {
        namespaces: found.namespaces,
        images,
        left_out: plan.left_out,
        not_served: served.refused,
        due: plan.due,
        mirrors,
    })
}

fn progressing(message: &str) -> Failure {
    Failure::transient(Reason::Progressing, message)
}
