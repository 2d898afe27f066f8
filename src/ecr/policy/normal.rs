//! The normal form of a policy: equal meaning is equal value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

use super::actions::{self, PULL, PUSH};

/// A policy without what means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Normal {
    pub(super) statements: BTreeSet<Statement>,
    /// Whether policy variables such as `${aws:username}` are in use: the one thing that `Version` decides.
    pub(super) variables: bool,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Statement {
    pub(super) effect: String,
    pub(super) principals: Members,
    pub(super) actions: Members,
    /// Registry policies have them, repository policies don't.
    pub(super) resources: Option<Members>,
    pub(super) conditions: Conditions,
}

/// A set that a statement is about, or is about everything but.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Members {
    /// `NotPrincipal`, `NotAction` or `NotResource`.
    pub(super) not: bool,
    pub(super) all: BTreeSet<String>,
}

/// Operator, key, values. The names are in lower case: IAM does not look at the case of keys, and no two operators differ
/// in their case alone.
pub(super) type Conditions = BTreeMap<(String, String), BTreeSet<String>>;

impl Normal {
    /// Reads a document, or gives up where its shape is not that of a policy.
    pub(super) fn of(document: &Value) -> Option<Self> {
        let statements = match document.get("Statement")? {
            Value::Array(list) => list.iter().map(Statement::of).collect::<Option<_>>()?,
            one => BTreeSet::from([Statement::of(one)?]),
        };
        let variables = document.get("Version").and_then(Value::as_str) == Some("2012-10-17")
            && document.get("Statement").is_some_and(has_variable);
        Some(Self { statements, variables })
    }

    pub(super) fn deleted_principals(&self) -> Vec<&str> {
        let all = self.statements.iter().flat_map(|statement| &statement.principals.all);
        all.map(String::as_str).filter(|principal| is_deleted(principal)).collect()
    }
}

fn has_variable(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains("${"),
        Value::Array(list) => list.iter().any(has_variable),
        Value::Object(map) => map.values().any(has_variable),
        _ => false,
    }
}

impl Statement {
    fn of(statement: &Value) -> Option<Self> {
        let statement = statement.as_object()?;
        Some(Self {
            effect: statement.get("Effect")?.as_str()?.to_owned(),
            principals: members(statement, "Principal", principals)?,
            actions: members(statement, "Action", |value| Some(lower(strings(value)?)))?,
            resources: match members(statement, "Resource", strings) {
                None if statement.contains_key("Resource") || statement.contains_key("NotResource") => return None,
                resources => resources,
            },
            conditions: match statement.get("Condition") {
                Some(conditions) => conditions_of(conditions)?,
                None => Conditions::new(),
            },
        })
    }
}

/// The members of an element such as `Action` or its opposite, `NotAction`.
fn members(
    statement: &Map<String, Value>,
    element: &str,
    read: impl Fn(&Value) -> Option<BTreeSet<String>>,
) -> Option<Members> {
    match (statement.get(element), statement.get(&format!("Not{element}"))) {
        (Some(value), None) => Some(Members { not: false, all: read(value)? }),
        (None, Some(value)) => Some(Members { not: true, all: read(value)? }),
        _ => None,
    }
}

/// One string or a list of strings, as a set.
fn strings(value: &Value) -> Option<BTreeSet<String>> {
    match value {
        Value::String(text) => Some(BTreeSet::from([text.clone()])),
        Value::Array(list) => list.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

fn lower(set: BTreeSet<String>) -> BTreeSet<String> {
    set.into_iter().map(|text| text.to_ascii_lowercase()).collect()
}

/// `"*"`, or lists by kind. AWS principals have no prefix here, others have their kind: `Federated cognito...`.
fn principals(value: &Value) -> Option<BTreeSet<String>> {
    match value {
        Value::String(everybody) => Some(BTreeSet::from([everybody.clone()])),
        Value::Object(kinds) => {
            let mut all = BTreeSet::new();
            for (kind, list) in kinds {
                let list = strings(list)?;
                match kind.as_str() {
                    "AWS" => all.extend(list.into_iter().map(account)),
                    "Service" => all.extend(list.into_iter().map(|name| name.to_ascii_lowercase())),
                    _ => all.extend(list.into_iter().map(|name| format!("{kind} {name}"))),
                }
            }
            Some(all)
        }
        _ => None,
    }
}

/// `arn:aws:iam::123456789012:root` means the same as `123456789012`.
fn account(principal: String) -> String {
    let mut parts = principal.split(':');
    match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("arn"), Some(_), Some("iam"), Some(""), Some(account), Some("root"), None) => account.to_owned(),
        _ => principal,
    }
}

