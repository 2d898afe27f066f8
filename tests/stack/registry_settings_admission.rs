//! What the API server refuses of an EcrRegistry's endpoints and settings, and what it takes.

use ecr_operator::api::EcrRegistry;

use crate::admission::{accepted, refused};

fn settings(settings: &str) -> String {
    format!("{{region: eu-west-1, settings: {{{settings}}}}}")
}

async fn all_refused(cases: &[(String, &[&str])]) {
    let cases: Vec<(&str, &[&str])> = cases.iter().map(|(spec, words)| (spec.as_str(), *words)).collect();
    refused::<EcrRegistry>(&cases).await;
}

async fn all_accepted(specs: &[String]) {
    accepted::<EcrRegistry>(&specs.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn endpoints_that_make_no_sense_together_are_refused() {
    let endpoints = |endpoints: &str| format!("{{region: eu-west-1, endpoints: {{{endpoints}}}}}");
    let both: &[&str] = &["spec.endpoints", "leave them out where api, registry or sts give a URL"];
    all_refused(&[
        (endpoints("fips: true, api: 'https://example.com'"), both),
        (endpoints("fips: true, registry: 'https://example.com'"), both),
        (endpoints("dualStack: true, sts: 'https://example.com'"), both),
        (endpoints("dualStack: true, fips: true, api: 'https://example.com'"), both),
        (endpoints("fips: 'yes'"), &["endpoints.fips"]),
        (endpoints("sts: 'http://example.com'"), &["endpoints.sts", "https URL"]),
    ])
    .await;
    all_accepted(&[
        endpoints("fips: true"),
        endpoints("dualStack: true"),
        endpoints("fips: true, dualStack: true"),
        endpoints("fips: false, api: 'https://example.com'"),
        endpoints(
            "api: 'https://vpce-1.api.ecr.eu-west-1.vpce.amazonaws.com', sts: 'https://sts.eu-west-1.amazonaws.com'",
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_role_must_belong_to_the_account_and_the_partition() {
    let spec = |region: &str, account: &str, role: &str| {
        format!("{{region: {region}, accountId: '{account}', credentials: {{assumeRole: {{roleArn: '{role}'}}}}}}")
    };
    let (account, partition): (&[&str], &[&str]) = (&["another account than accountId"], &["another AWS partition"]);
    all_refused(&[
        (spec("eu-west-1", "123456789012", "arn:aws:iam::222222222222:role/x"), account),
        (spec("eu-west-1", "123456789012", "arn:aws-cn:iam::123456789012:role/x"), partition),
        (spec("cn-north-1", "123456789012", "arn:aws:iam::123456789012:role/x"), partition),
        (spec("us-gov-west-1", "123456789012", "arn:aws:iam::123456789012:role/x"), partition),
        (spec("us-iso-east-1", "123456789012", "arn:aws-iso-b:iam::123456789012:role/x"), partition),
    ])
    .await;
    all_accepted(&[
        spec("eu-west-1", "123456789012", "arn:aws:iam::123456789012:role/x"),
        spec("cn-north-1", "123456789012", "arn:aws-cn:iam::123456789012:role/x"),
        spec("us-gov-west-1", "123456789012", "arn:aws-us-gov:iam::123456789012:role/x"),
        spec("eusc-de-east-1", "123456789012", "arn:aws-eusc:iam::123456789012:role/x"),
        spec("us-isob-east-1", "123456789012", "arn:aws-iso-b:iam::123456789012:role/x"),
        "{region: eu-west-1, credentials: {assumeRole: {roleArn: 'arn:aws:iam::222222222222:role/x'}}}".into(),
    ])
    .await;
}

#[tokio::test]
async fn bad_settings_are_refused_with_the_field_and_the_rule() {
    let rule = |rule: &str| settings(&format!("pullThroughCacheRules: [{{{rule}}}]"));
    let template = |fields: &str| settings(&format!("creationTemplates: [{{{fields}}}]"));
    let prefixes = |n: usize| (0..n).map(|i| format!("p{i}")).collect::<Vec<_>>().join(", ");
    let destinations = (1..27).map(|n| format!("{{region: eu-central-1, registryId: '{n:012}'}}")).collect::<Vec<_>>();
    let rules = ["{destinations: [{region: eu-central-1}]}"; 11].join(", ");
    let secret = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:ecr-pullthroughcache/hub-AbCdEf";
    all_refused(&[
        (settings("scanning: {}"), &["scanning.type", "Required"]),
        (settings("scanning: {type: SOMETIMES}"), &["scanning.type", "ENHANCED"]),
        (
            settings("scanning: {type: BASIC, rules: [{frequency: CONTINUOUS_SCAN, repositoryFilters: ['*']}]}"),
            &["CONTINUOUS_SCAN goes with type ENHANCED only"],
        ),
        (settings("scanning: {type: BASIC, rules: [{frequency: MANUAL, repositoryFilters: ['*']}]}"), &["frequency", "SCAN_ON_PUSH"]),
        (settings("scanning: {type: BASIC, rules: [{frequency: SCAN_ON_PUSH}]}"), &["repositoryFilters", "Required"]),
        (settings("scanning: {type: BASIC, rules: [{frequency: SCAN_ON_PUSH, repositoryFilters: []}]}"), &["repositoryFilters"]),
        (
            settings("scanning: {type: BASIC, rules: [{frequency: SCAN_ON_PUSH, repositoryFilters: [Prod]}]}"),
            &["scanning.rules.repositoryFilters", "such as prod/*"],
        ),
        (
            settings("scanning: {type: BASIC, rules: [{frequency: SCAN_ON_PUSH, repositoryFilters: [a]}, {frequency: SCAN_ON_PUSH, repositoryFilters: [b]}]}"),
            &["scanning.rules", "Duplicate"],
        ),
        (settings("scanning: {type: ENHANCED, basicScanTypeVersion: AWS_NATIVE}"), &["goes with type BASIC only"]),
        (settings("scanning: {type: BASIC, basicScanTypeVersion: CLAIR}"), &["basicScanTypeVersion", "AWS_NATIVE"]),
        (settings("replication: {}"), &["replication.rules", "Required"]),
        (settings(&format!("replication: {{rules: [{rules}]}}")), &["replication.rules", "10"]),
        (settings("replication: {rules: [{destinations: []}]}"), &["destinations"]),
        (settings(&format!("replication: {{rules: [{{destinations: [{}]}}]}}", destinations.join(", "))), &["destinations", "25"]),
        (settings("replication: {rules: [{destinations: [{region: europe}]}]}"), &["destinations.region", "such as eu-central-1"]),
        (settings("replication: {rules: [{destinations: [{region: eu-central-1, registryId: '12'}]}]}"), &["registryId", "12 digits"]),
        (
            settings("replication: {rules: [{destinations: [{region: eu-central-1}, {region: eu-central-1}]}]}"),
            &["a destination is named twice"],
        ),
        (
            settings("replication: {rules: [{destinations: [{region: eu-central-1}], repositoryFilters: ['prod*']}]}"),
            &["repositoryFilters", "without wildcards"],
        ),
        (
            settings(&format!("replication: {{rules: [{{destinations: [{{region: eu-central-1}}], repositoryFilters: [{}]}}]}}", prefixes(101))),
            &["repositoryFilters", "100"],
        ),
        (settings("policy: {}"), &["policy needs either grants or document"]),
        (settings("policy: {document: '{}', grants: [{principals: ['222222222222'], permissions: Replicate}]}"), &["and not both"]),
        (settings("policy: {grants: []}"), &["policy.grants"]),
        (settings("policy: {grants: [{principals: [me], permissions: Replicate}]}"), &["policy.grants.principals", "12 digits"]),
        (settings("policy: {grants: [{principals: ['222222222222'], permissions: Everything}]}"), &["permissions", "PullThroughCache"]),
        (settings("policy: {grants: [{principals: ['222222222222'], permissions: Replicate, repositories: ['A']}]}"), &["policy.grants.repositories"]),
        (settings("policy: {scope: V1, document: '{}'}"), &["policy.scope", "V2"]),
        (rule("upstreamRegistry: k8s"), &["ecrRepositoryPrefix", "Required"]),
        (rule("ecrRepositoryPrefix: k8s"), &["upstreamRegistry", "Required"]),
        (rule("ecrRepositoryPrefix: k8s, upstreamRegistry: harbor"), &["upstreamRegistry", "docker-hub"]),
        (rule("ecrRepositoryPrefix: K8S, upstreamRegistry: k8s"), &["ecrRepositoryPrefix", "ROOT"]),
        (rule("ecrRepositoryPrefix: k, upstreamRegistry: k8s"), &["ecrRepositoryPrefix"]),
        (rule("ecrRepositoryPrefix: a-prefix-of-thirty-one-characters, upstreamRegistry: k8s"), &["ecrRepositoryPrefix", "30"]),
        (rule("ecrRepositoryPrefix: hub, upstreamRegistry: docker-hub"), &["credentialArn is needed for docker-hub"]),
        (rule("ecrRepositoryPrefix: ghcr, upstreamRegistry: github-container-registry"), &["credentialArn is needed"]),
        (rule(&format!("ecrRepositoryPrefix: quay, upstreamRegistry: quay, credentialArn: '{secret}'")), &["goes with no other upstreamRegistry"]),
        (
            rule("ecrRepositoryPrefix: hub, upstreamRegistry: docker-hub, credentialArn: 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:docker-hub-AbCdEf'"),
            &["credentialArn", "begins with ecr-pullthroughcache/"],
        ),
        (rule("ecrRepositoryPrefix: other, upstreamRegistry: ecr"), &["upstreamRegistryUrl is needed for ecr"]),
        (rule("ecrRepositoryPrefix: quay, upstreamRegistry: quay, upstreamRegistryUrl: quay.io"), &["theirs are known"]),
        (
            rule(&format!("ecrRepositoryPrefix: azure, upstreamRegistry: azure-container-registry, upstreamRegistryUrl: example.com, credentialArn: '{secret}'")),
            &["<registry>.azurecr.io"],
        ),
        (
            rule("ecrRepositoryPrefix: quay, upstreamRegistry: quay, customRoleArn: 'arn:aws:iam::123456789012:role/x'"),
            &["customRoleArn goes with upstreamRegistry ecr only"],
        ),
        (
            settings("pullThroughCacheRules: [{ecrRepositoryPrefix: k8s, upstreamRegistry: k8s}, {ecrRepositoryPrefix: k8s, upstreamRegistry: quay}]"),
            &["pullThroughCacheRules", "Duplicate"],
        ),
        (template("prefix: prod"), &["appliedFor", "Required"]),
        (template("prefix: prod, appliedFor: []"), &["appliedFor"]),
        (template("prefix: prod, appliedFor: [PUSH]"), &["appliedFor", "CREATE_ON_PUSH"]),
        (template("prefix: Prod, appliedFor: [REPLICATION]"), &["creationTemplates.prefix", "ROOT"]),
        (template("prefix: prod, appliedFor: [REPLICATION], tags: {a: b}"), &["customRoleArn is needed"]),
        (template("prefix: prod, appliedFor: [REPLICATION], encryption: {type: KMS}"), &["customRoleArn is needed"]),
        (
            template("prefix: prod, appliedFor: [REPLICATION], encryption: {type: KMS, kmsKey: alias/x}, customRoleArn: 'arn:aws:iam::123456789012:role/x'"),
            &["a template takes no alias"],
        ),
        (template("prefix: prod, appliedFor: [REPLICATION], mutableTags: [latest]"), &["mutableTags goes with tagMutability Immutable only"]),
        (
            template("prefix: prod, appliedFor: [REPLICATION], tagMutability: Immutable, immutableTags: [v1]"),
            &["immutableTags goes with tagMutability Mutable only"],
        ),
        (
            template("prefix: prod, appliedFor: [REPLICATION], tagMutability: Immutable, mutableTags: [a, b, c, d, e, f]"),
            &["mutableTags", "5"],
        ),
        (settings("blobMounting: true"), &["blobMounting"]),
        (settings("blobMounting: 'On'"), &["blobMounting", "Enabled"]),
        (settings("signing: {rules: []}"), &["signing.rules"]),
        (settings("signing: {rules: [{signingProfileArn: release}]}"), &["signingProfileArn", "signing-profiles/release"]),
        (settings("pullTimeUpdateExclusions: [mirror]"), &["pullTimeUpdateExclusions", "IAM role or user"]),
        (
            settings("pullTimeUpdateExclusions: ['arn:aws:iam::123456789012:role/a', 'arn:aws:iam::123456789012:role/a']"),
            &["pullTimeUpdateExclusions", "Duplicate"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn good_settings_are_accepted() {
    let secret =
        |name: &str| format!("arn:aws:secretsmanager:eu-west-1:123456789012:secret:ecr-pullthroughcache/{name}-AbCdEf");
    let secrets: Vec<String> = [
        ("hub", "docker-hub"),
        ("ghcr", "github-container-registry"),
        ("gitlab", "gitlab-container-registry"),
        ("cgr", "chainguard"),
    ]
    .iter()
    .map(|(prefix, kind)| {
        format!("{{ecrRepositoryPrefix: {prefix}, upstreamRegistry: {kind}, credentialArn: '{}'}}", secret(prefix))
    })
    .collect();
    all_accepted(&[
        settings(""),
        settings("scanning: {type: BASIC, basicScanTypeVersion: AWS_NATIVE}"),
        settings("scanning: {type: ENHANCED, rules: [{frequency: CONTINUOUS_SCAN, repositoryFilters: ['prod/*', '*']}, {frequency: SCAN_ON_PUSH, repositoryFilters: [a.b_c-d/e]}]}"),
        settings("replication: {rules: []}"),
        settings("replication: {rules: [{destinations: [{region: eu-central-1}, {region: us-gov-west-1, registryId: '222222222222'}], repositoryFilters: [prod/]}]}"),
        settings("policy: {scope: V2, grants: [{principals: ['222222222222', 'arn:aws:iam::333333333333:role/ci'], permissions: PullThroughCache, repositories: ['hub/*']}]}"),
        settings("policy: {document: '{}'}"),
        settings("pullThroughCacheRules: []"),
        settings(&format!("pullThroughCacheRules: [{}]", secrets.join(", "))),
        settings(&format!(
            "pullThroughCacheRules: [{{ecrRepositoryPrefix: azure, upstreamRegistry: azure-container-registry, upstreamRegistryUrl: mine.azurecr.io, credentialArn: '{}'}}, {{ecrRepositoryPrefix: ecr-public, upstreamRegistry: ecr-public}}, {{ecrRepositoryPrefix: k8s, upstreamRegistry: k8s}}, {{ecrRepositoryPrefix: quay, upstreamRegistry: quay}}]",
            secret("azure")
        )),
        settings("pullThroughCacheRules: [{ecrRepositoryPrefix: ROOT, upstreamRegistry: ecr, upstreamRegistryUrl: 222222222222.dkr.ecr.eu-west-1.amazonaws.com, upstreamRepositoryPrefix: ROOT, customRoleArn: 'arn:aws:iam::123456789012:role/x'}]"),
        settings("creationTemplates: [{prefix: ROOT, appliedFor: [REPLICATION, PULL_THROUGH_CACHE, CREATE_ON_PUSH]}, {prefix: prod/team, appliedFor: [CREATE_ON_PUSH], description: d, tagMutability: Immutable, mutableTags: ['dev-*'], encryption: {type: KMS, kmsKey: 'arn:aws:kms:eu-west-1:123456789012:key/1'}, tags: {a: b}, customRoleArn: 'arn:aws:iam::123456789012:role/x', lifecycle: {rules: [{any: {}, keepLast: 5}]}, repositoryPolicy: '{}'}]"),
        settings("creationTemplates: [{prefix: dev, appliedFor: [CREATE_ON_PUSH], immutableTags: ['v*'], encryption: {type: AES256}}]"),
        settings("signing: {rules: [{signingProfileArn: 'arn:aws:signer:eu-west-1:123456789012:/signing-profiles/release', repositoryFilters: ['prod/*']}]}"),
        settings("pullTimeUpdateExclusions: ['arn:aws:iam::123456789012:role/path/mirror', 'arn:aws:iam::123456789012:user/ci']"),
    ])
    .await;
}
