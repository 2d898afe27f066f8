//! What a namespace has of a Secret's name.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::runtime::reflector::ObjectRef;

use super::Wanted;
use super::document::fingerprint;
use crate::api::conditions::Reason;
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL};
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;

/// The key of a docker config in a Secret of type `kubernetes.io/dockerconfigjson`.
pub(super) const DATA_KEY: &str = ".dockerconfigjson";
/// Annotation: the hosts that the Secret has credentials for.
pub(super) const HOSTS: &str = "ecr-operator.io/registry-hosts";
/// Annotation: when the first token expires.
pub(super) const EXPIRES_AT: &str = "ecr-operator.io/expires-at";
/// Annotation: when the Secret is due to be renewed.
pub(super) const RENEW_AT: &str = "ecr-operator.io/renew-at";
/// Annotation: the fingerprint of what the tokens are good for.
pub(super) const RIGHTS: &str = "ecr-operator.io/rights-sha256";
/// Annotation: the fingerprint of the content.
pub(super) const FINGERPRINT: &str = "ecr-operator.io/content-sha256";

/// What a namespace has of a Secret's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SecretState {
    /// Nothing.
    Absent,
    /// A Secret that this object did not write.
    Foreign,
    /// A Secret that this object wrote.
    Ours(Life),
    /// A Secret that this object wrote, and somebody changed.
    Edited,
}

/// What an intact Secret's annotations say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Life {
    /// The fingerprint of what the tokens are good for.
    pub(super) rights: String,
    pub(super) expires_at: Timestamp,
    pub(super) renew_at: Timestamp,
}

/// Versions of Secrets that were seen to have the content that was written. Others are read once, in full.
#[derive(Debug, Default)]
pub struct Verified(Mutex<HashMap<(String, String), String>>);

impl Verified {
    /// Remembers that this version is intact.
    pub(super) fn insert(&self, metadata: &ObjectMeta) {
        if let ObjectMeta { namespace: Some(namespace), name: Some(name), resource_version: Some(version), .. } =
            metadata
        {
            self.lock().insert((namespace.clone(), name.clone()), version.clone());
        }
    }

    fn contains(&self, metadata: &ObjectMeta) -> bool {
        let ObjectMeta { namespace: Some(namespace), name: Some(name), resource_version: Some(version), .. } = metadata
        else {
            return false;
        };
        self.lock().get(&(namespace.clone(), name.clone())) == Some(version)
    }

    /// Forgets a Secret that is gone.
    pub(super) fn remove(&self, namespace: &str, name: &str) {
        self.lock().remove(&(namespace.to_owned(), name.to_owned()));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at one namespace: at its metadata in memory where that is enough, else at the Secret itself.
pub(super) async fn observe(context: &Context, wanted: &Wanted, namespace: &str) -> Result<SecretState, Failure> {
    let stores = &context.pull_secrets;
    let key = ObjectRef::new(&wanted.secret_name).within(namespace);
    if let Some(known) = stores.secrets.store.get(&key)
        && stores.verified.contains(&known.metadata)
    {
        return Ok(state_of_intact(&known.metadata, &wanted.owner.uid));
    }
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let secret = api.get_opt(&wanted.secret_name).await.map_err(|error| cannot("read", wanted, namespace, &error))?;
    let Some(secret) = secret else { return Ok(SecretState::Absent) };
    let content = secret.data.as_ref().and_then(|data| data.get(DATA_KEY)).map(|bytes| fingerprint(&bytes.0));
    let written = annotation(&secret.metadata, FINGERPRINT);
    let state = state_of_intact(&secret.metadata, &wanted.owner.uid);
    if matches!(state, SecretState::Ours(_)) {
        if content.as_deref() != written {
            return Ok(SecretState::Edited);
        }
        stores.verified.insert(&secret.metadata);
    }
    Ok(state)
}

/// What the metadata says of a Secret whose content is as written.
fn state_of_intact(metadata: &ObjectMeta, owner_uid: &str) -> SecretState {
    let is_ours = metadata
        .owner_references
        .iter()
        .flatten()
        .any(|reference| reference.controller == Some(true) && reference.uid == owner_uid);
    if !is_ours {
        return SecretState::Foreign;
    }
    // Without its label the watch does not show it.
    let is_labelled = metadata.labels.iter().flatten().any(|(key, by)| key == MANAGED_BY_LABEL && by == MANAGED_BY);
    if !is_labelled {
        return SecretState::Edited;
    }
    let time = |key| annotation(metadata, key).and_then(|text| text.parse::<Timestamp>().ok());
    match (annotation(metadata, RIGHTS), time(EXPIRES_AT), time(RENEW_AT)) {
        (Some(rights), Some(expires_at), Some(renew_at)) => {
            SecretState::Ours(Life { rights: rights.to_owned(), expires_at, renew_at })
        }
        _ => SecretState::Edited,
    }
}

fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref().and_then(|annotations: &BTreeMap<_, _>| annotations.get(key)).map(String::as_str)
}

/// A failure of the API server, in words.
pub(super) fn cannot(verb: &str, wanted: &Wanted, namespace: &str, error: &kube::Error) -> Failure {
    let message = format!("can't {verb} Secret {namespace}/{}: {error}", wanted.secret_name);
    match error {
        kube::Error::Api(answer) if answer.code == 403 => Failure::stalled(Reason::AccessDenied, message),
        _ => Failure::transient(Reason::Retrying, message),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(change: impl Fn(&mut serde_json::Value)) -> SecretState {
        let mut metadata = json!({
            "labels": {MANAGED_BY_LABEL: MANAGED_BY},
            "annotations": {RIGHTS: "a", EXPIRES_AT: "2026-01-01T12:00:00Z", RENEW_AT: "2026-01-01T06:00:00Z"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "k", "name": "n", "uid": "us", "controller": true}],
        });
        change(&mut metadata);
        state_of_intact(&serde_json::from_value(metadata).expect("metadata"), "us")
    }

    #[test]
    fn what_belongs_to_the_object_and_has_its_marks_is_intact() {
        assert!(matches!(state(|_| {}), SecretState::Ours(Life { rights, .. }) if rights == "a"));
    }

    #[test]
    fn what_belongs_to_another_or_to_nobody_is_foreign() {
        assert_eq!(state(|it| it["ownerReferences"][0]["uid"] = "them".into()), SecretState::Foreign);
        assert_eq!(state(|it| it["ownerReferences"][0]["controller"] = false.into()), SecretState::Foreign);
        assert_eq!(state(|it| it["ownerReferences"] = json!([])), SecretState::Foreign);
    }

    #[test]
    fn a_mark_that_is_taken_away_is_an_edit() {
        assert_eq!(state(|it| it["labels"] = json!({})), SecretState::Edited);
        for key in [RIGHTS, EXPIRES_AT, RENEW_AT] {
            let without =
                |it: &mut serde_json::Value| drop(it["annotations"].as_object_mut().map(|all| all.remove(key)));
            assert_eq!(state(without), SecretState::Edited, "{key}");
        }
    }
}
