//! The largest that rewriting meets: the longest texts, the pods with the most images, and more than the API server evaluates.

use std::collections::BTreeMap;

use ecr_operator::api::ImageMirror;
use ecr_operator::api::conditions::REWRITES_PODS;
use ecr_operator::rewrite::RewrittenImages;
use ecr_operator::rewrite::policy::FailurePolicy;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::rewriting::{OwnPolicy, dry_run, gets, pod_of};
use crate::support::{Stack, env, eventually, run, unique};

/// The most tags and digests that a mirror may have.
const MOST: usize = 2_000;

/// A repository with the most tags, all longer than most are.
fn largest() -> BTreeMap<String, RewrittenImages> {
    let images = RewrittenImages {
        repository: "123456789012.dkr.ecr.eu-west-1.amazonaws.com/big".into(),
        pin: true,
        tags: (0..MOST).map(|tag| (tag_of(tag), format!("sha256:{tag:064x}"))).collect(),
        digests: Vec::new(),
    };
    [("docker.io/library/big".to_owned(), images)].into()
}

fn tag_of(number: usize) -> String {
    format!("1.{number:04}.0-with-a-long-suffix")
}

/// A pod whose images are that many of these tags, in containers, init containers and image volumes.
fn pod_with(count: usize) -> Value {
    let of = |number: usize| format!("big:{}", tag_of(number));
    let container = |number: usize| json!({"name": format!("c{number}"), "image": of(number)});
    let volume = |number: usize| json!({"name": format!("v{number}"), "image": {"reference": of(number)}});
    json!({"metadata": {"name": "large"}, "spec": {
        "containers": (0..count / 2).map(container).collect::<Vec<_>>(),
        "initContainers": (count / 2..count * 3 / 4).map(container).collect::<Vec<_>>(),
        "volumes": (count * 3 / 4..count).map(volume).collect::<Vec<_>>(),
    }})
}

/// The names of all images of a pod.
fn images(pod: &Pod) -> Vec<String> {
    let spec = pod.spec.as_ref().unwrap();
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let volumes = spec.volumes.iter().flatten().filter_map(|volume| volume.image.as_ref()?.reference.clone());
    containers.filter_map(|container| container.image.clone()).chain(volumes).collect()
}

/// The images of the pod, of which `count` are there.
fn rewritten(pod: &Pod, count: usize) -> usize {
    let images = images(pod);
    assert_eq!(images.len(), count);
    images.iter().filter(|image| image.starts_with("123456789012.") && image.contains("@sha256:")).count()
}

#[tokio::test]
async fn a_pod_with_64_images_of_the_largest_mirror_gets_them_all_and_one_with_too_many_goes_by_the_failure_policy() {
    let stack = Stack::connect().await;
    let images = largest();
    let first = format!("big:{}", tag_of(0));
    let expected = format!("{}:{}@sha256:{:064x}", images["docker.io/library/big"].repository, tag_of(0), 0);

    let strict = stack.namespace("limits-fail").await;
    let policy = OwnPolicy::create(&strict, &unique("limits-fail"), FailurePolicy::Fail, &images).await;
    gets(&strict, &first, &expected).await;
    let pod = dry_run(&strict, &pod_with(64)).await.expect("it is within what the API server evaluates");
    assert_eq!(rewritten(&pod, 64), 64);
    let refused = dry_run(&strict, &pod_with(600)).await.expect_err("it is too much").to_string();
    assert!(refused.contains("denied request") && refused.contains("cost"), "{refused}");
    policy.delete(&stack).await;

    let lenient = stack.namespace("limits-ignore").await;
    let policy = OwnPolicy::create(&lenient, &unique("limits-ignore"), FailurePolicy::Ignore, &images).await;
    gets(&lenient, &first, &expected).await;
    let pod = dry_run(&lenient, &pod_with(600)).await.expect("it is admitted");
    assert_eq!(rewritten(&pod, 600), 0, "it keeps what it names");

    // Debug containers, one by one and all at once.
    let mut plain = pod_of("elsewhere/app:1");
    plain["metadata"]["name"] = "debugged".into();
    let plain: Pod = serde_json::from_value(plain).unwrap();
    let pods = lenient.api::<Pod>();
    pods.create(&PostParams::default(), &plain).await.unwrap();
    let debug = |number: usize| json!({"name": format!("d{number}"), "image": format!("big:{}", tag_of(number))});
    let all: Vec<_> = (0..64).map(debug).collect();
    let patch = Patch::Strategic(json!({"spec": {"ephemeralContainers": all}}));
    let pod = pods.patch_ephemeral_containers("debugged", &PatchParams::default(), &patch).await.unwrap();
    let added = pod.spec.unwrap().ephemeral_containers.unwrap();
    assert_eq!(added.len(), 64);
    assert!(added.iter().all(|container| container.image.as_ref().unwrap().starts_with("123456789012.")));
    policy.delete(&stack).await;
    for namespace in [strict, lenient] {
        namespace.cleanup().await;
    }
}

#[tokio::test]
async fn tags_that_a_status_has_no_room_for_are_rewritten_too() {
    const TAGS: usize = 320;
    let stack = Stack::connect().await;
    let namespace = stack.namespace("many-tags").await;
    let repository = format!("library/{}", unique("many-tags"));
    let digest =
        crate::support::push(&format!("{repository}:1.0"), 540, &["--layers", "1", "--layer-size", "1024"]).await;
    let source = format!("{}/{repository}", env("UPSTREAM_REGISTRY"));
    for tag in 1..TAGS {
        let arguments = ["tag", "--insecure", &format!("{source}:1.0"), &format!("1.{tag}")];
        run("crane", &arguments).await.expect("the tag is there");
    }
    let spec = format!(
        "source: {{image: docker.io/{repository}}}\ntags: {{include: ['1.*']}}\nrewrite: {{pods: SameNamespace, pin: true}}"
    );
    namespace.apply::<ImageMirror>("it", &spec).await;
    let mirror = namespace.ready::<ImageMirror>("it").await;
    let there = &mirror.status.as_ref().unwrap().destinations[0];
    assert!(there.more_tags > 0 && there.tags.iter().all(|tag| tag.name != "1.0"), "{}", there.more_tags);
    let expected = format!("{}/docker.io/{repository}:1.0@{digest}", env("ECR_REGISTRY"));
    gets(&namespace, &format!("{repository}:1.0"), &expected).await;
    eventually("the condition counts them all", || async {
        let mirror = namespace.api::<ImageMirror>().get("it").await.unwrap();
        let words = mirror.status?.common.condition(REWRITES_PODS)?.message.clone();
        words.contains(&format!("get {TAGS} images")).then_some(())
    })
    .await;
    namespace.cleanup().await;
}
