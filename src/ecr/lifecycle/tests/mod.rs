//! What a policy is, printed, compared and told.

mod bad_documents;
mod bad_rules;
mod differences;
mod laws;

use serde_json::{Value, json};

use super::*;
use crate::api::{Any, LifecycleRule, Tagged, Untagged};

pub(super) fn ten_releases() -> LifecycleRule {
    LifecycleRule {
        description: Some("ten releases".into()),
        tagged: Some(patterns(&["v*", "*-rc*"])),
        keep_last: Some(10),
        ..LifecycleRule::default()
    }
}

pub(super) fn a_week_of_untagged() -> LifecycleRule {
    LifecycleRule { untagged: Some(Untagged {}), expire_after_days: Some(7), ..LifecycleRule::default() }
}

pub(super) fn any() -> LifecycleRule {
    LifecycleRule { any: Some(Any {}), ..LifecycleRule::default() }
}

pub(super) fn tagged(patterns: Tagged) -> LifecycleRule {
    LifecycleRule { tagged: Some(patterns), ..LifecycleRule::default() }
}

pub(super) fn patterns(patterns: &[&str]) -> Tagged {
    Tagged { patterns: Some(patterns.iter().map(|text| (*text).to_owned()).collect()), prefixes: None }
}

pub(super) fn prefixes(prefixes: &[&str]) -> Tagged {
    Tagged { patterns: None, prefixes: Some(prefixes.iter().map(|text| (*text).to_owned()).collect()) }
}

pub(super) fn lifecycle(rules: Vec<LifecycleRule>) -> Lifecycle {
    Lifecycle { rules: Some(rules), ..Lifecycle::default() }
}

pub(super) fn typed(rules: Vec<LifecycleRule>) -> Policy {
    Policy::from_spec(&lifecycle(rules)).expect("typed rules are a policy")
}

pub(super) fn raw(document: &str) -> Result<Policy, PolicyError> {
    Policy::from_spec(&Lifecycle { policy: Some(document.to_owned()), ..Lifecycle::default() })
}

/// One rule of each kind, and a description.
fn all_there_is() -> Vec<LifecycleRule> {
    vec![
        a_week_of_untagged(),
        ten_releases(),
        LifecycleRule { archive_after_days: Some(30), ..tagged(prefixes(&["build-"])) },
        LifecycleRule { archive_all_but_last: Some(5), ..tagged(patterns(&["nightly-*"])) },
        LifecycleRule { archive_unpulled_after_days: Some(60), ..any() },
        LifecycleRule { untagged: Some(Untagged {}), expire_archived_after_days: Some(90), ..LifecycleRule::default() },
        LifecycleRule { expire_archived_after_days: Some(365), ..any() },
    ]
}

