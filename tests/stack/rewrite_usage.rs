//! What running pods have of the mirrored images: in the condition, in the metrics, and from `plan --pods`.

use ecr_operator::api::ImageMirror;
use ecr_operator::api::conditions::REWRITES_PODS;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::support::{Stack, ecr_operator, env, eventually, push, run, unique};

fn pod(name: &str, image: &str, labels: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "main", "image": image}]},
    }))
    .unwrap()
}

#[tokio::test]
async fn pods_that_were_rewritten_will_be_and_can_not_be_are_counted_and_listed() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("counted").await;
    let repository = format!("library/{}", unique("counted"));
    let digest = push(&format!("{repository}:1"), 550, &["--layers", "1", "--layer-size", "1024"]).await;
    let short = repository.strip_prefix("library/").unwrap().to_owned();
    let (one, two) = (format!("{short}:1"), format!("{short}:2"));
    let pods = namespace.api::<Pod>();
    let create = PostParams::default();
    let old = pod("old", &one, json!({}));
    eventually("the pod is created", || async { pods.create(&create, &old).await.ok() }).await;
    pods.create(&create, &pod("unknown", &two, json!({}))).await.unwrap();
    pods.create(&create, &pod("off", &one, json!({"ecr-operator.io/rewrite": "disabled"}))).await.unwrap();

    let spec =
        format!("source: {{image: {short}}}\ntags: {{names: ['1']}}\nrewrite: {{pods: SameNamespace, pin: true}}");
    namespace.apply::<ImageMirror>("it", &spec).await;
    let becomes = format!("{}/docker.io/{repository}:1@{digest}", env("ECR_REGISTRY"));
    eventually("a new pod is rewritten", || async {
        let made = pods.create(&create, &pod("new", &one, json!({}))).await.unwrap();
        if made.spec.unwrap().containers[0].image.as_ref() == Some(&becomes) {
            return Some(());
        }
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        pods.delete("new", &at_once).await.unwrap();
        None
    })
    .await;
    let words =
        format!("images of pods that are there: 1 rewritten, 1 at the pod's next start, 1 not mirrored ({two})");
    let is_told = |mirror: &ImageMirror| {
        let condition = mirror.status.as_ref().and_then(|status| status.common.condition(REWRITES_PODS));
        condition.is_some_and(|condition| condition.message.ends_with(&words))
    };
    namespace.until::<ImageMirror>("it", &words, is_told).await;

    let counted = |state: &str| {
        format!("ecr_operator_rewrite_mirror_images{{mirror=\"{}/it\",state=\"{state}\"}} 1\n", namespace.name)
    };
    eventually("the metrics have it", || async {
        let metrics = stack.get_text(&env("OPERATOR_METRICS_URL")).await;
        ["rewritten", "next_start", "not_mirrored"].iter().all(|state| metrics.contains(&counted(state))).then_some(())
    })
    .await;

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("all.yaml");
    let namespaced = ["get", "pods,imagemirrors", "--namespace", &namespace.name, "--output", "yaml"];
    let registry = run("kubectl", &["get", "ecrregistry/default", "--output", "yaml"]).await.unwrap();
    let objects = run("kubectl", &namespaced).await.unwrap();
    std::fs::write(&file, format!("{objects}\n---\n{registry}\n")).unwrap();
    let file = file.to_str().unwrap();
    let ran = ecr_operator(&["plan", "--pods", "--output", "json", "--filename", file]).await;
    let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{} {}", ran.out, ran.err));
    assert_eq!(report["pods"]["pods"], 3, "{report}");
    let of = |pod: &str, image: &str| json!({"namespace": namespace.name, "pod": pod, "container": "main", "image": image, "mirror": format!("{}/it", namespace.name)});
    let mut will_change = of("old", &one);
    will_change["becomes"] = becomes.as_str().into();
    assert_eq!(report["pods"]["images"], json!([will_change, of("unknown", &two)]));
    let ran = ecr_operator(&["plan", "--pods", "--filename", file]).await;
    assert!(ran.out.contains("1 of 3 pods would change at their next start; 1 images are not mirrored"), "{}", ran.out);
    assert!(ran.out.lines().any(|line| line.starts_with(&namespace.name) && line.ends_with(&becomes)), "{}", ran.out);
    namespace.cleanup().await;
}
