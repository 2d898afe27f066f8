//! Identities, rights, regions and quotas: what AWS decides, and what the operator makes of it.

use aws_sdk_ecr::config::{Credentials, Region};
use aws_sdk_ecr::error::ProvideErrorMetadata as _;
use ecr_operator::api::{EcrRegistry, EcrRepository};
use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Stack, env, run, unique};

/// Clients of AWS under other credentials than the tester's.
struct As {
    ecr: aws_sdk_ecr::Client,
    sts: aws_sdk_sts::Client,
}

impl As {
    async fn new(access_key: &str, secret_key: &str, session_token: Option<&str>) -> Self {
        let credentials = Credentials::new(access_key, secret_key, session_token.map(str::to_owned), None, "test");
        let config = aws_config::defaults(aws_config::BehaviorVersion::latest()).credentials_provider(credentials);
        let config = config.load().await;
        Self { ecr: aws_sdk_ecr::Client::new(&config), sts: aws_sdk_sts::Client::new(&config) }
    }

    /// With keys in the form of the control interface or of a credentials endpoint.
    async fn of(keys: &Value) -> Self {
        let text = |names: [&str; 2]| names.iter().find_map(|name| keys[name].as_str().map(str::to_owned));
        let access_key = text(["accessKeyId", "AccessKeyId"]).expect("an access key");
        let secret_key = text(["secretAccessKey", "SecretAccessKey"]).expect("its secret");
        Self::new(&access_key, &secret_key, keys["Token"].as_str()).await
    }

    async fn of_session(session: aws_sdk_sts::types::Credentials) -> Self {
        Self::new(&session.access_key_id, &session.secret_access_key, Some(&session.session_token)).await
    }

    async fn arn(&self) -> String {
        self.sts.get_caller_identity().send().await.expect("the credentials are known").arn.unwrap()
    }

    /// How the registry answers a request for a path below `/v2/`.
    async fn registry(&self, method: Method, path: &str) -> (StatusCode, String) {
        let answer = self.ecr.get_authorization_token().send().await.expect("a token");
        let token = answer.authorization_data.unwrap().remove(0).authorization_token.unwrap();
        let pem = std::fs::read(env("SSL_CERT_FILE")).unwrap();
        let ca = reqwest::Certificate::from_pem(&pem).unwrap();
        let client = reqwest::Client::builder().add_root_certificate(ca).build().unwrap();
        let url = format!("https://{}/v2/{path}", env("ECR_REGISTRY"));
        let request = client.request(method, url).header("authorization", format!("Basic {token}"));
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }
}

fn policy(actions: &[&str], resource: &str) -> Value {
    json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": resource}]})
}

#[tokio::test]
async fn the_operator_may_do_what_its_policy_says_and_nothing_else() {
    let operator = As::new(&env("OPERATOR_AWS_ACCESS_KEY_ID"), &env("OPERATOR_AWS_SECRET_ACCESS_KEY"), None).await;
    operator.ecr.describe_repositories().send().await.expect("allowed");
    let refused = operator.ecr.start_image_scan().repository_name("some/repository");
    let id = aws_sdk_ecr::types::ImageIdentifier::builder().image_tag("v1").build();
    let refused = refused.image_id(id).send().await.expect_err("a refusal");
    assert_eq!(refused.code(), Some("AccessDeniedException"));
    let words = refused.message().unwrap_or_default();
    let account = env("AWS_ACCOUNT_ID");
    for expected in [
        &format!("arn:aws:iam::{account}:user/ecr-operator is not authorized to perform: ecr:StartImageScan"),
        &format!("on resource: arn:aws:ecr:eu-west-1:{account}:repository/some/repository"),
        "because no identity-based policy allows the ecr:StartImageScan action",
    ] {
        assert!(words.contains(expected), "{words}");
    }
}

#[tokio::test]
async fn a_token_carries_the_rights_of_who_asked_for_it() {
    let stack = Stack::connect().await;
    let repository = unique("rights");
    stack.ecr.create_repository().repository_name(&repository).send().await.unwrap();
    let pull = ["ecr:GetAuthorizationToken", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"];
    let name = unique("puller");
    let role = stack.control("/roles", json!({"name": name, "policies": [policy(&pull, "*")]})).await;
    let tester = As::new(&env("AWS_ACCESS_KEY_ID"), &env("AWS_SECRET_ACCESS_KEY"), None).await;
    let assume = || tester.sts.assume_role().role_arn(role["arn"].as_str().unwrap()).role_session_name("test");
    let session = As::of_session(assume().send().await.unwrap().credentials.unwrap()).await;

    let (status, answer) = session.registry(Method::GET, &format!("{repository}/manifests/v1")).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "it may look, there is nothing: {answer}");
    let (status, answer) = session.registry(Method::POST, &format!("{repository}/blobs/uploads/")).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    assert!(answer.contains("DENIED") && answer.contains("ecr:InitiateLayerUpload"), "{answer}");

    let narrow = policy(&["ecr:GetAuthorizationToken"], "*").to_string();
    let narrowed = As::of_session(assume().policy(narrow).send().await.unwrap().credentials.unwrap()).await;
    let (status, answer) = narrowed.registry(Method::GET, &format!("{repository}/manifests/v1")).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    assert!(answer.contains("no session policy allows the ecr:BatchGetImage action"), "{answer}");
}

