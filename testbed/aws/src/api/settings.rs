//! Settings of a registry and of repositories: what ECR refuses and the emulator takes, and what it answers otherwise.

use fakecloud_ecr::EcrState;
use http::StatusCode;
use serde_json::{Value, json};

use super::answer::ApiError;
use crate::cloud::Registry;
use crate::policy::document::{self, Subject};

/// <https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_TagResource.html>
const MAX_TAGS: usize = 50;

/// <https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutAccountSetting.html>: names, values, the first is
/// the default.
const ACCOUNT_SETTINGS: [(&str, &[&str]); 3] = [
    ("BASIC_SCAN_TYPE_VERSION", &["AWS_NATIVE", "CLAIR"]),
    ("REGISTRY_POLICY_SCOPE", &["V2", "V1"]),
    ("BLOB_MOUNTING", &["DISABLED", "ENABLED"]),
];

/// <https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreatePullThroughCacheRule.html>: a registry's name,
/// the end of its host, and whether it takes credentials.
const UPSTREAMS: [(&str, &str, bool); 9] = [
    ("docker-hub", "registry-1.docker.io", true),
    ("ecr-public", "public.ecr.aws", false),
    ("quay", "quay.io", false),
    ("k8s", "registry.k8s.io", false),
    ("github-container-registry", "ghcr.io", true),
    ("gitlab-container-registry", "registry.gitlab.com", true),
    ("azure-container-registry", ".azurecr.io", true),
    ("chainguard", "cgr.dev", true),
    ("ecr", ".amazonaws.com", false),
];

/// Checks a request and writes it as the emulator is to see it; `None` leaves it as it is.
pub(super) fn before(registry: &Registry, action: &str, asked: &Value) -> Result<Option<Value>, ApiError> {
    match action {
        "SetRepositoryPolicy" => policy(asked, Subject::Repository).map(Some),
        "PutRegistryPolicy" => policy(asked, Subject::Registry).map(Some),
        "TagResource" | "CreateRepository" => tags(registry, asked).map(|()| None),
        "PutAccountSetting" | "GetAccountSetting" => account_setting(asked).map(|()| None),
        "PutReplicationConfiguration" => replication(registry, asked).map(|()| None),
        "PutRegistryScanningConfiguration" => scanning(asked).map(|()| None),
        "CreatePullThroughCacheRule" => upstream(asked).map(Some),
        _ => existing(registry, action, asked).map(|()| None),
    }
}

/// Corrects an answer of the emulator; false where it is right.
pub(super) fn after(registry: &Registry, action: &str, asked: &Value, answer: &mut Value) -> bool {
    match action {
        "GetAccountSetting" => {
            let name = asked["name"].as_str().unwrap_or_default();
            let set = registry.emulator.registry(|state| state.account_settings.contains_key(name));
            let default = ACCOUNT_SETTINGS.iter().find(|(known, _)| *known == name).map(|(_, values)| values[0]);
            if let (Some(false), Some(default)) = (set, default) {
                answer["value"] = default.into();
            }
        }
        "ListPullTimeUpdateExclusions" => {
            let exclusions = answer["pullTimeUpdateExclusions"].as_array_mut().into_iter().flatten();
            exclusions.for_each(|exclusion| *exclusion = exclusion["principalArn"].take());
        }
        "RegisterPullTimeUpdateExclusion" => answer["createdAt"] = chrono::Utc::now().timestamp().into(),
        "DeleteSigningConfiguration" => answer["registryId"] = registry.emulator.account.clone().into(),
        "DescribeImages" => {
            let name = asked["repositoryName"].as_str().unwrap_or_default();
            for detail in answer["imageDetails"].as_array_mut().into_iter().flatten() {
                let digest = detail["imageDigest"].as_str().unwrap_or_default();
                let size = registry.emulator.repository(name, |found| image_size(found, digest)).flatten();
                if let Some(size) = size {
                    detail["imageSizeInBytes"] = size.into();
                }
            }
        }
        _ => return false,
    }
    true
}

