//! Writes Secrets.

use std::collections::BTreeMap;

use futures::{StreamExt as _, stream};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt as _};

use super::Wanted;
use super::document::{Document, fingerprint};
use super::observe::{DATA_KEY, EXPIRES_AT, FINGERPRINT, HOSTS, RENEW_AT, RIGHTS, cannot};
use super::plan::{self, Because, Decision};
use super::serve::CONCURRENT_WRITES;
use super::status::rounded;
use crate::api::conditions::Reason;
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL};
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;

/// The field manager of everything but statuses.
const MANAGER: &str = "ecr-operator";

/// How long a namespace's Secret is good for.
pub(super) struct Life {
    pub(super) expires_at: Timestamp,
    pub(super) renew_at: Timestamp,
    /// Why it could not be renewed, although it is due. It still works.
    pub(super) not_renewed: Option<Failure>,
}

/// What a namespace's Secret is to be.
pub(super) struct Content<'a> {
    /// The fingerprint of what the tokens are good for.
    pub(super) rights: &'a str,
    /// The content, where a Secret is to be written.
    pub(super) document: Option<&'a Result<Document, Failure>>,
}

/// Does what was decided for one namespace.
pub(super) async fn apply(
    context: &Context,
    wanted: &Wanted,
    namespace: &str,
    decision: Decision,
    content: Content<'_>,
) -> Result<Life, Failure> {
    let (present, outdated) = match &decision {
        Decision::Keep(life) => {
            return Ok(Life { expires_at: life.expires_at, renew_at: life.renew_at, not_renewed: None });
        }
        Decision::LeaveAlone => {
            return Err(Failure::stalled(
                Reason::SecretNotOwned,
                format!(
                    "namespace {namespace} has a Secret {} that this object did not write: delete it, or choose another secretName",
                    wanted.secret_name
                ),
            ));
        }
        Decision::Create => (None, None),
        // A token for other rights than it is to have does not do, however long it lives.
        Decision::Update { because: Because::OtherRights, present } => (None, present.clone()),
        Decision::Update { because: Because::Due | Because::Edited, present } => (present.clone(), None),
    };
    let document = match content.document {
        Some(Ok(document)) => Ok(document),
        Some(Err(failure)) => Err(failure.clone()),
        None => Err(Failure::transient(Reason::Retrying, "no token was asked for")),
    };
    let written = match document {
        Ok(document) => match &document.late {
            Some(late) if !plan::is_better(document.expires_at, true, present.as_ref()) => Err(late.clone()),
            _ => write(context, wanted, namespace, &decision, document, content.rights).await,
        },
        Err(failure) => Err(failure),
    };
    match (written, present, outdated) {
        (Err(failure), Some(life), _) => {
            Ok(Life { expires_at: life.expires_at, renew_at: life.renew_at, not_renewed: Some(failure) })
        }
        (Err(failure), None, Some(life)) => Err(still_outdated(failure, wanted, namespace, life.expires_at)),
        (outcome, ..) => outcome,
    }
}

/// What it means that a Secret could not be given what it is to have now. It stays: what it has was handed out already and
/// can't be taken back, and pods go on with what they may still use.
fn still_outdated(failure: Failure, wanted: &Wanted, namespace: &str, expires_at: Timestamp) -> Failure {
    let Failure { reason, message, retry } = failure;
    let message = format!(
        "Secret {namespace}/{} still has what it was to have before, good until {}, and could not be replaced: {message}",
        wanted.secret_name,
        rounded(expires_at)
    );
    Failure { reason, message, retry }
}

