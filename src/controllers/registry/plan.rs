//! What to do about the difference between what a spec asks for and what ECR has. Nothing here does I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::setting::{Document, Held, Setting};
use crate::api::conditions::Reason;
use crate::controllers::failure::Failure;
use crate::ecr::settings::{AccountSetting, CacheRule, Replication, Scanning, Signing, Template};

/// One change in ECR, or in what an object holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    PutScanning {
        from: Scanning,
        to: Scanning,
    },
    PutAccountSetting {
        setting: AccountSetting,
        from: String,
        to: String,
    },
    PutReplication {
        from: Replication,
        to: Replication,
    },
    PutPolicy {
        from: Option<Document>,
        to: Document,
    },
    DeletePolicy,
    PutSigning {
        from: Option<Signing>,
        to: Signing,
    },
    DeleteSigning,
    CreateCacheRule {
        prefix: String,
        rule: CacheRule,
    },
    UpdateCacheRule {
        prefix: String,
        from: CacheRule,
        to: CacheRule,
    },
    DeleteCacheRule {
        prefix: String,
    },
    CreateTemplate {
        prefix: String,
        template: Box<Template>,
    },
    UpdateTemplate {
        prefix: String,
        from: Box<Template>,
        to: Box<Template>,
    },
    DeleteTemplate {
        prefix: String,
    },
    Register {
        arn: String,
    },
    Deregister {
        arn: String,
    },
    /// Something that is there already and just as it should be is managed from now on. ECR is asked nothing.
    Adopt {
        what: Entry,
        name: String,
    },
    /// Something is no longer managed and stays as it is, or is gone. ECR is asked nothing.
    Release {
        what: Entry,
        name: String,
    },
}

/// Kinds of things of which a registry has many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    CacheRule,
    Template,
    Exclusion,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CacheRule => "pull-through-cache rule",
            Self::Template => "creation template",
            Self::Exclusion => "pull-time exclusion of",
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PutScanning { from, to } => write!(f, "change scanning from {from} to {to}"),
            Self::PutAccountSetting { setting, from, to } => write!(f, "change {setting} from {from} to {to}"),
            Self::PutReplication { from, to } => write!(f, "change replication from {from} to {to}"),
            Self::PutPolicy { from: None, to } => write!(f, "set the registry policy: {}", statements(to)),
            Self::PutPolicy { from: Some(Ok(from)), to: Ok(to) } => {
                write!(f, "change the registry policy: {}", from.diff(to).join("; "))
            }
            Self::PutPolicy { from: Some(_), to } => {
                write!(f, "replace the registry policy, which can't be read here: {}", statements(to))
            }
            Self::DeletePolicy => f.write_str("delete the registry policy, which is no longer in the spec"),
            Self::PutSigning { from: None, to } => write!(f, "set signing to {to}"),
            Self::PutSigning { from: Some(from), to } => write!(f, "change signing from {from} to {to}"),
            Self::DeleteSigning => f.write_str("delete the signing configuration, which is no longer in the spec"),
            Self::CreateCacheRule { prefix, rule } => write!(f, "create pull-through-cache rule {prefix} for {rule}"),
            Self::UpdateCacheRule { prefix, from, to } => {
                write!(f, "change pull-through-cache rule {prefix} from {from} to {to}")
            }
            Self::DeleteCacheRule { prefix } => {
                write!(f, "delete pull-through-cache rule {prefix}, which is no longer in the spec")
            }
            Self::CreateTemplate { prefix, template } => write!(f, "create creation template {prefix} {template}"),
            Self::UpdateTemplate { prefix, from, to } => {
                write!(f, "change creation template {prefix}: {}", from.difference(to).join(", "))
            }
            Self::DeleteTemplate { prefix } => {
                write!(f, "delete creation template {prefix}, which is no longer in the spec")
            }
            Self::Register { arn } => write!(f, "exclude {arn} from pull times"),
            Self::Deregister { arn } => write!(f, "take back the exclusion of {arn}, which is no longer in the spec"),
            Self::Adopt { what, name } => write!(f, "adopt {what} {name}, which is there and as the spec says"),
            Self::Release { what, name } => write!(f, "leave {what} {name} alone from now on"),
        }
    }
}

