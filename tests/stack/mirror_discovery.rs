//! Mirrors of what workloads use.

use ecr_operator::api::conditions::READY;
use ecr_operator::api::{EcrRegistry, ImageMirror};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::support::{Namespace, Stack, eventually, is_ready, message, push, unique};

const SMALL: &[&str] = &["--layers", "1", "--layer-size", "1024"];

async fn pushed(purpose: &str, seed: u32, tag: &str) -> String {
    let repository = format!("library/{}", unique(purpose));
    push(&format!("{repository}:{tag}"), seed, SMALL).await;
    repository
}

async fn pod(namespace: &Namespace<'_>, name: &str, image: &str) {
    let object = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "main", "image": image}]},
    });
    let params = PatchParams::apply("test").force();
    let api = namespace.api::<Pod>();
    // A new namespace gets its default service account in a moment.
    eventually("the pod is applied", || async { api.patch(name, &params, &Patch::Apply(&object)).await.ok() }).await;
}

async fn deployment(namespace: &Namespace<'_>, name: &str, image: &str) {
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
        },
    });
    let params = PatchParams::apply("test").force();
    namespace.api::<Deployment>().patch(name, &params, &Patch::Apply(&object)).await.expect("it is applied");
}

/// The mirrors that were made for what was found.
async fn made(namespace: &Namespace<'_>) -> Vec<ImageMirror> {
    let all = namespace.api::<ImageMirror>().list(&ListParams::default()).await.unwrap().items;
    all.into_iter().filter(|mirror| mirror.spec.source.from_workloads.is_none()).collect()
}

#[tokio::test]
async fn what_the_workloads_of_its_namespace_use_is_mirrored_as_it_comes_and_goes() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("found").await;
    let (one, two) = (pushed("found", 400, "1").await, pushed("found", 401, "2").await);
    let short = one.strip_prefix("library/").unwrap();
    pod(&namespace, "one", &format!("{short}:1")).await;
    let spec = "source: {fromWorkloads: {registries: [docker.io], retention: 2s}}\ninterval: 10s";
    namespace.apply::<ImageMirror>("all", spec).await;
    let object = namespace.ready::<ImageMirror>("all").await;
    assert_eq!(object.status.as_ref().unwrap().mirrored.as_deref(), Some("1/1"), "{}", message(&object));
    assert!(stack.digest_in_ecr(&format!("docker.io/{one}"), "1").await.is_some());

    // A template that has no pod yet.
    deployment(&namespace, "two", &format!("docker.io/{two}:2")).await;
    let both = |it: &ImageMirror| it.status.as_ref().is_some_and(|it| it.mirrored.as_deref() == Some("2/2"));
    namespace.until::<ImageMirror>("all", "mirroring both", both).await;
    assert!(stack.digest_in_ecr(&format!("docker.io/{two}"), "2").await.is_some());

    namespace.api::<Pod>().delete("one", &Default::default()).await.unwrap();
    eventually("the mirror of what nothing uses any more is gone", || async {
        let made = made(&namespace).await;
        (made.len() == 1 && made[0].spec.source.image == format!("docker.io/{two}")).then_some(())
    })
    .await;
    assert!(stack.digest_in_ecr(&format!("docker.io/{one}"), "1").await.is_some(), "its images stay");
    namespace.cleanup().await;
}

#[tokio::test]
async fn workloads_of_other_namespaces_count_where_the_registry_lets_the_mirror_serve_them() {
    let stack = Stack::connect().await;
    let team = unique("team");
    let namespace = stack.labelled_namespace("finder", json!({"finds": team, "team": team})).await;
    let served = stack.labelled_namespace("served", json!({"team": team})).await;
    let refused = stack.labelled_namespace("refused", json!({"team": team, "private": "yes"})).await;
    let (one, two) = (pushed("served", 410, "1").await, pushed("refused", 411, "1").await);
    pod(&served, "one", &format!("{one}:1")).await;
    pod(&refused, "two", &format!("{two}:1")).await;

    let default = stack.all::<EcrRegistry>().get("default").await.unwrap();
    let mut registry = serde_json::to_value(&default.spec).unwrap();
    registry["access"] = json!([{
        "namespaceSelector": {"matchLabels": {"finds": team}},
        "repositories": ["*"],
        "servesNamespaces": {"matchExpressions": [{"key": "private", "operator": "DoesNotExist"}]},
    }]);
    registry.as_object_mut().unwrap().remove("settings");
    let name = unique("serving");
    stack.apply::<EcrRegistry>(&name, &registry.to_string()).await;
    let spec = format!(
        "source: {{fromWorkloads: {{registries: [docker.io], namespaceSelector: {{matchLabels: {{team: {team}}}}}}}}}\ndestinations: [{{registryRef: {{name: {name}}}}}]"
    );
    namespace.apply::<ImageMirror>("all", &spec).await;
    let object = namespace
        .until::<ImageMirror>("all", "ready with one", |it| {
            is_ready(it) && it.status.as_ref().is_some_and(|it| it.mirrored.as_deref() == Some("1/1"))
        })
        .await;
    let words = message(&object);
    assert!(words.contains("servesNamespaces") && words.contains(&refused.name), "{words}");
    assert!(stack.digest_in_ecr(&format!("docker.io/{one}"), "1").await.is_some());
    assert_eq!(made(&namespace).await.len(), 1);
    for namespace in [namespace, served, refused] {
        namespace.cleanup().await;
    }
    stack.delete::<EcrRegistry>(&name).await;
}