#[tokio::test]
async fn granting_access_lets_another_account_pull_and_not_push() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("grant").await;
    let path = format!("{}/api", namespace.name);
    let account = format!("{:012}", 300_000_000_000_u64 + u64::from(std::process::id()));
    let guest = As::of(&stack.control("/users", json!({"account": account, "name": "guest"})).await).await;
    namespace.apply::<EcrRepository>("api", "deletionPolicy: DeleteWithImages").await;
    namespace.ready::<EcrRepository>("api").await;
    let (status, answer) = guest.registry(Method::GET, &format!("{path}/manifests/v1")).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{answer}");
    assert!(answer.contains("no resource-based policy allows"), "{answer}");

    let access =
        format!("deletionPolicy: DeleteWithImages\naccess: [{{principals: ['{account}'], permissions: Pull}}]");
    namespace.apply::<EcrRepository>("api", &access).await;
    namespace.ready::<EcrRepository>("api").await;
    let (status, answer) = guest.registry(Method::GET, &format!("{path}/manifests/v1")).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "it may look, there is nothing: {answer}");
    let (status, _) = guest.registry(Method::POST, &format!("{path}/blobs/uploads/")).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    namespace.delete::<EcrRepository>("api").await;
    namespace.gone::<EcrRepository>("api").await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn each_region_is_a_registry_of_its_own() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("regions").await;
    let registry = stack.registry_in("ap-south-1").await;
    namespace.apply::<EcrRepository>("api", &format!("registryRef: {{name: {registry}}}")).await;
    let object = namespace.ready::<EcrRepository>("api").await;
    let arn = object.status.unwrap().repository_arn.unwrap();
    assert!(arn.starts_with("arn:aws:ecr:ap-south-1:"), "{arn}");
    let name = format!("{}/api", namespace.name);
    assert!(!stack.repository_exists(&name).await, "not in the default registry's region");
    let there = stack.ecr.describe_repositories().repository_names(&name).customize();
    let region = aws_sdk_ecr::config::Builder::new().region(Region::new("ap-south-1"));
    assert!(there.config_override(region).send().await.is_ok());
    namespace.delete::<EcrRepository>("api").await;
    namespace.gone::<EcrRepository>("api").await;
    namespace.cleanup().await;
    stack.delete::<EcrRegistry>(&registry).await;
}

#[tokio::test]
async fn more_repositories_than_a_quota_lets_through_at_once_all_get_ready() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("quota").await;
    let registry = stack.registry_in("ap-east-1").await;
    let quota = json!({"action": "CreateRepository", "region": "ap-east-1", "perSecond": 3});
    stack.control("/quotas", quota).await;
    let names: Vec<_> = (0..15).map(|n| format!("r{n}")).collect();
    let spec = format!("registryRef: {{name: {registry}}}\ndeletionPolicy: Delete");
    join_all(names.iter().map(|name| namespace.apply::<EcrRepository>(name, &spec))).await;
    join_all(names.iter().map(|name| namespace.ready::<EcrRepository>(name))).await;
    join_all(names.iter().map(|name| namespace.delete::<EcrRepository>(name))).await;
    join_all(names.iter().map(|name| namespace.gone::<EcrRepository>(name))).await;
    let unlimited = json!({"action": "CreateRepository", "region": "ap-east-1", "perSecond": 1000});
    stack.control("/quotas", unlimited).await;
    namespace.cleanup().await;
    stack.delete::<EcrRegistry>(&registry).await;
}

#[tokio::test]
async fn workloads_get_credentials_of_their_role() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("workload").await;
    let name = unique("workload");
    let expected = format!("arn:aws:sts::{}:assumed-role/{name}/", env("AWS_ACCOUNT_ID"));

    // EKS Pod Identity: a token, and an endpoint on the node.
    let role = stack.control("/roles", json!({"name": name})).await["arn"].as_str().unwrap().to_owned();
    stack.control("/pod-identities", json!({"token": "pod-token", "roleArn": role})).await;
    let endpoint = format!("{}/v1/credentials", env("AWS_CONTROL_URL"));
    let request = reqwest::Client::new().get(endpoint).header("authorization", "pod-token");
    let keys: Value = request.send().await.unwrap().json().await.unwrap();
    let arn = As::of(&keys).await.arn().await;
    assert!(arn.starts_with(&expected), "{arn}");

    // IAM roles for service accounts: a token that the cluster signed for that service account.
    let discovery = run("kubectl", &["get", "--raw", "/.well-known/openid-configuration"]).await.unwrap();
    let issuer = serde_json::from_str::<Value>(&discovery).unwrap()["issuer"].as_str().unwrap().to_owned();
    let audience = "sts.amazonaws.com";
    let provider = stack.control("/oidc-providers", json!({"url": issuer, "audiences": [audience]})).await;
    let subject = format!("{}:sub", issuer.trim_start_matches("https://"));
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Federated": provider["arn"]}, "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {subject: format!("system:serviceaccount:{}:default", namespace.name)}}}]});
    stack.control("/roles", json!({"name": name, "trustPolicy": trust})).await;
    let tester = As::new(&env("AWS_ACCESS_KEY_ID"), &env("AWS_SECRET_ACCESS_KEY"), None).await;
    for (in_namespace, may) in [(namespace.name.as_str(), true), ("default", false)] {
        let arguments = ["create", "token", "default", "--namespace", in_namespace, "--audience", audience];
        let token = run("kubectl", &arguments).await.unwrap();
        let assume = tester.sts.assume_role_with_web_identity().role_arn(&role).role_session_name("irsa");
        let assumed = assume.web_identity_token(token).send().await;
        assert_eq!(assumed.is_ok(), may, "{in_namespace}: {assumed:?}");
        if let Ok(assumed) = assumed {
            let arn = As::of_session(assumed.credentials.unwrap()).await.arn().await;
            assert!(arn.starts_with(&expected), "{arn}");
        }
    }
    namespace.cleanup().await;
}
