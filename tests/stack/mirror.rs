//! ImageMirror on the local stack: from the Docker Hub stand-in into the AWS stand-in, checked with crane and the SDK.

use base64::Engine as _;
use ecr_operator::api::{EcrRegistry, EcrRepository, ImageMirror, TagState};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::{Namespace, Stack, env, eventually, has_reason, is_ready, is_stalled, message, push, run, unique};

/// A source repository of the test's own, as the stand-in for Docker Hub has it.
fn source() -> String {
    format!("library/{}", unique("image"))
}

/// The spec of a mirror of one repository of Docker Hub.
fn mirror(repository: &str, tags: &[&str], more: &str) -> String {
    format!("source: {{image: docker.io/{repository}}}\ntags: {{names: {}}}\n{more}", json!(tags))
}

/// The repository in ECR that a mirror writes to by default.
fn destination(repository: &str) -> String {
    format!("docker.io/{repository}")
}

async fn manifest(registry: &str, image: &str, insecure: bool) -> Result<String, String> {
    let mut arguments = vec!["manifest"];
    if insecure {
        arguments.push("--insecure");
    }
    let image = format!("{registry}/{image}");
    arguments.push(&image);
    run("crane", &arguments).await
}

#[tokio::test]
async fn an_index_arrives_with_its_digest_and_everything_below_it() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("index").await;
    let repository = source();
    let digest = push(&format!("{repository}:1.0"), 1, &[]).await;
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &["1.0"], "")).await;
    let object = namespace.ready::<ImageMirror>("image").await;

    let status = object.status.unwrap();
    assert_eq!(status.mirrored.as_deref(), Some("1/1"));
    let there = &status.destinations[0];
    assert_eq!(there.registry, "default");
    assert_eq!(there.repository_uri, Some(format!("{}/{}", env("ECR_REGISTRY"), destination(&repository))));
    assert_eq!(there.tags[0].state, TagState::Mirrored);
    assert_eq!(there.tags[0].digest.as_ref(), Some(&digest));
    assert_eq!(there.tags[0].source_digest.as_ref(), Some(&digest));
    assert!(there.tags[0].mirrored_at.is_some());
    assert_eq!(stack.digest_in_ecr(&destination(&repository), "1.0").await, Some(digest));

    let index: Value =
        serde_json::from_str(&manifest(&env("UPSTREAM_REGISTRY"), &format!("{repository}:1.0"), true).await.unwrap())
            .unwrap();
    let here = stack.digests_in_ecr(&destination(&repository)).await;
    for child in index["manifests"].as_array().unwrap() {
        assert!(here.contains(&child["digest"].as_str().unwrap().to_owned()), "every platform is there: {child}");
    }
    namespace.cleanup().await;
}

#[tokio::test]
async fn docker_schema_2_keeps_its_digest_too() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("docker").await;
    let repository = source();
    let digest = push(&format!("{repository}:1.0"), 2, &["--docker"]).await;
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &["1.0"], "")).await;
    namespace.ready::<ImageMirror>("image").await;
    assert_eq!(stack.digest_in_ecr(&destination(&repository), "1.0").await, Some(digest));
    namespace.cleanup().await;
}

#[tokio::test]
async fn the_repository_is_an_ecr_repository_that_the_mirror_owns() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("child").await;
    let repository = source();
    push(&format!("{repository}:1.0"), 3, &["--layers", "1", "--layer-size", "1024"]).await;
    let name = format!("mirror/{}", unique("child"));
    let more = format!(
        "destinations: [{{repositoryName: {name}, repository: {{tagMutability: Immutable, scanOnPush: true}}}}]"
    );
    let object = namespace.apply::<ImageMirror>("image", &mirror(&repository, &["1.0"], &more)).await;
    namespace.ready::<ImageMirror>("image").await;
    let children = namespace.api::<EcrRepository>().list(&ListParams::default()).await.unwrap().items;
    assert_eq!(children.len(), 1);
    assert_eq!(children[0].owner_references()[0].uid, object.uid().unwrap());
    assert_eq!(children[0].spec.repository_name.as_ref(), Some(&name));
    assert!(is_ready(&children[0]));
    let found = stack.ecr.describe_repositories().repository_names(&name).send().await.unwrap().repositories.unwrap();
    assert_eq!(found[0].image_tag_mutability.as_ref().unwrap().as_str(), "IMMUTABLE");

    // The child goes with the mirror; what was mirrored stays.
    namespace.delete::<ImageMirror>("image").await;
    namespace.gone::<EcrRepository>(&children[0].name_any()).await;
    assert!(stack.digest_in_ecr(&name, "1.0").await.is_some());
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_tag_that_moved_upstream_is_copied_on_the_next_look() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("moved").await;
    let repository = source();
    push(&format!("{repository}:latest"), 4, &[]).await;
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &["latest"], "")).await;
    namespace.ready::<ImageMirror>("image").await;
    let moved = push(&format!("{repository}:latest"), 5, &[]).await;
    namespace.sync::<ImageMirror>("image").await;
    namespace.ready::<ImageMirror>("image").await;
    assert_eq!(stack.digest_in_ecr(&destination(&repository), "latest").await, Some(moved));
    namespace.cleanup().await;
}

