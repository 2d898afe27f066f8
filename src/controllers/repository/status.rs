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
