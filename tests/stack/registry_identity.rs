//! Who the operator is: identities as EKS, ECS and EC2 give them, and roles that are assumed.
//!
//! Where credentials come from is decided by the environment of a process. So these tests start this program again, with
//! another environment, to connect as the operator does.

use std::path::Path;
use std::process::Stdio;

use aws_sdk_sts::types::Credentials;
use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use ecr_operator::api::{EcrRegistry, EcrRegistrySpec};
use ecr_operator::ecr::Ecr;
use ecr_operator::metrics::Metrics;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use crate::support::{Stack, env, has_reason, is_ready, is_stalled, message, unique};

/// What the started program is asked to connect to, as JSON.
const SPEC: &str = "TEST_IDENTITY_SPEC";

/// Not a test: what the others start. It prints who it is, or why it is nobody.
#[tokio::test]
async fn connects_with_the_environment_it_is_given() {
    let Ok(spec) = std::env::var(SPEC) else { return };
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let spec: EcrRegistrySpec = serde_json::from_str(&spec).unwrap();
    let metrics = Metrics::register(&mut Registry::default());
    match Ecr::connect(&spec, &metrics).await {
        Ok(ecr) => println!("\nreached {} as {} at {}", ecr.identity.account_id, ecr.identity.arn, ecr.host),
        Err(error) => println!("\nrefused: {error}"),
    }
}

/// Connects in another process, with these variables and no AWS credentials but what they give.
async fn connect(spec: Value, variables: &[(&str, &str)]) -> String {
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "registry_identity::connects_with_the_environment_it_is_given", "--nocapture"]);
    command.env_clear().stdin(Stdio::null()).env(SPEC, spec.to_string()).env("HOME", "/nonexistent");
    for inherited in ["AWS_ENDPOINT_URL", "SSL_CERT_FILE", "PATH"] {
        command.env(inherited, env(inherited));
    }
    let output = command.envs(variables.iter().copied()).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = text.lines().find(|line| line.starts_with("reached") || line.starts_with("refused"));
    told.unwrap_or_else(|| panic!("it says nothing: {text}\n{}", String::from_utf8_lossy(&output.stderr))).to_owned()
}

fn here() -> Value {
    json!({"region": "eu-west-1"})
}

/// Temporary credentials of the stack's tester.
async fn session() -> Credentials {
    let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
    aws_sdk_sts::Client::new(&config).get_session_token().send().await.unwrap().credentials.unwrap()
}

