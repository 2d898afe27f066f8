//! Pull-through-cache rules.

use std::collections::BTreeMap;
use std::fmt;

use aws_sdk_ecr::types as sdk;

use super::PAGE;
use crate::api::UpstreamRegistry;
use crate::ecr::connect::Ecr;
use crate::ecr::error::EcrError;
use crate::ecr::repositories::if_found;

/// The prefix that stands for no prefix.
const ROOT: &str = "ROOT";

/// A pull-through-cache rule, without its prefix in this registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheRule {
    /// The kind of the upstream, in ECR's words, such as `docker-hub`.
    pub upstream: String,
    /// Host of the upstream.
    pub url: String,
    /// What the names of the upstream's repositories begin with; `ROOT` for all of them.
    pub upstream_prefix: String,
    /// ARN of the secret with the credentials.
    pub credential_arn: Option<String>,
    /// ARN of the role that ECR assumes.
    pub custom_role_arn: Option<String>,
}

impl CacheRule {
    /// A rule for an upstream of this kind. `url` is for those kinds that are many registries.
    pub fn new(upstream: UpstreamRegistry, url: Option<&str>, upstream_prefix: Option<&str>) -> Self {
        Self {
            upstream: name(upstream).to_owned(),
            url: url.or(host(upstream)).unwrap_or_default().to_owned(),
            upstream_prefix: upstream_prefix.unwrap_or(ROOT).to_owned(),
            credential_arn: None,
            custom_role_arn: None,
        }
    }

    /// The fields in which this rule is not as wanted and that ECR can't change, in the spec's words.
    pub fn fixed_difference(&self, wanted: &Self) -> Vec<&'static str> {
        let Self { upstream, url, upstream_prefix, credential_arn, custom_role_arn } = self;
        [
            ("upstreamRegistry", *upstream != wanted.upstream),
            ("upstreamRegistryUrl", *url != wanted.url),
            ("upstreamRepositoryPrefix", *upstream_prefix != wanted.upstream_prefix),
            // ECR can set another secret or role, and take none away.
            ("credentialArn", credential_arn.is_some() && wanted.credential_arn.is_none()),
            ("customRoleArn", custom_role_arn.is_some() && wanted.custom_role_arn.is_none()),
        ]
        .into_iter()
        .filter_map(|(field, differs)| differs.then_some(field))
        .collect()
    }
}

impl fmt::Display for CacheRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { upstream, url, upstream_prefix, credential_arn, custom_role_arn } = self;
        write!(f, "{upstream} {url}")?;
        if upstream_prefix != ROOT {
            write!(f, "/{upstream_prefix}")?;
        }
        if let Some(arn) = credential_arn {
            write!(f, " with the credentials in {arn}")?;
        }
        if let Some(arn) = custom_role_arn {
            write!(f, " as {arn}")?;
        }
        Ok(())
    }
}

impl Ecr {
    /// All pull-through-cache rules, by their prefix in this registry.
    pub async fn cache_rules(&self) -> Result<BTreeMap<String, CacheRule>, EcrError> {
        const OPERATION: &str = "ecr:DescribePullThroughCacheRules";
        let pages = self.api.describe_pull_through_cache_rules().into_paginator().page_size(PAGE);
        let mut items = pages.items().send();
        let mut found = BTreeMap::new();
        while let Some(item) = items.next().await {
            let item = item.map_err(|error| EcrError::new(OPERATION, &error))?;
            let prefix = item.ecr_repository_prefix.clone();
            found.insert(prefix.ok_or_else(|| EcrError::incomplete(OPERATION, "ecrRepositoryPrefix"))?, rule(item));
        }
        Ok(found)
    }

    /// Makes a rule.
    pub async fn create_cache_rule(&self, prefix: &str, rule: &CacheRule) -> Result<(), EcrError> {
        self.api
            .create_pull_through_cache_rule()
            .ecr_repository_prefix(prefix)
            .upstream_registry(rule.upstream.as_str().into())
            .upstream_registry_url(&rule.url)
            // Left out, it is ROOT, which not every kind of upstream takes.
            .set_upstream_repository_prefix((rule.upstream_prefix != ROOT).then(|| rule.upstream_prefix.clone()))
            .set_credential_arn(rule.credential_arn.clone())
            .set_custom_role_arn(rule.custom_role_arn.clone())
            .send()
            .await
            .map(drop)
            .map_err(|error| EcrError::new("ecr:CreatePullThroughCacheRule", &error))
    }

    /// Sets a rule's secret and role. ECR can change nothing else of it.
    pub async fn update_cache_rule(&self, prefix: &str, rule: &CacheRule) -> Result<(), EcrError> {
        self.api
            .update_pull_through_cache_rule()
            .ecr_repository_prefix(prefix)
            .set_credential_arn(rule.credential_arn.clone())
            .set_custom_role_arn(rule.custom_role_arn.clone())
            .send()
            .await
            .map(drop)
            .map_err(|error| EcrError::new("ecr:UpdatePullThroughCacheRule", &error))
    }

