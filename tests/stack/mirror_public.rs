//! ImageMirror: ECR Public as a source, read with the operator's identity.
//!
//! No emulator has the API of ECR Public: its answers are put into the AWS stand-in. The registry is Docker Hub's stand-in
//! under another name, with an image that it gives to nobody who is not known.

use base64::Engine as _;
use serde_json::json;

use ecr_operator::api::ImageMirror;

use crate::support::{Fault, Namespace, Stack, env, message, push, unique};

const PASSWORD: &str = "canary-of-ecr-public";

async fn answer<'a>(stack: &'a Stack, status: u16, body: &str) -> Fault<'a> {
    let answer = json!({
        "target": "api", "action": "ecr-public:GetAuthorizationToken", "times": 0, "status": status, "body": body,
        "headers": {"content-type": "application/x-amz-json-1.1"},
    });
    stack.fault("AWS_CONTROL_URL", answer).await
}

/// What the mirror says and what it is, without the token.
async fn said(namespace: &Namespace<'_>) -> String {
    let object = namespace.api::<ImageMirror>().get("image").await.unwrap();
    let all = serde_json::to_string(&object).unwrap();
    assert!(!all.contains(PASSWORD), "{all}");
    message(&object)
}

#[tokio::test]
async fn ecr_public_is_read_with_the_operators_identity_where_its_configuration_says_so() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("public").await;
    // With the user name that ECR's tokens have.
    let user = json!({"name": "AWS", "password": PASSWORD});
    let users = format!("{}/users", env("HUB_CONTROL_URL"));
    reqwest::Client::new().post(users).json(&user).send().await.unwrap().error_for_status().unwrap();
    let repository = format!("private/{}", unique("public"));
    push(&format!("{repository}:1"), 811, &[]).await;

    // A token that is at hand is used while it works, so AWS refuses before it has given any.
    let denied = r#"{"__type": "AccessDeniedException", "message": "User is not authorized to perform: ecr-public:GetAuthorizationToken"}"#;
    let refusal = answer(&stack, 400, denied).await;
    let spec = format!("source: {{image: public.ecr.aws/{repository}}}\ntags: {{names: ['1']}}");
    namespace.apply::<ImageMirror>("image", &spec).await;
    let says = |it: &ImageMirror| message(it).contains("ecr-public:GetAuthorizationToken");
    namespace.until::<ImageMirror>("image", "refused", says).await;
    refusal.remove().await;

    let token = base64::engine::general_purpose::STANDARD.encode(format!("AWS:{PASSWORD}"));
    let expires_at = k8s_openapi::jiff::Timestamp::now().as_second() + 12 * 3600;
    let data = json!({"authorizationData": {"authorizationToken": token, "expiresAt": expires_at}});
    let gives = answer(&stack, 200, &data.to_string()).await;
    namespace.ready::<ImageMirror>("image").await;
    assert!(stack.digest_in_ecr(&format!("public.ecr.aws/{repository}"), "1").await.is_some());
    said(&namespace).await;
    gives.remove().await;
    namespace.cleanup().await;
}
