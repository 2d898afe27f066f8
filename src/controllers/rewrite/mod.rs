//! New pods get mirrored images: keeps the API server's policy, and what it looks up, in line with the mirrors.
//!
//! All mirrors together make a handful of objects, so this is one loop over all of them and no reconcile an object: it waits for
//! news, [`plan`](plan::plan)s, writes what differs, and tells each mirror in a condition of its own. The operator does not take
//! part when a pod is made: the API server answers from the objects, also while the operator is down.

pub(super) mod audience;
mod cluster;
pub(super) mod gauges;
mod images;
pub(super) mod objects;
pub(crate) mod plan;
mod told;
pub(crate) mod usage;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::EventType;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::{Value, json};
use tracing::Instrument as _;

use self::cluster::Cluster;
use self::objects::{Key, Objects, is_as};
use self::plan::{Given, Plan, Reached, Verdict};
use self::usage::{InUse, Serving};
use super::chain;
use super::context::Context;
use super::failure::Failure;
use super::signals::{Signal, Signals};
use super::workloads::Usage;
use crate::api::ImageMirror;
use crate::api::conditions::{REWRITES_PODS, Reason};
use crate::rewrite::policy::FailurePolicy;
use crate::telemetry;

/// The field manager of the condition.
const MANAGER: &str = "ecr-operator/rewrite";

/// News that comes together is acted upon together.
const GATHER: Duration = Duration::from_millis(300);

/// How soon a write that failed is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// What the user decides about rewriting.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Name of the EcrRegistry that pods of this cluster pull from, where a mirror has several.
    pub own_registry: Option<String>,
    /// The namespace that the operator runs in, whose pods are spared.
    pub own_namespace: Option<String>,
    /// Name of the ClusterRole with which the policy goes.
    pub owner: Option<String>,
    /// What happens to a pod where the policy can't be evaluated.
    pub failure_policy: FailurePolicy,
}

/// What the loop remembers.
#[derive(Default)]
struct Memory {
    /// The objects as they were seen or written last. `None`: they have to be read.
    present: Option<Objects>,
    cluster: Option<Cluster>,
    owner: Option<Value>,
}

/// Keeps the policy until the program stops.
pub(super) async fn keep(context: Arc<Context>, settings: Settings, signals: Signals) {
    let mut news = std::pin::pin!(signals.listen());
    tokio::join!(context.mirrors.filled(), context.registries.filled(), context.pull_secrets.namespaces.filled());
    let mut memory = Memory::default();
    let mut looked = tokio::time::Instant::now();
    loop {
        let round = async {
            let done = pass(&context, &settings, &mut memory).await;
            if let Err(failure) = &done {
                tracing::warn!(reason = %failure.reason, "the policy that rewrites pods is not as it should be: {failure}");
            }
            done
        };
        let again = match round.instrument(telemetry::task("rewrite", None)).await {
            Ok(()) => context.intervals.resync.saturating_sub(looked.elapsed()),
            Err(_) => {
                memory = Memory::default();
                AGAIN.min(context.intervals.resync)
            }
        };
        let heard = async {
            while let Some(signal) = news.next().await {
                if matches!(signal, Signal::Mirrors | Signal::Namespace(_) | Signal::Registry(_) | Signal::Anything) {
                    return;
                }
            }
            // The senders go when the program stops.
            std::future::pending().await
        };
        tokio::select! {
            // However much there is to hear, everything is read again in time.
            biased;
            () = context.shutdown.cancelled() => return,
            () = heard, if !again.is_zero() => {
                tokio::time::sleep(GATHER).await;
                while let Some(Some(_)) = news.next().now_or_never() {}
            }
            () = tokio::time::sleep(again) => {
                // What somebody edited, or an upgrade of the API server, is seen by reading all again.
                memory = Memory::default();
                looked = tokio::time::Instant::now();
            }
        }
    }
}

