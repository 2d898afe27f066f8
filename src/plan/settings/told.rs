//! What the plans of the parts come to, for one registry. Nothing here speaks to AWS.

use std::collections::BTreeMap;

use super::before::Known;
use super::changes::change;
use crate::api::conditions::Reason;
use crate::controllers::failure::Failure;
use crate::controllers::registry::desired::Place;
use crate::controllers::registry::plan::{Action, Plan};
use crate::controllers::registry::setting::{Held, Part, Setting};
use crate::controllers::registry::settle::{combined, decide};
use crate::plan::report::{Change, Entry, Outcome, Sign};

/// The changes of one registry's settings, and what is in their way.
#[derive(Debug)]
pub(super) struct Told {
    known: Known,
    place: Place,
    held: BTreeMap<Part, Held>,
    changes: Vec<Change>,
    notes: Vec<String>,
    failures: Vec<Failure>,
}

impl Told {
    pub(super) fn new(known: &Known, place: &Place) -> Self {
        let (known, place) = (known.clone(), place.clone());
        let held = known.held(&place);
        Self { known, place, held, changes: Vec::new(), notes: Vec::new(), failures: Vec::new() }
    }

    /// What the object held before, by part.
    pub(super) fn held(&self) -> &BTreeMap<Part, Held> {
        &self.held
    }

    /// Says which parts leave the spec without a change.
    pub(super) fn leaving<T>(&mut self, wanted: &BTreeMap<Part, T>) {
        for (part, _) in self.held.iter().filter(|(part, held)| !wanted.contains_key(part) && !held.has_created()) {
            self.notes.push(format!("spec.settings.{part} leaves the spec: what ECR has stays as it is"));
        }
    }

    pub(super) fn failed(&mut self, failure: Failure) {
        self.failures.push(failure);
    }

    /// Plans a part that ECR has been asked about.
    pub(super) fn part(&mut self, part: Part, wanted: Option<&Setting>, present: &Setting) {
        let held = self.held.get(&part).cloned().unwrap_or_default();
        let Plan { actions, refusals } = decide(part, wanted, present, &held);
        self.changes.extend(actions.iter().filter_map(|action| change(part, action, present)));
        // What is adopted or let go of changes in nothing but the object's status.
        let released = actions.iter().filter(|action| matches!(action, Action::Release { .. }));
        let released: Vec<String> = released.map(|action| format!("spec.settings.{part}: {action}")).collect();
        self.notes.extend(released);
        let words = match self.known {
            Known::Unknown => "there and as the spec says, so adopted unless the object manages it already",
            _ => "there and as the spec says, so adopted",
        };
        self.note(part, words, &adopted(&actions));
        self.supposed(part, &actions, present);
        if self.known == Known::Unknown {
            self.unknown(part, wanted, present, &refusals);
        }
        self.failures.extend(refusals);
    }

    /// What is so only if the object manages what is in its old spec.
    fn supposed(&mut self, part: Part, actions: &[Action], present: &Setting) {
        let changed = actions.iter().filter_map(|action| match action {
            Action::UpdateCacheRule { prefix, .. } | Action::UpdateTemplate { prefix, .. } => Some(prefix.as_str()),
            _ => None,
        });
        let names: Vec<&str> = changed.filter(|name| self.known.supposes(part, name, present, &self.place)).collect();
        self.note(part, "not as --base says, so refused (AdoptionRefused) if the object does not manage it", &names);
    }

    /// What can't be told where nothing is known of what the object held.
    fn unknown(&mut self, part: Part, wanted: Option<&Setting>, present: &Setting, refusals: &[Failure]) {
        if refusals.iter().any(|refusal| refusal.reason == Reason::AdoptionRefused) {
            self.notes.push(format!(
                "spec.settings.{part}: what the object manages already is changed and not refused; give the present manifests with --base to be sure"
            ));
        }
        let wanted = wanted.map(names).unwrap_or_default();
        let others: Vec<&str> = names(present).into_iter().filter(|name| !wanted.contains(name)).collect();
        let words = "there and not in the spec, so deleted if it came from this object (give the present manifests with --base to be sure)";
        self.note(part, words, &others);
    }

    fn note(&mut self, part: Part, words: &str, names: &[&str]) {
        if !names.is_empty() {
            self.notes.push(format!("spec.settings.{part}: {words}: {}", names.join(", ")));
        }
    }

    /// Puts all of it into an entry.
    pub(super) fn tell(self, entry: &mut Entry) {
        let Self { known, place: _, held: _, changes, notes, failures } = self;
        entry.notes.extend(notes);
        if matches!(known, Known::Spec(_)) && changes.iter().any(|change| change.sign == Sign::Delete) {
            entry.notes.push(
                "only what the object made is deleted, and what was there before it stays: which is which is in status.settings of the object in the cluster and not in a spec"
                    .to_owned(),
            );
        }
        if !failures.is_empty() && !changes.is_empty() {
            entry.notes.push("what is refused holds up nothing else: the changes are made all the same".to_owned());
        }
        entry.outcome = match combined(failures) {
            Some(failure) => super::failed(failure),
            None if changes.is_empty() => Outcome::Unchanged,
            None => Outcome::Change,
        };
        entry.changes = changes;
    }
}

fn adopted(actions: &[Action]) -> Vec<&str> {
    let names = actions.iter().filter_map(|action| match action {
        Action::Adopt { what: _, name } => Some(name.as_str()),
        _ => None,
    });
    names.collect()
}

/// The rules, templates or exclusions of a part.
fn names(setting: &Setting) -> Vec<&str> {
    match setting {
        Setting::CacheRules(rules) => rules.keys().map(String::as_str).collect(),
        Setting::Templates(templates) => templates.keys().map(String::as_str).collect(),
        Setting::Exclusions(arns) => arns.iter().map(String::as_str).collect(),
        Setting::Scanning(_)
        | Setting::Account(..)
        | Setting::Replication(_)
        | Setting::Policy(_)
        | Setting::Signing(_) => Vec::new(),
    }
}
