//! EcrRepository on the local stack, checked with the AWS SDK.

use aws_sdk_ecr::types::{ImageTagMutability, Tag};
use ecr_operator::api::EcrRepository;
use serde_json::{Value, json};

use crate::support::{Stack, env, eventually, is_ready, is_stalled, message, push, run_with};

async fn described(stack: &Stack, name: &str) -> aws_sdk_ecr::types::Repository {
    let answer = stack.ecr.describe_repositories().repository_names(name).send().await.expect("the repository exists");
    answer.repositories.unwrap().remove(0)
}

async fn lifecycle(stack: &Stack, name: &str) -> Option<Value> {
    let answer = stack.ecr.get_lifecycle_policy().repository_name(name).send().await.ok()?;
    serde_json::from_str(&answer.lifecycle_policy_text?).ok()
}

async fn access_policy(stack: &Stack, name: &str) -> Option<Value> {
    let answer = stack.ecr.get_repository_policy().repository_name(name).send().await.ok()?;
    serde_json::from_str(&answer.policy_text?).ok()
}

async fn tags(stack: &Stack, arn: &str) -> Vec<(String, String)> {
    let answer = stack.ecr.list_tags_for_resource().resource_arn(arn).send().await.unwrap();
    answer.tags.unwrap_or_default().into_iter().map(|tag| (tag.key, tag.value)).collect()
}

const COMPLETE: &str = "
tagMutability: Immutable
mutableTags: [latest, 'dev-*']
scanOnPush: true
encryption: {type: AES256}
access:
- {principals: ['222222222222'], permissions: Pull}
lifecycle:
  rules:
  - {description: drop untagged, untagged: {}, expireAfterDays: 7}
  - {description: ten releases, tagged: {patterns: ['v*']}, keepLast: 10}
tags: {cost-center: platform}
";

/// Puts an image into a repository in ECR, past the operator.
async fn put_image(repository: &str) {
    put_image_as(repository, "1", 77).await;
}

/// Puts an image with these layers into a repository in ECR, under this tag.
pub(crate) async fn put_image_as(repository: &str, tag: &str, seed: u32) {
    push(
        &format!("library/filler-{seed}:1"),
        seed,
        &["--platforms", "linux/amd64", "--layers", "1", "--layer-size", "1024"],
    )
    .await;
    let password = ecr_password().await;
    let directory = tempfile::tempdir().unwrap();
    let auth = json!({"auths": {env("ECR_REGISTRY"): {"username": "AWS", "password": password}}});
    std::fs::write(directory.path().join("config.json"), auth.to_string()).unwrap();
    let from = format!("{}/library/filler-{seed}:1", env("UPSTREAM_REGISTRY"));
    let to = format!("{}/{repository}:{tag}", env("ECR_REGISTRY"));
    let variables = [("DOCKER_CONFIG", directory.path().to_str().unwrap())];
    run_with("crane", &["copy", "--insecure", &from, &to], &variables).await.expect("the image is put");
}

async fn ecr_password() -> String {
    use base64::Engine as _;
    let stack = Stack::connect().await;
    let answer = stack.ecr.get_authorization_token().send().await.unwrap();
    let token = answer.authorization_data.unwrap().remove(0).authorization_token.unwrap();
    let text = String::from_utf8(base64::engine::general_purpose::STANDARD.decode(token).unwrap()).unwrap();
    text.split_once(':').unwrap().1.to_owned()
}

