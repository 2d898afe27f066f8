//! EcrPullSecret and ClusterEcrPullSecret on the local stack, used by crane.

use std::collections::BTreeMap;

use ecr_operator::api::{ClusterEcrPullSecret, EcrPullSecret, EcrRegistry};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Namespace as KubeNamespace, Secret};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::{Namespace, Stack, env, eventually, has_reason, is_ready, message, run_with, unique};

const KEY: &str = ".dockerconfigjson";

async fn secret(namespace: &Namespace<'_>, name: &str) -> Option<Secret> {
    namespace.api::<Secret>().get_opt(name).await.unwrap()
}

async fn secret_appears(namespace: &Namespace<'_>, name: &str) -> Secret {
    eventually(&format!("{}/{name} appears", namespace.name), || secret(namespace, name)).await
}

fn content(secret: &Secret) -> Value {
    serde_json::from_slice(&secret.data.as_ref().unwrap()[KEY].0).unwrap()
}

/// Whether ECR gives an image to somebody with this docker config.
async fn can_log_in(secret: &Secret) -> bool {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("config.json"), &secret.data.as_ref().unwrap()[KEY].0).unwrap();
    let variables = [("DOCKER_CONFIG", directory.path().to_str().unwrap())];
    let answer = run_with("crane", &["ls", &format!("{}/no/such/repository", env("ECR_REGISTRY"))], &variables).await;
    let words = answer.expect_err("there is no such repository");
    assert!(words.contains("NAME_UNKNOWN") || words.contains("UNAUTHORIZED") || words.contains("DENIED"), "{words}");
    words.contains("NAME_UNKNOWN")
}

#[tokio::test]
async fn the_secret_is_what_a_kubelet_expects_and_works() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("secret").await;
    let object = namespace.apply::<EcrPullSecret>("ecr", "{}").await;
    let ready = namespace.ready::<EcrPullSecret>("ecr").await;
    let secret = secret(&namespace, "ecr").await.expect("its name is the object's");
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/dockerconfigjson"));
    assert_eq!(content(&secret)["auths"][env("ECR_REGISTRY")]["username"], "AWS");
    assert_eq!(secret.owner_references()[0].uid, object.uid().unwrap());
    assert_eq!(secret.labels()["app.kubernetes.io/managed-by"], "ecr-operator");
    assert!(can_log_in(&secret).await);
    let status = ready.status.unwrap();
    let left = Timestamp::now().duration_until(status.expires_at.unwrap().0);
    assert!(left > SignedDuration::from_hours(5), "{left:?}");
    namespace.cleanup().await;
}

#[tokio::test]
async fn an_edited_or_deleted_secret_is_put_back_in_place() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("edited").await;
    namespace.apply::<EcrPullSecret>("ecr", "secretName: pull").await;
    namespace.ready::<EcrPullSecret>("ecr").await;
    let written = secret(&namespace, "pull").await.unwrap();

    let nonsense = Secret {
        data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(br#"{"auths":{}}"#.to_vec()))])),
        ..Secret::default()
    };
    namespace.api::<Secret>().patch("pull", &PatchParams::default(), &Patch::Merge(&nonsense)).await.unwrap();
    let repaired = eventually("the content is back", || async {
        secret(&namespace, "pull").await.filter(|secret| content(secret)["auths"][env("ECR_REGISTRY")].is_object())
    })
    .await;
    assert_eq!(repaired.uid(), written.uid(), "updated in place, as the kubelet wants it");

    namespace.api::<Secret>().delete("pull", &DeleteParams::default()).await.unwrap();
    let again = eventually("the secret is back", || async {
        secret(&namespace, "pull").await.filter(|secret| secret.uid() != written.uid())
    })
    .await;
    assert!(can_log_in(&again).await);
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_secret_that_is_due_is_renewed_in_place() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("due").await;
    namespace.apply::<EcrPullSecret>("ecr", "{}").await;
    namespace.ready::<EcrPullSecret>("ecr").await;
    let written = secret(&namespace, "ecr").await.unwrap();
    let due = json!({"metadata": {"annotations": {"ecr-operator.io/renew-at": "2020-01-01T00:00:00Z"}}});
    namespace.api::<Secret>().patch("ecr", &PatchParams::default(), &Patch::Merge(&due)).await.unwrap();
    let renewed = eventually("the secret is renewed", || async {
        secret(&namespace, "ecr").await.filter(|secret| {
            secret.annotations()["ecr-operator.io/renew-at"].parse::<Timestamp>().unwrap() > Timestamp::now()
        })
    })
    .await;
    assert_eq!(renewed.uid(), written.uid());
    assert!(can_log_in(&renewed).await);
    namespace.cleanup().await;
}

