//! Adds an object's entry to the service accounts that it is for, and takes it away from others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Patch, PatchParams};
use kube::core::{Selector, SelectorExt as _};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::plan::{Change, change};
use super::{Account, CLAIM, CLAIMED, View};
use crate::api::ServiceAccounts;
use crate::api::conditions::Reason;
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;

/// How many accounts are written to at once.
const CONCURRENT_WRITES: usize = 16;

/// The field manager of everything but statuses.
const MANAGER: &str = "ecr-operator";

/// Which service accounts are to have the entry.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    names: Vec<String>,
    labels: Option<Selector>,
}

impl Chosen {
    /// Reads the spec.
    pub fn new(spec: &ServiceAccounts) -> Result<Self, Failure> {
        let ServiceAccounts { names, selector } = spec.clone();
        let labels = selector.map(Selector::try_from).transpose().map_err(|error| {
            Failure::stalled(Reason::InvalidSpec, format!("spec.serviceAccounts.selector can't be understood: {error}"))
        })?;
        Ok(Self { names: names.unwrap_or_default(), labels })
    }

    fn has(&self, account: &Account) -> bool {
        self.names.contains(&account.name_any())
            || self.labels.as_ref().is_some_and(|selector| selector.matches(account.labels()))
    }
}

/// What one object wants of the service accounts.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// UID of the object.
    pub uid: &'a str,
    /// Name of its Secrets.
    pub secret: &'a str,
    /// Which accounts are to have the entry; none if the object has no `serviceAccounts`.
    pub chosen: Option<&'a Chosen>,
    /// The namespaces in which the Secret is.
    pub served: &'a BTreeSet<String>,
    /// The namespaces in which it is to be, whether it is or not.
    pub wanted: &'a BTreeSet<String>,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Settled {
    /// How many accounts have the entry.
    pub accounts: usize,
    /// What failed, by namespace.
    pub failed: BTreeMap<String, Failure>,
}

/// What to do with an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is to have the entry.
    Have,
    /// It is to have none.
    Lose,
    /// It stays as it is: the Secret could not be written just now.
    Stay,
}

impl Wish<'_> {
    fn of(&self, account: &Account) -> Fate {
        let namespace = account.namespace().unwrap_or_default();
        let is_chosen = self.chosen.is_some_and(|chosen| chosen.has(account));
        match (is_chosen, self.served.contains(&namespace), self.wanted.contains(&namespace)) {
            (true, true, _) => Fate::Have,
            (true, false, true) => Fate::Stay,
            _ => Fate::Lose,
        }
    }
}

/// Brings the entry to the accounts that are to have it, and takes it from all others. Nothing is read for an object that
/// wants nothing of them.
pub async fn settle(context: &Context, wish: Wish<'_>) -> Settled {
    let mut settled = Settled::default();
    if wish.chosen.is_none() && !context.accounts.are_watched() {
        return settled;
    }
    let accounts = match context.accounts.look() {
        View::Known(accounts) => accounts,
        unknown => {
            let failure = match unknown {
                View::Unknown(problem) => Failure::stalled(
                    Reason::AccessDenied,
                    format!(
                        "spec.serviceAccounts: service accounts can't be read: {problem}; let the operator list, watch and patch them"
                    ),
                ),
                _ => Failure::transient(Reason::Progressing, "the service accounts are being read"),
            };
            settled.failed = wish.served.iter().map(|namespace| (namespace.clone(), failure.clone())).collect();
            return settled;
        }
    };
    let accounts = accounts.into_iter().filter(|account| account.metadata.deletion_timestamp.is_none());
    let mut changes = Vec::new();
    for account in accounts {
        let secret = match wish.of(&account) {
            Fate::Have => Some(wish.secret),
            Fate::Lose => None,
            Fate::Stay => continue,
        };
        match change(&account.present(), wish.uid, secret) {
            Some(change) => changes.push((account, change, secret.is_some())),
            None => settled.accounts += usize::from(secret.is_some()),
        }
    }
    let mut patches = stream::iter(changes)
        .map(|(account, change, has)| async move {
            let outcome = patch(context, &account, wish.uid, change).await;
            (account, outcome, has)
        })
        .buffer_unordered(CONCURRENT_WRITES);
    while let Some((account, outcome, has)) = patches.next().await {
        match outcome {
            Ok(()) => settled.accounts += usize::from(has),
            Err(failure) => {
                settled.failed.insert(account.namespace().unwrap_or_default(), failure);
            }
        }
    }
    settled
}

