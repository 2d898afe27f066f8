//! Keeps the registry-wide settings: each part is looked at, planned, changed and told by itself.

use std::collections::{BTreeMap, BTreeSet};

use super::apply::{self, Applied};
use super::desired::{Place, desired};
use super::observe::observe;
use super::plan::{self, Action, Plan};
use super::setting::{Held, Part, Setting};
use super::status::setting_status;
use crate::api::conditions::Reason;
use crate::api::{RegistrySettings, SettingStatus};
use crate::controllers::failure::{Failure, Retry};
use crate::ecr::{Ecr, EcrError};

/// What became of the settings.
#[derive(Clone, Debug, Default)]
pub(super) struct Settled {
    /// For the status.
    pub(super) parts: Vec<SettingStatus>,
    /// What was done, for events.
    pub(super) done: Vec<Action>,
    /// What is in the way, in the order of the parts.
    pub(super) failures: Vec<Failure>,
}

/// Makes the registry's settings what the spec says, and hands back what has left it. `held` is what this object held
/// before. A part that is neither in the spec nor has anything to take back costs no call.
pub(super) async fn settle(ecr: &Ecr, settings: &RegistrySettings, held: &BTreeMap<Part, Held>) -> Settled {
    let mut wanted = desired(settings, &Place::of(ecr));
    let mut settled = Settled::default();
    for part in concerned(&wanted, held) {
        let nothing = Held::default();
        let held = held.get(&part).unwrap_or(&nothing);
        let outcome = match wanted.remove(&part).transpose() {
            Ok(wanted) => keep(ecr, part, wanted, held).await,
            Err(failure) => Outcome { held: held.clone(), failures: vec![failure], ..Outcome::default() },
        };
        settled.parts.extend(setting_status(part, &outcome));
        settled.done.extend(outcome.done);
        settled.failures.extend(outcome.failures);
    }
    settled
}

/// The parts that are looked at: those of the spec, and those of which something is to be taken back.
pub(crate) fn concerned<T>(wanted: &BTreeMap<Part, T>, held: &BTreeMap<Part, Held>) -> BTreeSet<Part> {
    let left = held.iter().filter(|(_, held)| held.has_created()).map(|(part, _)| *part);
    wanted.keys().copied().chain(left).collect()
}

/// What is to be done about a part. What can't be says which part it is about.
pub(crate) fn decide(part: Part, wanted: Option<&Setting>, present: &Setting, held: &Held) -> Plan {
    let Plan { actions, refusals } = plan::plan(wanted, present, held);
    let told = |it: Failure| Failure { message: format!("spec.settings.{part}: {}", it.message), ..it };
    Plan { actions, refusals: refusals.into_iter().map(told).collect() }
}

/// What became of one part.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// What the spec asks for; `None` where the part has left it.
    pub(super) wanted: Option<Setting>,
    /// What the object holds now.
    pub(super) held: Held,
    pub(super) done: Vec<Action>,
    pub(super) failures: Vec<Failure>,
}

async fn keep(ecr: &Ecr, part: Part, wanted: Option<Setting>, held: &Held) -> Outcome {
    let present = match observe(ecr, part).await {
        Ok(present) => present,
        Err(error) => {
            let failures = vec![refused(part, None, error)];
            return Outcome { wanted, held: held.clone(), done: Vec::new(), failures };
        }
    };
    let Plan { actions, refusals } = decide(part, wanted.as_ref(), &present, held);
    let Applied { done, failed } = apply::apply(ecr, actions).await;
    let failures =
        refusals.into_iter().chain(failed.into_iter().map(|(action, error)| refused(part, Some(&action), error)));
    Outcome { wanted, held: plan::held_after(held, &done), failures: failures.collect(), done }
}

/// AWS's refusal with what it is about, and what to do where that is another thing than usual.
pub(crate) fn refused(part: Part, action: Option<&Action>, error: EcrError) -> Failure {
    let advice = advice(&error);
    let failure = match advice {
        Some(_) => Failure::stalled(Failure::from(error.clone()).reason, error.to_string()),
        None => Failure::from(error),
    };
    let doing = action.map(|action| format!("could not {action}: ")).unwrap_or_default();
    let advice = advice.map(|advice| format!("; {advice}")).unwrap_or_default();
    Failure { message: format!("spec.settings.{part}: {doing}{}{advice}", failure.message), ..failure }
}

