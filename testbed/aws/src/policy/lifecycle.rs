//! Lifecycle policies: what ECR refuses, and how it writes down what it takes.
//! <https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_parameters.html>

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// <https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutLifecyclePolicy.html>
const TEXT_LENGTH: std::ops::RangeInclusive<usize> = 100..=30_720;
/// <https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html>
const MAX_RULES: usize = 50;
const MAX_WILDCARDS: usize = 4;
const MIN_DAYS_ARCHIVED: u32 = 90;

/// A policy; its fields are in ECR's order.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    pub(crate) rules: Vec<Rule>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Rule {
    pub(crate) rule_priority: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    pub(crate) selection: Selection,
    pub(crate) action: Action,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Selection {
    pub(crate) tag_status: TagStatus,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tag_pattern_list: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tag_prefix_list: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_class: Option<StorageClass>,
    pub(crate) count_type: CountType,
    #[serde(skip_serializing_if = "Option::is_none")]
    count_unit: Option<CountUnit>,
    pub(crate) count_number: u32,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TagStatus {
    Tagged,
    Untagged,
    Any,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StorageClass {
    Standard,
    Archive,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum CountType {
    ImageCountMoreThan,
    SinceImagePushed,
    SinceImagePulled,
    SinceImageTransitioned,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum CountUnit {
    Days,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Action {
    #[serde(rename = "type")]
    pub(crate) kind: ActionKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_storage_class: Option<StorageClass>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ActionKind {
    Expire,
    Transition,
}

impl Policy {
    /// Reads a policy, or says in ECR's words why it is none.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let length = text.chars().count();
        if !TEXT_LENGTH.contains(&length) {
            let (bound, limit) = if length < *TEXT_LENGTH.start() {
                ("greater", TEXT_LENGTH.start())
            } else {
                ("less", TEXT_LENGTH.end())
            };
            return Err(format!("Member must have length {bound} than or equal to {limit}"));
        }
        let failure = |why: String| format!("Lifecycle policy validation failure: {why}");
        let value: Value = serde_json::from_str(text).map_err(|error| failure(error.to_string()))?;
        if has_null(&value) {
            return Err(failure("instance type (null) does not match any allowed primitive type".to_owned()));
        }
        let mut policy: Self = serde_json::from_value(value).map_err(|error| failure(error.to_string()))?;
        policy.check().map_err(failure)?;
        policy.rules.sort_by_key(|rule| rule.rule_priority);
        Ok(policy)
    }

    /// As ECR gives it back: rules by their priority, without spaces.
    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).expect("a policy is plain data")
    }

    fn check(&self) -> Result<(), String> {
        if self.rules.is_empty() || self.rules.len() > MAX_RULES {
            return Err(format!("there must be between 1 and {MAX_RULES} rules, there are {}", self.rules.len()));
        }
        for rule in &self.rules {
            rule.check().map_err(|why| format!("rule with priority {}: {why}", rule.rule_priority))?;
        }
        let priorities: BTreeSet<_> = self.rules.iter().map(|rule| rule.rule_priority).collect();
        if priorities.len() != self.rules.len() {
            return Err("rulePriority must be unique".to_owned());
        }
        for class in [StorageClass::Standard, StorageClass::Archive] {
            let of_class: Vec<_> = self.rules.iter().filter(|rule| rule.selection.class() == class).collect();
            check_together(&of_class)?;
        }
        Ok(())
    }
}

/// What must hold among the rules for images of one storage class.
fn check_together(rules: &[&Rule]) -> Result<(), String> {
    let of = |status| rules.iter().filter(move |rule| rule.selection.tag_status == status);
    if of(TagStatus::Untagged).count() > 1 {
        return Err("only one rule is allowed to select untagged images".to_owned());
    }
    if of(TagStatus::Any).count() > 1 {
        return Err("only one rule is allowed to select images with any tag status".to_owned());
    }
    let last = rules.iter().map(|rule| rule.rule_priority).max();
    if of(TagStatus::Any).any(|rule| Some(rule.rule_priority) != last) {
        return Err("a rule with tagStatus any must have the highest rulePriority".to_owned());
    }
    let mut lists = BTreeSet::new();
    for rule in of(TagStatus::Tagged) {
        let Selection { tag_prefix_list, tag_pattern_list, .. } = &rule.selection;
        let (mut prefixes, mut patterns) = (tag_prefix_list.clone(), tag_pattern_list.clone());
        prefixes.sort();
        patterns.sort();
        if !lists.insert((prefixes, patterns)) {
            return Err("the set of rules must contain a unique set of tags".to_owned());
        }
    }
    Ok(())
}

impl Rule {
    fn check(&self) -> Result<(), String> {
        let Self { rule_priority, selection, action, .. } = self;
        if *rule_priority == 0 {
            return Err("rulePriority must be at least 1".to_owned());
        }
        selection.check()?;
        let Action { kind, target_storage_class } = action;
        match (selection.count_type, kind) {
            (CountType::SinceImagePulled, ActionKind::Expire) => {
                return Err("countType sinceImagePulled only transitions images".to_owned());
            }
            (CountType::SinceImageTransitioned, ActionKind::Transition) => {
                return Err("countType sinceImageTransitioned only expires images".to_owned());
            }
            _ => {}
        }
        match (kind, target_storage_class) {
            (ActionKind::Expire, None) | (ActionKind::Transition, Some(StorageClass::Archive)) => Ok(()),
            (ActionKind::Expire, Some(_)) => Err("targetStorageClass goes with a transition only".to_owned()),
            (ActionKind::Transition, _) => Err("a transition needs targetStorageClass archive".to_owned()),
        }
    }
}

impl Selection {
    /// The storage class of the images that it selects.
    pub(crate) fn class(&self) -> StorageClass {
        self.storage_class.unwrap_or(StorageClass::Standard)
    }

    fn check(&self) -> Result<(), String> {
        let lists = [&self.tag_prefix_list, &self.tag_pattern_list];
        let given = lists.iter().filter(|list| !list.is_empty()).count();
        match (self.tag_status, given) {
            (TagStatus::Tagged, 1) | (TagStatus::Untagged | TagStatus::Any, 0) => {}
            (TagStatus::Tagged, 0) => {
                return Err("tagStatus tagged requires a tagPrefixList or a tagPatternList".to_owned());
            }
            (TagStatus::Tagged, _) => return Err("tagPrefixList and tagPatternList exclude one another".to_owned()),
            _ => return Err("only tagStatus tagged takes a tagPrefixList or a tagPatternList".to_owned()),
        }
        if lists.into_iter().flatten().any(String::is_empty) {
            return Err("an entry of a list of tags is empty".to_owned());
        }
        if self.tag_pattern_list.iter().any(|pattern| pattern.matches('*').count() > MAX_WILDCARDS) {
            return Err(format!("a pattern has at most {MAX_WILDCARDS} wildcards"));
        }
        if self.count_number == 0 || i32::try_from(self.count_number).is_err() {
            return Err(format!("countNumber must be an integer between 1 and {}", i32::MAX));
        }
        match (self.count_type, self.count_unit) {
            (CountType::ImageCountMoreThan, Some(_)) => {
                return Err("countType imageCountMoreThan takes no countUnit".to_owned());
            }
            (CountType::ImageCountMoreThan, None) | (_, Some(CountUnit::Days)) => {}
            (_, None) => return Err("this countType requires countUnit days".to_owned()),
        }
        match (self.count_type, self.storage_class) {
            (CountType::SinceImageTransitioned, Some(StorageClass::Archive))
                if self.count_number < MIN_DAYS_ARCHIVED =>
            {
                Err(format!("archived images are kept for at least {MIN_DAYS_ARCHIVED} days"))
            }
            (CountType::SinceImageTransitioned, Some(StorageClass::Archive)) => Ok(()),
            (CountType::SinceImageTransitioned, _) => {
                Err("countType sinceImageTransitioned requires storageClass archive".to_owned())
            }
            (_, Some(StorageClass::Archive)) => {
                Err("storageClass archive goes with countType sinceImageTransitioned only".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// ECR knows no `null`, where serde takes it for a field that is left out.
fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(fields) => fields.values().any(has_null),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(rules: &Value) -> Result<Policy, String> {
        Policy::read(&format!("{:<100}", json!({"rules": rules}).to_string()))
    }

    fn rule(priority: u32, selection: Value) -> Value {
        json!({"rulePriority": priority, "selection": selection, "action": {"type": "expire"}})
    }

    fn count(status: &str) -> Value {
        json!({"tagStatus": status, "countType": "imageCountMoreThan", "countNumber": 5})
    }

    #[test]
    fn rules_come_back_in_order_and_without_spaces() {
        let policy = read(&json!([
            rule(7, count("any")),
            {"action": {"type": "expire"}, "description": "old ones", "rulePriority": 2, "selection": {
                "countNumber": 9, "countUnit": "days", "countType": "sinceImagePushed", "tagPatternList": ["v*"],
                "tagStatus": "tagged"}},
        ]));
        let expected = concat!(
            r#"{"rules":[{"rulePriority":2,"description":"old ones","selection":{"tagStatus":"tagged","tagPatternList":"#,
            r#"["v*"],"countType":"sinceImagePushed","countUnit":"days","countNumber":9},"action":{"type":"expire"}},"#,
            r#"{"rulePriority":7,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":5},"#,
            r#""action":{"type":"expire"}}]}"#
        );
        assert_eq!(policy.expect("a policy").text(), expected);
    }

    #[test]
    fn everything_that_ecrs_rules_can_say_is_taken() {
        let transition = json!({"type": "transition", "targetStorageClass": "archive"});
        let days = |kind: &str, more: Value| {
            let mut selection = json!({"tagStatus": "any", "countType": kind, "countUnit": "days", "countNumber": 90});
            selection.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            selection
        };
        let rules = json!([
            rule(1, count("untagged")),
            rule(2, json!({"tagStatus": "tagged", "tagPrefixList": ["a", "b"], "countType": "imageCountMoreThan",
                           "countNumber": 1})),
            {"rulePriority": 4, "selection": days("sinceImagePulled", json!({"storageClass": "standard"})),
             "action": transition},
            rule(3, days("sinceImageTransitioned", json!({"storageClass": "archive"}))),
        ]);
        assert!(read(&rules).is_ok(), "{:?}", read(&rules));
    }

    #[test]
    fn what_ecr_refuses_is_refused() {
        let tagged = |more: Value| {
            let mut selection = count("tagged");
            selection.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            json!([rule(1, selection)])
        };
        let any = |more: Value| {
            let mut selection = count("any");
            selection.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            json!([rule(1, selection)])
        };
        for (why, rules) in [
            ("no rules", json!([])),
            ("51 rules", (1..=51).map(|n| rule(n, count("any"))).collect()),
            ("a priority twice", json!([rule(1, count("untagged")), rule(1, count("any"))])),
            ("any before others", json!([rule(1, count("any")), rule(2, count("untagged"))])),
            ("two for untagged", json!([rule(1, count("untagged")), rule(2, count("untagged"))])),
            ("priority 0", json!([rule(0, count("any"))])),
            ("tagged without a list", tagged(json!({}))),
            ("both lists", tagged(json!({"tagPrefixList": ["a"], "tagPatternList": ["a"]}))),
            ("five wildcards", tagged(json!({"tagPatternList": ["*a*b*c*d*"]}))),
            ("a list for any", any(json!({"tagPrefixList": ["a"]}))),
            ("a count of 0", any(json!({"countNumber": 0}))),
            ("half an image", any(json!({"countNumber": 1.5}))),
            ("a unit for a count", any(json!({"countUnit": "days"}))),
            ("no unit for an age", any(json!({"countType": "sinceImagePushed"}))),
            ("weeks", any(json!({"countType": "sinceImagePushed", "countUnit": "weeks"}))),
            ("expiry by pulls", any(json!({"countType": "sinceImagePulled", "countUnit": "days"}))),
            (
                "no storage class",
                any(json!({"countType": "sinceImageTransitioned", "countUnit": "days",
                                            "countNumber": 90})),
            ),
            (
                "89 days archived",
                any(json!({"countType": "sinceImageTransitioned", "countUnit": "days",
                                            "countNumber": 89, "storageClass": "archive"})),
            ),
            ("an unknown field", any(json!({"colour": "red"}))),
            ("null", any(json!({"countUnit": null}))),
            ("no action", json!([{"rulePriority": 1, "selection": count("any")}])),
            (
                "a transition to nowhere",
                json!([{"rulePriority": 1, "selection": count("any"),
                                                "action": {"type": "transition"}}]),
            ),
        ] {
            let refused = read(&rules).expect_err(why);
            assert!(refused.starts_with("Lifecycle policy validation failure: "), "{why}: {refused}");
        }
    }

    #[test]
    fn a_text_that_is_too_short_or_too_long_or_no_json_is_refused() {
        assert!(Policy::read("{}").expect_err("too short").contains("greater than or equal to 100"));
        assert!(Policy::read(&" ".repeat(30_721)).expect_err("too long").contains("less than or equal to 30720"));
        assert!(Policy::read(&"x".repeat(200)).is_err());
    }
}
