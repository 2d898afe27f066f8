//! What to do about the difference between what a spec asks for and what ECR has. Nothing here does I/O.

use std::collections::BTreeMap;

use super::action::Action;
use super::desired::Desired;
use super::observe::{Existing, Observed};
use super::owner::{self, Owner};
use crate::api::conditions::Reason;
use crate::api::{Adoption, DeletionPolicy, Encryption};
use crate::controllers::failure::Failure;
use crate::ecr::{NewRepository, Repository};

/// The changes that make what ECR has what the spec asks for, or why there can't be any.
pub(crate) fn plan(desired: &Desired, observed: &Observed) -> Result<Vec<Action>, Failure> {
    match &observed.existing {
        None => Ok(creation(desired)),
        Some(existing) => {
            let adoption = adoption(desired, existing)?;
            refuse_another_encryption(desired, existing)?;
            Ok(adoption.into_iter().chain(changes(desired, existing)).collect())
        }
    }
}

/// How what ECR has differs from what the spec asks for, in words: for an object that only observes, whoever owns the
/// repository.
pub(crate) fn differences(desired: &Desired, existing: &Existing) -> Vec<String> {
    let encryption = refuse_another_encryption(desired, existing).err().map(|failure| failure.message);
    encryption.into_iter().chain(changes(desired, existing).iter().map(|action| format!("would {action}"))).collect()
}

/// Whether what the list of repositories shows is as the spec says. Tags and policies are not in the list.
pub(crate) fn listed_as_desired(desired: &Desired, listed: &Repository) -> bool {
    tag_mutability(desired, listed).is_none() && scan_on_push(desired, listed).is_none()
}

fn creation(desired: &Desired) -> Vec<Action> {
    let mut tags = desired.owner.tags();
    tags.extend(desired.tags.clone());
    let create = Action::Create(NewRepository {
        name: desired.name.clone(),
        tag_mutability: desired.tag_mutability.clone(),
        scan_on_push: desired.scan_on_push,
        encryption: desired.encryption.clone(),
        tags,
    });
    let lifecycle = desired.lifecycle.clone().map(|to| Action::PutLifecycle { from: None, to });
    let policy = desired.policy.clone().map(|to| Action::PutPolicy { from: None, to });
    std::iter::once(create).chain(lifecycle).chain(policy).collect()
}

fn changes(desired: &Desired, existing: &Existing) -> Vec<Action> {
    [
        tag_mutability(desired, &existing.repository),
        scan_on_push(desired, &existing.repository),
        lifecycle(desired, existing),
        policy(desired, existing),
        tags_to_set(desired, existing),
        tags_to_remove(desired, existing),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A repository is changed by its owner only; one without an owner gets one if the spec agrees.
fn adoption(desired: &Desired, existing: &Existing) -> Result<Option<Action>, Failure> {
    match Owner::from_tags(&existing.tags) {
        Some(owner) if desired.owner.is(&owner) => Ok(None),
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
            "repository {} is encrypted with {} and ECR can't change that: make spec.encryption say so, or use another repositoryName",
            desired.name,
            encryption_in_words(present),
        ),
    ))
}

/// Encryption as messages spell it.
pub(crate) fn encryption_in_words(encryption: &Encryption) -> String {
    let key = encryption.kms_key.as_ref().map(|key| format!(" (key {key})")).unwrap_or_default();
    format!("{:?}{key}", encryption.type_)
}

fn tag_mutability(desired: &Desired, present: &Repository) -> Option<Action> {
    let to = desired.tag_mutability.clone()?;
    let from = present.tag_mutability.clone();
    (from.as_ref() != Some(&to)).then_some(Action::SetTagMutability { from, to })
}

fn scan_on_push(desired: &Desired, present: &Repository) -> Option<Action> {
    let wanted = desired.scan_on_push?;
    (present.scan_on_push != wanted).then_some(Action::SetScanOnPush(wanted))
}

/// A policy that did not come from this object is left alone while the spec has none.
fn lifecycle(desired: &Desired, existing: &Existing) -> Option<Action> {
    match (&desired.lifecycle, &existing.lifecycle) {
        (Some(wanted), Some(present)) if wanted == present => None,
        (Some(to), from) => Some(Action::PutLifecycle { from: from.clone(), to: to.clone() }),
        (None, Some(from)) if desired.managed_lifecycle => Some(Action::DeleteLifecycle { from: from.clone() }),
        (None, _) => None,
    }
}

/// As for the lifecycle policy.
fn policy(desired: &Desired, existing: &Existing) -> Option<Action> {
    match (&desired.policy, &existing.policy) {
        (Some(wanted), Some(present)) if wanted == present => None,
        (Some(to), from) => Some(Action::PutPolicy { from: from.clone(), to: to.clone() }),
        (None, Some(from)) if desired.managed_policy => Some(Action::DeletePolicy { from: from.clone() }),
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
pub(crate) enum Deletion {
    /// Nothing.
    Nothing { because: String },
    /// The repository stays; the owner tags go, so that another object may adopt it.
    Release { arn: String, because: &'static str },
    /// The repository is deleted.
    Delete { force: bool },
}

/// Decides what the deletion of an object does.
pub(crate) fn deletion(policy: DeletionPolicy, owner: &Owner, observed: &Observed) -> Deletion {
    let Some(existing) = &observed.existing else {
        return Deletion::Nothing { because: "the repository does not exist".to_owned() };
    };
    match Owner::from_tags(&existing.tags) {
        Some(found) if owner.is(&found) => {}
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
