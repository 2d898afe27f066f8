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
            && (listed_as_desired(desired, listed) || !status.differences.is_empty())
    });
    if !same {
        return Some(Due::Different);
    }
    audit.then_some(Due::Audit)
}
