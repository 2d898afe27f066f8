//! Lifecycle policies: from the typed rules to ECR's document, checked before ECR sees them, and compared by meaning.
//!
//! Two policies are equal when they do the same: the order of rules in the document, of keys and of tags, white space,
//! nulls, a `storageClass` that is the default, an empty description and the numbers of `rulePriority` have no meaning. The
//! order that the priorities give the rules has one.

mod crowded;
mod diff;
mod document;
mod problem;
mod rule;
#[cfg(test)]
mod tests;
mod typed;
mod validate;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::api::Lifecycle;
pub use problem::{Place, PolicyError, Problem};
pub use rule::{Body, Effect, Rule, Selection, StorageClass};
use validate::Words;

/// A lifecycle policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// In the order of their priorities.
    rules: Vec<Rule>,
}

impl Policy {
    /// The policy that a spec asks for.
    ///
    /// # Errors
    /// Everything that is wrong with it, for ECR or for the one who wrote it: what this accepts, ECR takes.
    pub fn from_spec(lifecycle: &Lifecycle) -> Result<Self, PolicyError> {
        let Lifecycle { rules, policy, preview: _ } = lifecycle;
        match (rules, policy) {
            (Some(rules), None) => {
                let read = rules.iter().zip(1..).map(|(rule, number)| typed::read(rule, number));
                Self::checked("lifecycle.rules", Words::Typed, read.collect(), Vec::new())
            }
            (None, Some(text)) => {
                let document = json_of(text)?;
                let rules = rules_of(&document)?;
                let read = rules.iter().zip(1..).map(|(rule, number)| document::read(rule, number));
                let unknown = document.as_object().into_iter().flatten().filter(|(key, _)| *key != "rules");
                let problems =
                    unknown.map(|(key, _)| Problem::of_policy(format!("{key} is unknown: ECR takes only rules")));
                Self::checked("lifecycle.policy", Words::Document, read.collect(), problems.collect())
            }
            _ => Err(PolicyError::Choice),
        }
    }

    /// Reads a document that ECR has accepted. Rules that have no words here are kept as they are.
    ///
    /// # Errors
    /// It is not JSON, or has no list of rules.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let document = json_of(text)?;
        let rules = rules_of(&document)?.iter().zip(1..).map(|(rule, number)| document::read_accepted(rule, number));
        Ok(Self::ordered(rules.collect()))
    }

    /// The document as ECR's PutLifecyclePolicy takes it.
    pub fn text(&self) -> String {
        let rules: Vec<Value> = self.rules.iter().map(document::write).collect();
        json!({ "rules": rules }).to_string()
    }

    /// How many rules the policy has.
    pub fn rules(&self) -> usize {
        self.rules.len()
    }

    /// The rules in the order in which they act, each in words.
    pub fn lines(&self) -> Vec<String> {
        self.rules.iter().zip(1..).map(|(rule, number)| format!("rule {number}: {rule}")).collect()
    }

    /// What has to change in this policy to make it the other one, a line for each rule. Empty for equal policies.
    pub fn diff(&self, other: &Self) -> Vec<String> {
        diff::diff(&self.rules, &other.rules)
    }

    /// A short text that is the same for equal policies, and another one for others.
    pub fn fingerprint(&self) -> String {
        let numbered = self.rules.iter().zip(1..).map(|(rule, priority)| Rule { priority, ..rule.clone() });
        let digest = Sha256::digest(Self { rules: numbered.collect() }.text());
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    fn checked(
        field: &'static str,
        words: Words,
        read: Vec<Result<(Place, Rule), Vec<Problem>>>,
        mut problems: Vec<Problem>,
    ) -> Result<Self, PolicyError> {
        match read.len() {
            0 => problems.push(Problem::of_policy("there is no rule: add one, or leave lifecycle out")),
            1..=validate::MAX_RULES => {}
            count => problems.push(Problem::of_policy(format!(
                "there are {count} rules: ECR takes {} at most",
                validate::MAX_RULES
            ))),
        }
        let mut rules = Vec::new();
        for rule in read {
            match rule {
                Ok(rule) => rules.push(rule),
                Err(found) => problems.extend(found),
            }
        }
        problems.extend(validate::validate(&rules, words));
        let policy = Self::ordered(rules.into_iter().map(|(_, rule)| rule).collect());
        let length = policy.text().chars().count();
        if length > validate::MAX_TEXT {
            problems.push(Problem::of_policy(format!(
                "the policy has {length} characters as JSON: ECR takes {} at most, use shorter descriptions and fewer tags",
                validate::MAX_TEXT
            )));
        }
        if problems.is_empty() {
            return Ok(policy);
        }
        problems.sort_by_key(|problem| problem.rule.map(|place| place.number));
        Err(PolicyError::Invalid { field, problems })
    }

    fn ordered(mut rules: Vec<Rule>) -> Self {
        rules.sort_by_key(|rule| rule.priority);
        Self { rules }
    }
}

fn json_of(text: &str) -> Result<Value, PolicyError> {
    serde_json::from_str(text).map_err(|error| PolicyError::NotJson(error.to_string()))
}

fn rules_of(document: &Value) -> Result<&Vec<Value>, PolicyError> {
    document.get("rules").and_then(Value::as_array).ok_or(PolicyError::NoRules)
}
