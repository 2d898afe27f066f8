//! Which namespaces a ClusterEcrPullSecret serves, and what keeps its Secrets as they are.

use ecr_operator::api::ClusterEcrPullSecret;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::support::{Namespace, Stack, eventually, is_ready, unique};

async fn has(namespace: &Namespace<'_>, name: &str) -> bool {
    namespace.api::<Secret>().get_opt(name).await.unwrap().is_some()
}

async fn appears(namespace: &Namespace<'_>, name: &str) -> Secret {
    eventually(&format!("{}/{name} appears", namespace.name), || async {
        namespace.api::<Secret>().get_opt(name).await.unwrap()
    })
    .await
}

#[tokio::test]
async fn names_are_served_beside_the_labels_and_exclusions_by_nothing() {
    let stack = Stack::connect().await;
    let label = unique("select");
    let labels = json!({"pull": label});
    let labelled = stack.labelled_namespace("labelled", labels.clone()).await;
    let excluded = stack.labelled_namespace("excluded", labels).await;
    let named = stack.namespace("named").await;
    let spec = |exclude: &str| {
        format!(
            "{{secretName: pull, namespaceSelector: {{matchExpressions: [{{key: pull, operator: In, values: [{label}]}}]}}, namespaces: {{names: [{}], exclude: ['{exclude}']}}}}",
            named.name
        )
    };
    stack.apply::<ClusterEcrPullSecret>(&label, &spec("excluded-*")).await;
    let object = stack.until::<ClusterEcrPullSecret>(&label, "ready", is_ready).await;
    assert_eq!(object.status.unwrap().namespaces, Some(2));
    assert!(has(&labelled, "pull").await && has(&named, "pull").await && !has(&excluded, "pull").await);

    // What is let in gets it, and what is shut out loses it.
    stack.apply::<ClusterEcrPullSecret>(&label, &spec("labelled-*")).await;
    appears(&excluded, "pull").await;
    labelled.gone::<Secret>("pull").await;
    stack.delete::<ClusterEcrPullSecret>(&label).await;
    for namespace in [labelled, excluded, named] {
        namespace.gone::<Secret>("pull").await;
        namespace.cleanup().await;
    }
}

#[tokio::test]
async fn a_namespace_that_is_named_before_it_is_there_gets_the_secret_when_it_comes() {
    let stack = Stack::connect().await;
    let name = unique("early");
    stack.apply::<ClusterEcrPullSecret>(&name, &format!("namespaces: {{names: [{name}]}}")).await;
    let object = stack.until::<ClusterEcrPullSecret>(&name, "ready", is_ready).await;
    assert_eq!(object.status.unwrap().namespaces, Some(0));
    let namespace = stack.namespace_called(&name).await;
    appears(&namespace, &name).await;
    stack.delete::<ClusterEcrPullSecret>(&name).await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn an_empty_selector_serves_every_namespace_but_those_that_are_excluded() {
    let stack = Stack::connect().await;
    let name = unique("all");
    let (one, two) = (stack.namespace("everywhere").await, stack.namespace("shut-out").await);
    let spec = format!("{{namespaceSelector: {{}}, namespaces: {{exclude: [{}, 'kube-*']}}}}", two.name);
    stack.apply::<ClusterEcrPullSecret>(&name, &spec).await;
    appears(&one, &name).await;
    let system = stack.namespace_of_others("kube-system");
    let in_default = stack.namespace_of_others("default");
    appears(&in_default, &name).await;
    assert!(!has(&two, &name).await && !has(&system, &name).await);
    stack.delete::<ClusterEcrPullSecret>(&name).await;
    in_default.gone::<Secret>(&name).await;
    one.cleanup().await;
    two.cleanup().await;
}

#[tokio::test]
async fn a_secret_whose_label_is_taken_away_gets_it_back_and_is_watched_on() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("unlabelled").await;
    let name = unique("unlabelled");
    stack.apply::<ClusterEcrPullSecret>(&name, &format!("namespaces: {{names: [{}]}}", namespace.name)).await;
    let written = appears(&namespace, &name).await;
    let without = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}});
    namespace.api::<Secret>().patch(&name, &PatchParams::default(), &Patch::Merge(&without)).await.unwrap();
    let repaired = eventually("the label is back", || async {
        let secret = namespace.api::<Secret>().get(&name).await.unwrap();
        secret.labels().contains_key("app.kubernetes.io/managed-by").then_some(secret)
    })
    .await;
    assert_eq!(repaired.uid(), written.uid());
    let owner = &repaired.owner_references()[0];
    assert_eq!((owner.kind.as_str(), owner.controller), ("ClusterEcrPullSecret", Some(true)));
    stack.delete::<ClusterEcrPullSecret>(&name).await;
    namespace.gone::<Secret>(&name).await;
    namespace.cleanup().await;
}
