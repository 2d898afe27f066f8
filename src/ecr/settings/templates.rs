//! Repository creation templates.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use aws_sdk_ecr::error::BuildError;
use aws_sdk_ecr::types as sdk;

use super::{PAGE, listed};
use crate::api::{AppliedFor, EncryptionType};
use crate::ecr::connect::Ecr;
use crate::ecr::error::EcrError;
use crate::ecr::lifecycle::Policy;
use crate::ecr::policy::PolicyDocument;
use crate::ecr::repositories::if_found;

/// A creation template, without its prefix.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// What the template is for.
    pub description: Option<String>,
    /// What makes the repositories.
    pub applied_for: BTreeSet<AppliedFor>,
    /// Whether tags can be moved. `None`: a mode that the spec has no word for.
    pub mutability: Option<Mutability>,
    /// Tags for which the mode is turned around.
    pub exclusions: BTreeSet<String>,
    /// Encryption at rest. `None`: a kind that the spec has no word for.
    pub encryption: Option<EncryptionType>,
    /// ARN of the key in KMS; the key that AWS manages without.
    pub kms_key: Option<String>,
    /// The lifecycle policy. `Err`: a text that we can't read.
    pub lifecycle: Option<Result<Policy, String>>,
    /// The repository policy. `Err`: a text that we can't read.
    pub policy: Option<Result<PolicyDocument, String>>,
    /// AWS tags.
    pub tags: BTreeMap<String, String>,
    /// ARN of the role that ECR assumes.
    pub custom_role_arn: Option<String>,
}

/// Whether tags can be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutability {
    /// All can, but for the exclusions.
    Mutable,
    /// None can, but for the exclusions.
    Immutable,
}

impl Template {
    /// The fields in which this template is not as wanted, in the spec's words.
    pub fn difference(&self, wanted: &Self) -> Vec<&'static str> {
        let Self {
            description,
            applied_for,
            mutability,
            exclusions,
            encryption,
            kms_key,
            lifecycle,
            policy,
            tags,
            custom_role_arn,
        } = self;
        [
            ("description", *description != wanted.description),
            ("appliedFor", *applied_for != wanted.applied_for),
            ("tagMutability", *mutability != wanted.mutability),
            ("mutableTags or immutableTags", *exclusions != wanted.exclusions),
            // A template that leaves the key to AWS is shown with the key that AWS took.
            (
                "encryption",
                *encryption != wanted.encryption || (wanted.kms_key.is_some() && *kms_key != wanted.kms_key),
            ),
            ("lifecycle", *lifecycle != wanted.lifecycle),
            ("repositoryPolicy", *policy != wanted.policy),
            ("tags", *tags != wanted.tags),
            ("customRoleArn", *custom_role_arn != wanted.custom_role_arn),
        ]
        .into_iter()
        .filter_map(|(field, differs)| differs.then_some(field))
        .collect()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "for {}", listed(self.applied_for.iter().map(|scenario| sdk_applied_for(*scenario))))
    }
}

impl Ecr {
    /// All creation templates, by their prefix.
    pub async fn templates(&self) -> Result<BTreeMap<String, Template>, EcrError> {
        const OPERATION: &str = "ecr:DescribeRepositoryCreationTemplates";
        let pages = self.api.describe_repository_creation_templates().into_paginator().page_size(PAGE);
        let mut items = pages.items().send();
        let mut found = BTreeMap::new();
        while let Some(item) = items.next().await {
            let item = item.map_err(|error| EcrError::new(OPERATION, &error))?;
            let prefix = item.prefix.clone();
            found.insert(prefix.ok_or_else(|| EcrError::incomplete(OPERATION, "prefix"))?, template(item));
        }
        Ok(found)
    }

    /// Makes a template.
    pub async fn create_template(&self, prefix: &str, wanted: &Template) -> Result<(), EcrError> {
        const OPERATION: &str = "ecr:CreateRepositoryCreationTemplate";
        let sdk = SdkTemplate::of(wanted).map_err(|error| EcrError::invalid(OPERATION, &error))?;
        self.api
            .create_repository_creation_template()
            .prefix(prefix)
            .set_description(wanted.description.clone())
            .set_applied_for(Some(sdk.applied_for))
            .image_tag_mutability(sdk.mutability)
            .set_image_tag_mutability_exclusion_filters(sdk.exclusions)
            .encryption_configuration(sdk.encryption)
            .set_lifecycle_policy(sdk.lifecycle)
            .set_repository_policy(sdk.policy)
            .set_resource_tags((!sdk.tags.is_empty()).then_some(sdk.tags))
            .set_custom_role_arn(wanted.custom_role_arn.clone())
            .send()
            .await
            .map(drop)
            .map_err(|error| EcrError::new(OPERATION, &error))
    }

