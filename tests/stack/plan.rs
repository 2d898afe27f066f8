//! `ecr-operator plan` and `ecr-operator check`: what they say, and that they change nothing.

use ecr_operator::api::EcrRepository;
use serde_json::{Value, json};

use crate::registry_settings::TURN;
use crate::support::{Stack, ecr_operator, unique};

/// A directory with one manifest.
struct File(tempfile::TempDir);

impl File {
    fn of(manifest: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("all.yaml"), manifest).unwrap();
        Self(directory)
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }
}

fn repository(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: ecr-operator.io/v1alpha1\nkind: EcrRepository\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"
    )
}

#[tokio::test]
async fn a_plan_shows_what_would_be_created_and_creates_nothing() {
    let stack = Stack::connect().await;
    let namespace = unique("planned");
    let spec = "tagMutability: Immutable, access: [{principals: ['222222222222'], permissions: Pull}], lifecycle: {rules: [{untagged: {}, expireAfterDays: 7}]}, tags: {a: b}";
    let file = File::of(&repository(&namespace, "api", spec));
    let ran = ecr_operator(&["plan", "-f", file.path()]).await;
    assert_eq!(ran.code, Some(2), "{}{}", ran.out, ran.err);
    for words in [
        "+ create the repository",
        "tag mutability: Immutable",
        "tag a: b",
        "+ set the lifecycle policy",
        "+ set the repository policy",
        "allow Pull to 222222222222",
        "1 to create, 0 to change, 0 to delete, 0 unchanged, 0 refused",
    ] {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
    assert!(!stack.repository_exists(&format!("{namespace}/api")).await);
    let json = ecr_operator(&["plan", "-f", file.path(), "-o", "json"]).await;
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["repositories"][0]["outcome"], "Create");
    assert_eq!(json["summary"]["create"], 1);
}

#[tokio::test]
async fn a_plan_after_the_operator_is_empty_and_shows_what_was_changed_by_hand() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("plan").await;
    let spec = "tagMutability: Immutable, access: [{principals: ['222222222222'], permissions: Pull}], tags: {a: b}";
    namespace.apply::<EcrRepository>("api", &format!("{{{spec}}}")).await;
    namespace.ready::<EcrRepository>("api").await;
    let name = format!("{}/api", namespace.name);
    let file = File::of(&repository(&namespace.name, "api", spec));
    let ran = ecr_operator(&["plan", "-f", file.path()]).await;
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (Some(0), "0 to create, 0 to change, 0 to delete, 1 unchanged, 0 refused\n")
    );

    let wider = spec.replace("'222222222222'", "'222222222222', '333333333333'").replace("a: b", "a: c");
    let changed = File::of(&repository(&namespace.name, "api", &wider));
    let ran = ecr_operator(&["plan", "-f", changed.path()]).await;
    assert_eq!(ran.code, Some(2));
    assert!(ran.out.contains("~ allow Pull: + 333333333333") && ran.out.contains("~ a: b -> c"), "{}", ran.out);

    // What leaves the spec is known from the manifests as they are.
    let less = File::of(&repository(&namespace.name, "api", "tagMutability: Immutable"));
    let ran = ecr_operator(&["plan", "-f", less.path(), "--base", file.path()]).await;
    assert!(ran.out.contains("- delete the repository policy") && ran.out.contains("- a\n"), "{}", ran.out);
    let ran = ecr_operator(&["plan", "-f", less.path()]).await;
    assert!(ran.out.contains("give the present manifests with --base"), "{}", ran.out);

    let other = File::of(&repository(&namespace.name, "other", &format!("repositoryName: {name}")));
    let ran = ecr_operator(&["plan", "-f", other.path()]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.out.contains("! refused (OwnedByAnother)"), "{}", ran.out);
    let ran = ecr_operator(&["plan", "-f", file.path(), "--cluster", "another"]).await;
    assert!(ran.out.contains("! refused (OwnedByAnother)"), "{}", ran.out);
    namespace.cleanup().await;
}

