//! What the API server refuses, with a message that names the field and the rule.

use ecr_operator::api::{ClusterEcrPullSecret, EcrPullSecret, EcrRegistry, EcrRepository, ImageMirror};
use kube::Resource;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::ApiResource;
use serde_json::{Value, json};

use crate::support::{Stack, unique};

/// Asks the API server whether it would take an object of this kind with this spec.
async fn offer<K: Resource<DynamicType = ()>>(stack: &Stack, spec: &str) -> Result<(), String> {
    let kind = ApiResource::erase::<K>(&());
    let is_namespaced = !matches!(kind.kind.as_str(), "EcrRegistry" | "ClusterEcrPullSecret");
    let api: Api<DynamicObject> = if is_namespaced {
        Api::namespaced_with(stack.client.clone(), "default", &kind)
    } else {
        Api::all_with(stack.client.clone(), &kind)
    };
    let spec: Value = serde_saphyr::from_str(spec).expect("the test's YAML is valid");
    let object = serde_json::from_value(json!({
        "apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": unique("offer")}, "spec": spec,
    }))
    .unwrap();
    let params = PostParams { dry_run: true, ..PostParams::default() };
    api.create(&params, &object).await.map(drop).map_err(|error| error.to_string())
}

/// Each spec is refused, and the message has these words.
pub async fn refused<K: Resource<DynamicType = ()>>(cases: &[(&str, &[&str])]) {
    let stack = Stack::connect().await;
    for (spec, words) in cases {
        let answer = offer::<K>(&stack, spec).await;
        let error = answer.expect_err(&format!("this should be refused: {spec}"));
        for word in *words {
            assert!(error.contains(word), "{spec}\nis refused without the word {word:?}: {error}");
        }
    }
}

pub async fn accepted<K: Resource<DynamicType = ()>>(specs: &[&str]) {
    let stack = Stack::connect().await;
    for spec in specs {
        if let Err(error) = offer::<K>(&stack, spec).await {
            panic!("{spec}\nshould be accepted: {error}");
        }
    }
}

#[tokio::test]
async fn bad_registries_are_refused() {
    refused::<EcrRegistry>(&[
        ("{}", &["spec.region", "Required"]),
        ("{region: europe}", &["spec.region", "such as eu-west-1"]),
        ("{region: EU-WEST-1}", &["spec.region", "such as eu-west-1"]),
        ("{region: ''}", &["spec.region"]),
        ("{region: eu-west-1, accountId: '12345'}", &["spec.accountId", "12 digits"]),
        ("{region: eu-west-1, accountId: '12345678901x'}", &["spec.accountId", "12 digits"]),
        ("{region: eu-west-1, credentials: {}}", &["spec.credentials.assumeRole", "Required"]),
        ("{region: eu-west-1, credentials: {assumeRole: {roleArn: my-role}}}", &["roleArn", "arn:aws:iam"]),
        (
            "{region: eu-west-1, credentials: {assumeRole: {roleArn: 'arn:aws:iam::123456789012:user/x'}}}",
            &["roleArn", "arn:aws:iam"],
        ),
        (
            "{region: eu-west-1, credentials: {assumeRole: {roleArn: 'arn:aws:iam::123456789012:role/x', externalId: a}}}",
            &["externalId"],
        ),
        ("{region: eu-west-1, pullRole: {}}", &["spec.pullRole.roleArn", "Required"]),
        ("{region: eu-west-1, pullRole: {roleArn: my-role}}", &["roleArn", "arn:aws:iam"]),
        (
            "{region: cn-north-1, pullRole: {roleArn: 'arn:aws:iam::123456789012:role/x'}}",
            &["pullRole.roleArn", "another AWS partition"],
        ),
        (
            "{region: eu-west-1, accountId: '222222222222', pullRole: {roleArn: 'arn:aws:iam::123456789012:role/x'}}",
            &["pullRole.roleArn", "another account"],
        ),
        (
            "{region: eu-west-1, pullRole: {roleArn: 'arn:aws:iam::123456789012:role/x', renewWithin: Day}}",
            &["renewWithin"],
        ),
        ("{region: eu-west-1, endpoints: {api: 'http://example.com'}}", &["endpoints.api", "https URL"]),
        ("{region: eu-west-1, endpoints: {registry: 'https://example.com/v2/'}}", &["endpoints.registry", "without a path"]),
        ("{region: eu-west-1, endpoints: {caBundle: nonsense}}", &["endpoints.caBundle", "PEM"]),
    ])
    .await;
}

