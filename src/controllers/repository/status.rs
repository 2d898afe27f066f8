//! What an EcrRepository's status says.

use super::apply::Applied;
use crate::api::EcrRepositoryStatus;

/// The status after everything was applied.
pub(super) fn status(applied: &Applied) -> EcrRepositoryStatus {
    let Applied { name, uri, arn, manages_lifecycle, managed_tag_keys, actions: _ } = applied;
    EcrRepositoryStatus {
        common: Default::default(),
        repository_name: Some(name.clone()),
        repository_uri: Some(uri.clone()),
        repository_arn: Some(arn.clone()),
        manages_lifecycle: *manages_lifecycle,
        managed_tag_keys: managed_tag_keys.clone(),
    }
}