#[tokio::test]
async fn the_secret_goes_with_its_object_and_with_its_old_name() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("goes").await;
    namespace.apply::<EcrPullSecret>("ecr", "secretName: one").await;
    secret_appears(&namespace, "one").await;
    namespace.apply::<EcrPullSecret>("ecr", "secretName: two").await;
    secret_appears(&namespace, "two").await;
    namespace.gone::<Secret>("one").await;
    namespace.delete::<EcrPullSecret>("ecr").await;
    namespace.gone::<Secret>("two").await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_never_overwritten() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("foreign").await;
    let theirs: Secret =
        serde_json::from_value(json!({"metadata": {"name": "ecr"}, "stringData": {"precious": "yes"}})).unwrap();
    namespace.api::<Secret>().create(&PostParams::default(), &theirs).await.unwrap();
    namespace.apply::<EcrPullSecret>("ecr", "{}").await;
    let words = namespace.not_ready::<EcrPullSecret>("ecr", "SecretNotOwned").await;
    assert!(words.contains("did not write") && words.contains("secretName"), "{words}");
    let still = secret(&namespace, "ecr").await.unwrap();
    assert_eq!(still.data.unwrap()["precious"].0, b"yes");

    namespace.api::<Secret>().delete("ecr", &DeleteParams::default()).await.unwrap();
    namespace.ready::<EcrPullSecret>("ecr").await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn several_registries_share_one_secret() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("several").await;
    let name = unique("second");
    let default = stack.all::<EcrRegistry>().get("default").await.unwrap();
    let mut endpoints = serde_json::to_value(default.spec.endpoints).unwrap();
    endpoints["registry"] = "https://registry.example.com".into();
    stack.apply::<EcrRegistry>(&name, &format!("{{region: eu-central-1, endpoints: {endpoints}}}")).await;
    stack.until::<EcrRegistry>(&name, "ready", is_ready).await;
    namespace.apply::<EcrPullSecret>("ecr", &format!("registries: [{{name: default}}, {{name: {name}}}]")).await;
    namespace.ready::<EcrPullSecret>("ecr").await;
    let auths = content(&secret(&namespace, "ecr").await.unwrap())["auths"].clone();
    assert!(auths[env("ECR_REGISTRY")].is_object() && auths["registry.example.com"].is_object(), "two hosts");

    namespace.apply::<EcrPullSecret>("ecr", "registries: [{name: default}]").await;
    eventually("the second host is gone", || async {
        let auths = content(&secret(&namespace, "ecr").await.unwrap())["auths"].clone();
        auths["registry.example.com"].is_null().then_some(())
    })
    .await;
    stack.delete::<EcrRegistry>(&name).await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn an_unknown_registry_is_told() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("unknown").await;
    namespace.apply::<EcrPullSecret>("ecr", "registries: [{name: nowhere}]").await;
    let words = namespace.not_ready::<EcrPullSecret>("ecr", "RegistryNotFound").await;
    assert!(words.contains("nowhere"), "{words}");
    assert!(secret(&namespace, "ecr").await.is_none());
    namespace.cleanup().await;
}

#[tokio::test]
async fn every_selected_namespace_has_the_secret_also_those_that_come_later() {
    let stack = Stack::connect().await;
    let label = unique("pull");
    let labels = json!({"pull": label});
    let now = stack.labelled_namespace("now", labels.clone()).await;
    let other = stack.namespace("other").await;
    stack
        .apply::<ClusterEcrPullSecret>(
            &label,
            &format!("secretName: pull\nnamespaceSelector: {{matchLabels: {{pull: {label}}}}}"),
        )
        .await;
    let object = stack.until::<ClusterEcrPullSecret>(&label, "ready", is_ready).await;
    assert_eq!(object.status.unwrap().namespaces, Some(1));
    assert!(can_log_in(&secret(&now, "pull").await.unwrap()).await);
    assert!(secret(&other, "pull").await.is_none());

    let later = stack.labelled_namespace("later", labels.clone()).await;
    secret_appears(&later, "pull").await;

    let relabel = |labels: Value| json!({"metadata": {"labels": labels}});
    let namespaces = stack.all::<KubeNamespace>();
    namespaces.patch(&other.name, &PatchParams::default(), &Patch::Merge(relabel(labels))).await.unwrap();
    secret_appears(&other, "pull").await;
    namespaces.patch(&now.name, &PatchParams::default(), &Patch::Merge(relabel(json!({"pull": null})))).await.unwrap();
    now.gone::<Secret>("pull").await;

    stack.delete::<ClusterEcrPullSecret>(&label).await;
    later.gone::<Secret>("pull").await;
    other.gone::<Secret>("pull").await;
    for namespace in [now, other, later] {
        namespace.cleanup().await;
    }
}

#[tokio::test]
async fn one_namespace_that_can_not_be_served_holds_up_no_other() {
    let stack = Stack::connect().await;
    let label = unique("some");
    let labels = json!({"pull": label});
    let (good, bad) =
        (stack.labelled_namespace("good", labels.clone()).await, stack.labelled_namespace("bad", labels).await);
    let theirs: Secret = serde_json::from_value(json!({"metadata": {"name": "pull"}})).unwrap();
    bad.api::<Secret>().create(&PostParams::default(), &theirs).await.unwrap();
    stack
        .apply::<ClusterEcrPullSecret>(
            &label,
            &format!("secretName: pull\nnamespaceSelector: {{matchLabels: {{pull: {label}}}}}"),
        )
        .await;
    let object = stack.until::<ClusterEcrPullSecret>(&label, "told", |it| has_reason(it, "SecretNotOwned")).await;
    assert!(message(&object).contains(&bad.name), "{}", message(&object));
    assert_eq!(object.status.unwrap().failed[0].namespace, bad.name);
    assert!(secret(&good, "pull").await.is_some());
    stack.delete::<ClusterEcrPullSecret>(&label).await;
    good.cleanup().await;
    bad.cleanup().await;
}