    /// Deletes a rule, if there is one. The repositories that it has made stay.
    pub async fn delete_cache_rule(&self, prefix: &str) -> Result<(), EcrError> {
        let answer = self.api.delete_pull_through_cache_rule().ecr_repository_prefix(prefix).send().await;
        if_found("ecr:DeletePullThroughCacheRule", answer).map(drop)
    }
}

fn rule(found: sdk::PullThroughCacheRule) -> CacheRule {
    let url = found.upstream_registry_url.unwrap_or_default();
    // Rules from before there were kinds have none: the host tells it.
    let upstream = match found.upstream_registry {
        Some(kind) => kind.as_str().to_owned(),
        None => KINDS.into_iter().find(|kind| host(*kind) == Some(&url)).map(name).unwrap_or_default().to_owned(),
    };
    CacheRule {
        upstream,
        url,
        upstream_prefix: found.upstream_repository_prefix.unwrap_or_else(|| ROOT.to_owned()),
        credential_arn: found.credential_arn,
        custom_role_arn: found.custom_role_arn,
    }
}

const KINDS: [UpstreamRegistry; 9] = [
    UpstreamRegistry::Ecr,
    UpstreamRegistry::EcrPublic,
    UpstreamRegistry::K8s,
    UpstreamRegistry::Quay,
    UpstreamRegistry::DockerHub,
    UpstreamRegistry::GithubContainerRegistry,
    UpstreamRegistry::GitlabContainerRegistry,
    UpstreamRegistry::AzureContainerRegistry,
    UpstreamRegistry::Chainguard,
];

fn name(upstream: UpstreamRegistry) -> &'static str {
    match upstream {
        UpstreamRegistry::Ecr => "ecr",
        UpstreamRegistry::EcrPublic => "ecr-public",
        UpstreamRegistry::K8s => "k8s",
        UpstreamRegistry::Quay => "quay",
        UpstreamRegistry::DockerHub => "docker-hub",
        UpstreamRegistry::GithubContainerRegistry => "github-container-registry",
        UpstreamRegistry::GitlabContainerRegistry => "gitlab-container-registry",
        UpstreamRegistry::AzureContainerRegistry => "azure-container-registry",
        UpstreamRegistry::Chainguard => "chainguard",
    }
}

/// The host of an upstream, where a kind has but one.
///
/// Source: `upstreamRegistryUrl` of CreatePullThroughCacheRule in the Amazon ECR API Reference; Chainguard's from the
/// ECR User Guide.
fn host(upstream: UpstreamRegistry) -> Option<&'static str> {
    match upstream {
        UpstreamRegistry::Ecr | UpstreamRegistry::AzureContainerRegistry => None,
        UpstreamRegistry::EcrPublic => Some("public.ecr.aws"),
        UpstreamRegistry::K8s => Some("registry.k8s.io"),
        UpstreamRegistry::Quay => Some("quay.io"),
        UpstreamRegistry::DockerHub => Some("registry-1.docker.io"),
        UpstreamRegistry::GithubContainerRegistry => Some("ghcr.io"),
        UpstreamRegistry::GitlabContainerRegistry => Some("registry.gitlab.com"),
        UpstreamRegistry::Chainguard => Some("cgr.dev"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_one_that_the_api_knows() {
        for kind in KINDS {
            assert!(sdk::UpstreamRegistry::try_parse(name(kind)).is_ok(), "{}", name(kind));
            let spec = serde_json::to_value(kind).expect("a string");
            assert_eq!(spec, name(kind), "the spec's word is ECR's");
        }
        assert_eq!(sdk::UpstreamRegistry::values().len(), KINDS.len(), "and none is missing");
    }

    #[test]
    fn a_rule_that_names_no_kind_has_that_of_its_host() {
        for kind in KINDS {
            let Some(url) = host(kind) else { continue };
            let found = sdk::PullThroughCacheRule::builder().upstream_registry_url(url).build();
            assert_eq!(rule(found), CacheRule::new(kind, None, None));
        }
    }

    #[test]
    fn the_secret_can_be_changed_and_the_rest_can_not() {
        let one = CacheRule::new(UpstreamRegistry::Ecr, Some("a"), Some("prod"));
        let with_role = CacheRule { custom_role_arn: Some("role".into()), ..one.clone() };
        let with_secret = CacheRule { credential_arn: Some("secret".into()), ..one.clone() };
        assert_eq!(one.fixed_difference(&with_role), Vec::<&str>::new(), "a role can be set");
        assert_eq!(with_role.fixed_difference(&one), ["customRoleArn"], "and not taken away");
        assert_eq!(one.fixed_difference(&with_secret), Vec::<&str>::new());
        let other = CacheRule::new(UpstreamRegistry::AzureContainerRegistry, Some("b"), None);
        assert_eq!(
            one.fixed_difference(&other),
            ["upstreamRegistry", "upstreamRegistryUrl", "upstreamRepositoryPrefix"]
        );
    }
}
