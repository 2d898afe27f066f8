//! What is in a pull secret beside the token for the registry's own host: other hosts of ECR's, and entries of other Secrets.

use ecr_operator::api::{ClusterEcrPullSecret, EcrPullSecret, EcrRegistry};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::{Namespace, Stack, env, eventually, has_reason, is_ready, message, unique};

const PASSWORD: &str = "their-own-password";

async fn auths(namespace: &Namespace<'_>, name: &str) -> Value {
    let secret = namespace.api::<Secret>().get(name).await.unwrap();
    let config: Value = serde_json::from_slice(&secret.data.as_ref().unwrap()[".dockerconfigjson"].0).unwrap();
    config["auths"].clone()
}

/// Creates a Secret with credentials for these hosts.
async fn credentials(namespace: &Namespace<'_>, name: &str, hosts: &[&str], labels: Value) {
    let auths: serde_json::Map<String, Value> =
        hosts.iter().map(|host| ((*host).to_owned(), json!({"username": "somebody", "password": PASSWORD}))).collect();
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": labels},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": json!({ "auths": auths }).to_string()},
    }))
    .unwrap();
    namespace.api::<Secret>().create(&PostParams::default(), &secret).await.unwrap();
}

#[tokio::test]
async fn ecrs_own_hosts_are_added_where_they_are_asked_for() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("hosts").await;
    namespace.apply::<EcrPullSecret>("ecr", "additionalHosts: [Standard, Fips, DualStack, DualStackFips]").await;
    namespace.ready::<EcrPullSecret>("ecr").await;
    let entries = auths(&namespace, "ecr").await;
    let (account, token) = (env("AWS_ACCOUNT_ID"), &entries[env("ECR_REGISTRY")]);
    assert!(token.is_object());
    for host in [
        format!("{account}.dkr.ecr.eu-west-1.amazonaws.com"),
        format!("{account}.dkr.ecr-fips.eu-west-1.amazonaws.com"),
        format!("{account}.dkr-ecr.eu-west-1.on.aws"),
        format!("{account}.dkr-ecr-fips.eu-west-1.on.aws"),
    ] {
        assert_eq!(&entries[&host], token, "{host}");
    }
    namespace.apply::<EcrPullSecret>("ecr", "{}").await;
    eventually("only the registry's own host is left", || async {
        (auths(&namespace, "ecr").await.as_object().unwrap().len() == 1).then_some(())
    })
    .await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn entries_of_other_secrets_are_merged_in_and_never_take_our_place() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("merged").await;
    let registry = env("ECR_REGISTRY");
    let ours = format!("https://{registry}/v2/");
    credentials(&namespace, "hub", &["https://index.docker.io/v1/", &ours], json!({})).await;
    namespace.apply::<EcrPullSecret>("ecr", "additionalSecretRefs: [{name: hub}]").await;
    let ready = namespace.ready::<EcrPullSecret>("ecr").await;
    let entries = auths(&namespace, "ecr").await;
    assert_eq!(entries["https://index.docker.io/v1/"]["password"], PASSWORD);
    assert_eq!(entries[&registry]["username"], "AWS");
    assert_eq!(entries.as_object().unwrap().len(), 2, "what was for our host is left out");
    assert!(message(&ready).contains("status.ignoredEntries"), "{}", message(&ready));
    let ignored = &ready.status.unwrap().ignored_entries;
    assert_eq!(
        (ignored.len(), ignored[0].host.as_str(), ignored[0].secret_name.as_str()),
        (1, registry.as_str(), "hub")
    );

    // Changes are noticed on the next look, and a Secret that is gone takes nothing from our own tokens.
    let auth = json!({"stringData": {".dockerconfigjson": json!({"auths": {"ghcr.io": {"username": "a", "password": "b"}}}).to_string()}});
    namespace.api::<Secret>().patch("hub", &PatchParams::default(), &Patch::Merge(&auth)).await.unwrap();
    eventually("the new entry is there", || async {
        let entries = auths(&namespace, "ecr").await;
        (entries["ghcr.io"].is_object() && entries["https://index.docker.io/v1/"].is_null()).then_some(())
    })
    .await;
    namespace.api::<Secret>().delete("hub", &DeleteParams::default()).await.unwrap();
    let words = namespace.not_ready::<EcrPullSecret>("ecr", "SecretNotFound").await;
    assert!(words.contains("hub") && words.contains("all the same"), "{words}");
    let entries = auths(&namespace, "ecr").await;
    assert!(
        entries[&registry].is_object() && entries["ghcr.io"].is_null(),
        "{:?}",
        entries.as_object().unwrap().keys()
    );
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_pull_secret_is_not_made_from_another() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("chained").await;
    namespace.apply::<EcrPullSecret>("one", "{}").await;
    namespace.ready::<EcrPullSecret>("one").await;
    namespace.apply::<EcrPullSecret>("two", "additionalSecretRefs: [{name: one}]").await;
    let words = namespace.not_ready::<EcrPullSecret>("two", "InvalidSpec").await;
    assert!(words.contains("spec.registries"), "{words}");
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_secret_of_the_operators_namespace_is_handed_out_only_if_it_says_so() {
    let stack = Stack::connect().await;
    let name = unique("shared");
    let namespace = stack.namespace("shares").await;
    // The namespace that the stack says its operator is in.
    let own = stack.namespace_of_others("ecr-system");
    credentials(&own, &name, &["ghcr.io"], json!({})).await;
    // One of the same name in the served namespace is nobody's business.
    credentials(&namespace, &name, &["quay.io"], json!({"ecr-operator.io/shared": "true"})).await;
    let spec = format!(
        "{{secretName: pull, namespaces: {{names: [{}]}}, additionalSecretRefs: [{{name: {name}}}]}}",
        namespace.name
    );
    stack.apply::<ClusterEcrPullSecret>(&name, &spec).await;
    let refused = stack.until::<ClusterEcrPullSecret>(&name, "told", |it| has_reason(it, "SecretNotShared")).await;
    assert!(message(&refused).contains("ecr-operator.io/shared=true"), "{}", message(&refused));
    let entries = auths(&namespace, "pull").await;
    assert!(entries[env("ECR_REGISTRY")].is_object());
    assert_eq!(entries.as_object().unwrap().len(), 1, "nothing of either Secret");

    let shared = json!({"metadata": {"labels": {"ecr-operator.io/shared": "true"}}});
    own.api::<Secret>().patch(&name, &PatchParams::default(), &Patch::Merge(&shared)).await.unwrap();
    stack.until::<ClusterEcrPullSecret>(&name, "ready", is_ready).await;
    assert_eq!(auths(&namespace, "pull").await["ghcr.io"]["password"], PASSWORD);
    stack.delete::<ClusterEcrPullSecret>(&name).await;
    own.api::<Secret>().delete(&name, &DeleteParams::default()).await.unwrap();
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_registry_that_has_another_endpoint_gets_its_own_hosts_by_its_region() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("regions").await;
    let name = unique("frankfurt");
    let default = stack.all::<EcrRegistry>().get("default").await.unwrap();
    let mut endpoints = serde_json::to_value(default.spec.endpoints).unwrap();
    endpoints["registry"] = "https://registry.example.com".into();
    stack.apply::<EcrRegistry>(&name, &format!("{{region: eu-central-1, endpoints: {endpoints}}}")).await;
    stack.until::<EcrRegistry>(&name, "ready", is_ready).await;
    let spec = format!("registries: [{{name: default}}, {{name: {name}}}]\nadditionalHosts: [DualStack]");
    namespace.apply::<EcrPullSecret>("ecr", &spec).await;
    namespace.ready::<EcrPullSecret>("ecr").await;
    let entries = auths(&namespace, "ecr").await;
    let account = env("AWS_ACCOUNT_ID");
    let mut hosts: Vec<_> = entries.as_object().unwrap().keys().cloned().collect();
    let mut expected = vec![
        env("ECR_REGISTRY"),
        "registry.example.com".to_owned(),
        format!("{account}.dkr-ecr.eu-west-1.on.aws"),
        format!("{account}.dkr-ecr.eu-central-1.on.aws"),
    ];
    hosts.sort();
    expected.sort();
    assert_eq!(hosts, expected);
    stack.delete::<EcrRegistry>(&name).await;
    namespace.cleanup().await;
}
