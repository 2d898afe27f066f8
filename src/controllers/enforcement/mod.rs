//! ImageEnforcement: keeps a policy of the API server that judges the images of pods.
//!
//! [`plan`] says what the policy and its binding are to be, [`cluster`] writes them where they differ, [`status`] tells. The
//! operator takes no part when a pod is made.

mod cluster;
pub(crate) mod plan;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::runtime::controller::Action;
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::Value;
use tracing::Instrument as _;

use self::plan::{Owners, Plan};
use super::context::Context;
use super::failure::Failure;
use super::report::Outcome;
use super::signals::{Signal, Signals};
use super::workloads::Usage;
use super::{AFTER_ERROR, Error, chain, next};
use crate::api::conditions::Reason;
use crate::api::{ImageEnforcement, RegistryRef};
use crate::telemetry;
#[cfg(test)]
pub(super) use status::tests::cases;

/// What all objects have, whatever they say.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The namespace that the operator runs in, whose pods are left alone.
    pub own_namespace: Option<String>,
    /// Name of the ClusterRole with which what is enforced goes.
    pub owner: Option<String>,
}

/// Keeps the policy, and reports.
pub(super) async fn reconcile(object: Arc<ImageEnforcement>, context: Arc<Context>) -> Result<Action, Error> {
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    context.registries.filled().await;
    context.pull_secrets.namespaces.filled().await;
    let kept = keep(&object, &context).await;
    let in_use = match &kept {
        Ok(plan) => context.workloads.pods_by_image(|namespace| plan.namespaces.contains(namespace)),
        Err(_) => Usage::Filling,
    };
    let status = status::status(object.status.as_ref(), kept.as_ref().ok(), &in_use);
    let outcome = match &kept {
        Ok(plan) => {
            Outcome::Ready { message: status::words(plan, &object.spec.validation_actions, status.in_use.as_ref()) }
        }
        Err(failure) => Outcome::Failed(failure.clone()),
    };
    context.report(object.as_ref(), status, &outcome).await?;
    Ok(next(&context, object.as_ref(), &outcome, context.intervals.resync))
}

async fn keep(object: &ImageEnforcement, context: &Context) -> Result<Plan, Failure> {
    let registries: BTreeMap<_, _> =
        context.registries.store.state().into_iter().map(|registry| (registry.name_any(), registry)).collect();
    let namespaces = context.pull_secrets.namespaces.store.state();
    let namespaces = namespaces.iter().map(|namespace| (namespace.name_any(), namespace.labels().clone())).collect();
    let plan = plan::plan(
        object,
        |name| registries.get(name).map(AsRef::as_ref),
        &namespaces,
        context.enforcement.own_namespace.as_deref(),
    )?;
    let owners = Owners {
        release: release(context).await?,
        object: object.owner_ref(&()).and_then(|owner| serde_json::to_value(owner).ok()),
    };
    let (policy, binding) = plan.objects(object, &owners);
    if cluster::keep(&context.client, &plan.name, &policy, &binding).await? {
        tracing::info!(policy = plan.name, "the policy that judges the images of pods was written");
    }
    Ok(plan)
}

/// The owner reference to the release's ClusterRole.
async fn release(context: &Context) -> Result<Option<Value>, Failure> {
    let Some(name) = &context.enforcement.owner else { return Ok(None) };
    let role = Api::<ClusterRole>::all(context.client.clone()).get_opt(name).await.map_err(|error| {
        Failure::transient(Reason::Retrying, format!("can't read ClusterRole {name}: {}", chain(&error)))
    })?;
    Ok(role.and_then(|role| serde_json::to_value(role.owner_ref(&())?).ok()))
}

/// Whether a signal is about an object.
pub(super) fn is_about(signal: &Signal, object: &ImageEnforcement) -> bool {
    match signal {
        Signal::Registry(name) => object.spec.registries.contains(&RegistryRef { name: name.clone() }),
        // Labels of namespaces decide, and which there are is in the status, as are the images of pods.
        Signal::Namespace(_) | Signal::Images => true,
        _ => false,
    }
}

/// Deletes what objects that are gone have left, at the start and whenever one goes. Kubernetes deletes the policy with its
/// object; the binding, which goes with the release, is left.
pub(super) async fn clear(context: Arc<Context>, signals: Signals) {
    let mut news = std::pin::pin!(signals.listen());
    context.enforcements.filled().await;
    loop {
        let is_there = |name: &str| context.enforcements.store.state().iter().any(|object| object.name_any() == name);
        let round = async {
            let cleared = cluster::clear(&context.client, is_there).await;
            if let Err(failure) = &cleared {
                tracing::warn!(reason = %failure.reason, "what an ImageEnforcement left can't be deleted: {failure}");
            }
            cleared
        };
        let cleared = round.instrument(telemetry::task("clear enforcements", None)).await;
        let heard = async {
            while let Some(signal) = news.next().await {
                if matches!(signal, Signal::EnforcementGone | Signal::Anything) {
                    return;
                }
            }
            // The senders go when the program stops.
            std::future::pending().await
        };
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            () = heard => {}
            () = tokio::time::sleep(AFTER_ERROR), if cleared.is_err() => {}
        }
    }
}