#[tokio::test]
async fn good_registries_are_accepted() {
    accepted::<EcrRegistry>(&[
        "{region: eu-west-1}",
        "{region: us-gov-east-1, accountId: '123456789012'}",
        "{region: eusc-de-east-1}",
        "{region: us-iso-east-1}",
        "{region: us-gov-west-1, credentials: {assumeRole: {roleArn: 'arn:aws-us-gov:iam::123456789012:role/path/x', externalId: abc, sessionTags: {team: a}}}}",
        "{region: eu-west-1, endpoints: {api: 'https://api.ecr.eu-west-1.amazonaws.com', registry: 'https://registry.example.com:5000'}}",
    ])
    .await;
}

#[tokio::test]
async fn bad_repositories_are_refused() {
    refused::<EcrRepository>(&[
        ("{repositoryName: Team/Api}", &["spec.repositoryName", "lower-case"]),
        ("{repositoryName: team//api}", &["spec.repositoryName", "separated by '/'"]),
        ("{repositoryName: -api}", &["spec.repositoryName"]),
        ("{repositoryName: api-}", &["spec.repositoryName"]),
        ("{repositoryName: a}", &["spec.repositoryName"]),
        ("{repositoryName: 'team/api:v1'}", &["spec.repositoryName"]),
        ("{tagMutability: Sometimes}", &["spec.tagMutability", "Immutable"]),
        ("{scanOnPush: maybe}", &["spec.scanOnPush"]),
        ("{encryption: {}}", &["spec.encryption.type"]),
        ("{encryption: {type: ROT13}}", &["spec.encryption.type", "AES256"]),
        ("{encryption: {type: AES256, kmsKey: alias/x}}", &["encryption.kmsKey goes with type KMS"]),
        ("{deletionPolicy: Always}", &["spec.deletionPolicy", "Retain"]),
        ("{adoption: Maybe}", &["spec.adoption", "IfUnowned"]),
        ("{tags: {'aws:x': z}}", &["spec.tags", "reserved"]),
        ("{tags: {'ecr-operator.io/name': z}}", &["spec.tags", "reserved"]),
        ("{registryRef: {name: ''}}", &["spec.registryRef.name"]),
    ])
    .await;
}