/// Takes an object's entry from an account.
pub(super) async fn release(context: &Context, account: &Arc<Account>, uid: &str) -> Result<(), Failure> {
    match change(&account.present(), uid, None) {
        Some(change) => patch(context, account, uid, change).await,
        None => Ok(()),
    }
}

/// Writes the list, if the account is still as it was seen. Else the watch tells, and it is looked at again.
async fn patch(context: &Context, account: &Account, uid: &str, change: Change) -> Result<(), Failure> {
    let (namespace, name) = (account.namespace().unwrap_or_default(), account.name_any());
    let Change { pulls, claim } = change;
    let is_claimed = claim.is_some() || account.present().claims.keys().any(|other| *other != uid);
    let pulls: Vec<_> = pulls.iter().map(|name| json!({ "name": name })).collect();
    let patch = json!({
        "metadata": {
            "resourceVersion": account.resource_version(),
            "annotations": {format!("{CLAIM}{uid}"): claim},
            "labels": {CLAIMED: is_claimed.then_some("true")},
        },
        "imagePullSecrets": (!pulls.is_empty()).then_some(pulls),
    });
    let api: Api<ServiceAccount> = Api::namespaced(context.client.clone(), &namespace);
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch(&name, &params, &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => Ok(()),
        Err(error) => {
            let message = format!("can't change imagePullSecrets of ServiceAccount {namespace}/{name}: {error}");
            Err(match error {
                kube::Error::Api(answer) if answer.code == 403 => Failure::stalled(Reason::AccessDenied, message),
                _ => Failure::transient(Reason::Retrying, message),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(namespace: &str, name: &str, labels: &[(&str, &str)]) -> Account {
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": namespace, "labels": labels}}))
            .expect("an account")
    }

    fn chosen(spec: &str) -> Chosen {
        Chosen::new(&serde_saphyr::from_str(spec).expect("a spec")).expect("can be understood")
    }

    #[test]
    fn accounts_are_chosen_by_name_or_label() {
        let both = chosen("names: [default]\nselector: {matchLabels: {builds: 'true'}}");
        assert!(both.has(&account("a", "default", &[])) && both.has(&account("a", "x", &[("builds", "true")])));
        assert!(!both.has(&account("a", "x", &[("builds", "false")])));
        assert!(!chosen("names: [default]").has(&account("a", "default-2", &[])));
        assert!(chosen("selector: {}").has(&account("a", "any", &[])));
    }

    #[test]
    fn an_entry_comes_where_the_secret_is_goes_where_it_is_not_wanted_and_stays_where_it_failed() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let (served, wanted) = (set(&["served"]), set(&["served", "failed"]));
        let chosen = chosen("names: [default]");
        let wish = Wish { uid: "u", secret: "ecr", chosen: Some(&chosen), served: &served, wanted: &wanted };
        assert_eq!(wish.of(&account("served", "default", &[])), Fate::Have);
        assert_eq!(wish.of(&account("served", "other", &[])), Fate::Lose);
        assert_eq!(wish.of(&account("failed", "default", &[])), Fate::Stay);
        assert_eq!(wish.of(&account("left", "default", &[])), Fate::Lose);
        let nothing = Wish { chosen: None, ..wish };
        assert_eq!(nothing.of(&account("served", "default", &[])), Fate::Lose);
    }

    #[test]
    fn a_selector_that_can_not_be_understood_is_told() {
        let spec = "selector: {matchExpressions: [{key: a, operator: Near}]}";
        let failure = Chosen::new(&serde_saphyr::from_str(spec).expect("a spec")).expect_err("refused");
        assert!(failure.message.contains("spec.serviceAccounts.selector"), "{failure}");
    }
}
