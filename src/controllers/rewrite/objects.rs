//! The objects in the cluster that a plan comes to. Nothing here does I/O.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::plan::{Layer, Plan};
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL, REWRITES_FOR_LABEL};
use crate::rewrite::policy::{FailurePolicy, OWN, POLICY, policy};

/// The kinds of these objects, in the order in which they are applied; they are deleted the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Images,
    Policy,
    Binding,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Images, Self::Policy, Self::Binding];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Images => "ImageRewrite",
            Self::Policy => "MutatingAdmissionPolicy",
            Self::Binding => "MutatingAdmissionPolicyBinding",
        }
    }
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: Kind,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

/// The objects, with what of them is ours: `metadata.labels`, `metadata.ownerReferences` and `spec`.
pub(super) type Objects = BTreeMap<Key, Value>;

/// What all objects have, whatever the mirrors say.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) failure_policy: FailurePolicy,
    /// What the objects go with, as an owner reference: the ClusterRole of the release.
    pub(super) owner: Option<Value>,
}

/// The objects that a plan comes to; none where no mirror has an image for a pod.
pub(super) fn objects(plan: &Plan, settings: &Settings) -> Objects {
    let mut objects = Objects::new();
    let mut add = |kind, namespace: Option<&String>, name: String, label: Option<&str>, spec: Value| {
        let mut labels = json!({MANAGED_BY_LABEL: MANAGED_BY});
        if let Some(label) = label {
            labels[REWRITES_FOR_LABEL] = label.into();
        }
        let mut metadata = json!({"labels": labels});
        if let Some(owner) = &settings.owner {
            metadata["ownerReferences"] = json!([owner]);
        }
        let key = Key { kind, namespace: namespace.cloned(), name };
        objects.insert(key, json!({"metadata": metadata, "spec": spec}));
    };
    for layer in &plan.layers {
        for (number, shard) in layer.shards.iter().enumerate() {
            let name = format!("{}-{number}", layer.id);
            add(Kind::Images, Some(&layer.namespace), name, Some(&layer.id), json!({"images": shard}));
        }
    }
    if !plan.layers.is_empty() {
        add(Kind::Policy, None, POLICY.to_owned(), None, policy(settings.failure_policy));
    }
    if plan.layers.iter().any(|layer| layer.id == OWN) {
        add(Kind::Binding, None, format!("{OWN}.{POLICY}"), None, binding(OWN, None));
    }
    for layer in plan.layers.iter().filter(|layer| layer.id != OWN) {
        add(Kind::Binding, None, format!("{}.{POLICY}", layer.id), None, binding(&layer.id, Some(layer)));
    }
    objects
}

/// Binds the policy to the images of a layer, or to those in a pod's own namespace.
///
/// Images are found by label, never by name: for a name that is not there the API server asks etcd at every pod.
fn binding(id: &str, layer: Option<&Layer>) -> Value {
    let mut reference =
        json!({"selector": {"matchLabels": {REWRITES_FOR_LABEL: id}}, "parameterNotFoundAction": "Allow"});
    let mut spec = json!({"policyName": POLICY});
    if let Some(layer) = layer {
        reference["namespace"] = layer.namespace.as_str().into();
        spec["matchResources"] = json!({"namespaceSelector": layer.selector});
    }
    spec["paramRef"] = reference;
    spec
}

/// How an object of a kind is written: all of it, for server-side apply.
pub(super) fn applied(key: &Key, api_version: &str, ours: &Value) -> Value {
    let mut object = ours.clone();
    object["apiVersion"] = api_version.into();
    object["kind"] = key.kind.name().into();
    object["metadata"]["name"] = key.name.as_str().into();
    if let Some(namespace) = &key.namespace {
        object["metadata"]["namespace"] = namespace.as_str().into();
    }
    object
}

/// Whether an object has all that it should have. The API server adds defaults to what it has beside that.
pub(in crate::controllers) fn has(object: &Value, ours: &Value) -> bool {
    match (object, ours) {
        (Value::Object(object), Value::Object(ours)) => {
            ours.iter().all(|(key, ours)| object.get(key).is_some_and(|object| has(object, ours)))
        }
        (Value::Array(object), Value::Array(ours)) => {
            object.len() == ours.len() && object.iter().zip(ours).all(|(object, ours)| has(object, ours))
        }
        (object, ours) => object == ours,
    }
}

/// Whether an object is as it should be. Of images not one may be too many.
pub(super) fn is_as(kind: Kind, object: &Value, ours: &Value) -> bool {
    has(object, ours) && (kind != Kind::Images || object["spec"] == ours["spec"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

    fn layer(namespace: &str, id: &str, shards: usize) -> Layer {
        let selector = (id != OWN).then(LabelSelector::default);
        Layer { namespace: namespace.into(), id: id.into(), selector, shards: vec![Default::default(); shards] }
    }

    fn names(layers: Vec<Layer>) -> Vec<String> {
        let plan = Plan { layers, verdicts: Vec::new() };
        let objects = objects(&plan, &Settings::default());
        objects.keys().map(|key| format!("{:?} {}", key.kind, key.name)).collect()
    }

    #[test]
    fn without_images_there_is_no_policy() {
        assert!(names(vec![]).is_empty());
    }

    #[test]
    fn one_policy_serves_all_and_one_binding_all_own_namespaces() {
        assert_eq!(
            names(vec![layer("a", OWN, 2), layer("p", "1f", 1)]),
            [
                "Images own-0",
                "Images own-1",
                "Images 1f-0",
                "Policy rewrite.ecr-operator.io",
                "Binding 1f.rewrite.ecr-operator.io",
                "Binding own.rewrite.ecr-operator.io"
            ]
        );
    }

    #[test]
    fn all_objects_go_with_the_release() {
        let plan = Plan { layers: vec![layer("a", OWN, 1)], verdicts: Vec::new() };
        let owner = json!({"kind": "ClusterRole", "name": "ecr-operator"});
        let settings = Settings { owner: Some(owner.clone()), ..Settings::default() };
        assert!(objects(&plan, &settings).values().all(|object| object["metadata"]["ownerReferences"][0] == owner));
    }

    #[test]
    fn what_the_api_server_adds_makes_no_difference_and_what_somebody_edits_does() {
        let ours = json!({"spec": {"rules": [{"a": 1}], "on": true}});
        let defaulted = json!({"spec": {"rules": [{"a": 1, "scope": "*"}], "on": true, "more": 1}});
        assert!(is_as(Kind::Policy, &defaulted, &ours) && !is_as(Kind::Images, &defaulted, &ours));
        for edited in [
            json!({"spec": {"rules": [{"a": 2}], "on": true}}),
            json!({"spec": {"rules": [{"a": 1}, {}], "on": true}}),
            json!({"spec": {"rules": [{"a": 1}]}}),
        ] {
            assert!(!has(&edited, &ours), "{edited}");
        }
    }
}