#[tokio::test]
async fn bad_lifecycle_rules_are_refused() {
    let rule = |rule: &str| format!("{{lifecycle: {{rules: [{rule}]}}}}");
    let effects = "exactly one of expireAfterDays, keepLast, archiveAfterDays, archiveAllButLast, archiveUnpulledAfterDays and expireArchivedAfterDays";
    let rules = [
        (rule("{untagged: {}}"), effects),
        (rule("{untagged: {}, expireAfterDays: 7, keepLast: 3}"), effects),
        (rule("{any: {}, archiveAfterDays: 7, archiveUnpulledAfterDays: 3}"), effects),
        (rule("{expireAfterDays: 7}"), "exactly one of untagged, tagged and any"),
        (rule("{untagged: {}, any: {}, expireAfterDays: 7}"), "exactly one of untagged, tagged and any"),
        (rule("{untagged: {}, expireAfterDays: 0}"), "expireAfterDays"),
        (rule("{untagged: {}, expireAfterDays: -1}"), "expireAfterDays"),
        (rule("{untagged: {}, expireAfterDays: '7'}"), "expireAfterDays"),
        (rule("{any: {}, keepLast: 0}"), "keepLast"),
        (rule("{any: {}, archiveAfterDays: 0}"), "archiveAfterDays"),
        (rule("{any: {}, archiveAllButLast: 0}"), "archiveAllButLast"),
        (rule("{any: {}, archiveUnpulledAfterDays: 0}"), "archiveUnpulledAfterDays"),
        (rule("{any: {}, expireArchivedAfterDays: 89}"), "expireArchivedAfterDays"),
        (rule("{tagged: {}, keepLast: 3}"), "either patterns or prefixes"),
        (rule("{tagged: {patterns: ['v*'], prefixes: [v]}, keepLast: 3}"), "either patterns or prefixes"),
        (rule("{tagged: {patterns: []}, keepLast: 3}"), "patterns"),
        (rule("{tagged: {patterns: ['']}, keepLast: 3}"), "patterns"),
        (rule("{tagged: {patterns: ['v*', 'v*']}, keepLast: 3}"), "Duplicate"),
        (rule("{tagged: {patterns: ['*a*b*c*d*']}, keepLast: 3}"), "at most four wildcards"),
        (rule("{tagged: {patterns: ['api:v*']}, keepLast: 3}"), "tagged.patterns: a pattern has letters, digits"),
        (rule("{tagged: {prefixes: []}, keepLast: 3}"), "prefixes"),
        (rule("{tagged: {prefixes: ['v*']}, keepLast: 3}"), "use patterns for wildcards"),
        (rule("{tagged: {prefixes: [v, v]}, keepLast: 3}"), "Duplicate"),
        (rule("{any: {}, keepLast: 3}, {untagged: {}, expireAfterDays: 7}"), "must be the last one"),
        (rule("{any: {}, keepLast: 3}, {any: {}, expireAfterDays: 7}"), "must be the last one"),
        (
            rule("{any: {}, expireArchivedAfterDays: 90}, {untagged: {}, expireArchivedAfterDays: 90}"),
            "with expireArchivedAfterDays, the one for any image must be the last one",
        ),
        (rule("{untagged: {}, keepLast: 3}, {untagged: {}, expireAfterDays: 7}"), "only one rule for untagged images"),
        ("{lifecycle: {}}".to_owned(), "either rules or policy"),
        ("{lifecycle: {preview: true}}".to_owned(), "either rules or policy"),
        ("{lifecycle: {rules: []}}".to_owned(), "lifecycle.rules"),
        (format!("{{lifecycle: {{rules: [{}]}}}}", vec!["{any: {}, keepLast: 3}"; 51].join(", ")), "at most 50"),
        ("{lifecycle: {policy: '{}'}}".to_owned(), "lifecycle.policy"),
        (format!("{{lifecycle: {{policy: '[{}]'}}}}", " ".repeat(100)), "must be a JSON object"),
    ];
    let stack = Stack::connect().await;
    for (spec, words) in rules {
        let error = offer::<EcrRepository>(&stack, &spec).await.expect_err(&spec);
        assert!(error.contains("spec.lifecycle") && error.contains(words), "{spec}: {error}");
    }
}

#[tokio::test]
async fn good_repositories_are_accepted() {
    accepted::<EcrRepository>(&[
        "{}",
        "{repositoryName: team-a/api.v2_x/y}",
        "{tagMutability: Immutable, scanOnPush: true, encryption: {type: KMS, kmsKey: alias/x}, tags: {a: b}}",
        "{lifecycle: {rules: [{description: d, untagged: {}, expireAfterDays: 7}, {tagged: {patterns: ['*a*b*c*d']}, keepLast: 1}, {any: {}, keepLast: 100}]}}",
        "{lifecycle: {preview: true, rules: [{untagged: {}, archiveAfterDays: 7}, {untagged: {}, expireArchivedAfterDays: 90}, {any: {}, archiveUnpulledAfterDays: 60}, {tagged: {prefixes: [v]}, expireArchivedAfterDays: 400}, {any: {}, expireArchivedAfterDays: 365}]}}",
    ])
    .await;
}

