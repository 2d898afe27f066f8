//! EcrPullSecret and ClusterEcrPullSecret: one dockerconfigjson Secret in each namespace that shall have it, kept fresh.

mod apply;
mod document;
mod observe;
mod plan;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::core::{PartialObjectMeta, Selector, SelectorExt as _};
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt as _};

use super::access::Use;
use super::context::Context;
use super::failure::Failure;
use super::report::Outcome;
use super::watches::Cache;
use super::{Error, next};
use crate::api::conditions::Reason;
use crate::api::{ClusterEcrPullSecret, EcrPullSecret, HasStatus, PullSecretStatus, RegistryRef};
use crate::ecr::Ecr;
use document::Document;
pub use observe::Verified;
use plan::Decision;

/// How many namespaces are written to at once.
const CONCURRENT_WRITES: usize = 16;

/// Metadata of the cluster's objects that pull secrets depend on.
pub struct Stores {
    /// The Secrets that the operator wrote.
    pub secrets: Cache<PartialObjectMeta<Secret>>,
    /// All namespaces.
    pub namespaces: Cache<PartialObjectMeta<Namespace>>,
    /// Which versions of Secrets are known to be as they were written.
    pub verified: Verified,
}

/// What both kinds come down to.
#[derive(Clone)]
struct Wanted {
    registries: Vec<RegistryRef>,
    secret_name: String,
    owner: OwnerReference,
    namespaces: BTreeSet<String>,
}

/// What a reconcile came to.
struct Served {
    /// When the first token expires, over all Secrets that are there.
    expires_at: Option<Timestamp>,
    /// When the first Secret is due to be renewed.
    renew_at: Option<Timestamp>,
    /// Namespaces that have the Secret.
    namespaces: usize,
    /// Why Secrets that are due, and still work, could not be renewed.
    not_renewed: Option<Failure>,
    /// Namespaces that could not be served, and why.
    failed: BTreeMap<String, Failure>,
}

/// Reconciles one EcrPullSecret.
pub(super) async fn reconcile(object: Arc<EcrPullSecret>, context: Arc<Context>) -> Result<Action, Error> {
    let wanted = Wanted {
        registries: object.spec.registries.clone(),
        secret_name: object.spec.secret_name.clone().unwrap_or_else(|| object.name_any()),
        owner: owner_of(object.as_ref()),
        namespaces: object.namespace().into_iter().collect(),
    };
    serve_and_report(object.as_ref(), &context, Ok(wanted)).await
}

/// Reconciles one ClusterEcrPullSecret.
pub(super) async fn reconcile_cluster(
    object: Arc<ClusterEcrPullSecret>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    context.pull_secrets.namespaces.filled().await;
    let wanted = selected_namespaces(&object, &context.pull_secrets.namespaces).map(|namespaces| Wanted {
        registries: object.spec.registries.clone(),
        secret_name: object.spec.secret_name.clone().unwrap_or_else(|| object.name_any()),
        owner: owner_of(object.as_ref()),
        namespaces,
    });
    serve_and_report(object.as_ref(), &context, wanted).await
}

fn owner_of<K: Resource<DynamicType = ()>>(object: &K) -> OwnerReference {
    // Objects that come from the API server have a name and a UID.
    object.controller_owner_ref(&()).unwrap_or_default()
}

/// The namespaces that the selector matches, without those that are going away.
fn selected_namespaces(
    object: &ClusterEcrPullSecret,
    namespaces: &Cache<PartialObjectMeta<Namespace>>,
) -> Result<BTreeSet<String>, Failure> {
    let selector: Selector = object.spec.namespace_selector.clone().try_into().map_err(|error| {
        Failure::stalled(Reason::InvalidSpec, format!("spec.namespaceSelector can't be understood: {error}"))
    })?;
    Ok(namespaces
        .store
        .state()
        .iter()
        .filter(|namespace| namespace.metadata.deletion_timestamp.is_none() && selector.matches(namespace.labels()))
        .map(|namespace| namespace.name_any())
        .collect())
}

