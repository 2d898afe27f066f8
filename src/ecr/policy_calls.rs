//! Calls on repository policies.

use super::connect::Ecr;
use super::error::{EcrError, ErrorKind};
use super::repositories::if_found;

impl Ecr {
    /// The text of the repository's policy, if it has one.
    pub async fn repository_policy(&self, name: &str) -> Result<Option<String>, EcrError> {
        let answer = self.api.get_repository_policy().repository_name(name).send().await;
        Ok(if_found("ecr:GetRepositoryPolicy", answer)?.and_then(|answer| answer.policy_text))
    }

    /// Sets the repository's policy. It never forces one that would keep the operator from setting another.
    pub async fn set_repository_policy(&self, name: &str, text: &str) -> Result<(), EcrError> {
        self.api
            .set_repository_policy()
            .repository_name(name)
            .policy_text(text)
            .send()
            .await
            .map(drop)
            .map_err(|error| explained(EcrError::new("ecr:SetRepositoryPolicy", &error)))
    }

    /// Removes the repository's policy, if it has one.
    pub async fn delete_repository_policy(&self, name: &str) -> Result<(), EcrError> {
        let answer = self.api.delete_repository_policy().repository_name(name).send().await;
        if_found("ecr:DeleteRepositoryPolicy", answer).map(drop)
    }
}

/// AWS's few words about a policy that it refuses, with what they mean.
pub(super) fn explained(mut error: EcrError) -> EcrError {
    let advice = match error.message.to_ascii_lowercase() {
        _ if error.kind != ErrorKind::Invalid => return error,
        words if words.contains("principal not found") || words.contains("invalid principal") => {
            "a role or user that the policy names does not exist: check its ARN, or create it first (AWS may need a minute to see a new one)"
        }
        words if words.contains("force") || words.contains("lock") => {
            "with this policy the operator could not set another one: let it keep ecr:SetRepositoryPolicy"
        }
        words if words.contains("policy provided") => {
            "AWS does not say what is wrong with the policy: check that its accounts, roles and users exist, and that its actions can be granted here"
        }
        _ => return error,
    };
    error.message = format!("{} ({advice})", error.message);
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(message: &str) -> EcrError {
        let message = format!(
            "InvalidParameterException: Invalid parameter at 'PolicyText' failed to satisfy constraint: '{message}'"
        );
        EcrError { operation: "ecr:SetRepositoryPolicy", kind: ErrorKind::Invalid, message }
    }

    #[test]
    fn a_principal_that_does_not_exist_is_said_so() {
        let error = explained(refused("Principal not found")).to_string();
        assert!(error.contains("'Principal not found'") && error.contains("does not exist: check its ARN"), "{error}");
    }

    #[test]
    fn awss_bare_refusal_is_said_to_be_one() {
        let error = explained(refused("Invalid repository policy provided")).to_string();
        assert!(error.contains("AWS does not say what is wrong"), "{error}");
    }

    #[test]
    fn other_errors_are_passed_on_as_they_are() {
        let error = EcrError { kind: ErrorKind::AccessDenied, ..refused("Principal not found") };
        assert_eq!(explained(error.clone()).message, error.message);
        let error = refused("something else");
        assert_eq!(explained(error.clone()).message, error.message);
    }
}
