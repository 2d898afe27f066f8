//! The policy's bindings, each with the images that it binds the policy to.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

use super::policy::POLICY;
use super::shards::Shard;
use crate::api::REWRITES_FOR_LABEL;

/// The name of the binding with a number, of those with an id.
pub fn name(id: &str, number: usize) -> String {
    format!("{id}-{number}.{POLICY}")
}

/// Metadata and spec of a binding: for the pods of which namespaces, and with which images.
pub fn binding(name: &str, id: &str, selector: Option<&LabelSelector>, shard: &Shard) -> Value {
    // Its own parameter, by name: by label the API server would look through all bindings for each.
    let itself = json!({"name": name, "parameterNotFoundAction": "Allow"});
    let mut spec = json!({"policyName": POLICY, "paramRef": itself});
    if let Some(selector) = selector {
        spec["matchResources"] = json!({"namespaceSelector": selector});
    }
    json!({"metadata": {"labels": {REWRITES_FOR_LABEL: id}, "annotations": shard}, "spec": spec})
}
