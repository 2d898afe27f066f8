//! What a spec asks for, in the form in which it is compared with what ECR has.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::setting::{Part, Setting};
use crate::api::conditions::Reason;
use crate::api::{
    BasicScanTypeVersion, CreationTemplate, EncryptionType, PullThroughCacheRule, RegistryGrant, RegistryPermissions,
    RegistryPolicy, RegistryPolicyScope, RegistrySettings, TagMutability, Toggle,
};
use crate::controllers::failure::Failure;
use crate::ecr::Ecr;
use crate::ecr::host::{Partition, RegistryHost};
use crate::ecr::lifecycle::Policy;
use crate::ecr::policy::{PolicyDocument, Scope};
use crate::ecr::settings::{
    AccountSetting, CacheRule, Destination, Mutability, Replication, ReplicationRule, Scanning, Signing, SigningRule,
    Template,
};

/// The most destinations of a replication configuration.
///
/// Source: "Amazon ECR service quotas" in the ECR User Guide.
const MAX_DESTINATIONS: usize = 25;

/// Where the registry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) account: String,
    pub(crate) region: String,
}

impl Place {
    pub(crate) fn of(ecr: &Ecr) -> Self {
        Self { account: ecr.identity.account_id.clone(), region: ecr.region.clone() }
    }
}

/// The parts that a spec has, or why one can't be had.
pub(crate) fn desired(settings: &RegistrySettings, place: &Place) -> BTreeMap<Part, Result<Setting, Failure>> {
    let RegistrySettings {
        scanning,
        replication,
        policy,
        pull_through_cache_rules,
        creation_templates,
        blob_mounting,
        signing,
        pull_time_update_exclusions,
    } = settings;
    let mut parts = BTreeMap::new();
    if let Some(scanning) = scanning {
        parts.insert(Part::Scanning, Ok(Setting::Scanning(scan(scanning))));
        if let Some(BasicScanTypeVersion::AwsNative) = scanning.basic_scan_type_version {
            parts.insert(Part::BasicScanTypeVersion, account(AccountSetting::BasicScanTypeVersion, "AWS_NATIVE"));
        }
    }
    if let Some(replication) = replication {
        parts.insert(Part::Replication, replicate(replication, place).map(Setting::Replication));
    }
    if let Some(policy) = policy {
        let document = document(policy, place).map(|document| Setting::Policy(Some(Ok(document))));
        parts.insert(Part::Policy, document);
        if let Some(RegistryPolicyScope::V2) = policy.scope {
            parts.insert(Part::PolicyScope, account(AccountSetting::RegistryPolicyScope, "V2"));
        }
    }
    if let Some(rules) = pull_through_cache_rules {
        let rules: Result<_, _> = rules.iter().map(|rule| cache_rule(rule, place)).collect();
        parts.insert(Part::PullThroughCacheRules, rules.map(Setting::CacheRules));
    }
    if let Some(templates) = creation_templates {
        let templates: Result<_, _> = templates.iter().map(|template| creation_template(template, place)).collect();
        parts.insert(Part::CreationTemplates, templates.map(Setting::Templates));
    }
    if let Some(mounting) = blob_mounting {
        let value = match mounting {
            Toggle::Enabled => "ENABLED",
            Toggle::Disabled => "DISABLED",
        };
        parts.insert(Part::BlobMounting, account(AccountSetting::BlobMounting, value));
    }
    if let Some(signing) = signing {
        let rules = signing.rules.iter().map(|rule| SigningRule {
            profile_arn: rule.signing_profile_arn.clone(),
            filters: set(rule.repository_filters.as_deref()),
        });
        parts.insert(Part::Signing, Ok(Setting::Signing(Some(Signing(rules.collect())))));
    }
    if let Some(arns) = pull_time_update_exclusions {
        parts.insert(Part::PullTimeUpdateExclusions, Ok(Setting::Exclusions(set(Some(arns)))));
    }
    parts
}

