//! What happens while a mirror copies: progress, and a world that moves.

use ecr_operator::api::{EcrRepository, ImageMirror, TagState};
use serde_json::{Value, json};

use crate::support::{Stack, eventually, is_ready, message, push, unique};

const SMALL: &[&str] = &["--layers", "1", "--layer-size", "1024"];

fn source() -> String {
    format!("library/{}", unique("midway"))
}

fn mirror(repository: &str, tags: &str) -> String {
    format!("source: {{image: docker.io/{repository}}}\ntags: {{{tags}}}")
}

/// Has the source hold back what it answers.
fn held(path: String, times: u32) -> Value {
    json!({"method": "GET", "path": path, "times": times, "delayMs": 600_000})
}

#[tokio::test]
async fn the_status_tells_how_far_copies_are_and_what_is_mirrored_already() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("progress").await;
    let repository = source();
    push(&format!("{repository}:1"), 500, SMALL).await;
    // One of the two is held up.
    let digest = push(&format!("{repository}:2"), 501, SMALL).await;
    let path = format!("/v2/{repository}/manifests/{digest}");
    let fault = stack.fault("HUB_CONTROL_URL", held(path, 0)).await;
    namespace.apply::<ImageMirror>("image", &mirror(&repository, "names: ['1', '2']")).await;
    let half = |it: &ImageMirror| {
        let progress = it.status.as_ref().and_then(|status| status.progress.as_ref());
        progress.is_some_and(|progress| progress.images == "1/2" && progress.total_bytes > 0)
    };
    let object = namespace.until::<ImageMirror>("image", "half done", half).await;
    let tags = &object.status.as_ref().unwrap().destinations[0].tags;
    let state = |name: &str| tags.iter().find(|tag| tag.name == name).map(|tag| tag.state);
    assert_eq!((state("1"), state("2")), (Some(TagState::Mirrored), Some(TagState::Pending)));
    assert!(message(&object).contains("1/2 done"), "{}", message(&object));
    fault.remove().await;
    // What hangs is given up for the spec that comes next.
    namespace
        .apply::<ImageMirror>("image", &format!("{}\nonTagChange: Warn", mirror(&repository, "names: ['1', '2']")))
        .await;
    let object = namespace.ready::<ImageMirror>("image").await;
    assert_eq!(object.status.as_ref().unwrap().progress, None);
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_repository_that_is_deleted_in_the_middle_comes_back_with_the_image() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("vanished").await;
    let repository = source();
    push(&format!("{repository}:1"), 510, &["--layers", "2", "--layer-size", "100000"]).await;
    let in_ecr = format!("docker.io/{repository}");
    let fault = json!({"method": "GET", "path": format!("/v2/{repository}/blobs/"), "times": 0, "delayMs": 4000});
    let fault = stack.fault("HUB_CONTROL_URL", fault).await;
    namespace.apply::<ImageMirror>("image", &mirror(&repository, "names: ['1']")).await;
    eventually("the repository is there", || async { stack.repository_exists(&in_ecr).await.then_some(()) }).await;
    namespace.until::<ImageMirror>("image", "copying", |it| message(it).contains("copying")).await;
    stack.ecr.delete_repository().repository_name(&in_ecr).force(true).send().await.unwrap();
    fault.remove().await;
    eventually("the image is there", || stack.digest_in_ecr(&in_ecr, "1")).await;
    namespace.until::<ImageMirror>("image", "ready", is_ready).await;
    assert!(stack.repository_exists(&in_ecr).await);
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_tag_that_moves_during_its_copy_is_mirrored_as_it_was_judged_and_then_as_it_is() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("moving").await;
    let repository = source();
    let before = push(&format!("{repository}:1"), 520, SMALL).await;
    let in_ecr = format!("docker.io/{repository}");
    let fault = json!({"method": "GET", "path": format!("/v2/{repository}/blobs/"), "times": 0, "delayMs": 3000});
    let fault = stack.fault("HUB_CONTROL_URL", fault).await;
    namespace.apply::<ImageMirror>("image", &mirror(&repository, "names: ['1']")).await;
    namespace.until::<ImageMirror>("image", "copying", |it| message(it).contains("copying")).await;
    let after = push(&format!("{repository}:1"), 521, SMALL).await;
    let first = eventually("it is mirrored", || stack.digest_in_ecr(&in_ecr, "1")).await;
    assert_eq!(first, before, "what was judged is what is copied");
    fault.remove().await;
    namespace.ready::<ImageMirror>("image").await;
    namespace.sync::<ImageMirror>("image").await;
    eventually("it is mirrored as it is", || async {
        stack.digest_in_ecr(&in_ecr, "1").await.filter(|digest| *digest == after)
    })
    .await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_tag_that_is_listed_and_can_not_be_served_fails_alone() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("unserved").await;
    let repository = source();
    push(&format!("{repository}:1"), 530, SMALL).await;
    push(&format!("{repository}:2"), 531, SMALL).await;
    let path = format!("/v2/{repository}/manifests/2");
    let fault = stack.fault("HUB_CONTROL_URL", json!({"path": path, "times": 0, "status": 404})).await;
    namespace.apply::<ImageMirror>("image", &mirror(&repository, "include: ['*']")).await;
    let words = namespace.not_ready::<ImageMirror>("image", "TagNotFound").await;
    assert!(words.contains("\"2\""), "{words}");
    assert!(stack.digest_in_ecr(&format!("docker.io/{repository}"), "1").await.is_some());
    fault.remove().await;
    namespace.ready::<ImageMirror>("image").await;
    let children = namespace.api::<EcrRepository>().list(&Default::default()).await.unwrap().items;
    assert_eq!(children.len(), 1);
    namespace.cleanup().await;
}
