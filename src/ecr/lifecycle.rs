//! Lifecycle policies: from the typed rules to ECR's document, and documents compared by meaning.

use serde_json::{Map, Value, json};

use crate::api::{Lifecycle, LifecycleRule};

/// A lifecycle policy document in a form in which equal meaning is equal value: ECR gives rules back in another order and
/// the JSON in another format than it got them.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy(Value);

/// Why a document is not a lifecycle policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is not JSON.
    #[error("lifecycle.policy is not JSON: {0}")]
    NotJson(String),
    /// It has no list of rules.
    #[error("lifecycle.policy has no list \"rules\"")]
    NoRules,
}

impl Policy {
    /// The policy that a spec asks for.
    pub fn from_spec(lifecycle: &Lifecycle) -> Result<Self, PolicyError> {
        match (&lifecycle.rules, &lifecycle.policy) {
            (_, Some(text)) => Self::parse(text),
            (Some(rules), None) => {
                let rules: Vec<Value> =
                    rules.iter().zip(1..).map(|(rule, priority)| document(rule, priority)).collect();
                Ok(Self::canonical(json!({ "rules": rules })))
            }
            (None, None) => Err(PolicyError::NoRules),
        }
    }

    /// Reads a document.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let value: Value = serde_json::from_str(text).map_err(|error| PolicyError::NotJson(error.to_string()))?;
        if !value.get("rules").is_some_and(Value::is_array) {
            return Err(PolicyError::NoRules);
        }
        Ok(Self::canonical(value))
    }

    /// The document as ECR's PutLifecyclePolicy takes it.
    pub fn text(&self) -> String {
        self.0.to_string()
    }

    /// How many rules the policy has.
    pub fn rules(&self) -> usize {
        self.0["rules"].as_array().map_or(0, Vec::len)
    }

    fn canonical(mut document: Value) -> Self {
        if let Some(rules) = document.get_mut("rules").and_then(Value::as_array_mut) {
            rules.sort_by_key(|rule| rule.get("rulePriority").and_then(Value::as_i64));
            for rule in rules {
                if let Some(selection) = rule.get_mut("selection").and_then(Value::as_object_mut) {
                    sort_list(selection, "tagPatternList");
                    sort_list(selection, "tagPrefixList");
                }
            }
        }
        Self(sorted(document))
    }
}

/// The order of a selection's tags has no meaning: an image needs all of them.
fn sort_list(selection: &mut Map<String, Value>, key: &str) {
    if let Some(list) = selection.get_mut(key).and_then(Value::as_array_mut) {
        list.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    }
}

/// The same value with every object's keys in order: the order of keys has no meaning in JSON.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// One typed rule in ECR's words.
///
/// Source: "Lifecycle policy properties in Amazon ECR" in the Amazon ECR User Guide.
fn document(rule: &LifecycleRule, priority: usize) -> Value {
    let LifecycleRule { description, untagged, tagged, any: _, expire_after_days, keep_last } = rule;
    let mut selection = Map::new();
    let status = match (untagged, tagged) {
        (Some(_), _) => "untagged",
        (None, Some(tagged)) => {
            if let Some(patterns) = &tagged.patterns {
                selection.insert("tagPatternList".into(), json!(patterns));
            }
            if let Some(prefixes) = &tagged.prefixes {
                selection.insert("tagPrefixList".into(), json!(prefixes));
            }
            "tagged"
        }
        (None, None) => "any",
    };
    selection.insert("tagStatus".into(), json!(status));
    match (expire_after_days, keep_last) {
        (Some(days), _) => {
            selection.insert("countType".into(), json!("sinceImagePushed"));
            selection.insert("countUnit".into(), json!("days"));
            selection.insert("countNumber".into(), json!(days));
        }
        (None, keep) => {
            selection.insert("countType".into(), json!("imageCountMoreThan"));
            selection.insert("countNumber".into(), json!(keep));
        }
    }
    let mut rule = Map::new();
    rule.insert("rulePriority".into(), json!(priority));
    if let Some(text) = description {
        rule.insert("description".into(), json!(text));
    }
    rule.insert("selection".into(), Value::Object(selection));
    rule.insert("action".into(), json!({ "type": "expire" }));
    Value::Object(rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Tagged, Untagged};

    fn ten_releases() -> LifecycleRule {
        LifecycleRule {
            description: Some("ten releases".into()),
            tagged: Some(Tagged { patterns: Some(vec!["v*".into(), "*-rc*".into()]), prefixes: None }),
            keep_last: Some(10),
            ..LifecycleRule::default()
        }
    }

    fn a_week_of_untagged() -> LifecycleRule {
        LifecycleRule { untagged: Some(Untagged {}), expire_after_days: Some(7), ..LifecycleRule::default() }
    }

    fn typed(rules: Vec<LifecycleRule>) -> Policy {
        Policy::from_spec(&Lifecycle { rules: Some(rules), policy: None }).expect("typed rules are a policy")
    }

    #[test]
    fn typed_rules_become_ecrs_document_in_their_order() {
        let policy: Value =
            serde_json::from_str(&typed(vec![a_week_of_untagged(), ten_releases()]).text()).expect("JSON");
        assert_eq!(
            policy,
            json!({"rules": [
                {"rulePriority": 1, "action": {"type": "expire"},
                 "selection": {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 7}},
                {"rulePriority": 2, "description": "ten releases", "action": {"type": "expire"},
                 "selection": {"tagStatus": "tagged", "tagPatternList": ["*-rc*", "v*"], "countType": "imageCountMoreThan", "countNumber": 10}},
            ]})
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
    fn another_number_or_priority_is_another_policy() {
        let week = typed(vec![a_week_of_untagged(), ten_releases()]);
        let swapped = typed(vec![ten_releases(), a_week_of_untagged()]);
        let mut longer = a_week_of_untagged();
        longer.expire_after_days = Some(8);
        assert_ne!(week, swapped);
        assert_ne!(week, typed(vec![longer, ten_releases()]));
    }

    #[test]
    fn printing_and_parsing_gives_the_policy_back() {
        let policy = typed(vec![a_week_of_untagged(), ten_releases()]);
        assert_eq!(Policy::parse(&policy.text()), Ok(policy));
    }

    #[test]
    fn a_document_that_is_no_policy_is_refused() {
        assert!(matches!(Policy::parse("{"), Err(PolicyError::NotJson(_))));
        assert_eq!(Policy::parse("{\"rule\": []}"), Err(PolicyError::NoRules));
        assert_eq!(Policy::parse("[]"), Err(PolicyError::NoRules));
    }
}