/// The size of an image's layers, without what it stands for elsewhere.
fn image_size(repository: &fakecloud_ecr::Repository, digest: &str) -> Option<u64> {
    let manifest: Value = serde_json::from_str(&repository.images.get(digest)?.image_manifest).ok()?;
    let layers = manifest["layers"].as_array()?;
    Some(layers.iter().filter_map(|layer| layer["size"].as_u64()).sum())
}

fn policy(asked: &Value, subject: Subject) -> Result<Value, ApiError> {
    let text = document::read(asked["policyText"].as_str().unwrap_or_default(), subject).ok_or_else(|| {
        let what = match subject {
            Subject::Repository => "repository",
            Subject::Registry => "registry",
        };
        invalid("PolicyText", &format!("Invalid {what} policy provided"))
    })?;
    let mut asked = asked.clone();
    asked["policyText"] = text.into();
    Ok(asked)
}

fn tags(registry: &Registry, asked: &Value) -> Result<(), ApiError> {
    let added: Vec<_> =
        asked["tags"].as_array().into_iter().flatten().map(|tag| tag["Key"].as_str().unwrap_or_default()).collect();
    let refused = |code: &str, message: &str| Err(ApiError::new(StatusCode::BAD_REQUEST, code, message));
    if added.iter().any(|key| key.is_empty() || key.len() > 128 || key.to_ascii_lowercase().starts_with("aws:")) {
        let rule = "A tag key has 1 to 128 characters and does not begin with aws:";
        return refused("InvalidTagParameterException", rule);
    }
    let arn = asked["resourceArn"].as_str().unwrap_or_default();
    let name = arn.split_once(":repository/").map(|(_, name)| name).unwrap_or_default();
    let all = registry.emulator.repository(name, |found| {
        found
            .tags
            .keys()
            .map(String::as_str)
            .chain(added.iter().copied())
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    });
    match all.unwrap_or(added.len()) > MAX_TAGS {
        true => refused("TooManyTagsException", "The list of tags on the repository is over the limit of 50 tags"),
        false => Ok(()),
    }
}

fn account_setting(asked: &Value) -> Result<(), ApiError> {
    let name = asked["name"].as_str().unwrap_or_default();
    let Some((_, values)) = ACCOUNT_SETTINGS.iter().find(|(known, _)| *known == name) else {
        return Err(invalid("name", "the account setting is not supported"));
    };
    match asked["value"].as_str() {
        Some(value) if !values.contains(&value) => {
            Err(invalid("value", &format!("it is one of {}", values.join(", "))))
        }
        _ => Ok(()),
    }
}

fn replication(registry: &Registry, asked: &Value) -> Result<(), ApiError> {
    let rules = asked["replicationConfiguration"]["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    if rules.len() > 10 {
        return Err(invalid("replicationConfiguration", "at most 10 rules"));
    }
    let mut destinations = Vec::new();
    for rule in rules {
        let given = rule["destinations"].as_array().map(Vec::as_slice).unwrap_or_default();
        if given.is_empty() {
            return Err(invalid("destinations", "a rule has at least one destination"));
        }
        destinations.extend(given);
    }
    let emulator = &registry.emulator;
    let own = |to: &&Value| to["region"] == emulator.region.as_str() && to["registryId"] == emulator.account.as_str();
    if destinations.iter().any(own) {
        return Err(invalid("destinations", "a registry is not replicated to itself"));
    }
    let mut unique = Vec::new();
    for to in destinations {
        if !unique.contains(&to) {
            unique.push(to);
        }
    }
    match unique.len() > 25 {
        true => Err(invalid("destinations", "at most 25 destinations across all rules")),
        false => Ok(()),
    }
}

