//! New pods get mirrored images: the API server's answers, asked for with dry runs.

use std::collections::BTreeMap;

use ecr_operator::api::conditions::REWRITES_PODS;
use ecr_operator::api::{
    EcrRegistry, ImageMirror, MANAGED_BY, MANAGED_BY_LABEL, ORIGINAL_IMAGE, ORIGINAL_VOLUME, REWRITE_LABEL,
};
use ecr_operator::rewrite::policy::FailurePolicy;
use ecr_operator::rewrite::{RewrittenImages, rewritten};
use k8s_openapi::api::core::v1::{Namespace as KubeNamespace, Pod};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::rewriting::{OwnPolicy, bindings, dry_run, gets, image, pod_of};
use crate::support::{Namespace, Stack, env, eventually, push, unique};

const SMALL: &[&str] = &["--layers", "1", "--layer-size", "1024"];

/// The operator's binding with the images of a repository for the pods of a namespace, and their key in it.
async fn binding_with(stack: &Stack, namespace: &Namespace<'_>, repository: &str) -> (DynamicObject, String) {
    let ours = ListParams::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}"));
    let key = format!("{}/rdocker.io_{}", namespace.name, repository.replace('/', "_"));
    let found = eventually("a binding has the images", || async {
        let all = bindings(stack).list(&ours).await.unwrap();
        all.items.into_iter().find(|binding| binding.annotations().contains_key(&key))
    });
    (found.await, key)
}

/// A source repository with one tag, and the spec of a mirror of it.
async fn mirror(purpose: &str, seed: u32, rewrite: &str) -> (String, String, String) {
    let repository = format!("library/{}", unique(purpose));
    let digest = push(&format!("{repository}:1"), seed, SMALL).await;
    let spec = format!("source: {{image: docker.io/{repository}}}\ntags: {{names: ['1']}}\nrewrite: {rewrite}");
    (repository, digest, spec)
}

/// What a mirror says of the pods that it reaches: status, reason, and message.
fn told(mirror: &ImageMirror) -> Option<(String, String, String)> {
    let condition = mirror.status.as_ref()?.common.condition(REWRITES_PODS)?;
    Some((condition.status.clone(), condition.reason.clone(), condition.message.clone()))
}

async fn until_told(namespace: &Namespace<'_>, name: &str, reason: &str) -> String {
    let is_so = |mirror: &ImageMirror| told(mirror).is_some_and(|(_, told, _)| told == reason);
    told(&namespace.until(name, reason, is_so).await).unwrap().2
}