fn statements(document: &Document) -> String {
    match document {
        Ok(policy) => policy.statements().join("; "),
        Err(text) => text.clone(),
    }
}

/// What is to be done about a part, and what can't be.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    pub(crate) refusals: Vec<Failure>,
}

impl Plan {
    fn of(action: Option<Action>) -> Self {
        Self { actions: action.into_iter().collect(), refusals: Vec::new() }
    }
}

/// The changes that make a part of the registry what the spec asks for. Without `desired` the part has left the spec:
/// what this object made goes, the rest stays as it is.
pub(crate) fn plan(desired: Option<&Setting>, present: &Setting, held: &Held) -> Plan {
    use Setting::{Account, CacheRules, Exclusions, Policy, Replication, Scanning, Signing, Templates};
    match (desired, present) {
        (Some(Scanning(to)), Scanning(from)) => {
            Plan::of((from != to).then(|| Action::PutScanning { from: from.clone(), to: to.clone() }))
        }
        (Some(Account(setting, to)), Account(_, from)) => Plan::of((from != to).then(|| Action::PutAccountSetting {
            setting: *setting,
            from: from.clone(),
            to: to.clone(),
        })),
        (Some(Replication(to)), Replication(from)) => {
            Plan::of((from != to).then(|| Action::PutReplication { from: from.clone(), to: to.clone() }))
        }
        (Some(Policy(Some(to))), Policy(from)) => {
            Plan::of((from.as_ref() != Some(to)).then(|| Action::PutPolicy { from: from.clone(), to: to.clone() }))
        }
        (None, Policy(Some(_))) => Plan::of(held.created.then_some(Action::DeletePolicy)),
        (Some(Signing(Some(to))), Signing(from)) => {
            Plan::of((from.as_ref() != Some(to)).then(|| Action::PutSigning { from: from.clone(), to: to.clone() }))
        }
        (None, Signing(Some(_))) => Plan::of(held.created.then_some(Action::DeleteSigning)),
        (desired, CacheRules(present)) => {
            let none = BTreeMap::new();
            cache_rules(if let Some(CacheRules(wanted)) = desired { wanted } else { &none }, present, held)
        }
        (desired, Templates(present)) => {
            let none = BTreeMap::new();
            templates(if let Some(Templates(wanted)) = desired { wanted } else { &none }, present, held)
        }
        (desired, Exclusions(present)) => {
            let none = BTreeSet::new();
            exclusions(if let Some(Exclusions(wanted)) = desired { wanted } else { &none }, present, held)
        }
        // What can't be taken away again stays as it is. A part is never compared with another part.
        _ => Plan::default(),
    }
}

fn cache_rules(wanted: &BTreeMap<String, CacheRule>, present: &BTreeMap<String, CacheRule>, held: &Held) -> Plan {
    let mut plan = Plan::default();
    for (prefix, to) in wanted {
        match present.get(prefix) {
            None => plan.actions.push(Action::CreateCacheRule { prefix: prefix.clone(), rule: to.clone() }),
            Some(from) if !held.entries.contains_key(prefix) => {
                if from == to {
                    plan.actions.push(Action::Adopt { what: Entry::CacheRule, name: prefix.clone() });
                } else {
                    plan.refusals.push(not_ours(Entry::CacheRule, prefix, &format!("for {from}")));
                }
            }
            Some(from) if from == to => {}
            Some(from) => match from.fixed_difference(to).as_slice() {
                [] => {
                    let (prefix, from, to) = (prefix.clone(), from.clone(), to.clone());
                    plan.actions.push(Action::UpdateCacheRule { prefix, from, to });
                }
                fields => plan.refusals.push(fixed(prefix, from, fields)),
            },
        }
    }
    plan.actions.extend(leaving(Entry::CacheRule, wanted.keys(), present.keys(), held));
    plan
}