fn conditions_of(value: &Value) -> Option<Conditions> {
    let mut all = Conditions::new();
    for (operator, keys) in value.as_object()? {
        for (key, values) in keys.as_object()? {
            let values = match values {
                Value::Array(list) => list.iter().map(|value| scalar(operator, value)).collect::<Option<_>>()?,
                one => BTreeSet::from([scalar(operator, one)?]),
            };
            let place = (operator.to_ascii_lowercase(), key.to_ascii_lowercase());
            all.entry(place).or_default().extend::<BTreeSet<_>>(values);
        }
    }
    Some(all)
}

/// IAM reads `true` and `"true"`, `5` and `"5"` alike.
fn scalar(operator: &str, value: &Value) -> Option<String> {
    match value {
        Value::String(text) if operator.to_ascii_lowercase().starts_with("bool") => Some(text.to_ascii_lowercase()),
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

/// A list as a set: order and repetition mean nothing.
pub(super) fn set<T: Ord + Clone>(list: &[T]) -> BTreeSet<T> {
    list.iter().cloned().collect()
}

/// Whether this is the unique id that AWS shows in the place of an IAM user, role or group that was deleted.
///
/// Source: "IAM identifiers", unique ID prefixes, in the IAM User Guide.
pub(super) fn is_deleted(principal: &str) -> bool {
    ["AIDA", "AROA", "AGPA"].iter().any(|prefix| {
        principal.strip_prefix(prefix).is_some_and(|rest| {
            rest.len() >= 12 && rest.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        })
    })
}

impl fmt::Display for Statement {
    /// In words: `allow Pull to 222222222222 where aws:PrincipalOrgID StringEquals o-a1b2c3d4e5`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { effect, principals, actions: _, resources: _, conditions: _ } = self;
        let preposition = if effect == "Deny" { "for" } else { "to" };
        write!(f, "{} {} {preposition} ", effect.to_ascii_lowercase(), self.what())?;
        if principals.not {
            f.write_str("everybody but ")?;
        }
        f.write_str(&principals.all.iter().map(|name| principal(name)).collect::<Vec<_>>().join(", "))?;
        f.write_str(&self.scope())
    }
}

impl Statement {
    /// What the statement allows or denies: a typed permission where it is exactly one, else the actions.
    pub(super) fn what(&self) -> String {
        let is = |typed: &[&str]| {
            !self.actions.not
                && self.actions.all.len() == typed.len()
                && typed.iter().all(|action| self.actions.all.contains(&action.to_ascii_lowercase()))
        };
        if is(&PUSH) {
            return "Push".to_owned();
        }
        if is(&PULL) {
            return "Pull".to_owned();
        }
        let list = self.actions.all.iter().map(|name| action(name)).collect::<Vec<_>>().join(", ");
        if self.actions.not { format!("everything but {list}") } else { list }
    }

    /// The rest of the sentence: on which resources and under which conditions.
    pub(super) fn scope(&self) -> String {
        let mut words = String::new();
        if let Some(resources) = &self.resources {
            words.push_str(if resources.not { " on everything but " } else { " on " });
            words.push_str(&resources.all.iter().cloned().collect::<Vec<_>>().join(", "));
        }
        for (index, ((operator, key), values)) in self.conditions.iter().enumerate() {
            words.push_str(if index == 0 { " where " } else { " and " });
            let values = values.iter().cloned().collect::<Vec<_>>().join(" or ");
            words.push_str(&format!("{} {} {values}", key_name(key), super::validate::operator_name(operator)));
        }
        words
    }
}

/// An action as AWS writes it.
pub(super) fn action(lower: &str) -> String {
    actions::canonical(lower).map_or_else(|| lower.to_owned(), |name| format!("ecr:{name}"))
}

/// A principal, with a word about it where its name says nothing.
pub(super) fn principal(name: &str) -> String {
    match name {
        "*" => "everybody".to_owned(),
        name if is_deleted(name) => format!("{name} (deleted in IAM)"),
        name => name.to_owned(),
    }
}

/// The condition keys of typed grants as AWS writes them; others stay in lower case.
fn key_name(lower: &str) -> &str {
    const KEYS: [&str; 6] = [
        "aws:PrincipalOrgID",
        "aws:PrincipalOrgPaths",
        "aws:SourceArn",
        "aws:SourceAccount",
        "aws:PrincipalArn",
        "aws:SourceOrgID",
    ];
    KEYS.into_iter().find(|key| key.eq_ignore_ascii_case(lower)).unwrap_or(lower)
}
