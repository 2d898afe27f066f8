//! What an EcrRepository's status says.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::apply::Applied;
use super::observe::Existing;
use super::plan::encryption_in_words;
use crate::api::{EcrRepositoryStatus, FoundRepository, LifecyclePreview};

/// The status after everything was applied.
pub(super) fn status(
    previous: &EcrRepositoryStatus,
    applied: &Applied,
    lifecycle_preview: Option<LifecyclePreview>,
) -> EcrRepositoryStatus {
    let Applied { name, uri, arn, created_at, manages_lifecycle, manages_policy, managed_tag_keys, actions: _ } =
        applied;
    EcrRepositoryStatus {
        common: Default::default(),
        repository_name: Some(name.clone()),
        repository_uri: Some(uri.clone()),
        repository_arn: Some(arn.clone()),
        created_at: created_at.map(Time),
        differences: Vec::new(),
        found: previous.found.clone(),
        manages_lifecycle: *manages_lifecycle,
        manages_policy: *manages_policy,
        managed_tag_keys: managed_tag_keys.clone(),
        lifecycle_preview,
    }
}

/// The status of an object that only observes: what it managed before it observed is still its own if it manages again.
pub(super) fn observed(
    previous: &EcrRepositoryStatus,
    existing: &Existing,
    uri: String,
    differences: Vec<String>,
    lifecycle_preview: Option<LifecyclePreview>,
) -> EcrRepositoryStatus {
    EcrRepositoryStatus {
        repository_name: Some(existing.repository.name.clone()),
        repository_uri: Some(uri),
        repository_arn: Some(existing.repository.arn.clone()),
        created_at: existing.repository.created_at.map(Time),
        differences,
        lifecycle_preview,
        ..previous.clone()
    }
}

/// A repository as it is, for the status of the object that is about to adopt it.
pub(super) fn found(existing: &Existing) -> FoundRepository {
    let Existing { repository, tags, lifecycle, policy } = existing;
    FoundRepository {
        tag_mutability: repository.tag_mutability.as_ref().map(ToString::to_string),
        scan_on_push: repository.scan_on_push,
        encryption: repository.encryption.as_ref().map(encryption_in_words),
        lifecycle_policy: lifecycle.as_ref().map(|policy| policy.text()),
        repository_policy: policy.as_ref().map(|policy| policy.text()),
        tags: tags.clone(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::EcrRepository;
    use crate::api::conditions::Reason;
    use crate::controllers::failure::Failure;
    use crate::controllers::report::Outcome;
    use crate::controllers::states::Case;
    use crate::ecr::{EcrError, ErrorKind, Repository};

    const URI: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team-a/api";
    const ARN: &str = "arn:aws:ecr:eu-west-1:123456789012:repository/team-a/api";

    fn applied() -> Applied {
        Applied {
            name: "team-a/api".into(),
            uri: URI.into(),
            arn: ARN.into(),
            created_at: None,
            manages_lifecycle: true,
            manages_policy: false,
            managed_tag_keys: vec!["a".into()],
            actions: Vec::new(),
        }
    }

    fn existing() -> Existing {
        let repository = Repository {
            name: "team-a/api".into(),
            created_at: None,
            arn: ARN.into(),
            tag_mutability: None,
            scan_on_push: false,
            encryption: None,
        };
        Existing { repository: Arc::new(repository), tags: Default::default(), lifecycle: None, policy: None }
    }

    fn ready(message: &str) -> Outcome {
        Outcome::Ready { message: message.to_owned() }
    }

    /// What can become of a repository.
    pub(in crate::controllers) fn cases() -> Vec<Case<EcrRepository>> {
        let before = EcrRepositoryStatus::default();
        let object = || EcrRepository::new("api", Default::default());
        let case = |what, status, outcome| Case { what, object: object(), status, outcome };
        let seen = |differences| observed(&before, &existing(), URI.into(), differences, None);
        let mut cases = vec![
            case("it is as the spec says", status(&before, &applied(), None), ready("it is as the spec says")),
            case("it is observed", seen(Vec::new()), ready("it is observed only")),
            case(
                "it is observed, and differs",
                seen(vec!["scan on push: false -> true".into()]),
                ready("it differs, and is observed only"),
            ),
            case(
                "it is being adopted",
                EcrRepositoryStatus { found: Some(found(&existing())), ..before.clone() },
                Outcome::Progressing { message: "adopting".into() },
            ),
            case(
                "it has another owner",
                before.clone(),
                Outcome::Failed(Failure::stalled(Reason::OwnedByAnother, "it belongs to another")),
            ),
            case(
                "images remain",
                status(&before, &applied(), None),
                Outcome::Failed(Failure::stalled(Reason::ImagesRemain, "it still has images")),
            ),
        ];
        let errors = [
            ("AWS refuses the call", ErrorKind::AccessDenied),
            ("AWS refuses a value", ErrorKind::Invalid),
            ("AWS asks for fewer calls", ErrorKind::Throttled),
            ("AWS does not answer", ErrorKind::Unreachable),
            ("a quota is used up", ErrorKind::Limit),
            ("it is gone", ErrorKind::NotFound),
        ];
        cases.extend(errors.map(|(what, kind)| {
            let error = EcrError { operation: "ecr:CreateRepository", kind, message: "AWS's words".into() };
            case(what, before.clone(), Outcome::Failed(error.into()))
        }));
        cases
    }
}
