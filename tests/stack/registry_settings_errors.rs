//! What is told of settings that AWS refuses.

use serde_json::json;

use crate::registry_settings::{apply, apply_in, cache_rules, complete, finish, part, ready, refused, untouched};
use crate::support::{is_stalled, message, unique};

#[tokio::test]
async fn every_error_of_aws_says_which_part_and_what_to_do() {
    let (stack, _turn) = untouched().await;
    let name = unique("settings");
    let cases = [
        (
            "PutRegistryScanningConfiguration",
            400,
            "BlockedByOrganizationPolicyException",
            "AccessDenied",
            "organization policy",
        ),
        ("PutRegistryScanningConfiguration", 400, "InvalidParameterException", "InvalidParameter", "correct the spec"),
        ("GetRegistryScanningConfiguration", 400, "ValidationException", "InvalidParameter", "spec.settings.scanning"),
        ("DescribeRegistry", 400, "AccessDeniedException", "AccessDenied", "IAM policy"),
        ("PutReplicationConfiguration", 400, "ValidationException", "InvalidParameter", "spec.settings.replication"),
        ("PutRegistryPolicy", 400, "InvalidParameterException", "InvalidParameter", "spec.settings.policy"),
        ("CreatePullThroughCacheRule", 400, "LimitExceededException", "LimitExceeded", "higher quota"),
        ("CreatePullThroughCacheRule", 400, "SecretNotFoundException", "InvalidParameter", "create the secret"),
        (
            "CreatePullThroughCacheRule",
            400,
            "UnableToAccessSecretException",
            "InvalidParameter",
            "let ECR read the secret",
        ),
        ("CreatePullThroughCacheRule", 400, "UnableToDecryptSecretValueException", "InvalidParameter", "KMS key"),
        ("CreatePullThroughCacheRule", 400, "UnsupportedUpstreamRegistryException", "InvalidParameter", "use another"),
        (
            "CreatePullThroughCacheRule",
            400,
            "PullThroughCacheRuleAlreadyExistsException",
            "Retrying",
            "create pull-through-cache rule",
        ),
        ("DescribePullThroughCacheRules", 500, "ServerException", "Retrying", "spec.settings.pullThroughCacheRules"),
        ("CreateRepositoryCreationTemplate", 400, "LimitExceededException", "LimitExceeded", "higher quota"),
        (
            "CreateRepositoryCreationTemplate",
            400,
            "TemplateAlreadyExistsException",
            "Retrying",
            "create creation template",
        ),
        ("CreateRepositoryCreationTemplate", 400, "InvalidParameterException", "InvalidParameter", "creationTemplates"),
        ("PutAccountSetting", 400, "LimitExceededException", "LimitExceeded", "BLOB_MOUNTING"),
        ("GetAccountSetting", 400, "InvalidParameterException", "InvalidParameter", "spec.settings."),
        ("PutSigningConfiguration", 400, "ValidationException", "InvalidParameter", "spec.settings.signing"),
        ("RegisterPullTimeUpdateExclusion", 400, "LimitExceededException", "LimitExceeded", "mirror"),
        ("RegisterPullTimeUpdateExclusion", 400, "AccessDeniedException", "AccessDenied", "IAM policy"),
        ("ListPullTimeUpdateExclusions", 400, "ThrottlingException", "Throttled", "pullTimeUpdateExclusions"),
    ];
    // All faults in one registry would hide each other's reason: each case has a region of its own.
    let (stack, name) = (&stack, &name);
    let cases = cases.into_iter().enumerate().map(|(index, (action, status, code, reason, words))| async move {
        let region = format!("eu-settings-{index}");
        let fault = json!({"target": "api", "action": action, "region": region, "times": 0, "status": status,
            "code": code, "message": "AWS's words"});
        let fault = stack.fault("AWS_CONTROL_URL", fault).await;
        let object = format!("{name}-{index}");
        apply_in(stack, &region, &object, &complete().replace("eu-west-1", &region)).await;
        let registry = refused(stack, &object, reason).await;
        let told = message(&registry);
        for word in [code, "AWS's words", words, action] {
            assert!(told.contains(word), "{action}, {code}: {word} is missing: {told}");
        }
        assert_eq!(is_stalled(&registry), !matches!(reason, "Retrying" | "Throttled"), "{action}, {code}");
        let failed = registry.status.as_ref().unwrap().settings.iter().filter(|part| !part.ready).count();
        assert!((1..=3).contains(&failed), "the other parts go on: {told}");
        fault.remove().await;
        ready(stack, &object).await;
        finish(stack, &object).await;
    });
    futures::future::join_all(cases).await;
}

#[tokio::test]
async fn what_is_gone_already_counts_as_deleted() {
    let (stack, _turn) = untouched().await;
    let name = unique("settings");
    apply(&stack, &name, &complete()).await;
    ready(&stack, &name).await;
    let mut faults = Vec::new();
    for (action, code) in [
        ("DeleteRegistryPolicy", "RegistryPolicyNotFoundException"),
        ("DeleteSigningConfiguration", "SigningConfigurationNotFoundException"),
        ("DeletePullThroughCacheRule", "PullThroughCacheRuleNotFoundException"),
        ("DeleteRepositoryCreationTemplate", "TemplateNotFoundException"),
        ("DeregisterPullTimeUpdateExclusion", "ExclusionNotFoundException"),
    ] {
        let fault =
            json!({"target": "api", "action": action, "times": 0, "status": 400, "code": code, "message": "gone"});
        faults.push(stack.fault("AWS_CONTROL_URL", fault).await);
    }
    apply(&stack, &name, "{blobMounting: Enabled}").await;
    let registry = ready(&stack, &name).await;
    assert_eq!(registry.status.unwrap().settings.len(), 1);
    for fault in faults {
        fault.remove().await;
    }
    finish(&stack, &name).await;
}

#[tokio::test]
async fn what_can_not_be_deleted_yet_is_not_forgotten() {
    let (stack, _turn) = untouched().await;
    let name = unique("settings");
    apply(&stack, &name, "{pullThroughCacheRules: [{ecrRepositoryPrefix: k8s, upstreamRegistry: k8s}]}").await;
    ready(&stack, &name).await;
    let fault = json!({"target": "api", "action": "DeletePullThroughCacheRule", "times": 0, "status": 400,
        "code": "AccessDeniedException", "message": "no"});
    let fault = stack.fault("AWS_CONTROL_URL", fault).await;
    apply(&stack, &name, "{}").await;
    let registry = refused(&stack, &name, "AccessDenied").await;
    assert!(message(&registry).contains("delete pull-through-cache rule k8s"), "{}", message(&registry));
    assert!(part(&registry, "pullThroughCacheRules").entries[0].created);
    fault.remove().await;
    let registry = ready(&stack, &name).await;
    assert!(registry.status.unwrap().settings.is_empty() && cache_rules(&stack).await.is_empty());
    finish(&stack, &name).await;
}
