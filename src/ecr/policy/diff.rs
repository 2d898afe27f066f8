//! What changes between two policies, in lines that a person reads.

use std::collections::BTreeSet;

use super::normal::{Members, Normal, Statement, action, principal};

/// The lines: statements that change, those that go, those that come.
pub(super) fn diff(present: &Normal, wanted: &Normal) -> Vec<String> {
    let mut gone: Vec<&Statement> = present.statements.difference(&wanted.statements).collect();
    let mut new: Vec<&Statement> = wanted.statements.difference(&present.statements).collect();
    let mut lines = Vec::new();
    // The same principals make two statements one sooner than the same actions do.
    for relation in [other_actions, other_scope, other_principals] {
        pair(&mut gone, &mut new, &mut lines, relation);
    }
    lines.extend(gone.into_iter().map(|statement| format!("- {statement}")));
    lines.extend(new.into_iter().map(|statement| format!("+ {statement}")));
    if present.variables != wanted.variables {
        let verb = if wanted.variables { "are replaced by their values" } else { "are taken literally" };
        lines.push(format!("~ Version: policy variables such as ${{aws:username}} {verb}"));
    }
    lines
}

/// Takes out of both lists what is one statement before and after a change that `relation` can tell.
fn pair(
    gone: &mut Vec<&Statement>,
    new: &mut Vec<&Statement>,
    lines: &mut Vec<String>,
    relation: fn(&Statement, &Statement) -> Option<String>,
) {
    gone.retain(|before| {
        let found = new.iter().enumerate().find_map(|(index, after)| Some((index, relation(before, after)?)));
        match found {
            Some((index, line)) => {
                new.remove(index);
                lines.push(line);
                false
            }
            None => true,
        }
    });
}

fn other_principals(before: &Statement, after: &Statement) -> Option<String> {
    let same = before.effect == after.effect
        && before.actions == after.actions
        && before.resources == after.resources
        && before.conditions == after.conditions
        && before.principals.not == after.principals.not;
    let changes = same.then(|| changes(&before.principals, &after.principals, principal))?;
    Some(format!("~ {} {}{}: {changes}", before.effect.to_ascii_lowercase(), before.what(), before.scope()))
}

fn other_actions(before: &Statement, after: &Statement) -> Option<String> {
    let same = before.effect == after.effect
        && before.principals == after.principals
        && before.resources == after.resources
        && before.conditions == after.conditions
        && before.actions.not == after.actions.not;
    same.then(|| match after.what() {
        typed if typed == "Pull" || typed == "Push" => format!("~ {before}: now {typed}"),
        _ => format!("~ {before}: {}", changes(&before.actions, &after.actions, action)),
    })
}

fn other_scope(before: &Statement, after: &Statement) -> Option<String> {
    let same =
        before.effect == after.effect && before.principals == after.principals && before.actions == after.actions;
    let now = match after.scope() {
        nothing if nothing.is_empty() => " without any condition".to_owned(),
        scope => scope,
    };
    same.then(|| format!("~ {before}: now{now}"))
}

fn changes(before: &Members, after: &Members, word: impl Fn(&str) -> String) -> String {
    let list = |sign: &str, set: BTreeSet<&String>| {
        set.into_iter().map(|name| format!("{sign} {}", word(name))).collect::<Vec<_>>()
    };
    let removed = list("-", before.all.difference(&after.all).collect());
    let added = list("+", after.all.difference(&before.all).collect());
    [removed, added].concat().join(", ")
}
