//! The rules that ECR has for rules, for typed ones and for documents alike, and a few that keep a policy from doing
//! something else than it seems to.
//!
//! Source: "Lifecycle policy properties in Amazon ECR", "Lifecycle policy evaluation rules" in the Amazon ECR User Guide,
//! and PutLifecyclePolicy in its API reference. That `any` and `untagged` are counted by storage class is in the words with
//! which ECR refuses a policy.

use std::collections::BTreeSet;

use super::problem::{Place, Problem};
use super::rule::{Body, Effect, Rule, Selection, StorageClass};

/// A policy has at most so many rules.
pub(super) const MAX_RULES: usize = 50;
/// The text of a policy has at most so many characters. It must have 100 at least, and the shortest one has more.
pub(super) const MAX_TEXT: usize = 30_720;
const MAX_DESCRIPTION: usize = 256;
const MAX_TAG: usize = 128;
const MAX_WILDCARDS: usize = 4;
const MIN_ARCHIVED_DAYS: u32 = 90;

/// In which words fields are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Words {
    /// Those of `lifecycle.rules`.
    Typed,
    /// Those of ECR's JSON.
    Document,
}

/// What is wrong with a policy of these rules.
pub(super) fn validate(rules: &[(Place, Rule)], words: Words) -> Vec<Problem> {
    let mut problems: Vec<Problem> = rules
        .iter()
        .flat_map(|(place, rule)| alone(rule, words).into_iter().map(|words| Problem::of(*place, words)))
        .collect();
    problems.extend(unique_priorities(rules));
    for class in [StorageClass::Standard, StorageClass::Archive] {
        let mut seen: Vec<_> = rules.iter().filter_map(|(place, rule)| of_class(class, *place, rule)).collect();
        seen.sort_by_key(|(_, priority, _)| *priority);
        let seen: Vec<_> = seen.into_iter().map(|(place, _, selection)| (place, selection)).collect();
        problems.extend(any_last(class, &seen));
        problems.extend(one_untagged(class, &seen));
        problems.extend(each_set_of_tags_once(&seen));
    }
    problems
}

/// A priority that ECR takes.
pub(super) fn priority(number: i64) -> Result<i64, String> {
    match number {
        1..=MAX_NUMBER => Ok(number),
        _ => Err(format!("rulePriority is {number}: it must be from 1 to {MAX_NUMBER}")),
    }
}

/// A number of days or images that ECR takes.
pub(super) fn count(field: &str, number: i64) -> Result<u32, String> {
    match number {
        // The range makes the conversion exact.
        1..=MAX_NUMBER => Ok(number as u32),
        _ => Err(format!("{field} is {number}: it must be from 1 to {MAX_NUMBER}")),
    }
}

const MAX_NUMBER: i64 = i32::MAX as i64;

/// What is wrong with a list of tags as such.
pub(super) fn list(field: &str, tags: &[String]) -> Option<String> {
    if tags.is_empty() {
        return Some(format!("{field} is empty: name at least one"));
    }
    let mut seen = BTreeSet::new();
    let twice = tags.iter().find(|tag| !seen.insert(tag.as_str()))?;
    Some(format!("{field} has {twice:?} twice: remove one"))
}

fn of_class(class: StorageClass, place: Place, rule: &Rule) -> Option<(Place, i64, &Selection)> {
    match &rule.body {
        Body::Known { selection, effect } if effect.storage_class() == class => Some((place, rule.priority, selection)),
        _ => None,
    }
}

/// What is wrong with a rule by itself.
fn alone(rule: &Rule, words: Words) -> Vec<String> {
    let mut problems = Vec::new();
    let length = rule.description.as_deref().map_or(0, |text| text.chars().count());
    if length > MAX_DESCRIPTION {
        problems.push(format!("description has {length} characters: it can have {MAX_DESCRIPTION}"));
    }
    let Body::Known { selection, effect } = &rule.body else { return problems };
    if let Effect::ExpireArchivedAfterDays(days @ ..MIN_ARCHIVED_DAYS) = effect {
        let field = match words {
            Words::Typed => effect.field(),
            Words::Document => "selection.countNumber",
        };
        problems.push(format!(
            "{field} is {days}: archived images stay {MIN_ARCHIVED_DAYS} days at least, so it must be {MIN_ARCHIVED_DAYS} or more"
        ));
    }
    let (patterns, prefixes) = match words {
        Words::Typed => ("tagged.patterns", "tagged.prefixes"),
        Words::Document => ("selection.tagPatternList", "selection.tagPrefixList"),
    };
    match selection {
        Selection::Patterns(tags) => problems.extend(tags.iter().filter_map(|tag| pattern(patterns, tag))),
        Selection::Prefixes(tags) => problems.extend(tags.iter().filter_map(|tag| prefix(prefixes, tag))),
        Selection::Untagged | Selection::Any => {}
    }
    problems
}

