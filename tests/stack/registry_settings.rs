//! The registry-wide settings of an EcrRegistry, checked with the AWS SDK.
//!
//! They are one for an account and region, so these tests take turns.

use aws_sdk_ecr::types::{self as sdk, ScanFrequency, ScanType};
use ecr_operator::api::{EcrRegistry, SettingStatus};
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

use crate::support::{Stack, env, eventually, has_reason, is_ready, is_stalled, message, unique};

/// Whose turn it is. Some count calls, in all regions.
pub static TURN: Mutex<()> = Mutex::const_new(());

/// The stack with a registry that has ECR's defaults, while the guard lives.
pub(crate) async fn untouched() -> (Stack, MutexGuard<'static, ()>) {
    let turn = TURN.lock().await;
    let stack = Stack::connect().await;
    for registry in stack.all::<EcrRegistry>().list(&ListParams::default()).await.unwrap() {
        if registry.spec.settings.is_some() {
            stack.delete::<EcrRegistry>(&registry.name_any()).await;
        }
    }
    let ecr = &stack.ecr;
    ecr.put_registry_scanning_configuration().scan_type(ScanType::Basic).set_rules(Some(vec![])).send().await.unwrap();
    let off = sdk::ReplicationConfiguration::builder().set_rules(Some(vec![])).build().unwrap();
    ecr.put_replication_configuration().replication_configuration(off).send().await.unwrap();
    let _ = ecr.delete_registry_policy().send().await;
    let _ = ecr.delete_signing_configuration().send().await;
    ecr.put_account_setting().name("BLOB_MOUNTING").value("DISABLED").send().await.unwrap();
    for prefix in cache_rules(&stack).await.into_iter().map(|(prefix, _)| prefix) {
        ecr.delete_pull_through_cache_rule().ecr_repository_prefix(prefix).send().await.unwrap();
    }
    for prefix in templates(&stack).await {
        ecr.delete_repository_creation_template().prefix(prefix).send().await.unwrap();
    }
    for arn in exclusions(&stack).await {
        ecr.deregister_pull_time_update_exclusion().principal_arn(arn).send().await.unwrap();
    }
    (stack, turn)
}

/// The prefixes of the cache rules, with their secrets.
pub(crate) async fn cache_rules(stack: &Stack) -> Vec<(String, Option<String>)> {
    let answer = stack.ecr.describe_pull_through_cache_rules().send().await.unwrap();
    let rules = answer.pull_through_cache_rules.unwrap_or_default();
    rules.into_iter().map(|rule| (rule.ecr_repository_prefix.unwrap(), rule.credential_arn)).collect()
}

async fn templates(stack: &Stack) -> Vec<String> {
    let answer = stack.ecr.describe_repository_creation_templates().send().await.unwrap();
    let templates = answer.repository_creation_templates.unwrap_or_default();
    templates.into_iter().map(|template| template.prefix.unwrap()).collect()
}

async fn exclusions(stack: &Stack) -> Vec<String> {
    let answer = stack.ecr.list_pull_time_update_exclusions().send().await.unwrap();
    answer.pull_time_update_exclusions.unwrap_or_default()
}

async fn replication(stack: &Stack) -> Vec<sdk::ReplicationRule> {
    let answer = stack.ecr.describe_registry().send().await.unwrap();
    answer.replication_configuration.map(|it| it.rules).unwrap_or_default()
}

async fn policy(stack: &Stack) -> Option<Value> {
    let answer = stack.ecr.get_registry_policy().send().await.ok()?;
    serde_json::from_str(&answer.policy_text?).ok()
}

async fn blob_mounting(stack: &Stack) -> String {
    stack.ecr.get_account_setting().name("BLOB_MOUNTING").send().await.unwrap().value.unwrap()
}

async fn signing(stack: &Stack) -> Vec<sdk::SigningRule> {
    let answer = stack.ecr.get_signing_configuration().send().await;
    answer.ok().and_then(|answer| answer.signing_configuration).map(|it| it.rules).unwrap_or_default()
}

/// An EcrRegistry of this name for the stack's registry, with these settings.
pub(crate) async fn apply(stack: &Stack, name: &str, settings: &str) {
    apply_in(stack, "eu-west-1", name, settings).await;
}

