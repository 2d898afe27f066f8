//! Pods on the stack's real node, which pull with pull secrets or not at all.

use ecr_operator::api::ClusterEcrPullSecret;
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::support::pulling::PullOnly;
use crate::support::{Namespace, Stack, env, eventually, is_ready, skipped, unique};

/// The name of the node, where the machine has one.
fn node() -> Option<String> {
    let node = env("NODE");
    if node.is_empty() {
        skipped("the stack has no node, so no pod shows that pull secrets work");
        return None;
    }
    Some(node)
}

/// An image of a program that says hello and ends.
const HELLO: &str = "library/hello:1.0";

/// A namespace's pods.
struct Pods<'a> {
    namespace: &'a Namespace<'a>,
    node: String,
}

impl Pods<'_> {
    /// Starts a pod that runs once, with more in its spec.
    async fn start(&self, name: &str, image: &str, more: Value) {
        let mut spec = json!({
            "nodeName": self.node,
            "hostNetwork": true,
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "main", "image": image, "imagePullPolicy": "Always"}],
        });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap();
        // The service account comes a moment after its namespace.
        eventually(&format!("pod {name} is accepted"), || async {
            self.namespace.api::<Pod>().create(&PostParams::default(), &pod).await.ok()
        })
        .await;
    }

    async fn get(&self, name: &str) -> Value {
        serde_json::to_value(self.namespace.api::<Pod>().get(name).await.unwrap()).unwrap()
    }

    async fn ends_well(&self, name: &str) {
        eventually(&format!("pod {name} has run"), || async {
            let pod = self.get(name).await;
            let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
            let refused = ["ErrImagePull", "ImagePullBackOff"].iter().any(|reason| waiting["reason"] == *reason);
            assert!(!refused, "pod {name}: {waiting}");
            (pod["status"]["phase"] == "Succeeded").then_some(())
        })
        .await;
    }

    /// Waits until the kubelet could not pull, and gives its words.
    async fn can_not_pull(&self, name: &str) -> String {
        eventually(&format!("pod {name} can't pull"), || async {
            let pod = self.get(name).await;
            assert_ne!(pod["status"]["phase"], "Succeeded", "pod {name} ran");
            let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
            // In the meantime it is ContainerCreating, and later ImagePullBackOff, which repeats the words.
            let refused = ["ErrImagePull", "ImagePullBackOff"].iter().any(|reason| waiting["reason"] == *reason);
            refused.then(|| waiting["message"].as_str().unwrap_or_default().to_owned())
        })
        .await
    }
}

#[tokio::test]
async fn a_pod_with_the_secret_runs_and_without_it_or_from_elsewhere_it_does_not() {
    let Some(node) = node() else { return };
    let stack = Stack::connect().await;
    let namespace = stack.namespace("pods").await;
    let registry = PullOnly::new(&stack, "pods").await;
    let image = stack.image_in_ecr(HELLO, &format!("{}/hello", namespace.name), "1.0").await;
    let others = stack.image_in_ecr(HELLO, &format!("{}-other/hello", namespace.name), "1.0").await;
    registry.secret(&namespace).await;

    let pods = Pods { namespace: &namespace, node };
    let secrets = json!({"imagePullSecrets": [{"name": "ecr"}]});
    pods.start("with-secret", &image, secrets.clone()).await;
    pods.start("without-secret", &image, json!({})).await;
    pods.start("from-elsewhere", &others, secrets).await;
    pods.ends_well("with-secret").await;
    let words = pods.can_not_pull("without-secret").await;
    assert!(words.contains("authorization failed") || words.contains("401"), "{words}");
    let words = pods.can_not_pull("from-elsewhere").await;
    assert!(words.contains("403"), "{words}");
    registry.cleanup().await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_pod_runs_by_the_service_account_that_was_given_the_secret_and_by_no_other() {
    let Some(node) = node() else { return };
    let stack = Stack::connect().await;
    let registry = PullOnly::new(&stack, "accounts").await;
    let name = unique("accounts");
    let spec = json!({
        "registries": [{"name": registry.name}],
        "namespaceSelector": {"matchLabels": {"pull": name}},
        "serviceAccounts": {"names": ["default"]},
    });
    stack.apply::<ClusterEcrPullSecret>(&name, &spec.to_string()).await;
    // It comes after the object, as namespaces do.
    let namespace = stack.labelled_namespace("accounts", json!({"pull": name})).await;
    let image = stack.image_in_ecr(HELLO, &format!("{}/hello", namespace.name), "1.0").await;
    let other: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "other"}})).unwrap();
    namespace.api::<ServiceAccount>().create(&PostParams::default(), &other).await.unwrap();
    eventually("the service account names the secret", || async {
        let account = namespace.api::<ServiceAccount>().get_opt("default").await.unwrap()?;
        account.image_pull_secrets?.iter().find(|secret| secret.name == name).map(drop)
    })
    .await;
    eventually("the secret is there", || async { namespace.api::<Secret>().get_opt(&name).await.unwrap() }).await;
    stack.until::<ClusterEcrPullSecret>(&name, "ready", is_ready).await;

    let pods = Pods { namespace: &namespace, node };
    pods.start("by-default", &image, json!({})).await;
    pods.start("by-another", &image, json!({"serviceAccountName": "other"})).await;
    pods.ends_well("by-default").await;
    let words = pods.can_not_pull("by-another").await;
    assert!(words.contains("authorization failed") || words.contains("401"), "{words}");
    let pod = pods.get("by-default").await;
    assert_eq!(pod["spec"]["imagePullSecrets"], json!([{"name": name}]), "by the service account");
    stack.delete::<ClusterEcrPullSecret>(&name).await;
    registry.cleanup().await;
    namespace.cleanup().await;
}