#[test]
fn typed_rules_become_ecrs_document_in_their_order() {
    let policy: Value = serde_json::from_str(&typed(all_there_is()).text()).expect("JSON");
    assert_eq!(
        policy,
        json!({"rules": [
            {"rulePriority": 1, "action": {"type": "expire"},
             "selection": {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 7}},
            {"rulePriority": 2, "description": "ten releases", "action": {"type": "expire"},
             "selection": {"tagStatus": "tagged", "tagPatternList": ["*-rc*", "v*"], "countType": "imageCountMoreThan", "countNumber": 10}},
            {"rulePriority": 3, "action": {"type": "transition", "targetStorageClass": "archive"},
             "selection": {"tagStatus": "tagged", "tagPrefixList": ["build-"], "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 30}},
            {"rulePriority": 4, "action": {"type": "transition", "targetStorageClass": "archive"},
             "selection": {"tagStatus": "tagged", "tagPatternList": ["nightly-*"], "countType": "imageCountMoreThan", "countNumber": 5}},
            {"rulePriority": 5, "action": {"type": "transition", "targetStorageClass": "archive"},
             "selection": {"tagStatus": "any", "countType": "sinceImagePulled", "countUnit": "days", "countNumber": 60}},
            {"rulePriority": 6, "action": {"type": "expire"},
             "selection": {"tagStatus": "untagged", "storageClass": "archive", "countType": "sinceImageTransitioned", "countUnit": "days", "countNumber": 90}},
            {"rulePriority": 7, "action": {"type": "expire"},
             "selection": {"tagStatus": "any", "storageClass": "archive", "countType": "sinceImageTransitioned", "countUnit": "days", "countNumber": 365}},
        ]})
    );
}

#[test]
fn rules_are_told_in_words() {
    assert_eq!(
        typed(all_there_is()).lines(),
        [
            "rule 1: untagged images: expire 7 days after their push",
            "rule 2: images tagged *-rc* and v*: expire all but the last 10 (\"ten releases\")",
            "rule 3: images tagged with prefix build-: archive 30 days after their push",
            "rule 4: images tagged nightly-*: archive all but the last 5",
            "rule 5: any image: archive 60 days after their last pull",
            "rule 6: archived untagged images: expire 90 days after they were archived",
            "rule 7: any archived image: expire 365 days after they were archived",
        ]
    );
}

#[test]
fn order_of_rules_keys_and_patterns_and_white_space_mean_nothing() {
    let ours = typed(vec![a_week_of_untagged(), ten_releases()]);
    let ecrs = r#"{ "rules" : [
        {"action":{"type":"expire"},"description":"ten releases","rulePriority":2,
         "selection":{"countNumber":10,"countType":"imageCountMoreThan","tagPatternList":["v*","*-rc*"],"tagStatus":"tagged"}},
        {"action":{"type":"expire"},"rulePriority":1,
         "selection":{"countNumber":7,"countType":"sinceImagePushed","countUnit":"days","tagStatus":"untagged"}} ] }"#;
    assert_eq!(Policy::parse(ecrs), Ok(ours));
}

#[test]
fn what_ecr_assumes_may_be_said_or_not() {
    let terse = typed(vec![a_week_of_untagged()]);
    let selection =
        json!({"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 7});
    let mut spelled_out = json!({"rules": [{
        "rulePriority": 1, "description": "", "selection": selection, "action": {"type": "expire"},
    }]});
    spelled_out["rules"][0]["selection"]["storageClass"] = json!("standard");
    assert_eq!(raw(&spelled_out.to_string()), Ok(terse.clone()));
    spelled_out["rules"][0]["selection"]["countNumber"] = json!(7.0);
    spelled_out["rules"][0]["action"]["targetStorageClass"] = Value::Null;
    assert_eq!(Policy::parse(&spelled_out.to_string()), Ok(terse), "what ECR gives back");
}

#[test]
fn another_number_order_or_description_is_another_policy() {
    let week = typed(vec![a_week_of_untagged(), ten_releases()]);
    assert_ne!(week, typed(vec![ten_releases(), a_week_of_untagged()]));
    let longer = LifecycleRule { expire_after_days: Some(8), ..a_week_of_untagged() };
    assert_ne!(week, typed(vec![longer, ten_releases()]));
    let renamed = LifecycleRule { description: Some("releases".into()), ..ten_releases() };
    assert_ne!(week, typed(vec![a_week_of_untagged(), renamed]));
}

#[test]
fn only_the_order_that_priorities_give_has_a_meaning() {
    let policy = |first: i64, second: i64| {
        let rule = |priority: i64, status: &str| {
            json!({"rulePriority": priority, "action": {"type": "expire"},
                   "selection": {"tagStatus": status, "countType": "imageCountMoreThan", "countNumber": 3}})
        };
        raw(&json!({"rules": [rule(first, "untagged"), rule(second, "any")]}).to_string()).expect("a policy")
    };
    assert_eq!(policy(1, 2), policy(10, 20));
    assert_eq!(policy(1, 2).fingerprint(), policy(10, 20).fingerprint());
    assert!(policy(10, 20).text().contains("\"rulePriority\":20"), "ECR gets the numbers that the document has");
}

#[test]
fn a_rule_that_has_no_words_here_is_kept_as_it_is() {
    let text = r#"{"rules":[
        {"rulePriority":7,"description":"new","selection":{"tagStatus":"signed","countType":"sinceImageScanned","countNumber":3},"action":{"type":"hide"}},
        {"rulePriority":9,"selection":{"tagStatus":"untagged","countType":"imageCountMoreThan","countNumber":3},"action":{"type":"expire"}}]}"#;
    let policy = Policy::parse(text).expect("ECR accepted it");
    assert_eq!(policy.rules(), 2);
    assert_eq!(
        serde_json::from_str::<Value>(&policy.text()).expect("JSON"),
        serde_json::from_str::<Value>(text).expect("JSON"),
    );
    assert_eq!(Policy::parse(&policy.text()), Ok(policy.clone()));
    assert!(policy.lines()[0].contains("sinceImageScanned"), "{:?}", policy.lines());
    let reordered = text.replace(
        r#""tagStatus":"signed","countType":"sinceImageScanned""#,
        r#""countType":"sinceImageScanned","tagStatus":"signed""#,
    );
    assert_eq!(Policy::parse(&reordered), Ok(policy));
}

