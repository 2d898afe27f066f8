//! What to do about the difference between what a spec asks for and what ECR has. Nothing here does I/O.

use std::collections::BTreeMap;
use std::fmt;

use super::observe::{Existing, Observed};
use super::owner::{self, Owner};
use crate::api::conditions::Reason;
use crate::api::{Adoption, DeletionPolicy, EcrRepository, Encryption, TagMutability};
use crate::controllers::failure::Failure;
use crate::ecr::NewRepository;
use crate::ecr::lifecycle::Policy;

/// What a spec asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Desired {
    pub(super) name: String,
    pub(super) owner: Owner,
    pub(super) adoption: Adoption,
    pub(super) tag_mutability: Option<TagMutability>,
    pub(super) scan_on_push: Option<bool>,
    pub(super) encryption: Option<Encryption>,
    pub(super) lifecycle: Option<Policy>,
    pub(super) tags: BTreeMap<String, String>,
    /// Whether a lifecycle policy came from this object earlier.
    pub(super) managed_lifecycle: bool,
    /// The keys of the tags that came from this object earlier.
    pub(super) managed_tag_keys: Vec<String>,
}

impl Desired {
    /// What this object asks for, given what it had managed before.
    pub(super) fn new(object: &EcrRepository, owner: Owner) -> Result<Self, Failure> {
        let settings = &object.spec.settings;
        let lifecycle = settings
            .lifecycle
            .as_ref()
            .map(Policy::from_spec)
            .transpose()
            .map_err(|error| Failure::stalled(Reason::InvalidSpec, format!("spec.{error}")))?;
        let status = object.status.as_ref();
        Ok(Self {
            name: object.repository_name(),
            owner,
            adoption: object.spec.adoption,
            tag_mutability: settings.tag_mutability,
            scan_on_push: settings.scan_on_push,
            encryption: settings.encryption.clone(),
            lifecycle,
            tags: settings.tags.clone(),
            managed_lifecycle: status.is_some_and(|status| status.manages_lifecycle),
            managed_tag_keys: status.map(|status| status.managed_tag_keys.clone()).unwrap_or_default(),
        })
    }
}

/// One change in ECR.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Create(NewRepository),
    Adopt { tags: BTreeMap<String, String> },
    SetTagMutability { from: Option<TagMutability>, to: TagMutability },
    SetScanOnPush(bool),
    PutLifecycle { policy: Policy, replaces: bool },
    DeleteLifecycle,
    Tag(BTreeMap<String, String>),
    Untag(Vec<String>),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(new) => write!(f, "create repository {}", new.name),
            Self::Adopt { .. } => f.write_str("adopt the repository, which nobody owns"),
            Self::SetTagMutability { from: Some(from), to } => {
                write!(f, "change tag mutability from {from:?} to {to:?}")
            }
            Self::SetTagMutability { from: None, to } => write!(f, "change tag mutability to {to:?}"),
            Self::SetScanOnPush(on) => write!(f, "switch scan on push {}", if *on { "on" } else { "off" }),
            Self::PutLifecycle { policy, replaces } => {
                let verb = if *replaces { "replace" } else { "set" };
                write!(f, "{verb} the lifecycle policy ({} rules)", policy.rules())
            }
            Self::DeleteLifecycle => f.write_str("delete the lifecycle policy, which is no longer in the spec"),
            Self::Tag(tags) => write!(f, "set tags {}", keys(tags.keys())),
            Self::Untag(removed) => write!(f, "remove tags {}", keys(removed.iter())),
        }
    }
}

