//! What a set of objects needs.

use std::collections::BTreeSet;

use serde_json::Value;

use super::policy::{self, ActionScope};
use super::table::{Feature, TABLE, When};
use crate::controllers::mirror::names::repository_name;

/// An action that an object needs for one of its fields.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// The IAM action.
    pub action: &'static str,
    /// Name of the EcrRegistry where it is needed.
    pub registry: String,
    /// The repository that it is needed for, where it is about one.
    pub repository: Option<String>,
    /// The ARN of the role that it is needed for, where it is about one.
    pub role: Option<String>,
    /// The object, such as `EcrRepository team-a/api`.
    pub object: String,
    /// The field, such as `spec.lifecycle`.
    pub field: String,
}

/// What an object needs, given as the JSON of a whole manifest. Objects of other kinds need nothing.
pub fn needs(object: &Value) -> Vec<Need> {
    let Some(kind) = object.get("kind").and_then(Value::as_str) else { return Vec::new() };
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let namespace = object["metadata"]["namespace"].as_str();
    let title = match namespace {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    };
    let spec = &object["spec"];
    let mut all = Vec::new();
    match kind {
        "EcrRegistry" => of_table(kind, spec, &title, name, None, "spec", &mut all),
        "EcrRepository" => {
            let repository = match spec["repositoryName"].as_str() {
                Some(name) => name.to_owned(),
                None => format!("{}/{name}", namespace.unwrap_or("default")),
            };
            of_table(kind, spec, &title, registry_of(spec), Some(&repository), "spec", &mut all);
        }
        "ImageMirror" => of_mirror(spec, &title, namespace.unwrap_or("default"), &mut all),
        "EcrPullSecret" | "ClusterEcrPullSecret" => match spec["registries"].as_array() {
            Some(list) => {
                for registry in list {
                    of_table(
                        kind,
                        spec,
                        &title,
                        registry["name"].as_str().unwrap_or("default"),
                        None,
                        "spec",
                        &mut all,
                    );
                }
            }
            None => of_table(kind, spec, &title, registry_of(spec), None, "spec", &mut all),
        },
        _ => {}
    }
    all.sort();
    all.dedup();
    all
}

/// A mirror needs its own actions in each destination, and those of the EcrRepository that it makes there.
fn of_mirror(spec: &Value, title: &str, namespace: &str, all: &mut Vec<Need>) {
    let nothing = serde_json::json!([{}]);
    let destinations = spec.get("destinations").filter(|list| list.is_array()).unwrap_or(&nothing);
    for (index, destination) in destinations.as_array().into_iter().flatten().enumerate() {
        let registry = registry_of(destination);
        let image = spec["source"]["image"].as_str().unwrap_or_default();
        let template = destination["repositoryName"].as_str();
        let repository = match image.parse::<oci_copy::Repository>() {
            Ok(source) => repository_name(template, &source, namespace),
            Err(_) => template.unwrap_or(image).to_owned(),
        };
        of_table("ImageMirror", spec, title, registry, Some(&repository), "spec", all);
        if destination["createRepository"] != Value::Bool(false) {
            let field = format!("spec.destinations[{index}].repository");
            of_table("EcrRepository", &destination["repository"], title, registry, Some(&repository), &field, all);
        }
    }
}

fn registry_of(spec: &Value) -> &str {
    spec["registryRef"]["name"].as_str().unwrap_or("default")
}

/// Adds what the table says about `kind` for these values. `spec` is what `field` names in the object.
fn of_table(
    kind: &str,
    spec: &Value,
    title: &str,
    registry: &str,
    repository: Option<&str>,
    field: &str,
    all: &mut Vec<Need>,
) {
    let observes = spec["managementPolicy"] == "Observe";
    for feature in TABLE.iter().filter(|feature| feature.kind == kind && !(observes && feature.changes)) {
        if !applies(feature, spec) {
            continue;
        }
        for action in feature.actions {
            let scope = policy::scope(action);
            let on_repository = scope == ActionScope::Repository;
            let role = spec["pullRole"]["roleArn"].as_str().filter(|_| scope == ActionScope::AssumedRole);
            all.push(Need {
                action,
                registry: registry.to_owned(),
                repository: repository.filter(|_| on_repository).map(str::to_owned),
                role: role.map(str::to_owned),
                object: title.to_owned(),
                field: feature.field.replacen("spec", field, 1),
            });
        }
    }
}

fn applies(feature: &Feature, spec: &Value) -> bool {
    let path = feature.field.strip_prefix("spec").unwrap_or(feature.field);
    let values = values_at(spec, path.trim_start_matches('.'));
    match feature.when {
        When::Always => true,
        When::Present => !values.is_empty(),
        When::Is(wanted) => values.iter().any(|value| is(value, wanted)),
        When::IsNot(other) => !values.iter().any(|value| is(value, other)),
    }
}

/// Whether a text or a boolean is this one.
fn is(value: &Value, wanted: &str) -> bool {
    match value {
        Value::Bool(value) => value.to_string() == wanted,
        value => value == wanted,
    }
}

/// The values at a path such as `settings.creationTemplates[].customRoleArn`. An empty object or list counts as there:
/// it is in the spec.
fn values_at<'a>(value: &'a Value, path: &str) -> Vec<&'a Value> {
    if path.is_empty() {
        return vec![value];
    }
    let (step, rest) = path.split_once('.').unwrap_or((path, ""));
    let (name, each) = step.strip_suffix("[]").map_or((step, false), |name| (name, true));
    match value.get(name).filter(|value| !value.is_null()) {
        None => Vec::new(),
        Some(Value::Array(list)) if each => list.iter().flat_map(|item| values_at(item, rest)).collect(),
        Some(value) => values_at(value, rest),
    }
}

/// The IAM policy that allows what these needs are, on their repositories, and nothing else.
pub fn policy_for(needs: &[Need]) -> Value {
    let actions: BTreeSet<&str> = needs.iter().map(|need| need.action).collect();
    // The list of all repositories is what every EcrRepository is looked up in, and IAM asks for all of them then.
    let lists = actions.contains("ecr:DescribeRepositories");
    let repositories: BTreeSet<String> = needs.iter().filter_map(|need| need.repository.clone()).collect();
    let roles: BTreeSet<String> = needs.iter().filter_map(|need| need.role.clone()).collect();
    let mut document = policy::document(&actions, &repositories, &roles);
    if lists && let Some(statements) = document["Statement"].as_array_mut() {
        for statement in statements.iter_mut().filter(|statement| statement["Sid"] == "Repositories") {
            if let Some(list) = statement["Action"].as_array_mut() {
                list.retain(|action| action != "ecr:DescribeRepositories");
            }
        }
        statements.push(serde_json::json!({
            "Sid": "ListRepositories", "Effect": "Allow", "Action": "ecr:DescribeRepositories", "Resource": "arn:aws:ecr:*:*:repository/*",
        }));
    }
    document
}