#[tokio::test]
async fn the_api_server_and_the_function_in_rust_give_the_same_answers() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("table").await;
    let name = unique("table");
    let images: BTreeMap<String, RewrittenImages> =
        serde_json::from_str(include_str!("../../src/rewrite/testdata/images.json")).unwrap();
    let own = OwnPolicy::create(&namespace, &name, FailurePolicy::Fail, &images).await;
    let nginx = rewritten("nginx", &images).unwrap();
    gets(&namespace, "nginx", &nginx).await;

    let table = include_str!("../../src/rewrite/testdata/references.tsv");
    let lines: Vec<(&str, &str)> = table.lines().filter_map(|line| line.split_once('\t')).collect();
    assert!(lines.len() >= 60);
    for (named, expected) in lines {
        assert_eq!(rewritten(named, &images).as_deref().unwrap_or("-"), expected, "{named} in Rust");
        let expected = if expected == "-" { named } else { expected };
        let pod = dry_run(&namespace, &pod_of(named)).await.unwrap_or_else(|error| panic!("{named}: {error}"));
        assert_eq!(image(&pod), expected, "{named} in the API server");
        let original = pod.annotations().get(&format!("{ORIGINAL_IMAGE}main"));
        assert_eq!(original.map(String::as_str), (expected != named).then_some(named), "{named}");
    }
    own.delete(&stack).await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn pods_of_the_mirrors_namespace_get_what_was_mirrored_until_the_mirror_goes() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("rewrite").await;
    let other = stack.namespace("rewrite-other").await;
    let (repository, digest, spec) = mirror("rewrite", 500, "{pods: SameNamespace, pin: true}").await;
    let short = repository.strip_prefix("library/").unwrap();
    namespace.apply::<ImageMirror>("it", &spec).await;
    let words = until_told(&namespace, "it", "Succeeded").await;
    assert!(words.contains("new pods of 1 namespace get 1 image from"), "{words}");

    let ecr = format!("{}/docker.io/{repository}", env("ECR_REGISTRY"));
    let pinned = format!("{ecr}:1@{digest}");
    let named = format!("{short}:1");
    gets(&namespace, &named, &pinned).await;
    let pod = json!({
        "metadata": {"name": "all", "annotations": {"kept": "yes"}},
        "spec": {
            "initContainers": [{"name": "init", "image": format!("docker.io/{repository}:1")}],
            "containers": [
                {"name": "by-digest", "image": format!("{short}@{digest}")},
                {"name": "unknown-tag", "image": format!("{short}:2")},
                {"name": "elsewhere", "image": format!("quay.io/{repository}:1")},
            ],
            "volumes": [{"name": "data", "image": {"reference": named}}, {"name": "empty", "emptyDir": {}}],
        },
    });
    let pod = dry_run(&namespace, &pod).await.unwrap();
    let spec_of = pod.spec.as_ref().unwrap();
    assert_eq!(spec_of.init_containers.as_ref().unwrap()[0].image.as_ref(), Some(&pinned));
    let images: Vec<_> = spec_of.containers.iter().map(|container| container.image.clone().unwrap()).collect();
    assert_eq!(images, [format!("{ecr}@{digest}"), format!("{short}:2"), format!("quay.io/{repository}:1")]);
    let volume = spec_of.volumes.as_ref().unwrap().iter().find(|volume| volume.name == "data").unwrap();
    assert_eq!(volume.image.as_ref().unwrap().reference.as_ref(), Some(&pinned));
    let annotation = |name: String| pod.annotations().get(&name).cloned();
    assert_eq!(annotation("kept".into()).as_deref(), Some("yes"));
    assert_eq!(annotation(format!("{ORIGINAL_IMAGE}init")), Some(format!("docker.io/{repository}:1")));
    assert_eq!(annotation(format!("{ORIGINAL_IMAGE}by-digest")), Some(format!("{short}@{digest}")));
    assert_eq!(annotation(format!("{ORIGINAL_IMAGE}unknown-tag")), None);
    assert_eq!(annotation(format!("{ORIGINAL_VOLUME}data")), Some(named.clone()));
    gets(&other, &named, &named).await;

    // Pods, and namespaces, that don't want it.
    let mut off = pod_of(&named);
    off["metadata"]["labels"] = json!({REWRITE_LABEL: "disabled"});
    assert_eq!(image(&dry_run(&namespace, &off).await.unwrap()), named);
    let mut of_the_kubelet = pod_of(&named);
    of_the_kubelet["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    if let Ok(pod) = dry_run(&namespace, &of_the_kubelet).await {
        assert_eq!(image(&pod), named, "a mirror pod stays as the kubelet made it");
    }
    let label = |value: Value| json!({"metadata": {"labels": {REWRITE_LABEL: value}}});
    let namespaces = stack.all::<KubeNamespace>();
    let params = PatchParams::default();
    namespaces.patch(&namespace.name, &params, &Patch::Merge(label(json!("disabled")))).await.unwrap();
    gets(&namespace, &named, &named).await;
    let words = until_told(&namespace, "it", "NoNamespace").await;
    assert!(words.contains(REWRITE_LABEL), "{words}");
    namespaces.patch(&namespace.name, &params, &Patch::Merge(label(Value::Null))).await.unwrap();
    gets(&namespace, &named, &pinned).await;

    namespace.delete::<ImageMirror>("it").await;
    gets(&namespace, &named, &named).await;
    for namespace in [namespace, other] {
        namespace.cleanup().await;
    }
}

#[tokio::test]
async fn a_debug_container_gets_the_mirrored_image_and_leaves_the_others_alone() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("debug").await;
    let (repository, _, spec) = mirror("debug", 510, "{pods: SameNamespace}").await;
    let named = format!("{repository}:1");
    // There before the mirror, with one debug container too.
    let mut pod = pod_of(&named);
    pod["metadata"]["name"] = "old".into();
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let pods = namespace.api::<Pod>();
    eventually("the pod is created", || async { pods.create(&PostParams::default(), &pod).await.ok() }).await;
    let debug = |name: &str| json!({"spec": {"ephemeralContainers": [{"name": name, "image": named}]}});
    let params = PatchParams::default();
    pods.patch_ephemeral_containers("old", &params, &Patch::Strategic(debug("before"))).await.unwrap();
    namespace.apply::<ImageMirror>("it", &spec).await;
    let expected = format!("{}/docker.io/{repository}:1", env("ECR_REGISTRY"));
    gets(&namespace, &named, &expected).await;
    let pod = pods.patch_ephemeral_containers("old", &params, &Patch::Strategic(debug("after"))).await.unwrap();
    let spec = pod.spec.as_ref().unwrap();
    let of = |name: &str| {
        let all = spec.ephemeral_containers.as_ref().unwrap();
        all.iter().find(|container| container.name == name).unwrap().image.clone()
    };
    assert_eq!((of("before"), of("after")), (Some(named.clone()), Some(expected)));
    assert_eq!(image(&pod), named, "what runs stays as it is");
    // An update of the pod changes no image of it.
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(image(&pods.patch("old", &params, &Patch::Merge(labels)).await.unwrap()), named);
    namespace.cleanup().await;
}

