//! Pull secrets whose tokens can pull only: what they can do and what they can't, as the AWS stand-in decides by IAM and
//! session policies.

use ecr_operator::api::conditions::PULL_ONLY;
use ecr_operator::api::{ClusterEcrPullSecret, EcrPullSecret, EcrRegistry, HasStatus};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::pulling::{registry, role};
use crate::support::{Namespace, Stack, env, eventually, has_reason, is_ready, is_stalled, message, unique};

const PULL: [&str; 4] =
    ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetAuthorizationToken", "ecr:GetDownloadUrlForLayer"];

/// What the registry answers to somebody with this Secret.
async fn ask(secret: &Secret, method: Method, path: &str) -> StatusCode {
    let config: Value = serde_json::from_slice(&secret.data.as_ref().unwrap()[".dockerconfigjson"].0).unwrap();
    let auth = config["auths"][env("ECR_REGISTRY")]["auth"].as_str().expect("an entry for the registry").to_owned();
    let pem = std::fs::read(env("SSL_CERT_FILE")).unwrap();
    let ca = reqwest::Certificate::from_pem(&pem).unwrap();
    let client = reqwest::Client::builder().add_root_certificate(ca).build().unwrap();
    let url = format!("https://{}/v2/{path}", env("ECR_REGISTRY"));
    client.request(method, url).header("authorization", format!("Basic {auth}")).send().await.unwrap().status()
}

/// Whether somebody with this Secret may pull from a repository, in which there is no image.
async fn may_pull(secret: &Secret, repository: &str) -> bool {
    match ask(secret, Method::GET, &format!("{repository}/manifests/v1")).await {
        StatusCode::NOT_FOUND => true,
        StatusCode::FORBIDDEN => false,
        other => panic!("{repository}: {other}"),
    }
}

async fn secret(namespace: &Namespace<'_>, name: &str) -> Secret {
    namespace.api::<Secret>().get(name).await.expect("the Secret is there")
}

fn pull_only<K: HasStatus>(object: &K) -> Option<Condition> {
    K::common(object.status()?).condition(PULL_ONLY).cloned()
}

async fn create(stack: &Stack, repository: &str) {
    stack.ecr.create_repository().repository_name(repository).send().await.expect("the repository is made");
}