fn scanning(asked: &Value) -> Result<(), ApiError> {
    let rules = asked["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    let continuous = rules.iter().any(|rule| rule["scanFrequency"] == "CONTINUOUS_SCAN");
    match asked["scanType"].as_str() {
        _ if rules.len() > 2 => Err(invalid("rules", "at most 2 rules")),
        Some("BASIC") | None if continuous => {
            Err(invalid("scanFrequency", "CONTINUOUS_SCAN is for scan type ENHANCED only"))
        }
        _ => Ok(()),
    }
}

/// Finds out which registry a rule is for. Credentials are a secret whose name begins with ecr-pullthroughcache/.
fn upstream(asked: &Value) -> Result<Value, ApiError> {
    let host = asked["upstreamRegistryUrl"].as_str().unwrap_or_default();
    let known = UPSTREAMS.iter().find(|(name, end, _)| match asked["upstreamRegistry"].as_str() {
        Some(asked) => asked == *name,
        None if end.starts_with('.') => host.ends_with(end),
        None => host == *end,
    });
    let Some((name, _, credentials)) = known else {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "UnsupportedUpstreamRegistryException",
            "The specified upstream registry isn't supported.",
        ));
    };
    match asked["credentialArn"].as_str() {
        None if *credentials => return Err(invalid("credentialArn", "this upstream registry requires credentials")),
        Some(arn) if !arn.contains(":secret:ecr-pullthroughcache/") => {
            return Err(invalid("credentialArn", "the secret's name must begin with ecr-pullthroughcache/"));
        }
        _ => {}
    }
    let mut asked = asked.clone();
    asked["upstreamRegistry"] = json!(name);
    Ok(asked)
}