fn pattern(field: &str, pattern: &str) -> Option<String> {
    let wildcards = pattern.chars().filter(|character| *character == '*').count();
    if wildcards > MAX_WILDCARDS {
        return Some(format!(
            "{field} has {pattern:?} with {wildcards} wildcards (*): a pattern can have {MAX_WILDCARDS}"
        ));
    }
    let literal: String = pattern.chars().filter(|character| *character != '*').collect();
    match tag(field, pattern, &literal) {
        Some(problem) => Some(problem),
        None if pattern.is_empty() => Some(format!("{field} has an empty entry: remove it")),
        None => None,
    }
}

fn prefix(field: &str, prefix: &str) -> Option<String> {
    if prefix.is_empty() {
        return Some(format!("{field} has an empty entry: remove it"));
    }
    if prefix.contains('*') {
        return Some(format!(
            "{field} has {prefix:?}: * is no wildcard in a prefix, use patterns ({}) for that",
            field.replace("Prefix", "Pattern").replace("prefixes", "patterns")
        ));
    }
    tag(field, prefix, prefix)
}

/// A text that is part of no tag selects nothing: that can't be meant.
fn tag(field: &str, entry: &str, literal: &str) -> Option<String> {
    let length = literal.chars().count();
    if length > MAX_TAG {
        return Some(format!("{field} has an entry of {length} characters: a tag has {MAX_TAG} at most"));
    }
    let is_of_tag = |character: char| character.is_ascii_alphanumeric() || "_.-".contains(character);
    let other = literal.chars().find(|character| !is_of_tag(*character))?;
    Some(format!(
        "{field} has {entry:?}, which selects nothing: no tag has {other:?}, they have letters, digits, '_', '.' and '-'"
    ))
}

fn unique_priorities(rules: &[(Place, Rule)]) -> Vec<Problem> {
    let mut sorted: Vec<_> = rules.iter().collect();
    sorted.sort_by_key(|(place, rule)| (rule.priority, place.number));
    sorted
        .windows(2)
        .filter_map(|pair| match pair {
            [(first, one), (second, other)] if one.priority == other.priority => Some(Problem::of(
                *second,
                format!("rulePriority {} is rule {}'s already: give each rule its own", other.priority, first.number),
            )),
            _ => None,
        })
        .collect()
}

/// In the order of their priorities, the rule for any image comes last.
fn any_last(class: StorageClass, rules: &[(Place, &Selection)]) -> Vec<Problem> {
    let Some(((last, _), before)) = rules.split_last() else { return Vec::new() };
    let among = match class {
        StorageClass::Standard => "the rules",
        StorageClass::Archive => "the rules for archived images",
    };
    before
        .iter()
        .filter(|(_, selection)| **selection == Selection::Any)
        .map(|(place, _)| {
            Problem::of(
                *place,
                format!("the rule for any image must be the last of {among}, and {last} comes after it: make it the last one"),
            )
        })
        .collect()
}

fn one_untagged(class: StorageClass, rules: &[(Place, &Selection)]) -> Vec<Problem> {
    let mut untagged = rules.iter().filter(|(_, selection)| **selection == Selection::Untagged);
    let Some((first, _)) = untagged.next() else { return Vec::new() };
    let kind = match class {
        StorageClass::Standard => "untagged images",
        StorageClass::Archive => "archived untagged images",
    };
    untagged
        .map(|(place, _)| {
            Problem::of(*place, format!("{first} is for {kind} already, and ECR takes only one such rule: remove one"))
        })
        .collect()
}

/// An image that a rule's tags select is never touched by a later rule: a second rule for the same tags does nothing.
fn each_set_of_tags_once(rules: &[(Place, &Selection)]) -> Vec<Problem> {
    rules
        .iter()
        .enumerate()
        .filter(|(_, (_, selection))| matches!(selection, Selection::Patterns(_) | Selection::Prefixes(_)))
        .filter_map(|(index, (place, selection))| {
            let (first, _) = rules[..index].iter().find(|(_, earlier)| earlier == selection)?;
            Some(Problem::of(
                *place,
                format!(
                    "it is for images {selection}, as {first} is, and ECR lets only the first act on them: remove one"
                ),
            ))
        })
        .collect()
}