    /// Changes a template from what it is to what is wanted. What ECR is not told stays, so what goes is set to nothing.
    pub async fn update_template(&self, prefix: &str, from: &Template, wanted: &Template) -> Result<(), EcrError> {
        const OPERATION: &str = "ecr:UpdateRepositoryCreationTemplate";
        let sdk = SdkTemplate::of(wanted).map_err(|error| EcrError::invalid(OPERATION, &error))?;
        let or_nothing = |wanted: Option<String>, was: bool| wanted.or_else(|| was.then(String::new));
        self.api
            .update_repository_creation_template()
            .prefix(prefix)
            .set_description(or_nothing(wanted.description.clone(), from.description.is_some()))
            .set_applied_for(Some(sdk.applied_for))
            .image_tag_mutability(sdk.mutability)
            .set_image_tag_mutability_exclusion_filters(sdk.exclusions)
            .encryption_configuration(sdk.encryption)
            .set_lifecycle_policy(or_nothing(sdk.lifecycle, from.lifecycle.is_some()))
            .set_repository_policy(or_nothing(sdk.policy, from.policy.is_some()))
            .set_resource_tags(Some(sdk.tags))
            .set_custom_role_arn(or_nothing(wanted.custom_role_arn.clone(), from.custom_role_arn.is_some()))
            .send()
            .await
            .map(drop)
            .map_err(|error| EcrError::new(OPERATION, &error))
    }

    /// Deletes a template, if there is one. The repositories that it was for stay as they are.
    pub async fn delete_template(&self, prefix: &str) -> Result<(), EcrError> {
        let answer = self.api.delete_repository_creation_template().prefix(prefix).send().await;
        if_found("ecr:DeleteRepositoryCreationTemplate", answer).map(drop)
    }
}

/// The parts of a template in the SDK's types.
struct SdkTemplate {
    applied_for: Vec<sdk::RctAppliedFor>,
    mutability: sdk::ImageTagMutability,
    exclusions: Option<Vec<sdk::ImageTagMutabilityExclusionFilter>>,
    encryption: sdk::EncryptionConfigurationForRepositoryCreationTemplate,
    lifecycle: Option<String>,
    policy: Option<String>,
    tags: Vec<sdk::Tag>,
}

impl SdkTemplate {
    fn of(wanted: &Template) -> Result<Self, BuildError> {
        use sdk::ImageTagMutability::{Immutable, ImmutableWithExclusion, Mutable, MutableWithExclusion};
        let mutability = match (wanted.mutability, wanted.exclusions.is_empty()) {
            (Some(Mutability::Immutable), true) => Immutable,
            (Some(Mutability::Immutable), false) => ImmutableWithExclusion,
            (_, true) => Mutable,
            (_, false) => MutableWithExclusion,
        };
        let exclusions: Result<Vec<_>, _> = wanted
            .exclusions
            .iter()
            .map(|filter| {
                sdk::ImageTagMutabilityExclusionFilter::builder()
                    .filter(filter)
                    .filter_type(sdk::ImageTagMutabilityExclusionFilterType::Wildcard)
                    .build()
            })
            .collect();
        let exclusions = exclusions?;
        let encryption = sdk::EncryptionConfigurationForRepositoryCreationTemplate::builder()
            .encryption_type(match wanted.encryption {
                Some(EncryptionType::Kms) => sdk::EncryptionType::Kms,
                Some(EncryptionType::KmsDsse) => sdk::EncryptionType::KmsDsse,
                Some(EncryptionType::Aes256) | None => sdk::EncryptionType::Aes256,
            })
            .set_kms_key(wanted.kms_key.clone())
            .build()?;
        let tags: Result<Vec<_>, _> =
            wanted.tags.iter().map(|(key, value)| sdk::Tag::builder().key(key).value(value).build()).collect();
        Ok(Self {
            applied_for: wanted.applied_for.iter().map(|scenario| sdk_applied_for(*scenario)).collect(),
            mutability,
            // ECR refuses an empty list.
            exclusions: (!exclusions.is_empty()).then_some(exclusions),
            encryption,
            lifecycle: wanted.lifecycle.as_ref().map(|policy| match policy {
                Ok(policy) => policy.text(),
                Err(text) => text.clone(),
            }),
            policy: wanted.policy.as_ref().map(|policy| match policy {
                Ok(policy) => policy.text(),
                Err(text) => text.clone(),
            }),
            tags: tags?,
        })
    }
}

fn sdk_applied_for(scenario: AppliedFor) -> sdk::RctAppliedFor {
    match scenario {
        AppliedFor::Replication => sdk::RctAppliedFor::Replication,
        AppliedFor::PullThroughCache => sdk::RctAppliedFor::PullThroughCache,
        AppliedFor::CreateOnPush => sdk::RctAppliedFor::CreateOnPush,
    }
}

