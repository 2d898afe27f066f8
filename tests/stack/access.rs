//! Repository policies: from the spec into ECR, and what becomes of changes by hand.

use ecr_operator::api::EcrRepository;
use ecr_operator::ecr::policy::PolicyDocument;
use serde_json::json;

use crate::support::{Namespace, Stack, eventually, has_reason, message};

/// The repository's policy, in words.
async fn policy(stack: &Stack, name: &str) -> Option<Vec<String>> {
    let answer = stack.ecr.get_repository_policy().repository_name(name).send().await.ok()?;
    Some(PolicyDocument::read(answer.policy_text()?).expect("ECR has a policy").statements())
}

async fn becomes(stack: &Stack, name: &str, wanted: Option<&[&str]>) {
    eventually("the policy is as the spec says", || async {
        let present = policy(stack, name).await;
        let same = match (&present, wanted) {
            (Some(present), Some(wanted)) => present.iter().map(String::as_str).eq(wanted.iter().copied()),
            (None, None) => true,
            _ => false,
        };
        same.then_some(())
    })
    .await;
}

async fn with_access(namespace: &Namespace<'_>, access: &str) {
    namespace.apply::<EcrRepository>("api", access).await;
}

#[tokio::test]
async fn grants_become_the_repositorys_policy_and_stay_it() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("grants").await;
    let name = format!("{}/api", namespace.name);
    let spec = "access:\n- {principals: ['222222222222'], permissions: Pull}\n- {principals: [lambda.amazonaws.com], permissions: Pull, sourceAccounts: ['222222222222']}";
    with_access(&namespace, spec).await;
    namespace.ready::<EcrRepository>("api").await;
    let wanted: &[&str] = &[
        "allow Pull to 222222222222",
        "allow Pull to lambda.amazonaws.com where aws:SourceAccount StringEquals 222222222222",
    ];
    becomes(&stack, &name, Some(wanted)).await;

    let by_hand = json!({"Version": "2008-10-17", "Statement": [{
        "Sid": "by hand", "Effect": "Allow", "Principal": {"AWS": "333333333333"}, "Action": "ecr:PutImage",
    }]});
    stack.ecr.set_repository_policy().repository_name(&name).policy_text(by_hand.to_string()).send().await.unwrap();
    becomes(&stack, &name, Some(wanted)).await;
    stack.ecr.delete_repository_policy().repository_name(&name).send().await.unwrap();
    becomes(&stack, &name, Some(wanted)).await;

    with_access(&namespace, "access: [{principals: ['222222222222'], permissions: Push}]").await;
    becomes(&stack, &name, Some(&["allow Push to 222222222222"])).await;
    with_access(&namespace, "{}").await;
    becomes(&stack, &name, None).await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_policy_that_came_from_elsewhere_is_left_alone() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("theirs").await;
    let name = format!("{}/api", namespace.name);
    with_access(&namespace, "{}").await;
    namespace.ready::<EcrRepository>("api").await;
    let theirs = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"AWS": "333333333333"}, "Action": "ecr:BatchGetImage",
    }]});
    stack.ecr.set_repository_policy().repository_name(&name).policy_text(theirs.to_string()).send().await.unwrap();
    with_access(&namespace, "scanOnPush: true").await;
    namespace.ready::<EcrRepository>("api").await;
    namespace.sync::<EcrRepository>("api").await;
    assert_eq!(policy(&stack, &name).await, Some(vec!["allow ecr:BatchGetImage to 333333333333".to_owned()]));
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_document_is_checked_before_ecr_sees_it() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("document").await;
    let name = format!("{}/api", namespace.name);
    let document = |actions: &str| {
        format!(
            "policy: '{{\"Version\": \"2012-10-17\", \"Statement\": [{{\"Effect\": \"Deny\", \"Principal\": \"*\", \"Action\": {actions}}}]}}'"
        )
    };
    with_access(&namespace, &document("\"ecr:BatchDeleteImages\"")).await;
    let refused = namespace.until::<EcrRepository>("api", "refused", |it| has_reason(it, "InvalidSpec")).await;
    let words = message(&refused);
    assert!(words.contains("spec.policy") && words.contains("did you mean ecr:BatchDeleteImage?"), "{words}");
    assert!(!stack.repository_exists(&name).await);
    with_access(&namespace, &document("[\"ecr:BatchDeleteImage\"]")).await;
    namespace.ready::<EcrRepository>("api").await;
    becomes(&stack, &name, Some(&["deny ecr:BatchDeleteImage for everybody"])).await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn what_iam_says_about_a_policy_is_passed_on_with_what_to_do() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("principal").await;
    for (said, words) in [
        ("Principal not found", "does not exist: check its ARN"),
        ("Invalid repository policy provided", "AWS does not say what is wrong"),
    ] {
        let message_of_aws = format!("Invalid parameter at 'PolicyText' failed to satisfy constraint: '{said}'");
        let fault = json!({
            "target": "api", "action": "SetRepositoryPolicy", "request": namespace.name, "times": 0,
            "status": 400, "code": "InvalidParameterException", "message": message_of_aws,
        });
        let fault = stack.fault("AWS_CONTROL_URL", fault).await;
        with_access(&namespace, "access: [{principals: ['arn:aws:iam::222222222222:role/ci'], permissions: Pull}]")
            .await;
        let refused = namespace
            .until::<EcrRepository>("api", said, |it| has_reason(it, "InvalidParameter") && message(it).contains(said))
            .await;
        assert!(message(&refused).contains(words), "{}", message(&refused));
        fault.remove().await;
        namespace.ready::<EcrRepository>("api").await;
        with_access(&namespace, "{}").await;
        namespace.ready::<EcrRepository>("api").await;
    }
    namespace.cleanup().await;
}
