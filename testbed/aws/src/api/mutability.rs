//! Tag mutability with exclusion filters, which the emulator refuses.
//!
//! The emulator is told `MUTABLE`; the front keeps the filters, shows them, and refuses the pushes that they forbid.

use std::collections::HashMap;

use fakecloud_ecr::Repository;
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::answer::ApiError;
use super::operation::Operation;
use crate::emulator::Emulator;
use crate::policy::selection::matches;

const IMMUTABLE: &str = "IMMUTABLE";
const IMMUTABLE_WITH_EXCLUSION: &str = "IMMUTABLE_WITH_EXCLUSION";
const MUTABLE_WITH_EXCLUSION: &str = "MUTABLE_WITH_EXCLUSION";
/// <https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutImageTagMutability.html>
const MAX_FILTERS: usize = 5;
/// <https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ImageTagMutabilityExclusionFilter.html>
const MAX_FILTER_LENGTH: usize = 128;
const MAX_WILDCARDS: usize = 2;

/// The filters, by repository.
#[derive(Default)]
pub(crate) struct Exclusions(Mutex<HashMap<String, Vec<String>>>);

/// A mutability that only the front knows, on its way to a repository.
pub(crate) struct Change {
    mutability: String,
    filters: Vec<String>,
}

impl Change {
    /// The request in words that the emulator knows.
    pub(crate) fn without_exclusions(&self, asked: &Value) -> Value {
        let mut known = asked.clone();
        known["imageTagMutability"] = "MUTABLE".into();
        if let Some(fields) = known.as_object_mut() {
            fields.remove("imageTagMutabilityExclusionFilters");
        }
        known
    }
}

impl Exclusions {
    /// Checks a request before the emulator sees it.
    pub(crate) fn before(
        &self,
        emulator: &Emulator,
        operation: &Operation,
        asked: &Value,
    ) -> Result<Option<Change>, ApiError> {
        match operation.action.as_str() {
            "CreateRepository" | "PutImageTagMutability" => change(asked),
            "PutImage" => self.check_put_image(emulator, asked).map(|()| None),
            _ => Ok(None),
        }
    }

    /// Keeps what the emulator took for something else.
    pub(crate) fn after(&self, emulator: &Emulator, operation: &Operation, asked: &Value, change: Option<Change>) {
        if !matches!(operation.action.as_str(), "CreateRepository" | "PutImageTagMutability" | "DeleteRepository") {
            return;
        }
        let name = asked["repositoryName"].as_str().unwrap_or_default();
        let mut filters = self.0.lock();
        filters.remove(name);
        if let Some(change) = change {
            filters.insert(name.to_owned(), change.filters);
            emulator.change_repository(name, |repository| {
                repository.image_tag_mutability = change.mutability;
            });
        }
    }

    /// Shows mutability and filters in a description of a repository.
    pub(crate) fn show(&self, emulator: &Emulator, description: &mut Value) {
        let name = description["repositoryName"].as_str().unwrap_or_default();
        let filters = self.0.lock().get(name).cloned();
        let mutability = emulator.repository(name, |r| r.image_tag_mutability.clone());
        if let (Some(filters), Some(mutability)) = (filters, mutability) {
            description["imageTagMutability"] = mutability.into();
            description["imageTagMutabilityExclusionFilters"] =
                filters.iter().map(|filter| json!({"filterType": "WILDCARD", "filter": filter})).collect();
        }
    }

    /// Whether `tag` may not be moved from the image that it names to the one of `digest`.
    pub(crate) fn refuses(&self, repository: &Repository, tag: &str, digest: &str) -> bool {
        let moves = repository.image_tags.get(tag).is_some_and(|current| current != digest);
        let excluded = || {
            let filters = self.0.lock();
            let filters = filters.get(&repository.repository_name);
            filters.is_some_and(|filters| filters.iter().any(|filter| matches(filter, tag)))
        };
        moves
            && match repository.image_tag_mutability.as_str() {
                IMMUTABLE => true,
                IMMUTABLE_WITH_EXCLUSION => !excluded(),
                MUTABLE_WITH_EXCLUSION => excluded(),
                _ => false,
            }
    }

    fn check_put_image(&self, emulator: &Emulator, asked: &Value) -> Result<(), ApiError> {
        let name = asked["repositoryName"].as_str().unwrap_or_default();
        let (Some(tag), Some(manifest)) = (asked["imageTag"].as_str(), asked["imageManifest"].as_str()) else {
            return Ok(());
        };
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(manifest)));
        match emulator.repository(name, |repository| self.refuses(repository, tag, &digest)) {
            Some(true) => {
                Err(ApiError::new(StatusCode::BAD_REQUEST, "ImageTagAlreadyExistsException", &immutable_tag(name, tag)))
            }
            _ => Ok(()),
        }
    }
}

