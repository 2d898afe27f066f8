//! Rewriting by an operator that is set up in another way than the stack's.

use ecr_operator::api::{EcrRegistry, ImageMirror};
use ecr_operator::rewrite::policy::POLICY;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::ApiResource;
use serde_json::{Value, json};

use crate::instead::{Instead, stacks_kubeconfig};
use crate::support::{Namespace, Stack, env, eventually, is_ready, push, unique};

const SMALL: &[&str] = &["--layers", "1", "--layer-size", "1024"];

pub(crate) fn pod_of(image: &str) -> Value {
    json!({"metadata": {"name": "it"}, "spec": {"containers": [{"name": "main", "image": image}]}})
}

/// The image of a pod as the API server would create it.
pub(crate) async fn image_of(namespace: &Namespace<'_>, pod: &Value) -> Result<String, String> {
    let pod: Pod = serde_json::from_value(pod.clone()).unwrap();
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let pod = namespace.api::<Pod>().create(&params, &pod).await.map_err(|error| error.to_string())?;
    Ok(pod.spec.unwrap().containers[0].image.clone().unwrap())
}

/// Waits until a pod with this image gets that one.
pub(crate) async fn gets(namespace: &Namespace<'_>, named: &str, expected: &str) {
    eventually(&format!("a pod with {named} gets {expected}"), || async {
        image_of(namespace, &pod_of(named)).await.ok().filter(|image| image == expected)
    })
    .await;
}

#[tokio::test]
async fn pods_get_images_from_the_registry_that_the_cluster_calls_its_own() {
    let _alone = crate::ALONE.lock().await;
    let stack = Stack::connect().await;
    let namespace = stack.namespace("own").await;
    let repository = format!("library/{}", unique("own"));
    push(&format!("{repository}:1"), 910, SMALL).await;
    // Another name of the same host is another registry to pods.
    let default = stack.all::<EcrRegistry>().get("default").await.unwrap();
    let mut other = serde_json::to_value(&default.spec).unwrap();
    let (far, near) = (env("ECR_REGISTRY"), env("ECR_REGISTRY").replace("127.0.0.1", "localhost"));
    other["endpoints"]["registry"] = json!(format!("https://{near}"));
    let name = unique("near");
    stack.apply::<EcrRegistry>(&name, &other.to_string()).await;
    stack.until::<EcrRegistry>(&name, "ready", is_ready).await;
    let (one, two) = (unique("own/one"), unique("own/two"));
    let spec = format!(
        "source: {{image: {repository}}}\ntags: {{names: ['1']}}\nrewrite: {{pods: SameNamespace}}\ndestinations: [{{repositoryName: {one}}}, {{repositoryName: {two}, registryRef: {{name: {name}}}}}]"
    );
    namespace.apply::<ImageMirror>("both", &spec).await;
    let named = format!("{repository}:1");
    gets(&namespace, &named, &format!("{far}/{one}:1")).await;
    let only_far = format!("library/{}", unique("far"));
    push(&format!("{only_far}:1"), 911, SMALL).await;
    let spec = format!("source: {{image: {only_far}}}\ntags: {{names: ['1']}}\nrewrite: {{pods: SameNamespace}}");
    namespace.apply::<ImageMirror>("far", &spec).await;

    let operator = Instead::start(&stacks_kubeconfig(), &["--own-registry", &name]).await;
    gets(&namespace, &named, &format!("{near}/{two}:1")).await;
    gets(&namespace, &format!("{only_far}:1"), &format!("{far}/docker.io/{only_far}:1")).await;
    operator.end().await;
    gets(&namespace, &named, &format!("{far}/{one}:1")).await;

    namespace.delete::<ImageMirror>("both").await;
    namespace.gone::<ImageMirror>("both").await;
    stack.delete::<EcrRegistry>(&name).await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_pod_that_can_not_be_rewritten_is_refused_where_the_operator_is_told_so() {
    let _alone = crate::ALONE.lock().await;
    let stack = Stack::connect().await;
    let namespace = stack.namespace("failure").await;
    let repository = format!("library/{}", unique("failure"));
    push(&format!("{repository}:1"), 920, SMALL).await;
    let spec = format!("source: {{image: {repository}}}\ntags: {{names: ['1']}}\nrewrite: {{pods: SameNamespace}}");
    namespace.apply::<ImageMirror>("it", &spec).await;
    let named = format!("{repository}:1");
    let mirrored = format!("{}/docker.io/{repository}:1", env("ECR_REGISTRY"));
    gets(&namespace, &named, &mirrored).await;
    // So many names cost more than the API server allows a policy.
    let container = |n| json!({"name": format!("c{n}"), "image": named});
    let huge =
        json!({"metadata": {"name": "it"}, "spec": {"containers": (0..6000).map(container).collect::<Vec<_>>()}});
    assert_eq!(image_of(&namespace, &huge).await, Ok(named.clone()), "it keeps its images");

    let operator = Instead::start(&stacks_kubeconfig(), &["--rewrite-failure-policy=Fail"]).await;
    let kind = ApiResource {
        group: "admissionregistration.k8s.io".into(),
        version: "v1".into(),
        api_version: "admissionregistration.k8s.io/v1".into(),
        kind: "MutatingAdmissionPolicy".into(),
        plural: "mutatingadmissionpolicies".into(),
    };
    let policies: Api<DynamicObject> = Api::all_with(stack.client.clone(), &kind);
    eventually("the policy fails", || async {
        (policies.get(POLICY).await.ok()?.data["spec"]["failurePolicy"] == "Fail").then_some(())
    })
    .await;
    let refusal = eventually("the pod is refused", || async { image_of(&namespace, &huge).await.err() }).await;
    assert!(refusal.contains(POLICY), "{refusal}");
    gets(&namespace, &named, &mirrored).await;
    gets(&namespace, "not-mirrored:1", "not-mirrored:1").await;
    operator.end().await;
    eventually("it is let in again", || async { image_of(&namespace, &huge).await.ok() }).await;
    namespace.cleanup().await;
}