/// Source: the errors of the calls on registries in the Amazon ECR API Reference.
fn advice(error: &EcrError) -> Option<&'static str> {
    let code = error.message.split(':').next().unwrap_or_default();
    match code {
        "SecretNotFoundException" => Some("correct credentialArn, or create the secret"),
        "UnableToAccessSecretException" => {
            Some("let ECR read the secret: its resource policy must not refuse ECR's service-linked role")
        }
        "UnableToDecryptSecretValueException" => {
            Some("let ECR's service-linked role use the KMS key that the secret is encrypted with")
        }
        "UnsupportedUpstreamRegistryException" => Some("ECR does not cache this upstream in this region: use another"),
        "BlockedByOrganizationPolicyException" => Some(
            "an organization policy of AWS Organizations manages this: remove the part from the spec, or have the policy changed",
        ),
        _ => None,
    }
}

/// One failure for the whole object: with the one reason that all have, and tried again as soon as one may pass.
pub(crate) fn combined(failures: Vec<Failure>) -> Option<Failure> {
    let first = failures.first()?;
    let reason = match failures.iter().all(|failure| failure.reason == first.reason) {
        true => first.reason,
        false => Reason::SomeSettingsFailed,
    };
    let retry = failures.iter().map(|failure| failure.retry).find(|retry| *retry != Retry::Stalled);
    let message = failures.iter().map(|failure| failure.message.as_str()).collect::<Vec<_>>().join("; ");
    Some(Failure { reason, message, retry: retry.unwrap_or(Retry::Stalled) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecr::ErrorKind;

    #[test]
    fn one_failure_is_told_as_it_is() {
        let failure = Failure::stalled(Reason::AccessDenied, "no");
        assert_eq!(combined(vec![failure.clone()]), Some(failure));
        assert_eq!(combined(Vec::new()), None);
    }

    #[test]
    fn several_failures_are_all_told_and_tried_again_as_soon_as_one_may_pass() {
        let no = Failure::stalled(Reason::AccessDenied, "no");
        let later = Failure::transient(Reason::Throttled, "later");
        let both = combined(vec![no.clone(), later]).expect("a failure");
        assert_eq!((both.reason, both.retry), (Reason::SomeSettingsFailed, Retry::Backoff));
        assert_eq!(both.message, "no; later");
        let twice = combined(vec![no.clone(), no]).expect("a failure");
        assert_eq!((twice.reason, twice.retry), (Reason::AccessDenied, Retry::Stalled));
    }

    #[test]
    fn every_error_of_these_calls_says_what_to_do() {
        let told = |code: &str, kind| {
            let error = EcrError { operation: "ecr:X", kind, message: format!("{code}: AWS's words") };
            refused(Part::PullThroughCacheRules, None, error)
        };
        for (code, kind, words) in [
            ("SecretNotFoundException", ErrorKind::Invalid, "correct credentialArn"),
            ("UnableToAccessSecretException", ErrorKind::Invalid, "let ECR read the secret"),
            ("UnableToDecryptSecretValueException", ErrorKind::Invalid, "KMS key"),
            ("UnsupportedUpstreamRegistryException", ErrorKind::Invalid, "use another"),
            ("BlockedByOrganizationPolicyException", ErrorKind::AccessDenied, "organization policy"),
            ("InvalidParameterException", ErrorKind::Invalid, "correct the spec"),
            ("LimitExceededException", ErrorKind::Limit, "higher quota"),
            ("AccessDeniedException", ErrorKind::AccessDenied, "IAM policy"),
        ] {
            let failure = told(code, kind);
            assert!(failure.is_stalled(), "{code}");
            for word in ["spec.settings.pullThroughCacheRules", code, "AWS's words", words] {
                assert!(failure.message.contains(word), "{code}: {failure}");
            }
        }
        assert_eq!(told("ServerException", ErrorKind::Other).retry, Retry::Backoff);
    }
}
