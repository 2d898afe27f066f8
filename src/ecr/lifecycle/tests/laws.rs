//! What holds for every policy.

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;

use super::{lifecycle, raw, typed};
use crate::api::{Any, LifecycleRule, Tagged, Untagged};
use crate::ecr::lifecycle::Policy;

/// What a rule selects, before it is known which rules there are beside it.
#[derive(Clone, Debug)]
enum Images {
    Untagged,
    Patterns(Vec<String>),
    Prefixes(Vec<String>),
    Any,
}

fn images() -> impl Strategy<Value = Images> {
    let tags = |form: &'static str| btree_set(form, 1..5).prop_map(|tags| tags.into_iter().collect::<Vec<_>>());
    prop_oneof![
        Just(Images::Untagged),
        Just(Images::Any),
        tags("[a-z0-9_.-]{0,3}[*]{0,2}[a-z]{1,3}[*]?").prop_map(Images::Patterns),
        tags("[a-zA-Z0-9_.-]{1,5}").prop_map(Images::Prefixes),
    ]
}

fn rule() -> impl Strategy<Value = LifecycleRule> {
    (images(), 0..6_usize, 1..40_i32, option::of("[ -~é]{1,20}")).prop_map(|(images, effect, number, description)| {
        let mut rule = LifecycleRule { description, ..LifecycleRule::default() };
        match images {
            Images::Untagged => rule.untagged = Some(Untagged {}),
            Images::Any => rule.any = Some(Any {}),
            Images::Patterns(tags) => rule.tagged = Some(Tagged { patterns: Some(tags), prefixes: None }),
            Images::Prefixes(tags) => rule.tagged = Some(Tagged { patterns: None, prefixes: Some(tags) }),
        }
        let fields = [
            &mut rule.expire_after_days,
            &mut rule.keep_last,
            &mut rule.archive_after_days,
            &mut rule.archive_all_but_last,
            &mut rule.archive_unpulled_after_days,
        ];
        match fields.into_iter().nth(effect) {
            Some(field) => *field = Some(number),
            None => rule.expire_archived_after_days = Some(89 + number),
        }
        rule
    })
}

/// Rules that ECR takes together: one for each set of images of a class, and those for any image last.
fn rules() -> impl Strategy<Value = Vec<LifecycleRule>> {
    vec(rule(), 1..9).prop_map(|rules| {
        let mut kept: Vec<LifecycleRule> = Vec::new();
        for rule in rules {
            let key = |rule: &LifecycleRule| {
                (
                    rule.expire_archived_after_days.is_some(),
                    rule.untagged.clone(),
                    rule.tagged.clone(),
                    rule.any.clone(),
                )
            };
            if !kept.iter().any(|other| key(other) == key(&rule)) {
                kept.push(rule);
            }
        }
        kept.sort_by_key(|rule| rule.any.is_some());
        kept
    })
}

/// The same JSON with keys and lists in another order, and pretty or not.
fn shuffled(value: &Value, seed: &mut u64) -> Value {
    let mut turn = |length: usize| {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if length == 0 { 0 } else { (*seed >> 33) as usize % length }
    };
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            let by = turn(entries.len());
            entries.rotate_left(by);
            if turn(2) == 0 {
                entries.reverse();
            }
            Value::Object(entries.into_iter().map(|(key, value)| (key.clone(), shuffled(value, seed))).collect())
        }
        Value::Array(list) => {
            let mut list: Vec<_> = list.iter().collect();
            let by = turn(list.len());
            list.rotate_left(by);
            if turn(2) == 0 {
                list.reverse();
            }
            Value::Array(list.into_iter().map(|value| shuffled(value, seed)).collect())
        }
        other => other.clone(),
    }
}

/// Paths of the numbers that have a meaning by themselves.
fn count_numbers(document: &Value) -> Vec<String> {
    let rules = document["rules"].as_array().map_or(0, Vec::len);
    (0..rules).map(|index| format!("/rules/{index}/selection/countNumber")).collect()
}

