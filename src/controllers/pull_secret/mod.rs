//! EcrPullSecret and ClusterEcrPullSecret: one dockerconfigjson Secret in each namespace that shall have it, kept fresh.

mod apply;
mod document;
mod fresh;
mod observe;
mod plan;
mod rights;
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

use super::context::Context;
use super::failure::Failure;
use super::report::Outcome;
use super::watches::Cache;
use super::{Error, next};
use crate::api::conditions::Reason;
use crate::api::{ClusterEcrPullSecret, EcrPullSecret, EcrRegistry, HasStatus, PullSecretStatus, RegistryRef};
use crate::ecr::{Ecr, Mints};
use apply::Content;
use document::Document;
pub use observe::Verified;
use plan::Decision;
use rights::{Asker, Grant, Place, Rights};

/// How many namespaces are written to at once.
const CONCURRENT_WRITES: usize = 16;

/// How many tokens are asked for at once.
const CONCURRENT_MINTS: usize = 8;

/// Metadata of the cluster's objects that pull secrets depend on.
pub struct Stores {
    /// The Secrets that the operator wrote.
    pub secrets: Cache<PartialObjectMeta<Secret>>,
    /// All namespaces.
    pub namespaces: Cache<PartialObjectMeta<Namespace>>,
    /// Which versions of Secrets are known to be as they were written.
    pub verified: Verified,
    /// Tokens by what they are good for.
    pub mints: Mints,
}

/// What both kinds come down to.
#[derive(Clone)]
struct Wanted {
    registries: Vec<RegistryRef>,
    repositories: Option<Vec<String>>,
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
    /// EcrRegistry objects whose tokens can do more than pull.
    can_push: Vec<String>,
}

/// Reconciles one EcrPullSecret.
pub(super) async fn reconcile(object: Arc<EcrPullSecret>, context: Arc<Context>) -> Result<Action, Error> {
    let wanted = Wanted {
        registries: object.spec.registries.clone(),
        repositories: object.spec.repositories.clone(),
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
        repositories: object.spec.repositories.clone(),
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
            let status = status::failed(object.status().cloned().unwrap_or_default(), &failure);
            let outcome = Outcome::Failed(failure);
            context.report(object, status, &outcome).await?;
            Ok(next(context, object, &outcome, context.intervals.resync))
        }
        Ok((wanted, served)) => {
            let outcome = status::outcome(&wanted.secret_name, &served);
            let status = status::status(&wanted.secret_name, &served, object.meta().generation);
            context.report(object, status, &outcome).await?;
            Ok(match (&outcome, &served.not_renewed) {
                (Outcome::Ready { .. }, Some(failure)) => super::retry(context, object, failure),
                _ => {
                    let until_due = fresh::until_due(served.renew_at, Timestamp::now());
                    next_turn(context, object, &outcome, until_due)
                }
            })
        }
    }
}

/// Like [`next`], but for the spread that it adds: the times at which Secrets are due are spread already.
fn next_turn<K>(context: &Context, object: &K, outcome: &Outcome, until_due: Duration) -> Action
where
    K: Resource<DynamicType = ()>,
{
    match outcome {
        Outcome::Ready { .. } => {
            context.retries.succeeded(&object.uid().unwrap_or_default());
            Action::requeue(until_due)
        }
        _ => next(context, object, outcome, until_due),
    }
}

/// A registry that Secrets have credentials for.
struct Source {
    registry: Arc<EcrRegistry>,
    ecr: Arc<Ecr>,
}

async fn sources(wanted: &Wanted, context: &Context) -> Result<Vec<Source>, Failure> {
    let mut sources = Vec::new();
    for reference in &wanted.registries {
        let registry = context.registry_object(reference).await?;
        let ecr = context.connect(&registry).await?;
        sources.push(Source { registry, ecr });
    }
    Ok(sources)
}

/// What a namespace's Secret is to have credentials for. Of several registries at the same host the first counts; the
/// namespace must be allowed to use each of them.
async fn rights_of(namespace: &str, sources: &[Source], wanted: &Wanted, context: &Context) -> Result<Rights, Failure> {
    let asker = Asker { cluster: &context.cluster, namespace, repositories: wanted.repositories.as_deref() };
    let mut hosts = BTreeSet::new();
    let mut grants = Vec::new();
    for Source { registry, ecr } in sources {
        let granted = context.granted(registry, namespace).await?;
        let place = Place { account: &ecr.identity.account_id, region: &ecr.region, endpoints: &ecr.endpoints };
        let key = rights::key(&registry.spec, &registry.name_any(), place, &granted, asker)?;
        if hosts.insert(ecr.host.as_str()) {
            grants.push(Grant { hosts: vec![ecr.host.clone()], key });
        }
    }
    Ok(Rights(grants))
}