/// Makes the objects what the mirrors ask for, and tells the mirrors.
async fn pass(context: &Context, settings: &Settings, memory: &mut Memory) -> Result<(), Failure> {
    let mirrors = context.mirrors.store.state();
    let seen = look(context, settings, memory, &mirrors).await;
    let plan = planned(context, settings, &mirrors);
    let written = match seen {
        Ok(()) => write(settings, memory, &plan).await,
        Err(failure) => Err(failure),
    };
    let used = used(context, settings, &mirrors).unwrap_or_default();
    let told = tell(context, &mirrors, &plan, &used, written.as_ref().err()).await;
    written?;
    told.map_err(|error| Failure::transient(Reason::Retrying, format!("a condition could not be written: {error}")))
}

fn planned(context: &Context, settings: &Settings, mirrors: &[Arc<ImageMirror>]) -> Plan {
    with_given(context, settings, mirrors, plan::plan)
}

/// What pods have of each mirror. `None`: the pods are not known, or no mirror wants to have theirs rewritten, and they are not read.
fn used(context: &Context, settings: &Settings, mirrors: &[Arc<ImageMirror>]) -> Option<Vec<(Serving, InUse)>> {
    let serving = with_given(context, settings, mirrors, plan::serving);
    if serving.is_empty() {
        return Some(Vec::new());
    }
    let Usage::Known(pods) = context.workloads.pods_by_image(|_| true) else { return None };
    let used = usage::in_use(&serving, &pods);
    Some(serving.into_iter().zip(used).collect())
}