async fn serve_and_report<K>(object: &K, context: &Context, wanted: Result<Wanted, Failure>) -> Result<Action, Error>
where
    K: HasStatus<Status = PullSecretStatus>,
{
    if object.meta().deletion_timestamp.is_some() {
        // The garbage collector takes the Secrets away; putting them back would keep the object for ever.
        return Ok(Action::await_change());
    }
    let served = match wanted {
        Ok(wanted) => serve(&wanted, context).await.map(|served| (wanted, served)),
        Err(failure) => Err(failure),
    };
    match served {
        Err(failure) => {
            let outcome = Outcome::Failed(failure);
            context.report(object, object.status().cloned().unwrap_or_default(), &outcome).await?;
            Ok(next(context, object, &outcome, context.intervals.resync))
        }
        Ok((wanted, served)) => {
            let outcome = status::outcome(&wanted.secret_name, &served);
            context.report(object, status::status(&wanted.secret_name, &served), &outcome).await?;
            Ok(match (&outcome, &served.not_renewed) {
                (Outcome::Ready { .. }, Some(failure)) => super::retry(context, object, failure),
                _ => next(context, object, &outcome, until_due(&served)),
            })
        }
    }
}

/// Until the first Secret is due to be renewed. An hour at most: clocks are set, and machines sleep.
fn until_due(served: &Served) -> Duration {
    const LONGEST: Duration = Duration::from_secs(3600);
    let Some(renew_at) = served.renew_at else { return LONGEST };
    Duration::try_from(Timestamp::now().duration_until(renew_at))
        .unwrap_or_default()
        .clamp(Duration::from_secs(1), LONGEST)
}

/// Brings the Secret to every wanted namespace, and takes it away everywhere else.
async fn serve(wanted: &Wanted, context: &Context) -> Result<Served, Failure> {
    context.pull_secrets.secrets.filled().await;
    let mut registries: Vec<Arc<Ecr>> = Vec::new();
    let mut allowed = wanted.clone();
    let mut refused = BTreeMap::new();
    for reference in &wanted.registries {
        let registry = context.registry_object(reference).await?;
        for namespace in &wanted.namespaces {
            if let Err(failure) = context.authorise(&registry, namespace, Use::Anything).await {
                // What may not be used any more is taken away. What is not known yet is left as it is.
                if failure.is_stalled() {
                    allowed.namespaces.remove(namespace);
                }
                refused.insert(namespace.clone(), failure);
            }
        }
        let ecr = context.connect(&registry).await?;
        if registries.iter().all(|known| known.host != ecr.host) {
            registries.push(ecr);
        }
    }
    let wanted = &allowed;
    let hosts: BTreeSet<String> = registries.iter().map(|ecr| ecr.host.clone()).collect();

    let now = Timestamp::now();
    let served_now = wanted.namespaces.iter().filter(|namespace| !refused.contains_key(*namespace)).cloned();
    let mut decisions = stream::iter(served_now.collect::<Vec<_>>())
        .map(|namespace| {
            let hosts = &hosts;
            async move {
                let state = observe::observe(context, wanted, &namespace).await;
                (namespace, state.map(|state| plan::decide(&state, hosts, now)))
            }
        })
        .buffer_unordered(CONCURRENT_WRITES)
        .collect::<Vec<_>>()
        .await;
    decisions.sort_by(|a, b| a.0.cmp(&b.0));

    // One token a registry serves all namespaces, and AWS is asked only when somebody needs one.
    let needs_writing =
        decisions.iter().any(|(_, decision)| matches!(decision, Ok(Decision::Create | Decision::Update { .. })));
    let document = if needs_writing { Some(document(&registries).await) } else { None };

    let mut served = Served { expires_at: None, renew_at: None, namespaces: 0, not_renewed: None, failed: refused };
    let mut outcomes = stream::iter(decisions)
        .map(|(namespace, decision)| {
            let document = document.as_ref();
            async move {
                let outcome = match decision {
                    Ok(decision) => apply::apply(context, wanted, &namespace, decision, document).await,
                    Err(failure) => Err(failure),
                };
                (namespace, outcome)
            }
        })
        .buffer_unordered(CONCURRENT_WRITES);
    while let Some((namespace, outcome)) = outcomes.next().await {
        match outcome {
            Ok(life) => {
                served.namespaces += 1;
                served.expires_at = earliest(served.expires_at, life.expires_at);
                served.renew_at = earliest(served.renew_at, life.renew_at);
                served.not_renewed = served.not_renewed.or(life.not_renewed);
            }
            Err(failure) => {
                served.failed.insert(namespace, failure);
            }
        }
    }
    apply::remove_left_over(context, wanted).await?;
    Ok(served)
}

async fn document(registries: &[Arc<Ecr>]) -> Result<Document, Failure> {
    let mut tokens = BTreeMap::new();
    for ecr in registries {
        tokens.insert(ecr.host.clone(), ecr.renewed_token().await?);
    }
    Ok(Document::new(&tokens))
}

fn earliest(a: Option<Timestamp>, b: Timestamp) -> Option<Timestamp> {
    Some(a.map_or(b, |a| a.min(b)))
}