proptest! {
    #[test]
    fn valid_rules_are_a_policy_and_so_is_its_document(rules in rules()) {
        let policy = Policy::from_spec(&lifecycle(rules)).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(policy.text().len() >= 100);
        let from_document = raw(&policy.text());
        prop_assert_eq!(from_document.as_ref(), Ok(&policy));
        prop_assert_eq!(Policy::parse(&policy.text()), Ok(policy));
    }

    #[test]
    fn the_order_of_keys_and_lists_and_white_space_mean_nothing(rules in rules(), mut seed in any::<u64>(), pretty in any::<bool>()) {
        let policy = typed(rules);
        let document: Value = serde_json::from_str(&policy.text()).expect("JSON");
        let other = shuffled(&document, &mut seed);
        let text = if pretty { serde_json::to_string_pretty(&other).expect("JSON") } else { other.to_string() };
        let read = Policy::parse(&text).expect("a policy");
        prop_assert_eq!(&read, &policy);
        prop_assert_eq!(read.fingerprint(), policy.fingerprint());
        prop_assert_eq!(read.diff(&policy), Vec::<String>::new());
        prop_assert_eq!(raw(&text), Ok(policy));
    }

    #[test]
    fn any_other_number_is_another_policy(rules in rules(), which in any::<prop::sample::Index>(), by in 1..1000_u64) {
        let policy = typed(rules);
        let mut document: Value = serde_json::from_str(&policy.text()).expect("JSON");
        let paths = count_numbers(&document);
        let number = document.pointer_mut(&paths[which.index(paths.len())]).expect("a rule has a number");
        *number = Value::from(number.as_u64().expect("a whole number") + by);
        let other = Policy::parse(&document.to_string()).expect("a policy");
        prop_assert_ne!(&other, &policy);
        prop_assert_ne!(other.fingerprint(), policy.fingerprint());
        let lines = policy.diff(&other);
        prop_assert_eq!(lines.len(), 1, "{:?}", lines);
        prop_assert!(lines[0].contains(" -> "), "{:?}", lines);
    }

    #[test]
    fn priorities_that_keep_the_order_change_nothing(rules in rules(), first in 1..100_i64, step in 1..100_i64) {
        let policy = typed(rules);
        let mut document: Value = serde_json::from_str(&policy.text()).expect("JSON");
        for (rule, number) in document["rules"].as_array_mut().expect("a list").iter_mut().zip(0..) {
            rule["rulePriority"] = Value::from(first + step * number);
        }
        let other = raw(&document.to_string()).expect("a policy");
        prop_assert_eq!(&other, &policy);
        prop_assert_eq!(Policy::parse(&other.text()), Ok(policy));
    }

    #[test]
    fn a_difference_is_told_exactly_when_there_is_one(one in rules(), other in rules()) {
        let (one, other) = (typed(one), typed(other));
        prop_assert_eq!(one.diff(&other).is_empty(), one == other);
        prop_assert_eq!(one.fingerprint() == other.fingerprint(), one == other);
    }

    #[test]
    fn every_rule_of_either_policy_is_accounted_for(one in rules(), other in rules()) {
        let (one, other) = (typed(one), typed(other));
        let lines = one.diff(&other);
        let added = lines.iter().filter(|line| line.contains(" added: ")).count();
        let removed = lines.iter().filter(|line| line.contains(" removed: ")).count();
        prop_assert_eq!(one.rules() + added, other.rules() + removed);
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = Policy::parse(&text);
        let _ = raw(&text);
    }

    #[test]
    fn no_document_that_ecr_may_have_is_lost(priority in any::<i32>(), key in "[a-z]{1,4}", value in "[a-z]{1,4}") {
        let text = format!(r#"{{"rules":[{{"rulePriority":{priority},"selection":{{"{key}":"{value}"}},"action":{{}}}}]}}"#);
        let policy = Policy::parse(&text).expect("JSON with rules");
        prop_assert_eq!(serde_json::from_str::<Value>(&policy.text()).expect("JSON"), serde_json::from_str::<Value>(&text).expect("JSON"));
        prop_assert_eq!(Policy::parse(&policy.text()), Ok(policy));
    }
}
