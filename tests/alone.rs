//! Suites that need the local stack to themselves: they count requests, or stop the operator.
//! Run them with `make test`, which runs them before the others.
#![allow(clippy::unwrap_used)]

#[path = "alone/enforcing.rs"]
mod enforcing;
#[path = "alone/instead.rs"]
mod instead;
#[path = "alone/older.rs"]
mod older;
#[path = "alone/pull_secrets.rs"]
mod pull_secrets;
#[path = "alone/rewriting.rs"]
mod rewriting;
mod support;

use std::time::Duration;

use ecr_operator::api::{EcrPullSecret, EcrRegistry, EcrRepository, ImageMirror};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::ApiResource;
use serde_json::json;
use support::{Stack, env, eventually, is_ready, message, push, unique};

/// Tests of one binary run side by side; these must not.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn looking_again_at_an_unchanged_source_moves_no_blob_and_pulls_no_manifest() {
    let _alone = ALONE.lock().await;
    let stack = Stack::connect().await;
    let namespace = stack.namespace("unchanged").await;
    let repository = format!("library/{}", unique("unchanged"));
    for tag in ["1", "2", "3"] {
        push(&format!("{repository}:{tag}"), 100, &[]).await;
    }
    let spec = format!("source: {{image: docker.io/{repository}}}\ntags: {{names: ['1', '2', '3']}}");
    namespace.apply::<ImageMirror>("image", &spec).await;
    namespace.ready::<ImageMirror>("image").await;

    stack.forget_calls("HUB_CONTROL_URL").await;
    stack.forget_calls("AWS_CONTROL_URL").await;
    namespace.sync::<ImageMirror>("image").await;
    let hub = stack.calls("HUB_CONTROL_URL").await["registry"].clone();
    assert_eq!(hub["HEAD manifest"], 3, "one HEAD a tag: {hub}");
    assert!(hub["GET manifest"].is_null() && hub["GET blob"].is_null() && hub["HEAD blob"].is_null(), "{hub}");
    let ecr = stack.calls("AWS_CONTROL_URL").await["registry"].clone();
    assert_eq!(ecr["HEAD manifest"], 3, "one HEAD a tag: {ecr}");
    for kind in ["PUT manifest", "POST upload", "PUT upload", "HEAD blob", "GET manifest"] {
        assert!(ecr[kind].is_null(), "{kind}: {ecr}");
    }
    namespace.cleanup().await;
}

#[tokio::test]
async fn layers_that_images_share_are_sent_once() {
    let _alone = ALONE.lock().await;
    let stack = Stack::connect().await;
    let namespace = stack.namespace("shared").await;
    let repository = format!("library/{}", unique("shared"));
    // The same image under two tags, in one mirror: copied side by side.
    for tag in ["1", "2"] {
        push(&format!("{repository}:{tag}"), 200, &["--layers", "3"]).await;
    }
    stack.forget_calls("HUB_CONTROL_URL").await;
    let spec = format!("source: {{image: docker.io/{repository}}}\ntags: {{names: ['1', '2']}}");
    namespace.apply::<ImageMirror>("image", &spec).await;
    namespace.ready::<ImageMirror>("image").await;
    let hub = stack.calls("HUB_CONTROL_URL").await["registry"].clone();
    // Two platforms of three layers and a config each.
    assert_eq!(hub["GET blob"], 8, "{hub}");
    namespace.cleanup().await;
}

