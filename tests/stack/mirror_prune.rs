//! Tags that a mirror wrote and no longer selects.

use ecr_operator::api::{ImageMirror, UnselectedTag};
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Resource};
use serde_json::{Value, json};

use crate::support::{Namespace, Stack, env, eventually, push, unique};

const SMALL: &[&str] = &["--layers", "1", "--layer-size", "1024"];

fn spec(repository: &str, tags: &str, after: &str) -> String {
    format!(
        "source: {{image: docker.io/{repository}}}\ntags: {{names: {tags}}}\ninterval: 10s\nprune: true\npruneAfter: {after}"
    )
}

fn unselected(object: &ImageMirror) -> &[UnselectedTag] {
    object.status.as_ref().and_then(|it| it.destinations.first()).map_or(&[], |it| it.unselected.as_slice())
}

async fn apply<K>(api: &Api<K>, name: &str, object: Value)
where
    K: Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let params = PatchParams::apply("test").force();
    // A new namespace gets its default service account in a moment.
    eventually("it is applied", || async { api.patch(name, &params, &Patch::Apply(&object)).await.ok() }).await;
}

/// A source with three tags, all of them mirrored.
async fn mirrored(namespace: &Namespace<'_>, after: &str) -> (String, String) {
    let repository = format!("library/{}", unique("pruned"));
    for (tag, seed) in [("1", 300), ("2", 301), ("3", 302)] {
        push(&format!("{repository}:{tag}"), seed, SMALL).await;
    }
    namespace.apply::<ImageMirror>("image", &spec(&repository, "['1', '2', '3']", after)).await;
    namespace.ready::<ImageMirror>("image").await;
    (repository.clone(), format!("docker.io/{repository}"))
}

#[tokio::test]
async fn a_tag_that_is_no_longer_selected_goes_when_its_time_has_come_and_is_told_of() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("prune").await;
    let (repository, in_ecr) = mirrored(&namespace, "3s").await;
    let digest = stack.digest_in_ecr(&in_ecr, "1").await.unwrap();

    namespace.apply::<ImageMirror>("image", &spec(&repository, "['2', '3']", "3s")).await;
    let object = namespace.until::<ImageMirror>("image", "waiting for it", |it| unselected(it).len() == 1).await;
    assert_eq!((unselected(&object)[0].name.as_str(), &unselected(&object)[0].digest), ("1", &digest));
    eventually("the tag is deleted", || async { stack.digest_in_ecr(&in_ecr, "1").await.is_none().then_some(()) })
        .await;
    namespace.until::<ImageMirror>("image", "done", |it| unselected(it).is_empty()).await;
    assert!(stack.digest_in_ecr(&in_ecr, "2").await.is_some() && stack.digest_in_ecr(&in_ecr, "3").await.is_some());
    let notes = eventually("it is told", || async {
        let events = namespace.api::<Event>().list(&ListParams::default()).await.unwrap().items;
        let mut of_reason = events.into_iter().filter(|event| event.reason.as_deref() == Some("Pruned"));
        of_reason.next().and_then(|event| event.note)
    })
    .await;
    assert!(notes.contains(&digest) && notes.contains(&in_ecr), "{notes}");
    namespace.cleanup().await;
}

#[tokio::test]
async fn what_workloads_use_stays_until_they_use_it_no_more() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("prune-used").await;
    let (repository, in_ecr) = mirrored(&namespace, "1s").await;
    let uri = format!("{}/{in_ecr}", env("ECR_REGISTRY"));
    let digest = stack.digest_in_ecr(&in_ecr, "2").await.unwrap();
    // By tag in a cron job, by digest in a pod; the local stack has no scheduler, so neither runs.
    let pod = json!({"containers": [{"name": "main", "image": format!("{uri}@{digest}")}]});
    let job = json!({"containers": [{"name": "main", "image": format!("{uri}:1")}], "restartPolicy": "Never"});
    let cron = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"},
        "spec": {"schedule": "0 3 1 1 *", "jobTemplate": {"spec": {"template": {"spec": job}}}},
    });
    apply(&namespace.api::<CronJob>(), "nightly", cron).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "main"}, "spec": pod});
    apply(&namespace.api::<Pod>(), "main", pod).await;

    namespace.apply::<ImageMirror>("image", &spec(&repository, "['3']", "1s")).await;
    let told = |it: &ImageMirror| {
        let words: Vec<_> = unselected(it).iter().filter_map(|tag| tag.message.clone()).collect();
        words.iter().any(|it| it.contains("CronJob")) && words.iter().any(|it| it.contains("Pod"))
    };
    namespace.until::<ImageMirror>("image", "told who uses them", told).await;
    assert!(stack.digest_in_ecr(&in_ecr, "1").await.is_some() && stack.digest_in_ecr(&in_ecr, "2").await.is_some());

    namespace.api::<CronJob>().delete("nightly", &Default::default()).await.unwrap();
    eventually("the tag that nothing uses any more is deleted", || async {
        stack.digest_in_ecr(&in_ecr, "1").await.is_none().then_some(())
    })
    .await;
    assert!(stack.digest_in_ecr(&in_ecr, "2").await.is_some(), "the pod is still there");
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_tag_that_the_mirror_did_not_write_or_that_was_moved_since_is_left_alone() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("prune-foreign").await;
    let (repository, in_ecr) = mirrored(&namespace, "3s").await;
    // Somebody else's tag, and one of the mirror's that somebody moves once it is no longer selected.
    namespace.apply::<ImageMirror>("image", &spec(&repository, "['2', '3']", "3s")).await;
    let manifest = stack
        .ecr
        .batch_get_image()
        .repository_name(&in_ecr)
        .image_ids(aws_sdk_ecr::types::ImageIdentifier::builder().image_tag("2").build())
        .send()
        .await
        .unwrap();
    let text = manifest.images().first().and_then(|image| image.image_manifest()).unwrap().to_owned();
    for tag in ["mine", "1"] {
        stack.ecr.put_image().repository_name(&in_ecr).image_manifest(&text).image_tag(tag).send().await.unwrap();
    }
    namespace
        .until::<ImageMirror>("image", "done with it", |it| {
            it.status.as_ref().and_then(|status| status.last_sync_time.as_ref()).is_some() && unselected(it).is_empty()
        })
        .await;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert!(stack.digest_in_ecr(&in_ecr, "1").await.is_some(), "somebody else moved it");
    assert!(stack.digest_in_ecr(&in_ecr, "mine").await.is_some());
    namespace.cleanup().await;
}
