//! Brings the Secret to every namespace that shall have it, and its name to service accounts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::additional::{self, Additional};
use super::apply::{self, Content};
use super::document::Document;
use super::plan::{self, Decision};
use super::rights::{self, Asker, Grant, Place, Rights};
use super::{Wanted, observe, status};
use crate::api::conditions::Reason;
use crate::api::{EcrRegistry, IgnoredEntry};
use crate::controllers::accounts::{self, Settled, Wish};
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;
use crate::ecr::{Ecr, Mints};

/// How many namespaces are written to at once.
pub(super) const CONCURRENT_WRITES: usize = 16;

/// How many tokens are asked for at once.
const CONCURRENT_MINTS: usize = 8;

/// What a reconcile came to.
#[derive(Debug, Default)]
pub(super) struct Served {
    /// When the first token expires, over all Secrets that are there.
    pub(super) expires_at: Option<Timestamp>,
    /// When the first Secret is due to be renewed.
    pub(super) renew_at: Option<Timestamp>,
    /// Namespaces that have the Secret.
    pub(super) namespaces: BTreeSet<String>,
    /// Why Secrets that are due, and still work, could not be renewed.
    pub(super) not_renewed: Option<Failure>,
    /// Namespaces that could not be served, or not wholly, and why.
    pub(super) failed: BTreeMap<String, Failure>,
    /// EcrRegistry objects whose tokens can do more than pull.
    pub(super) can_push: Vec<String>,
    /// How many service accounts have the Secret, where some were asked for.
    pub(super) accounts: Option<usize>,
    /// Entries of other Secrets that are not merged in.
    pub(super) ignored: Vec<IgnoredEntry>,
    /// Why another Secret could not be merged in.
    pub(super) not_merged: Option<Failure>,
}

/// A registry that Secrets have credentials for.
struct Source {
    registry: Arc<EcrRegistry>,
    ecr: Arc<Ecr>,
    /// The hosts that its token is put under. Of several registries at the same host the first counts.
    hosts: Vec<String>,
}

async fn sources(wanted: &Wanted, context: &Context) -> Result<Vec<Source>, Failure> {
    let mut sources = Vec::new();
    let mut taken = BTreeSet::new();
    for reference in &wanted.registries {
        let registry = context.registry_object(reference).await?;
        let ecr = context.connect(&registry).await?;
        let mut hosts = rights::hosts(&ecr.host, &ecr.identity.account_id, &ecr.region, &wanted.additional_hosts);
        hosts.retain(|host| taken.insert(host.clone()));
        sources.push(Source { registry, ecr, hosts });
    }
    Ok(sources)
}

/// What a namespace's Secret is to have credentials for. The namespace must be allowed to use each of the registries.
async fn rights_of(namespace: &str, sources: &[Source], wanted: &Wanted, context: &Context) -> Result<Rights, Failure> {
    let asker = Asker { cluster: &context.cluster, namespace, repositories: wanted.repositories.as_deref() };
    let mut grants = Vec::new();
    for (source, Source { registry, ecr, hosts }) in sources.iter().enumerate() {
        let granted = context.granted(registry, namespace).await?;
        let place = Place { account: &ecr.identity.account_id, region: &ecr.region, endpoints: &ecr.endpoints };
        let key = rights::key(&registry.spec, &registry.name_any(), place, &granted, asker)?;
        if !hosts.is_empty() {
            grants.push(Grant { hosts: hosts.clone(), key, source });
        }
    }
    Ok(Rights(grants))
}

/// Brings the Secret to every wanted namespace, and takes it away everywhere else.
pub(super) async fn serve(wanted: &Wanted, context: &Context) -> Result<Served, Failure> {
    context.pull_secrets.secrets.filled().await;
    let sources = sources(wanted, context).await?;
    let can_push: Vec<String> = sources
        .iter()
        .filter(|source| !rights::can_be_narrowed(&source.registry.spec))
        .map(|source| source.registry.name_any())
        .collect();
    if let Some(failure) = status::must_not_push(&can_push, wanted.repositories.is_some(), context.require_pull_only) {
        let nowhere = Wanted { namespaces: BTreeSet::new(), ..wanted.clone() };
        settle_accounts(context, &nowhere, &BTreeSet::new()).await;
        apply::remove_left_over(context, &nowhere).await?;
        return Err(failure);
    }
    let hosts = sources.iter().flat_map(|source| source.hosts.iter().cloned()).collect();
    let additional = additional::read(context, &wanted.additional, &hosts).await?;

    let mut allowed = wanted.clone();
    let mut refused = BTreeMap::new();
    let mut rights = BTreeMap::new();
    for namespace in &wanted.namespaces {
        match rights_of(namespace, &sources, wanted, context).await {
            Ok(found) => {
                rights.insert(namespace.clone(), (additional.marked(found.fingerprint()), found));
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
    let documents = documents(needed, &sources, &additional, &context.pull_secrets.mints).await;

    let Additional { entries: _, ignored, problem } = additional;
    let mut served = Served { failed: refused, can_push, ignored, not_merged: problem, ..Served::default() };
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
                served.namespaces.insert(namespace);
                served.expires_at = earliest(served.expires_at, life.expires_at);
                served.renew_at = earliest(served.renew_at, life.renew_at);
                served.not_renewed = served.not_renewed.or(life.not_renewed);
            }
            Err(failure) => {
                served.failed.insert(namespace, failure);
            }
        }
    }
    // A pod that comes now finds the Secret that its service account names; so the account loses it first, too.
    let Settled { accounts, failed } = settle_accounts(context, wanted, &served.namespaces).await;
    served.accounts = wanted.accounts.is_some().then_some(accounts);
    for (namespace, failure) in failed {
        served.failed.entry(namespace).or_insert(failure);
    }
    apply::remove_left_over(context, wanted).await?;
    Ok(served)
}

async fn settle_accounts(context: &Context, wanted: &Wanted, served: &BTreeSet<String>) -> Settled {
    let wish = Wish {
        uid: &wanted.owner.uid,
        secret: &wanted.secret_name,
        chosen: wanted.accounts.as_ref(),
        served,
        wanted: &wanted.namespaces,
    };
    accounts::settle(context, wish).await
}

/// The contents for these rights, by their fingerprints. What fails for some holds up no others.
async fn documents(
    needed: BTreeMap<String, Rights>,
    sources: &[Source],
    additional: &Additional,
    mints: &Mints,
) -> BTreeMap<String, Result<Document, Failure>> {
    stream::iter(needed)
        .map(|(fingerprint, rights)| async move {
            let document = document(&rights, sources, additional, mints).await;
            (fingerprint, document)
        })
        .buffer_unordered(CONCURRENT_MINTS)
        .collect()
        .await
}

async fn document(
    rights: &Rights,
    sources: &[Source],
    additional: &Additional,
    mints: &Mints,
) -> Result<Document, Failure> {
    let mut tokens = BTreeMap::new();
    let mut late = None;
    for Grant { hosts, key, source } in &rights.0 {
        let source = sources.get(*source);
        let ecr = &source.ok_or_else(|| Failure::transient(Reason::Retrying, "the registries changed"))?.ecr;
        let minted = mints.token(ecr, key).await.map_err(|error| status::not_minted(key, error))?;
        late = late.or(minted.late.map(|error| status::not_minted(key, error)));
        tokens.extend(hosts.iter().map(|host| (host.clone(), minted.token.clone())));
    }
    Ok(Document::new(&tokens, &additional.entries, late))
}

fn earliest(a: Option<Timestamp>, b: Timestamp) -> Option<Timestamp> {
    Some(a.map_or(b, |a| a.min(b)))
}
