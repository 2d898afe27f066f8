//! What a spec asks for, and what it can't ask for.

use super::*;

fn place() -> Place {
    Place { account: "123456789012".into(), region: "eu-west-1".into() }
}

fn parts(yaml: &str) -> BTreeMap<Part, Result<Setting, Failure>> {
    let settings: RegistrySettings = serde_saphyr::from_str(yaml).expect("settings");
    desired(&settings, &place())
}

fn part(part: Part, yaml: &str) -> Result<Setting, Failure> {
    parts(yaml).remove(&part).expect("the part is there")
}

#[test]
fn only_the_parts_that_are_present_are_asked_for() {
    assert!(parts("{}").is_empty());
    assert_eq!(parts("blobMounting: Enabled").into_keys().collect::<Vec<_>>(), [Part::BlobMounting]);
    assert_eq!(parts("scanning: {type: BASIC}").into_keys().collect::<Vec<_>>(), [Part::Scanning]);
    let everything = "
scanning: {type: BASIC, basicScanTypeVersion: AWS_NATIVE, rules: [{frequency: SCAN_ON_PUSH, repositoryFilters: ['*']}]}
replication: {rules: [{destinations: [{region: eu-central-1}]}]}
policy: {scope: V2, grants: [{principals: ['222222222222'], permissions: Replicate}]}
pullThroughCacheRules: [{ecrRepositoryPrefix: k8s, upstreamRegistry: k8s}]
creationTemplates: [{prefix: ROOT, appliedFor: [CREATE_ON_PUSH]}]
blobMounting: Disabled
signing: {rules: [{signingProfileArn: 'arn:aws:signer:eu-west-1:123456789012:/signing-profiles/release'}]}
pullTimeUpdateExclusions: ['arn:aws:iam::123456789012:role/mirror']
";
    let parts = parts(everything);
    assert_eq!(parts.keys().copied().collect::<Vec<_>>(), Part::ALL);
    for (part, setting) in parts {
        assert!(setting.is_ok(), "{part}: {setting:?}");
    }
}

#[test]
fn a_destination_without_an_account_is_in_the_registrys_own() {
    let replication = part(Part::Replication, "replication: {rules: [{destinations: [{region: eu-central-1}]}]}");
    let Ok(Setting::Replication(replication)) = replication else { panic!("{replication:?}") };
    assert_eq!(replication.to_string(), "1 rule (all repositories to 123456789012 in eu-central-1)");
}

#[test]
fn a_registry_can_not_be_replicated_to_itself() {
    for yaml in [
        "replication: {rules: [{destinations: [{region: eu-west-1}]}]}",
        "replication: {rules: [{destinations: [{region: eu-central-1}, {region: eu-west-1, registryId: '123456789012'}]}]}",
    ] {
        let failure = part(Part::Replication, yaml).expect_err(yaml);
        assert_eq!(failure.reason, Reason::InvalidSpec);
        assert!(failure.message.contains("spec.settings.replication names this registry itself"), "{failure}");
    }
    part(
        Part::Replication,
        "replication: {rules: [{destinations: [{region: eu-west-1, registryId: '222222222222'}]}]}",
    )
    .expect("another account in the same region");
}

#[test]
fn destinations_are_counted_once_however_many_rules_name_them() {
    let rule = |first: usize, count: usize| {
        let destinations: Vec<String> =
            (first..first + count).map(|n| format!("{{region: eu-central-1, registryId: '{n:012}'}}")).collect();
        format!("{{destinations: [{}], repositoryFilters: [p{first}]}}", destinations.join(", "))
    };
    let yaml = |rules: &[String]| format!("replication: {{rules: [{}]}}", rules.join(", "));
    part(Part::Replication, &yaml(&[rule(1, 25), rule(2, 24)])).expect("25 different ones");
    let failure = part(Part::Replication, &yaml(&[rule(1, 25), rule(26, 1)])).expect_err("26 different ones");
    assert!(failure.message.contains("26 different destinations") && failure.message.contains("25"), "{failure}");
}

#[test]
fn typed_grants_are_the_policy_of_the_user_guide() {
    let typed = part(
        Part::Policy,
        "policy: {grants: [
            {principals: ['222222222222'], permissions: Replicate, repositories: ['prod/*', base]},
            {principals: ['arn:aws:iam::333333333333:role/ci'], permissions: PullThroughCache}]}",
    );
    let document = r#"{"Version": "2012-10-17", "Statement": [
        {"Sid": "any", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::222222222222:root"},
         "Action": ["ecr:CreateRepository", "ecr:ReplicateImage"],
         "Resource": ["arn:aws:ecr:eu-west-1:123456789012:repository/base", "arn:aws:ecr:eu-west-1:123456789012:repository/prod/*"]},
        {"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam::333333333333:role/ci"]},
         "Action": ["ecr:BatchImportUpstreamImage", "ecr:CreateRepository"],
         "Resource": "arn:aws:ecr:eu-west-1:123456789012:repository/*"}]}"#;
    let raw = PolicyDocument::read(document).expect("a policy");
    assert_eq!(typed, Ok(Setting::Policy(Some(Ok(raw)))));
}