#[tokio::test]
async fn an_object_that_leaves_the_files_does_what_its_deletion_policy_says() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("leaves").await;
    let spec = "deletionPolicy: DeleteWithImages";
    namespace.apply::<EcrRepository>("api", &format!("{{{spec}}}")).await;
    namespace.apply::<EcrRepository>("kept", "{}").await;
    namespace.ready::<EcrRepository>("api").await;
    namespace.ready::<EcrRepository>("kept").await;
    let base = File::of(&(repository(&namespace.name, "api", spec) + &repository(&namespace.name, "kept", "")));
    let now = File::of("---\napiVersion: v1\nkind: Namespace\nmetadata: {name: nothing}\n");
    let ran = ecr_operator(&["plan", "-f", now.path(), "--base", base.path()]).await;
    assert_eq!(ran.code, Some(2), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("- delete the repository, which has no images"), "{}", ran.out);
    assert!(ran.out.contains("keep the repository and remove its owner tags: deletionPolicy is Retain"), "{}", ran.out);
    assert!(stack.repository_exists(&format!("{}/api", namespace.name)).await);
    namespace.delete::<EcrRepository>("api").await;
    namespace.gone::<EcrRepository>("api").await;
    namespace.cleanup().await;
}

#[tokio::test]
async fn what_the_api_server_would_refuse_is_an_error_of_the_plan() {
    let file = File::of(&repository("x", "api", "tagMutability: Sometimes"));
    let ran = ecr_operator(&["plan", "-f", file.path()]).await;
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    assert!(ran.err.contains("EcrRepository x/api: spec.tagMutability: Unsupported value"), "{}", ran.err);
    let (old, new) = ("repositoryName: a/b", "repositoryName: a/c");
    let (old, new) = (File::of(&repository("x", "api", old)), File::of(&repository("x", "api", new)));
    let ran = ecr_operator(&["plan", "-f", new.path(), "--base", old.path()]).await;
    assert!(ran.code == Some(1) && ran.err.contains("repositoryName is fixed once set"), "{}", ran.err);
}

#[tokio::test]
async fn a_check_tells_what_iam_denies_and_for_what_it_is_needed() {
    let stack = Stack::connect().await;
    let namespace = unique("checked");
    let file = File::of(&repository(
        &namespace,
        "api",
        "deletionPolicy: Delete, lifecycle: {rules: [{any: {}, keepLast: 3}]}, access: [{principals: ['222222222222'], permissions: Pull}]",
    ));
    let ran = ecr_operator(&["check", "-f", file.path()]).await;
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("0 denied, 0 unknown"), "{}", ran.out);

    let fault = json!({
        "target": "api", "action": "SetRepositoryPolicy", "request": namespace, "times": 0,
        "status": 400, "code": "AccessDeniedException", "message": "is not authorized to perform: ecr:SetRepositoryPolicy",
    });
    let fault = stack.fault("AWS_CONTROL_URL", fault).await;
    let ran = ecr_operator(&["check", "-f", file.path()]).await;
    fault.remove().await;
    assert_eq!(ran.code, Some(2), "{}", ran.out);
    let denied: Vec<_> = ran.out.lines().filter(|line| line.starts_with("denied")).collect();
    assert_eq!(denied.len(), 1, "{}", ran.out);
    assert!(denied[0].contains("ecr:SetRepositoryPolicy") && denied[0].contains("api (spec.access)"), "{}", denied[0]);

    let left = stack.ecr.describe_repositories().into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    let left: Vec<_> = left.unwrap().into_iter().filter_map(|it| it.repository_name).collect();
    assert!(!left.iter().any(|name| name.contains("ecr-operator-check")), "{left:?}");
}

#[tokio::test]
async fn the_policy_that_check_prints_needs_no_aws() {
    let file = File::of(&repository("x", "api", "scanOnPush: true"));
    let ran = ecr_operator(&["check", "-f", file.path(), "--policy"]).await;
    let policy: Value = serde_json::from_str(&ran.out).unwrap();
    assert!(policy.to_string().contains("ecr:PutImageScanningConfiguration"), "{policy}");
    assert!(!policy.to_string().contains("ecr:PutLifecyclePolicy"), "{policy}");
}

/// A client of the registry of another region, where no test changes settings.
fn elsewhere() -> aws_sdk_ecr::config::Builder {
    aws_sdk_ecr::config::Builder::new().region(aws_sdk_ecr::config::Region::new("ap-south-1"))
}

fn registry(settings: &str) -> File {
    File::of(&format!(
        "---\napiVersion: ecr-operator.io/v1alpha1\nkind: EcrRegistry\nmetadata: {{name: elsewhere}}\nspec: {{region: ap-south-1, settings: {{{settings}}}}}\n"
    ))
}