/// Whether what a request is about is there, or is not, as it must be.
fn existing(registry: &Registry, action: &str, asked: &Value) -> Result<(), ApiError> {
    let look = |look: &dyn Fn(&EcrState) -> bool| registry.emulator.registry(look).unwrap_or_default();
    let principal = asked["principalArn"].as_str().unwrap_or_default();
    let excluded = || look(&|state| state.pull_time_exclusions.contains_key(principal));
    let (code, message) = match action {
        "GetSigningConfiguration" | "DeleteSigningConfiguration" if look(&|it| it.signing_configuration.is_none()) => {
            ("SigningConfigurationNotFoundException", "The signing configuration does not exist for the registry.")
        }
        "RegisterPullTimeUpdateExclusion" if excluded() => {
            ("ExclusionAlreadyExistsException", "The specified pull time update exclusion already exists.")
        }
        "DeregisterPullTimeUpdateExclusion" if !excluded() => {
            ("ExclusionNotFoundException", "The specified pull time update exclusion was not found.")
        }
        "DescribePullThroughCacheRules" => {
            let prefixes = asked["ecrRepositoryPrefixes"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let mut prefixes = prefixes;
            match prefixes.any(|prefix| !look(&|state| state.pull_through_cache_rules.contains_key(prefix))) {
                true => ("PullThroughCacheRuleNotFoundException", "The pull through cache rule was not found."),
                false => return Ok(()),
            }
        }
        _ => return Ok(()),
    };
    Err(ApiError::new(StatusCode::BAD_REQUEST, code, message))
}

fn invalid(parameter: &str, rule: &str) -> ApiError {
    ApiError::invalid_parameter(&format!("Invalid parameter at '{parameter}' failed to satisfy constraint: '{rule}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry() -> Registry {
        let registry = Registry::alone();
        registry.emulator.add_repository("app");
        registry.emulator.change_repository("app", |repository| {
            repository.tags = (0..50).map(|n| (format!("tag-{n}"), String::new())).collect();
        });
        registry
    }

    fn statement(more: Value) -> String {
        let mut statement = json!({"Effect": "Allow", "Principal": "*", "Action": "ecr:*"});
        statement.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!({"Statement": [statement]}).to_string()
    }

    #[test]
    fn what_ecr_refuses_is_refused_with_its_code() {
        let registry = registry();
        let arn = "arn:aws:ecr:eu-west-1:123456789012:repository/app";
        let to = |region: &str| json!({"destinations": [{"region": region, "registryId": "123456789012"}]});
        for (action, asked, code) in [
            ("SetRepositoryPolicy", json!({"policyText": "{}"}), "InvalidParameterException"),
            ("PutRegistryPolicy", json!({"policyText": statement(json!({}))}), "InvalidParameterException"),
            ("TagResource", json!({"resourceArn": arn, "tags": [{"Key": "new"}]}), "TooManyTagsException"),
            ("TagResource", json!({"resourceArn": arn, "tags": [{"Key": "aws:x"}]}), "InvalidTagParameterException"),
            ("PutAccountSetting", json!({"name": "COLOUR", "value": "RED"}), "InvalidParameterException"),
            ("PutAccountSetting", json!({"name": "BLOB_MOUNTING", "value": "V2"}), "InvalidParameterException"),
            (
                "PutReplicationConfiguration",
                json!({"replicationConfiguration": {"rules": [to("eu-west-1")]}}),
                "InvalidParameterException",
            ),
            (
                "PutRegistryScanningConfiguration",
                json!({"scanType": "BASIC", "rules": [{"scanFrequency": "CONTINUOUS_SCAN"}]}),
                "InvalidParameterException",
            ),
            (
                "CreatePullThroughCacheRule",
                json!({"upstreamRegistryUrl": "registry.example.com"}),
                "UnsupportedUpstreamRegistryException",
            ),
            (
                "CreatePullThroughCacheRule",
                json!({"upstreamRegistryUrl": "registry-1.docker.io"}),
                "InvalidParameterException",
            ),
            ("GetSigningConfiguration", json!({}), "SigningConfigurationNotFoundException"),
            ("DeregisterPullTimeUpdateExclusion", json!({"principalArn": "x"}), "ExclusionNotFoundException"),
            (
                "DescribePullThroughCacheRules",
                json!({"ecrRepositoryPrefixes": ["none"]}),
                "PullThroughCacheRuleNotFoundException",
            ),
        ] {
            let refused = before(&registry, action, &asked).expect_err(action);
            assert_eq!(refused.code(), code, "{action} {asked}");
        }
    }

    #[test]
    fn what_ecr_takes_is_taken() {
        let registry = registry();
        let arn = "arn:aws:ecr:eu-west-1:123456789012:repository/app";
        for (action, asked) in [
            ("SetRepositoryPolicy", json!({"policyText": statement(json!({}))})),
            ("PutRegistryPolicy", json!({"policyText": statement(json!({"Resource": "*"}))})),
            ("TagResource", json!({"resourceArn": arn, "tags": [{"Key": "tag-1", "Value": "new"}]})),
            ("PutAccountSetting", json!({"name": "BASIC_SCAN_TYPE_VERSION", "value": "CLAIR"})),
            ("DescribePullThroughCacheRules", json!({})),
            ("DescribeRepositories", json!({})),
        ] {
            assert!(before(&registry, action, &asked).is_ok(), "{action} {asked}");
        }
        let rule = json!({"upstreamRegistryUrl": "mine.azurecr.io",
            "credentialArn": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:ecr-pullthroughcache/mine-AbCdEf"});
        let written = before(&registry, "CreatePullThroughCacheRule", &rule).expect("taken").expect("a change");
        assert_eq!(written["upstreamRegistry"], "azure-container-registry");
    }

    #[test]
    fn answers_are_such_as_sdks_read() {
        let registry = registry();
        let mut listed = json!({"pullTimeUpdateExclusions": [{"principalArn": "arn:x", "registeredAt": 1}]});
        assert!(after(&registry, "ListPullTimeUpdateExclusions", &json!({}), &mut listed));
        assert_eq!(listed["pullTimeUpdateExclusions"], json!(["arn:x"]));
        let mut setting = json!({"name": "REGISTRY_POLICY_SCOPE", "value": "DISABLED"});
        after(&registry, "GetAccountSetting", &json!({"name": "REGISTRY_POLICY_SCOPE"}), &mut setting);
        assert_eq!(setting["value"], "V2");
    }
}
