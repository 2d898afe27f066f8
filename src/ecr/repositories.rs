//! Calls on repositories.

use std::collections::BTreeMap;

use aws_sdk_ecr::types::{self as sdk, EncryptionConfiguration, ImageScanningConfiguration, Tag};

use super::connect::Ecr;
use super::error::{EcrError, ErrorKind};
pub use crate::api::{Encryption, TagMutability};

/// A repository as ECR has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Repository {
    /// ARN of the repository.
    pub arn: String,
    /// Whether tags can be moved. `None`: a mode that the spec has no word for.
    pub tag_mutability: Option<TagMutability>,
    /// Whether images are scanned when they are pushed.
    pub scan_on_push: bool,
    /// Encryption at rest. `None`: a kind that the spec has no word for.
    pub encryption: Option<Encryption>,
}

/// A repository to create.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewRepository {
    /// Name of the repository.
    pub name: String,
    /// Whether tags can be moved; ECR's default without.
    pub tag_mutability: Option<TagMutability>,
    /// Whether images are scanned when they are pushed; ECR's default without.
    pub scan_on_push: Option<bool>,
    /// Encryption at rest; ECR's default without.
    pub encryption: Option<Encryption>,
    /// AWS tags.
    pub tags: BTreeMap<String, String>,
}

impl Ecr {
    /// The repository of this name, if there is one.
    pub async fn repository(&self, name: &str) -> Result<Option<Repository>, EcrError> {
        const OPERATION: &str = "ecr:DescribeRepositories";
        let answer = self.api.describe_repositories().repository_names(name).send().await;
        let Some(answer) = if_found(OPERATION, answer)? else { return Ok(None) };
        answer.repositories.unwrap_or_default().into_iter().next().map(|found| repository(OPERATION, found)).transpose()
    }

    /// Creates a repository.
    pub async fn create_repository(&self, new: NewRepository) -> Result<Repository, EcrError> {
        const OPERATION: &str = "ecr:CreateRepository";
        let NewRepository { name, tag_mutability, scan_on_push, encryption, tags } = new;
        let answer = self
            .api
            .create_repository()
            .repository_name(name)
            .set_image_tag_mutability(tag_mutability.map(sdk_mutability))
            .set_image_scanning_configuration(scan_on_push.map(sdk_scanning))
            .set_encryption_configuration(encryption.map(sdk_encryption).transpose()?)
            .set_tags(Some(sdk_tags(OPERATION, tags)?))
            .send()
            .await
            .map_err(|error| EcrError::new(OPERATION, &error))?;
        let created = answer.repository.ok_or_else(|| EcrError::incomplete(OPERATION, "repository"))?;
        repository(OPERATION, created)
    }

    /// Deletes a repository; with `force` with all its images. One that is gone already counts as deleted.
    pub async fn delete_repository(&self, name: &str, force: bool) -> Result<(), EcrError> {
        let answer = self.api.delete_repository().repository_name(name).force(force).send().await;
        if_found("ecr:DeleteRepository", answer).map(drop)
    }

    /// How many images a repository has, counted up to `limit`.
    pub async fn image_count(&self, name: &str, limit: usize) -> Result<usize, EcrError> {
        const OPERATION: &str = "ecr:ListImages";
        let mut pages = self.api.list_images().repository_name(name).into_paginator().items().send();
        let mut digests = std::collections::BTreeSet::new();
        while let Some(image) = pages.next().await {
            let image = image.map_err(|error| EcrError::new(OPERATION, &error))?;
            digests.extend(image.image_digest);
            if digests.len() >= limit {
                break;
            }
        }
        Ok(digests.len())
    }

    /// Sets whether tags can be moved.
    pub async fn put_tag_mutability(&self, name: &str, mutability: TagMutability) -> Result<(), EcrError> {
        self.api
            .put_image_tag_mutability()
            .repository_name(name)
            .image_tag_mutability(sdk_mutability(mutability))
            .send()
            .await
            .map(drop)
            .map_err(|error| EcrError::new("ecr:PutImageTagMutability", &error))
    }

    /// Sets whether images are scanned when they are pushed.
    pub async fn put_scan_on_push(&self, name: &str, scan_on_push: bool) -> Result<(), EcrError> {
        self.api
            .put_image_scanning_configuration()
            .repository_name(name)
            .image_scanning_configuration(sdk_scanning(scan_on_push))
            .send()
            .await
            .map(drop)
            .map_err(|error| EcrError::new("ecr:PutImageScanningConfiguration", &error))
    }

    /// The text of the repository's lifecycle policy, if it has one.
    pub async fn lifecycle_policy(&self, name: &str) -> Result<Option<String>, EcrError> {
        let answer = self.api.get_lifecycle_policy().repository_name(name).send().await;
        Ok(if_found("ecr:GetLifecyclePolicy", answer)?.and_then(|answer| answer.lifecycle_policy_text))
    }