#[tokio::test]
async fn an_image_that_was_deleted_in_ecr_is_put_back() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("deleted").await;
    let repository = source();
    let digest = push(&format!("{repository}:1"), 6, &[]).await;
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &["1"], "interval: 10s")).await;
    namespace.ready::<ImageMirror>("image").await;
    let id = aws_sdk_ecr::types::ImageIdentifier::builder().image_tag("1").build();
    stack.ecr.batch_delete_image().repository_name(destination(&repository)).image_ids(id).send().await.unwrap();
    // Nobody asks: the next look on the interval finds it.
    eventually("the tag is back", || async {
        (stack.digest_in_ecr(&destination(&repository), "1").await.as_ref() == Some(&digest)).then_some(())
    })
    .await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn only_the_platforms_that_are_asked_for_are_mirrored() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("platforms").await;
    let repository = source();
    let digest = push(&format!("{repository}:1"), 7, &["--platforms", "linux/amd64,linux/arm64,linux/s390x"]).await;
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &["1"], "platforms: [linux/arm64]")).await;
    let object = namespace.ready::<ImageMirror>("image").await;
    let tag = &object.status.as_ref().unwrap().destinations[0].tags[0];
    assert_eq!(tag.source_digest.as_ref(), Some(&digest));
    assert_ne!(tag.digest.as_ref(), Some(&digest), "the index was rewritten");
    let mirrored = tag.digest.clone().unwrap();
    assert_eq!(stack.digest_in_ecr(&destination(&repository), "1").await, Some(mirrored));
    assert_eq!(stack.digests_in_ecr(&destination(&repository)).await.len(), 2, "the index and one platform");

    let before = object.status.unwrap().destinations[0].tags[0].mirrored_at.clone();
    let again = namespace.sync::<ImageMirror>("image").await;
    assert_eq!(again.status.unwrap().destinations[0].tags[0].mirrored_at, before, "nothing was copied again");

    namespace
        .apply::<ImageMirror>("image", &mirror(&repository, &["1"], "platforms: [linux/arm64, windows/amd64]"))
        .await;
    let words = namespace.not_ready::<ImageMirror>("image", "PlatformNotFound").await;
    assert!(words.contains("windows/amd64") && words.contains("linux/s390x"), "{words}");
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_missing_tag_is_told_holds_up_no_other_and_is_mirrored_when_it_comes() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("tag").await;
    let repository = source();
    push(&format!("{repository}:1"), 8, &[]).await;
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &["1", "2"], "")).await;
    let words = namespace.not_ready::<ImageMirror>("image", "TagNotFound").await;
    assert!(words.contains("\"2\"") && words.contains("spec.tags"), "{words}");
    let object = namespace.api::<ImageMirror>().get("image").await.unwrap();
    assert!(is_stalled(&object));
    assert_eq!(object.status.unwrap().mirrored.as_deref(), Some("1/2"), "the other tag is there");
    push(&format!("{repository}:2"), 9, &[]).await;
    namespace.ready::<ImageMirror>("image").await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_missing_source_repository_is_told_and_recovers() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("source").await;
    let repository = source();
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &["1"], "")).await;
    let words = namespace.not_ready::<ImageMirror>("image", "SourceNotFound").await;
    assert!(words.contains(&repository) && words.contains("spec.source.image"), "{words}");
    push(&format!("{repository}:1"), 10, &[]).await;
    namespace.ready::<ImageMirror>("image").await;
    namespace.cleanup().await;
}

