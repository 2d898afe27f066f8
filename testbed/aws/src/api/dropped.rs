//! Fields that the emulator takes and forgets: they are kept here and put back into its answers.

use std::collections::HashMap;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::answer::ApiError;
use super::mutability;

/// The fields, by what they belong to.
#[derive(Default)]
pub(crate) struct Dropped(Mutex<HashMap<(Kind, String), Map<String, Value>>>);

/// What has such fields.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Kind {
    CacheRule,
    Template,
}

impl Kind {
    /// What an action is about, and whether it makes, changes or removes one.
    fn of(action: &str) -> Option<(Self, Change)> {
        Some(match action {
            "CreatePullThroughCacheRule" => (Self::CacheRule, Change::Made),
            "DeletePullThroughCacheRule" => (Self::CacheRule, Change::Removed),
            "UpdatePullThroughCacheRule" | "DescribePullThroughCacheRules" | "ValidatePullThroughCacheRule" => {
                (Self::CacheRule, Change::None)
            }
            "CreateRepositoryCreationTemplate" => (Self::Template, Change::Made),
            "UpdateRepositoryCreationTemplate" => (Self::Template, Change::Updated),
            "DeleteRepositoryCreationTemplate" => (Self::Template, Change::Removed),
            "DescribeRepositoryCreationTemplates" => (Self::Template, Change::None),
            _ => return None,
        })
    }

    /// The field that names one.
    fn key(self) -> &'static str {
        match self {
            Self::CacheRule => "ecrRepositoryPrefix",
            Self::Template => "prefix",
        }
    }

    /// The fields that the emulator forgets.
    fn forgotten(self, asked: &Value, change: Change) -> Map<String, Value> {
        let mut fields = Map::new();
        match self {
            Self::CacheRule => {
                let prefix = asked["upstreamRepositoryPrefix"].as_str().unwrap_or("ROOT");
                fields.insert("upstreamRepositoryPrefix".to_owned(), json!(prefix));
            }
            Self::Template => {
                let filters = &asked["imageTagMutabilityExclusionFilters"];
                if !filters.is_null() || change == Change::Made || !asked["imageTagMutability"].is_null() {
                    fields.insert("imageTagMutabilityExclusionFilters".to_owned(), filters.clone());
                }
            }
        }
        fields
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    None,
    Made,
    Updated,
    Removed,
}

impl Dropped {
    /// Checks the fields before the emulator sees the request.
    pub(crate) fn check(action: &str, asked: &Value) -> Result<(), ApiError> {
        match Kind::of(action) {
            Some((Kind::Template, Change::Made | Change::Updated)) => mutability::check(asked),
            _ => Ok(()),
        }
    }

    /// Keeps what the emulator forgot, and puts it into its answer.
    pub(crate) fn complete(&self, action: &str, asked: &Value, answer: &mut Value) -> bool {
        let Some((kind, change)) = Kind::of(action) else { return false };
        let name = asked[kind.key()].as_str().unwrap_or_default().to_owned();
        if matches!(change, Change::Made | Change::Updated) {
            let fields = kind.forgotten(asked, change);
            self.0.lock().entry((kind, name.clone())).or_default().extend(fields);
        }
        match answer {
            Value::Object(fields) => fields.values_mut().for_each(|value| self.fill(kind, value)),
            _ => return false,
        }
        self.fill(kind, answer);
        if change == Change::Removed {
            self.0.lock().remove(&(kind, name));
        }
        true
    }

    /// Puts the fields into one description, or into each of a list.
    fn fill(&self, kind: Kind, description: &mut Value) {
        match description {
            Value::Array(list) => list.iter_mut().for_each(|one| self.fill(kind, one)),
            Value::Object(fields) => {
                let Some(name) = fields.get(kind.key()).and_then(Value::as_str) else { return };
                if let Some(kept) = self.0.lock().get(&(kind, name.to_owned())) {
                    fields
                        .extend(kept.iter().filter(|(_, value)| !value.is_null()).map(|(k, v)| (k.clone(), v.clone())));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgotten_fields_come_back_until_their_owner_goes() {
        let dropped = Dropped::default();
        let rule = json!({"ecrRepositoryPrefix": "hub", "upstreamRepositoryPrefix": "library"});
        let mut made = json!({"ecrRepositoryPrefix": "hub"});
        dropped.complete("CreatePullThroughCacheRule", &rule, &mut made);
        assert_eq!(made["upstreamRepositoryPrefix"], "library");
        let mut listed =
            json!({"pullThroughCacheRules": [{"ecrRepositoryPrefix": "hub"}, {"ecrRepositoryPrefix": "x"}]});
        dropped.complete("DescribePullThroughCacheRules", &json!({}), &mut listed);
        assert_eq!(listed["pullThroughCacheRules"][0]["upstreamRepositoryPrefix"], "library");
        assert!(listed["pullThroughCacheRules"][1]["upstreamRepositoryPrefix"].is_null());
        dropped.complete("DeletePullThroughCacheRule", &rule, &mut json!({}));
        let mut listed = json!({"pullThroughCacheRules": [{"ecrRepositoryPrefix": "hub"}]});
        dropped.complete("DescribePullThroughCacheRules", &json!({}), &mut listed);
        assert!(listed["pullThroughCacheRules"][0]["upstreamRepositoryPrefix"].is_null());
    }

    #[test]
    fn a_templates_filters_change_only_where_the_update_names_them_or_the_mutability() {
        let dropped = Dropped::default();
        let filters = json!([{"filterType": "WILDCARD", "filter": "dev-*"}]);
        let asked = json!({"prefix": "a", "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
                           "imageTagMutabilityExclusionFilters": filters});
        let described = |action: &str, asked: &Value| {
            let mut answer = json!({"repositoryCreationTemplate": {"prefix": "a"}});
            dropped.complete(action, asked, &mut answer);
            answer["repositoryCreationTemplate"]["imageTagMutabilityExclusionFilters"].clone()
        };
        assert_eq!(described("CreateRepositoryCreationTemplate", &asked), filters);
        let text = json!({"prefix": "a", "description": "new"});
        assert_eq!(described("UpdateRepositoryCreationTemplate", &text), filters);
        let mutable = json!({"prefix": "a", "imageTagMutability": "MUTABLE"});
        assert!(described("UpdateRepositoryCreationTemplate", &mutable).is_null());
    }
}
