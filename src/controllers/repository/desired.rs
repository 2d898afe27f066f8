//! What a spec asks for, in the terms in which it is compared with ECR.

use std::collections::BTreeMap;

use super::owner::Owner;
use crate::api::conditions::Reason;
use crate::api::{Adoption, EcrRepository, Encryption, RepositorySettings, TagMutability};
use crate::controllers::failure::Failure;
use crate::ecr::Mutability;
use crate::ecr::lifecycle::Policy;
use crate::ecr::policy::{PolicyDocument, PolicyError, Scope};

/// What a spec asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Desired {
    pub(crate) name: String,
    pub(crate) owner: Owner,
    pub(crate) adoption: Adoption,
    pub(crate) tag_mutability: Option<Mutability>,
    pub(crate) scan_on_push: Option<bool>,
    pub(crate) encryption: Option<Encryption>,
    pub(crate) lifecycle: Option<Policy>,
    pub(crate) policy: Option<PolicyDocument>,
    pub(crate) tags: BTreeMap<String, String>,
    /// Whether a lifecycle policy came from this object earlier.
    pub(crate) managed_lifecycle: bool,
    /// Whether a repository policy came from this object earlier.
    pub(crate) managed_policy: bool,
    /// The keys of the tags that came from this object earlier.
    pub(crate) managed_tag_keys: Vec<String>,
}

impl Desired {
    /// What this object asks for, given what it had managed before.
    pub(crate) fn new(object: &EcrRepository, owner: Owner) -> Result<Self, Failure> {
        let settings = &object.spec.settings;
        let status = object.status.as_ref();
        Ok(Self {
            name: object.repository_name(),
            owner,
            adoption: object.spec.adoption,
            tag_mutability: mutability(settings),
            scan_on_push: settings.scan_on_push,
            encryption: settings.encryption.clone(),
            lifecycle: settings.lifecycle.as_ref().map(Policy::from_spec).transpose().map_err(invalid)?,
            policy: policy(settings)?,
            tags: settings.tags.clone(),
            managed_lifecycle: status.is_some_and(|status| status.manages_lifecycle),
            managed_policy: status.is_some_and(|status| status.manages_policy),
            managed_tag_keys: status.map(|status| status.managed_tag_keys.clone()).unwrap_or_default(),
        })
    }
}

impl Desired {
    /// For an object that is going away, which asks for nothing any more.
    pub(crate) fn nothing(name: &str, owner: Owner) -> Self {
        Self {
            name: name.to_owned(),
            owner,
            adoption: Adoption::Never,
            tag_mutability: None,
            scan_on_push: None,
            encryption: None,
            lifecycle: None,
            policy: None,
            tags: BTreeMap::new(),
            managed_lifecycle: false,
            managed_policy: false,
            managed_tag_keys: Vec::new(),
        }
    }
}

/// A refusal whose words begin with the field, below `spec`.
fn invalid(error: impl std::fmt::Display) -> Failure {
    Failure::stalled(Reason::InvalidSpec, format!("spec.{error}"))
}

fn mutability(settings: &RepositorySettings) -> Option<Mutability> {
    let mode = settings.tag_mutability?;
    let except = match mode {
        TagMutability::Immutable => settings.mutable_tags.clone(),
        TagMutability::Mutable => settings.immutable_tags.clone(),
    };
    Some(Mutability { mode, except })
}

fn policy(settings: &RepositorySettings) -> Result<Option<PolicyDocument>, Failure> {
    match (&settings.policy, &settings.access) {
        (Some(text), _) => in_field("policy", PolicyDocument::parse(text, Scope::Repository)),
        (None, Some(grants)) => in_field("access", PolicyDocument::from_grants(grants)),
        (None, None) => Ok(None),
    }
}

/// A policy's errors name places in the document, not the field that it is in.
fn in_field(field: &str, policy: Result<PolicyDocument, PolicyError>) -> Result<Option<PolicyDocument>, Failure> {
    policy.map(Some).map_err(|error| invalid(format!("{field}: {error}")))
}
