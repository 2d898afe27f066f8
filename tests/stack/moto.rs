//! EcrRepository against moto_server, a second implementation of ECR's API that was written by others: the control plane
//! alone, since it has no registry API. It checks policies and mutability in its own way.

use aws_sdk_ecr::types::{EncryptionType, ImageTagMutability};
use ecr_operator::api::{EcrRegistry, EcrRepository};
use serde_json::{Value, json};

use crate::support::{Namespace, Stack, env, eventually, is_ready, skipped, unique};

/// The registry at moto_server, and a client of it that goes past the operator.
struct Moto<'a> {
    stack: &'a Stack,
    ecr: aws_sdk_ecr::Client,
    registry: String,
}

impl<'a> Moto<'a> {
    /// `None` where the stack was started without moto_server.
    async fn connect(stack: &'a Stack) -> Option<Self> {
        let endpoint = env("MOTO_ENDPOINT_URL");
        if endpoint.is_empty() {
            skipped("the stack runs without moto_server");
            return None;
        }
        let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
        let ecr = aws_sdk_ecr::config::Builder::from(&config).endpoint_url(&endpoint).build();
        let default = stack.all::<EcrRegistry>().get("default").await.unwrap();
        let mut endpoints = serde_json::to_value(default.spec.endpoints).unwrap();
        endpoints["api"] = endpoint.into();
        let registry = unique("moto");
        stack
            .apply::<EcrRegistry>(&registry, &json!({"region": "eu-west-1", "endpoints": endpoints}).to_string())
            .await;
        stack.until::<EcrRegistry>(&registry, "ready", is_ready).await;
        Some(Self { stack, ecr: aws_sdk_ecr::Client::from_conf(ecr), registry })
    }

    /// The spec of a repository in this registry.
    fn spec(&self, more: &str) -> String {
        format!("registryRef: {{name: {}}}\n{more}", self.registry)
    }

    async fn described(&self, name: &str) -> Option<aws_sdk_ecr::types::Repository> {
        let answer = self.ecr.describe_repositories().repository_names(name).send().await.ok()?;
        answer.repositories?.into_iter().next()
    }

    async fn lifecycle(&self, name: &str) -> Option<Value> {
        let answer = self.ecr.get_lifecycle_policy().repository_name(name).send().await.ok()?;
        serde_json::from_str(&answer.lifecycle_policy_text?).ok()
    }

    async fn policy(&self, name: &str) -> Option<Value> {
        let answer = self.ecr.get_repository_policy().repository_name(name).send().await.ok()?;
        serde_json::from_str(&answer.policy_text?).ok()
    }

    async fn tag(&self, arn: &str, key: &str) -> Option<String> {
        let answer = self.ecr.list_tags_for_resource().resource_arn(arn).send().await.ok()?;
        answer.tags?.into_iter().find(|tag| tag.key == key).map(|tag| tag.value)
    }

    async fn finish(self, namespace: Namespace<'_>) {
        namespace.cleanup().await;
        self.stack.delete::<EcrRegistry>(&self.registry).await;
    }
}

const COMPLETE: &str = "
tagMutability: Immutable
mutableTags: [latest, 'dev-*']
scanOnPush: true
encryption: {type: KMS}
lifecycle:
  rules:
  - {description: drop untagged, untagged: {}, expireAfterDays: 7}
  - {description: ten releases, tagged: {patterns: ['v*']}, keepLast: 10}
access:
- {principals: ['222222222222'], permissions: Pull}
tags: {cost-center: platform}
";

