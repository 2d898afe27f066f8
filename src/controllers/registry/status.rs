//! What an EcrRegistry's status says.

use crate::api::EcrRegistryStatus;
use crate::ecr::Ecr;

/// The status after a try. What was reached last stays in it while the registry can't be reached.
pub(super) fn status(previous: Option<&EcrRegistryStatus>, reached: Option<&Ecr>) -> EcrRegistryStatus {
    let Some(ecr) = reached else { return previous.cloned().unwrap_or_default() };
    EcrRegistryStatus {
        common: Default::default(),
        account_id: Some(ecr.identity.account_id.clone()),
        caller_arn: Some(ecr.identity.arn.clone()),
        registry_host: Some(ecr.host.clone()),
    }
}
