//! Service accounts that name a pull secret among their imagePullSecrets.

use ecr_operator::api::{ClusterEcrPullSecret, EcrPullSecret};
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::support::{Namespace, Stack, eventually, is_ready, unique};

async fn pulls(namespace: &Namespace<'_>, account: &str) -> Vec<String> {
    let account = namespace.api::<ServiceAccount>().get_opt(account).await.unwrap();
    account.and_then(|it| it.image_pull_secrets).unwrap_or_default().into_iter().map(|it| it.name).collect()
}

async fn list_is(namespace: &Namespace<'_>, account: &str, wanted: &[&str]) {
    eventually(&format!("{account} has {wanted:?}"), || async {
        (pulls(namespace, account).await == wanted).then_some(())
    })
    .await;
}

async fn create(namespace: &Namespace<'_>, name: &str, labels: serde_json::Value, pulls: &[&str]) {
    let pulls: Vec<_> = pulls.iter().map(|name| json!({ "name": name })).collect();
    let account: ServiceAccount =
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "imagePullSecrets": pulls}))
            .unwrap();
    namespace.api::<ServiceAccount>().create(&PostParams::default(), &account).await.unwrap();
}

/// What of the operator's is written on the account beside the list.
async fn marks(namespace: &Namespace<'_>, account: &str) -> usize {
    let account = namespace.api::<ServiceAccount>().get(account).await.unwrap();
    let keys = account.annotations().keys().chain(account.labels().keys());
    keys.filter(|key| key.contains("ecr-operator.io/")).count()
}

#[tokio::test]
async fn an_entry_comes_beside_those_of_others_and_goes_without_touching_them() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("accounts").await;
    create(&namespace, "builder", json!({}), &["first", "second"]).await;
    create(&namespace, "other", json!({}), &["first"]).await;
    namespace.apply::<EcrPullSecret>("ecr", "serviceAccounts: {names: [builder]}").await;
    list_is(&namespace, "builder", &["first", "second", "ecr"]).await;
    let counted = |it: &EcrPullSecret| {
        is_ready(it) && it.status.as_ref().is_some_and(|status| status.service_accounts == Some(1))
    };
    namespace.until::<EcrPullSecret>("ecr", "counted", counted).await;
    assert_eq!(pulls(&namespace, "other").await, ["first"]);

    // Somebody adds an entry after ours, and takes ours away.
    let edited = json!({"imagePullSecrets": [{"name": "first"}, {"name": "third"}]});
    namespace.api::<ServiceAccount>().patch("builder", &PatchParams::default(), &Patch::Merge(&edited)).await.unwrap();
    list_is(&namespace, "builder", &["first", "third", "ecr"]).await;

    // Another name takes the old one's place, and the object leaves nothing behind.
    namespace.apply::<EcrPullSecret>("ecr", "secretName: renamed\nserviceAccounts: {names: [builder]}").await;
    list_is(&namespace, "builder", &["first", "third", "renamed"]).await;
    namespace.delete::<EcrPullSecret>("ecr").await;
    list_is(&namespace, "builder", &["first", "third"]).await;
    assert_eq!(marks(&namespace, "builder").await, 0);
    namespace.cleanup().await;
}

#[tokio::test]
async fn an_entry_that_was_there_before_is_not_taken_away() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("before").await;
    create(&namespace, "theirs", json!({}), &["ecr"]).await;
    create(&namespace, "ours", json!({}), &[]).await;
    namespace.apply::<EcrPullSecret>("ecr", "serviceAccounts: {names: [theirs, ours]}").await;
    list_is(&namespace, "ours", &["ecr"]).await;
    assert_eq!((pulls(&namespace, "theirs").await, marks(&namespace, "theirs").await), (vec!["ecr".to_owned()], 0));
    namespace.apply::<EcrPullSecret>("ecr", "{}").await;
    list_is(&namespace, "ours", &[]).await;
    assert_eq!(pulls(&namespace, "theirs").await, ["ecr"]);
    namespace.cleanup().await;
}

#[tokio::test]
async fn accounts_that_come_or_are_labelled_later_get_the_entry_and_pods_after_them_have_it() {
    let stack = Stack::connect().await;
    let label = unique("builds");
    let namespace = stack.labelled_namespace("later", json!({"pull": label})).await;
    let spec = format!(
        "{{secretName: pull, namespaceSelector: {{matchLabels: {{pull: {label}}}}}, serviceAccounts: {{names: [default], selector: {{matchLabels: {{builds: '{label}'}}}}}}}}"
    );
    stack.apply::<ClusterEcrPullSecret>(&label, &spec).await;
    list_is(&namespace, "default", &["pull"]).await;
    create(&namespace, "late", json!({"builds": label}), &[]).await;
    list_is(&namespace, "late", &["pull"]).await;
    create(&namespace, "relabelled", json!({}), &[]).await;
    let labels = json!({"metadata": {"labels": {"builds": label}}});
    namespace
        .api::<ServiceAccount>()
        .patch("relabelled", &PatchParams::default(), &Patch::Merge(&labels))
        .await
        .unwrap();
    list_is(&namespace, "relabelled", &["pull"]).await;

    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "pod"},
        "spec": {"serviceAccountName": "late", "containers": [{"name": "c", "image": "example.com/image"}], "nodeName": "nowhere"},
    }))
    .unwrap();
    let pod = namespace.api::<Pod>().create(&PostParams::default(), &pod).await.unwrap();
    let of_pod: Vec<_> =
        pod.spec.unwrap().image_pull_secrets.unwrap_or_default().into_iter().map(|it| it.name).collect();
    assert_eq!(of_pod, ["pull"]);

    // A whole new namespace: its default account has the entry too.
    let new = stack.labelled_namespace("new", json!({"pull": label})).await;
    list_is(&new, "default", &["pull"]).await;
    assert!(new.api::<Secret>().get_opt("pull").await.unwrap().is_some(), "the Secret came first");

    // No longer selected, and gone.
    let labels = json!({"metadata": {"labels": {"builds": null}}});
    namespace
        .api::<ServiceAccount>()
        .patch("relabelled", &PatchParams::default(), &Patch::Merge(&labels))
        .await
        .unwrap();
    list_is(&namespace, "relabelled", &[]).await;
    stack.delete::<ClusterEcrPullSecret>(&label).await;
    for (namespace, account) in [(&namespace, "default"), (&namespace, "late"), (&new, "default")] {
        list_is(namespace, account, &[]).await;
        assert_eq!(marks(namespace, account).await, 0);
    }
    namespace.cleanup().await;
    new.cleanup().await;
}

#[tokio::test]
async fn an_account_does_not_name_a_secret_that_is_somebody_elses() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("foreign-account").await;
    let theirs: Secret = serde_json::from_value(json!({"metadata": {"name": "ecr"}})).unwrap();
    namespace.api::<Secret>().create(&PostParams::default(), &theirs).await.unwrap();
    create(&namespace, "builder", json!({}), &[]).await;
    namespace.apply::<EcrPullSecret>("ecr", "serviceAccounts: {names: [builder]}").await;
    namespace.not_ready::<EcrPullSecret>("ecr", "SecretNotOwned").await;
    assert_eq!(pulls(&namespace, "builder").await, Vec::<String>::new());
    namespace.cleanup().await;
}