/// An EcrRegistry of this name for the stack's account in any region, with these settings. No image is asked for, so the
/// address of the registry API does not matter.
pub(crate) async fn apply_in(stack: &Stack, region: &str, name: &str, settings: &str) {
    let default = stack.all::<EcrRegistry>().get("default").await.unwrap();
    let mut endpoints = default.spec.endpoints.unwrap();
    if region != default.spec.region {
        endpoints.registry = None;
    }
    let endpoints = serde_json::to_value(endpoints).unwrap();
    let settings: Value = serde_saphyr::from_str(settings).unwrap();
    stack
        .apply::<EcrRegistry>(name, &format!("{{region: {region}, endpoints: {endpoints}, settings: {settings}}}"))
        .await;
}

pub(crate) async fn ready(stack: &Stack, name: &str) -> EcrRegistry {
    stack.until::<EcrRegistry>(name, "ready", is_ready).await
}

pub(crate) async fn refused(stack: &Stack, name: &str, reason: &str) -> EcrRegistry {
    stack.until::<EcrRegistry>(name, reason, |it| has_reason(it, reason)).await
}

/// What the status says of a part.
pub(crate) fn part(registry: &EcrRegistry, name: &str) -> SettingStatus {
    let status = registry.status.clone().unwrap();
    status.settings.into_iter().find(|part| part.name == name).unwrap_or_else(|| panic!("no {name} in the status"))
}

pub(crate) async fn finish(stack: &Stack, name: &str) {
    stack.delete::<EcrRegistry>(name).await;
    eventually("the registry is gone", || async {
        stack.all::<EcrRegistry>().get_opt(name).await.unwrap().is_none().then_some(())
    })
    .await;
}

fn secret(name: &str) -> String {
    format!("arn:aws:secretsmanager:eu-west-1:{}:secret:ecr-pullthroughcache/{name}-AbCdEf", env("AWS_ACCOUNT_ID"))
}

fn role(name: &str) -> String {
    format!("arn:aws:iam::{}:role/{name}", env("AWS_ACCOUNT_ID"))
}

const PROFILE: &str = "arn:aws:signer:eu-west-1:123456789012:/signing-profiles/release";

pub(crate) fn complete() -> String {
    format!(
        "
scanning:
  type: ENHANCED
  rules:
  - {{frequency: SCAN_ON_PUSH, repositoryFilters: ['*']}}
  - {{frequency: CONTINUOUS_SCAN, repositoryFilters: ['prod/*', 'base/*']}}
replication:
  rules:
  - {{destinations: [{{region: eu-central-1}}, {{region: us-east-1, registryId: '222222222222'}}], repositoryFilters: [prod, base]}}
policy:
  scope: V2
  grants:
  - {{principals: ['222222222222'], permissions: Replicate, repositories: ['prod/*']}}
pullThroughCacheRules:
- {{ecrRepositoryPrefix: docker-hub, upstreamRegistry: docker-hub, credentialArn: '{hub}'}}
- {{ecrRepositoryPrefix: k8s, upstreamRegistry: k8s}}
- {{ecrRepositoryPrefix: other, upstreamRegistry: ecr, upstreamRegistryUrl: 222222222222.dkr.ecr.eu-west-1.amazonaws.com, upstreamRepositoryPrefix: shared, customRoleArn: '{role}'}}
creationTemplates:
- prefix: ROOT
  appliedFor: [CREATE_ON_PUSH]
- prefix: docker-hub
  description: what comes from Docker Hub
  appliedFor: [PULL_THROUGH_CACHE, REPLICATION]
  tagMutability: Immutable
  mutableTags: [latest, 'dev-*']
  encryption: {{type: KMS}}
  lifecycle: {{rules: [{{untagged: {{}}, expireAfterDays: 7}}]}}
  tags: {{team: platform}}
  customRoleArn: '{role}'
blobMounting: Enabled
signing: {{rules: [{{signingProfileArn: '{PROFILE}', repositoryFilters: ['prod/*']}}]}}
pullTimeUpdateExclusions: ['{mirror}']
",
        hub = secret("hub"),
        role = role("ecr-custom"),
        mirror = role("mirror"),
    )
}