#[tokio::test]
async fn another_implementation_of_ecr_gets_a_repository_with_all_its_settings() {
    let stack = Stack::connect().await;
    let Some(moto) = Moto::connect(&stack).await else { return };
    let namespace = stack.namespace("moto").await;
    let name = format!("{}/api", namespace.name);
    namespace.apply::<EcrRepository>("api", &moto.spec(COMPLETE)).await;
    namespace.ready::<EcrRepository>("api").await;

    let repository = moto.described(&name).await.expect("the repository exists");
    assert_eq!(repository.image_tag_mutability, Some(ImageTagMutability::ImmutableWithExclusion));
    let mut filters: Vec<_> =
        repository.image_tag_mutability_exclusion_filters().iter().map(|filter| filter.filter.clone()).collect();
    filters.sort();
    assert_eq!(filters, ["dev-*", "latest"]);
    assert!(repository.image_scanning_configuration().is_some_and(|scanning| scanning.scan_on_push));
    assert_eq!(repository.encryption_configuration().map(|it| it.encryption_type.clone()), Some(EncryptionType::Kms));
    assert_eq!(moto.lifecycle(&name).await.unwrap()["rules"].as_array().unwrap().len(), 2);
    assert!(moto.policy(&name).await.unwrap().to_string().contains("222222222222"));
    let arn = repository.repository_arn().unwrap();
    assert_eq!(moto.tag(arn, "cost-center").await.as_deref(), Some("platform"));
    assert!(!stack.repository_exists(&name).await, "the registry at the other endpoint has none");

    // What is as it should be is let alone, and what leaves the spec goes.
    namespace.apply::<EcrRepository>("api", &moto.spec("tagMutability: Mutable\nencryption: {type: KMS}")).await;
    namespace.ready::<EcrRepository>("api").await;
    let changed = moto.described(&name).await.unwrap();
    assert_eq!(changed.image_tag_mutability, Some(ImageTagMutability::Mutable));
    assert_eq!(moto.lifecycle(&name).await, None);
    assert_eq!(moto.policy(&name).await, None);
    assert_eq!(moto.tag(arn, "cost-center").await, None);
    namespace.delete::<EcrRepository>("api").await;
    namespace.gone::<EcrRepository>("api").await;
    moto.finish(namespace).await;
}

#[tokio::test]
async fn what_is_changed_by_hand_in_another_implementation_is_changed_back() {
    let stack = Stack::connect().await;
    let Some(moto) = Moto::connect(&stack).await else { return };
    let namespace = stack.namespace("moto-drift").await;
    let name = format!("{}/api", namespace.name);
    namespace.apply::<EcrRepository>("api", &moto.spec(COMPLETE)).await;
    namespace.ready::<EcrRepository>("api").await;
    let arn = moto.described(&name).await.unwrap().repository_arn.unwrap();

    let mutability = moto.ecr.put_image_tag_mutability().repository_name(&name);
    mutability.image_tag_mutability(ImageTagMutability::Mutable).send().await.unwrap();
    moto.ecr.delete_lifecycle_policy().repository_name(&name).send().await.unwrap();
    moto.ecr.delete_repository_policy().repository_name(&name).send().await.unwrap();
    moto.ecr.untag_resource().resource_arn(&arn).tag_keys("cost-center").send().await.unwrap();
    namespace.sync::<EcrRepository>("api").await;
    let (moto_ref, name_ref, arn_ref) = (&moto, &name, &arn);
    eventually("everything is changed back", || async move {
        let mutability = moto_ref.described(name_ref).await?.image_tag_mutability?;
        let tag = moto_ref.tag(arn_ref, "cost-center").await?;
        let back = mutability == ImageTagMutability::ImmutableWithExclusion && tag == "platform";
        (back && moto_ref.lifecycle(name_ref).await.is_some() && moto_ref.policy(name_ref).await.is_some())
            .then_some(())
    })
    .await;

    moto.ecr.delete_repository().repository_name(&name).force(true).send().await.unwrap();
    namespace.sync::<EcrRepository>("api").await;
    eventually("it is created again", || async move { moto_ref.described(name_ref).await.map(drop) }).await;
    namespace.ready::<EcrRepository>("api").await;
    namespace.delete::<EcrRepository>("api").await;
    namespace.gone::<EcrRepository>("api").await;
    moto.finish(namespace).await;
}

#[tokio::test]
async fn another_implementation_keeps_and_deletes_as_the_deletion_policy_says() {
    let stack = Stack::connect().await;
    let Some(moto) = Moto::connect(&stack).await else { return };
    let namespace = stack.namespace("moto-delete").await;
    let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest":
        "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}, "layers": []});
    for (object, policy, remains) in
        [("retain", "Retain", true), ("empty", "Delete", false), ("images", "DeleteWithImages", false)]
    {
        let name = format!("{}/{object}", namespace.name);
        namespace.apply::<EcrRepository>(object, &moto.spec(&format!("deletionPolicy: {policy}"))).await;
        namespace.ready::<EcrRepository>(object).await;
        if object == "images" {
            let put = moto.ecr.put_image().repository_name(&name).image_tag("v1").image_manifest(manifest.to_string());
            put.send().await.expect("moto takes the image");
        }
        namespace.delete::<EcrRepository>(object).await;
        namespace.gone::<EcrRepository>(object).await;
        assert_eq!(moto.described(&name).await.is_some(), remains, "{object}");
    }
    moto.finish(namespace).await;
}