#[tokio::test]
async fn a_token_from_the_pull_role_can_pull_what_the_namespace_may_use_and_nothing_else() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("pulls").await;
    let name = unique("pull-only");
    // The role itself may push: that the token can't is the session policy's doing.
    let arn = role(&stack, &name, &["ecr:*"]).await;
    let access = json!([{"namespaceSelector": {}, "repositories": ["{namespace}/*"]}]);
    registry(&stack, &name, json!({"pullRole": {"roleArn": arn}, "access": access})).await;
    let (own, others) = (format!("{}/api", namespace.name), format!("{}-other/api", namespace.name));
    create(&stack, &own).await;
    create(&stack, &others).await;
    namespace.apply::<EcrPullSecret>("ecr", &format!("registries: [{{name: {name}}}]")).await;
    let ready = namespace.ready::<EcrPullSecret>("ecr").await;
    let told = pull_only(&ready).expect("a condition");
    assert_eq!((told.status.as_str(), told.reason.as_str()), ("True", "SessionPolicy"));

    let token = secret(&namespace, "ecr").await;
    assert!(may_pull(&token, &own).await);
    assert!(!may_pull(&token, &others).await);
    for (method, path) in [
        (Method::POST, format!("{own}/blobs/uploads/")),
        (Method::PUT, format!("{own}/manifests/v1")),
        (Method::DELETE, format!("{own}/manifests/v1")),
        (Method::GET, format!("{own}/tags/list")),
    ] {
        assert_eq!(ask(&token, method.clone(), &path).await, StatusCode::FORBIDDEN, "{method} {path}");
    }
    stack.delete::<EcrRegistry>(&name).await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn an_object_narrows_what_its_namespace_may_use_and_never_widens_it() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("narrowed").await;
    let name = unique("narrowed");
    let arn = role(&stack, &name, &PULL).await;
    let prefix = &namespace.name;
    let access = json!([{"namespaceSelector": {}, "repositories": [format!("{prefix}-*/api"), "{namespace}/*"]}]);
    registry(&stack, &name, json!({"pullRole": {"roleArn": arn}, "access": access})).await;
    let (one, two) = (format!("{prefix}/one"), format!("{prefix}/two"));
    create(&stack, &one).await;
    create(&stack, &two).await;
    let narrow = |to: &str| format!("registries: [{{name: {name}}}]\nrepositories: ['{to}']");
    namespace.apply::<EcrPullSecret>("ecr", &narrow("{namespace}/one")).await;
    namespace.ready::<EcrPullSecret>("ecr").await;
    let token = secret(&namespace, "ecr").await;
    assert!(may_pull(&token, &one).await && !may_pull(&token, &two).await);

    namespace.apply::<EcrPullSecret>("ecr", &narrow("{namespace}/two")).await;
    eventually("the Secret has a token for what it is narrowed to now", || async {
        let token = secret(&namespace, "ecr").await;
        (may_pull(&token, &two).await && !may_pull(&token, &one).await).then_some(())
    })
    .await;

    namespace.apply::<EcrPullSecret>("ecr", &narrow(&format!("{prefix}-a/*"))).await;
    let words = namespace.not_ready::<EcrPullSecret>("ecr", "InvalidSpec").await;
    assert!(words.contains(&format!("{prefix}-*/api")), "{words}");
    namespace.apply::<EcrPullSecret>("ecr", &narrow("elsewhere/*")).await;
    namespace.not_ready::<EcrPullSecret>("ecr", "NamespaceNotAllowed").await;
    namespace.gone::<Secret>("ecr").await;
    stack.delete::<EcrRegistry>(&name).await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn the_role_that_a_registry_is_reached_by_is_narrowed_too() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("reached").await;
    let name = unique("reached");
    let arn = role(&stack, &name, &["ecr:*"]).await;
    registry(&stack, &name, json!({"credentials": {"assumeRole": {"roleArn": arn}}})).await;
    let repository = format!("{}/api", namespace.name);
    create(&stack, &repository).await;
    namespace.apply::<EcrPullSecret>("ecr", &format!("registries: [{{name: {name}}}]")).await;
    namespace.ready::<EcrPullSecret>("ecr").await;
    let token = secret(&namespace, "ecr").await;
    assert!(may_pull(&token, &repository).await);
    let push = format!("{repository}/blobs/uploads/");
    assert_eq!(ask(&token, Method::POST, &push).await, StatusCode::FORBIDDEN);
    stack.delete::<EcrRegistry>(&name).await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_token_with_the_operators_rights_is_told_and_can_not_be_narrowed() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("operators").await;
    namespace.apply::<EcrPullSecret>("ecr", "{}").await;
    let ready = namespace.ready::<EcrPullSecret>("ecr").await;
    let told = pull_only(&ready).expect("a condition");
    assert_eq!((told.status.as_str(), told.reason.as_str()), ("False", "TokenCanPush"));
    assert!(told.message.contains("spec.pullRole"), "{}", told.message);

    namespace.apply::<EcrPullSecret>("ecr", "repositories: ['a/*']").await;
    let refused = namespace.until::<EcrPullSecret>("ecr", "refused", |it| has_reason(it, "TokenCanPush")).await;
    assert!(is_stalled(&refused) && message(&refused).contains("spec.repositories"), "{}", message(&refused));
    namespace.gone::<Secret>("ecr").await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn namespaces_with_the_same_rights_have_the_same_token() {
    let stack = Stack::connect().await;
    let name = unique("shared");
    let labels = json!({"pull": name});
    let one = stack.labelled_namespace("one", labels.clone()).await;
    let two = stack.labelled_namespace("two", labels.clone()).await;
    let apart = stack.labelled_namespace("apart", json!({"pull": name, "team": name})).await;
    let arn = role(&stack, &name, &PULL).await;
    let access = json!([
        {"namespaceSelector": {}, "repositories": ["base/*"]},
        {"namespaceSelector": {"matchLabels": {"team": name}}, "repositories": ["team/*"]},
    ]);
    registry(&stack, &name, json!({"pullRole": {"roleArn": arn}, "access": access})).await;
    let spec = format!("registries: [{{name: {name}}}]\nnamespaceSelector: {{matchLabels: {{pull: {name}}}}}");
    stack.apply::<ClusterEcrPullSecret>(&name, &spec).await;
    let object = stack.until::<ClusterEcrPullSecret>(&name, "ready", is_ready).await;
    assert_eq!(object.status.unwrap().namespaces, Some(3));
    let [in_one, in_two, in_apart] =
        [secret(&one, &name).await, secret(&two, &name).await, secret(&apart, &name).await];
    assert_eq!(in_one.data, in_two.data);
    assert_ne!(in_one.data, in_apart.data);
    stack.delete::<ClusterEcrPullSecret>(&name).await;
    stack.delete::<EcrRegistry>(&name).await;
    for namespace in [one, two, apart] {
        namespace.cleanup().await;
    }
}

#[tokio::test]
async fn a_role_that_can_not_be_assumed_and_a_policy_that_is_too_large_are_told() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("refused").await;
    let name = unique("refused");
    let nobody = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]});
    let made = stack.control("/roles", json!({"name": name, "trustPolicy": nobody})).await;
    registry(&stack, &name, json!({"pullRole": {"roleArn": made["arn"]}})).await;
    namespace.apply::<EcrPullSecret>("ecr", &format!("registries: [{{name: {name}}}]")).await;
    let words = namespace.not_ready::<EcrPullSecret>("ecr", "AccessDenied").await;
    assert!(words.contains("sts:AssumeRole") && words.contains("trust policy"), "{words}");

    let many: Vec<String> = (0..50).map(|n| format!("a-rather-long-name-of-a-team-{n}/*")).collect();
    let access = json!([{"namespaceSelector": {}, "repositories": many}]);
    registry(&stack, &name, json!({"pullRole": {"roleArn": made["arn"]}, "access": access})).await;
    let words = namespace.not_ready::<EcrPullSecret>("ecr", "PolicyTooLarge").await;
    assert!(words.contains("coarser patterns"), "{words}");
    stack.delete::<EcrRegistry>(&name).await;
    namespace.cleanup().await;
}
