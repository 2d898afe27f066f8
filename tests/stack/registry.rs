//! EcrRegistry on the local stack.

use ecr_operator::api::{EcrRegistry, EcrRepository};
use kube::ResourceExt as _;

use crate::support::{Stack, env, has_reason, is_ready, is_stalled, message, unique};

/// The endpoints of the stack's AWS stand-in, as the registry `default` has them.
async fn endpoints(stack: &Stack) -> serde_json::Value {
    let default = stack.all::<EcrRegistry>().get("default").await.unwrap();
    serde_json::to_value(default.spec.endpoints).unwrap()
}

#[tokio::test]
async fn the_default_registry_says_which_account_it_reached() {
    let stack = Stack::connect().await;
    let registry = stack.until::<EcrRegistry>("default", "ready", is_ready).await;
    let status = registry.status.clone().unwrap();
    assert_eq!(status.account_id, Some(env("AWS_ACCOUNT_ID")));
    assert_eq!(status.registry_host, Some(env("ECR_REGISTRY")));
    assert!(message(&registry).contains(&env("AWS_ACCOUNT_ID")), "{}", message(&registry));
}

#[tokio::test]
async fn another_account_than_the_spec_names_is_an_error_and_nothing_is_done() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("account").await;
    let name = unique("account");
    let endpoints = endpoints(&stack).await;
    stack
        .apply::<EcrRegistry>(
            &name,
            &format!("{{region: eu-west-1, accountId: '999999999999', endpoints: {endpoints}}}"),
        )
        .await;
    let registry = stack.until::<EcrRegistry>(&name, "refused", |it| has_reason(it, "AccountMismatch")).await;
    assert!(is_stalled(&registry));
    assert!(message(&registry).contains("999999999999") && message(&registry).contains(&env("AWS_ACCOUNT_ID")));

    namespace.apply::<EcrRepository>("api", &format!("registryRef: {{name: {name}}}")).await;
    let words = namespace.not_ready::<EcrRepository>("api", "RegistryNotReady").await;
    assert!(words.contains(&name) && words.contains("999999999999"), "{words}");
    assert!(!stack.repository_exists(&format!("{}/api", namespace.name)).await);

    stack.apply::<EcrRegistry>(&name, &format!("{{region: eu-west-1, endpoints: {endpoints}}}")).await;
    stack.until::<EcrRegistry>(&name, "ready", is_ready).await;
    namespace.ready::<EcrRepository>("api").await;
    namespace.delete::<EcrRepository>("api").await;
    namespace.gone::<EcrRepository>("api").await;
    stack.delete::<EcrRegistry>(&name).await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_told_and_recovers() {
    let stack = Stack::connect().await;
    let name = unique("away");
    let mut away = endpoints(&stack).await;
    away["api"] = "https://127.0.0.1:1".into();
    stack.apply::<EcrRegistry>(&name, &format!("{{region: eu-west-1, endpoints: {away}}}")).await;
    let registry = stack.until::<EcrRegistry>(&name, "unreachable", |it| has_reason(it, "Unreachable")).await;
    assert!(!is_stalled(&registry), "it may pass by itself");
    assert!(message(&registry).contains("spec.endpoints"), "{}", message(&registry));

    stack.apply::<EcrRegistry>(&name, &format!("{{region: eu-west-1, endpoints: {}}}", endpoints(&stack).await)).await;
    stack.until::<EcrRegistry>(&name, "ready", is_ready).await;
    stack.delete::<EcrRegistry>(&name).await;
}

#[tokio::test]
async fn an_untrusted_certificate_is_told() {
    let stack = Stack::connect().await;
    let name = unique("tls");
    // A certificate of another authority: the system's own are those of the stack, so a wrong name stands for it.
    let mut untrusted = endpoints(&stack).await;
    let api = untrusted["api"].as_str().unwrap().replace("127.0.0.1", "127.0.0.2");
    untrusted["api"] = api.into();
    stack.apply::<EcrRegistry>(&name, &format!("{{region: eu-west-1, endpoints: {untrusted}}}")).await;
    stack.until::<EcrRegistry>(&name, "unreachable", |it| has_reason(it, "Unreachable")).await;
    stack.delete::<EcrRegistry>(&name).await;
}

#[tokio::test]
async fn credentials_that_aws_does_not_give_are_told_and_recover() {
    let stack = Stack::connect().await;
    let name = unique("role");
    let endpoints = endpoints(&stack).await;
    let role = "arn:aws:iam::123456789012:role/missing";
    let spec =
        format!("{{region: eu-west-1, endpoints: {endpoints}, credentials: {{assumeRole: {{roleArn: '{role}'}}}}}}");
    stack.apply::<EcrRegistry>(&name, &spec).await;
    let registry = stack.until::<EcrRegistry>(&name, "refused", |it| has_reason(it, "InvalidCredentials")).await;
    assert!(is_stalled(&registry));
    let words = message(&registry);
    assert!(words.contains("spec.credentials") && words.contains("AccessDenied"), "{words}");
    assert!(words.contains(role) && !words.to_lowercase().contains("request"), "the same words at every try: {words}");

    stack.apply::<EcrRegistry>(&name, &format!("{{region: eu-west-1, endpoints: {endpoints}}}")).await;
    stack.until::<EcrRegistry>(&name, "ready", is_ready).await;
    stack.delete::<EcrRegistry>(&name).await;
}

#[tokio::test]
async fn what_uses_a_registry_waits_for_it_and_notices_it() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("waits").await;
    let name = unique("later");
    namespace.apply::<EcrRepository>("api", &format!("registryRef: {{name: {name}}}")).await;
    let words = namespace.not_ready::<EcrRepository>("api", "RegistryNotFound").await;
    assert!(words.contains(&name), "{words}");

    stack.apply::<EcrRegistry>(&name, &format!("{{region: eu-west-1, endpoints: {}}}", endpoints(&stack).await)).await;
    let repository = namespace.ready::<EcrRepository>("api").await;
    assert_eq!(repository.name_any(), "api");

    stack.delete::<EcrRegistry>(&name).await;
    namespace.not_ready::<EcrRepository>("api", "RegistryNotFound").await;
    // A repository that is retained asks nothing of a registry that is gone.
    namespace.delete::<EcrRepository>("api").await;
    namespace.gone::<EcrRepository>("api").await;
    namespace.cleanup().await;
}
