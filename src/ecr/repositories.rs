//! Calls on repositories.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ecr::types::{
    self as sdk, EncryptionConfiguration, ImageScanningConfiguration, ImageTagMutabilityExclusionFilter, Tag,
};
use k8s_openapi::jiff::Timestamp;

use super::connect::Ecr;
use super::error::{EcrError, ErrorKind};
pub use crate::api::{Encryption, TagMutability};

/// Whether tags can be moved, and the tags for which it is the other way round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutability {
    /// What holds for every tag that no filter matches.
    pub mode: TagMutability,
    /// ECR's exclusion filters: `*` stands for any characters. Their order means nothing.
    pub except: BTreeSet<String>,
}

impl Mutability {
    /// Whether a tag can't be moved once it is pushed.
    pub fn is_fixed(&self, tag: &str) -> bool {
        let excepted = self.except.iter().any(|filter| wildmatch::WildMatch::new(filter).matches(tag));
        (self.mode == TagMutability::Immutable) != excepted
    }
}

impl From<TagMutability> for Mutability {
    fn from(mode: TagMutability) -> Self {
        Self { mode, except: BTreeSet::new() }
    }
}

impl std::fmt::Display for Mutability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.mode)?;
        if !self.except.is_empty() {
            write!(f, " except {}", self.except.iter().map(String::as_str).collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}

/// A repository as ECR has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Repository {
    /// Name of the repository.
    pub name: String,
    /// ARN of the repository.
    pub arn: String,
    /// When it was created: tells a repository from an earlier one of the same name.
    pub created_at: Option<Timestamp>,
    /// Whether tags can be moved. `None`: a mode that the spec has no word for.
    pub tag_mutability: Option<Mutability>,
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
    pub tag_mutability: Option<Mutability>,
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

    /// All repositories of the registry.
    pub(super) async fn all_repositories(&self) -> Result<Vec<Repository>, EcrError> {
        const OPERATION: &str = "ecr:DescribeRepositories";
        const PAGE: i32 = 1000;
        let mut pages = self.api.describe_repositories().max_results(PAGE).into_paginator().send();
        let mut all = Vec::new();
        while let Some(page) = pages.next().await {
            for found in page.map_err(|error| EcrError::new(OPERATION, &error))?.repositories.unwrap_or_default() {
                all.push(repository(OPERATION, found)?);
            }
        }
        Ok(all)
    }

    /// Creates a repository.
    pub async fn create_repository(&self, new: NewRepository) -> Result<Repository, EcrError> {
        const OPERATION: &str = "ecr:CreateRepository";
        let NewRepository { name, tag_mutability, scan_on_push, encryption, tags } = new;
        let (mutability, exclusions) = match tag_mutability {
            Some(wanted) => (Some(sdk_mutability(&wanted)), sdk_exclusions(OPERATION, wanted)?),
            None => (None, None),
        };
        let answer = self
            .api
            .create_repository()
            .repository_name(name)
            .set_image_tag_mutability(mutability)
            .set_image_tag_mutability_exclusion_filters(exclusions)
            .set_image_scanning_configuration(scan_on_push.map(sdk_scanning))
            .set_encryption_configuration(encryption.map(sdk_encryption).transpose()?)
            .set_tags(Some(sdk_tags(OPERATION, tags)?))
            .send()
            .await
            .map_err(|error| EcrError::new(OPERATION, &error))?;
        let created = answer.repository.ok_or_else(|| EcrError::incomplete(OPERATION, "repository"))?;
        let created = repository(OPERATION, created)?;
        self.learn(created.clone());
        Ok(created)
    }

    /// Deletes a repository; with `force` with all its images. One that is gone already counts as deleted.
    pub async fn delete_repository(&self, name: &str, force: bool) -> Result<(), EcrError> {
        let answer = self.api.delete_repository().repository_name(name).force(force).send().await;
        if_found("ecr:DeleteRepository", answer)?;
        self.forget(name);
        Ok(())
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
    pub async fn put_tag_mutability(&self, name: &str, mutability: Mutability) -> Result<(), EcrError> {
        const OPERATION: &str = "ecr:PutImageTagMutability";
        self.api
            .put_image_tag_mutability()
            .repository_name(name)
            .image_tag_mutability(sdk_mutability(&mutability))
            .set_image_tag_mutability_exclusion_filters(sdk_exclusions(OPERATION, mutability.clone())?)
            .send()
            .await
            .map_err(|error| EcrError::new(OPERATION, &error))?;
        self.change_listed(name, |repository| repository.tag_mutability = Some(mutability));
        Ok(())
    }

    /// Sets whether images are scanned when they are pushed.
    pub async fn put_scan_on_push(&self, name: &str, scan_on_push: bool) -> Result<(), EcrError> {
        self.api
            .put_image_scanning_configuration()
            .repository_name(name)
            .image_scanning_configuration(sdk_scanning(scan_on_push))
            .send()
            .await
            .map_err(|error| EcrError::new("ecr:PutImageScanningConfiguration", &error))?;
        self.change_listed(name, |repository| repository.scan_on_push = scan_on_push);
        Ok(())
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

    /// The AWS tags of a repository, if it exists.
    pub async fn tags(&self, arn: &str) -> Result<Option<BTreeMap<String, String>>, EcrError> {
        let answer = self.api.list_tags_for_resource().resource_arn(arn).send().await;
        let tags = if_found("ecr:ListTagsForResource", answer)?.map(|answer| answer.tags.unwrap_or_default());
        Ok(tags.map(|tags| tags.into_iter().map(|tag| (tag.key, tag.value)).collect()))
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
pub(super) fn if_found<T, E>(
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
    let except = found.image_tag_mutability_exclusion_filters.unwrap_or_default().into_iter().map(|it| it.filter);
    let mode = found.image_tag_mutability.and_then(|mutability| match mutability {
        sdk::ImageTagMutability::Mutable | sdk::ImageTagMutability::MutableWithExclusion => {
            Some(TagMutability::Mutable)
        }
        sdk::ImageTagMutability::Immutable | sdk::ImageTagMutability::ImmutableWithExclusion => {
            Some(TagMutability::Immutable)
        }
        _ => None,
    });
    Ok(Repository {
        name: found.repository_name.ok_or_else(|| EcrError::incomplete(operation, "repositoryName"))?,
        arn: found.repository_arn.ok_or_else(|| EcrError::incomplete(operation, "repositoryArn"))?,
        created_at: found.created_at.and_then(|time| Timestamp::from_second(time.secs()).ok()),
        tag_mutability: mode.map(|mode| Mutability { mode, except: except.collect() }),
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

fn sdk_mutability(mutability: &Mutability) -> sdk::ImageTagMutability {
    match (mutability.mode, mutability.except.is_empty()) {
        (TagMutability::Mutable, true) => sdk::ImageTagMutability::Mutable,
        (TagMutability::Mutable, false) => sdk::ImageTagMutability::MutableWithExclusion,
        (TagMutability::Immutable, true) => sdk::ImageTagMutability::Immutable,
        (TagMutability::Immutable, false) => sdk::ImageTagMutability::ImmutableWithExclusion,
    }
}

/// The filters, or none: ECR refuses an empty list of them.
fn sdk_exclusions(
    operation: &'static str,
    mutability: Mutability,
) -> Result<Option<Vec<ImageTagMutabilityExclusionFilter>>, EcrError> {
    let filters = mutability.except.into_iter().map(|filter| {
        ImageTagMutabilityExclusionFilter::builder()
            .filter_type(sdk::ImageTagMutabilityExclusionFilterType::Wildcard)
            .filter(filter)
            .build()
            .map_err(|error| invalid(operation, &error))
    });
    let filters = filters.collect::<Result<Vec<_>, _>>()?;
    Ok((!filters.is_empty()).then_some(filters))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_fixed_by_the_mode_and_the_filters_that_turn_it_round() {
        let mutability = |mode, except: &[&str]| Mutability {
            mode,
            except: except.iter().map(|filter| (*filter).to_owned()).collect(),
        };
        for (mutability, tag, fixed) in [
            (mutability(TagMutability::Mutable, &[]), "latest", false),
            (mutability(TagMutability::Immutable, &[]), "latest", true),
            (mutability(TagMutability::Immutable, &["latest", "dev-*"]), "latest", false),
            (mutability(TagMutability::Immutable, &["latest", "dev-*"]), "dev-1", false),
            (mutability(TagMutability::Immutable, &["latest", "dev-*"]), "1.0", true),
            (mutability(TagMutability::Mutable, &["v*"]), "v1", true),
            (mutability(TagMutability::Mutable, &["v*"]), "latest", false),
        ] {
            assert_eq!(mutability.is_fixed(tag), fixed, "{mutability} {tag}");
        }
    }
}