#[tokio::test]
async fn a_repository_is_created_with_all_its_settings() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("create").await;
    namespace.apply::<EcrRepository>("api", COMPLETE).await;
    let object = namespace.ready::<EcrRepository>("api").await;
    let name = format!("{}/api", namespace.name);
    let status = object.status.unwrap();
    assert_eq!(status.repository_name.as_ref(), Some(&name), "the default name is namespace/name");
    assert_eq!(status.repository_uri, Some(format!("{}/{name}", env("ECR_REGISTRY"))));

    let repository = described(&stack, &name).await;
    assert_eq!(repository.image_tag_mutability, Some(ImageTagMutability::ImmutableWithExclusion));
    let filters = repository.image_tag_mutability_exclusion_filters.as_ref().unwrap();
    assert_eq!(filters.iter().map(|it| it.filter.as_str()).collect::<Vec<_>>(), ["dev-*", "latest"]);
    let access = access_policy(&stack, &name).await.expect("a repository policy");
    let principals = access["Statement"][0]["Principal"]["AWS"].to_string();
    assert!(principals.contains("222222222222"), "{access}");
    assert!(repository.image_scanning_configuration.unwrap().scan_on_push);
    assert_eq!(status.repository_arn, repository.repository_arn);
    let policy = lifecycle(&stack, &name).await.expect("a lifecycle policy");
    assert_eq!(policy["rules"][0]["selection"]["countNumber"], 7);
    assert_eq!(policy["rules"][1]["selection"]["tagPatternList"], json!(["v*"]));
    let tags = tags(&stack, &repository.repository_arn.unwrap()).await;
    assert!(tags.contains(&("cost-center".into(), "platform".into())));
    assert!(tags.contains(&("ecr-operator.io/namespace".into(), namespace.name.clone())));
    namespace.delete::<EcrRepository>("api").await;
    namespace.gone::<EcrRepository>("api").await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn what_is_changed_by_hand_is_changed_back() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("drift").await;
    namespace.apply::<EcrRepository>("api", COMPLETE).await;
    let object = namespace.ready::<EcrRepository>("api").await;
    let name = format!("{}/api", namespace.name);
    let arn = object.status.unwrap().repository_arn.unwrap();

    stack
        .ecr
        .put_image_tag_mutability()
        .repository_name(&name)
        .image_tag_mutability(ImageTagMutability::Mutable)
        .send()
        .await
        .unwrap();
    stack.ecr.delete_lifecycle_policy().repository_name(&name).send().await.unwrap();
    stack.ecr.delete_repository_policy().repository_name(&name).send().await.unwrap();
    let by_hand = Tag::builder().key("by-hand").value("yes").build().unwrap();
    let wrong = Tag::builder().key("cost-center").value("nobody").build().unwrap();
    stack.ecr.tag_resource().resource_arn(&arn).tags(by_hand).tags(wrong).send().await.unwrap();

    // Nobody asks: the next look on the interval finds it.
    eventually("the mutability is back", || async {
        (described(&stack, &name).await.image_tag_mutability == Some(ImageTagMutability::ImmutableWithExclusion))
            .then_some(())
    })
    .await;
    eventually("the lifecycle policy is back", || lifecycle(&stack, &name)).await;
    eventually("the repository policy is back", || access_policy(&stack, &name)).await;
    eventually("the tag is back", || async {
        tags(&stack, &arn).await.contains(&("cost-center".into(), "platform".into())).then_some(())
    })
    .await;
    assert!(tags(&stack, &arn).await.contains(&("by-hand".into(), "yes".into())), "tags of others stay");

    stack.ecr.delete_repository().repository_name(&name).force(true).send().await.unwrap();
    eventually("the repository is back", || async { stack.repository_exists(&name).await.then_some(()) }).await;
    namespace.delete::<EcrRepository>("api").await;
    namespace.gone::<EcrRepository>("api").await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_changed_spec_is_applied_and_what_left_it_is_removed() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("change").await;
    namespace.apply::<EcrRepository>("api", COMPLETE).await;
    namespace.ready::<EcrRepository>("api").await;
    namespace
        .apply::<EcrRepository>("api", "tagMutability: Mutable\nencryption: {type: AES256}\ntags: {team: a}")
        .await;
    let object = namespace.ready::<EcrRepository>("api").await;
    let name = format!("{}/api", namespace.name);
    let arn = object.status.unwrap().repository_arn.unwrap();
    let repository = described(&stack, &name).await;
    assert_eq!(repository.image_tag_mutability, Some(ImageTagMutability::Mutable));
    assert!(repository.image_scanning_configuration.unwrap().scan_on_push, "what left the spec is left as it was");
    assert_eq!(access_policy(&stack, &name).await, None, "and so does this one");
    assert_eq!(lifecycle(&stack, &name).await, None, "a policy that came from the spec goes with it");
    let tags = tags(&stack, &arn).await;
    assert!(tags.contains(&("team".into(), "a".into())));
    assert!(!tags.iter().any(|(key, _)| key == "cost-center"));
    namespace.delete::<EcrRepository>("api").await;
    namespace.gone::<EcrRepository>("api").await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn ecrs_own_lifecycle_document_is_taken_and_nonsense_is_told() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("raw").await;
    let document = r#"{"rules": [{"rulePriority": 5, "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 3}, "action": {"type": "expire"}}]}"#;
    namespace.apply::<EcrRepository>("api", &format!("lifecycle:\n  policy: '{document}'")).await;
    namespace.ready::<EcrRepository>("api").await;
    let policy = lifecycle(&stack, &format!("{}/api", namespace.name)).await.unwrap();
    assert_eq!(policy["rules"][0]["rulePriority"], 5);

    let nonsense = format!("lifecycle:\n  policy: '{{{}'", "x".repeat(120));
    namespace.apply::<EcrRepository>("api", &nonsense).await;
    let words = namespace.not_ready::<EcrRepository>("api", "InvalidSpec").await;
    assert!(words.contains("spec.lifecycle.policy is not JSON"), "{words}");
    namespace.delete::<EcrRepository>("api").await;
    namespace.gone::<EcrRepository>("api").await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn retain_keeps_the_repository_and_another_object_may_adopt_it() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("retain").await;
    let spec = format!("repositoryName: {}/shared", namespace.name);
    namespace.apply::<EcrRepository>("first", &spec).await;
    namespace.ready::<EcrRepository>("first").await;

    namespace.apply::<EcrRepository>("second", &spec).await;
    let words = namespace.not_ready::<EcrRepository>("second", "OwnedByAnother").await;
    assert!(words.contains(&format!("{}/first", namespace.name)), "{words}");

    namespace.delete::<EcrRepository>("first").await;
    namespace.gone::<EcrRepository>("first").await;
    assert!(stack.repository_exists(&format!("{}/shared", namespace.name)).await);
    namespace.ready::<EcrRepository>("second").await;

    // What was adopted was not made by this object, and so is not deleted with it.
    namespace.apply::<EcrRepository>("second", &format!("{spec}\ndeletionPolicy: DeleteWithImages")).await;
    namespace.ready::<EcrRepository>("second").await;
    namespace.delete::<EcrRepository>("second").await;
    namespace.gone::<EcrRepository>("second").await;
    assert!(stack.repository_exists(&format!("{}/shared", namespace.name)).await);
    namespace.cleanup().await;
}

