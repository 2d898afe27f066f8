//! From the typed rules of a spec.
//!
//! The API server refuses most of what is refused here. But there are other ways in: a file that is planned without a
//! cluster, or CRDs of another version.

use super::problem::{Place, Problem};
use super::rule::{Body, Effect, Rule, Selection};
use super::validate;
use crate::api::{LifecycleRule, Tagged};

/// Reads the rule at this place (beginning with 1), which is its priority too.
pub(super) fn read(rule: &LifecycleRule, number: usize) -> Result<(Place, Rule), Vec<Problem>> {
    let priority = i64::try_from(number).unwrap_or(i64::MAX);
    let place = Place { number, priority: Some(priority) };
    let (selection, effect) = (selection(rule), effect(rule));
    match (selection, effect) {
        (Ok(selection), Ok(effect)) => {
            let description = rule.description.clone().filter(|text| !text.is_empty());
            Ok((place, Rule { priority, description, body: Body::Known { selection, effect } }))
        }
        (selection, effect) => {
            let words = selection.err().into_iter().chain(effect.err());
            Err(words.map(|words| Problem::of(place, words)).collect())
        }
    }
}

fn selection(rule: &LifecycleRule) -> Result<Selection, String> {
    match (&rule.untagged, &rule.tagged, &rule.any) {
        (Some(_), None, None) => Ok(Selection::Untagged),
        (None, None, Some(_)) => Ok(Selection::Any),
        (None, Some(Tagged { patterns: Some(tags), prefixes: None }), None) => {
            listed("tagged.patterns", tags).map(|tags| Selection::Patterns(tags.iter().cloned().collect()))
        }
        (None, Some(Tagged { patterns: None, prefixes: Some(tags) }), None) => {
            listed("tagged.prefixes", tags).map(|tags| Selection::Prefixes(tags.iter().cloned().collect()))
        }
        (None, Some(_), None) => Err("tagged needs either patterns or prefixes, and not both".to_owned()),
        _ => Err("it needs exactly one of untagged, tagged and any".to_owned()),
    }
}

fn listed<'a>(field: &str, tags: &'a [String]) -> Result<&'a [String], String> {
    validate::list(field, tags).map_or(Ok(tags), Err)
}

fn effect(rule: &LifecycleRule) -> Result<Effect, String> {
    let LifecycleRule {
        description: _,
        untagged: _,
        tagged: _,
        any: _,
        expire_after_days,
        keep_last,
        archive_after_days,
        archive_all_but_last,
        archive_unpulled_after_days,
        expire_archived_after_days,
    } = rule;
    type Make = fn(u32) -> Effect;
    let fields: [(&Option<i32>, Make); 6] = [
        (expire_after_days, Effect::ExpireAfterDays),
        (keep_last, Effect::KeepLast),
        (archive_after_days, Effect::ArchiveAfterDays),
        (archive_all_but_last, Effect::ArchiveAllButLast),
        (archive_unpulled_after_days, Effect::ArchiveUnpulledAfterDays),
        (expire_archived_after_days, Effect::ExpireArchivedAfterDays),
    ];
    let mut given = fields.iter().filter_map(|(number, make)| number.map(|number| (number, make)));
    let (Some((number, make)), None) = (given.next(), given.next()) else {
        let names = fields.map(|(_, make)| make(0).field()).join(", ");
        return Err(format!("it needs exactly one of {names}"));
    };
    validate::count(make(0).field(), i64::from(number)).map(make)
}
