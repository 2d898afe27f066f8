//! What AWS is known to refuse in a policy, found before AWS sees it: its own answer is no more than "Invalid repository
//! policy provided".
//!
//! Sources: "Grammar of the IAM JSON policy language" and "IAM JSON policy elements reference" in the IAM User Guide;
//! "Private repository policies" and "Private registry permissions" in the Amazon ECR User Guide. That ECR refuses
//! `Resource` and `ecr:GetAuthorizationToken` in repository policies: awsdocs/amazon-ecr-user-guide#20,
//! aws/aws-cdk#24314, cloudposse/terraform-aws-ecr#67.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::actions::{self, nearest_of};
use super::normal::is_deleted;
use super::{MAX_CHARACTERS, Scope};

/// Why a document can't be a policy: everything that was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct PolicyError {
    /// What is wrong, in the order of the document. Never empty.
    pub problems: Vec<Problem>,
}

impl PolicyError {
    pub(super) fn of(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { problems }) }
    }
}

impl From<Problem> for PolicyError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

/// One thing that is wrong with a document, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The messages say it.
pub enum Problem {
    #[error("it is not JSON: {0}")]
    NotJson(String),
    #[error("it is JSON, but not an IAM policy document")]
    NotAPolicy,
    #[error("it has {characters} characters, ECR takes {MAX_CHARACTERS} at most")]
    TooLong { characters: usize },
    #[error("Version must be \"2012-10-17\" or \"2008-10-17\"")]
    Version,
    #[error("it has no Statement: a policy needs a list of at least one")]
    NoStatement,
    #[error("{at} is not an object")]
    NotAnObject { at: String },
    #[error("{at} is not an element of a policy{}", hint(.nearest))]
    UnknownElement { at: String, nearest: Option<String> },
    #[error("{at} is missing")]
    Missing { at: String },
    #[error("{at} and Not{element} exclude each other")]
    Both { at: String, element: &'static str },
    #[error("{at} must be \"Allow\" or \"Deny\"")]
    Effect { at: String },
    #[error("{at} must be text")]
    NotText { at: String },
    #[error("{at} must be a text or a list of texts, and not empty")]
    NotTexts { at: String },
    #[error("{at}: {sid:?} is the Sid of an earlier statement")]
    SidTwice { at: String, sid: String },
    #[error("{at}: {action:?} is not an action of ECR{}", hint(.nearest))]
    UnknownAction { at: String, action: String, nearest: Option<String> },
    #[error(
        "{at}: ecr:GetAuthorizationToken is not about one repository, and ECR refuses it here: allow it in IAM policies"
    )]
    Token { at: String },
    #[error("{at}: a repository policy is about its own repository, and ECR refuses Resource in it: leave it out")]
    Resource { at: String },
    #[error("{at} must be \"*\", or an object of AWS, Service or Federated")]
    Principal { at: String },
    #[error(
        "{at}: {principal:?} is not an account (12 digits or arn:aws:iam::<account>:root), the ARN of a role, user or session, or \"*\""
    )]
    AwsPrincipal { at: String, principal: String },
    #[error(
        "{at}: {principal:?}: IAM takes no wildcards inside a principal: name roles and users one by one, or use \"*\" with a condition such as ArnLike aws:PrincipalArn"
    )]
    Wildcard { at: String, principal: String },
    #[error("{at}: {principal:?} is the id of a user or role that was deleted: remove it")]
    Deleted { at: String, principal: String },
    #[error("{at}: {principal:?} is not the name of an AWS service, such as lambda.amazonaws.com")]
    Service { at: String, principal: String },
    #[error("{at} must be an object of operators, each an object of condition keys")]
    Condition { at: String },
    #[error("{at} is not a condition operator{}", hint(.nearest))]
    Operator { at: String, nearest: Option<String> },
    #[error("{at} must be a text, a number, true or false, or a list of them")]
    ConditionValue { at: String },
    #[error("{at}: principals can be \"*\" only beside principalOrgIds or principalOrgPaths")]
    Everybody { at: String },
    #[error(
        "{at}: principalOrgIds and principalOrgPaths don't go with AWS services: give services a grant of their own"
    )]
    ServiceInOrganization { at: String },
    #[error("{at}: sourceArns and sourceAccounts go with AWS services only: give others a grant of their own")]
    SourceOfNoService { at: String },
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// Checks a document.
pub(super) fn validate(document: &Value, scope: Scope) -> Result<(), PolicyError> {
    let Some(members) = document.as_object() else { return Err(Problem::NotAPolicy.into()) };
    let mut problems = Vec::new();
    unknown_elements("", members, &["Version", "Id", "Statement"], &mut problems);
    if !matches!(members.get("Version"), None | Some(Value::String(_)))
        || members.get("Version").is_some_and(|version| *version != "2012-10-17" && *version != "2008-10-17")
    {
        problems.push(Problem::Version);
    }
    let statements: &[Value] = match members.get("Statement") {
        Some(Value::Array(list)) => list,
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    if statements.is_empty() {
        problems.push(Problem::NoStatement);
    }
    let mut sids = BTreeSet::new();
    for (index, value) in statements.iter().enumerate() {
        let at = format!("Statement[{index}]");
        match value.as_object() {
            Some(members) => Checker { at, members, scope, problems: &mut problems }.check(&mut sids),
            None => problems.push(Problem::NotAnObject { at }),
        }
    }
    PolicyError::of(problems)
}

fn unknown_elements(at: &str, members: &Map<String, Value>, known: &[&'static str], problems: &mut Vec<Problem>) {
    for name in members.keys().filter(|name| !known.contains(&name.as_str())) {
        let nearest = nearest_of(name, known.iter().copied()).map(str::to_owned);
        problems.push(Problem::UnknownElement { at: format!("{at}{name}"), nearest });
    }
}

/// Checks one statement.
struct Checker<'a> {
    at: String,
    members: &'a Map<String, Value>,
    scope: Scope,
    problems: &'a mut Vec<Problem>,
}

const ELEMENTS: [&str; 9] =
    ["Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"];

impl<'a> Checker<'a> {
    fn check(mut self, sids: &mut BTreeSet<String>) {
        unknown_elements(&format!("{}.", self.at), self.members, &ELEMENTS, self.problems);
        self.sid(sids);
        match self.members.get("Effect").map(Value::as_str) {
            Some(Some("Allow" | "Deny")) => {}
            Some(_) => self.problem(|at| Problem::Effect { at: format!("{at}.Effect") }),
            None => self.problem(|at| Problem::Missing { at: format!("{at}.Effect") }),
        }
        if let Some((at, value)) = self.element("Principal", "NotPrincipal", true) {
            self.principal(&at, value);
        }
        if let Some((at, value)) = self.element("Action", "NotAction", true) {
            for action in self.texts(&at, value) {
                self.action(&at, action);
            }
        }
        match self.scope {
            Scope::Repository => {
                for name in ["Resource", "NotResource"] {
                    if self.members.contains_key(name) {
                        self.problem(|at| Problem::Resource { at: format!("{at}.{name}") });
                    }
                }
            }
            Scope::Registry => {
                if let Some((at, value)) = self.element("Resource", "NotResource", true) {
                    self.texts(&at, value);
                }
            }
        }
        if let Some(value) = self.members.get("Condition") {
            self.condition(value);
        }
    }

    fn problem(&mut self, of: impl FnOnce(&str) -> Problem) {
        self.problems.push(of(&self.at));
    }

    fn sid(&mut self, sids: &mut BTreeSet<String>) {
        let at = format!("{}.Sid", self.at);
        match self.members.get("Sid") {
            None => {}
            Some(Value::String(sid)) if sids.insert(sid.clone()) => {}
            Some(Value::String(sid)) => self.problems.push(Problem::SidTwice { at, sid: sid.clone() }),
            Some(_) => self.problems.push(Problem::NotText { at }),
        }
    }

    /// An element or its opposite: where it is and what it says.
    fn element(&mut self, name: &'static str, opposite: &str, required: bool) -> Option<(String, &'a Value)> {
        let at = format!("{}.{name}", self.at);
        match (self.members.get(name), self.members.get(opposite)) {
            (Some(_), Some(_)) => self.problems.push(Problem::Both { at, element: name }),
            (Some(value), None) => return Some((at, value)),
            (None, Some(value)) => return Some((format!("{}.{opposite}", self.at), value)),
            (None, None) if required => self.problems.push(Problem::Missing { at }),
            (None, None) => {}
        }
        None
    }

    fn texts(&mut self, at: &str, value: &'a Value) -> Vec<&'a str> {
        let texts: Option<Vec<&str>> = match value {
            Value::String(text) => Some(vec![text]),
            Value::Array(list) => list.iter().map(Value::as_str).collect(),
            _ => None,
        };
        match texts {
            Some(texts) if !texts.is_empty() => texts,
            _ => {
                self.problems.push(Problem::NotTexts { at: at.to_owned() });
                Vec::new()
            }
        }
    }

    fn action(&mut self, at: &str, action: &str) {
        let at = at.to_owned();
        let known = if action.contains(['*', '?']) {
            actions::matches_any(action)
        } else {
            actions::canonical(action).is_some()
        };
        if !known {
            self.problems.push(Problem::UnknownAction {
                at,
                action: action.to_owned(),
                nearest: actions::nearest(action),
            });
        } else if self.scope == Scope::Repository && action.eq_ignore_ascii_case("ecr:GetAuthorizationToken") {
            self.problems.push(Problem::Token { at });
        }
    }

    fn principal(&mut self, at: &str, value: &'a Value) {
        let kinds = match value {
            Value::String(everybody) if everybody == "*" => return,
            Value::Object(kinds) if !kinds.is_empty() => kinds,
            _ => return self.problems.push(Problem::Principal { at: at.to_owned() }),
        };
        for (kind, list) in kinds {
            let at = format!("{at}.{kind}");
            if !matches!(kind.as_str(), "AWS" | "Service" | "Federated") {
                self.problems.push(Problem::Principal { at: at.clone() });
                continue;
            }
            for principal in self.texts(&at, list) {
                let (at, principal) = (at.clone(), principal.to_owned());
                match kind.as_str() {
                    "AWS" if is_aws_principal(&principal) => {}
                    "AWS" if is_deleted(&principal) => self.problems.push(Problem::Deleted { at, principal }),
                    "AWS" if principal.contains(['*', '?']) => {
                        self.problems.push(Problem::Wildcard { at, principal });
                    }
                    "AWS" => self.problems.push(Problem::AwsPrincipal { at, principal }),
                    "Service" if !is_service(&principal) => self.problems.push(Problem::Service { at, principal }),
                    _ => {}
                }
            }
        }
    }

    fn condition(&mut self, value: &Value) {
        let at = format!("{}.Condition", self.at);
        let Some(operators) = value.as_object() else { return self.problems.push(Problem::Condition { at }) };
        for (operator, keys) in operators {
            let at = format!("{at}.{operator}");
            if !is_operator(operator) {
                let nearest = nearest_of(operator, OPERATORS).map(str::to_owned);
                self.problems.push(Problem::Operator { at: at.clone(), nearest });
            }
            let Some(keys) = keys.as_object() else {
                self.problems.push(Problem::Condition { at });
                continue;
            };
            for (key, values) in keys {
                let is_scalar = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
                let fine = match values {
                    Value::Array(list) => list.iter().all(is_scalar),
                    one => is_scalar(one),
                };
                if !fine {
                    self.problems.push(Problem::ConditionValue { at: format!("{at}.{key}") });
                }
            }
        }
    }
}

/// Whether this can stand under `"AWS"`.
fn is_aws_principal(text: &str) -> bool {
    if text == "*" || is_account(text) {
        return true;
    }
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let [arn, partition, service, region, account, resource] = parts[..] else { return false };
    let named = |prefix: &str| {
        resource.strip_prefix(prefix).is_some_and(|name| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+=,.@_/-".contains(&byte))
        })
    };
    let is_right_resource = match service {
        "iam" => resource == "root" || named("role/") || named("user/"),
        "sts" => named("assumed-role/") || named("federated-user/"),
        _ => false,
    };
    arn == "arn" && partition.starts_with("aws") && region.is_empty() && is_account(account) && is_right_resource
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether this is the name of an AWS service as a principal, in whatever partition.
pub(super) fn is_service(text: &str) -> bool {
    const DOMAINS: [&str; 7] = [
        ".amazonaws.com",
        ".amazonaws.com.cn",
        ".amazonaws.eu",
        ".c2s.ic.gov",
        ".sc2s.sgov.gov",
        ".csp.hci.ic.gov",
        ".cloud.adc-e.uk",
    ];
    DOMAINS.iter().any(|domain| {
        text.strip_suffix(domain).is_some_and(|name| {
            name.split('.').all(|label| {
                !label.is_empty()
                    && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            })
        })
    })
}

/// Source: "IAM JSON policy elements: Condition operators" in the IAM User Guide.
const OPERATORS: [&str; 27] = [
    "StringEquals",
    "StringNotEquals",
    "StringEqualsIgnoreCase",
    "StringNotEqualsIgnoreCase",
    "StringLike",
    "StringNotLike",
    "NumericEquals",
    "NumericNotEquals",
    "NumericLessThan",
    "NumericLessThanEquals",
    "NumericGreaterThan",
    "NumericGreaterThanEquals",
    "DateEquals",
    "DateNotEquals",
    "DateLessThan",
    "DateLessThanEquals",
    "DateGreaterThan",
    "DateGreaterThanEquals",
    "Bool",
    "BinaryEquals",
    "IpAddress",
    "NotIpAddress",
    "ArnEquals",
    "ArnLike",
    "ArnNotEquals",
    "ArnNotLike",
    "Null",
];

fn is_operator(name: &str) -> bool {
    let name = ["ForAllValues:", "ForAnyValue:"].iter().find_map(|set| name.strip_prefix(set)).unwrap_or(name);
    let name = name.strip_suffix("IfExists").filter(|name| *name != "Null").unwrap_or(name);
    OPERATORS.contains(&name)
}

/// A condition operator as AWS writes it.
pub(super) fn operator_name(lower: &str) -> String {
    let (set, name) = match lower.split_once(':') {
        Some(("forallvalues", name)) => ("ForAllValues:", name),
        Some(("foranyvalue", name)) => ("ForAnyValue:", name),
        _ => ("", lower),
    };
    let (name, end) = name.strip_suffix("ifexists").map_or((name, ""), |name| (name, "IfExists"));
    let known = OPERATORS.into_iter().find(|operator| operator.eq_ignore_ascii_case(name)).unwrap_or(name);
    format!("{set}{known}{end}")
}