fn templates(wanted: &BTreeMap<String, Template>, present: &BTreeMap<String, Template>, held: &Held) -> Plan {
    let mut plan = Plan::default();
    for (prefix, to) in wanted {
        let Some(from) = present.get(prefix) else {
            let template = Box::new(to.clone());
            plan.actions.push(Action::CreateTemplate { prefix: prefix.clone(), template });
            continue;
        };
        let differs = from.difference(to);
        match (held.entries.contains_key(prefix), differs.is_empty()) {
            (true, true) => {}
            (true, false) => {
                let (from, to) = (Box::new(from.clone()), Box::new(to.clone()));
                plan.actions.push(Action::UpdateTemplate { prefix: prefix.clone(), from, to });
            }
            (false, true) => plan.actions.push(Action::Adopt { what: Entry::Template, name: prefix.clone() }),
            (false, false) => {
                let how = format!("and is not as the spec says in {}", differs.join(", "));
                plan.refusals.push(not_ours(Entry::Template, prefix, &how));
            }
        }
    }
    plan.actions.extend(leaving(Entry::Template, wanted.keys(), present.keys(), held));
    plan
}

fn exclusions(wanted: &BTreeSet<String>, present: &BTreeSet<String>, held: &Held) -> Plan {
    let mut plan = Plan::default();
    for arn in wanted {
        match (present.contains(arn), held.entries.contains_key(arn)) {
            (false, _) => plan.actions.push(Action::Register { arn: arn.clone() }),
            (true, false) => plan.actions.push(Action::Adopt { what: Entry::Exclusion, name: arn.clone() }),
            (true, true) => {}
        }
    }
    plan.actions.extend(leaving(Entry::Exclusion, wanted.iter(), present.iter(), held));
    plan
}

/// What an object holds and its spec no longer names: what it made goes, the rest stays.
fn leaving<'a>(
    what: Entry,
    wanted: impl Iterator<Item = &'a String>,
    present: impl Iterator<Item = &'a String>,
    held: &Held,
) -> Vec<Action> {
    let (wanted, present): (BTreeSet<_>, BTreeSet<_>) = (wanted.collect(), present.collect());
    let left = held.entries.iter().filter(|(name, _)| !wanted.contains(name));
    left.map(|(name, created)| {
        let name = name.clone();
        match what {
            _ if !created || !present.contains(&name) => Action::Release { what, name },
            Entry::CacheRule => Action::DeleteCacheRule { prefix: name },
            Entry::Template => Action::DeleteTemplate { prefix: name },
            Entry::Exclusion => Action::Deregister { arn: name },
        }
    })
    .collect()
}

/// Nothing that this object did not make is changed before the spec shows that it knows it.
fn not_ours(what: Entry, prefix: &str, how: &str) -> Failure {
    Failure::stalled(
        Reason::AdoptionRefused,
        format!(
            "{what} {prefix} is there already, {how}: make the spec say the same to take it over, delete it in ECR to have it made anew, or use another prefix"
        ),
    )
}

fn fixed(prefix: &str, from: &CacheRule, fields: &[&str]) -> Failure {
    Failure::stalled(
        Reason::ImmutableField,
        format!(
            "pull-through-cache rule {prefix} is for {from}, and ECR can't change its {}: make the spec say so, use another ecrRepositoryPrefix, or remove the rule from the spec and add it again when it is deleted (the cached repositories stay)",
            fields.join(", ")
        ),
    )
}

/// What an object holds of a part after these actions.
pub(super) fn held_after(held: &Held, done: &[Action]) -> Held {
    let mut held = held.clone();
    for action in done {
        match action {
            Action::PutPolicy { from: None, .. } | Action::PutSigning { from: None, .. } => held.created = true,
            Action::DeletePolicy | Action::DeleteSigning => held.created = false,
            Action::CreateCacheRule { prefix: name, .. }
            | Action::CreateTemplate { prefix: name, .. }
            | Action::Register { arn: name } => {
                held.entries.insert(name.clone(), true);
            }
            Action::Adopt { name, .. } => {
                held.entries.insert(name.clone(), false);
            }
            Action::DeleteCacheRule { prefix: name }
            | Action::DeleteTemplate { prefix: name }
            | Action::Deregister { arn: name }
            | Action::Release { name, .. } => {
                held.entries.remove(name);
            }
            Action::PutScanning { .. }
            | Action::PutAccountSetting { .. }
            | Action::PutReplication { .. }
            | Action::PutPolicy { .. }
            | Action::PutSigning { .. }
            | Action::UpdateCacheRule { .. }
            | Action::UpdateTemplate { .. } => {}
        }
    }
    held
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
