//! Two operators and one Lease, on a local stack that has no operator of its own. Run them with `make test`.
#![allow(clippy::unwrap_used)]

mod operator;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use ecr_operator::api::ImageMirror;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::ResourceExt as _;
use kube::api::PostParams;
use operator::Operator;
use serde_json::{Value, json};
use support::{Fault, Namespace, Stack, eventually, message, push, unique};

/// Each operator works on all objects of the stack, so one test runs at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Layers of each of the two platforms of the images.
const LAYERS: u64 = 5;

/// A namespace with a Lease that the operator's ServiceAccount may hold.
async fn namespace_with_lease<'a>(stack: &'a Stack, purpose: &str) -> Namespace<'a> {
    let namespace = stack.namespace(purpose).await;
    let role = json!({
        "metadata": {"name": "leader-election"},
        "rules": [
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["ecr-operator"], "verbs": ["get", "update"]},
        ],
    });
    let binding = json!({
        "metadata": {"name": "leader-election"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "leader-election"},
        "subjects": [{"kind": "ServiceAccount", "name": "ecr-operator", "namespace": "ecr-system"}],
    });
    let role: Role = serde_json::from_value(role).unwrap();
    namespace.api::<Role>().create(&PostParams::default(), &role).await.unwrap();
    let binding: RoleBinding = serde_json::from_value(binding).unwrap();
    namespace.api::<RoleBinding>().create(&PostParams::default(), &binding).await.unwrap();
    namespace
}

async fn holder(namespace: &Namespace<'_>) -> Option<String> {
    namespace.api::<Lease>().get("ecr-operator").await.unwrap().spec.unwrap().holder_identity
}

/// A leader and one that waits, which is ready all the same.
async fn two_operators(namespace: &Namespace<'_>, lease_duration: &str) -> (Operator, Operator) {
    let leader = Operator::start(&namespace.name, lease_duration).await;
    leader.until_leader().await;
    let other = Operator::start(&namespace.name, lease_duration).await;
    assert!(!other.is_leader().await && leader.is_leader().await);
    assert!(other.is_healthy().await && leader.is_healthy().await);
    (leader, other)
}

/// Longer than any of these tests takes.
const FOR_GOOD: Duration = Duration::from_secs(600);

/// A mirror that is stuck in the middle of a copy: blobs whose digests begin with one of these digits are late.
struct Stuck<'a> {
    repository: String,
    digest: String,
    fault: Fault<'a>,
}

async fn stuck_mirror<'a>(namespace: &Namespace<'a>, seed: u32, digits: &str, late: Duration) -> Stuck<'a> {
    let stack = namespace.stack;
    let repository = format!("library/{}", unique("replicas"));
    let digest = push(&format!("{repository}:1"), seed, &["--layers", &LAYERS.to_string()]).await;
    let path = format!("/v2/{repository}/blobs/sha256:{digits}");
    let fault = json!({"method": "GET", "path": path, "times": 0, "delayMs": late.as_millis()});
    let fault = stack.fault("HUB_CONTROL_URL", fault).await;
    stack.forget_calls("AWS_CONTROL_URL").await;
    let spec = format!("source: {{image: docker.io/{repository}}}\ntags: {{names: ['1']}}");
    namespace.apply::<ImageMirror>("image", &spec).await;
    namespace.until::<ImageMirror>("image", "copying", |it| message(it).contains("copying")).await;
    calm(stack).await;
    let name = format!("docker.io/{repository}");
    assert_eq!(stack.digest_in_ecr(&name, "1").await, None, "it is stuck before the tag");
    Stuck { repository: name, digest, fault }
}

/// Waits until nothing is written to AWS for a while.
async fn calm(stack: &Stack) {
    eventually("it is calm", || async {
        let before = writes(stack).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        (writes(stack).await == before).then_some(())
    })
    .await;
}

