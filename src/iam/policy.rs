//! IAM policy documents for actions.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// What an action can be limited to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActionScope {
    /// The registry as a whole: IAM knows no resource for it.
    Registry,
    /// A repository.
    Repository,
    /// A role that an AWS service makes for itself.
    ServiceLinkedRole,
    /// A role that ECR assumes.
    PassedRole,
    /// A role that the operator assumes.
    AssumedRole,
    /// A key in AWS KMS.
    Key,
}

/// What an action can be limited to.
///
/// Source: the resource types of "Actions, resources, and condition keys for Amazon Elastic Container Registry" in the
/// Service Authorization Reference.
pub fn scope(action: &str) -> ActionScope {
    match action {
        "iam:CreateServiceLinkedRole" => ActionScope::ServiceLinkedRole,
        "iam:PassRole" => ActionScope::PassedRole,
        "ecr-public:GetAuthorizationToken" | "sts:GetServiceBearerToken" => ActionScope::Registry,
        _ if action.starts_with("sts:") => ActionScope::AssumedRole,
        _ if action.starts_with("kms:") => ActionScope::Key,
        _ if action.starts_with("inspector2:") => ActionScope::Registry,
        "ecr:GetAuthorizationToken"
        | "ecr:DescribeRegistry"
        | "ecr:PutReplicationConfiguration"
        | "ecr:GetAccountSetting"
        | "ecr:PutAccountSetting" => ActionScope::Registry,
        _ => {
            const REGISTRY: [&str; 7] = [
                "RegistryPolicy",
                "RegistryScanningConfiguration",
                "PullThroughCacheRule",
                "CreationTemplate",
                "SigningConfiguration",
                "PullTimeUpdateExclusion",
                "ReplicationConfiguration",
            ];
            match REGISTRY.iter().any(|word| action.contains(word)) {
                true => ActionScope::Registry,
                false => ActionScope::Repository,
            }
        }
    }
}

/// A policy that allows these actions and no others. Actions on repositories are allowed on those that `repositories`
/// names, with `*` as wildcard, in any account and region, and roles are assumed that `roles` has the ARNs of.
pub fn document(actions: &BTreeSet<&str>, repositories: &BTreeSet<String>, roles: &BTreeSet<String>) -> Value {
    let mut by_scope: BTreeMap<ActionScope, Vec<&str>> = BTreeMap::new();
    for action in actions {
        by_scope.entry(scope(action)).or_default().push(action);
    }
    let statements: Vec<Value> =
        by_scope.into_iter().map(|(scope, actions)| statement(scope, &actions, repositories, roles)).collect();
    json!({"Version": "2012-10-17", "Statement": statements})
}

fn statement(scope: ActionScope, actions: &[&str], repositories: &BTreeSet<String>, roles: &BTreeSet<String>) -> Value {
    let (sid, resource, condition) = match scope {
        ActionScope::Registry => ("Registry", json!("*"), None),
        ActionScope::Repository => {
            let arns: Vec<_> = repositories.iter().map(|name| format!("arn:aws:ecr:*:*:repository/{name}")).collect();
            ("Repositories", json!(arns), None)
        }
        ActionScope::ServiceLinkedRole => (
            "RolesThatAwsMakesForItself",
            json!("arn:aws:iam::*:role/aws-service-role/*"),
            Some(json!({"StringEquals": {"iam:AWSServiceName": [
                "inspector2.amazonaws.com",
                "pullthroughcache.ecr.amazonaws.com",
                "replication.ecr.amazonaws.com",
            ]}})),
        ),
        ActionScope::PassedRole => (
            "RolesThatEcrAssumes",
            json!("arn:aws:iam::*:role/*"),
            Some(json!({"StringEquals": {"iam:PassedToService": [
                "ecr.amazonaws.com",
                "pullthroughcache.ecr.amazonaws.com",
            ]}})),
        ),
        ActionScope::AssumedRole => ("PullRoles", json!(roles), None),
        ActionScope::Key => {
            ("Keys", json!("*"), Some(json!({"StringLike": {"kms:ViaService": "ecr.*.amazonaws.com"}})))
        }
    };
    let mut statement = Map::new();
    statement.insert("Sid".into(), json!(sid));
    statement.insert("Effect".into(), json!("Allow"));
    statement.insert("Action".into(), json!(actions));
    statement.insert("Resource".into(), resource);
    if let Some(condition) = condition {
        statement.insert("Condition".into(), condition);
    }
    Value::Object(statement)
}
