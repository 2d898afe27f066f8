//! What changes between two policies, in words.

use super::rule::{Body, Rule};

/// One line for each rule that differs, in the order of the new rules, and then those that are gone. Rules are named by
/// their place, beginning with 1: that of the new policy, or of the old one for what is gone from it.
pub(super) fn diff(old: &[Rule], new: &[Rule]) -> Vec<String> {
    let stay = common(old, new);
    let mut left: Vec<usize> = (0..old.len()).filter(|index| !stay.iter().any(|(kept, _)| kept == index)).collect();
    let mut take = |is_it: &dyn Fn(&Rule) -> bool| {
        let position = left.iter().position(|index| is_it(&old[*index]))?;
        Some(left.remove(position))
    };
    let fresh: Vec<usize> = (0..new.len()).filter(|index| !stay.iter().any(|(_, kept)| kept == index)).collect();
    // Who only moved is settled first, so that nobody else is taken for its former self.
    let moved: Vec<Option<usize>> = fresh.iter().map(|index| take(&|rule| rule == &new[*index])).collect();
    let mut lines: Vec<String> = fresh
        .iter()
        .zip(moved)
        .map(|(index, moved)| {
            let (number, rule) = (index + 1, &new[*index]);
            if let Some(before) = moved {
                return format!("rule {number} was rule {}: {rule}", before + 1);
            }
            match take(&|candidate| is_about_the_same(candidate, rule)) {
                Some(before) => format!("rule {number}: {}", changes(&old[before], rule).join(", ")),
                None => format!("rule {number} added: {rule}"),
            }
        })
        .collect();
    lines.extend(left.iter().map(|index| format!("rule {} removed: {}", index + 1, old[*index])));
    lines
}

/// The longest list of rules that both have in the same order: pairs of their indices.
fn common(old: &[Rule], new: &[Rule]) -> Vec<(usize, usize)> {
    let mut lengths = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for (i, rule) in old.iter().enumerate().rev() {
        for (j, other) in new.iter().enumerate().rev() {
            lengths[i][j] = match rule == other {
                true => lengths[i + 1][j + 1] + 1,
                false => lengths[i + 1][j].max(lengths[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < old.len() && j < new.len() {
        if old[i] == new[j] {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if lengths[i + 1][j] >= lengths[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

/// Whether one can be told as a change of the other.
fn is_about_the_same(one: &Rule, other: &Rule) -> bool {
    match (&one.body, &other.body) {
        (Body::Known { selection, effect }, Body::Known { selection: other, effect: another }) => {
            effect.storage_class() == another.storage_class() && (selection == other || effect == another)
        }
        _ => false,
    }
}

fn changes(old: &Rule, new: &Rule) -> Vec<String> {
    let mut words = Vec::new();
    if let (Body::Known { selection, effect }, Body::Known { selection: to, effect: becomes }) = (&old.body, &new.body)
    {
        if selection != to {
            words.push(format!("{selection} -> {to}"));
        }
        if effect != becomes {
            let again = if effect.field() == becomes.field() { "" } else { becomes.field() };
            let space = if again.is_empty() { "" } else { " " };
            words.push(format!("{} {} -> {again}{space}{}", effect.field(), effect.number(), becomes.number()));
        }
    }
    if old.description != new.description {
        let shown = |description: &Option<String>| match description {
            Some(text) => format!("{text:?}"),
            None => "none".to_owned(),
        };
        words.push(format!("description {} -> {}", shown(&old.description), shown(&new.description)));
    }
    words
}
