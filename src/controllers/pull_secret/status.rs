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

#[cfg(test)]
mod tests {
    use super::*;

    fn served(namespaces: usize, failed: &[(&str, Failure)]) -> Served {
        Served {
            expires_at: (namespaces > 0).then(|| Timestamp::from_second(43_200).expect("in range")),
            renew_at: None,
            namespaces,
            not_renewed: None,
            failed: failed.iter().map(|(name, failure)| ((*name).to_owned(), failure.clone())).collect(),
        }
    }

    fn message(served: &Served) -> String {
        match outcome("pull", served) {
            Outcome::Ready { message } => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ready_says_how_many_namespaces_are_served_and_until_when() {
        assert_eq!(message(&served(1, &[])), "Secret pull is good until 1970-01-01T12:00:00Z");
        assert_eq!(message(&served(3, &[])), "Secret pull in 3 namespaces is good until 1970-01-01T12:00:00Z");
        assert_eq!(message(&served(0, &[])), "no namespace is selected");
    }

    #[test]
    fn a_secret_that_works_is_ready_also_while_it_can_not_be_renewed() {
        let mut away = served(2, &[]);
        away.not_renewed = Some(Failure::transient(Reason::Unreachable, "AWS is away"));
        let words = message(&away);
        assert!(words.contains("good until") && words.contains("AWS is away"), "{words}");
    }

    #[test]
    fn one_namespace_that_fails_gives_its_reason_and_several_are_counted() {
        let foreign = Failure::stalled(Reason::SecretNotOwned, "theirs");
        let away = Failure::transient(Reason::Retrying, "away");
        let Outcome::Failed(one) = outcome("pull", &served(5, &[("a", foreign.clone())])) else { panic!("not ready") };
        assert_eq!((one.reason, one.message.as_str(), one.retry), (Reason::SecretNotOwned, "theirs", Retry::Stalled));
        let Outcome::Failed(two) = outcome("pull", &served(5, &[("a", foreign), ("b", away)])) else {
            panic!("not ready")
        };
        assert_eq!((two.reason, two.retry), (Reason::SomeNamespacesFailed, Retry::Backoff));
        assert!(two.message.contains("2 namespaces"), "{two}");
    }

    #[test]
    fn the_status_names_a_bounded_number_of_namespaces() {
        let failure = Failure::stalled(Reason::SecretNotOwned, "theirs");
        let names: Vec<String> = (0..100).map(|n| format!("namespace-{n}")).collect();
        let failed: Vec<_> = names.iter().map(|name| (name.as_str(), failure.clone())).collect();
        assert_eq!(status("pull", &served(0, &failed)).failed.len(), NAMED);
    }
}
