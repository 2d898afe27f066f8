//! Lifecycle policies and their previews. The emulator takes any policy, acts upon it at once, and reads it in its own
//! way; so the front keeps them itself.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::answer::ApiError;
use crate::cloud::Registry;
use crate::policy::lifecycle::{ActionKind, Policy, StorageClass};
use crate::policy::selection::{Selected, select};

/// <https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetLifecyclePolicyPreview.html>
const PAGE: usize = 100;

/// The latest preview of each repository.
#[derive(Default)]
pub(crate) struct Previews(Mutex<HashMap<String, Preview>>);

#[derive(Clone)]
struct Preview {
    policy: Policy,
    done: Instant,
}

impl Previews {
    /// A repository that is deleted takes its preview along.
    pub(super) fn forget(&self, repository: &str) {
        self.0.lock().remove(repository);
    }
}

/// The front's own answer, if the operation is one of these.
pub(super) fn answer(
    registry: &Registry,
    action: &str,
    asked: &Value,
    delay: Duration,
) -> Option<Result<Value, ApiError>> {
    Some(match action {
        "PutLifecyclePolicy" => put(registry, asked),
        "StartLifecyclePolicyPreview" => start(registry, asked, delay),
        "GetLifecyclePolicyPreview" => get(registry, asked),
        _ => return None,
    })
}

/// Expires and archives what the policies select, which ECR does within 24 hours. Returns how many images it was.
pub(crate) fn run(registry: &Registry, now: DateTime<Utc>) -> usize {
    let with_policy = |name: &String| {
        let text = registry.emulator.repository(name, |found| found.lifecycle_policy.clone())??;
        Some((name.clone(), Policy::read(&text).ok()?))
    };
    let names: Vec<_> =
        registry.emulator.registry(|state| state.repositories.keys().cloned().collect()).unwrap_or_default();
    let mut acted = 0;
    for (name, policy) in names.iter().filter_map(with_policy) {
        registry.emulator.change_repository(&name, |repository| {
            let due: Vec<_> = select(&policy, repository, now)
                .into_iter()
                .map(|selected| (selected.image.image_digest.clone(), selected.action))
                .collect();
            acted += due.len();
            for (digest, action) in due {
                match (action, repository.images.get_mut(&digest)) {
                    (ActionKind::Transition, Some(image)) => {
                        image.image_status = "ARCHIVED".to_owned();
                        image.last_archived_at = Some(now);
                    }
                    _ => {
                        repository.images.remove(&digest);
                        repository.image_tags.retain(|_, tagged| *tagged != digest);
                    }
                }
            }
            repository.lifecycle_policy_last_evaluated_at = Some(now);
        });
    }
    acted
}

fn put(registry: &Registry, asked: &Value) -> Result<Value, ApiError> {
    let name = existing(registry, asked)?;
    let text = read(asked["lifecyclePolicyText"].as_str().unwrap_or_default())?.text();
    registry.emulator.change_repository(name, |repository| repository.lifecycle_policy = Some(text.clone()));
    Ok(json!({
        "registryId": registry.emulator.account,
        "repositoryName": name,
        "lifecyclePolicyText": text,
    }))
}

fn start(registry: &Registry, asked: &Value, delay: Duration) -> Result<Value, ApiError> {
    let name = existing(registry, asked)?;
    let account = &registry.emulator.account;
    let policy = match asked["lifecyclePolicyText"].as_str() {
        Some(text) => read(text)?,
        None => {
            let stored = registry.emulator.repository(name, |found| found.lifecycle_policy.clone()).flatten();
            let text = stored.ok_or_else(|| {
                let what = "Lifecycle policy does not exist";
                missing("LifecyclePolicyNotFoundException", what, name, account)
            })?;
            read(&text)?
        }
    };
    let mut previews = registry.previews.0.lock();
    let now = Instant::now();
    if previews.get(name).is_some_and(|running| now < running.done) {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "LifecyclePolicyPreviewInProgressException",
            "The previous lifecycle policy preview request has not completed. Wait and try again.",
        ));
    }
    let text = policy.text();
    previews.insert(name.to_owned(), Preview { policy, done: now + delay });
    Ok(json!({
        "registryId": account,
        "repositoryName": name,
        "lifecyclePolicyText": text,
        "status": "IN_PROGRESS",
    }))
}