#[test]
fn the_shortest_policy_is_long_enough_for_ecr() {
    let shortest = [
        typed(vec![LifecycleRule { keep_last: Some(1), ..any() }]),
        typed(vec![LifecycleRule { expire_after_days: Some(1), ..any() }]),
    ];
    for policy in shortest {
        assert!(policy.text().len() >= 100, "{} characters: {}", policy.text().len(), policy.text());
    }
}

#[test]
fn a_document_that_is_no_policy_at_all_is_refused_whoever_wrote_it() {
    for read in [Policy::parse as fn(&str) -> _, raw] {
        assert!(matches!(read("{"), Err(PolicyError::NotJson(_))));
        assert_eq!(read("{\"rule\": []}"), Err(PolicyError::NoRules));
        assert_eq!(read("{\"rules\": {}}"), Err(PolicyError::NoRules));
        assert_eq!(read("[]"), Err(PolicyError::NoRules));
    }
}

#[test]
fn examples_of_the_user_guide_are_policies() {
    // Shapes of "Examples of lifecycle policies in Amazon ECR": several rules, one of them for any image; tags that go
    // together; archive and then expire.
    let documents = [
        json!({"rules": [
            {"rulePriority": 1, "description": "prod", "action": {"type": "expire"},
             "selection": {"tagStatus": "tagged", "tagPatternList": ["prod*"], "countType": "imageCountMoreThan", "countNumber": 1}},
            {"rulePriority": 2, "description": "beta", "action": {"type": "expire"},
             "selection": {"tagStatus": "tagged", "tagPatternList": ["beta*"], "countType": "imageCountMoreThan", "countNumber": 1}},
            {"rulePriority": 3, "action": {"type": "expire"},
             "selection": {"tagStatus": "any", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 30}}]}),
        json!({"rules": [
            {"rulePriority": 1, "action": {"type": "expire"},
             "selection": {"tagStatus": "tagged", "tagPrefixList": ["alpha"], "countType": "imageCountMoreThan", "countNumber": 1}},
            {"rulePriority": 2, "action": {"type": "expire"},
             "selection": {"tagStatus": "tagged", "tagPrefixList": ["alpha", "beta"], "countType": "imageCountMoreThan", "countNumber": 1}}]}),
        json!({"rules": [
            {"rulePriority": 1, "action": {"type": "transition", "targetStorageClass": "archive"},
             "selection": {"tagStatus": "any", "countType": "sinceImagePulled", "countUnit": "days", "countNumber": 90}},
            {"rulePriority": 2, "action": {"type": "expire"},
             "selection": {"tagStatus": "any", "storageClass": "archive", "countType": "sinceImageTransitioned", "countUnit": "days", "countNumber": 365}}]}),
    ];
    for document in documents {
        let policy = raw(&document.to_string()).unwrap_or_else(|error| panic!("{document}: {error}"));
        assert_eq!(Policy::parse(&document.to_string()), Ok(policy));
    }
}
