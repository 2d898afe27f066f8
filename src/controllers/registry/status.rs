//! What an EcrRegistry's status says.

use super::setting::Part;
use super::settle::Outcome;
use crate::api::conditions::Reason;
use crate::api::{EcrRegistryStatus, SettingStatus};
use crate::ecr::Ecr;

/// The status after a try. What was reached last stays in it while the registry can't be reached, and so does what this
/// object holds.
pub(super) fn status(
    previous: Option<&EcrRegistryStatus>,
    reached: Option<&Ecr>,
    settings: Option<Vec<SettingStatus>>,
) -> EcrRegistryStatus {
    let previous = previous.cloned().unwrap_or_default();
    let settings = settings.unwrap_or(previous.settings.clone());
    let Some(ecr) = reached else { return previous };
    EcrRegistryStatus {
        common: Default::default(),
        account_id: Some(ecr.identity.account_id.clone()),
        caller_arn: Some(ecr.identity.arn.clone()),
        registry_host: Some(ecr.host.clone()),
        settings,
    }
}

/// What the status says of one part. A part that has left the spec is told until nothing of it is held any more.
pub(super) fn setting_status(part: Part, outcome: &Outcome) -> Option<SettingStatus> {
    let Outcome { wanted, held, done: _, failures } = outcome;
    let failure = failures.first();
    if wanted.is_none() && failure.is_none() && !held.has_created() {
        return None;
    }
    let message = match (failure, wanted) {
        (Some(_), _) => failures.iter().map(|failure| failure.message.as_str()).collect::<Vec<_>>().join("; "),
        (None, Some(wanted)) => wanted.to_string(),
        (None, None) => "is handed back".to_owned(),
    };
    Some(SettingStatus {
        name: part.name().to_owned(),
        ready: failure.is_none(),
        reason: failure.map_or(Reason::Succeeded, |failure| failure.reason).to_string(),
        message,
        created: held.created,
        entries: held.managed(),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::api::EcrRegistry;
    use crate::controllers::failure::Failure;
    use crate::controllers::registry::setting::{Held, Setting};
    use crate::controllers::registry::settle::combined;
    use crate::controllers::report;
    use crate::controllers::states::{Case, spec};
    use crate::ecr::settings::AccountSetting;

    fn wanted() -> Option<Setting> {
        Some(Setting::Account(AccountSetting::BlobMounting, "ENABLED".into()))
    }

    #[test]
    fn a_part_that_is_as_the_spec_says_tells_what_it_is() {
        let told = setting_status(Part::BlobMounting, &Outcome { wanted: wanted(), ..Outcome::default() });
        let told = told.expect("it is in the spec");
        assert_eq!((told.name.as_str(), told.ready, told.message.as_str()), ("blobMounting", true, "ENABLED"));
        assert_eq!(told.reason, "Succeeded");
    }

    #[test]
    fn a_part_that_failed_tells_everything_that_is_in_the_way() {
        let failures =
            vec![Failure::stalled(Reason::AccessDenied, "no"), Failure::stalled(Reason::InvalidSpec, "nor this")];
        let told = setting_status(Part::BlobMounting, &Outcome { wanted: wanted(), failures, ..Outcome::default() });
        let told = told.expect("it is in the spec");
        assert_eq!((told.ready, told.reason.as_str(), told.message.as_str()), (false, "AccessDenied", "no; nor this"));
    }

    #[test]
    fn a_part_that_left_the_spec_is_told_until_it_is_handed_back() {
        assert_eq!(setting_status(Part::Policy, &Outcome::default()), None);
        let entries = BTreeMap::from([("docker-hub".to_owned(), true)]);
        let held = Held { created: false, entries };
        let failures = vec![Failure::stalled(Reason::AccessDenied, "no")];
        let outcome = Outcome { held: held.clone(), failures, ..Outcome::default() };
        let told = setting_status(Part::PullThroughCacheRules, &outcome).expect("the rule is still there");
        assert_eq!(told.entries, held.managed(), "and what this object made is not forgotten");
    }

    #[test]
    fn what_a_status_says_is_what_is_held_next_time() {
        let held = Held { created: true, entries: BTreeMap::from([("a".to_owned(), true), ("b".to_owned(), false)]) };
        let outcome = Outcome { wanted: wanted(), held: held.clone(), ..Outcome::default() };
        let settings = setting_status(Part::Signing, &outcome).into_iter().collect();
        let status = EcrRegistryStatus { settings, ..EcrRegistryStatus::default() };
        assert_eq!(Held::by_part(Some(&status)), BTreeMap::from([(Part::Signing, held)]));
    }

    /// What can become of a registry.
    pub(in crate::controllers) fn cases() -> Vec<Case<EcrRegistry>> {
        let reached = EcrRegistryStatus {
            account_id: Some("123456789012".into()),
            registry_host: Some("123456789012.dkr.ecr.eu-west-1.amazonaws.com".into()),
            ..EcrRegistryStatus::default()
        };
        let object = || EcrRegistry::new("default", spec(serde_json::json!({"region": "eu-west-1"})));
        let settings = |failures: Vec<Failure>| {
            let outcome = Outcome { wanted: wanted(), failures: failures.clone(), ..Outcome::default() };
            let settings = setting_status(Part::BlobMounting, &outcome).into_iter().collect();
            let status = EcrRegistryStatus { settings, ..reached.clone() };
            let ready = report::Outcome::Ready { message: "reached".into() };
            (status, combined(failures).map_or(ready, report::Outcome::Failed))
        };
        let denied = || Failure::stalled(Reason::AccessDenied, "no");
        let throttled = || Failure::transient(Reason::Throttled, "later");
        let unreachable = Failure::transient(Reason::Unreachable, "AWS does not answer");
        let mismatch = Failure::stalled(Reason::AccountMismatch, "another account");
        let of_settings = [
            ("it is reached, and its settings are as the spec says", Vec::new()),
            ("a setting is refused", vec![denied()]),
            ("a setting is tried again", vec![throttled()]),
            ("one setting is refused, another tried again", vec![denied(), throttled()]),
        ];
        let of_settings = of_settings.into_iter().map(|(what, failures)| {
            let (status, outcome) = settings(failures);
            Case { what, object: object(), status, outcome }
        });
        let of_reach = [("AWS does not answer", unreachable), ("it is another account", mismatch)];
        let of_reach = of_reach.into_iter().map(|(what, failure)| {
            let status = status(Some(&reached), None, None);
            Case { what, object: object(), status, outcome: report::Outcome::Failed(failure) }
        });
        of_settings.chain(of_reach).collect()
    }
}
