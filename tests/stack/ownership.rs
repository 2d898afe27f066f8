//! Who may have which repository: claims, adoption, observing, and `spec.access` of the registry.

use aws_sdk_ecr::types::{ImageTagMutability, Tag};
use ecr_operator::api::{EcrPullSecret, EcrRegistry, EcrRepository, ImageMirror};
use k8s_openapi::api::core::v1::{Namespace as KubeNamespace, Secret};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::support::{Namespace, Stack, env, eventually, is_ready, message, unique};

/// An EcrRegistry that reaches the stack's account and has this list as `spec.access`.
async fn registry_with_access(stack: &Stack, access: &str) -> String {
    let default = stack.all::<EcrRegistry>().get("default").await.unwrap();
    let name = unique("limited");
    let mut spec = serde_json::to_value(default.spec).unwrap();
    spec["access"] = serde_saphyr::from_str(access).expect("the test's YAML is valid");
    stack.apply::<EcrRegistry>(&name, &spec.to_string()).await;
    stack.until::<EcrRegistry>(&name, "ready", is_ready).await;
    name
}

async fn remove(namespace: &Namespace<'_>, names: &[&str]) {
    for name in names {
        namespace.delete::<EcrRepository>(name).await;
        namespace.gone::<EcrRepository>(name).await;
    }
}

#[tokio::test]
async fn the_older_of_two_claimants_has_the_repository_and_the_newer_goes_on_when_it_is_gone() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("claims").await;
    let spec = format!("repositoryName: {}/one\ndeletionPolicy: Delete", namespace.name);
    namespace.apply::<EcrRepository>("older", &spec).await;
    namespace.ready::<EcrRepository>("older").await;
    // Age is told in seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    namespace.apply::<EcrRepository>("newer", &spec).await;
    let words = namespace.not_ready::<EcrRepository>("newer", "OwnedByAnother").await;
    assert!(words.contains(&format!("claimed by EcrRepository {}/older", namespace.name)), "{words}");
    assert!(is_ready(&namespace.api::<EcrRepository>().get("older").await.unwrap()));

    remove(&namespace, &["older"]).await;
    namespace.ready::<EcrRepository>("newer").await;
    assert!(stack.repository_exists(&format!("{}/one", namespace.name)).await, "made anew");
    remove(&namespace, &["newer"]).await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn an_adopted_repository_is_shown_as_it_was_before_anything_is_changed() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("adopt").await;
    let name = format!("{}/there", namespace.name);
    let by_hand = Tag::builder().key("by-hand").value("yes").build().unwrap();
    stack.ecr.create_repository().repository_name(&name).tags(by_hand).send().await.unwrap();
    let policy = r#"{"rules": [{"rulePriority": 5, "description": "what somebody set up by hand", "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 3}, "action": {"type": "expire"}}]}"#;
    stack.ecr.put_lifecycle_policy().repository_name(&name).lifecycle_policy_text(policy).send().await.unwrap();
    // Every change fails, so that what was shown can be seen to have been shown before.
    let fault = stack
        .fault(
            "AWS_CONTROL_URL",
            json!({"target": "api", "action": "TagResource", "times": 0, "status": 400, "code": "AccessDeniedException",
                   "message": "not yet", "request": name}),
        )
        .await;
    namespace.apply::<EcrRepository>("api", &format!("repositoryName: {name}\ntagMutability: Immutable")).await;
    namespace.not_ready::<EcrRepository>("api", "AccessDenied").await;
    let found = namespace.api::<EcrRepository>().get("api").await.unwrap().status.unwrap().found.expect("shown");
    assert_eq!(found.tag_mutability.as_deref(), Some("Mutable"));
    assert_eq!(found.encryption.as_deref(), Some("Aes256"));
    assert!(found.lifecycle_policy.is_some_and(|text| text.contains("what somebody set up by hand")));
    assert_eq!(found.tags.get("by-hand").map(String::as_str), Some("yes"));
    let repository = stack.ecr.describe_repositories().repository_names(&name).send().await.unwrap();
    let mutability = repository.repositories.unwrap().remove(0).image_tag_mutability;
    assert_eq!(mutability, Some(ImageTagMutability::Mutable), "nothing was changed yet");

    fault.remove().await;
    let ready = namespace.ready::<EcrRepository>("api").await;
    assert!(ready.status.unwrap().found.is_some(), "it stays to be seen");
    remove(&namespace, &["api"]).await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn an_observer_tells_every_difference_and_changes_nothing() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("observe").await;
    let name = format!("{}/there", namespace.name);
    let spec =
        format!("repositoryName: {name}\nmanagementPolicy: Observe\ntagMutability: Immutable\ntags: {{team: a}}");
    namespace.apply::<EcrRepository>("api", &spec).await;
    let words = namespace.not_ready::<EcrRepository>("api", "RepositoryNotFound").await;
    assert!(words.contains("managementPolicy"), "{words}");
    assert!(!stack.repository_exists(&name).await);

    let made = stack.ecr.create_repository().repository_name(&name).send().await.unwrap();
    let object = namespace.ready::<EcrRepository>("api").await;
    assert_eq!(
        object.status.as_ref().unwrap().differences,
        ["would change tag mutability from Mutable to Immutable", "would set tags team"]
    );
    assert!(message(&object).contains("observed only"), "{}", message(&object));
    assert!(object.finalizers().is_empty(), "nothing in AWS depends on it");
    let arn = made.repository.unwrap().repository_arn.unwrap();
    let tags = stack.ecr.list_tags_for_resource().resource_arn(&arn).send().await.unwrap().tags;
    assert!(tags.unwrap_or_default().is_empty(), "no owner tags");

    // Somebody repairs it by hand, and it is seen.
    let immutable = ImageTagMutability::Immutable;
    stack.ecr.put_image_tag_mutability().repository_name(&name).image_tag_mutability(immutable).send().await.unwrap();
    namespace
        .until::<EcrRepository>("api", "told of the repair", |it| {
            it.status.as_ref().is_some_and(|status| status.differences == ["would set tags team"])
        })
        .await;

    // From observing to managing and back.
    namespace.apply::<EcrRepository>("api", &format!("repositoryName: {name}\ntags: {{team: a}}")).await;
    namespace.ready::<EcrRepository>("api").await;
    namespace.apply::<EcrRepository>("api", &format!("{spec}\ndeletionPolicy: DeleteWithImages")).await;
    namespace.ready::<EcrRepository>("api").await;
    remove(&namespace, &["api"]).await;
    assert!(stack.repository_exists(&name).await, "an observer deletes nothing");
    namespace.cleanup().await;
}