#[test]
fn grants_name_the_partition_of_their_region() {
    let grants = vec![RegistryGrant {
        principals: vec!["222222222222".into()],
        permissions: RegistryPermissions::Replicate,
        repositories: None,
    }];
    let text = grants_document(&grants, &Place { account: "1".into(), region: "cn-north-1".into() }).to_string();
    assert!(
        text.contains("arn:aws-cn:iam::222222222222:root") && text.contains("arn:aws-cn:ecr:cn-north-1:1:"),
        "{text}"
    );
}

#[test]
fn a_document_that_is_no_registry_policy_is_refused_before_aws_sees_it() {
    for document in ["'{'", "'[]'", "'{}'", "'hello'"] {
        let failure = part(Part::Policy, &format!("policy: {{document: {document}}}")).expect_err(document);
        assert!(failure.message.starts_with("spec.settings.policy.document: "), "{failure}");
        assert!(failure.is_stalled());
    }
}

#[test]
fn a_secret_must_be_where_the_registry_is() {
    let rule = |region: &str, account: &str| {
        format!(
            "pullThroughCacheRules: [{{ecrRepositoryPrefix: hub, upstreamRegistry: docker-hub, credentialArn: 'arn:aws:secretsmanager:{region}:{account}:secret:ecr-pullthroughcache/hub-AbCdEf'}}]"
        )
    };
    part(Part::PullThroughCacheRules, &rule("eu-west-1", "123456789012")).expect("its own");
    for (region, account) in [("eu-west-2", "123456789012"), ("eu-west-1", "222222222222")] {
        let failure = part(Part::PullThroughCacheRules, &rule(region, account)).expect_err("another's");
        assert!(failure.message.contains("pullThroughCacheRules[hub].credentialArn"), "{failure}");
        assert!(failure.message.contains("123456789012 in eu-west-1"), "{failure}");
    }
}

#[test]
fn an_upstream_in_ecr_is_another_private_registry() {
    let rule = |url: &str, role: &str| {
        format!(
            "pullThroughCacheRules: [{{ecrRepositoryPrefix: other, upstreamRegistry: ecr, upstreamRegistryUrl: '{url}', customRoleArn: '{role}'}}]"
        )
    };
    let own = "arn:aws:iam::123456789012:role/cache";
    let hosts = [
        ("222222222222.dkr.ecr.eu-west-1.amazonaws.com", true),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com", true),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", false),
        ("222222222222.dkr.ecr.eu-west-1.amazonaws.com.evil.com", false),
        ("public.ecr.aws", false),
        ("docker.io", false),
    ];
    for (host, good) in hosts {
        let outcome = part(Part::PullThroughCacheRules, &rule(host, own));
        assert_eq!(outcome.is_ok(), good, "{host}: {outcome:?}");
    }
    let failure = part(Part::PullThroughCacheRules, &rule(hosts[0].0, "arn:aws:iam::222222222222:role/cache"));
    let failure = failure.expect_err("a role of another account");
    assert!(failure.message.contains("customRoleArn") && failure.message.contains("123456789012"), "{failure}");
}

#[test]
fn a_template_has_ecrs_defaults_where_the_spec_says_nothing() {
    let templates = part(Part::CreationTemplates, "creationTemplates: [{prefix: ROOT, appliedFor: [REPLICATION]}]");
    let Ok(Setting::Templates(templates)) = templates else { panic!("{templates:?}") };
    let template = &templates["ROOT"];
    assert_eq!(template.mutability, Some(Mutability::Mutable));
    assert_eq!(template.encryption, Some(EncryptionType::Aes256));
    assert_eq!((&template.lifecycle, &template.policy, &template.custom_role_arn), (&None, &None, &None));
}

#[test]
fn what_is_wrong_inside_a_template_names_the_template() {
    for (field, words) in [
        ("repositoryPolicy: '{'", "creationTemplates[prod].repositoryPolicy"),
        ("lifecycle: {policy: 'nonsense'}", "creationTemplates[prod].lifecycle"),
        ("customRoleArn: 'arn:aws:iam::222222222222:role/x'", "creationTemplates[prod].customRoleArn"),
    ] {
        let yaml = format!("creationTemplates: [{{prefix: prod, appliedFor: [REPLICATION], {field}}}]");
        let failure = part(Part::CreationTemplates, &yaml).expect_err(field);
        assert!(failure.message.contains(words) && failure.is_stalled(), "{failure}");
    }
}
