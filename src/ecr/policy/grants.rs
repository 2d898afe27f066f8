//! From typed grants to a policy document.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::actions::{PULL, PUSH};
use super::normal::set;
use super::validate::{PolicyError, Problem, is_service};
use crate::api::{AccessGrant, AccessPermissions};

/// Checks what only the meaning of the fields together tells. The API server checks the same; `plan` has none.
pub(super) fn check(grants: &[AccessGrant]) -> Result<(), PolicyError> {
    let mut problems = Vec::new();
    if grants.is_empty() {
        problems.push(Problem::NoStatement);
    }
    for (index, grant) in grants.iter().enumerate() {
        let at = format!("[{index}]");
        let in_organization = grant.principal_org_ids.is_some() || grant.principal_org_paths.is_some();
        let by_source = grant.source_arns.is_some() || grant.source_accounts.is_some();
        if grant.principals.iter().any(|principal| principal == "*") && !in_organization {
            problems.push(Problem::Everybody { at: at.clone() });
        }
        if in_organization && grant.principals.iter().any(|principal| is_service(principal)) {
            problems.push(Problem::ServiceInOrganization { at: at.clone() });
        }
        if by_source && !grant.principals.iter().all(|principal| is_service(principal)) {
            problems.push(Problem::SourceOfNoService { at });
        }
    }
    PolicyError::of(problems)
}

/// The document, a statement for each grant, in the order of the grants. A grant that is there twice is written once.
pub(super) fn document(grants: &[AccessGrant]) -> Value {
    let mut statements: Vec<Value> = Vec::new();
    for statement in grants.iter().map(statement) {
        // The Sid is the same where the same is granted, in whatever order: AWS wants each once.
        if !statements.iter().any(|earlier| earlier["Sid"] == statement["Sid"]) {
            statements.push(statement);
        }
    }
    json!({"Version": "2012-10-17", "Statement": statements})
}

fn statement(grant: &AccessGrant) -> Value {
    let AccessGrant { principals, permissions, principal_org_ids, principal_org_paths, source_arns, source_accounts } =
        grant;
    let (services, others): (Vec<&String>, Vec<&String>) =
        principals.iter().partition(|principal| is_service(principal));
    let mut principal = Map::new();
    for (kind, list) in [("AWS", others), ("Service", services)] {
        if !list.is_empty() {
            principal.insert(kind.to_owned(), json!(list));
        }
    }
    let mut conditions = Map::new();
    let mut condition = |operator: &str, key: &str, values: &Option<Vec<String>>| {
        if let Some(values) = values {
            let keys = conditions.entry(operator).or_insert_with(|| json!({}));
            keys[key] = json!(values);
        }
    };
    condition("StringEquals", "aws:PrincipalOrgID", principal_org_ids);
    condition("ForAnyValue:StringLike", "aws:PrincipalOrgPaths", principal_org_paths);
    condition("ArnLike", "aws:SourceArn", source_arns);
    condition("StringEquals", "aws:SourceAccount", source_accounts);

    let mut statement = Map::new();
    statement.insert("Sid".into(), json!(sid(grant)));
    statement.insert("Effect".into(), json!("Allow"));
    statement.insert("Principal".into(), Value::Object(principal));
    statement.insert("Action".into(), json!(actions(*permissions)));
    if !conditions.is_empty() {
        statement.insert("Condition".into(), Value::Object(conditions));
    }
    Value::Object(statement)
}

/// The actions that a permission stands for.
///
/// Source: "Amazon ECR repository policy examples" and "IAM permissions for pushing an image to an Amazon ECR private
/// repository" in the Amazon ECR User Guide.
fn actions(permissions: AccessPermissions) -> &'static [&'static str] {
    match permissions {
        AccessPermissions::Pull => &PULL,
        AccessPermissions::Push => &PUSH,
    }
}

/// A name for the statement that depends on what it grants and on nothing else, so that adding a grant renames no other.
fn sid(grant: &AccessGrant) -> String {
    let AccessGrant { principals, permissions, principal_org_ids, principal_org_paths, source_arns, source_accounts } =
        grant;
    let lists = [Some(principals), principal_org_ids.as_ref(), principal_org_paths.as_ref(), source_arns.as_ref()];
    let parts: Vec<_> =
        lists.into_iter().chain([source_accounts.as_ref()]).map(|list| list.map(|list| set(list))).collect();
    let digest = Sha256::digest(format!("{parts:?}"));
    let short: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{permissions:?}{short}")
}
