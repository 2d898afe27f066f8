//! What ECR has.

use super::setting::{Part, Setting};
use crate::ecr::policy::PolicyDocument;
use crate::ecr::settings::AccountSetting;
use crate::ecr::{Ecr, EcrError};

/// Looks at one part: one call, and one more for every further page of rules, templates or exclusions.
pub(crate) async fn observe(ecr: &Ecr, part: Part) -> Result<Setting, EcrError> {
    Ok(match part {
        Part::Scanning => Setting::Scanning(ecr.registry_scanning().await?),
        Part::BasicScanTypeVersion => account(ecr, AccountSetting::BasicScanTypeVersion).await?,
        Part::Replication => Setting::Replication(ecr.replication().await?),
        Part::PolicyScope => account(ecr, AccountSetting::RegistryPolicyScope).await?,
        Part::Policy => {
            let text = ecr.registry_policy().await?;
            Setting::Policy(text.map(|text| PolicyDocument::read(&text).map_err(|_| text)))
        }
        Part::PullThroughCacheRules => Setting::CacheRules(ecr.cache_rules().await?),
        Part::CreationTemplates => Setting::Templates(ecr.templates().await?),
        Part::BlobMounting => account(ecr, AccountSetting::BlobMounting).await?,
        Part::Signing => Setting::Signing(ecr.signing().await?),
        Part::PullTimeUpdateExclusions => Setting::Exclusions(ecr.pull_time_exclusions().await?),
    })
}

async fn account(ecr: &Ecr, setting: AccountSetting) -> Result<Setting, EcrError> {
    Ok(Setting::Account(setting, ecr.account_setting(setting).await?))
}