#[tokio::test]
async fn every_part_is_set_as_the_spec_says_and_told() {
    let (stack, _turn) = untouched().await;
    let name = unique("settings");
    apply(&stack, &name, &complete()).await;
    let registry = ready(&stack, &name).await;

    let scanning =
        stack.ecr.get_registry_scanning_configuration().send().await.unwrap().scanning_configuration.unwrap();
    assert_eq!(scanning.scan_type, Some(ScanType::Enhanced));
    let rules = scanning.rules.unwrap();
    let continuous = rules.iter().find(|rule| rule.scan_frequency == ScanFrequency::ContinuousScan).unwrap();
    let filters: Vec<_> = continuous.repository_filters.iter().map(|filter| filter.filter.as_str()).collect();
    assert_eq!((rules.len(), filters), (2, vec!["base/*", "prod/*"]));

    let rules = replication(&stack).await;
    let destinations: Vec<_> =
        rules[0].destinations.iter().map(|it| (it.region.as_str(), it.registry_id.clone())).collect();
    assert_eq!(rules.len(), 1);
    assert!(destinations.contains(&("eu-central-1", env("AWS_ACCOUNT_ID"))), "{destinations:?}");
    assert!(destinations.contains(&("us-east-1", "222222222222".into())), "{destinations:?}");

    let statement = policy(&stack).await.unwrap()["Statement"][0].to_string();
    assert!(statement.contains("ecr:ReplicateImage") && statement.contains("repository/prod/*"), "{statement}");

    let described = stack.ecr.describe_pull_through_cache_rules().send().await.unwrap();
    let rules = described.pull_through_cache_rules.unwrap();
    let rule = |prefix: &str| rules.iter().find(|it| it.ecr_repository_prefix.as_deref() == Some(prefix)).unwrap();
    assert_eq!(rule("docker-hub").upstream_registry_url.as_deref(), Some("registry-1.docker.io"));
    assert_eq!(rule("docker-hub").credential_arn, Some(secret("hub")));
    assert_eq!(rule("k8s").upstream_registry_url.as_deref(), Some("registry.k8s.io"));
    assert_eq!(rule("other").upstream_repository_prefix.as_deref(), Some("shared"));
    assert_eq!(rule("other").custom_role_arn, Some(role("ecr-custom")));

    let described = stack.ecr.describe_repository_creation_templates().prefixes("docker-hub").send().await.unwrap();
    let template = described.repository_creation_templates.unwrap().remove(0);
    assert_eq!(template.image_tag_mutability, Some(sdk::ImageTagMutability::ImmutableWithExclusion));
    assert_eq!(template.image_tag_mutability_exclusion_filters.unwrap().len(), 2);
    assert_eq!(template.encryption_configuration.unwrap().encryption_type, sdk::EncryptionType::Kms);
    assert!(template.lifecycle_policy.unwrap().contains("untagged"));
    assert_eq!(template.resource_tags.unwrap()[0].key, "team");
    assert!(templates(&stack).await.contains(&"ROOT".to_owned()));

    assert_eq!(blob_mounting(&stack).await, "ENABLED");
    assert_eq!(signing(&stack).await[0].signing_profile_arn, PROFILE);
    assert_eq!(exclusions(&stack).await, [role("mirror")]);

    let status = registry.status.clone().unwrap();
    assert!(status.settings.iter().all(|part| part.ready && part.reason == "Succeeded"), "{:?}", status.settings);
    assert!(part(&registry, "scanning").message.contains("ENHANCED with 2 rules"));
    assert!(part(&registry, "pullThroughCacheRules").entries.iter().all(|rule| rule.created));
    assert_eq!(part(&registry, "blobMounting").message, "ENABLED");
    assert!(message(&registry).contains("as the spec says: scanning, replication"), "{}", message(&registry));

    eventually("an event tells what was changed", || async {
        let events: Api<Event> = Api::namespaced(Client::try_default().await.unwrap(), "default");
        let about = format!("involvedObject.name={name},reason=SettingsChanged");
        let events = events.list(&ListParams::default().fields(&about)).await.unwrap();
        let said = |it: &Event| it.message.as_ref().is_some_and(|it| it.contains("change scanning from BASIC"));
        events.iter().any(said).then_some(())
    })
    .await;
    finish(&stack, &name).await;
    assert_eq!(blob_mounting(&stack).await, "ENABLED", "deleting the object changes nothing in AWS");
    assert_eq!(cache_rules(&stack).await.len(), 3);
}