#[tokio::test]
async fn a_namespace_uses_what_the_registry_grants_it_and_nothing_else() {
    let stack = Stack::connect().await;
    let team = unique("team");
    let registry = registry_with_access(
        &stack,
        &format!("[{{namespaceSelector: {{matchLabels: {{team: {team}}}}}, repositories: ['{{namespace}}/*']}}]"),
    )
    .await;
    let namespace = stack.labelled_namespace("granted", json!({"team": team})).await;
    let stranger = stack.namespace("stranger").await;
    let at = |name: &str| format!("registryRef: {{name: {registry}}}\nrepositoryName: {name}");

    namespace.apply::<EcrRepository>("mine", &at(&format!("{}/api", namespace.name))).await;
    namespace.ready::<EcrRepository>("mine").await;
    namespace.apply::<EcrRepository>("theirs", &at(&format!("{}/api", stranger.name))).await;
    let words = namespace.not_ready::<EcrRepository>("theirs", "NamespaceNotAllowed").await;
    assert!(words.contains(&format!("only {}/*", namespace.name)), "{words}");
    stranger.apply::<EcrRepository>("api", &at(&format!("{}/api", stranger.name))).await;
    stranger.not_ready::<EcrRepository>("api", "NamespaceNotAllowed").await;
    assert!(!stack.repository_exists(&format!("{}/api", stranger.name)).await);

    // Mirrors, whoever makes their repository, and pull secrets.
    let destination =
        format!("{{registryRef: {{name: {registry}}}, repositoryName: other/busybox, createRepository: false}}");
    let mirror = format!("source: {{image: busybox}}\ntags: {{names: ['1.36']}}\ndestinations: [{destination}]");
    namespace.apply::<ImageMirror>("busybox", &mirror).await;
    let words = namespace.not_ready::<ImageMirror>("busybox", "NamespaceNotAllowed").await;
    assert!(words.contains("other/busybox"), "{words}");
    stranger.apply::<EcrPullSecret>("ecr", &format!("registries: [{{name: {registry}}}]")).await;
    stranger.not_ready::<EcrPullSecret>("ecr", "NamespaceNotAllowed").await;
    assert!(stranger.api::<Secret>().get_opt("ecr").await.unwrap().is_none());

    // A label lets the stranger in, and its removal takes the Secret away.
    label(&stack, &stranger.name, json!(team)).await;
    stranger.ready::<EcrRepository>("api").await;
    stranger.ready::<EcrPullSecret>("ecr").await;
    assert!(stranger.api::<Secret>().get_opt("ecr").await.unwrap().is_some());
    label(&stack, &stranger.name, json!(null)).await;
    stranger.not_ready::<EcrRepository>("api", "NamespaceNotAllowed").await;
    eventually("the Secret is taken away", || async {
        stranger.api::<Secret>().get_opt("ecr").await.unwrap().is_none().then_some(())
    })
    .await;
    assert!(stack.repository_exists(&format!("{}/api", stranger.name)).await, "nothing in AWS is touched");

    remove(&namespace, &["mine", "theirs"]).await;
    stranger.delete::<EcrRepository>("api").await;
    namespace.cleanup().await;
    stranger.cleanup().await;
    stack.delete::<EcrRegistry>(&registry).await;
}

async fn label(stack: &Stack, namespace: &str, team: serde_json::Value) {
    let patch = json!({"metadata": {"labels": {"team": team}}});
    stack.all::<KubeNamespace>().patch(namespace, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
}

#[tokio::test]
async fn objects_notice_when_their_registry_changes_goes_away_and_comes_back() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("registry").await;
    let registry = registry_with_access(&stack, "[{namespaceSelector: {}, repositories: ['*']}]").await;
    namespace.apply::<EcrRepository>("api", &format!("registryRef: {{name: {registry}}}")).await;
    let object = namespace.ready::<EcrRepository>("api").await;
    assert!(object.status.unwrap().repository_uri.unwrap().starts_with(&env("ECR_REGISTRY")));

    let spec = serde_json::to_value(stack.all::<EcrRegistry>().get(&registry).await.unwrap().spec).unwrap();
    let mut closed = spec.clone();
    closed["access"] = json!([]);
    stack.apply::<EcrRegistry>(&registry, &closed.to_string()).await;
    namespace.not_ready::<EcrRepository>("api", "NamespaceNotAllowed").await;
    stack.delete::<EcrRegistry>(&registry).await;
    namespace.not_ready::<EcrRepository>("api", "RegistryNotFound").await;
    stack.apply::<EcrRegistry>(&registry, &spec.to_string()).await;
    namespace.ready::<EcrRepository>("api").await;
    remove(&namespace, &["api"]).await;
    namespace.cleanup().await;
    stack.delete::<EcrRegistry>(&registry).await;
}