/// Serves plain HTTP on the loopback address, and gives its URL.
async fn serve(answer: impl Fn(Request) -> Response + Clone + Send + Sync + 'static) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(move |request: Request| {
        let answer = answer(request);
        async move { answer }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn credentials(session: &Credentials) -> Value {
    json!({
        "Code": "Success",
        "Type": "AWS-HMAC",
        "LastUpdated": "2024-01-01T00:00:00Z",
        "AccessKeyId": session.access_key_id,
        "SecretAccessKey": session.secret_access_key,
        "Token": session.session_token,
        "Expiration": "2099-01-01T00:00:00Z",
    })
}

fn refusal() -> Response {
    axum::http::StatusCode::FORBIDDEN.into_response()
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn eks_pod_identity_and_ecs_give_an_identity() {
    let directory = tempfile::tempdir().unwrap();
    let token = write(directory.path(), "token", "the-pods-token");
    let given = credentials(&session().await).to_string();
    // What the agent on a node does: whoever shows the pod's token gets the credentials of its role.
    let agent = serve(move |request| match header(&request, "authorization") {
        Some("the-pods-token") if request.uri().path() == "/v1/credentials" => given.clone().into_response(),
        _ => refusal(),
    })
    .await;
    let uri = format!("{agent}/v1/credentials");
    let with_token =
        [("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str()), ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token)];
    let told = connect(here(), &with_token).await;
    assert!(told.starts_with(&format!("reached {}", env("AWS_ACCOUNT_ID"))), "{told}");

    let told = connect(here(), &with_token[..1]).await;
    assert!(told.starts_with("refused: ") && told.contains("GetCallerIdentity"), "without the token: {told}");
}

#[tokio::test]
async fn the_instances_role_is_used_where_nothing_else_is_given() {
    let given = credentials(&session().await).to_string();
    // The instance metadata service, version 2: a token first, and everything with it.
    let imds = serve(move |request| {
        let has_token = header(&request, "x-aws-ec2-metadata-token") == Some("imds-token");
        match (request.method().as_str(), request.uri().path()) {
            ("PUT", "/latest/api/token") => {
                ([("x-aws-ec2-metadata-token-ttl-seconds", "21600")], "imds-token").into_response()
            }
            _ if !has_token => axum::http::StatusCode::UNAUTHORIZED.into_response(),
            ("GET", "/latest/meta-data/iam/security-credentials/") => "node-role".into_response(),
            ("GET", "/latest/meta-data/iam/security-credentials/node-role") => given.clone().into_response(),
            _ => axum::http::StatusCode::NOT_FOUND.into_response(),
        }
    })
    .await;
    let told = connect(here(), &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &imds)]).await;
    assert!(told.starts_with(&format!("reached {}", env("AWS_ACCOUNT_ID"))), "{told}");
}

#[tokio::test]
async fn a_service_accounts_token_gives_its_role() {
    let role = unique("irsa");
    let account = env("AWS_ACCOUNT_ID");
    let issuer = format!("oidc.example.com/id/{role}");
    let provider = [
        ("Action", "CreateOpenIDConnectProvider"),
        ("Version", "2010-05-08"),
        ("Url", &format!("https://{issuer}")),
        ("ClientIDList.member.1", "sts.amazonaws.com"),
        ("ThumbprintList.member.1", "9e99a48a9960b14926bb7f3b02e22da2b0ab7280"),
    ];
    let answer = iam(&provider).await;
    assert!(answer.contains("<CreateOpenIDConnectProviderResult>"), "{answer}");
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
        "Principal": {"Federated": format!("arn:aws:iam::{account}:oidc-provider/{issuer}")},
        "Condition": {"StringEquals": {format!("{issuer}:sub"): "system:serviceaccount:ecr-system:ecr-operator"}},
    }]});
    create_role(&role, &trust).await;
    let directory = tempfile::tempdir().unwrap();
    let claims = |subject: &str| json!({"iss": format!("https://{issuer}"), "aud": "sts.amazonaws.com", "sub": subject, "exp": 4_000_000_000_u64});
    let ours = write(directory.path(), "ours", &jwt(&claims("system:serviceaccount:ecr-system:ecr-operator")));
    let others = write(directory.path(), "others", &jwt(&claims("system:serviceaccount:other:other")));
    let arn = format!("arn:aws:iam::{account}:role/{role}");
    let variables =
        |file| [("AWS_WEB_IDENTITY_TOKEN_FILE", file), ("AWS_ROLE_ARN", arn.as_str()), ("AWS_REGION", "eu-west-1")];
    let told = connect(here(), &variables(&ours)).await;
    assert!(told.starts_with(&format!("reached {account} as arn:aws:sts::{account}:assumed-role/{role}/")), "{told}");

    let told = connect(here(), &variables(&others)).await;
    assert!(told.starts_with("refused: ") && told.contains("AccessDenied"), "STS's own words: {told}");
}

/// A token as a cluster's OIDC provider issues it, but for its signature, which the stand-in does not check.
fn jwt(claims: &Value) -> String {
    use base64::Engine as _;
    let encode = |text: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    format!(
        "{}.{}.{}",
        encode(json!({"alg": "RS256", "typ": "JWT"}).to_string()),
        encode(claims.to_string()),
        encode("x".into())
    )
}

#[tokio::test]
async fn no_identity_at_all_is_told() {
    let told = connect(here(), &[("AWS_EC2_METADATA_DISABLED", "true")]).await;
    assert!(told.starts_with("refused: sts:GetCallerIdentity failed") && told.contains("credentials"), "{told}");
}

#[tokio::test]
async fn hosts_follow_the_endpoints_that_are_asked_for() {
    let keys =
        [("AWS_ACCESS_KEY_ID", env("AWS_ACCESS_KEY_ID")), ("AWS_SECRET_ACCESS_KEY", env("AWS_SECRET_ACCESS_KEY"))];
    let keys: Vec<(&str, &str)> = keys.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let account = env("AWS_ACCOUNT_ID");
    let told = connect(here(), &keys).await;
    assert!(told.ends_with(&format!("at {account}.dkr.ecr.eu-west-1.amazonaws.com")), "{told}");
    // AWS's own endpoints of a kind, and an endpoint of the environment, exclude each other.
    for kind in ["fips", "dualStack"] {
        let told = connect(json!({"region": "eu-west-1", "endpoints": {kind: true}}), &keys).await;
        assert!(told.contains("AWS_ENDPOINT_URL") && told.contains("remove one of them"), "{told}");
    }
    let spec = json!({"region": "eu-west-1", "endpoints": {"registry": "https://999999999999.dkr.ecr.eu-west-1.amazonaws.com"}});
    let told = connect(spec, &keys).await;
    assert!(told.starts_with("refused: ") && told.contains("999999999999") && told.contains(&account), "{told}");
    let spec = json!({"region": "eu-west-1", "endpoints": {"sts": "https://127.0.0.1:1"}});
    let told = connect(spec, &keys).await;
    assert!(told.starts_with("refused: sts:GetCallerIdentity failed"), "STS is asked there: {told}");
}

