//! The controllers' actions as lines of a report.

use super::report::{Change, Sign};
use crate::controllers::repository::action::Action;
use crate::controllers::repository::desired::Desired;
use crate::controllers::repository::observe::Observed;
use crate::controllers::repository::owner;
use crate::controllers::repository::plan::encryption_in_words;
use crate::ecr::NewRepository;

/// One action, with what it changes from and to.
pub(super) fn change(action: &Action, observed: &Observed) -> Change {
    match action {
        Action::Create(new) => Change::new(Sign::Create, "create the repository").with(creation(new)),
        Action::Adopt { tags: _ } => Change::new(Sign::Change, "adopt the repository, which nobody owns"),
        Action::SetTagMutability { from: Some(from), to } => {
            Change::new(Sign::Change, format!("change tag mutability from {from} to {to}"))
        }
        Action::SetTagMutability { from: None, to } => {
            Change::new(Sign::Change, format!("change tag mutability to {to}"))
        }
        Action::SetScanOnPush(on) => {
            let words = |on: bool| if on { "on" } else { "off" };
            Change::new(Sign::Change, format!("change scan on push from {} to {}", words(!on), words(*on)))
        }
        Action::PutLifecycle { from: None, to } => {
            Change::new(Sign::Create, "set the lifecycle policy").with(to.lines())
        }
        Action::PutLifecycle { from: Some(from), to } => {
            Change::new(Sign::Change, "change the lifecycle policy").with(from.diff(to))
        }
        Action::DeleteLifecycle { from } => {
            Change::new(Sign::Delete, "delete the lifecycle policy, which is no longer in the spec").with(from.lines())
        }
        Action::PutPolicy { from: None, to } => {
            Change::new(Sign::Create, "set the repository policy").with(to.statements())
        }
        Action::PutPolicy { from: Some(from), to } => {
            Change::new(Sign::Change, "change the repository policy").with(from.diff(to))
        }
        Action::DeletePolicy { from } => {
            Change::new(Sign::Delete, "delete the repository policy, which is no longer in the spec")
                .with(from.statements())
        }
        Action::Tag(tags) => {
            let present = observed.existing.as_ref().map(|existing| &existing.tags);
            let lines = tags.iter().map(|(key, value)| match present.and_then(|present| present.get(key)) {
                Some(before) => format!("~ {key}: {before} -> {value}"),
                None => format!("+ {key}: {value}"),
            });
            Change::new(Sign::Change, "set tags").with(lines.collect())
        }
        Action::Untag(keys) => {
            Change::new(Sign::Change, "remove tags").with(keys.iter().map(|key| format!("- {key}")).collect())
        }
    }
}

fn creation(new: &NewRepository) -> Vec<String> {
    let NewRepository { name: _, tag_mutability, scan_on_push, encryption, tags } = new;
    let mut lines = Vec::new();
    lines.extend(tag_mutability.as_ref().map(|mutability| format!("tag mutability: {mutability}")));
    lines.extend(scan_on_push.map(|on| format!("scan on push: {}", if on { "on" } else { "off" })));
    lines.extend(encryption.as_ref().map(|encryption| format!("encryption: {}", encryption_in_words(encryption))));
    let owners = owner::keys();
    lines
        .extend(tags.iter().filter(|(key, _)| !owners.contains(key)).map(|(key, value)| format!("tag {key}: {value}")));
    lines
}

/// What can't be told without knowing what the object managed before.
pub(super) fn unknown(desired: &Desired, observed: &Observed) -> Vec<String> {
    let Some(existing) = &observed.existing else { return Vec::new() };
    let mut notes = Vec::new();
    let mut there = |what: &str| {
        notes.push(format!(
            "the repository has a {what} and the spec has none: it is deleted if it came from this object; give the present manifests with --base to be sure"
        ));
    };
    if desired.lifecycle.is_none() && existing.lifecycle.is_some() {
        there("lifecycle policy");
    }
    if desired.policy.is_none() && existing.policy.is_some() {
        there("repository policy");
    }
    notes
}
