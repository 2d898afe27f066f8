//! What kstatus, Flux and Argo CD make of objects that the operator works on.

use ecr_operator::api::{EcrPullSecret, EcrRegistry, EcrRepository, ImageMirror};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::repository::put_image_as;
use crate::support::{OurKind, Stack, has_reason, push, run_with_input};

/// The verdicts of kstatus, of Flux with the example's expressions, and of Argo CD with the example's health check.
async fn judged<K: OurKind>(object: &K) -> [String; 3] {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let (flux, lua) = (format!("{examples}/flux/kustomizations.yaml"), format!("{examples}/argo-cd/health.lua"));
    let mut object = serde_json::to_value(object).unwrap();
    object["apiVersion"] = json!(K::api_version(&()));
    object["kind"] = json!(K::kind(&()));
    let verdict = run_with_input("kstatus", &["-flux", &flux, "-lua", &lua], &[], &object.to_string()).await;
    let verdict: Value = serde_json::from_str(&verdict.expect("a verdict")).unwrap();
    ["kstatus", "flux", "argo"].map(|judge| verdict[judge].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_object_is_in_progress_until_it_was_looked_at_and_current_when_it_is_ready() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("judged").await;
    // What the API server answers, before any operator can have seen it.
    let new = namespace.apply::<EcrRepository>("api", "{}").await;
    assert_eq!(judged(&new).await, ["InProgress", "InProgress", "Progressing"]);
    assert_eq!(judged(&namespace.ready::<EcrRepository>("api").await).await, ["Current", "Current", "Healthy"]);
    // A change of the spec: what the status says is about another generation.
    let changed = namespace.apply::<EcrRepository>("api", "{scanOnPush: true}").await;
    assert_eq!(judged(&changed).await, ["InProgress", "InProgress", "Progressing"]);
    namespace.ready::<EcrRepository>("api").await;

    let new = namespace.apply::<EcrPullSecret>("pull", "{registries: [{name: default}]}").await;
    assert_eq!(judged(&new).await, ["InProgress", "InProgress", "Progressing"]);
    assert_eq!(judged(&namespace.ready::<EcrPullSecret>("pull").await).await, ["Current", "Current", "Healthy"]);
    namespace.cleanup().await;
}

#[tokio::test]
async fn what_somebody_has_to_change_has_failed() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("judged").await;
    namespace.apply::<EcrRepository>("api", "{registryRef: {name: nowhere}}").await;
    let failed =
        namespace.until::<EcrRepository>("api", "stalled", |object| has_reason(object, "RegistryNotFound")).await;
    assert_eq!(judged(&failed).await, ["Failed", "Failed", "Degraded"]);

    push(&format!("{}/app:1", namespace.name), 3, &[]).await;
    let source = format!("docker.io/{}/app", namespace.name);
    namespace
        .apply::<ImageMirror>("app", &format!("{{source: {{image: {source}}}, tags: {{names: ['1', '2']}}}}"))
        .await;
    let failed = namespace.until::<ImageMirror>("app", "stalled", |object| has_reason(object, "TagNotFound")).await;
    assert_eq!(judged(&failed).await, ["Failed", "Failed", "Degraded"]);
    namespace.cleanup().await;
}

#[tokio::test]
async fn what_may_pass_by_itself_is_in_progress() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("judged").await;
    let registry = namespace.name.clone();
    stack.apply::<EcrRegistry>(&registry, "{region: eu-west-1, endpoints: {api: 'https://127.0.0.1:1'}}").await;
    let retrying = stack.until::<EcrRegistry>(&registry, "unreachable", |it| has_reason(it, "Unreachable")).await;
    assert_eq!(judged(&retrying).await, ["InProgress", "InProgress", "Progressing"]);
    stack.delete::<EcrRegistry>(&registry).await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_suspended_mirror_is_fine_to_flux_by_the_examples_expressions_and_suspended_to_argo_cd() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("judged").await;
    namespace
        .apply::<ImageMirror>(
            "app",
            "{source: {image: docker.io/library/busybox}, tags: {names: ['1.36']}, suspend: true}",
        )
        .await;
    let suspended = namespace.until::<ImageMirror>("app", "suspended", |it| has_reason(it, "Suspended")).await;
    assert_eq!(judged(&suspended).await, ["InProgress", "Current", "Suspended"]);
    namespace.cleanup().await;
}

#[tokio::test]
async fn what_waits_for_its_deletion_is_terminating() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("judged").await;
    namespace.apply::<EcrRepository>("api", "{deletionPolicy: Delete}").await;
    namespace.ready::<EcrRepository>("api").await;
    put_image_as(&format!("{}/api", namespace.name), "1", 79).await;
    namespace.api::<EcrRepository>().delete("api", &DeleteParams::default()).await.unwrap();
    let held = namespace.until::<EcrRepository>("api", "held by its images", |it| has_reason(it, "ImagesRemain")).await;
    assert_eq!(judged(&held).await[0], "Terminating");
    assert_eq!(judged(&held).await[2], "Progressing");
    namespace.apply::<EcrRepository>("api", "{deletionPolicy: DeleteWithImages}").await;
    namespace.gone::<EcrRepository>("api").await;
    namespace.cleanup().await;
}
