//! Lifecycle previews on the local stack: with pods that name images, and with ECR's answers played by the stand-in.

use ecr_operator::api::{EcrRepository, LifecyclePreview, PreviewAction, PreviewState};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::repository::put_image_as;
use crate::support::{Namespace, Stack, env, eventually, is_ready};

const SPEC: &str = "
lifecycle:
  preview: true
  rules:
  - {untagged: {}, expireAfterDays: 7}
  - {any: {}, archiveUnpulledAfterDays: 30}
";

/// The policy that the spec means, in another order than the operator sends it.
fn policy() -> Value {
    json!({"rules": [
        {"rulePriority": 2, "action": {"targetStorageClass": "archive", "type": "transition"},
         "selection": {"countNumber": 30, "countUnit": "days", "countType": "sinceImagePulled", "tagStatus": "any"}},
        {"rulePriority": 1, "action": {"type": "expire"},
         "selection": {"countNumber": 7, "countUnit": "days", "countType": "sinceImagePushed", "tagStatus": "untagged"}},
    ]})
}

fn digest(letter: &str) -> String {
    format!("sha256:{}", letter.repeat(64))
}

/// A pod that names one image and runs another one, as its node would report it.
async fn pod(namespace: &Namespace<'_>, image: &str, image_id: &str) {
    eventually("the namespace has its service account", || async {
        namespace.api::<ServiceAccount>().get_opt("default").await.unwrap()
    })
    .await;
    let pod = json!({"metadata": {"name": "api"}, "spec": {"containers": [{"name": "main", "image": image}]}});
    let pods = namespace.api::<Pod>();
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.expect("the pod is created");
    let container = json!({"name": "main", "image": image, "imageID": image_id, "ready": false, "restartCount": 0});
    let status = json!({"status": {"phase": "Running", "containerStatuses": [container]}});
    pods.patch_status("api", &PatchParams::default(), &Patch::Merge(status)).await.expect("the pod's status is set");
}

/// The preview, once it is in this state.
async fn preview(namespace: &Namespace<'_>, state: PreviewState) -> LifecyclePreview {
    let shown = move |it: &EcrRepository| {
        it.status.as_ref()?.lifecycle_preview.clone().filter(|preview| preview.state == state)
    };
    let object = namespace.until::<EcrRepository>("api", "a preview", |it| shown(it).is_some()).await;
    shown(&object).unwrap()
}

/// Lets ECR answer the repository's previews in this way, so many times.
async fn answered<'a>(stack: &'a Stack, name: &str, times: u32, answer: Value) -> crate::support::Fault<'a> {
    let fault = json!({
        "target": "api", "action": "GetLifecyclePolicyPreview", "request": name, "times": times, "status": 200,
        "code": "OK", "message": "", "body": answer.to_string(), "headers": {"content-type": "application/x-amz-json-1.1"},
    });
    stack.fault("AWS_CONTROL_URL", fault).await
}

