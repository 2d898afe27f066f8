//! Mirrors whose source is a registry of ECR.

use ecr_operator::api::{EcrRegistry, ImageMirror};
use serde_json::json;

use crate::support::{Stack, env, has_reason, message, push, unique};

const SMALL: &[&str] = &["--layers", "1", "--layer-size", "1024"];

#[tokio::test]
async fn a_registry_of_ecr_is_read_with_the_identity_of_its_ecr_registry() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("from-ecr").await;
    let repository = format!("library/{}", unique("from-ecr"));
    let digest = push(&format!("{repository}:1"), 600, SMALL).await;
    namespace
        .apply::<ImageMirror>("first", &format!("source: {{image: docker.io/{repository}}}\ntags: {{names: ['1']}}"))
        .await;
    namespace.ready::<ImageMirror>("first").await;
    let source = format!("{}/docker.io/{repository}", env("ECR_REGISTRY"));
    let copy = unique("copied/from-ecr");
    let spec =
        format!("source: {{image: '{source}'}}\ntags: {{include: ['*']}}\ndestinations: [{{repositoryName: {copy}}}]");
    namespace.apply::<ImageMirror>("second", &spec).await;
    namespace.ready::<ImageMirror>("second").await;
    assert_eq!(stack.digest_in_ecr(&copy, "1").await, Some(digest));
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_repository_of_ecr_that_the_namespace_may_not_use_is_not_read() {
    let stack = Stack::connect().await;
    let team = unique("team");
    let namespace = stack.labelled_namespace("from-closed", json!({"team": team})).await;
    // Registries of another region have other hosts: this one is alone in its own.
    let default = stack.all::<EcrRegistry>().get("default").await.unwrap();
    let mut registry = serde_json::to_value(&default.spec).unwrap();
    registry["region"] = json!("ap-south-2");
    registry["access"] = json!([{"namespaceSelector": {"matchLabels": {"team": team}}, "repositories": ["open/*"]}]);
    registry.as_object_mut().unwrap().remove("settings");
    let name = unique("closed");
    stack.apply::<EcrRegistry>(&name, &registry.to_string()).await;
    stack.until::<EcrRegistry>(&name, "ready", crate::support::is_ready).await;
    let source = format!("{}.dkr.ecr.ap-south-2.amazonaws.com/closed/app", env("AWS_ACCOUNT_ID"));
    namespace.apply::<ImageMirror>("image", &format!("source: {{image: '{source}'}}\ntags: {{names: ['1']}}")).await;
    let refused = |it: &ImageMirror| has_reason(it, "NamespaceNotAllowed");
    let words = message(&namespace.until::<ImageMirror>("image", "refused", refused).await);
    assert!(words.contains("closed/app") && words.contains("open/*"), "{words}");
    namespace.cleanup().await;
    stack.delete::<EcrRegistry>(&name).await;
}
