//! Service accounts whose `imagePullSecrets` pull secrets are added to.
//!
//! Which entries are ours is written on the service account itself, as an annotation for each object that put one there:
//! so it is known after a restart, and after the object is gone. The watch, which keeps little of each account, starts when
//! somebody asks for it first: without `serviceAccounts` no ServiceAccount is read.

mod orphans;
mod plan;
mod settle;

use std::sync::{Arc, PoisonError, RwLock};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{LocalObjectReference, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector;
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource};
use serde::Deserialize;
use tokio::sync::Notify;

use super::chain;
use super::scope::Scope;
use super::signals::{Signal, Signals};
use super::watches::{Cache, Filled};
use plan::Present;

pub(super) use orphans::release_orphans;
pub(super) use settle::{Chosen, Settled, Wish, settle};

/// On a ServiceAccount: annotations with this prefix, and the UID of a pull secret object after it, have the name of the
/// entry that the object put there.
const CLAIM: &str = "pull-secret.ecr-operator.io/";

/// The label of ServiceAccounts that have such an annotation, by which they are found again.
const CLAIMED: &str = "ecr-operator.io/pull-secret";

/// All that is kept of a ServiceAccount.
#[derive(Clone, Debug, Default, Deserialize, Resource)]
#[resource(inherit = "ServiceAccount")]
#[serde(rename_all = "camelCase")]
pub struct Account {
    metadata: ObjectMeta,
    #[serde(default)]
    image_pull_secrets: Vec<LocalObjectReference>,
}

impl Account {
    /// Drops what nobody here reads.
    fn slim(&mut self) {
        let metadata = std::mem::take(&mut self.metadata);
        let annotations = metadata.annotations.map(|mut annotations| {
            annotations.retain(|key, _| key.starts_with(CLAIM));
            annotations
        });
        self.metadata = ObjectMeta {
            name: metadata.name,
            namespace: metadata.namespace,
            labels: metadata.labels,
            annotations,
            resource_version: metadata.resource_version,
            deletion_timestamp: metadata.deletion_timestamp,
            ..ObjectMeta::default()
        };
    }

    fn present(&self) -> Present<'_> {
        let annotations = self.metadata.annotations.iter().flatten();
        Present {
            pulls: self.image_pull_secrets.iter().map(|reference| reference.name.as_str()).collect(),
            claims: annotations.filter_map(|(key, name)| Some((key.strip_prefix(CLAIM)?, name.as_str()))).collect(),
        }
    }
}

/// The service accounts of the cluster, once somebody asks.
pub struct Accounts {
    cache: Cache<Account>,
    wanted: Notify,
    may_be_orphaned: Notify,
    problem: RwLock<Option<String>>,
}

/// What is known about the service accounts.
enum View {
    /// They are being read.
    Filling,
    /// They can't be read, and what the API server said.
    Unknown(String),
    /// These are all.
    Known(Vec<Arc<Account>>),
}

impl Accounts {
    /// The accounts, and the watch that fills them. The watch never ends.
    pub(super) fn new(
        client: Client,
        scope: Scope,
        signals: Signals,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send + 'static) {
        let (store, writer) = reflector::store();
        let (cache, filled) = Cache::new(store);
        let accounts =
            Arc::new(Self { cache, wanted: Notify::new(), may_be_orphaned: Notify::new(), problem: RwLock::default() });
        let told = accounts.clone();
        let watch = async move {
            if !were_added_to(&client, &scope).await {
                told.wanted.notified().await;
            }
            tracing::info!("service accounts are watched now, for their imagePullSecrets");
            let stream =
                scope.watch::<Account>(&client, &watcher::Config::default()).modify(Account::slim).reflect(writer);
            stream
                .for_each(|event| {
                    told.take(event, &filled, &signals);
                    futures::future::ready(())
                })
                .await;
        };
        (accounts, watch)
    }

    /// An object that put entries there may be gone.
    pub(super) fn look_for_orphans(&self) {
        self.may_be_orphaned.notify_one();
    }

    fn take(&self, event: Result<Event<Account>, watcher::Error>, filled: &Filled, signals: &Signals) {
        let problem = event.as_ref().err().map(|error| chain(error));
        if let Some(problem) = &problem {
            tracing::warn!(error = problem, "the watch of service accounts failed and is started anew");
        }
        *self.problem.write().unwrap_or_else(PoisonError::into_inner) = problem;
        let Ok(event) = event else {
            // Who waits for it has to say so.
            if !self.cache.is_filled() {
                signals.send(Signal::ServiceAccounts { namespace: None });
            }
            return;
        };
        filled.observe(&event);
        match &event {
            Event::Apply(account) | Event::Delete(account) => {
                if !account.present().claims.is_empty() {
                    self.look_for_orphans();
                }
                signals.send(Signal::ServiceAccounts { namespace: account.metadata.namespace.clone() });
            }
            Event::InitDone => {
                self.look_for_orphans();
                signals.send(Signal::ServiceAccounts { namespace: None });
            }
            Event::Init | Event::InitApply(_) => {}
        }
    }

    /// Whether anything is known about the accounts without asking for it.
    pub(super) fn are_watched(&self) -> bool {
        self.cache.is_filled()
    }

    fn look(&self) -> View {
        self.wanted.notify_one();
        if self.cache.is_filled() {
            return View::Known(self.cache.store.state());
        }
        match self.problem.read().unwrap_or_else(PoisonError::into_inner).clone() {
            Some(problem) => View::Unknown(problem),
            None => View::Filling,
        }
    }
}

/// Whether there are entries from before this program started.
async fn were_added_to(client: &Client, scope: &Scope) -> bool {
    let one = ListParams::default().labels(CLAIMED).limit(1);
    for api in scope.apis::<ServiceAccount>(client) {
        match api.list_metadata(&one).await {
            Ok(found) if !found.items.is_empty() => return true,
            Ok(_) => {}
            // Where the right is missing nothing was ever added, or nothing can be done about it.
            Err(error) => tracing::debug!(%error, "service accounts can't be listed"),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_kept_of_an_account_and_what_is_ours_is_told() {
        let mut account: Account = serde_json::from_value(serde_json::json!({
            "metadata": {
                "name": "default", "namespace": "a", "resourceVersion": "7", "uid": "u", "labels": {"team": "a"},
                "annotations": {"eks.amazonaws.com/role-arn": "arn", "pull-secret.ecr-operator.io/uid": "ecr"},
                "managedFields": [{"manager": "x"}],
            },
            "secrets": [{"name": "token"}],
            "imagePullSecrets": [{"name": "theirs"}, {"name": "ecr"}],
        }))
        .expect("an account");
        account.slim();
        assert_eq!(account.metadata.annotations.as_ref().map(|all| all.len()), Some(1));
        assert_eq!((&account.metadata.uid, &account.metadata.managed_fields), (&None, &None));
        assert_eq!(account.metadata.resource_version.as_deref(), Some("7"));
        let present = account.present();
        assert_eq!(present.pulls, ["theirs", "ecr"]);
        assert_eq!(present.claims.into_iter().collect::<Vec<_>>(), [("uid", "ecr")]);
    }
}