/// Brings the Secret to every wanted namespace, and takes it away everywhere else.
async fn serve(wanted: &Wanted, context: &Context) -> Result<Served, Failure> {
    context.pull_secrets.secrets.filled().await;
    let sources = sources(wanted, context).await?;
    let can_push: Vec<String> = sources
        .iter()
        .filter(|source| !rights::can_be_narrowed(&source.registry.spec))
        .map(|source| source.registry.name_any())
        .collect();
    if let Some(failure) = status::must_not_push(&can_push, wanted.repositories.is_some(), context.require_pull_only) {
        let nowhere = Wanted { namespaces: BTreeSet::new(), ..wanted.clone() };
        apply::remove_left_over(context, &nowhere).await?;
        return Err(failure);
    }

    let mut allowed = wanted.clone();
    let mut refused = BTreeMap::new();
    let mut rights = BTreeMap::new();
    for namespace in &wanted.namespaces {
        match rights_of(namespace, &sources, wanted, context).await {
            Ok(found) => {
                rights.insert(namespace.clone(), (found.fingerprint(), found));
            }
            Err(failure) => {
                // What may not be used any more is taken away. What is not known yet is left as it is.
                if failure.reason == Reason::NamespaceNotAllowed {
                    allowed.namespaces.remove(namespace);
                }
                refused.insert(namespace.clone(), failure);
            }
        }
    }
    let wanted = &allowed;

    let now = Timestamp::now();
    let to_decide: Vec<_> = rights.iter().map(|(namespace, (of, _))| (namespace.clone(), of.clone())).collect();
    let mut decisions = stream::iter(to_decide)
        .map(|(namespace, fingerprint)| async move {
            let state = observe::observe(context, wanted, &namespace).await;
            (namespace, state.map(|state| plan::decide(&state, &fingerprint, now)))
        })
        .buffer_unordered(CONCURRENT_WRITES)
        .collect::<Vec<_>>()
        .await;
    decisions.sort_by(|a, b| a.0.cmp(&b.0));
    // AWS is asked only for what somebody needs.
    let needed: BTreeMap<String, Rights> = decisions
        .iter()
        .filter(|(_, decision)| matches!(decision, Ok(Decision::Create | Decision::Update { .. })))
        .filter_map(|(namespace, _)| rights.get(namespace).cloned())
        .collect();
    let documents = documents(needed, &sources, &context.pull_secrets.mints).await;

    let mut served =
        Served { expires_at: None, renew_at: None, namespaces: 0, not_renewed: None, failed: refused, can_push };
    let (rights, documents) = (&rights, &documents);
    let mut outcomes = stream::iter(decisions)
        .map(|(namespace, decision)| async move {
            let rights = rights.get(&namespace).map(|(fingerprint, _)| fingerprint.as_str()).unwrap_or_default();
            let content = Content { rights, document: documents.get(rights) };
            let outcome = match decision {
                Ok(decision) => apply::apply(context, wanted, &namespace, decision, content).await,
                Err(failure) => Err(failure),
            };
            (namespace, outcome)
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

/// The contents for these rights, by their fingerprints. What fails for some holds up no others.
async fn documents(
    needed: BTreeMap<String, Rights>,
    sources: &[Source],
    mints: &Mints,
) -> BTreeMap<String, Result<Document, Failure>> {
    stream::iter(needed)
        .map(|(fingerprint, rights)| async move {
            let document = document(&rights, sources, mints).await;
            (fingerprint, document)
        })
        .buffer_unordered(CONCURRENT_MINTS)
        .collect()
        .await
}

async fn document(rights: &Rights, sources: &[Source], mints: &Mints) -> Result<Document, Failure> {
    let mut tokens = BTreeMap::new();
    let mut late = None;
    for Grant { hosts, key } in &rights.0 {
        let source = sources.iter().find(|source| hosts.contains(&source.ecr.host));
        let ecr = &source.ok_or_else(|| Failure::transient(Reason::Retrying, "the registries changed"))?.ecr;
        let minted = mints.token(ecr, key).await.map_err(|error| status::not_minted(key, error))?;
        late = late.or(minted.late.map(|error| status::not_minted(key, error)));
        tokens.extend(hosts.iter().map(|host| (host.clone(), minted.token.clone())));
    }
    Ok(Document::new(&tokens, late))
}

fn earliest(a: Option<Timestamp>, b: Timestamp) -> Option<Timestamp> {
    Some(a.map_or(b, |a| a.min(b)))
}
