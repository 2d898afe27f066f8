//! Whether IAM lets the caller use an action, found out without changing anything.
//!
//! AWS asks IAM before it looks at what a call is about. So a call about a repository that does not exist is refused with
//! `AccessDenied` where the action is not allowed, and with `RepositoryNotFound` where it is. Nothing is asked of AWS that
//! would change something if it were taken: those actions have no probe.

use aws_sdk_ecr::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ecr::primitives::Blob;
use aws_sdk_ecr::types::{
    EncryptionConfiguration, EncryptionType, ImageIdentifier, ImageScanningConfiguration, ImageTagMutability, Tag,
};

use super::connect::Ecr;
use super::error::{EcrError, ErrorKind};

/// What a probe found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The action is allowed.
    Allowed,
    /// IAM refuses the action; with AWS's words.
    Denied(String),
    /// It can't be told; with the reason.
    Unknown(String),
}

/// A digest that no layer has.
const NO_LAYER: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
const NO_UPLOAD: &str = "00000000-0000-0000-0000-000000000000";
const LIFECYCLE: &str = r#"{"rules":[{"rulePriority":1,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":1000},"action":{"type":"expire"}}]}"#;
const POLICY: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"ecr:DeleteRepository"}]}"#;

impl Ecr {
    /// Tries `action` on `repository`, which must not exist. Actions on the registry as a whole are tried where that only
    /// reads.
    pub async fn probe(&self, action: &str, repository: &str) -> Verdict {
        match action.strip_prefix("ecr:") {
            Some(name) => match self.probe_repository(name, repository).await {
                Some(verdict) => verdict,
                None => self.probe_registry(name, repository).await,
            },
            None => Verdict::Unknown("it is asked of another AWS service, on behalf of a call to ECR".to_owned()),
        }
    }

    async fn probe_repository(&self, name: &str, repository: &str) -> Option<Verdict> {
        let (api, arn) = (&self.api, self.repository_arn(repository));
        let layer = || ImageIdentifier::builder().image_digest(NO_LAYER).build();
        Some(match name {
            "DescribeRepositories" => verdict(api.describe_repositories().max_results(1).send().await),
            "CreateRepository" => self.probe_creation(repository).await,
            "DeleteRepository" => verdict(api.delete_repository().repository_name(repository).send().await),
            "ListImages" => verdict(api.list_images().repository_name(repository).send().await),
            "DescribeImages" => verdict(api.describe_images().repository_name(repository).send().await),
            "ListTagsForResource" => verdict(api.list_tags_for_resource().resource_arn(arn).send().await),
            "TagResource" => {
                let tag = Tag::builder().key("ecr-operator-check").value("x").build().ok();
                verdict(api.tag_resource().resource_arn(arn).set_tags(tag.map(|tag| vec![tag])).send().await)
            }
            "UntagResource" => {
                verdict(api.untag_resource().resource_arn(arn).tag_keys("ecr-operator-check").send().await)
            }
            "PutImageTagMutability" => verdict(
                api.put_image_tag_mutability()
                    .repository_name(repository)
                    .image_tag_mutability(ImageTagMutability::Mutable)
                    .send()
                    .await,
            ),
            "PutImageScanningConfiguration" => verdict(
                api.put_image_scanning_configuration()
                    .repository_name(repository)
                    .image_scanning_configuration(ImageScanningConfiguration::builder().build())
                    .send()
                    .await,
            ),
            "GetLifecyclePolicy" => verdict(api.get_lifecycle_policy().repository_name(repository).send().await),
            "PutLifecyclePolicy" => verdict(
                api.put_lifecycle_policy().repository_name(repository).lifecycle_policy_text(LIFECYCLE).send().await,
            ),
            "DeleteLifecyclePolicy" => verdict(api.delete_lifecycle_policy().repository_name(repository).send().await),
            "StartLifecyclePolicyPreview" => {
                verdict(api.start_lifecycle_policy_preview().repository_name(repository).send().await)
            }
            "GetLifecyclePolicyPreview" => {
                verdict(api.get_lifecycle_policy_preview().repository_name(repository).send().await)
            }
            "GetRepositoryPolicy" => verdict(api.get_repository_policy().repository_name(repository).send().await),
            "SetRepositoryPolicy" => {
                verdict(api.set_repository_policy().repository_name(repository).policy_text(POLICY).send().await)
            }
            "DeleteRepositoryPolicy" => {
                verdict(api.delete_repository_policy().repository_name(repository).send().await)
            }
            "BatchCheckLayerAvailability" => verdict(
                api.batch_check_layer_availability().repository_name(repository).layer_digests(NO_LAYER).send().await,
            ),
            "BatchGetImage" => {
                verdict(api.batch_get_image().repository_name(repository).image_ids(layer()).send().await)
            }
            "BatchDeleteImage" => {
                verdict(api.batch_delete_image().repository_name(repository).image_ids(layer()).send().await)
            }
            "GetDownloadUrlForLayer" => verdict(
                api.get_download_url_for_layer().repository_name(repository).layer_digest(NO_LAYER).send().await,
            ),
            "InitiateLayerUpload" => verdict(api.initiate_layer_upload().repository_name(repository).send().await),
            "UploadLayerPart" => verdict(
                api.upload_layer_part()
                    .repository_name(repository)
                    .upload_id(NO_UPLOAD)
                    .part_first_byte(0)
                    .part_last_byte(0)
                    .layer_part_blob(Blob::new([0]))
                    .send()
                    .await,
            ),
            "CompleteLayerUpload" => verdict(
                api.complete_layer_upload()
                    .repository_name(repository)
                    .upload_id(NO_UPLOAD)
                    .layer_digests(NO_LAYER)
                    .send()
                    .await,
            ),
            "PutImage" => verdict(api.put_image().repository_name(repository).image_manifest("{}").send().await),
            _ => return None,
        })
    }

