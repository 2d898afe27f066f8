//! What the status of a pull secret says.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::Wanted;
use super::serve::Served;
use crate::api::conditions::{PULL_ONLY, Reason};
use crate::api::{CommonStatus, FailedNamespace, PullSecretStatus};
use crate::controllers::failure::{Failure, Retry};
use crate::controllers::report::{Outcome, cut};
use crate::ecr::{EcrError, ErrorKind, MintKey};
use crate::metrics::Tally;

/// How many failed namespaces, and how many ignored entries, the status names.
const NAMED: usize = 20;

/// How long the message about one of them may be, in bytes.
const LONGEST: usize = 1000;

/// The status after a reconcile.
pub(super) fn status(wanted: &Wanted, served: &Served, generation: Option<i64>) -> PullSecretStatus {
    let failed = served.failed.iter().take(NAMED).map(|(namespace, failure)| FailedNamespace {
        namespace: namespace.clone(),
        reason: failure.reason.as_str().to_owned(),
        message: cut(&failure.message, LONGEST),
    });
    PullSecretStatus {
        common: CommonStatus { conditions: vec![pull_only(&served.can_push, generation)], ..Default::default() },
        secret_name: Some(wanted.secret_name.clone()),
        expires_at: served.expires_at.map(Time),
        namespaces: Some(count(served.namespaces.len())),
        service_accounts: served.accounts.map(count),
        failed_namespaces: Some(count(served.failed.len())),
        failed: failed.collect(),
        ignored_entries: served.ignored.iter().take(NAMED).cloned().collect(),
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// What the statuses of a kind come to.
pub(super) fn tally<'a>(kind: &'static str, statuses: impl Iterator<Item = &'a PullSecretStatus>) -> Tally {
    let mut tally = Tally { kind, served: 0, failed: 0, expires_at: None };
    for status in statuses {
        tally.served += i64::from(status.namespaces.unwrap_or_default());
        tally.failed += i64::from(status.failed_namespaces.unwrap_or_default());
        let expires_at = status.expires_at.as_ref().map(|time| time.0);
        tally.expires_at = [tally.expires_at, expires_at].into_iter().flatten().min();
    }
    tally
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

/// Ready when every namespace has a Secret that works, with all that is to be in it.
pub(super) fn outcome(wanted: &Wanted, served: &Served) -> Outcome {
    let secret_name = &wanted.secret_name;
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
    if let Some(failure) = &served.not_merged {
        let message = format!("{}; the tokens of ECR are in Secret {secret_name} all the same", failure.message);
        return Outcome::Failed(Failure { message, ..failure.clone() });
    }
    let good_until = served.expires_at.map(|time| format!("good until {}", rounded(time))).unwrap_or_default();
    let mut message = match (served.namespaces.len(), &served.not_renewed) {
        (0, _) => "no namespace is selected".to_owned(),
        (_, Some(failure)) => {
            format!("Secret {secret_name} is {good_until}, but could not be renewed yet: {}", failure.message)
        }
        (1, None) => format!("Secret {secret_name} is {good_until}"),
        (count, None) => format!("Secret {secret_name} in {count} namespaces is {good_until}"),
    };
    if wanted.out_of_scope > 0 {
        let more = wanted.out_of_scope;
        message += &format!("; {more} more are selected, in which the operator does not work (--namespaces)");
    }
    if !served.ignored.is_empty() {
        let ignored = served.ignored.len();
        message +=
            &format!("; {ignored} of the entries of additionalSecretRefs are left out, see status.ignoredEntries");
    }
    Outcome::Ready { message }
}

/// A time without fractions of a second.
pub(super) fn rounded(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
#[path = "status_tests.rs"]
pub(super) mod tests;
