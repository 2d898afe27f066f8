//! Does what was planned.

use super::plan::Action;
use crate::ecr::{Ecr, EcrError};

/// What was done of a part's plan, and what failed.
#[derive(Clone, Debug, Default)]
pub(super) struct Applied {
    pub(super) done: Vec<Action>,
    pub(super) failed: Vec<(Action, EcrError)>,
}

/// Carries out the actions in their order. One that fails is no reason not to try the others: they are about other rules.
pub(super) async fn apply(ecr: &Ecr, actions: Vec<Action>) -> Applied {
    let mut applied = Applied::default();
    for action in actions {
        match carry_out(ecr, &action).await {
            Ok(()) => applied.done.push(action),
            Err(error) => applied.failed.push((action, error)),
        }
    }
    applied
}

async fn carry_out(ecr: &Ecr, action: &Action) -> Result<(), EcrError> {
    match action {
        Action::PutScanning { from: _, to } => ecr.put_registry_scanning(to).await,
        Action::PutAccountSetting { setting, from: _, to } => ecr.put_account_setting(*setting, to).await,
        Action::PutReplication { from: _, to } => ecr.put_replication(to).await,
        Action::PutPolicy { from: _, to } => match to {
            Ok(policy) => ecr.put_registry_policy(&policy.text()).await,
            Err(text) => ecr.put_registry_policy(text).await,
        },
        Action::DeletePolicy => ecr.delete_registry_policy().await,
        Action::PutSigning { from: _, to } => ecr.put_signing(to).await,
        Action::DeleteSigning => ecr.delete_signing().await,
        Action::CreateCacheRule { prefix, rule } => ecr.create_cache_rule(prefix, rule).await,
        Action::UpdateCacheRule { prefix, from: _, to } => ecr.update_cache_rule(prefix, to).await,
        Action::DeleteCacheRule { prefix } => ecr.delete_cache_rule(prefix).await,
        Action::CreateTemplate { prefix, template } => ecr.create_template(prefix, template).await,
        Action::UpdateTemplate { prefix, from, to } => ecr.update_template(prefix, from, to).await,
        Action::DeleteTemplate { prefix } => ecr.delete_template(prefix).await,
        Action::Register { arn } => ecr.register_pull_time_exclusion(arn).await,
        Action::Deregister { arn } => ecr.deregister_pull_time_exclusion(arn).await,
        Action::Adopt { .. } | Action::Release { .. } => Ok(()),
    }
}