fn keys<'a>(keys: impl Iterator<Item = &'a String>) -> String {
    keys.map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// The changes that make what ECR has what the spec asks for, or why there can't be any.
pub(super) fn plan(desired: &Desired, observed: &Observed) -> Result<Vec<Action>, Failure> {
    match &observed.existing {
        None => Ok(creation(desired)),
        Some(existing) => changes(desired, existing),
    }
}

fn creation(desired: &Desired) -> Vec<Action> {
    let mut tags = desired.owner.tags();
    tags.extend(desired.tags.clone());
    let create = Action::Create(NewRepository {
        name: desired.name.clone(),
        tag_mutability: desired.tag_mutability,
        scan_on_push: desired.scan_on_push,
        encryption: desired.encryption.clone(),
        tags,
    });
    let lifecycle = desired.lifecycle.clone().map(|policy| Action::PutLifecycle { policy, replaces: false });
    std::iter::once(create).chain(lifecycle).collect()
}

fn changes(desired: &Desired, existing: &Existing) -> Result<Vec<Action>, Failure> {
    let adoption = adoption(desired, existing)?;
    refuse_another_encryption(desired, existing)?;
    Ok([
        adoption,
        tag_mutability(desired, existing),
        scan_on_push(desired, existing),
        lifecycle(desired, existing),
        tags_to_set(desired, existing),
        tags_to_remove(desired, existing),
    ]
    .into_iter()
    .flatten()
    .collect())
}

/// A repository is changed by its owner only; one without an owner gets one if the spec agrees.
fn adoption(desired: &Desired, existing: &Existing) -> Result<Option<Action>, Failure> {
    match Owner::from_tags(&existing.tags) {
        Some(owner) if owner == desired.owner => Ok(None),
        Some(owner) => Err(Failure::stalled(
            Reason::OwnedByAnother,
            format!(
                "repository {} belongs to {owner}: use another repositoryName, or delete that object with deletionPolicy Retain to hand the repository over",
                desired.name
            ),
        )),
        None if desired.adoption == Adoption::IfUnowned => {
            Ok(Some(Action::Adopt { tags: desired.owner.tags_of_adopted() }))
        }
        None => Err(Failure::stalled(
            Reason::AdoptionRefused,
            format!(
                "repository {} exists already and spec.adoption is Never: set it to IfUnowned to take the repository over, or use another repositoryName",
                desired.name
            ),
        )),
    }
}

/// ECR sets encryption when it creates a repository, and never again. A key is compared only where both sides name it
/// by ARN: ECR answers with ARNs, a spec may use an alias.
fn refuse_another_encryption(desired: &Desired, existing: &Existing) -> Result<(), Failure> {
    let (Some(wanted), Some(present)) = (&desired.encryption, &existing.repository.encryption) else { return Ok(()) };
    let is_arn = |key: &&String| key.starts_with("arn:");
    let other_key = match (wanted.kms_key.as_ref().filter(is_arn), present.kms_key.as_ref().filter(is_arn)) {
        (Some(wanted), Some(present)) => wanted != present,
        _ => false,
    };
    if wanted.type_ == present.type_ && !other_key {
        return Ok(());
    }
    Err(Failure::stalled(
        Reason::ImmutableField,
        format!(
            "repository {} is encrypted with {:?}{} and ECR can't change that: make spec.encryption say so, or use another repositoryName",
            desired.name,
            present.type_,
            present.kms_key.as_ref().map(|key| format!(" (key {key})")).unwrap_or_default(),
        ),
    ))
}

fn tag_mutability(desired: &Desired, existing: &Existing) -> Option<Action> {
    let (from, to) = (existing.repository.tag_mutability, desired.tag_mutability?);
    (from != Some(to)).then_some(Action::SetTagMutability { from, to })
}

fn scan_on_push(desired: &Desired, existing: &Existing) -> Option<Action> {
    let wanted = desired.scan_on_push?;
    (existing.repository.scan_on_push != wanted).then_some(Action::SetScanOnPush(wanted))
}

/// A policy that did not come from this object is left alone while the spec has none.
fn lifecycle(desired: &Desired, existing: &Existing) -> Option<Action> {
    match (&desired.lifecycle, &existing.lifecycle) {
        (Some(wanted), Some(present)) if wanted == present => None,
        (Some(wanted), present) => Some(Action::PutLifecycle { policy: wanted.clone(), replaces: present.is_some() }),
        (None, Some(_)) if desired.managed_lifecycle => Some(Action::DeleteLifecycle),
        (None, _) => None,
    }
}

fn tags_to_set(desired: &Desired, existing: &Existing) -> Option<Action> {
    let missing: BTreeMap<_, _> = desired
        .tags
        .iter()
        .filter(|(key, value)| existing.tags.get(*key) != Some(*value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    (!missing.is_empty()).then_some(Action::Tag(missing))
}

/// Tags that came from this object and are no longer in its spec. Tags of others stay.
fn tags_to_remove(desired: &Desired, existing: &Existing) -> Option<Action> {
    let left_over: Vec<_> = desired
        .managed_tag_keys
        .iter()
        .filter(|key| !desired.tags.contains_key(*key) && existing.tags.contains_key(*key))
        .cloned()
        .collect();
    (!left_over.is_empty()).then_some(Action::Untag(left_over))
}

/// What the deletion of an object does to its repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deletion {
    /// Nothing.
    Nothing { because: String },
    /// The repository stays; the owner tags go, so that another object may adopt it.
    Release { arn: String, because: &'static str },
    /// The repository is deleted.
    Delete { force: bool },
}

/// Decides what the deletion of an object does.
pub(super) fn deletion(policy: DeletionPolicy, owner: &Owner, observed: &Observed) -> Deletion {
    let Some(existing) = &observed.existing else {
        return Deletion::Nothing { because: "the repository does not exist".to_owned() };
    };
    match Owner::from_tags(&existing.tags) {
        Some(found) if found == *owner => {}
        Some(found) => return Deletion::Nothing { because: format!("the repository belongs to {found}") },
        None => return Deletion::Nothing { because: "the repository has no owner tags".to_owned() },
    }
    let arn = existing.repository.arn.clone();
    match policy {
        DeletionPolicy::Retain => Deletion::Release { arn, because: "deletionPolicy is Retain" },
        _ if owner::is_adopted(&existing.tags) => Deletion::Release {
            arn,
            because: "it existed before it was adopted, and only what was created here is deleted",
        },
        DeletionPolicy::Delete => Deletion::Delete { force: false },
        DeletionPolicy::DeleteWithImages => Deletion::Delete { force: true },
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