async fn docker_config_secret(namespace: &Namespace<'_>, name: &str, user: &str, password: &str) {
    let config = json!({"auths": {"https://index.docker.io/v1/": {"username": user, "password": password}}});
    let encoded = base64::engine::general_purpose::STANDARD.encode(config.to_string());
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
        "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": encoded},
    });
    let api = namespace.api::<Secret>();
    api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&secret)).await.unwrap();
}

#[tokio::test]
async fn a_private_source_takes_the_credentials_of_its_secret_and_no_others() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("private").await;
    let repository = format!("private/{}", unique("image"));
    push(&format!("{repository}:1"), 11, &[]).await;
    let (user, password) = (env("HUB_USER"), env("HUB_PASSWORD"));
    let with_secret = format!(
        "source: {{image: docker.io/{repository}, credentialsSecretRef: {{name: hub}}}}\ntags: {{names: ['1']}}"
    );

    namespace.apply::<ImageMirror>("anonymous", &mirror(&repository, &["1"], "")).await;
    let words = message(&namespace.until::<ImageMirror>("anonymous", "refused", is_stalled).await);
    assert!(words.contains("credentials"), "{words}");
    namespace.delete::<ImageMirror>("anonymous").await;
    namespace.gone::<ImageMirror>("anonymous").await;

    namespace.apply::<ImageMirror>("image", &with_secret).await;
    let words = namespace.not_ready::<ImageMirror>("image", "SecretNotFound").await;
    assert!(words.contains("\"hub\"") && words.contains("does not exist"), "{words}");

    docker_config_secret(&namespace, "hub", &user, "wrong-canary").await;
    let words = namespace.not_ready::<ImageMirror>("image", "SourceUnauthorized").await;
    assert!(words.contains("credentialsSecretRef") && !words.contains("wrong-canary"), "{words}");

    docker_config_secret(&namespace, "hub", &user, &password).await;
    namespace.ready::<ImageMirror>("image").await;
    assert!(stack.digest_in_ecr(&destination(&repository), "1").await.is_some());
    namespace.cleanup().await;
}

#[tokio::test]
async fn bytes_that_are_not_what_their_digest_says_are_never_committed() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("corrupt").await;
    let repository = source();
    push(&format!("{repository}:1"), 12, &["--layers", "2", "--layer-size", "300000"]).await;
    let fault = stack
        .fault(
            "HUB_CONTROL_URL",
            json!({"method": "GET", "path": format!("/v2/{repository}/blobs/"), "times": 0, "corruptBody": true}),
        )
        .await;
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &["1"], "")).await;
    let words = namespace.not_ready::<ImageMirror>("image", "DigestMismatch").await;
    assert!(words.contains("sha256:"), "{words}");
    assert_eq!(stack.digest_in_ecr(&destination(&repository), "1").await, None, "no tag");
    assert!(stack.digests_in_ecr(&destination(&repository)).await.is_empty(), "no image at all");
    let source_manifest = manifest(&env("UPSTREAM_REGISTRY"), &format!("{repository}:1"), true).await.unwrap();
    assert!(source_manifest.contains("manifests"));

    fault.remove().await;
    namespace.ready::<ImageMirror>("image").await;
    assert!(stack.digest_in_ecr(&destination(&repository), "1").await.is_some());
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_registry_that_fails_is_told_and_recovers() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("failing").await;
    let repository = source();
    push(&format!("{repository}:1"), 13, &[]).await;
    let fault =
        stack.fault("HUB_CONTROL_URL", json!({"path": format!("/v2/{repository}/"), "times": 0, "status": 503})).await;
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &["1"], "")).await;
    let object = namespace.until::<ImageMirror>("image", "unreachable", |it| has_reason(it, "Unreachable")).await;
    assert!(!is_stalled(&object), "it may pass by itself");
    assert!(message(&object).contains("503"), "{}", message(&object));
    fault.remove().await;
    namespace.ready::<ImageMirror>("image").await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_source_that_no_name_server_knows_is_told() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("nowhere").await;
    namespace
        .apply::<ImageMirror>(
            "image",
            "source: {image: registry.invalid/x/y}\ntags: {names: ['1']}\ndestinations: [{repositoryName: nowhere/y}]",
        )
        .await;
    let words = namespace.not_ready::<ImageMirror>("image", "Unreachable").await;
    assert!(words.contains("registry.invalid"), "{words}");
    namespace.cleanup().await;
}