#[tokio::test]
async fn bad_mirrors_are_refused() {
    refused::<ImageMirror>(&[
        ("{tags: {names: ['1']}}", &["spec.source", "Required"]),
        ("{source: {image: nginx}}", &["nothing is selected", "digests"]),
        ("{source: {image: nginx}, tags: {}}", &["nothing is selected"]),
        ("{source: {image: nginx}, tags: {minAge: 1h}}", &["nothing is selected"]),
        ("{source: {image: nginx}, tags: {names: ['1'], exclude: ['x']}}", &["tags.exclude takes away"]),
        ("{source: {image: nginx}, tags: {names: ['1'], prereleases: true}}", &["tags.prereleases is about versions"]),
        ("{source: {image: nginx}, tags: {include: ['a b']}}", &["tags.include", "wildcards"]),
        ("{source: {image: nginx}, tags: {latest: 0}}", &["spec.tags.latest"]),
        ("{source: {image: nginx}, tags: {latest: 1, minAge: 3d}}", &["tags.minAge", "such as 72h"]),
        ("{source: {image: nginx}, digests: ['sha256:ab']}", &["digests must look like"]),
        ("{source: {image: nginx}, digests: []}", &["spec.digests"]),
        ("{source: {image: nginx}, tags: {names: ['1']}, onTagChange: Never}", &["spec.onTagChange", "Warn"]),
        ("{source: {image: nginx}, tags: {names: ['1']}, backupTag: '{tag}-old'}", &["backupTag", "{digest12}"]),
        ("{source: {image: nginx}, tags: {names: ['1']}, backupTag: '{tag}/{digest}'}", &["backupTag"]),
        ("{source: {image: nginx}, tags: {names: ['1']}, schedule: '@daily'}", &["schedule", "five fields"]),
        ("{source: {image: nginx}, tags: {names: ['1']}, schedule: '0 3 * * *', timeZone: 'a b'}", &["timeZone"]),
        ("{source: {image: nginx}, tags: {names: ['1']}, destinations: [{repositoryName: '{image}'}]}", &["{host}"]),
        ("{source: {image: nginx}, tags: {names: []}}", &["spec.tags.names"]),
        ("{source: {image: 'nginx:1.27'}, tags: {names: ['1']}}", &["spec.source.image", "without a tag"]),
        ("{source: {image: 'nginx@sha256:ab'}, tags: {names: ['1']}}", &["spec.source.image", "without a tag"]),
        ("{source: {image: 'https://docker.io/nginx'}, tags: {names: ['1']}}", &["spec.source.image"]),
        ("{source: {image: docker.io/Library/nginx}, tags: {names: ['1']}}", &["spec.source.image"]),
        ("{source: {image: nginx}, tags: {names: ['-1']}}", &["spec.tags.names", "begins with neither"]),
        ("{source: {image: nginx}, tags: {names: ['a b']}}", &["spec.tags.names"]),
        ("{source: {image: nginx}, tags: {names: ['1', '1']}}", &["spec.tags.names", "Duplicate"]),
        ("{source: {image: nginx}, tags: {names: ['1']}, platforms: [linux]}", &["spec.platforms", "linux/amd64"]),
        ("{source: {image: nginx}, tags: {names: ['1']}, platforms: ['Linux/AMD64']}", &["spec.platforms"]),
        ("{source: {image: nginx}, tags: {names: ['1']}, platforms: []}", &["spec.platforms"]),
        ("{source: {image: nginx}, tags: {names: ['1']}, interval: hourly}", &["spec.interval", "such as 30m"]),
        ("{source: {image: nginx}, tags: {names: ['1']}, interval: 1s}", &["spec.interval", "from 10s"]),
        ("{source: {image: nginx}, tags: {names: ['1']}, destinations: []}", &["spec.destinations"]),
        ("{source: {image: nginx}, tags: {names: ['1']}, destinations: [{repositoryName: X}]}", &["repositoryName"]),
        (
            "{source: {image: nginx}, tags: {names: ['1']}, destinations: [{createRepository: false, repository: {scanOnPush: true}}]}",
            &["createRepository"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn good_mirrors_are_accepted() {
    accepted::<ImageMirror>(&[
        "{source: {image: nginx}, tags: {names: ['1']}}",
        "{source: {image: 'localhost:5000/x'}, tags: {names: [_a.b-c]}, platforms: [linux/amd64, linux/arm/v7], interval: 1h30m}",
        "{source: {image: registry.k8s.io/ingress-nginx/controller}, tags: {names: [v1]}, destinations: [{registryRef: {name: us}, repositoryName: mirror/x, repository: {tagMutability: Immutable}}]}",
        "{source: {image: nginx}, tags: {include: ['1.*'], exclude: ['*-rc?'], regex: '^1', semver: '>=1, <2', prereleases: true, latest: 5, minAge: 72h}}",
        "{source: {image: nginx}, digests: ['sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef']}",
        "{source: {image: nginx}, tags: {names: ['1']}, onTagChange: Warn, backupTag: '{tag}-{digest12}', schedule: '0 3 * * MON-FRI', timeZone: America/Argentina/Buenos_Aires}",
        "{source: {image: nginx}, tags: {names: ['1']}, destinations: [{repositoryName: '{namespace}/{host}/{path}'}, {registryRef: {name: us}, repositoryName: 'mirror/{name}'}]}",
    ])
    .await;
}

#[tokio::test]
async fn bad_pull_secrets_are_refused() {
    refused::<EcrPullSecret>(&[
        ("{registries: []}", &["spec.registries"]),
        ("{secretName: Upper}", &["spec.secretName", "lower-case"]),
        ("{secretName: ''}", &["spec.secretName"]),
        ("{repositories: []}", &["spec.repositories"]),
        ("{repositories: ['Team/*']}", &["spec.repositories", "{namespace} for the namespace"]),
        ("{additionalHosts: [Ipv6]}", &["spec.additionalHosts", "DualStack"]),
        ("{additionalHosts: [Fips, Fips]}", &["spec.additionalHosts", "Duplicate"]),
        ("{additionalSecretRefs: [{}]}", &["spec.additionalSecretRefs", "name"]),
        ("{additionalSecretRefs: [{name: a}, {name: a}]}", &["spec.additionalSecretRefs", "Duplicate"]),
        ("{secretName: a, additionalSecretRefs: [{name: a}]}", &["additionalSecretRefs", "made from"]),
        ("{serviceAccounts: {}}", &["spec.serviceAccounts", "names, a selector, or both"]),
        ("{serviceAccounts: {names: []}}", &["spec.serviceAccounts.names"]),
        ("{serviceAccounts: {names: [Default]}}", &["spec.serviceAccounts.names", "lower-case"]),
    ])
    .await;
    refused::<ClusterEcrPullSecret>(&[
        ("{}", &["namespaceSelector is needed", "every namespace"]),
        ("{namespaces: {exclude: [a]}}", &["namespaceSelector is needed"]),
        ("{namespaceSelector: {}, namespaces: {}}", &["spec.namespaces", "names, exclude, or both"]),
        ("{namespaces: {names: []}}", &["spec.namespaces.names"]),
        ("{namespaces: {names: ['team-*']}}", &["spec.namespaces.names", "namespaces.exclude takes wildcards"]),
        ("{namespaces: {names: [a], exclude: [a]}}", &["spec.namespaces", "in names and in exclude"]),
        ("{namespaceSelector: {}, namespaces: {exclude: ['a/b']}}", &["spec.namespaces.exclude", "in which * stands"]),
        ("{namespaceSelector: {}, serviceAccounts: {}}", &["spec.serviceAccounts", "names, a selector, or both"]),
        ("{namespaceSelector: {}, registries: []}", &["spec.registries"]),
        (
            "{namespaceSelector: {}, repositories: ['{name}/*']}",
            &["spec.repositories", "{namespace} for the namespace"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn good_pull_secrets_are_accepted() {
    accepted::<EcrPullSecret>(&[
        "{}",
        "{secretName: pull, additionalHosts: [Standard, Fips, DualStack, DualStackFips], additionalSecretRefs: [{name: dockerhub}]}",
        "{serviceAccounts: {names: [default], selector: {matchLabels: {builds: 'true'}}}}",
        "{serviceAccounts: {selector: {}}}",
    ])
    .await;
    accepted::<ClusterEcrPullSecret>(&[
        "{namespaceSelector: {}}",
        "{namespaces: {names: [ci]}}",
        "{namespaceSelector: {matchExpressions: [{key: team, operator: Exists}]}, namespaces: {names: [ci], exclude: ['kube-*', 'x?']}}",
    ])
    .await;
}

#[tokio::test]
async fn what_is_fixed_once_set_can_not_be_changed() {
    let stack = Stack::connect().await;
    let namespace = stack.namespace("fixed").await;
    let fixed = "repositoryName: fixed/one\nencryption: {type: AES256}";
    namespace.apply::<EcrRepository>("one", &format!("registryRef: {{name: nowhere}}\n{fixed}")).await;
    for (spec, words) in [
        ("registryRef: {name: other}\nrepositoryName: fixed/one\nencryption: {type: AES256}", "registryRef is fixed"),
        (
            "registryRef: {name: nowhere}\nrepositoryName: fixed/two\nencryption: {type: AES256}",
            "repositoryName is fixed",
        ),
        ("registryRef: {name: nowhere}\nencryption: {type: AES256}", "repositoryName is fixed"),
        ("registryRef: {name: nowhere}\nrepositoryName: fixed/one\nencryption: {type: KMS}", "encryption is fixed"),
    ] {
        let error = namespace.try_apply::<EcrRepository>("one", spec).await.expect_err(spec).to_string();
        assert!(error.contains(words), "{spec}: {error}");
    }
    namespace.delete::<EcrRepository>("one").await;
    namespace.cleanup().await;
}