#[tokio::test]
async fn what_is_changed_by_hand_is_changed_back() {
    let (stack, _turn) = untouched().await;
    let name = unique("settings");
    apply(&stack, &name, &complete()).await;
    ready(&stack, &name).await;

    let ecr = &stack.ecr;
    ecr.put_account_setting().name("BLOB_MOUNTING").value("DISABLED").send().await.unwrap();
    ecr.put_registry_scanning_configuration().scan_type(ScanType::Basic).set_rules(Some(vec![])).send().await.unwrap();
    ecr.delete_registry_policy().send().await.unwrap();
    ecr.delete_signing_configuration().send().await.unwrap();
    ecr.deregister_pull_time_update_exclusion().principal_arn(role("mirror")).send().await.unwrap();
    let by_hand = secret("by-hand");
    let update = ecr.update_pull_through_cache_rule().ecr_repository_prefix("docker-hub").credential_arn(by_hand);
    update.send().await.unwrap();
    ecr.delete_pull_through_cache_rule().ecr_repository_prefix("k8s").send().await.unwrap();
    let update = ecr.update_repository_creation_template().prefix("docker-hub").description("by hand");
    update.send().await.unwrap();
    ecr.register_pull_time_update_exclusion().principal_arn(role("others")).send().await.unwrap();

    eventually("everything is back", || async {
        let described = ecr.describe_repository_creation_templates().prefixes("docker-hub").send().await.unwrap();
        let description = described.repository_creation_templates.unwrap().remove(0).description;
        let rules = cache_rules(&stack).await;
        (blob_mounting(&stack).await == "ENABLED"
            && policy(&stack).await.is_some()
            && signing(&stack).await.len() == 1
            && exclusions(&stack).await.contains(&role("mirror"))
            && rules.contains(&("docker-hub".into(), Some(secret("hub"))))
            && rules.contains(&("k8s".into(), None))
            && description.as_deref() == Some("what comes from Docker Hub"))
        .then_some(())
    })
    .await;
    assert!(exclusions(&stack).await.contains(&role("others")), "what others made stays");
    finish(&stack, &name).await;
}

/// The calls so far that concern settings, by action.
async fn calls(stack: &Stack) -> Value {
    stack.calls("AWS_CONTROL_URL").await["api"].clone()
}

fn since(before: &Value, after: &Value, action: &str) -> u64 {
    after[action].as_u64().unwrap_or(0) - before[action].as_u64().unwrap_or(0)
}

#[tokio::test]
async fn a_look_is_one_call_for_each_part_and_an_unchanged_registry_gets_no_other() {
    let (stack, _turn) = untouched().await;
    let name = unique("settings");
    apply(&stack, &name, &complete()).await;
    ready(&stack, &name).await;
    // What the first look wrote may bring one more.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let (before, version) = (calls(&stack).await, ready(&stack, &name).await.resource_version());
    let after = eventually("it was looked at three times", || async {
        let now = calls(&stack).await;
        (since(&before, &now, "ListPullTimeUpdateExclusions") >= 3).then_some(now)
    })
    .await;
    let looks = since(&before, &after, "ListPullTimeUpdateExclusions");
    for action in [
        "GetRegistryScanningConfiguration",
        "DescribeRegistry",
        "GetRegistryPolicy",
        "DescribePullThroughCacheRules",
        "DescribeRepositoryCreationTemplates",
        "GetSigningConfiguration",
    ] {
        let made = since(&before, &after, action);
        assert!(made == looks || made == looks + 1, "{action}: {made} in {looks} looks");
    }
    for action in after.as_object().unwrap().keys() {
        let is_change =
            ["Put", "Update", "Delete", "Register", "Deregister"].iter().any(|verb| action.starts_with(verb))
                || action.starts_with("CreatePull")
                || action.starts_with("CreateRepositoryCreation");
        // What is about repositories is of other tests.
        let of_repositories = ["Lifecycle", "Image", "RepositoryPolicy"].iter().any(|part| action.contains(part));
        let concerns_settings = !of_repositories && !action.ends_with("Repository");
        assert!(!(is_change && concerns_settings && since(&before, &after, action) > 0), "{action}");
    }
    assert_eq!(ready(&stack, &name).await.resource_version(), version, "and nothing is written to the API server");
    finish(&stack, &name).await;
}

#[tokio::test]
async fn parts_that_are_not_in_the_spec_cost_no_call() {
    let (stack, _turn) = untouched().await;
    let name = unique("settings");
    let before = calls(&stack).await;
    apply(&stack, &name, "{blobMounting: Enabled}").await;
    ready(&stack, &name).await;
    let after = calls(&stack).await;
    assert!(since(&before, &after, "PutAccountSetting") == 1 && since(&before, &after, "GetAccountSetting") >= 1);
    for action in [
        "GetRegistryScanningConfiguration",
        "DescribeRegistry",
        "GetRegistryPolicy",
        "DescribePullThroughCacheRules",
        "DescribeRepositoryCreationTemplates",
        "GetSigningConfiguration",
        "ListPullTimeUpdateExclusions",
    ] {
        assert_eq!(since(&before, &after, action), 0, "{action}");
    }
    finish(&stack, &name).await;
}