#[tokio::test]
async fn an_image_for_several_registries_is_read_once() {
    let _alone = ALONE.lock().await;
    let stack = Stack::connect().await;
    let namespace = stack.namespace("several").await;
    let repository = format!("library/{}", unique("several"));
    push(&format!("{repository}:0"), 211, &["--layers", "1", "--layer-size", "1024"]).await;
    let digest = push(&format!("{repository}:1"), 210, &["--layers", "3"]).await;
    // Another name of the same host is another registry, as far as credentials and connections go.
    let default = stack.all::<EcrRegistry>().get("default").await.unwrap();
    let mut other = serde_json::to_value(&default.spec).unwrap();
    let host = env("ECR_REGISTRY");
    other["endpoints"]["registry"] = json!(format!("https://{}", host.replace("127.0.0.1", "localhost")));
    let name = unique("other");
    stack.apply::<EcrRegistry>(&name, &other.to_string()).await;
    stack.until::<EcrRegistry>(&name, "ready", is_ready).await;
    let (one, two) = (unique("several/one"), unique("several/two"));
    let spec = |tags: &str| {
        format!(
            "source: {{image: docker.io/{repository}}}\ntags: {{names: {tags}}}\ndestinations: [{{repositoryName: {one}}}, {{repositoryName: {two}, registryRef: {{name: {name}}}}}]"
        )
    };
    // Both repositories are there before the image is.
    namespace.apply::<ImageMirror>("image", &spec("['0']")).await;
    namespace.ready::<ImageMirror>("image").await;
    stack.forget_calls("HUB_CONTROL_URL").await;
    namespace.apply::<ImageMirror>("image", &spec("['0', '1']")).await;
    namespace.ready::<ImageMirror>("image").await;
    for repository in [&one, &two] {
        assert_eq!(stack.digest_in_ecr(repository, "1").await.as_ref(), Some(&digest));
    }
    let hub = stack.calls("HUB_CONTROL_URL").await["registry"].clone();
    assert_eq!(hub["GET blob"], 8, "two platforms of three layers and a config each: {hub}");
    assert_eq!(hub["GET manifest"], 3, "the index and two platforms: {hub}");
    namespace.cleanup().await;
    stack.delete::<EcrRegistry>(&name).await;
}

#[tokio::test]
async fn credentials_never_reach_the_storage_behind_a_registry() {
    let _alone = ALONE.lock().await;
    let stack = Stack::connect().await;
    assert_eq!(stack.calls("AWS_CONTROL_URL").await["credentialLeaks"], 0);
}

