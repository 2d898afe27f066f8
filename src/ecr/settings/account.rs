//! Account settings: switches of the registry that have a name and a value.

use std::fmt;

use crate::ecr::connect::Ecr;
use crate::ecr::error::EcrError;

/// The account settings of ECR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccountSetting {
    /// Whether a push may take layers from another repository.
    BlobMounting,
    /// The program that does basic scans.
    BasicScanTypeVersion,
    /// Which actions a registry policy may name.
    RegistryPolicyScope,
}

impl AccountSetting {
    /// The setting's name in ECR.
    pub fn name(self) -> &'static str {
        match self {
            Self::BlobMounting => "BLOB_MOUNTING",
            Self::BasicScanTypeVersion => "BASIC_SCAN_TYPE_VERSION",
            Self::RegistryPolicyScope => "REGISTRY_POLICY_SCOPE",
        }
    }
}

impl fmt::Display for AccountSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Ecr {
    /// The value of an account setting.
    pub async fn account_setting(&self, setting: AccountSetting) -> Result<String, EcrError> {
        const OPERATION: &str = "ecr:GetAccountSetting";
        let answer = self.api.get_account_setting().name(setting.name()).send().await;
        let answer = answer.map_err(|error| EcrError::new(OPERATION, &error))?;
        answer.value.ok_or_else(|| EcrError::incomplete(OPERATION, "value"))
    }

    /// Sets the value of an account setting.
    pub async fn put_account_setting(&self, setting: AccountSetting, value: &str) -> Result<(), EcrError> {
        self.api
            .put_account_setting()
            .name(setting.name())
            .value(value)
            .send()
            .await
            .map(drop)
            .map_err(|error| EcrError::new("ecr:PutAccountSetting", &error))
    }
}
