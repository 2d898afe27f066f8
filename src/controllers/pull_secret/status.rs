//! What the status of a pull secret says.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::Served;
use crate::api::conditions::Reason;
use crate::api::{FailedNamespace, PullSecretStatus};
use crate::controllers::failure::{Failure, Retry};
use crate::controllers::report::Outcome;

/// How many failed namespaces the status names.
const NAMED: usize = 20;

/// The status after a reconcile.
pub(super) fn status(secret_name: &str, served: &Served) -> PullSecretStatus {
    PullSecretStatus {
        common: Default::default(),
        secret_name: Some(secret_name.to_owned()),
        expires_at: served.expires_at.map(Time),
        namespaces: Some(i32::try_from(served.namespaces).unwrap_or(i32::MAX)),
        failed: served
            .failed
            .iter()
            .take(NAMED)
            .map(|(namespace, failure)| FailedNamespace {
                namespace: namespace.clone(),
                message: failure.message.clone(),
            })
            .collect(),
    }
}

/// Ready when every namespace has a Secret that works.
pub(super) fn outcome(secret_name: &str, served: &Served) -> Outcome {
    if let Some((namespace, failure)) = served.failed.iter().next() {
        let (reason, message) = match served.failed.len() {
            1 => (failure.reason, failure.message.clone()),
            count => {
                let message =
                    format!("{count} namespaces could not be served, {namespace} for one: {}", failure.message);
                (Reason::SomeNamespacesFailed, message)
            }
        };
        // One that may pass by itself makes the whole worth another try soon.
        let soon = served.failed.values().find(|failure| failure.retry == Retry::Backoff);
        return Outcome::Failed(Failure { reason, message, retry: soon.unwrap_or(failure).retry });
    }
    let good_until = served.expires_at.map(|time| format!("good until {}", rounded(time))).unwrap_or_default();
    let message = match (served.namespaces, &served.not_renewed) {
        (0, _) => "no namespace is selected".to_owned(),
        (_, Some(failure)) => {
            format!("Secret {secret_name} is {good_until}, but could not be renewed yet: {}", failure.message)
        }
        (1, None) => format!("Secret {secret_name} is {good_until}"),
        (count, None) => format!("Secret {secret_name} in {count} namespaces is {good_until}"),
    };
    Outcome::Ready { message }
}

/// A time without fractions of a second.
fn rounded(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