fn account(setting: AccountSetting, value: &str) -> Result<Setting, Failure> {
    Ok(Setting::Account(setting, value.to_owned()))
}

fn set(entries: Option<&[String]>) -> BTreeSet<String> {
    entries.unwrap_or_default().iter().cloned().collect()
}

fn invalid(message: impl std::fmt::Display) -> Failure {
    Failure::stalled(Reason::InvalidSpec, format!("spec.settings.{message}"))
}

fn scan(scanning: &crate::api::Scanning) -> Scanning {
    let rules = scanning.rules.iter().map(|rule| (rule.frequency, set(Some(&rule.repository_filters))));
    Scanning { type_: Some(scanning.type_), rules: rules.collect() }
}

fn replicate(replication: &crate::api::Replication, place: &Place) -> Result<Replication, Failure> {
    let rules: BTreeSet<_> = replication
        .rules
        .iter()
        .map(|rule| ReplicationRule {
            destinations: rule
                .destinations
                .iter()
                .map(|destination| Destination {
                    registry_id: destination.registry_id.clone().unwrap_or_else(|| place.account.clone()),
                    region: destination.region.clone(),
                })
                .collect(),
            filters: set(rule.repository_filters.as_deref()),
        })
        .collect();
    let destinations: BTreeSet<_> = rules.iter().flat_map(|rule| &rule.destinations).collect();
    if destinations.len() > MAX_DESTINATIONS {
        return Err(invalid(format_args!(
            "replication has {} different destinations, and ECR takes at most {MAX_DESTINATIONS}",
            destinations.len()
        )));
    }
    if destinations.iter().any(|it| it.registry_id == place.account && it.region == place.region) {
        return Err(invalid(format_args!(
            "replication names this registry itself ({} in {}) as a destination: name another region or account",
            place.account, place.region
        )));
    }
    Ok(Replication(rules))
}

/// The registry policy that a spec asks for.
fn document(policy: &RegistryPolicy, place: &Place) -> Result<PolicyDocument, Failure> {
    let (field, text) = match (&policy.grants, &policy.document) {
        (Some(grants), _) => ("grants", grants_document(grants, place).to_string()),
        (None, text) => ("document", text.clone().unwrap_or_default()),
    };
    PolicyDocument::parse(&text, Scope::Registry).map_err(|error| invalid(format_args!("policy.{field}: {error}")))
}

