//! The table against the code that calls AWS, and against the policies that users are given.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::*;

/// What the table says for these kinds and fields.
fn actions(of: impl Fn(&Feature) -> bool) -> BTreeSet<&'static str> {
    TABLE.iter().filter(|feature| of(feature)).flat_map(|feature| feature.actions).copied().collect()
}

fn is_core(feature: &Feature) -> bool {
    !feature.field.starts_with("spec.settings")
        && !feature.field.starts_with("spec.pullRole")
        && feature.field != "spec.encryption.kmsKey"
        && feature.field != "spec.prune"
}

/// The actions of a policy in `docs/iam`, each with the kind of thing that its resource names.
fn shipped(file: &str) -> BTreeSet<String> {
    let path = format!("{}/docs/iam/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect(&path);
    let policy: Value = serde_json::from_str(&text).expect(&path);
    let mut all = BTreeSet::new();
    for statement in policy["Statement"].as_array().expect("statements") {
        assert_eq!(statement["Effect"], "Allow", "{file}");
        let list = match &statement["Action"] {
            Value::Array(list) => list.clone(),
            one => vec![one.clone()],
        };
        for action in list {
            let action = action.as_str().expect("text").to_owned();
            assert!(!action.contains('*'), "{file}: {action} is not enumerated");
            let resource = statement["Resource"].as_str().expect("one resource");
            let expected = match scope(&action) {
                ActionScope::Registry => "*",
                ActionScope::Repository => "arn:aws:ecr:*:*:repository/*",
                ActionScope::ServiceLinkedRole => "arn:aws:iam::*:role/aws-service-role/*",
                ActionScope::PassedRole => "arn:aws:iam::*:role/*",
                ActionScope::AssumedRole => "arn:aws:iam::123456789012:role/ecr-pull",
                ActionScope::Key => "arn:aws:kms:*:*:key/*",
            };
            assert_eq!(resource, expected, "{file}: the resource of {action}");
            assert!(all.insert(action.clone()), "{file}: {action} is there twice");
        }
    }
    all
}

fn assert_ships(file: &str, wanted: &BTreeSet<&str>) {
    let shipped = shipped(file);
    let wanted: BTreeSet<String> = wanted.iter().map(ToString::to_string).collect();
    assert_eq!(shipped, wanted, "docs/iam/{file} and the table");
}

#[test]
fn the_core_policy_is_what_the_table_says_and_has_no_more_than_25_actions() {
    let core = actions(is_core);
    assert!(core.len() <= 25, "{} actions", core.len());
    assert_ships("operator-policy.json", &core);
}

#[test]
fn registry_settings_and_keys_have_policies_of_their_own() {
    assert_ships("registry-settings-policy.json", &actions(|feature| feature.field.starts_with("spec.settings")));
    assert_ships("kms-policy.json", &actions(|feature| feature.field == "spec.encryption.kmsKey"));
    // The operator's configuration asks for these, and no object.
    assert_ships("ecr-public-policy.json", &["ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken"].into());
    assert_ships("prune-policy.json", &actions(|feature| feature.field == "spec.prune"));
}

#[test]
fn the_policy_for_observing_allows_what_reads_and_no_change() {
    let observing = |feature: &Feature| !feature.changes && !feature.field.starts_with("spec.pullRole");
    assert_ships("observe-policy.json", &actions(observing));
}

#[test]
fn the_policy_for_pulling_allows_a_token_and_pulling() {
    let pulling = [
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:GetAuthorizationToken",
        "ecr:GetDownloadUrlForLayer",
    ];
    assert_ships("pull-only-policy.json", &pulling.into());
}

#[test]
fn the_policy_for_pipelines_that_plan_is_that_for_observing_and_counts_images() {
    let mut planning = shipped("observe-policy.json");
    assert!(planning.insert("ecr:ListImages".to_owned()), "observing does not count images");
    assert_eq!(shipped("plan-policy.json"), planning);
}

#[test]
fn the_policy_for_pipelines_that_push_allows_a_token_and_what_mirrors_push_with() {
    let mut pushing = actions(|feature| feature.kind == "ImageMirror" && feature.field == "spec.destinations");
    pushing.insert("ecr:GetAuthorizationToken");
    assert_ships("push-policy.json", &pushing);
}

#[test]
fn pull_roles_have_a_policy_of_their_own() {
    assert_ships("assume-pull-role-policy.json", &actions(|feature| feature.field.starts_with("spec.pullRole")));
}

#[test]
fn a_pull_role_is_named_in_the_policy_and_tags_only_where_there_are_some() {
    let arn = "arn:aws:iam::123456789012:role/pull";
    let policy = |pull_role: Value| {
        let registry = json!({"kind": "EcrRegistry", "metadata": {"name": "default"}, "spec": {"region": "eu-west-1", "pullRole": pull_role}});
        let statements = policy_for(&needs(&registry))["Statement"].as_array().cloned().unwrap_or_default();
        statements.into_iter().find(|statement| statement["Sid"] == "PullRoles").expect("a statement")
    };
    let plain = policy(json!({"roleArn": arn}));
    assert_eq!((&plain["Action"], &plain["Resource"]), (&json!(["sts:AssumeRole"]), &json!([arn])));
    let tagged = policy(json!({"roleArn": arn, "sessionTags": {"cluster": "{cluster}"}}));
    assert_eq!(tagged["Action"], json!(["sts:AssumeRole", "sts:TagSession"]));
}

#[test]
fn every_call_in_the_code_is_in_the_table() {
    let known = actions(|_| true);
    let mut found = BTreeSet::new();
    calls_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ecr"), &mut found);
    assert!(found.len() > 10, "the source was not read: {found:?}");
    for action in found {
        assert!(known.contains(action.as_str()), "{action} is called and not in the table");
    }
}

/// Operations that errors name, such as "ecr:CreateRepository". Policies know names of theirs.
fn calls_below(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            if !entry.ends_with("policy") {
                calls_below(&entry, found);
            }
            continue;
        }
        let text = std::fs::read_to_string(&entry).expect("source");
        let names = text.split('"').filter(|word| {
            word.strip_prefix("ecr:")
                .is_some_and(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        });
        found.extend(names.map(str::to_owned));
    }
}