#[tokio::test]
async fn what_leaves_the_spec_goes_if_it_was_made_here_and_else_stays_as_it_is() {
    let (stack, _turn) = untouched().await;
    let ecr = &stack.ecr;
    let found = ecr.create_pull_through_cache_rule().ecr_repository_prefix("quay").upstream_registry_url("quay.io");
    found.upstream_registry(sdk::UpstreamRegistry::Quay).send().await.unwrap();
    ecr.register_pull_time_update_exclusion().principal_arn(role("found")).send().await.unwrap();
    let name = unique("settings");
    let with_found = complete()
        .replace(
            "- {ecrRepositoryPrefix: k8s,",
            "- {ecrRepositoryPrefix: quay, upstreamRegistry: quay}\n- {ecrRepositoryPrefix: k8s,",
        )
        .replace("pullTimeUpdateExclusions: [", &format!("pullTimeUpdateExclusions: ['{}', ", role("found")));
    apply(&stack, &name, &with_found).await;
    let registry = ready(&stack, &name).await;
    let rules = part(&registry, "pullThroughCacheRules").entries;
    let quay = rules.iter().find(|rule| rule.name == "quay").unwrap();
    assert!(!quay.created && rules.iter().filter(|rule| rule.created).count() == 3, "{rules:?}");

    apply(&stack, &name, "{blobMounting: Enabled}").await;
    let registry = ready(&stack, &name).await;
    assert_eq!(registry.status.unwrap().settings.len(), 1, "what is handed back is forgotten");
    assert_eq!(policy(&stack).await, None);
    assert!(signing(&stack).await.is_empty());
    assert_eq!(templates(&stack).await, Vec::<String>::new());
    assert_eq!(cache_rules(&stack).await, [("quay".into(), None)], "it was there before");
    assert_eq!(exclusions(&stack).await, [role("found")], "it was there before");
    assert_eq!(replication(&stack).await.len(), 1, "what can't be taken away stays");
    let scanning = ecr.get_registry_scanning_configuration().send().await.unwrap().scanning_configuration.unwrap();
    assert_eq!(scanning.scan_type, Some(ScanType::Enhanced), "what can't be taken away stays");

    // Neither in the spec nor held: what is changed now is somebody else's.
    ecr.put_registry_policy().policy_text(OTHERS_POLICY).send().await.unwrap();
    apply(&stack, &name, "{blobMounting: Disabled}").await;
    ready(&stack, &name).await;
    assert!(policy(&stack).await.is_some());
    finish(&stack, &name).await;
}

const OTHERS_POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"others","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::333333333333:root"},"Action":["ecr:ReplicateImage"],"Resource":["arn:aws:ecr:eu-west-1:123456789012:repository/*"]}]}"#;

#[tokio::test]
async fn a_policy_that_was_there_before_is_replaced_in_so_many_words_and_stays_when_the_part_goes() {
    let (stack, _turn) = untouched().await;
    stack.ecr.put_registry_policy().policy_text(OTHERS_POLICY).send().await.unwrap();
    let name = unique("settings");
    apply(&stack, &name, "{policy: {grants: [{principals: ['222222222222'], permissions: Replicate}]}}").await;
    let registry = ready(&stack, &name).await;
    assert!(!part(&registry, "policy").created);
    assert!(policy(&stack).await.unwrap().to_string().contains("222222222222"));
    eventually("an event tells what the policy was", || async {
        let events: Api<Event> = Api::namespaced(stack.client.clone(), "default");
        let about = format!("involvedObject.name={name},reason=SettingsChanged");
        let events = events.list(&ListParams::default().fields(&about)).await.unwrap();
        events.iter().any(|it| it.message.as_ref().is_some_and(|it| it.contains("333333333333"))).then_some(())
    })
    .await;
    apply(&stack, &name, "{blobMounting: Disabled}").await;
    ready(&stack, &name).await;
    assert!(policy(&stack).await.is_some());
    finish(&stack, &name).await;
}

