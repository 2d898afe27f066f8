//! Does what was planned.

use super::observe::Observed;
use super::plan::{Action, Desired};
use crate::ecr::{Ecr, EcrError};

/// What was done, and what the repository is after it.
#[derive(Clone, Debug)]
pub(super) struct Applied {
    pub(super) name: String,
    pub(super) uri: String,
    pub(super) arn: String,
    pub(super) manages_lifecycle: bool,
    pub(super) managed_tag_keys: Vec<String>,
    pub(super) actions: Vec<Action>,
}

/// Carries out the actions in their order. What was done before one fails stays done: the next look plans the rest.
pub(super) async fn apply(
    ecr: &Ecr,
    desired: Desired,
    observed: Observed,
    actions: Vec<Action>,
) -> Result<Applied, EcrError> {
    let name = desired.name;
    let mut arn = observed.existing.map(|existing| existing.repository.arn).unwrap_or_default();
    for action in actions.clone() {
        match action {
            Action::Create(new) => arn = ecr.create_repository(new).await?.arn,
            Action::Adopt { tags } | Action::Tag(tags) => ecr.tag(&arn, tags).await?,
            Action::Untag(keys) => ecr.untag(&arn, keys).await?,
            Action::SetTagMutability { from: _, to } => ecr.put_tag_mutability(&name, to).await?,
            Action::SetScanOnPush(on) => ecr.put_scan_on_push(&name, on).await?,
            Action::PutLifecycle { policy, replaces: _ } => ecr.put_lifecycle_policy(&name, &policy.text()).await?,
            Action::DeleteLifecycle => ecr.delete_lifecycle_policy(&name).await?,
        }
    }
    Ok(Applied {
        uri: ecr.repository_uri(&name),
        name,
        arn,
        manages_lifecycle: desired.lifecycle.is_some(),
        managed_tag_keys: desired.tags.into_keys().collect(),
        actions,
    })
}