fn template(found: sdk::RepositoryCreationTemplate) -> Template {
    use sdk::ImageTagMutability::{Immutable, ImmutableWithExclusion, Mutable, MutableWithExclusion};
    let there = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (encryption, kms_key) = match found.encryption_configuration {
        None => (Some(EncryptionType::Aes256), None),
        Some(encryption) => {
            let type_ = match encryption.encryption_type {
                sdk::EncryptionType::Aes256 => Some(EncryptionType::Aes256),
                sdk::EncryptionType::Kms => Some(EncryptionType::Kms),
                sdk::EncryptionType::KmsDsse => Some(EncryptionType::KmsDsse),
                _ => None,
            };
            (type_, there(encryption.kms_key))
        }
    };
    Template {
        description: there(found.description),
        applied_for: found
            .applied_for
            .unwrap_or_default()
            .into_iter()
            .filter_map(|scenario| match scenario {
                sdk::RctAppliedFor::Replication => Some(AppliedFor::Replication),
                sdk::RctAppliedFor::PullThroughCache => Some(AppliedFor::PullThroughCache),
                sdk::RctAppliedFor::CreateOnPush => Some(AppliedFor::CreateOnPush),
                _ => None,
            })
            .collect(),
        mutability: match found.image_tag_mutability {
            None | Some(Mutable | MutableWithExclusion) => Some(Mutability::Mutable),
            Some(Immutable | ImmutableWithExclusion) => Some(Mutability::Immutable),
            Some(_) => None,
        },
        exclusions: found
            .image_tag_mutability_exclusion_filters
            .unwrap_or_default()
            .into_iter()
            .map(|filter| filter.filter)
            .collect(),
        encryption,
        kms_key,
        lifecycle: there(found.lifecycle_policy).map(|text| Policy::parse(&text).map_err(|_| text)),
        policy: there(found.repository_policy).map(|text| PolicyDocument::read(&text).map_err(|_| text)),
        tags: found.resource_tags.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)).collect(),
        custom_role_arn: there(found.custom_role_arn),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Template {
        template(
            sdk::RepositoryCreationTemplate::builder().prefix("a").applied_for(sdk::RctAppliedFor::Replication).build(),
        )
    }

    #[test]
    fn what_ecr_fills_in_is_the_default() {
        let filled = sdk::RepositoryCreationTemplate::builder()
            .prefix("a")
            .description("")
            .applied_for(sdk::RctAppliedFor::Replication)
            .image_tag_mutability(sdk::ImageTagMutability::Mutable)
            .repository_policy("")
            .lifecycle_policy("")
            .custom_role_arn("")
            .build();
        assert_eq!(template(filled), plain());
    }

    #[test]
    fn exclusions_turn_the_mode_around() {
        for (mutability, expected) in [
            (Mutability::Mutable, sdk::ImageTagMutability::MutableWithExclusion),
            (Mutability::Immutable, sdk::ImageTagMutability::ImmutableWithExclusion),
        ] {
            let exclusions = BTreeSet::from(["latest".to_owned()]);
            let wanted = Template { mutability: Some(mutability), exclusions, ..plain() };
            let sent = SdkTemplate::of(&wanted).expect("complete");
            assert_eq!(sent.mutability, expected);
            assert_eq!(sent.exclusions.map(|list| list.len()), Some(1));
        }
        let sent = SdkTemplate::of(&plain()).expect("complete");
        assert_eq!((sent.mutability, sent.exclusions), (sdk::ImageTagMutability::Mutable, None));
    }

    #[test]
    fn a_key_that_aws_chose_is_no_difference() {
        let wanted = Template { encryption: Some(EncryptionType::Kms), ..plain() };
        let present = Template { kms_key: Some("arn:aws:kms:eu-west-1:1:key/aws".into()), ..wanted.clone() };
        assert_eq!(present.difference(&wanted), Vec::<&str>::new());
        let other = Template { kms_key: Some("arn:aws:kms:eu-west-1:1:key/ours".into()), ..wanted };
        assert_eq!(present.difference(&other), ["encryption"]);
    }

    #[test]
    fn every_field_makes_a_difference() {
        let text = r#"{"Statement": []}"#.to_owned();
        for (field, changed) in [
            ("description", Template { description: Some("x".into()), ..plain() }),
            ("appliedFor", Template { applied_for: BTreeSet::from([AppliedFor::CreateOnPush]), ..plain() }),
            ("tagMutability", Template { mutability: Some(Mutability::Immutable), ..plain() }),
            ("mutableTags or immutableTags", Template { exclusions: BTreeSet::from(["x".into()]), ..plain() }),
            ("encryption", Template { encryption: Some(EncryptionType::KmsDsse), ..plain() }),
            ("lifecycle", Template { lifecycle: Some(Err(text.clone())), ..plain() }),
            ("repositoryPolicy", Template { policy: Some(Err(text)), ..plain() }),
            ("tags", Template { tags: BTreeMap::from([("a".into(), "b".into())]), ..plain() }),
            ("customRoleArn", Template { custom_role_arn: Some("x".into()), ..plain() }),
        ] {
            assert_eq!(plain().difference(&changed), [field]);
            assert_eq!(changed.difference(&plain()), [field]);
        }
    }
}