fn get(registry: &Registry, asked: &Value) -> Result<Value, ApiError> {
    let name = existing(registry, asked)?;
    let account = &registry.emulator.account;
    let preview = registry.previews.0.lock().get(name).cloned().ok_or_else(|| {
        let what = "Lifecycle policy preview does not exist";
        missing("LifecyclePolicyPreviewNotFoundException", what, name, account)
    })?;
    let mut answer = json!({
        "registryId": account,
        "repositoryName": name,
        "lifecyclePolicyText": preview.policy.text(),
        "status": "IN_PROGRESS",
    });
    if Instant::now() < preview.done {
        return Ok(answer);
    }
    let results = registry.emulator.repository(name, |repository| {
        select(&preview.policy, repository, Utc::now()).iter().map(result).collect::<Vec<_>>()
    });
    let results = results.unwrap_or_default();
    answer["status"] = "COMPLETE".into();
    answer["summary"] = summary(&results);
    let results: Vec<_> = results.into_iter().filter(|result| is_asked_for(result, asked)).collect();
    let start = asked["nextToken"].as_str().map_or(Ok(0), str::parse::<usize>);
    let start = start.map_err(|_| ApiError::invalid_parameter("Invalid parameter at 'nextToken'"))?;
    let size = asked["maxResults"].as_u64().and_then(|size| usize::try_from(size).ok()).unwrap_or(PAGE);
    if !(1..=PAGE).contains(&size) {
        return Err(ApiError::invalid_parameter("Invalid parameter at 'maxResults': it is between 1 and 100"));
    }
    if start + size < results.len() {
        answer["nextToken"] = (start + size).to_string().into();
    }
    answer["previewResults"] = results.into_iter().skip(start).take(size).collect();
    Ok(answer)
}

fn result(selected: &Selected<'_>) -> Value {
    let action = match selected.action {
        ActionKind::Expire => json!({"type": "EXPIRE"}),
        ActionKind::Transition => json!({"type": "TRANSITION", "targetStorageClass": "ARCHIVE"}),
    };
    json!({
        "imageTags": selected.tags,
        "imageDigest": selected.image.image_digest,
        "imagePushedAt": selected.image.image_pushed_at.timestamp(),
        "action": action,
        "appliedRulePriority": selected.priority,
        "storageClass": match selected.class {
            StorageClass::Standard => "STANDARD",
            StorageClass::Archive => "ARCHIVE",
        },
    })
}

fn summary(results: &[Value]) -> Value {
    let expiring = results.iter().filter(|result| result["action"]["type"] == "EXPIRE").count();
    let mut summary = json!({"expiringImageTotalCount": expiring});
    if expiring < results.len() {
        let transitioning = json!({"targetStorageClass": "ARCHIVE", "imageTotalCount": results.len() - expiring});
        summary["transitioningImageTotalCounts"] = json!([transitioning]);
    }
    summary
}

/// Whether the request's filters let a result through.
fn is_asked_for(result: &Value, asked: &Value) -> bool {
    let untagged = result["imageTags"].as_array().is_none_or(Vec::is_empty);
    let by_tag = match asked["filter"]["tagStatus"].as_str() {
        Some("TAGGED") => !untagged,
        Some("UNTAGGED") => untagged,
        _ => true,
    };
    let by_id = asked["imageIds"].as_array().is_none_or(|ids| {
        ids.iter().any(|id| {
            let tags = result["imageTags"].as_array().into_iter().flatten();
            id["imageDigest"] == result["imageDigest"] || tags.into_iter().any(|tag| *tag == id["imageTag"])
        })
    });
    by_tag && by_id
}

fn read(text: &str) -> Result<Policy, ApiError> {
    Policy::read(text).map_err(|why| {
        ApiError::invalid_parameter(&format!(
            "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: '{why}'"
        ))
    })
}

/// The name of the repository that a request is about, which exists.
fn existing<'a>(registry: &Registry, asked: &'a Value) -> Result<&'a str, ApiError> {
    let name = asked["repositoryName"].as_str().unwrap_or_default();
    match registry.emulator.repository(name, |_| ()) {
        Some(()) => Ok(name),
        None => {
            let what = "The repository";
            Err(missing("RepositoryNotFoundException", what, name, &registry.emulator.account))
        }
    }
}