fn with_given<T>(
    context: &Context,
    settings: &Settings,
    mirrors: &[Arc<ImageMirror>],
    decide: impl FnOnce(&Given<'_>) -> T,
) -> T {
    let namespaces = context.pull_secrets.namespaces.store.state();
    let namespaces = namespaces.iter().map(|namespace| (namespace.name_any(), namespace.labels().clone())).collect();
    let registries = context.registries.store.state();
    let registries: BTreeMap<_, _> = registries.into_iter().map(|registry| (registry.name_any(), registry)).collect();
    let uids = mirrors.iter().filter_map(|mirror| mirror.uid()).collect();
    decide(&Given {
        mirrors,
        unshown: &context.unshown.of(&uids),
        namespaces: &namespaces,
        registries: &registries,
        own_registry: settings.own_registry.as_deref(),
        own_namespace: settings.own_namespace.as_deref(),
    })
}

/// Reads the objects, if they are not known, and with them what an operator before this one told the API server.
async fn look(
    context: &Context,
    settings: &Settings,
    memory: &mut Memory,
    mirrors: &[Arc<ImageMirror>],
) -> Result<(), Failure> {
    if memory.cluster.is_some() {
        return Ok(());
    }
    let unreadable = |error: kube::Error| {
        let message = format!("the objects of the policy can't be read: {}", chain(&error));
        match error {
            kube::Error::Api(answer) if answer.code == 403 => Failure::stalled(Reason::AccessDenied, message),
            _ => Failure::transient(Reason::Retrying, message),
        }
    };
    let cluster = Cluster::look(&context.client).await.map_err(unreadable)?;
    let present = cluster.list().await.map_err(unreadable)?;
    memory.owner = owner(context, settings).await.map_err(unreadable)?;
    for (uri, digests) in objects::digests(&present) {
        for mirror in mirrors.iter().filter(|mirror| mirror.spec.rewrite.is_some()) {
            context.unshown.recall(mirror, &uri, &digests);
        }
    }
    memory.present = Some(present);
    memory.cluster = Some(cluster);
    Ok(())
}

/// Makes the objects what they should be.
async fn write(settings: &Settings, memory: &mut Memory, plan: &Plan) -> Result<(), Failure> {
    let (Some(cluster), Some(present)) = (&memory.cluster, &mut memory.present) else { return Ok(()) };
    let wanted = match cluster.version() {
        Some(version) => {
            let of_all =
                objects::Settings { failure_policy: settings.failure_policy, version, owner: memory.owner.clone() };
            objects::objects(plan, &of_all)
        }
        None => Objects::new(),
    };
    let mut differing: Vec<_> =
        wanted.iter().filter(|(key, ours)| present.get(key).is_none_or(|present| !is_as(present, ours))).collect();
    // What moves from one binding to another moves to a new one, or from one that goes: so no image is missing meanwhile.
    differing.sort_by_key(|(key, _)| present.contains_key(key));
    for (key, ours) in differing {
        cluster.apply(key, ours).await?;
        present.insert(key.clone(), ours.clone());
    }
    let left_over: Vec<Key> = present.keys().filter(|key| !wanted.contains_key(key)).cloned().collect();
    for key in left_over.into_iter().rev() {
        cluster.delete(&key).await?;
        present.remove(&key);
    }
    if cluster.version().is_some() || plan.verdicts.is_empty() { Ok(()) } else { Err(cluster::unsupported()) }
}

/// The owner reference to the release's ClusterRole: with it the API server takes the policy away when the release goes, though
/// the operator is gone by then.
async fn owner(context: &Context, settings: &Settings) -> Result<Option<Value>, kube::Error> {
    let Some(name) = &settings.owner else { return Ok(None) };
    let role = Api::<ClusterRole>::all(context.client.clone()).get_opt(name).await?;
    Ok(role.and_then(|role| serde_json::to_value(role.owner_ref(&())?).ok()))
}

/// Writes the conditions that differ. A failure of all is every mirror's.
async fn tell(
    context: &Context,
    mirrors: &[Arc<ImageMirror>],
    plan: &Plan,
    used: &[(Serving, InUse)],
    failure: Option<&Failure>,
) -> Result<(), kube::Error> {
    let verdicts: BTreeMap<(Option<String>, &str), &Verdict> = plan
        .verdicts
        .iter()
        .map(|(mirror, verdict)| ((mirror.namespace.clone(), mirror.name.as_str()), verdict))
        .collect();
    let used: BTreeMap<(&str, &str), &InUse> =
        used.iter().map(|(mirror, used)| ((mirror.namespace.as_str(), mirror.name.as_str()), used)).collect();
    for mirror in mirrors {
        let key = ObjectRef::from_obj(mirror.as_ref());
        let verdict = verdicts.get(&(key.namespace.clone(), key.name.as_str()));
        let outcome = verdict.map(|verdict| match failure {
            Some(failure) => Err(failure.clone()),
            None => verdict.outcome.clone(),
        });
        let used = used.get(&(key.namespace.as_deref().unwrap_or_default(), key.name.as_str())).copied();
        tell_one(context, mirror, outcome.as_ref(), used).await?;
    }
    Ok(())
}

async fn tell_one(
    context: &Context,
    mirror: &ImageMirror,
    outcome: Option<&Result<Reached, Failure>>,
    used: Option<&InUse>,
) -> Result<(), kube::Error> {
    let before = mirror.status.as_ref().and_then(|status| status.common.condition(REWRITES_PODS));
    let now = Timestamp::now();
    let condition = outcome.map(|outcome| told::condition(outcome, before, mirror.metadata.generation, now));
    let condition = condition.map(|condition| match used {
        Some(used) => usage::told(condition, used),
        None => condition,
    });
    if before == condition.as_ref() {
        return Ok(());
    }
    // Without the condition in it, server-side apply takes it away.
    let status = condition.as_ref().map_or(json!({}), |condition| json!({"conditions": [condition]}));
    let patch = json!({
        "apiVersion": ImageMirror::api_version(&()),
        "kind": ImageMirror::kind(&()),
        "metadata": {"name": mirror.name_any(), "namespace": mirror.namespace()},
        "status": status,
    });
    let api: Api<ImageMirror> = Api::namespaced(context.client.clone(), &mirror.namespace().unwrap_or_default());
    match api.patch_status(&mirror.name_any(), &PatchParams::apply(MANAGER).force(), &Patch::Apply(patch)).await {
        Ok(_) => {}
        // Deleted in the meantime.
        Err(kube::Error::Api(error)) if error.code == 404 => return Ok(()),
        Err(error) => return Err(error),
    }
    if let Some(condition) = condition
        && before.map(|before| (&before.status, &before.reason)) != Some((&condition.status, &condition.reason))
        && condition.reason != Reason::Progressing.as_str()
    {
        let type_ = if condition.status == "True" { EventType::Normal } else { EventType::Warning };
        context.event(mirror, type_, &condition.reason, condition.message).await;
    }
    Ok(())
}