fn wanted(object: Value) -> BTreeSet<(String, String)> {
    needs(&object).into_iter().map(|need| (need.action.to_owned(), need.field)).collect()
}

fn repository(spec: Value) -> Value {
    json!({"kind": "EcrRepository", "metadata": {"name": "api", "namespace": "team-a"}, "spec": spec})
}

fn has(all: &BTreeSet<(String, String)>, action: &str, field: &str) -> bool {
    all.contains(&(action.to_owned(), field.to_owned()))
}

#[test]
fn a_repository_needs_what_its_fields_need() {
    let plain = wanted(repository(json!({})));
    assert!(has(&plain, "ecr:CreateRepository", "spec") && has(&plain, "ecr:GetRepositoryPolicy", "spec.adoption"));
    assert!(!plain.iter().any(|(action, _)| action.contains("Delete") || action.contains("PutImage")), "{plain:?}");
    let full = wanted(repository(json!({
        "lifecycle": {"rules": []}, "access": [], "scanOnPush": false, "deletionPolicy": "Delete", "adoption": "Never",
        "encryption": {"type": "KMS", "kmsKey": "alias/x"},
    })));
    for (action, field) in [
        ("ecr:PutLifecyclePolicy", "spec.lifecycle"),
        ("ecr:SetRepositoryPolicy", "spec.access"),
        ("ecr:PutImageScanningConfiguration", "spec.scanOnPush"),
        ("ecr:ListImages", "spec.deletionPolicy"),
        ("kms:CreateGrant", "spec.encryption.kmsKey"),
    ] {
        assert!(has(&full, action, field), "{action} {field}");
    }
    assert!(!full.iter().any(|(_, field)| field == "spec.adoption"));
}

#[test]
fn an_object_that_observes_needs_nothing_that_changes() {
    let observes = repository(json!({"managementPolicy": "Observe", "scanOnPush": true, "lifecycle": {}}));
    for need in needs(&observes) {
        let verb = need.action.strip_prefix("ecr:").expect("ECR");
        assert!(["Describe", "Get", "List", "Start"].iter().any(|word| verb.starts_with(word)), "{verb}");
    }
}

#[test]
fn a_mirror_needs_pushing_and_what_its_repositories_need() {
    let mirror = json!({"kind": "ImageMirror", "metadata": {"name": "nginx", "namespace": "team-a"}, "spec": {
        "source": {"image": "nginx"},
        "destinations": [
            {"repository": {"scanOnPush": true}},
            {"registryRef": {"name": "us"}, "repositoryName": "mirror/nginx", "createRepository": false},
        ],
    }});
    let all = needs(&mirror);
    let find = |action: &str, registry: &str| {
        all.iter().find(|need| need.action == action && need.registry == registry).cloned()
    };
    assert_eq!(
        find("ecr:PutImage", "default").and_then(|need| need.repository).as_deref(),
        Some("docker.io/library/nginx")
    );
    assert_eq!(
        find("ecr:PutImageScanningConfiguration", "default").map(|need| need.field).as_deref(),
        Some("spec.destinations[0].repository.scanOnPush")
    );
    assert_eq!(find("ecr:PutImage", "us").and_then(|need| need.repository).as_deref(), Some("mirror/nginx"));
    assert_eq!(find("ecr:CreateRepository", "us"), None);
}

#[test]
fn a_registry_needs_what_its_settings_need() {
    let registry = |settings: Value| {
        wanted(
            json!({"kind": "EcrRegistry", "metadata": {"name": "default"}, "spec": {"region": "eu-west-1", "settings": settings}}),
        )
    };
    assert_eq!(registry(json!({})).len(), 1);
    let cache = registry(json!({"pullThroughCacheRules": [{"customRoleArn": "x"}, {}]}));
    assert!(has(&cache, "iam:PassRole", "spec.settings.pullThroughCacheRules[].customRoleArn"));
    assert!(!has(&cache, "iam:CreateServiceLinkedRole", "spec.settings.pullThroughCacheRules[].credentialArn"));
    let scanning = |kind: &str| registry(json!({"scanning": {"type": kind}})).len();
    assert!(scanning("ENHANCED") > scanning("BASIC"));
}

#[test]
fn the_policy_for_objects_names_their_repositories() {
    let policy = policy_for(&needs(&repository(json!({"repositoryName": "team-a/api"}))));
    let statements = policy["Statement"].as_array().cloned().unwrap_or_default();
    let create = statements.iter().find(|statement| {
        statement["Action"].as_array().is_some_and(|list| list.contains(&json!("ecr:CreateRepository")))
    });
    assert_eq!(create.map(|statement| &statement["Resource"]), Some(&json!(["arn:aws:ecr:*:*:repository/team-a/api"])));
    let all: Vec<_> = statements.iter().filter(|it| it.to_string().contains("DescribeRepositories")).collect();
    assert_eq!(all.len(), 1, "listing is allowed once, on all of them");
}