#[tokio::test]
async fn an_immutable_tag_that_names_another_image_is_left_and_told() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("immutable").await;
    let repository = source();
    let first = push(&format!("{repository}:1"), 15, &[]).await;
    let more = "destinations: [{repository: {tagMutability: Immutable}}]";
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &["1"], more)).await;
    namespace.ready::<ImageMirror>("image").await;
    push(&format!("{repository}:1"), 16, &[]).await;
    namespace.sync::<ImageMirror>("image").await;
    let words = namespace.not_ready::<ImageMirror>("image", "TagImmutable").await;
    assert!(words.contains("immutable"), "{words}");
    assert_eq!(stack.digest_in_ecr(&destination(&repository), "1").await, Some(first.clone()));
    let object = namespace.api::<ImageMirror>().get("image").await.unwrap();
    let tag = &object.status.unwrap().destinations[0].tags[0];
    assert_eq!((tag.state, tag.digest.as_ref()), (TagState::Failed, Some(&first)), "what is there is still told");
    namespace.cleanup().await;
}

#[tokio::test]
async fn one_failing_destination_holds_up_no_other() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("two").await;
    let repository = source();
    push(&format!("{repository}:1"), 17, &[]).await;
    let registry = unique("missing");
    let more = format!("destinations: [{{}}, {{registryRef: {{name: {registry}}}}}]");
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &["1"], &more)).await;
    let object = namespace
        .until::<ImageMirror>("image", "mirrored to one", |it| {
            it.status.as_ref().is_some_and(|status| {
                status.destinations.len() == 2
                    && status.destinations[0].tags.iter().all(|tag| tag.state == TagState::Mirrored)
                    && status.destinations[1].message.is_some()
            })
        })
        .await;
    assert!(!is_ready(&object));
    assert!(stack.digest_in_ecr(&destination(&repository), "1").await.is_some());
    let known = stack.all::<EcrRegistry>().get_opt(&registry).await.unwrap();
    assert!(known.is_none());
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_repository_that_somebody_else_makes_is_waited_for() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("theirs").await;
    let repository = source();
    push(&format!("{repository}:1"), 18, &[]).await;
    let name = format!("theirs/{}", unique("repository"));
    let more = format!("destinations: [{{repositoryName: {name}, createRepository: false}}]");
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &["1"], &more)).await;
    namespace.not_ready::<ImageMirror>("image", "DestinationNotReady").await;
    assert!(namespace.api::<EcrRepository>().list(&ListParams::default()).await.unwrap().items.is_empty());
    stack.ecr.create_repository().repository_name(&name).send().await.unwrap();
    namespace.ready::<ImageMirror>("image").await;
    assert!(stack.digest_in_ecr(&name, "1").await.is_some());
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_suspended_mirror_does_nothing_until_it_is_resumed() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("suspend").await;
    let repository = source();
    push(&format!("{repository}:1"), 19, &[]).await;
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &["1"], "suspend: true")).await;
    namespace.not_ready::<ImageMirror>("image", "Suspended").await;
    assert!(!stack.repository_exists(&destination(&repository)).await);
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &["1"], "")).await;
    namespace.ready::<ImageMirror>("image").await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_mirror_that_is_deleted_in_the_middle_of_a_copy_goes_at_once_and_leaves_no_tag() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("cancel").await;
    let repository = source();
    push(&format!("{repository}:1"), 20, &[]).await;
    let fault = stack
        .fault(
            "HUB_CONTROL_URL",
            json!({"method": "GET", "path": format!("/v2/{repository}/blobs/"), "times": 0, "delayMs": 600_000}),
        )
        .await;
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &["1"], "")).await;
    namespace.until::<ImageMirror>("image", "copying", |it| message(it).contains("copying 1 image")).await;
    // The copy of a changed spec is given up for the new one: the tag is another now.
    push(&format!("{repository}:2"), 20, &[]).await;
    namespace.apply::<ImageMirror>("image", &mirror(&repository, &["2"], "suspend: true")).await;
    namespace.not_ready::<ImageMirror>("image", "Suspended").await;
    namespace.delete::<ImageMirror>("image").await;
    namespace.gone::<ImageMirror>("image").await;
    assert_eq!(stack.digest_in_ecr(&destination(&repository), "1").await, None);
    fault.remove().await;
    namespace.cleanup().await;
}