#[tokio::test]
async fn adoption_never_leaves_an_existing_repository_alone() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("never").await;
    let name = format!("{}/there", namespace.name);
    stack.ecr.create_repository().repository_name(&name).send().await.unwrap();
    namespace
        .apply::<EcrRepository>("api", &format!("repositoryName: {name}\nadoption: Never\ntagMutability: Immutable"))
        .await;
    let words = namespace.not_ready::<EcrRepository>("api", "AdoptionRefused").await;
    assert!(words.contains("IfUnowned"), "{words}");
    assert_eq!(described(&stack, &name).await.image_tag_mutability, Some(ImageTagMutability::Mutable));
    namespace.delete::<EcrRepository>("api").await;
    namespace.gone::<EcrRepository>("api").await;
    assert!(stack.repository_exists(&name).await);
    namespace.cleanup().await;
}

#[tokio::test]
async fn delete_deletes_an_empty_repository() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("delete").await;
    namespace.apply::<EcrRepository>("api", "deletionPolicy: Delete").await;
    namespace.ready::<EcrRepository>("api").await;
    namespace.delete::<EcrRepository>("api").await;
    namespace.gone::<EcrRepository>("api").await;
    assert!(!stack.repository_exists(&format!("{}/api", namespace.name)).await);
    namespace.cleanup().await;
}

#[tokio::test]
async fn delete_waits_while_images_are_in_the_way_and_says_how_many() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("images").await;
    let name = format!("{}/api", namespace.name);
    namespace.apply::<EcrRepository>("api", "deletionPolicy: Delete").await;
    namespace.ready::<EcrRepository>("api").await;
    put_image(&name).await;
    namespace.delete::<EcrRepository>("api").await;
    let object = namespace
        .until::<EcrRepository>("api", "waiting for its images", |it| message(it).contains("still has 1 image"))
        .await;
    assert!(is_stalled(&object));
    assert!(message(&object).contains("DeleteWithImages"));
    assert!(stack.repository_exists(&name).await);

    // The spec of an object that waits to be deleted can still be changed.
    namespace.apply::<EcrRepository>("api", "deletionPolicy: DeleteWithImages").await;
    namespace.gone::<EcrRepository>("api").await;
    assert!(!stack.repository_exists(&name).await);
    namespace.cleanup().await;
}

#[tokio::test]
async fn what_aws_refuses_is_told_in_its_words_and_recovers() {
    let stack = Stack::connect().await;
    for (code, reason, words) in [
        ("AccessDeniedException", "AccessDenied", "IAM policy"),
        ("LimitExceededException", "LimitExceeded", "quota"),
        ("InvalidParameterException", "InvalidParameter", "correct the spec"),
        ("ServerException", "Retrying", "ServerException"),
        ("ThrottlingException", "Throttled", "ThrottlingException"),
    ] {
        let namespace = stack.namespace("refused").await;
        let name = format!("{}/api", namespace.name);
        let fault = stack
            .fault(
                "AWS_CONTROL_URL",
                json!({"target": "api", "action": "CreateRepository", "times": 0, "status": 400, "code": code,
                       "message": format!("no, says {code}"), "request": name}),
            )
            .await;
        namespace.apply::<EcrRepository>("api", "{}").await;
        let told = namespace.not_ready::<EcrRepository>("api", reason).await;
        assert!(told.contains("ecr:CreateRepository") && told.contains(&format!("no, says {code}")), "{told}");
        assert!(told.contains(words), "{told}");
        fault.remove().await;
        namespace.until::<EcrRepository>("api", "recovered", is_ready).await;
        namespace.delete::<EcrRepository>("api").await;
        namespace.gone::<EcrRepository>("api").await;
        namespace.cleanup().await;
    }
}