#[tokio::test]
async fn a_tag_that_the_source_does_not_have_is_told_and_holds_up_no_other() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("found-missing").await;
    let there = pushed("there", 420, "1").await;
    pod(&namespace, "there", &format!("{there}:1")).await;
    pod(&namespace, "missing", &format!("{there}-missing:9")).await;
    namespace.apply::<ImageMirror>("all", "source: {fromWorkloads: {registries: [docker.io]}}").await;
    let words = namespace.not_ready::<ImageMirror>("all", "SomeMirrorsFailed").await;
    assert!(words.contains("1 of 2") && words.contains("-missing"), "{words}");
    let in_ecr = format!("docker.io/{there}");
    eventually("the other image is mirrored", || stack.digest_in_ecr(&in_ecr, "1")).await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn what_another_mirror_mirrors_already_shares_its_repository() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("found-shared").await;
    let repository = pushed("shared", 440, "1").await;
    push(&format!("{repository}:2"), 441, SMALL).await;
    let by_name = format!("source: {{image: docker.io/{repository}}}\ntags: {{names: ['1']}}");
    namespace.apply::<ImageMirror>("named", &by_name).await;
    namespace.ready::<ImageMirror>("named").await;
    pod(&namespace, "two", &format!("{repository}:2")).await;
    namespace.apply::<ImageMirror>("all", "source: {fromWorkloads: {registries: [docker.io]}}").await;
    namespace.ready::<ImageMirror>("all").await;
    let in_ecr = format!("docker.io/{repository}");
    assert!(stack.digest_in_ecr(&in_ecr, "1").await.is_some() && stack.digest_in_ecr(&in_ecr, "2").await.is_some());
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_mirror_that_is_suspended_or_deleted_takes_those_that_it_made_with_it() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("found-gone").await;
    let repository = pushed("gone", 430, "1").await;
    pod(&namespace, "one", &format!("{repository}:1")).await;
    let spec = "source: {fromWorkloads: {registries: [docker.io]}}";
    namespace.apply::<ImageMirror>("all", spec).await;
    namespace.ready::<ImageMirror>("all").await;
    namespace.apply::<ImageMirror>("all", &format!("{spec}\nsuspend: true")).await;
    eventually("the mirror that was made is suspended", || async {
        let made = made(&namespace).await;
        let status = made.first()?.status.as_ref()?;
        status.common.condition(READY).filter(|ready| ready.reason == "Suspended").map(drop)
    })
    .await;
    namespace.delete::<ImageMirror>("all").await;
    eventually("the mirrors that were made are gone", || async { made(&namespace).await.is_empty().then_some(()) })
        .await;
    assert!(stack.digest_in_ecr(&format!("docker.io/{repository}"), "1").await.is_some(), "images stay");
    namespace.cleanup().await;
}

#[tokio::test]
async fn what_does_not_go_with_workloads_as_a_source_is_refused() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("found-bad").await;
    let source = "source: {fromWorkloads: {registries: [docker.io, quay.io]}}";
    for (spec, words) in [
        (
            "source: {image: nginx, fromWorkloads: {registries: [docker.io]}}\ntags: {names: [a]}".to_owned(),
            "either image or fromWorkloads",
        ),
        ("source: {}\ntags: {names: [a]}".to_owned(), "either image or fromWorkloads"),
        (format!("{source}\ntags: {{latest: 3}}"), "only tags.minAge goes with it"),
        (format!("{source}\ndestinations: [{{repositoryName: fixed}}]"), "needs {path}"),
        (format!("{source}\ndestinations: [{{repositoryName: 'm/{{path}}'}}]"), "{host} where there are several"),
        ("source: {fromWorkloads: {registries: ['https://docker.io']}}".to_owned(), "each is a host"),
        ("source: {fromWorkloads: {registries: []}}".to_owned(), "registries"),
    ] {
        let error = namespace.try_apply::<ImageMirror>("bad", &spec).await.expect_err(&spec);
        assert!(error.to_string().contains(words), "{spec}: {error}");
    }
    for spec in [
        format!("{source}\ntags: {{minAge: 72h}}"),
        format!("{source}\ndestinations: [{{repositoryName: 'm/{{host}}/{{path}}'}}]"),
    ] {
        let object = namespace.try_apply::<ImageMirror>("good", &spec).await.expect(&spec);
        assert_eq!(object.name_any(), "good");
    }
    namespace.cleanup().await;
}
