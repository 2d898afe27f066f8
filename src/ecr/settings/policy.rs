//! Calls on the registry policy.

use crate::ecr::connect::Ecr;
use crate::ecr::error::EcrError;
use crate::ecr::policy_calls::explained;
use crate::ecr::repositories::if_found;

impl Ecr {
    /// The text of the registry policy, if there is one.
    pub async fn registry_policy(&self) -> Result<Option<String>, EcrError> {
        let answer = self.api.get_registry_policy().send().await;
        Ok(if_found("ecr:GetRegistryPolicy", answer)?.and_then(|answer| answer.policy_text))
    }

    /// Replaces the registry policy.
    pub async fn put_registry_policy(&self, text: &str) -> Result<(), EcrError> {
        self.api
            .put_registry_policy()
            .policy_text(text)
            .send()
            .await
            .map(drop)
            .map_err(|error| explained(EcrError::new("ecr:PutRegistryPolicy", &error)))
    }

    /// Removes the registry policy, if there is one.
    pub async fn delete_registry_policy(&self) -> Result<(), EcrError> {
        let answer = self.api.delete_registry_policy().send().await;
        if_found("ecr:DeleteRegistryPolicy", answer).map(drop)
    }
}