#[tokio::test]
async fn a_rule_that_somebody_else_made_otherwise_is_refused_and_the_rest_goes_on() {
    let (stack, _turn) = untouched().await;
    let ecr = &stack.ecr;
    let others = ecr.create_pull_through_cache_rule().ecr_repository_prefix("docker-hub");
    let others =
        others.upstream_registry_url("registry-1.docker.io").upstream_registry(sdk::UpstreamRegistry::DockerHub);
    others.credential_arn(secret("others")).send().await.unwrap();
    let template = ecr.create_repository_creation_template().prefix("ROOT").description("others");
    template.applied_for(sdk::RctAppliedFor::Replication).send().await.unwrap();
    let name = unique("settings");
    apply(&stack, &name, &complete()).await;
    let registry = refused(&stack, &name, "AdoptionRefused").await;
    assert!(is_stalled(&registry));
    let words = message(&registry);
    for word in ["spec.settings.pullThroughCacheRules", "docker-hub", &secret("others"), "creationTemplates", "ROOT"] {
        assert!(words.contains(word), "{word}: {words}");
    }
    assert!(!part(&registry, "creationTemplates").ready && part(&registry, "scanning").ready);
    let rules = cache_rules(&stack).await;
    assert!(rules.contains(&("docker-hub".into(), Some(secret("others")))), "it is not touched: {rules:?}");
    assert!(rules.contains(&("k8s".into(), None)), "the others are made: {rules:?}");
    assert_eq!(blob_mounting(&stack).await, "ENABLED");

    // Somebody deletes what was in the way.
    ecr.delete_pull_through_cache_rule().ecr_repository_prefix("docker-hub").send().await.unwrap();
    ecr.delete_repository_creation_template().prefix("ROOT").send().await.unwrap();
    ready(&stack, &name).await;
    assert!(cache_rules(&stack).await.contains(&("docker-hub".into(), Some(secret("hub")))));
    finish(&stack, &name).await;
}

#[tokio::test]
async fn what_ecr_can_not_change_of_a_rule_is_said_and_never_done_by_making_it_anew() {
    let (stack, _turn) = untouched().await;
    let name = unique("settings");
    apply(&stack, &name, "{pullThroughCacheRules: [{ecrRepositoryPrefix: cache, upstreamRegistry: k8s}]}").await;
    ready(&stack, &name).await;
    let made = stack.ecr.describe_pull_through_cache_rules().send().await.unwrap().pull_through_cache_rules.unwrap();
    apply(&stack, &name, "{pullThroughCacheRules: [{ecrRepositoryPrefix: cache, upstreamRegistry: quay}]}").await;
    let registry = refused(&stack, &name, "ImmutableField").await;
    assert!(is_stalled(&registry));
    let words = message(&registry);
    assert!(words.contains("upstreamRegistry") && words.contains("registry.k8s.io"), "{words}");
    let now = stack.ecr.describe_pull_through_cache_rules().send().await.unwrap().pull_through_cache_rules.unwrap();
    assert_eq!(now, made);

    // As the message says: out of the spec, and in again.
    apply(&stack, &name, "{pullThroughCacheRules: []}").await;
    ready(&stack, &name).await;
    assert!(cache_rules(&stack).await.is_empty());
    apply(&stack, &name, "{pullThroughCacheRules: [{ecrRepositoryPrefix: cache, upstreamRegistry: quay}]}").await;
    ready(&stack, &name).await;
    finish(&stack, &name).await;
}

#[tokio::test]
async fn of_two_objects_for_one_registry_the_older_manages_and_the_newer_says_so() {
    let (stack, _turn) = untouched().await;
    let (older, newer) = (unique("older"), unique("newer"));
    apply(&stack, &older, "{blobMounting: Enabled}").await;
    ready(&stack, &older).await;
    // Age is told in seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    apply(&stack, &newer, "{blobMounting: Disabled}").await;
    let registry = refused(&stack, &newer, "OwnedByAnother").await;
    assert!(is_stalled(&registry) && message(&registry).contains(&older), "{}", message(&registry));
    assert_eq!(registry.status.unwrap().account_id, Some(env("AWS_ACCOUNT_ID")), "it can be used all the same");
    ready(&stack, &older).await;
    assert_eq!(blob_mounting(&stack).await, "ENABLED");
    finish(&stack, &older).await;
    ready(&stack, &newer).await;
    assert_eq!(blob_mounting(&stack).await, "DISABLED");
    finish(&stack, &newer).await;
}