/// Source: "Private registry permissions in Amazon ECR" in the ECR User Guide. Both need to make the repositories that
/// don't exist yet.
fn grants_document(grants: &[RegistryGrant], place: &Place) -> Value {
    let Place { account, region } = place;
    let partition = Partition::of_region(region);
    let principal = |who: &String| match who.starts_with("arn:") {
        true => who.clone(),
        false => format!("arn:{partition}:iam::{who}:root"),
    };
    let everything = vec!["*".to_owned()];
    let statements: Vec<Value> = grants
        .iter()
        .map(|grant| {
            let action = match grant.permissions {
                RegistryPermissions::Replicate => "ecr:ReplicateImage",
                RegistryPermissions::PullThroughCache => "ecr:BatchImportUpstreamImage",
            };
            let repositories = grant.repositories.as_ref().unwrap_or(&everything);
            json!({
                "Effect": "Allow",
                "Principal": {"AWS": grant.principals.iter().map(principal).collect::<Vec<_>>()},
                "Action": [action, "ecr:CreateRepository"],
                "Resource": repositories
                    .iter()
                    .map(|name| format!("arn:{partition}:ecr:{region}:{account}:repository/{name}"))
                    .collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({"Version": "2012-10-17", "Statement": statements})
}

fn cache_rule(rule: &PullThroughCacheRule, place: &Place) -> Result<(String, CacheRule), Failure> {
    let PullThroughCacheRule {
        ecr_repository_prefix: prefix,
        upstream_registry,
        upstream_registry_url,
        upstream_repository_prefix,
        credential_arn,
        custom_role_arn,
    } = rule;
    let field = format!("pullThroughCacheRules[{prefix}]");
    if *upstream_registry == crate::api::UpstreamRegistry::Ecr {
        let url = upstream_registry_url.as_deref().unwrap_or_default();
        let Some(host) = RegistryHost::parse(url) else {
            return Err(invalid(format_args!(
                "{field}.upstreamRegistryUrl is {url:?}: name the host of a private registry in ECR, such as 222222222222.dkr.ecr.{}.amazonaws.com",
                place.region
            )));
        };
        if host.account == place.account && host.region == place.region {
            return Err(invalid(format_args!("{field}.upstreamRegistryUrl is this registry itself: name another")));
        }
    }
    if let Some(arn) = credential_arn {
        // arn:aws:secretsmanager:<region>:<account>:secret:<name>
        let mut parts = arn.split(':').skip(3);
        if (parts.next(), parts.next()) != (Some(&place.region), Some(&place.account)) {
            return Err(invalid(format_args!(
                "{field}.credentialArn is {arn}: the secret must be in the registry's own account and region, {} in {}",
                place.account, place.region
            )));
        }
    }
    own_role(&field, custom_role_arn.as_deref(), place)?;
    let wanted =
        CacheRule::new(*upstream_registry, upstream_registry_url.as_deref(), upstream_repository_prefix.as_deref());
    let wanted =
        CacheRule { credential_arn: credential_arn.clone(), custom_role_arn: custom_role_arn.clone(), ..wanted };
    Ok((prefix.clone(), wanted))
}

/// A role that ECR assumes must be one of the registry's account.
fn own_role(field: &str, arn: Option<&str>, place: &Place) -> Result<(), Failure> {
    match arn {
        Some(arn) if arn.split(':').nth(4) != Some(&place.account) => Err(invalid(format_args!(
            "{field}.customRoleArn is {arn}: the role must be of the registry's own account, {}",
            place.account
        ))),
        _ => Ok(()),
    }
}

fn creation_template(template: &CreationTemplate, place: &Place) -> Result<(String, Template), Failure> {
    let CreationTemplate {
        prefix,
        description,
        applied_for,
        tag_mutability,
        mutable_tags,
        immutable_tags,
        encryption,
        lifecycle,
        repository_policy,
        tags,
        custom_role_arn,
    } = template;
    let field = format!("creationTemplates[{prefix}]");
    own_role(&field, custom_role_arn.as_deref(), place)?;
    let lifecycle = lifecycle
        .as_ref()
        .map(Policy::from_spec)
        .transpose()
        .map_err(|error| invalid(format_args!("{field}.{error}")))?;
    let policy = repository_policy
        .as_ref()
        .map(|text| PolicyDocument::parse(text, Scope::Repository))
        .transpose()
        .map_err(|error| invalid(format_args!("{field}.repositoryPolicy: {error}")))?;
    let wanted = Template {
        description: description.clone().filter(|text| !text.is_empty()),
        applied_for: applied_for.iter().copied().collect(),
        mutability: Some(match tag_mutability {
            Some(TagMutability::Immutable) => Mutability::Immutable,
            Some(TagMutability::Mutable) | None => Mutability::Mutable,
        }),
        exclusions: set(mutable_tags.as_deref().or(immutable_tags.as_deref())),
        encryption: Some(encryption.as_ref().map_or(EncryptionType::Aes256, |encryption| encryption.type_)),
        kms_key: encryption.as_ref().and_then(|encryption| encryption.kms_key.clone()),
        lifecycle: lifecycle.map(Ok),
        policy: policy.map(Ok),
        tags: tags.clone(),
        custom_role_arn: custom_role_arn.clone(),
    };
    Ok((prefix.clone(), wanted))
}

#[cfg(test)]
#[path = "desired_tests.rs"]
mod tests;
