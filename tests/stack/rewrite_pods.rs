//! Pods of Deployments that run from ECR although they name Docker Hub's images, on the stack's real node.

use ecr_operator::api::{EcrPullSecret, EcrRegistry, ImageMirror};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};

use crate::support::pulling::{registry, role};
use crate::support::rewriting::gets;
use crate::support::{Namespace, Stack, env, eventually, run, skipped, unique};

/// A copy of the stand-in's busybox under a name of the test's own.
pub async fn busybox(purpose: &str) -> String {
    let name = unique(purpose);
    let hub = env("UPSTREAM_REGISTRY");
    let (from, to) = (format!("{hub}/library/busybox:1.36"), format!("{hub}/library/{name}:1.36"));
    run("crane", &["copy", "--insecure", &from, &to]).await.expect("the image is copied");
    name
}

/// What a pod needs on the stack's node, which has no network of its own for it and never gets ready.
pub fn on_node(node: &str) -> Value {
    json!({
        "nodeName": node,
        "hostNetwork": true,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 1,
        "tolerations": [{"operator": "Exists"}],
    })
}

fn deployment(node: &str, image: &str) -> Deployment {
    let mut spec = on_node(node);
    spec["containers"] =
        json!([{"name": "main", "image": image, "imagePullPolicy": "Always", "command": ["sleep", "3600"]}]);
    let deployment = json!({"metadata": {"name": "web"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": spec},
    }});
    serde_json::from_value(deployment).unwrap()
}

/// The pod of the deployment once it runs.
async fn running(namespace: &Namespace<'_>) -> Pod {
    eventually("the deployment's pod runs", || async {
        let pods = namespace.api::<Pod>().list(&ListParams::default().labels("app=web")).await.unwrap();
        let pod = pods.items.into_iter().next()?;
        let status = serde_json::to_value(&pod.status).unwrap();
        let waiting = &status["containerStatuses"][0]["state"]["waiting"];
        assert_ne!(waiting["reason"], "ErrImagePull", "{waiting}");
        (status["containerStatuses"][0]["ready"] == true).then_some(pod)
    })
    .await
}

#[tokio::test]
async fn a_deployment_runs_from_ecr_without_its_source_and_goes_on_without_its_mirror() {
    let node = env("NODE");
    if node.is_empty() {
        skipped("the stack has no node, so no Deployment runs from a mirror");
        return;
    }
    let stack = Stack::connect().await;
    let namespace = stack.namespace("runs").await;
    let name = unique("runs");
    let arn = role(&stack, &name, &["ecr:*"]).await;
    let more = json!({
        "pullRole": {"roleArn": arn},
        "access": [{"namespaceSelector": {}, "repositories": ["{namespace}/*"]}],
    });
    registry(&stack, &name, more).await;
    let image = busybox("runs").await;

    // The image, who may pull it, and who gets it: none of them in the Deployment.
    let secret = format!("registries: [{{name: {name}}}]\nserviceAccounts: {{names: [default]}}");
    namespace.apply::<EcrPullSecret>("ecr", &secret).await;
    let destination = format!("{{registryRef: {{name: {name}}}, repositoryName: {}/busybox}}", namespace.name);
    let mirror = |rewrite: &str| {
        format!("source: {{image: {image}}}\ntags: {{names: ['1.36']}}\ndestinations: [{destination}]\n{rewrite}")
    };
    namespace.apply::<ImageMirror>("it", &mirror("rewrite: {pods: SameNamespace, pin: true}")).await;
    namespace.ready::<ImageMirror>("it").await;
    namespace.ready::<EcrPullSecret>("ecr").await;
    let named = format!("{image}:1.36");
    let repository = format!("{}/busybox", namespace.name);
    let digest = stack.digest_in_ecr(&repository, "1.36").await.expect("it is mirrored");
    let expected = format!("{}/{repository}:1.36@{digest}", env("ECR_REGISTRY"));
    gets(&namespace, &named, &expected).await;

    let gone = json!({"path": image, "times": 0, "close": true});
    let fault = stack.fault("HUB_CONTROL_URL", gone).await;
    namespace.api::<Deployment>().create(&PostParams::default(), &deployment(&node, &named)).await.unwrap();
    let pod = running(&namespace).await;
    let spec = serde_json::to_value(&pod.spec).unwrap();
    assert_eq!(spec["containers"][0]["image"], expected);
    assert_eq!(spec["imagePullSecrets"], json!([{"name": "ecr"}]), "by the service account");
    assert_eq!(pod.annotations().get("image.ecr-operator.io/main"), Some(&named));
    let template = namespace.api::<Deployment>().get("web").await.unwrap().spec.unwrap().template;
    assert_eq!(template.spec.unwrap().containers[0].image.as_ref(), Some(&named), "the Deployment stays as it is");

    // The mirror is rolled back, and goes: new pods keep what they name, and the one that runs runs on.
    namespace.apply::<ImageMirror>("it", &mirror("")).await;
    gets(&namespace, &named, &named).await;
    namespace.delete::<ImageMirror>("it").await;
    namespace.gone::<ImageMirror>("it").await;
    assert_eq!(stack.digest_in_ecr(&repository, "1.36").await.as_ref(), Some(&digest), "the image stays in ECR");
    let after = running(&namespace).await;
    let restarts =
        |pod: &Pod| serde_json::to_value(&pod.status).unwrap()["containerStatuses"][0]["restartCount"].clone();
    assert_eq!((&after.metadata.uid, restarts(&after)), (&pod.metadata.uid, json!(0)));
    fault.remove().await;
    namespace.cleanup().await;
    stack.delete::<EcrRegistry>(&name).await;
}
