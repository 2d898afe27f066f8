//! Pods as the API server would create them, and the objects by which it rewrites their images.

use std::collections::BTreeMap;

use ecr_operator::rewrite::policy::{FailurePolicy, OWN, policy};
use ecr_operator::rewrite::{RewrittenImages, binding, entry, shards};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, DynamicObject, PostParams};
use kube::core::ApiResource;
use serde_json::{Value, json};

use super::{Namespace, Stack, eventually};

fn kind(kind: &str, plural: &str) -> ApiResource {
    ApiResource {
        group: "admissionregistration.k8s.io".into(),
        version: "v1".into(),
        api_version: "admissionregistration.k8s.io/v1".into(),
        kind: kind.into(),
        plural: plural.into(),
    }
}

pub fn policies(stack: &Stack) -> Api<DynamicObject> {
    Api::all_with(stack.client.clone(), &kind("MutatingAdmissionPolicy", "mutatingadmissionpolicies"))
}

pub fn bindings(stack: &Stack) -> Api<DynamicObject> {
    Api::all_with(stack.client.clone(), &kind("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings"))
}

/// A pod as the API server would create it.
pub async fn dry_run(namespace: &Namespace<'_>, pod: &Value) -> Result<Pod, kube::Error> {
    let pod: Pod = serde_json::from_value(pod.clone()).unwrap();
    namespace.api::<Pod>().create(&PostParams { dry_run: true, ..PostParams::default() }, &pod).await
}

pub fn pod_of(image: &str) -> Value {
    json!({"metadata": {"name": "it"}, "spec": {"containers": [{"name": "main", "image": image}]}})
}

pub fn image(pod: &Pod) -> &str {
    pod.spec.as_ref().unwrap().containers[0].image.as_deref().unwrap()
}

/// Waits until a pod with this image gets that one.
pub async fn gets(namespace: &Namespace<'_>, named: &str, expected: &str) -> Pod {
    eventually(&format!("a pod with {named} gets {expected}"), || async {
        // A new namespace gets its default service account in a moment.
        dry_run(namespace, &pod_of(named)).await.ok().filter(|pod| image(pod) == expected)
    })
    .await
}

/// A policy as the operator would make it, with images of the test's own, for the pods of one namespace.
pub struct OwnPolicy {
    name: String,
    bindings: Vec<String>,
}

impl OwnPolicy {
    pub async fn create(
        namespace: &Namespace<'_>,
        name: &str,
        failure_policy: FailurePolicy,
        images: &BTreeMap<String, RewrittenImages>,
    ) -> Self {
        let object = |kind: &str, mut object: Value| -> DynamicObject {
            object["apiVersion"] = "admissionregistration.k8s.io/v1".into();
            object["kind"] = kind.into();
            serde_json::from_value(object).unwrap()
        };
        let params = PostParams::default();
        let ours = object(
            "MutatingAdmissionPolicy",
            json!({"metadata": {"name": name}, "spec": policy(failure_policy, "v1")}),
        );
        policies(namespace.stack).create(&params, &ours).await.expect("the API server takes the policy");
        let entries: Vec<_> = images
            .iter()
            .flat_map(|(source, images)| entry::entries(source, images))
            .map(|entry| (namespace.name.clone(), entry))
            .collect();
        let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace.name}});
        let selector = serde_json::from_value(selector).unwrap();
        let mut names = Vec::new();
        for (number, shard) in shards::shards(&entries) {
            let its = format!("{name}-{number}");
            let mut binding = binding::binding(&its, OWN, Some(&selector), &shard);
            binding["metadata"]["name"] = its.as_str().into();
            binding["spec"]["policyName"] = name.into();
            bindings(namespace.stack)
                .create(&params, &object("MutatingAdmissionPolicyBinding", binding))
                .await
                .expect("the API server takes the binding");
            names.push(its);
        }
        Self { name: name.to_owned(), bindings: names }
    }

    pub async fn delete(self, stack: &Stack) {
        let params = DeleteParams::default();
        for binding in &self.bindings {
            bindings(stack).delete(binding, &params).await.unwrap();
        }
        policies(stack).delete(&self.name, &params).await.unwrap();
    }
}