#[tokio::test]
async fn a_repository_that_is_as_it_should_be_is_only_looked_at() {
    let _alone = ALONE.lock().await;
    let stack = Stack::connect().await;
    let namespace = stack.namespace("looked").await;
    namespace.apply::<EcrRepository>("api", "tagMutability: Immutable\ntags: {a: b}").await;
    let before = namespace.ready::<EcrRepository>("api").await;
    stack.forget_calls("AWS_CONTROL_URL").await;
    eventually("it was looked at again", || async {
        let api = stack.calls("AWS_CONTROL_URL").await["api"].clone();
        (api["DescribeRepositories"].as_u64() >= Some(2)).then_some(())
    })
    .await;
    let api = stack.calls("AWS_CONTROL_URL").await["api"].clone();
    for action in ["CreateRepository", "TagResource", "PutImageTagMutability", "PutLifecyclePolicy"] {
        assert!(api[action].is_null(), "{action}: {api}");
    }
    let after = namespace.api::<EcrRepository>().get("api").await.unwrap();
    assert_eq!(after.resource_version(), before.resource_version(), "and nothing was written to the API server");
    namespace.delete::<EcrRepository>("api").await;
    namespace.gone::<EcrRepository>("api").await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_new_repository_costs_three_calls() {
    let _alone = ALONE.lock().await;
    let stack = Stack::connect().await;
    let namespace = stack.namespace("three").await;
    stack.forget_calls("AWS_CONTROL_URL").await;
    let spec = "
tagMutability: Immutable
scanOnPush: true
lifecycle: {rules: [{untagged: {}, expireAfterDays: 7}]}
access: [{principals: ['222222222222'], permissions: Pull}]
tags: {team: a}";
    namespace.apply::<EcrRepository>("api", spec).await;
    namespace.ready::<EcrRepository>("api").await;
    let mut api = stack.calls("AWS_CONTROL_URL").await["api"].clone();
    // The list, and looks at what is there already, are not for this object alone.
    let calls = api.as_object_mut().unwrap();
    calls.retain(|action, _| {
        !action.starts_with("Describe") && !action.starts_with("Get") && !action.starts_with("List")
    });
    assert_eq!(api, json!({"CreateRepository": 1, "PutLifecyclePolicy": 1, "SetRepositoryPolicy": 1}));
    namespace.delete::<EcrRepository>("api").await;
    namespace.gone::<EcrRepository>("api").await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn an_operator_that_is_killed_in_the_middle_of_a_copy_ends_it_after_its_restart() {
    let _alone = ALONE.lock().await;
    let stack = Stack::connect().await;
    let namespace = stack.namespace("killed").await;
    let repository = format!("library/{}", unique("killed"));
    let digest = push(&format!("{repository}:1"), 300, &["--layers", "4"]).await;
    // All but a few blobs are held up, so that the operator dies in the middle.
    let fault = stack
        .fault(
            "HUB_CONTROL_URL",
            json!({"method": "GET", "path": format!("/v2/{repository}/blobs/sha256:[0-7]"), "times": 0, "delayMs": 600_000}),
        )
        .await;
    namespace.apply::<EcrPullSecret>("ecr", "{}").await;
    namespace.ready::<EcrPullSecret>("ecr").await;
    let secret = namespace.api::<Secret>().get("ecr").await.unwrap();
    let spec = format!("source: {{image: docker.io/{repository}}}\ntags: {{names: ['1']}}");
    namespace.apply::<ImageMirror>("image", &spec).await;
    namespace.until::<ImageMirror>("image", "copying", |it| message(it).contains("copying")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;

    kill_operator().await;
    assert_eq!(stack.digest_in_ecr(&format!("docker.io/{repository}"), "1").await, None, "no tag names half an image");
    fault.remove().await;
    namespace.ready::<ImageMirror>("image").await;
    assert_eq!(stack.digest_in_ecr(&format!("docker.io/{repository}"), "1").await, Some(digest));

    // What was written before is not written again because the operator is new.
    let still = namespace.api::<Secret>().get("ecr").await.unwrap();
    assert_eq!(still.resource_version(), secret.resource_version());
    namespace.cleanup().await;
}

/// Kills the operator without notice. The stack starts it again, as a kubelet does.
async fn kill_operator() {
    instead::signal("-KILL", &instead::stacks_operator().await).await;
}

#[tokio::test]
async fn with_the_last_mirror_that_rewrites_pods_the_policy_goes() {
    let _alone = ALONE.lock().await;
    let stack = Stack::connect().await;
    let namespace = stack.namespace("last").await;
    let repository = format!("library/{}", unique("last"));
    push(&format!("{repository}:1"), 900, &["--layers", "1", "--layer-size", "1024"]).await;
    let spec = format!("source: {{image: {repository}}}\ntags: {{names: ['1']}}\nrewrite: {{pods: SameNamespace}}");
    namespace.apply::<ImageMirror>("image", &spec).await;
    let all_of = |kind: &str, plural: &str| -> Api<DynamicObject> {
        let resource = ApiResource {
            group: "admissionregistration.k8s.io".into(),
            version: "v1".into(),
            api_version: "admissionregistration.k8s.io/v1".into(),
            kind: kind.into(),
            plural: plural.into(),
        };
        Api::all_with(stack.client.clone(), &resource)
    };
    let policies = all_of("MutatingAdmissionPolicy", "mutatingadmissionpolicies");
    let there = || async { policies.get_opt("rewrite.ecr-operator.io").await.unwrap() };
    eventually("there is a policy", there).await;
    namespace.delete::<ImageMirror>("image").await;
    eventually("there is none any more", || async { there().await.is_none().then_some(()) }).await;
    let bindings = all_of("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings");
    let all = ListParams::default();
    eventually("nothing is left", || async { bindings.list(&all).await.unwrap().items.is_empty().then_some(()) }).await;
    namespace.cleanup().await;
}