/// What was written to AWS, and how often.
async fn writes(stack: &Stack) -> Value {
    let mut calls = stack.calls("AWS_CONTROL_URL").await;
    let reads =
        |name: &str| ["GET", "HEAD", "Describe", "Get", "List", "Batch"].iter().any(|read| name.starts_with(read));
    for of in ["api", "registry"] {
        calls[of].as_object_mut().unwrap().retain(|name, _| !reads(name));
    }
    json!({"api": calls["api"], "registry": calls["registry"]})
}

#[tokio::test]
async fn when_the_leader_is_killed_the_other_goes_on_where_it_was() {
    let _alone = ALONE.lock().await;
    let stack = Stack::connect().await;
    // The moment of death: which blobs have come by then.
    for (seed, digits) in [(700, "[0-7]"), (701, "[4-9ab]"), (702, "[0-9a-d]")] {
        let namespace = namespace_with_lease(&stack, "killed").await;
        let (leader, other) = two_operators(&namespace, "6s").await;
        let stuck = stuck_mirror(&namespace, seed, digits, FOR_GOOD).await;
        leader.kill().await;
        stuck.fault.remove().await;

        other.until_leader().await;
        namespace.ready::<ImageMirror>("image").await;
        assert_eq!(stack.digest_in_ecr(&stuck.repository, "1").await, Some(stuck.digest));
        let registry = stack.calls("AWS_CONTROL_URL").await["registry"].clone();
        // Of both operators together: the layers and the config of each platform, two manifests and their index.
        assert_eq!(registry["PUT upload"], 2 * (LAYERS + 1), "{digits}: {registry}");
        assert_eq!(registry["PUT manifest"], 3, "{digits}: {registry}");
        other.kill().await;
        namespace.cleanup().await;
    }
}

#[tokio::test]
async fn a_leader_that_was_stopped_for_longer_than_its_lease_writes_nothing_when_it_wakes_up() {
    let _alone = ALONE.lock().await;
    let stack = Stack::connect().await;
    let namespace = namespace_with_lease(&stack, "stopped").await;
    let (mut stopped, other) = two_operators(&namespace, "6s").await;
    let late = Duration::from_secs(40);
    let stuck = stuck_mirror(&namespace, 710, "[0-7]", late).await;
    stopped.signal("STOP").await;
    stuck.fault.remove().await;
    other.until_leader().await;
    let done = namespace.ready::<ImageMirror>("image").await;
    assert_eq!(stack.digest_in_ecr(&stuck.repository, "1").await, Some(stuck.digest));
    // What the stopped one waits for is there when it wakes up: it would go on.
    tokio::time::sleep(late).await;
    calm(&stack).await;
    let holds = holder(&namespace).await;
    stack.forget_calls("AWS_CONTROL_URL").await;

    stopped.signal("CONT").await;
    assert_eq!(stopped.ended().await.code(), Some(1));
    assert_eq!(writes(&stack).await, json!({"api": {}, "registry": {}}));
    let still = namespace.api::<ImageMirror>().get("image").await.unwrap();
    assert_eq!(still.resource_version(), done.resource_version());
    assert_eq!(holder(&namespace).await, holds);
    assert!(other.is_leader().await);
    other.kill().await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_leader_that_is_told_to_stop_cancels_its_copies_and_gives_the_lease_back() {
    let _alone = ALONE.lock().await;
    let stack = Stack::connect().await;
    let namespace = namespace_with_lease(&stack, "told").await;
    // So long that the other would not get it within this test's patience, were it not given back.
    let (mut leader, other) = two_operators(&namespace, "160s").await;
    let stuck = stuck_mirror(&namespace, 720, "[0-7]", FOR_GOOD).await;
    leader.signal("TERM").await;
    assert_eq!(leader.ended().await.code(), Some(0));
    stuck.fault.remove().await;
    other.until_leader().await;
    namespace.ready::<ImageMirror>("image").await;
    assert_eq!(stack.digest_in_ecr(&stuck.repository, "1").await, Some(stuck.digest));
    other.kill().await;
    namespace.cleanup().await;
}