    /// Sets the repository's lifecycle policy.
    pub async fn put_lifecycle_policy(&self, name: &str, text: &str) -> Result<(), EcrError> {
        self.api
            .put_lifecycle_policy()
            .repository_name(name)
            .lifecycle_policy_text(text)
            .send()
            .await
            .map(drop)
            .map_err(|error| EcrError::new("ecr:PutLifecyclePolicy", &error))
    }

    /// Removes the repository's lifecycle policy, if it has one.
    pub async fn delete_lifecycle_policy(&self, name: &str) -> Result<(), EcrError> {
        let answer = self.api.delete_lifecycle_policy().repository_name(name).send().await;
        if_found("ecr:DeleteLifecyclePolicy", answer).map(drop)
    }

    /// The AWS tags of a repository.
    pub async fn tags(&self, arn: &str) -> Result<BTreeMap<String, String>, EcrError> {
        let answer = self.api.list_tags_for_resource().resource_arn(arn).send().await;
        let tags = if_found("ecr:ListTagsForResource", answer)?.and_then(|answer| answer.tags).unwrap_or_default();
        Ok(tags.into_iter().map(|tag| (tag.key, tag.value)).collect())
    }

    /// Adds AWS tags, or changes their values.
    pub async fn tag(&self, arn: &str, tags: BTreeMap<String, String>) -> Result<(), EcrError> {
        const OPERATION: &str = "ecr:TagResource";
        self.api
            .tag_resource()
            .resource_arn(arn)
            .set_tags(Some(sdk_tags(OPERATION, tags)?))
            .send()
            .await
            .map(drop)
            .map_err(|error| EcrError::new(OPERATION, &error))
    }

    /// Removes AWS tags.
    pub async fn untag(&self, arn: &str, keys: Vec<String>) -> Result<(), EcrError> {
        self.api
            .untag_resource()
            .resource_arn(arn)
            .set_tag_keys(Some(keys))
            .send()
            .await
            .map(drop)
            .map_err(|error| EcrError::new("ecr:UntagResource", &error))
    }
}

/// The answer, or `None` where AWS says that what the call names does not exist.
fn if_found<T, E>(
    operation: &'static str,
    answer: Result<T, aws_sdk_ecr::error::SdkError<E>>,
) -> Result<Option<T>, EcrError>
where
    E: aws_sdk_ecr::error::ProvideErrorMetadata + std::error::Error + 'static,
{
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) => match EcrError::new(operation, &error) {
            error if error.kind == ErrorKind::NotFound => Ok(None),
            error => Err(error),
        },
    }
}

fn repository(operation: &'static str, found: sdk::Repository) -> Result<Repository, EcrError> {
    Ok(Repository {
        arn: found.repository_arn.ok_or_else(|| EcrError::incomplete(operation, "repositoryArn"))?,
        tag_mutability: found.image_tag_mutability.and_then(|mutability| match mutability {
            sdk::ImageTagMutability::Mutable => Some(TagMutability::Mutable),
            sdk::ImageTagMutability::Immutable => Some(TagMutability::Immutable),
            _ => None,
        }),
        scan_on_push: found.image_scanning_configuration.is_some_and(|scanning| scanning.scan_on_push),
        encryption: found.encryption_configuration.and_then(|encryption| {
            let type_ = match encryption.encryption_type {
                sdk::EncryptionType::Aes256 => crate::api::EncryptionType::Aes256,
                sdk::EncryptionType::Kms => crate::api::EncryptionType::Kms,
                sdk::EncryptionType::KmsDsse => crate::api::EncryptionType::KmsDsse,
                _ => return None,
            };
            Some(Encryption { type_, kms_key: encryption.kms_key })
        }),
    })
}

fn sdk_mutability(mutability: TagMutability) -> sdk::ImageTagMutability {
    match mutability {
        TagMutability::Mutable => sdk::ImageTagMutability::Mutable,
        TagMutability::Immutable => sdk::ImageTagMutability::Immutable,
    }
}

fn sdk_scanning(scan_on_push: bool) -> ImageScanningConfiguration {
    ImageScanningConfiguration::builder().scan_on_push(scan_on_push).build()
}

fn sdk_encryption(encryption: Encryption) -> Result<EncryptionConfiguration, EcrError> {
    let type_ = match encryption.type_ {
        crate::api::EncryptionType::Aes256 => sdk::EncryptionType::Aes256,
        crate::api::EncryptionType::Kms => sdk::EncryptionType::Kms,
        crate::api::EncryptionType::KmsDsse => sdk::EncryptionType::KmsDsse,
    };
    EncryptionConfiguration::builder()
        .encryption_type(type_)
        .set_kms_key(encryption.kms_key)
        .build()
        .map_err(|error| invalid("ecr:CreateRepository", &error))
}

fn sdk_tags(operation: &'static str, tags: BTreeMap<String, String>) -> Result<Vec<Tag>, EcrError> {
    tags.into_iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build().map_err(|error| invalid(operation, &error)))
        .collect()
}

fn invalid(operation: &'static str, error: &dyn std::error::Error) -> EcrError {
    EcrError { operation, kind: ErrorKind::Invalid, message: error.to_string() }
}