#[tokio::test]
async fn a_plan_shows_what_would_change_in_the_settings_of_a_registry_and_changes_nothing() {
    let _turn = TURN.lock().await;
    let stack = Stack::connect().await;
    let prefix = unique("planned");
    let rule = |upstream: &str| {
        format!("pullThroughCacheRules: [{{ecrRepositoryPrefix: {prefix}, upstreamRegistry: {upstream}}}]")
    };
    let ours = format!("blobMounting: Enabled, scanning: {{type: ENHANCED}}, {}", rule("k8s"));
    let ours = registry(&ours);
    let ran = ecr_operator(&["plan", "-f", ours.path()]).await;
    assert_eq!(ran.code, Some(2), "{}{}", ran.out, ran.err);
    for words in [
        "EcrRegistry elsewhere: ",
        "~ spec.settings.scanning: change scanning\n      from: BASIC without rules\n      to: ENHANCED without rules",
        "~ spec.settings.blobMounting: change BLOB_MOUNTING from DISABLED to ENABLED",
        "0 to create, 1 to change, 0 to delete, 0 unchanged, 0 refused",
    ] {
        assert!(ran.out.contains(words), "{words}: {}", ran.out);
    }
    let created = format!("+ spec.settings.pullThroughCacheRules: create pull-through-cache rule {prefix}");
    assert!(ran.out.contains(&created), "{}", ran.out);
    let mounting = stack.ecr.get_account_setting().name("BLOB_MOUNTING").customize().config_override(elsewhere());
    assert_eq!(mounting.send().await.unwrap().value.as_deref(), Some("DISABLED"));
    let rules = stack.ecr.describe_pull_through_cache_rules().customize().config_override(elsewhere());
    let rules = rules.send().await.unwrap().pull_through_cache_rules.unwrap_or_default();
    assert!(!rules.iter().any(|it| it.ecr_repository_prefix.as_deref() == Some(&prefix)), "{rules:?}");

    let json = ecr_operator(&["plan", "-f", ours.path(), "-o", "json"]).await;
    let json: Value = serde_json::from_str(&json.out).unwrap();
    let entry = &json["registries"][0];
    assert_eq!((entry["object"].as_str(), entry["outcome"].as_str()), (Some("EcrRegistry elsewhere"), Some("Change")));
    assert_eq!((&json["repositories"], &json["summary"]["change"]), (&json!([]), &json!(1)));

    // The rule is there now, as one spec says and not as the other does.
    let make = stack.ecr.create_pull_through_cache_rule().ecr_repository_prefix(&prefix);
    let make =
        make.upstream_registry(aws_sdk_ecr::types::UpstreamRegistry::K8s).upstream_registry_url("registry.k8s.io");
    make.customize().config_override(elsewhere()).send().await.unwrap();
    let (same, other, none) = (registry(&rule("k8s")), registry(&rule("quay")), registry(""));
    let ran = ecr_operator(&["plan", "-f", same.path()]).await;
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("so adopted") && ran.out.contains(&prefix), "{}", ran.out);
    let ran = ecr_operator(&["plan", "-f", other.path()]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.out.contains("! refused (AdoptionRefused): spec.settings.pullThroughCacheRules: "), "{}", ran.out);
    let ran = ecr_operator(&["plan", "-f", other.path(), "--base", same.path()]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.out.contains("! refused (ImmutableField)"), "{}", ran.out);
    let ran = ecr_operator(&["plan", "-f", none.path(), "--base", same.path()]).await;
    assert_eq!(ran.code, Some(2));
    assert!(ran.out.contains(&format!("delete pull-through-cache rule {prefix}, which is no longer")), "{}", ran.out);

    // Without the object nothing goes.
    let nothing = File::of("---\napiVersion: v1\nkind: Namespace\nmetadata: {name: nothing}\n");
    let ran = ecr_operator(&["plan", "-f", nothing.path(), "--base", same.path()]).await;
    assert_eq!(ran.code, Some(0));
    assert!(ran.out.contains("the object goes, and nothing changes in ECR"), "{}", ran.out);
    let gone = stack.ecr.delete_pull_through_cache_rule().ecr_repository_prefix(&prefix);
    gone.customize().config_override(elsewhere()).send().await.unwrap();
}
