//! The objects in the cluster that a plan comes to. Nothing here does I/O.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::plan::{Layer, Plan};
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL};
use crate::rewrite::policy::{BINDING, FailurePolicy, POLICY, policy};
use crate::rewrite::shards::{NAMES, Shard, shards};
use crate::rewrite::{RewrittenImages, binding, entry};

/// The kinds of these objects, in the order in which they are applied; they are deleted the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Policy,
    Binding,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Policy, Self::Binding];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Policy => "MutatingAdmissionPolicy",
            Self::Binding => BINDING,
        }
    }
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: Kind,
    pub(super) name: String,
}

/// The objects, with what of them is ours: `labels`, `annotations` and `ownerReferences` of `metadata`, and `spec`.
pub(super) type Objects = BTreeMap<Key, Value>;

/// What all objects have, whatever the mirrors say.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    pub(super) failure_policy: FailurePolicy,
    /// The version in which the API server has admission policies.
    pub(super) version: &'static str,
    /// What the objects go with, as an owner reference: the ClusterRole of the release.
    pub(super) owner: Option<Value>,
}

/// The objects that a plan comes to; none where no mirror has an image for a pod.
pub(super) fn objects(plan: &Plan, settings: &Settings) -> Objects {
    let mut objects = Objects::new();
    let mut add = |kind, name: String, mut object: Value| {
        object["metadata"]["labels"][MANAGED_BY_LABEL] = MANAGED_BY.into();
        if let Some(owner) = &settings.owner {
            object["metadata"]["ownerReferences"] = json!([owner]);
        }
        objects.insert(Key { kind, name }, object);
    };
    if !plan.layers.is_empty() {
        add(Kind::Policy, POLICY.to_owned(), json!({"spec": policy(settings.failure_policy, settings.version)}));
    }
    for Layer { id, selector, entries } in &plan.layers {
        for (number, shard) in shards(entries) {
            let name = binding::name(id, number);
            let object = binding::binding(&name, id, selector.as_ref(), &shard);
            add(Kind::Binding, name, object);
        }
    }
    objects
}

/// The annotations of a binding that images are looked up in, of all that it has. No namespace has a dot in its name, and what other
/// programs write begins with a domain.
pub(super) fn images(object: &Value) -> Shard {
    let all = object["metadata"]["annotations"].as_object().into_iter().flatten();
    let is_ours = |key: &str| key == NAMES || key.split_once('/').is_some_and(|(whose, _)| !whose.contains('.'));
    let ours = all.filter(|(key, _)| is_ours(key));
    ours.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// By repositories in ECR: the tags, and digests, that the bindings have images for, each with its digest.
pub(super) fn digests(objects: &Objects) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut all: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let texts = objects.values().flat_map(images).filter_map(|(_, text)| entry::read(&text));
    for (_, RewrittenImages { repository, tags, digests, .. }) in texts {
        let of = all.entry(repository).or_default();
        of.extend(tags);
        of.extend(digests.into_iter().map(|digest| (digest.clone(), digest)));
    }
    all
}

/// How an object of a kind is written: all of it, for server-side apply.
pub(super) fn applied(key: &Key, api_version: &str, ours: &Value) -> Value {
    let mut object = ours.clone();
    object["apiVersion"] = api_version.into();
    object["kind"] = key.kind.name().into();
    object["metadata"]["name"] = key.name.as_str().into();
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
pub(super) fn is_as(object: &Value, ours: &Value) -> bool {
    has(object, ours) && images(object) == images(ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::entry::entries;
    use crate::rewrite::policy::OWN;

    fn layer(id: &str, sources: usize) -> Layer {
        let images = RewrittenImages {
            repository: "ecr/it".into(),
            tags: [("1".into(), format!("sha256:{:064x}", 1))].into(),
            ..RewrittenImages::default()
        };
        let of = |number| entries(&format!("docker.io/library/it{number}"), &images);
        let entries = (0..sources).flat_map(of).map(|entry| ("team-a".to_owned(), entry));
        Layer { id: id.into(), selector: None, entries: entries.collect() }
    }

    fn planned(layers: Vec<Layer>) -> Objects {
        objects(&Plan { layers, verdicts: Vec::new() }, &Settings { version: "v1", ..Settings::default() })
    }

    #[test]
    fn without_images_there_is_no_policy() {
        assert!(planned(vec![]).is_empty());
    }

    #[test]
    fn each_binding_has_the_images_that_it_binds_the_policy_to() {
        let objects = planned(vec![layer(OWN, 2), layer("1f", 1)]);
        let names: Vec<_> = objects.keys().map(|key| format!("{:?} {}", key.kind, key.name)).collect();
        assert_eq!(
            names,
            [
                "Policy rewrite.ecr-operator.io",
                "Binding 1f-0.rewrite.ecr-operator.io",
                "Binding own-0.rewrite.ecr-operator.io"
            ]
        );
        let own = objects.values().last().expect("the last one");
        assert_eq!(own["spec"]["paramRef"]["name"], "own-0.rewrite.ecr-operator.io");
        assert_eq!(
            images(own).keys().collect::<Vec<_>>(),
            [NAMES, "team-a/rdocker.io_library_it0", "team-a/rdocker.io_library_it1"]
        );
    }

    #[test]
    fn what_bindings_have_can_be_read_from_them() {
        let digests = digests(&planned(vec![layer(OWN, 2)]));
        assert_eq!(digests, [("ecr/it".to_owned(), [("1".to_owned(), format!("sha256:{:064x}", 1))].into())].into());
    }

    #[test]
    fn all_objects_go_with_the_release() {
        let plan = Plan { layers: vec![layer(OWN, 1)], verdicts: Vec::new() };
        let owner = json!({"kind": "ClusterRole", "name": "ecr-operator"});
        let settings = Settings { owner: Some(owner.clone()), ..Settings::default() };
        assert!(objects(&plan, &settings).values().all(|object| object["metadata"]["ownerReferences"][0] == owner));
    }

    #[test]
    fn what_the_api_server_adds_makes_no_difference_and_what_somebody_edits_does() {
        let ours = json!({"metadata": {"annotations": {"team-a/ra": "x"}}, "spec": {"rules": [{"a": 1}], "on": true}});
        let with = |path: &str, value: Value| {
            let mut object = ours.clone();
            *object.pointer_mut(path).expect("there") = value;
            object
        };
        let noted = json!({"team-a/ra": "x", "other.example.com/note": "y"});
        for defaulted in [with("/spec/rules/0", json!({"a": 1, "scope": "*"})), with("/metadata/annotations", noted)] {
            assert!(is_as(&defaulted, &ours), "{defaulted}");
        }
        for edited in [
            with("/spec/rules/0", json!({"a": 2})),
            with("/spec/rules", json!([{"a": 1}, {}])),
            with("/spec", json!({"rules": [{"a": 1}]})),
            with("/metadata/annotations", json!({"team-a/ra": "y"})),
            with("/metadata/annotations", json!({"team-a/ra": "x", "team-a/rb": "z"})),
        ] {
            assert!(!is_as(&edited, &ours), "{edited}");
        }
    }
}
