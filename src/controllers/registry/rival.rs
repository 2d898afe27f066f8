//! Several EcrRegistry objects for one registry: the oldest manages its settings.

use kube::ResourceExt as _;

use super::desired::Place;
use crate::api::conditions::Reason;
use crate::api::{EcrRegistry, RegistrySettings};
use crate::controllers::failure::Failure;

/// Why this object must leave the settings of its registry to another one, if it must.
pub(crate) fn refuse<'a>(
    object: &EcrRegistry,
    place: &Place,
    all: impl IntoIterator<Item = &'a EcrRegistry>,
) -> Option<Failure> {
    let older =
        all.into_iter().filter(|other| claims(other, place) && age(other) < age(object)).min_by_key(|it| age(it))?;
    Some(Failure::stalled(
        Reason::OwnedByAnother,
        format!(
            "spec.settings: EcrRegistry {:?} is older, is for the same account and region, and manages its settings; remove spec.settings here or there",
            older.name_any()
        ),
    ))
}

/// Whether the object manages the settings of this registry. Which account it reaches is what it has found out, or what
/// it asks for until then.
fn claims(object: &EcrRegistry, place: &Place) -> bool {
    let reached = object.status.as_ref().and_then(|status| status.account_id.as_ref());
    object.metadata.deletion_timestamp.is_none()
        && object.spec.settings.as_ref().is_some_and(|settings| *settings != RegistrySettings::default())
        && object.spec.region == place.region
        && reached.or(object.spec.account_id.as_ref()) == Some(&place.account)
}

/// Older is less. Objects of the same second are told apart by their UID.
fn age(object: &EcrRegistry) -> (Option<i64>, String) {
    let created = object.creation_timestamp().map(|time| time.0.as_second());
    (created, object.uid().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::api::{EcrRegistryStatus, Toggle};

    fn place() -> Place {
        Place { account: "123456789012".into(), region: "eu-west-1".into() }
    }

    fn registry(name: &str, second: i64) -> EcrRegistry {
        let spec = serde_json::json!({"region": "eu-west-1", "settings": {"blobMounting": "Enabled"}});
        let mut object = EcrRegistry::new(name, serde_json::from_value(spec).expect("a spec"));
        object.metadata.uid = Some(format!("uid-{name}"));
        object.metadata.creation_timestamp = Some(Time(Timestamp::from_second(second).expect("in range")));
        object.status =
            Some(EcrRegistryStatus { account_id: Some("123456789012".into()), ..EcrRegistryStatus::default() });
        object
    }

    #[test]
    fn the_older_object_manages_and_the_newer_says_so() {
        let all = [registry("old", 1), registry("new", 2)];
        assert_eq!(refuse(&all[0], &place(), &all), None);
        let failure = refuse(&all[1], &place(), &all).expect("refused");
        assert_eq!(failure.reason, Reason::OwnedByAnother);
        assert!(failure.message.contains("\"old\"") && failure.is_stalled(), "{failure}");
    }

    #[test]
    fn objects_of_the_same_second_agree_on_one() {
        let all = [registry("a", 1), registry("b", 1)];
        let refused = all.iter().filter(|object| refuse(object, &place(), &all).is_some()).count();
        assert_eq!(refused, 1);
    }

    #[test]
    fn the_oldest_of_many_is_named() {
        let all = [registry("second", 2), registry("first", 1), registry("third", 3)];
        assert!(refuse(&all[2], &place(), &all).expect("refused").message.contains("\"first\""));
    }

    #[test]
    fn an_object_that_does_not_manage_these_settings_is_no_rival() {
        let newer = registry("new", 9);
        let mut without = registry("old", 1);
        without.spec.settings = None;
        let mut empty = registry("old", 1);
        empty.spec.settings = Some(RegistrySettings::default());
        let mut elsewhere = registry("old", 1);
        elsewhere.spec.region = "eu-west-2".into();
        let mut another = registry("old", 1);
        another.status = None;
        another.spec.account_id = Some("999999999999".into());
        let mut leaving = registry("old", 1);
        leaving.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        let mut unknown = registry("old", 1);
        unknown.status = None;
        for other in [without, empty, elsewhere, another, leaving, unknown] {
            assert_eq!(refuse(&newer, &place(), [&other, &newer]), None, "{other:?}");
        }
    }

    #[test]
    fn an_account_that_is_asked_for_counts_until_one_is_reached() {
        let mut older = registry("old", 1);
        older.status = None;
        older.spec.account_id = Some("123456789012".into());
        let newer = registry("new", 2);
        assert_eq!(newer.spec.settings.as_ref().and_then(|it| it.blob_mounting), Some(Toggle::Enabled));
        assert!(refuse(&newer, &place(), [&older, &newer]).is_some());
    }
}