#[tokio::test]
async fn a_preview_tells_what_would_go_and_warns_of_images_that_pods_run() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("preview").await;
    let name = format!("{}/api", namespace.name);
    let uri = format!("{}/{name}", env("ECR_REGISTRY"));
    let image = |letter: &str, tags: Value, kind: &str, rule: u32| {
        json!({"imageDigest": digest(letter), "imageTags": tags, "imagePushedAt": 1_700_000_000,
               "action": {"type": kind}, "appliedRulePriority": rule})
    };
    let running = answered(&stack, &name, 1, json!({"status": "IN_PROGRESS"})).await;
    let complete = answered(
        &stack,
        &name,
        0,
        json!({
            "status": "COMPLETE", "repositoryName": name, "lifecyclePolicyText": policy().to_string(),
            "previewResults": [
                image("a", json!([]), "EXPIRE", 1),
                image("b", json!(["v1"]), "TRANSITION", 2),
                image("c", json!(["v2"]), "TRANSITION", 2),
            ],
            "summary": {
                "expiringImageTotalCount": 1,
                "transitioningImageTotalCounts": [{"targetStorageClass": "ARCHIVE", "imageTotalCount": 2}],
            },
        }),
    )
    .await;
    pod(&namespace, &format!("{uri}:v1"), &format!("{uri}@{}", digest("a"))).await;
    namespace.apply::<EcrRepository>("api", SPEC).await;

    let first = preview(&namespace, PreviewState::Complete).await;
    assert_eq!((first.expiring, first.archiving, first.in_use), (Some(1), Some(2), Some(2)), "{first:?}");
    assert_eq!(first.message, "1 image would expire and 2 be archived, and pods of this cluster run 2 of them");
    let used: Vec<_> =
        first.in_use_images.iter().map(|image| (image.digest.clone(), image.action, image.rule)).collect();
    let expected = [(digest("a"), PreviewAction::Expire, Some(1)), (digest("b"), PreviewAction::Archive, Some(2))];
    assert_eq!(used, expected, "one by its digest, one by its tag");
    assert_eq!(first.in_use_images[0].namespaces.join(","), namespace.name);
    eventually("an event warns of them", || async {
        let events = namespace.api::<Event>().list(&ListParams::default()).await.unwrap();
        events.items.into_iter().find(|event| event.reason.as_deref() == Some("ImagesInUse"))
    })
    .await;

    // Nothing asks for another one: the next look leaves it as it is.
    running.remove().await;
    complete.remove().await;
    let relabelled = format!("{SPEC}tags: {{a: b}}\n");
    let generation = namespace.apply::<EcrRepository>("api", &relabelled).await.metadata.generation;
    let object = namespace
        .until::<EcrRepository>("api", "handled", |it| {
            is_ready(it) && it.status.as_ref().unwrap().common.observed_generation == generation
        })
        .await;
    assert_eq!(object.status.unwrap().lifecycle_preview.unwrap().started_at, first.started_at);

    // On request there is a new one, of the repository as it is: without images.
    namespace.sync::<EcrRepository>("api").await;
    let shown = |it: &EcrRepository| it.status.as_ref().unwrap().lifecycle_preview.clone().unwrap();
    let object = namespace
        .until::<EcrRepository>("api", "a new preview", |it| {
            shown(it).state == PreviewState::Complete && shown(it).in_use == Some(0)
        })
        .await;
    assert_eq!(shown(&object).message, "no image would expire or be archived");
    assert!(shown(&object).started_at > first.started_at);

    // Other rules have a preview of their own, and without the field there is none.
    let month = SPEC.replace("expireAfterDays: 7", "expireAfterDays: 30");
    namespace.apply::<EcrRepository>("api", &month).await;
    namespace
        .until::<EcrRepository>("api", "a preview of other rules", |it| {
            shown(it).state == PreviewState::Complete && shown(it).policy != first.policy
        })
        .await;
    namespace.apply::<EcrRepository>("api", &SPEC.replace("preview: true", "preview: false")).await;
    namespace
        .until::<EcrRepository>("api", "no preview", |it| it.status.as_ref().unwrap().lifecycle_preview.is_none())
        .await;
    namespace.delete::<EcrRepository>("api").await;
    namespace.gone::<EcrRepository>("api").await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn an_observed_repository_has_a_preview_of_rules_that_it_does_not_have() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("foresee").await;
    let name = format!("{}/api", namespace.name);
    stack.ecr.create_repository().repository_name(&name).send().await.expect("the repository is created");
    put_image_as(&name, "old", 301).await;
    put_image_as(&name, "new", 302).await;
    let old = stack.digest_in_ecr(&name, "old").await.expect("the older image");
    let uri = format!("{}/{name}", env("ECR_REGISTRY"));
    pod(&namespace, &format!("{uri}@{old}"), &format!("{uri}@{old}")).await;

    let spec = "managementPolicy: Observe\nlifecycle: {preview: true, rules: [{any: {}, keepLast: 1}]}";
    namespace.apply::<EcrRepository>("api", spec).await;
    let shown = preview(&namespace, PreviewState::Complete).await;
    assert_eq!((shown.expiring, shown.archiving, shown.in_use), (Some(1), Some(0), Some(1)), "{shown:?}");
    assert_eq!(shown.in_use_images[0].digest, old);
    assert!(stack.ecr.get_lifecycle_policy().repository_name(&name).send().await.is_err(), "nothing was changed");

    stack.ecr.delete_repository().repository_name(&name).force(true).send().await.expect("the repository is deleted");
    namespace.delete::<EcrRepository>("api").await;
    namespace.gone::<EcrRepository>("api").await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_preview_that_aws_refuses_leaves_the_repository_ready_and_says_why() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("no-preview").await;
    let fault = json!({
        "target": "api", "action": "StartLifecyclePolicyPreview", "request": namespace.name, "times": 0,
        "status": 400, "code": "AccessDeniedException", "message": "User is not authorized to perform ecr:StartLifecyclePolicyPreview",
    });
    let fault = stack.fault("AWS_CONTROL_URL", fault).await;
    namespace.apply::<EcrRepository>("api", SPEC).await;
    let refused = preview(&namespace, PreviewState::Failed).await;
    assert!(refused.message.contains("not authorized") && refused.message.contains("allow this action"), "{refused:?}");
    namespace.ready::<EcrRepository>("api").await;
    fault.remove().await;

    // Busy with somebody else's preview: the one of these rules follows.
    let busy = json!({
        "target": "api", "action": "StartLifecyclePolicyPreview", "request": namespace.name, "times": 1,
        "status": 400, "code": "LifecyclePolicyPreviewInProgressException", "message": "not completed",
    });
    stack.fault("AWS_CONTROL_URL", busy).await;
    let none = json!({
        "target": "api", "action": "GetLifecyclePolicyPreview", "request": namespace.name, "times": 1,
        "status": 400, "code": "LifecyclePolicyPreviewNotFoundException", "message": "There is no dry run",
    });
    stack.fault("AWS_CONTROL_URL", none).await;
    namespace.sync::<EcrRepository>("api").await;
    let done = preview(&namespace, PreviewState::Complete).await;
    assert_eq!(done.in_use, Some(0), "{done:?}");
    namespace.delete::<EcrRepository>("api").await;
    namespace.gone::<EcrRepository>("api").await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_policy_that_ecr_would_refuse_is_refused_before_it_sees_it() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("bad-policy").await;
    let rule = |priority: u32| {
        json!({"rulePriority": priority, "action": {"type": "expire"},
               "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 3}})
    };
    let text = json!({"rules": [rule(1), rule(2)]}).to_string();
    namespace.apply::<EcrRepository>("api", &format!("lifecycle: {{policy: '{text}'}}")).await;
    let said = namespace.not_ready::<EcrRepository>("api", "InvalidSpec").await;
    assert!(said.contains("spec.lifecycle.policy: rule 1: the rule for any image must be the last"), "{said}");
    assert!(!stack.repository_exists(&format!("{}/api", namespace.name)).await, "nothing is created for a bad spec");
    namespace.delete::<EcrRepository>("api").await;
    namespace.gone::<EcrRepository>("api").await;
    namespace.cleanup().await;
}
