//! Does what was planned.

use k8s_openapi::jiff::Timestamp;

use super::action::Action;
use super::desired::Desired;
use super::observe::Observed;
use crate::ecr::{Ecr, EcrError};

/// What was done, and what the repository is after it.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub(crate) name: String,
    pub(crate) uri: String,
    pub(crate) arn: String,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) manages_lifecycle: bool,
    pub(crate) manages_policy: bool,
    pub(crate) managed_tag_keys: Vec<String>,
    pub(crate) actions: Vec<Action>,
}

/// Carries out the actions in their order. What was done before one fails stays done: the next look plans the rest.
pub(crate) async fn apply(
    ecr: &Ecr,
    desired: &Desired,
    observed: Observed,
    actions: Vec<Action>,
) -> Result<Applied, EcrError> {
    let name = &desired.name;
    let (mut arn, mut created_at) = match observed.existing {
        Some(existing) => (existing.repository.arn.clone(), existing.repository.created_at),
        None => (String::new(), None),
    };
    for action in actions.clone() {
        match action {
            Action::Create(new) => {
                let created = ecr.create_repository(new).await?;
                (arn, created_at) = (created.arn, created.created_at);
            }
            Action::Adopt { tags } | Action::Tag(tags) => ecr.tag(&arn, tags).await?,
            Action::Untag(keys) => ecr.untag(&arn, keys).await?,
            Action::SetTagMutability { from: _, to } => ecr.put_tag_mutability(name, to).await?,
            Action::SetScanOnPush(on) => ecr.put_scan_on_push(name, on).await?,
            Action::PutLifecycle { from: _, to } => ecr.put_lifecycle_policy(name, &to.text()).await?,
            Action::DeleteLifecycle { from: _ } => ecr.delete_lifecycle_policy(name).await?,
            Action::PutPolicy { from: _, to } => ecr.set_repository_policy(name, &to.text()).await?,
            Action::DeletePolicy { from: _ } => ecr.delete_repository_policy(name).await?,
        }
    }
    Ok(Applied {
        uri: ecr.repository_uri(name),
        name: name.clone(),
        arn,
        created_at,
        manages_lifecycle: desired.lifecycle.is_some(),
        manages_policy: desired.policy.is_some(),
        managed_tag_keys: desired.tags.keys().cloned().collect(),
        actions,
    })
}