    async fn probe_registry(&self, name: &str, repository: &str) -> Verdict {
        let api = &self.api;
        // Prefixes of caches have at most 30 characters.
        let prefix: String =
            format!("check-{}", repository.rsplit('-').next().unwrap_or("none")).chars().take(30).collect();
        match name {
            "GetAuthorizationToken" => verdict(api.get_authorization_token().send().await),
            "GetRegistryScanningConfiguration" => verdict(api.get_registry_scanning_configuration().send().await),
            "DescribeRegistry" => verdict(api.describe_registry().send().await),
            "GetRegistryPolicy" => verdict(api.get_registry_policy().send().await),
            "DescribePullThroughCacheRules" => verdict(api.describe_pull_through_cache_rules().send().await),
            "UpdatePullThroughCacheRule" => {
                verdict(api.update_pull_through_cache_rule().ecr_repository_prefix(prefix).send().await)
            }
            "DeletePullThroughCacheRule" => {
                verdict(api.delete_pull_through_cache_rule().ecr_repository_prefix(prefix).send().await)
            }
            "DescribeRepositoryCreationTemplates" => verdict(api.describe_repository_creation_templates().send().await),
            "UpdateRepositoryCreationTemplate" => {
                verdict(api.update_repository_creation_template().prefix(prefix).send().await)
            }
            "DeleteRepositoryCreationTemplate" => {
                verdict(api.delete_repository_creation_template().prefix(prefix).send().await)
            }
            "GetAccountSetting" => verdict(api.get_account_setting().name("BLOB_MOUNTING").send().await),
            "GetSigningConfiguration" => verdict(api.get_signing_configuration().send().await),
            "ListPullTimeUpdateExclusions" => verdict(api.list_pull_time_update_exclusions().send().await),
            "DeregisterPullTimeUpdateExclusion" => {
                let arn = format!("arn:{}:iam::{}:role/{prefix}", self.partition(), self.identity.account_id);
                verdict(api.deregister_pull_time_update_exclusion().principal_arn(arn).send().await)
            }
            _ => Verdict::Unknown("there is no way to try it that could not change the registry".to_owned()),
        }
    }

    /// Asks for a repository that ECR can't make: encryption without a key of ours cannot name one, and exclusions need
    /// filters. Should one be made all the same, it is deleted at once.
    async fn probe_creation(&self, repository: &str) -> Verdict {
        let encryption =
            EncryptionConfiguration::builder().encryption_type(EncryptionType::Aes256).kms_key("none").build().ok();
        let answer = self
            .api
            .create_repository()
            .repository_name(repository)
            .image_tag_mutability(ImageTagMutability::ImmutableWithExclusion)
            .set_encryption_configuration(encryption)
            .send()
            .await;
        if answer.is_ok()
            && let Err(error) = self.api.delete_repository().repository_name(repository).send().await
        {
            let error = EcrError::new("ecr:DeleteRepository", &error);
            return Verdict::Unknown(format!("the probe created repository {repository}; delete it: {error}"));
        }
        verdict(answer)
    }

    fn repository_arn(&self, repository: &str) -> String {
        let (region, account) = (&self.region, &self.identity.account_id);
        format!("arn:{}:ecr:{region}:{account}:repository/{repository}", self.partition())
    }

    /// The partition, as the caller's own ARN has it.
    fn partition(&self) -> &str {
        self.identity.arn.split(':').nth(1).unwrap_or("aws")
    }
}

/// What an answer says about the action.
fn verdict<T, E>(answer: Result<T, SdkError<E>>) -> Verdict
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match answer {
        Ok(_) => Verdict::Allowed,
        Err(error) => of_error(&EcrError::new("the probe", &error)),
    }
}

fn of_error(error: &EcrError) -> Verdict {
    // An error without a kind of its own still shows that IAM was asked before.
    let code = error.message.split(':').next().unwrap_or_default();
    match error.kind {
        ErrorKind::AccessDenied => Verdict::Denied(error.message.clone()),
        ErrorKind::NotFound
        | ErrorKind::AlreadyExists
        | ErrorKind::NotEmpty
        | ErrorKind::Limit
        | ErrorKind::Invalid => Verdict::Allowed,
        ErrorKind::Other if code.ends_with("NotFoundException") => Verdict::Allowed,
        _ => Verdict::Unknown(error.message.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(kind: ErrorKind, message: &str) -> Verdict {
        of_error(&EcrError { operation: "the probe", kind, message: message.to_owned() })
    }

    #[test]
    fn what_aws_says_about_the_values_shows_that_the_action_is_allowed() {
        assert_eq!(answered(ErrorKind::NotFound, "RepositoryNotFoundException: x"), Verdict::Allowed);
        assert_eq!(answered(ErrorKind::Invalid, "InvalidParameterException: x"), Verdict::Allowed);
        assert_eq!(answered(ErrorKind::Other, "TemplateNotFoundException: x"), Verdict::Allowed);
    }

    #[test]
    fn only_a_refusal_of_the_caller_is_one() {
        assert_eq!(answered(ErrorKind::AccessDenied, "no"), Verdict::Denied("no".into()));
        assert_eq!(answered(ErrorKind::Throttled, "slow"), Verdict::Unknown("slow".into()));
        assert_eq!(answered(ErrorKind::Other, "ServerException: x"), Verdict::Unknown("ServerException: x".into()));
    }
}