async fn write(
    context: &Context,
    wanted: &Wanted,
    namespace: &str,
    decision: &Decision,
    document: &Document,
    rights: &str,
) -> Result<Life, Failure> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let renew_at = document.renew_at(&format!("{}/{namespace}", wanted.owner.uid));
    let secret = secret(wanted, namespace, document, rights, renew_at);
    let written = match decision {
        // Creating fails where somebody was faster: what is there may be another's.
        Decision::Create => {
            let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
            api.create(&params, &secret).await
        }
        _ => api.patch(&wanted.secret_name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&secret)).await,
    }
    .map_err(|error| cannot("write", wanted, namespace, &error))?;
    context.pull_secrets.verified.insert(&written.metadata);
    context.metrics.pull_secret_written(match decision {
        Decision::Update { because: Because::Due, .. } => "renewed",
        Decision::Update { because: Because::OtherRights, .. } => "rights_changed",
        Decision::Update { because: Because::Edited, .. } => "repaired",
        _ => "created",
    });
    Ok(Life { expires_at: document.expires_at, renew_at, not_renewed: document.late.clone() })
}

fn secret(wanted: &Wanted, namespace: &str, document: &Document, rights: &str, renew_at: Timestamp) -> Secret {
    let annotations = [
        (HOSTS, document.hosts.join(",")),
        (EXPIRES_AT, document.expires_at.to_string()),
        (RENEW_AT, renew_at.to_string()),
        (RIGHTS, rights.to_owned()),
        (FINGERPRINT, fingerprint(document.dockerconfigjson.as_bytes())),
    ];
    Secret {
        metadata: ObjectMeta {
            name: Some(wanted.secret_name.clone()),
            namespace: Some(namespace.to_owned()),
            labels: Some(BTreeMap::from([(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned())])),
            annotations: Some(annotations.map(|(key, value)| (key.to_owned(), value)).into()),
            owner_references: Some(vec![wanted.owner.clone()]),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/dockerconfigjson".to_owned()),
        data: Some(BTreeMap::from([(DATA_KEY.to_owned(), ByteString(document.dockerconfigjson.clone().into_bytes()))])),
        ..Secret::default()
    }
}

/// Deletes the Secrets that this object wrote and no longer wants: in namespaces that are no longer selected, and under
/// a name that it no longer has.
pub(super) async fn remove_left_over(context: &Context, wanted: &Wanted) -> Result<(), Failure> {
    let left_over: Vec<_> = context
        .pull_secrets
        .secrets
        .store
        .state()
        .into_iter()
        .filter(|secret| {
            let ours = secret.owner_references().iter().any(|reference| reference.uid == wanted.owner.uid);
            let namespace = secret.namespace().unwrap_or_default();
            ours && !(secret.name_any() == wanted.secret_name && wanted.namespaces.contains(&namespace))
        })
        .collect();
    let mut deletions = stream::iter(left_over)
        .map(|secret| async move {
            let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name_any());
            let api: Api<Secret> = Api::namespaced(context.client.clone(), &namespace);
            let params = DeleteParams {
                preconditions: Some(Preconditions { uid: secret.uid(), resource_version: None }),
                ..DeleteParams::default()
            };
            context.pull_secrets.verified.remove(&namespace, &name);
            match api.delete(&name, &params).await {
                Ok(_) => Ok(()),
                Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => Ok(()),
                Err(error) => Err(cannot("delete", wanted, &namespace, &error)),
            }
        })
        .buffer_unordered(CONCURRENT_WRITES);
    let mut first_failure = None;
    while let Some(deleted) = deletions.next().await {
        if let Err(failure) = deleted {
            first_failure.get_or_insert(failure);
        }
    }
    first_failure.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::failure::Retry;
    use crate::controllers::pull_secret::status::tests::wanted;

    #[test]
    fn a_secret_with_what_it_was_to_have_before_is_told_with_the_time_until_when_it_works() {
        let denied = Failure::stalled(Reason::AccessDenied, "AWS says no");
        let told = still_outdated(denied, &wanted(), "team-a", Timestamp::from_second(43_200).expect("in range"));
        assert_eq!((told.reason, told.retry), (Reason::AccessDenied, Retry::Stalled));
        for words in ["team-a/pull", "to have before", "good until 1970-01-01T12:00:00Z", "AWS says no"] {
            assert!(told.message.contains(words), "{words}: {told}");
        }
    }
}