/// ECR's words for a push onto an immutable tag.
pub(crate) fn immutable_tag(repository: &str, tag: &str) -> String {
    format!(
        "The image tag '{tag}' already exists in the '{repository}' repository and cannot be overwritten because the \
         repository is immutable."
    )
}

/// Whether the filters of a request are such as ECR takes.
pub(super) fn check(asked: &Value) -> Result<(), ApiError> {
    change(asked).map(|_| ())
}

fn change(asked: &Value) -> Result<Option<Change>, ApiError> {
    let mutability = asked["imageTagMutability"].as_str().unwrap_or_default();
    let filters = asked["imageTagMutabilityExclusionFilters"].as_array();
    if !matches!(mutability, IMMUTABLE_WITH_EXCLUSION | MUTABLE_WITH_EXCLUSION) {
        return match filters {
            Some(filters) if !filters.is_empty() => {
                Err(invalid("exclusion filters are only taken with a mutability that has exclusions"))
            }
            _ => Ok(None),
        };
    }
    let filters = filters.map(Vec::as_slice).unwrap_or_default();
    if filters.is_empty() || filters.len() > MAX_FILTERS {
        return Err(invalid("there must be between 1 and 5 filters"));
    }
    let filters = filters.iter().map(filter).collect::<Result<_, _>>()?;
    Ok(Some(Change { mutability: mutability.to_owned(), filters }))
}

fn filter(asked: &Value) -> Result<String, ApiError> {
    if asked["filterType"] != "WILDCARD" {
        return Err(invalid("filterType must be WILDCARD"));
    }
    let filter = asked["filter"].as_str().unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._*-".contains(c);
    if filter.is_empty() || filter.len() > MAX_FILTER_LENGTH || !filter.chars().all(allowed) {
        return Err(invalid("a filter is 1 to 128 letters, digits, '.', '_', '-' and '*'"));
    }
    if filter.matches('*').count() > MAX_WILDCARDS {
        return Err(invalid("a filter has at most 2 wildcards"));
    }
    Ok(filter.to_owned())
}

fn invalid(rule: &str) -> ApiError {
    ApiError::invalid_parameter(&format!(
        "Invalid parameter at 'imageTagMutabilityExclusionFilters' failed to satisfy constraint: '{rule}'"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(mutability: &str) -> Repository {
        let arn = fakecloud_ecr::repository_arn("eu-west-1", "123456789012", "app");
        let mut repository = Repository::new("app", arn, "123456789012", "registry");
        repository.image_tag_mutability = mutability.to_owned();
        for tag in ["latest", "v1"] {
            repository.image_tags.insert(tag.to_owned(), "sha256:old".to_owned());
        }
        repository
    }

    fn filters(filters: &[&str]) -> Exclusions {
        let filters = filters.iter().map(|f| (*f).to_owned()).collect();
        Exclusions(Mutex::new(HashMap::from([("app".to_owned(), filters)])))
    }

    #[test]
    fn an_immutable_repository_refuses_to_move_a_tag() {
        let none = Exclusions::default();
        let repository = repository(IMMUTABLE);
        assert!(none.refuses(&repository, "v1", "sha256:new"));
        assert!(!none.refuses(&repository, "v1", "sha256:old"));
        assert!(!none.refuses(&repository, "v2", "sha256:new"));
    }

    #[test]
    fn exclusions_turn_the_rule_around() {
        let latest = filters(&["lat*"]);
        let immutable = repository(IMMUTABLE_WITH_EXCLUSION);
        assert!(!latest.refuses(&immutable, "latest", "sha256:new"));
        assert!(latest.refuses(&immutable, "v1", "sha256:new"));
        let mutable = repository(MUTABLE_WITH_EXCLUSION);
        assert!(latest.refuses(&mutable, "latest", "sha256:new"));
        assert!(!latest.refuses(&mutable, "v1", "sha256:new"));
    }

    #[test]
    fn a_wildcard_stands_for_any_characters() {
        for (filter, tag, accepted) in [
            ("latest", "latest", true),
            ("latest", "latest-2", false),
            ("dev-*", "dev-", true),
            ("*-rc*", "1.2-rc3", true),
            ("*-rc*", "1.2", false),
            ("*", "anything", true),
        ] {
            assert_eq!(matches(filter, tag), accepted, "{filter} on {tag}");
        }
    }

    #[test]
    fn filters_that_ecr_would_refuse_are_refused() {
        let ask = |filter: &str| {
            change(&json!({
                "imageTagMutability": IMMUTABLE_WITH_EXCLUSION,
                "imageTagMutabilityExclusionFilters": [{"filterType": "WILDCARD", "filter": filter}],
            }))
        };
        assert!(ask("dev-*").is_ok());
        assert!(ask("").is_err());
        assert!(ask("a b").is_err());
        assert!(ask("*a*b*").is_err());
    }
}