#[tokio::test]
async fn a_role_is_assumed_with_its_external_id_and_session_tags() {
    let stack = Stack::connect().await;
    let (role, name) = (unique("assumed"), unique("assumed"));
    let account = env("AWS_ACCOUNT_ID");
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": ["sts:AssumeRole", "sts:TagSession"],
        "Principal": {"AWS": format!("arn:aws:iam::{account}:user/ecr-operator")},
        "Condition": {"StringEquals": {"sts:ExternalId": "cluster-prod"}},
    }]});
    create_role(&role, &trust).await;
    let default = stack.all::<EcrRegistry>().get("default").await.unwrap();
    let endpoints = serde_json::to_value(default.spec.endpoints).unwrap();
    let spec = |more: Value| {
        let mut assume = json!({"roleArn": format!("arn:aws:iam::{account}:role/{role}")});
        assume.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"region": "eu-west-1", "accountId": account, "endpoints": endpoints, "credentials": {"assumeRole": assume}}).to_string()
    };
    for wrong in [json!({}), json!({"externalId": "another", "sessionTags": {"team": "platform"}})] {
        stack.apply::<EcrRegistry>(&name, &spec(wrong.clone())).await;
        let registry = stack.until::<EcrRegistry>(&name, "refused", |it| has_reason(it, "InvalidCredentials")).await;
        assert!(
            is_stalled(&registry) && message(&registry).contains("AccessDenied"),
            "{wrong}: {}",
            message(&registry)
        );
    }
    // The stand-in does not look at tags: a fault that only a request with them meets shows that they are sent.
    let tagged = json!({"target": "api", "action": "AssumeRole", "times": 0, "status": 403, "code": "AccessDenied",
        "message": "these tags are seen", "request": format!("(?s)(Key=team&.*Value={role}|Value={role}&.*Key=team)")});
    let fault = stack.fault("AWS_CONTROL_URL", tagged).await;
    stack
        .apply::<EcrRegistry>(&name, &spec(json!({"externalId": "cluster-prod", "sessionTags": {"team": role}})))
        .await;
    stack.until::<EcrRegistry>(&name, "asking with tags", |it| message(it).contains("these tags are seen")).await;
    fault.remove().await;
    let registry = stack.until::<EcrRegistry>(&name, "ready", is_ready).await;
    let caller = registry.status.as_ref().unwrap().caller_arn.clone().unwrap();
    assert_eq!(caller, format!("arn:aws:sts::{account}:assumed-role/{role}/ecr-operator"));
    assert!(message(&registry).contains(&caller), "{}", message(&registry));
    stack.delete::<EcrRegistry>(&name).await;
}

/// Makes an IAM role that trusts as this policy says, and may do everything.
async fn create_role(name: &str, trust: &Value) {
    let parameters = [
        ("Action", "CreateRole"),
        ("Version", "2010-05-08"),
        ("RoleName", name),
        ("AssumeRolePolicyDocument", &trust.to_string()),
    ];
    let answer = iam(&parameters).await;
    assert!(answer.contains("<CreateRoleResult>"), "{answer}");
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// Sends a request to IAM, for which the operator needs no SDK.
async fn iam(parameters: &[(&str, &str)]) -> String {
    use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
    let body = parameters.iter().map(|(key, value)| format!("{key}={}", percent_encoded(value)));
    let body = body.collect::<Vec<_>>().join("&");
    let identity = aws_credential_types::Credentials::new(
        env("AWS_ACCESS_KEY_ID"),
        env("AWS_SECRET_ACCESS_KEY"),
        None,
        None,
        "test",
    );
    let identity = identity.into();
    let parameters = aws_sigv4::sign::v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("iam")
        .time(std::time::SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let url = format!("{}/", env("AWS_ENDPOINT_URL").trim_end_matches('/'));
    let form = ("content-type", "application/x-www-form-urlencoded");
    let request =
        SignableRequest::new("POST", &url, std::iter::once(form), SignableBody::Bytes(body.as_bytes())).unwrap();
    let (instructions, _) = sign(request, &parameters).unwrap().into_parts();
    let certificate = std::fs::read(env("SSL_CERT_FILE")).unwrap();
    let client =
        reqwest::Client::builder().tls_certs_merge(reqwest::Certificate::from_pem_bundle(&certificate).unwrap());
    let mut request = client.build().unwrap().post(&url).header(form.0, form.1).body(body.clone());
    for (name, value) in instructions.headers() {
        request = request.header(name, value);
    }
    request.send().await.unwrap().text().await.unwrap()
}
