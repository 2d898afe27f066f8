//! What the status of a pull secret says.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::Served;
use crate::api::conditions::{PULL_ONLY, Reason};
use crate::api::{CommonStatus, FailedNamespace, PullSecretStatus};
use crate::controllers::failure::{Failure, Retry};
use crate::controllers::report::Outcome;
use crate::ecr::{EcrError, ErrorKind, MintKey};

/// How many failed namespaces the status names.
const NAMED: usize = 20;

/// The status after a reconcile.
pub(super) fn status(secret_name: &str, served: &Served, generation: Option<i64>) -> PullSecretStatus {
    PullSecretStatus {
        common: CommonStatus { conditions: vec![pull_only(&served.can_push, generation)], ..Default::default() },
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

/// The status after a reconcile that came to nothing: what is known of the Secrets stays, unless they were taken away.
pub(super) fn failed(previous: PullSecretStatus, failure: &Failure) -> PullSecretStatus {
    if failure.reason != Reason::TokenCanPush {
        return previous;
    }
    let conditions = vec![condition("False", Reason::TokenCanPush, &failure.message, None)];
    PullSecretStatus {
        common: CommonStatus { conditions, ..previous.common },
        namespaces: Some(0),
        ..Default::default()
    }
}

/// Whether the tokens can pull only, as a condition.
fn pull_only(can_push: &[String], generation: Option<i64>) -> Condition {
    if can_push.is_empty() {
        let message =
            "a session policy lets the tokens pull from the repositories that the namespace may use, and nothing else";
        return condition("True", Reason::SessionPolicy, message, generation);
    }
    let message = format!(
        "whoever reads the Secret can push and delete images wherever the operator may: give EcrRegistry {} a spec.pullRole",
        can_push.join(", ")
    );
    condition("False", Reason::TokenCanPush, &message, generation)
}

/// A condition of pull secrets. When it became so is for the report to say.
fn condition(status: &str, reason: Reason, message: &str, generation: Option<i64>) -> Condition {
    Condition {
        type_: PULL_ONLY.to_owned(),
        status: status.to_owned(),
        reason: reason.as_str().to_owned(),
        message: message.to_owned(),
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
        observed_generation: generation,
    }
}

/// Why there must be no Secret, where tokens of these registries can push.
pub(super) fn must_not_push(can_push: &[String], narrowed: bool, require_pull_only: bool) -> Option<Failure> {
    let why = match (can_push, narrowed, require_pull_only) {
        ([], ..) | (_, false, false) => return None,
        (_, true, _) => "spec.repositories can't be kept to",
        (_, false, true) => "the operator is set to hand out no token that can push (--require-pull-only)",
    };
    let message = format!(
        "{why}: EcrRegistry {} has neither spec.pullRole nor spec.credentials.assumeRole, so its tokens have all rights of the operator; give it a spec.pullRole",
        can_push.join(", ")
    );
    Some(Failure::stalled(Reason::TokenCanPush, message))
}

/// Why there is no token.
pub(super) fn not_minted(key: &MintKey, error: EcrError) -> Failure {
    match &key.narrowed {
        Some((role, _)) if error.operation == "sts:AssumeRole" && error.kind == ErrorKind::AccessDenied => {
            let and_tags = if role.tags.is_empty() { "" } else { ", and sts:TagSession" };
            let arn = &role.arn;
            Failure::stalled(
                Reason::AccessDenied,
                format!(
                    "{error}; let the trust policy of {arn}, and the IAM policy of the operator's own identity, allow sts:AssumeRole{and_tags}"
                ),
            )
        }
        _ => error.into(),
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
#[path = "status_tests.rs"]
mod tests;
