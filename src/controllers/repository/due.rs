//! Whether there is anything to do about an object. Nothing here does I/O.

use kube::ResourceExt as _;

use super::desired::Desired;
use super::plan::listed_as_desired;
use crate::api::conditions::READY;
use crate::api::{EcrRepository, SYNC_AT};
use crate::ecr::Repository;

/// Why an object is worth calls to AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Somebody asked for it.
    Asked,
    /// The spec is another one than the status describes.
    NewSpec,
    /// The object was not ready.
    NotReady,
    /// The list of repositories shows something else than the spec asks for, or another repository than the status.
    Different,
    /// It is time to compare what the list does not show.
    Audit,
}

/// Why the object is worth calls to AWS, if it is.
pub(super) fn due(object: &EcrRepository, desired: &Desired, listed: Option<&Repository>, audit: bool) -> Option<Due> {
    let Some(status) = &object.status else { return Some(Due::NewSpec) };
    if object.annotations().get(SYNC_AT) != status.common.last_handled_sync_at.as_ref() {
        return Some(Due::Asked);
    }
    if status.common.observed_generation != object.metadata.generation {
        return Some(Due::NewSpec);
    }
    if status.common.condition(READY).is_none_or(|ready| ready.status != "True") {
        return Some(Due::NotReady);
    }
    let same = listed.is_some_and(|listed| {
        Some(&listed.arn) == status.repository_arn.as_ref()
            && listed.created_at == status.created_at.as_ref().map(|time| time.0)
            && listed_as_desired(desired, listed)
    });
    if !same {
        return Some(Due::Different);
    }
    audit.then_some(Due::Audit)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
    use k8s_openapi::jiff::Timestamp;

    use super::super::owner::Owner;
    use super::*;
    use crate::api::{EcrRepositorySpec, EcrRepositoryStatus, RepositorySettings, TagMutability};

    const ARN: &str = "arn:aws:ecr:eu-west-1:123456789012:repository/ns/api";

    /// An object that is ready, as far as its status says.
    fn settled() -> EcrRepository {
        let settings =
            RepositorySettings { tag_mutability: Some(TagMutability::Immutable), ..RepositorySettings::default() };
        let mut object = EcrRepository::new("api", EcrRepositorySpec { settings, ..EcrRepositorySpec::default() });
        object.metadata.namespace = Some("ns".into());
        object.metadata.generation = Some(3);
        let mut status = EcrRepositoryStatus {
            repository_arn: Some(ARN.into()),
            created_at: Some(Time(Timestamp::UNIX_EPOCH)),
            ..EcrRepositoryStatus::default()
        };
        status.common.observed_generation = Some(3);
        status.common.conditions = vec![Condition {
            type_: READY.into(),
            status: "True".into(),
            reason: "Succeeded".into(),
            message: String::new(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: Some(3),
        }];
        object.status = Some(status);
        object
    }

    fn listed() -> Repository {
        Repository {
            name: "ns/api".into(),
            arn: ARN.into(),
            created_at: Some(Timestamp::UNIX_EPOCH),
            tag_mutability: Some(TagMutability::Immutable.into()),
            ..Repository::default()
        }
    }

    fn decide(object: &EcrRepository, listed: Option<&Repository>, audit: bool) -> Option<Due> {
        let desired = Desired::new(object, Owner::of(object, Some("cluster"))).expect("a valid spec");
        due(object, &desired, listed, audit)
    }

    fn status(object: &mut EcrRepository) -> &mut EcrRepositoryStatus {
        object.status.as_mut().expect("it has one")
    }

    #[test]
    fn an_object_that_is_as_it_should_be_is_worth_no_call() {
        assert_eq!(decide(&settled(), Some(&listed()), false), None);
    }

    #[test]
    fn labels_and_other_annotations_are_worth_no_call() {
        let mut object = settled();
        object.labels_mut().insert("team".into(), "a".into());
        object.annotations_mut().insert("note".into(), "changed".into());
        assert_eq!(decide(&object, Some(&listed()), false), None);
    }

    #[test]
    fn a_new_object_a_new_spec_a_failure_and_a_request_are() {
        let mut object = settled();
        object.metadata.generation = Some(4);
        assert_eq!(decide(&object, Some(&listed()), false), Some(Due::NewSpec));
        let mut object = settled();
        object.status = None;
        assert_eq!(decide(&object, Some(&listed()), false), Some(Due::NewSpec));
        let mut object = settled();
        status(&mut object).common.conditions[0].status = "False".into();
        assert_eq!(decide(&object, Some(&listed()), false), Some(Due::NotReady));
        let mut object = settled();
        object.annotations_mut().insert(SYNC_AT.into(), "now".into());
        assert_eq!(decide(&object, Some(&listed()), false), Some(Due::Asked));
        status(&mut object).common.last_handled_sync_at = Some("now".into());
        assert_eq!(decide(&object, Some(&listed()), false), None);
    }

    #[test]
    fn what_the_list_shows_to_be_different_is() {
        assert_eq!(decide(&settled(), None, false), Some(Due::Different), "deleted");
        let recreated = Repository { created_at: Timestamp::from_second(1).ok(), ..listed() };
        assert_eq!(decide(&settled(), Some(&recreated), false), Some(Due::Different), "another of the same name");
        let moved = Repository { arn: ARN.replace("eu-west-1", "us-east-1"), ..listed() };
        assert_eq!(decide(&settled(), Some(&moved), false), Some(Due::Different), "another registry");
        let changed = Repository { tag_mutability: Some(TagMutability::Mutable.into()), ..listed() };
        assert_eq!(decide(&settled(), Some(&changed), false), Some(Due::Different), "changed by hand");
        let scanned = Repository { scan_on_push: true, ..listed() };
        assert_eq!(decide(&settled(), Some(&scanned), false), None, "the spec says nothing about it");
    }

    #[test]
    fn an_observer_looks_again_while_the_list_shows_a_difference() {
        let mut object = settled();
        status(&mut object).differences = vec!["would change tag mutability".into()];
        let changed = Repository { tag_mutability: Some(TagMutability::Mutable.into()), ..listed() };
        assert_eq!(decide(&object, Some(&changed), false), Some(Due::Different), "it may have been repaired meanwhile");
    }

    #[test]
    fn an_audit_comes_when_it_is_time() {
        assert_eq!(decide(&settled(), Some(&listed()), true), Some(Due::Audit));
    }
}
