//! EcrPullSecret and ClusterEcrPullSecret: one dockerconfigjson Secret in each namespace that shall have it, kept fresh.

mod additional;
mod apply;
mod document;
mod fresh;
mod namespaces;
mod observe;
mod plan;
mod rights;
mod serve;
mod status;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt as _};

use super::accounts::Chosen;
use super::context::Context;
use super::failure::Failure;
use super::report::Outcome;
use super::scope::Scope;
use super::watches::Cache;
use super::{Error, next};
use crate::api::{
    AdditionalHost, ClusterEcrPullSecret, EcrPullSecret, HasStatus, PullSecretStatus, RegistryRef, ServiceAccounts,
};
use crate::ecr::Mints;
use crate::metrics::Tally;
use additional::Origin;
use namespaces::Selection;
pub use observe::Verified;
use serve::{Served, serve};
#[cfg(test)]
pub(super) use status::tests::cases;

/// What pull secrets depend on: themselves, the metadata of what they write and where, and tokens.
pub struct Stores {
    /// The Secrets that the operator wrote.
    pub secrets: Cache<PartialObjectMeta<Secret>>,
    /// All namespaces.
    pub namespaces: Cache<PartialObjectMeta<Namespace>>,
    /// Which versions of Secrets are known to be as they were written.
    pub verified: Verified,
    /// Tokens by what they are good for.
    pub mints: Mints,
    /// All pull secrets.
    pub objects: Objects,
}

/// All objects of both kinds.
#[derive(Clone)]
pub struct Objects {
    /// Those of one namespace each.
    pub namespaced: Cache<EcrPullSecret>,
    /// Those of many.
    pub cluster: Cache<ClusterEcrPullSecret>,
}

impl Objects {
    /// What they come to, by what their statuses say.
    pub(super) fn tally(&self) -> Vec<Tally> {
        let (namespaced, cluster) = (self.namespaced.store.state(), self.cluster.store.state());
        vec![
            status::tally("EcrPullSecret", namespaced.iter().filter_map(|object| object.status.as_ref())),
            status::tally("ClusterEcrPullSecret", cluster.iter().filter_map(|object| object.status.as_ref())),
        ]
    }
}

/// What both kinds come down to.
#[derive(Clone)]
struct Wanted {
    registries: Vec<RegistryRef>,
    additional_hosts: Vec<AdditionalHost>,
    repositories: Option<Vec<String>>,
    additional: Origin,
    accounts: Option<Chosen>,
    secret_name: String,
    owner: OwnerReference,
    namespaces: BTreeSet<String>,
    /// How many more namespaces are selected, in which the operator does not work.
    out_of_scope: usize,
}

/// Reconciles one EcrPullSecret.
pub(super) async fn reconcile(object: Arc<EcrPullSecret>, context: Arc<Context>) -> Result<Action, Error> {
    let spec = &object.spec;
    let wanted = chosen(spec.service_accounts.as_ref()).map(|accounts| Wanted {
        registries: spec.registries.clone(),
        additional_hosts: spec.additional_hosts.clone(),
        repositories: spec.repositories.clone(),
        additional: Origin {
            namespace: object.namespace().unwrap_or_default(),
            must_be_shared: false,
            secrets: spec.additional_secret_refs.clone(),
        },
        accounts,
        secret_name: spec.secret_name.clone().unwrap_or_else(|| object.name_any()),
        owner: owner_of(object.as_ref()),
        namespaces: object.namespace().into_iter().collect(),
        out_of_scope: 0,
    });
    serve_and_report(object.as_ref(), &context, wanted).await
}

/// Reconciles one ClusterEcrPullSecret.
pub(super) async fn reconcile_cluster(
    object: Arc<ClusterEcrPullSecret>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    context.pull_secrets.namespaces.filled().await;
    let wanted = wanted_of_cluster(&object, &context);
    serve_and_report(object.as_ref(), &context, wanted).await
}

fn wanted_of_cluster(object: &ClusterEcrPullSecret, context: &Context) -> Result<Wanted, Failure> {
    let spec = &object.spec;
    let selected = selected(&Selection::new(spec)?, &context.pull_secrets.namespaces);
    let (namespaces, out_of_scope) = within(&context.scope, selected);
    Ok(Wanted {
        registries: spec.registries.clone(),
        additional_hosts: spec.additional_hosts.clone(),
        repositories: spec.repositories.clone(),
        additional: Origin {
            namespace: context.operator_namespace.clone(),
            must_be_shared: true,
            secrets: spec.additional_secret_refs.clone(),
        },
        accounts: chosen(spec.service_accounts.as_ref())?,
        secret_name: spec.secret_name.clone().unwrap_or_else(|| object.name_any()),
        owner: owner_of(object),
        namespaces,
        out_of_scope,
    })
}

fn chosen(spec: Option<&ServiceAccounts>) -> Result<Option<Chosen>, Failure> {
    spec.map(Chosen::new).transpose()
}

fn owner_of<K: Resource<DynamicType = ()>>(object: &K) -> OwnerReference {
    // Objects that come from the API server have a name and a UID.
    object.controller_owner_ref(&()).unwrap_or_default()
}

/// The namespaces that are selected, without those that are going away.
fn selected(selection: &Selection, namespaces: &Cache<PartialObjectMeta<Namespace>>) -> BTreeSet<String> {
    let namespaces = namespaces.store.state();
    let staying = namespaces.iter().filter(|namespace| namespace.metadata.deletion_timestamp.is_none());
    staying
        .map(|namespace| (namespace.name_any(), namespace))
        .filter(|(name, namespace)| selection.has(name, namespace.labels()))
        .map(|(name, _)| name)
        .collect()
}

/// Those in which the operator works, and how many others there are.
fn within(scope: &Scope, selected: BTreeSet<String>) -> (BTreeSet<String>, usize) {
    let all = selected.len();
    let within: BTreeSet<_> = selected.into_iter().filter(|name| scope.has(name)).collect();
    let out_of_scope = all - within.len();
    (within, out_of_scope)
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
            let outcome = status::outcome(&wanted, &served);
            let status = status::status(&wanted, &served, object.meta().generation);
            context.report(object, status, &outcome).await?;
            Ok(match (&outcome, &served.not_renewed) {
                (Outcome::Ready { .. }, Some(failure)) => super::retry(context, object, failure),
                _ => next_turn(context, object, &outcome, until_next_look(&wanted, &served, context)),
            })
        }
    }
}

/// Until the first Secret is due. Nobody tells when a Secret changed that entries are taken from: those are looked at again
/// on the usual interval.
fn until_next_look(wanted: &Wanted, served: &Served, context: &Context) -> Duration {
    let until_due = fresh::until_due(served.renew_at, Timestamp::now());
    match wanted.additional.secrets.as_slice() {
        [] => until_due,
        _ => until_due.min(context.intervals.resync),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_in_which_the_operator_does_not_work_are_counted_and_left_out() {
        let selected = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let scope = Scope::of(["a".to_owned(), "b".to_owned()]);
        assert_eq!(within(&scope, selected(&["a", "c", "d"])), (selected(&["a"]), 2));
        assert_eq!(within(&Scope::All, selected(&["a", "c"])), (selected(&["a", "c"]), 0));
    }
}