#[tokio::test]
async fn other_namespaces_are_reached_where_the_registry_lets_the_mirror_serve_them() {
    let stack = Stack::connect().await;
    let team = unique("team");
    let namespace = stack.labelled_namespace("platform", json!({"platform": team})).await;
    let shop = stack.labelled_namespace("shop", json!({"team": team})).await;
    let bank = stack.labelled_namespace("bank", json!({"team": team, "private": "yes"})).await;
    let default = stack.all::<EcrRegistry>().get("default").await.unwrap();
    let mut registry = serde_json::to_value(&default.spec).unwrap();
    registry["access"] = json!([{
        "namespaceSelector": {"matchLabels": {"platform": team}},
        "repositories": ["*"],
        "servesNamespaces": {"matchExpressions": [{"key": "private", "operator": "DoesNotExist"}]},
    }]);
    registry.as_object_mut().unwrap().remove("settings");
    let name = unique("serving");
    stack.apply::<EcrRegistry>(&name, &registry.to_string()).await;

    let selector = format!("{{pods: SelectedNamespaces, namespaceSelector: {{matchLabels: {{team: {team}}}}}}}");
    let (repository, _, spec) = mirror("served", 520, &selector).await;
    let spec = format!("{spec}\ndestinations: [{{registryRef: {{name: {name}}}}}]");
    namespace.apply::<ImageMirror>("it", &spec).await;
    let named = format!("{repository}:1");
    let expected = format!("{}/docker.io/{repository}:1", env("ECR_REGISTRY"));
    gets(&shop, &named, &expected).await;
    gets(&bank, &named, &named).await;
    gets(&namespace, &named, &named).await;
    let words = until_told(&namespace, "it", "Succeeded").await;
    assert!(words.contains("new pods of 1 namespace") && words.contains(&bank.name), "{words}");

    // The registry changes its mind.
    registry["access"][0]["servesNamespaces"] = json!({"matchLabels": {"team": "nobody"}});
    stack.apply::<EcrRegistry>(&name, &registry.to_string()).await;
    gets(&shop, &named, &named).await;
    until_told(&namespace, "it", "NamespaceNotAllowed").await;
    for namespace in [namespace, shop, bank] {
        namespace.cleanup().await;
    }
    stack.delete::<EcrRegistry>(&name).await;
}

#[tokio::test]
async fn what_somebody_deletes_or_edits_is_put_right() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("drift").await;
    let (repository, _, spec) = mirror("drift", 530, "{pods: SameNamespace}").await;
    namespace.apply::<ImageMirror>("it", &spec).await;
    let named = format!("{repository}:1");
    let expected = format!("{}/docker.io/{repository}:1", env("ECR_REGISTRY"));
    gets(&namespace, &named, &expected).await;
    let (binding, key) = binding_with(&stack, &namespace, &repository).await;
    let role = binding.owner_references().first().expect("it goes with the release");
    assert_eq!((role.kind.as_str(), role.name.as_str()), ("ClusterRole", "ecr-operator"));
    bindings(&stack).delete(&binding.name_any(), &DeleteParams::default()).await.unwrap();
    gets(&namespace, &named, &named).await;
    gets(&namespace, &named, &expected).await;

    let edit = |key: &str, value: Value| Patch::Merge(json!({"metadata": {"annotations": {key: value}}}));
    let params = PatchParams::default();
    bindings(&stack).patch(&binding.name_any(), &params, &edit(&key, Value::Null)).await.unwrap();
    gets(&namespace, &named, &expected).await;
    // Images that no mirror has.
    let strange = format!("{}/rstrange", namespace.name);
    bindings(&stack).patch(&binding.name_any(), &params, &edit(&strange, json!("x"))).await.unwrap();
    eventually("it goes again", || async {
        let (binding, _) = binding_with(&stack, &namespace, &repository).await;
        (!binding.annotations().contains_key(&strange)).then_some(())
    })
    .await;
    gets(&namespace, &named, &expected).await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("rewrite-bad").await;
    for (rewrite, words) in [
        ("{pods: SelectedNamespaces}", "namespaceSelector goes with"),
        ("{pods: SameNamespace, namespaceSelector: {}}", "namespaceSelector goes with"),
        ("{pods: All}", "pods"),
        ("{pin: true}", "pods"),
    ] {
        let spec = format!("source: {{image: nginx}}\ntags: {{names: ['1']}}\nrewrite: {rewrite}");
        let error = namespace.try_apply::<ImageMirror>("bad", &spec).await.expect_err(rewrite);
        assert!(error.to_string().contains(words), "{rewrite}: {error}");
    }
    namespace.cleanup().await;
}