fn missing(code: &str, what: &str, repository: &str, account: &str) -> ApiError {
    let message = match code {
        "RepositoryNotFoundException" => {
            format!("{what} with name '{repository}' does not exist in the registry with id '{account}'")
        }
        _ => format!("{what} for the repository with name '{repository}' in the registry with id '{account}'"),
    };
    ApiError::new(StatusCode::BAD_REQUEST, code, &message)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    /// A registry whose repository `app` has images of 0 to 2 days; the oldest is tagged.
    fn registry() -> Registry {
        let registry = Registry::alone();
        registry.emulator.add_repository("app");
        registry.emulator.change_repository("app", |repository| {
            for days in 0..3 {
                let digest = format!("sha256:{days}");
                let image = json!({
                    "image_digest": digest,
                    "image_manifest": "{}",
                    "image_manifest_media_type": "application/vnd.oci.image.manifest.v1+json",
                    "image_size_in_bytes": 0,
                    "image_pushed_at": Utc::now() - TimeDelta::days(days),
                    "image_status": "ACTIVE",
                });
                let image = serde_json::from_value(image).expect("an image");
                repository.images.insert(digest, image);
            }
            repository.image_tags.insert("v1".to_owned(), "sha256:2".to_owned());
        });
        registry
    }

    fn keep_one(action: &Value) -> String {
        json!({"rules": [{"rulePriority": 3, "action": action, "selection": {
            "tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1}}]})
        .to_string()
    }

    fn asked(registry: &Registry, action: &str, more: Value, delay: u64) -> Result<Value, ApiError> {
        let mut asked = json!({"repositoryName": "app"});
        asked.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        answer(registry, action, &asked, Duration::from_millis(delay)).expect("an operation of these")
    }

    fn code(answer: Result<Value, ApiError>) -> String {
        answer.expect_err("a refusal").code().to_owned()
    }

    #[test]
    fn a_preview_says_what_would_happen_and_changes_nothing() {
        let registry = registry();
        let policy = keep_one(&json!({"type": "expire"}));
        assert_eq!(
            code(asked(&registry, "StartLifecyclePolicyPreview", json!({}), 0)),
            "LifecyclePolicyNotFoundException"
        );
        let none = asked(&registry, "GetLifecyclePolicyPreview", json!({}), 0);
        assert_eq!(code(none), "LifecyclePolicyPreviewNotFoundException");
        let started = asked(&registry, "StartLifecyclePolicyPreview", json!({"lifecyclePolicyText": policy}), 0);
        assert_eq!(started.expect("a start")["status"], "IN_PROGRESS");
        let page = asked(&registry, "GetLifecyclePolicyPreview", json!({"maxResults": 1}), 0).expect("a page");
        assert_eq!(page["status"], "COMPLETE");
        assert_eq!(page["summary"], json!({"expiringImageTotalCount": 2}));
        let result = &page["previewResults"][0];
        assert_eq!((&result["imageTags"], &result["imageDigest"]), (&json!(["v1"]), &json!("sha256:2")));
        assert_eq!((&result["appliedRulePriority"], &result["storageClass"]), (&json!(3), &json!("STANDARD")));
        let next = json!({"maxResults": 1, "nextToken": page["nextToken"]});
        let last = asked(&registry, "GetLifecyclePolicyPreview", next, 0).expect("a page");
        assert!(last["nextToken"].is_null() && last["previewResults"][0]["imageDigest"] == "sha256:1");
        let tagged = json!({"filter": {"tagStatus": "UNTAGGED"}});
        let filtered = asked(&registry, "GetLifecyclePolicyPreview", tagged, 0).expect("a page");
        assert_eq!(filtered["previewResults"].as_array().map(Vec::len), Some(1));
        assert_eq!(registry.emulator.repository("app", |found| found.images.len()), Some(3));
    }

    #[test]
    fn a_preview_that_takes_its_time_is_in_progress() {
        let registry = registry();
        let policy = json!({"lifecyclePolicyText": keep_one(&json!({"type": "expire"}))});
        assert!(asked(&registry, "StartLifecyclePolicyPreview", policy.clone(), 60_000).is_ok());
        let preview = asked(&registry, "GetLifecyclePolicyPreview", json!({}), 0).expect("a preview");
        assert!(preview["status"] == "IN_PROGRESS" && preview["previewResults"].is_null());
        let again = asked(&registry, "StartLifecyclePolicyPreview", policy, 0);
        assert_eq!(code(again), "LifecyclePolicyPreviewInProgressException");
    }

    #[test]
    fn a_policy_acts_only_when_it_is_run() {
        for (action, left, archived) in
            [(json!({"type": "expire"}), 1, 0), (json!({"type": "transition", "targetStorageClass": "archive"}), 3, 2)]
        {
            let registry = registry();
            let put = asked(&registry, "PutLifecyclePolicy", json!({"lifecyclePolicyText": keep_one(&action)}), 0);
            assert!(put.expect("taken")["lifecyclePolicyText"].is_string());
            assert_eq!(registry.emulator.repository("app", |found| found.images.len()), Some(3));
            assert_eq!(run(&registry, Utc::now()), 2);
            assert_eq!(registry.emulator.repository("app", |found| found.images.len()), Some(left));
            let now_archived = registry.emulator.repository("app", |found| {
                found.images.values().filter(|image| image.image_status == "ARCHIVED").count()
            });
            assert_eq!(now_archived, Some(archived));
        }
    }

    #[test]
    fn a_missing_repository_and_a_bad_policy_are_errors() {
        let registry = registry();
        let missing = asked(&registry, "PutLifecyclePolicy", json!({"repositoryName": "none"}), 0);
        assert_eq!(code(missing), "RepositoryNotFoundException");
        let bad = asked(&registry, "PutLifecyclePolicy", json!({"lifecyclePolicyText": "{}"}), 0);
        assert_eq!(code(bad), "InvalidParameterException");
    }
}
