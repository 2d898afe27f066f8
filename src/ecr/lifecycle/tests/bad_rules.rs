//! Typed rules that are refused. Most never get so far: the API server refuses them.

use super::{a_week_of_untagged, any, lifecycle, patterns, prefixes, raw, tagged, ten_releases};
use crate::api::{Any, Lifecycle, LifecycleRule, Tagged, Untagged};
use crate::ecr::lifecycle::{Policy, PolicyError};

fn untagged() -> LifecycleRule {
    LifecycleRule { untagged: Some(Untagged {}), ..LifecycleRule::default() }
}

fn keep(last: i32, rule: LifecycleRule) -> LifecycleRule {
    LifecycleRule { keep_last: Some(last), ..rule }
}

fn archived(days: i32, rule: LifecycleRule) -> LifecycleRule {
    LifecycleRule { expire_archived_after_days: Some(days), ..rule }
}

#[test]
fn bad_rules_are_refused_in_words_that_name_the_rule_and_the_field() {
    let both = Tagged { patterns: Some(vec!["v*".into()]), prefixes: Some(vec!["v".into()]) };
    let cases: Vec<(Vec<LifecycleRule>, &[&str])> = vec![
        (vec![], &["there is no rule"]),
        (vec![a_week_of_untagged(); 51], &["there are 51 rules"]),
        (
            vec![LifecycleRule { keep_last: Some(3), ..LifecycleRule::default() }],
            &["rule 1", "exactly one of untagged, tagged and any"],
        ),
        (vec![LifecycleRule { any: Some(Any {}), ..a_week_of_untagged() }], &["rule 1", "exactly one of untagged"]),
        (vec![untagged()], &["rule 1", "exactly one of expireAfterDays, keepLast, archiveAfterDays"]),
        (vec![keep(3, a_week_of_untagged())], &["rule 1", "exactly one of expireAfterDays"]),
        (vec![LifecycleRule { archive_after_days: Some(3), ..ten_releases() }], &["rule 1", "exactly one of"]),
        (vec![keep(3, tagged(Tagged::default()))], &["rule 1", "either patterns or prefixes"]),
        (vec![keep(3, tagged(both))], &["rule 1", "either patterns or prefixes"]),
        (vec![keep(3, tagged(patterns(&[])))], &["tagged.patterns is empty"]),
        (vec![keep(3, tagged(patterns(&["v*", "v*"])))], &["tagged.patterns has \"v*\" twice"]),
        (vec![keep(3, tagged(patterns(&["****v*"])))], &["tagged.patterns", "5 wildcards"]),
        (vec![keep(3, tagged(patterns(&["v+*"])))], &["tagged.patterns has \"v+*\"", "selects nothing"]),
        (vec![keep(3, tagged(prefixes(&["v*"])))], &["tagged.prefixes has \"v*\"", "use patterns (tagged.patterns)"]),
        (vec![keep(3, tagged(prefixes(&[""])))], &["tagged.prefixes has an empty entry"]),
        (vec![LifecycleRule { expire_after_days: Some(0), ..any() }], &["rule 1: expireAfterDays is 0", "from 1"]),
        (vec![keep(-1, any())], &["keepLast is -1"]),
        (vec![LifecycleRule { archive_after_days: Some(0), ..any() }], &["archiveAfterDays is 0"]),
        (vec![LifecycleRule { archive_all_but_last: Some(0), ..any() }], &["archiveAllButLast is 0"]),
        (vec![LifecycleRule { archive_unpulled_after_days: Some(0), ..any() }], &["archiveUnpulledAfterDays is 0"]),
        (vec![archived(30, any())], &["rule 1: expireArchivedAfterDays is 30", "90 or more"]),
        (
            vec![LifecycleRule { description: Some("é".repeat(257)), ..a_week_of_untagged() }],
            &["description has 257 characters"],
        ),
        (vec![keep(3, any()), a_week_of_untagged()], &["rule 1", "must be the last", "rule 2 comes after"]),
        (vec![a_week_of_untagged(), keep(2, untagged())], &["rule 2", "rule 1 is for untagged images already"]),
        (vec![ten_releases(), a_week_of_untagged(), ten_releases()], &["rule 3", "as rule 1 is"]),
        (vec![archived(90, any()), archived(90, untagged())], &["rule 1", "rules for archived images"]),
    ];
    for (rules, words) in cases {
        let text = Policy::from_spec(&lifecycle(rules.clone())).expect_err(&format!("{rules:?}")).to_string();
        assert!(text.starts_with("lifecycle.rules"), "{text}");
        for word in words {
            assert!(text.contains(word), "{rules:?}\nis refused without the words {word:?}: {text}");
        }
    }
}

#[test]
fn each_storage_class_may_have_a_rule_for_any_and_one_for_untagged_images() {
    let rules = vec![
        a_week_of_untagged(),
        archived(90, untagged()),
        keep(3, any()),
        ten_releases_archived(),
        archived(365, any()),
    ];
    let policy = Policy::from_spec(&lifecycle(rules)).expect("a policy");
    assert_eq!(raw(&policy.text()), Ok(policy), "and ECR's own document of it is fine too");
}

fn ten_releases_archived() -> LifecycleRule {
    LifecycleRule { keep_last: None, expire_archived_after_days: Some(180), ..ten_releases() }
}

#[test]
fn neither_and_both_kinds_of_policy_are_refused() {
    let both = Lifecycle { policy: Some("{}".into()), ..lifecycle(vec![a_week_of_untagged()]) };
    for spec in [Lifecycle::default(), both] {
        assert_eq!(Policy::from_spec(&spec), Err(PolicyError::Choice));
    }
    assert!(PolicyError::Choice.to_string().contains("either rules or policy"));
}
