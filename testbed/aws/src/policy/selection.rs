//! Which images a lifecycle policy acts upon.
//! <https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html#lp_evaluation_rules>

use std::cmp::Reverse;
use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use fakecloud_ecr::{Image, Repository};
use serde_json::Value;

use super::lifecycle::{ActionKind, CountType, Policy, Rule, Selection, StorageClass, TagStatus};

/// What a rule does to an image.
#[derive(Debug)]
pub(crate) struct Selected<'a> {
    pub(crate) image: &'a Image,
    pub(crate) tags: Vec<&'a str>,
    pub(crate) priority: u32,
    pub(crate) action: ActionKind,
    pub(crate) class: StorageClass,
}

/// What a policy would do, in the order of its rules, the oldest images first. An image that a rule selects by its tags
/// is beyond the reach of later rules, acted upon or not.
pub(crate) fn select<'a>(policy: &Policy, repository: &'a Repository, now: DateTime<Utc>) -> Vec<Selected<'a>> {
    let kept = kept_by_others(repository);
    let mut claimed = BTreeSet::new();
    let mut selected = Vec::new();
    for rule in &policy.rules {
        let mut images: Vec<_> = repository
            .images
            .values()
            .filter(|image| class_of(image) == rule.selection.class())
            .map(|image| (image, tags_of(repository, image)))
            .filter(|(_, tags)| rule.selection.selects(tags))
            .collect();
        images.sort_by_key(|(image, _)| Reverse(image.image_pushed_at));
        let mut acted: Vec<_> = images
            .iter()
            .enumerate()
            .filter(|(age, (image, _))| is_due(rule, *age, image, now))
            .map(|(_, found)| found)
            .filter(|(image, _)| !claimed.contains(&image.image_digest) && !kept.contains(&image.image_digest))
            .map(|(image, tags)| Selected {
                image,
                tags: tags.clone(),
                priority: rule.rule_priority,
                action: rule.action.kind,
                class: rule.selection.class(),
            })
            .collect();
        acted.reverse();
        selected.extend(acted);
        claimed.extend(images.iter().map(|(image, _)| image.image_digest.clone()));
    }
    selected
}

/// Images that an index names, and what refers to an image that is there: they go with those, not by a rule.
fn kept_by_others(repository: &Repository) -> BTreeSet<String> {
    let mut kept = BTreeSet::new();
    for image in repository.images.values() {
        let manifest: Value = serde_json::from_str(&image.image_manifest).unwrap_or_default();
        let children = manifest["manifests"].as_array().into_iter().flatten();
        kept.extend(children.filter_map(|child| child["digest"].as_str()).map(str::to_owned));
        if manifest["subject"]["digest"].as_str().is_some_and(|subject| repository.images.contains_key(subject)) {
            kept.insert(image.image_digest.clone());
        }
    }
    kept
}

/// Whether a rule acts upon an image, which is the `age`th youngest of those that it selects.
fn is_due(rule: &Rule, age: usize, image: &Image, now: DateTime<Utc>) -> bool {
    let number = rule.selection.count_number;
    let since = match rule.selection.count_type {
        CountType::ImageCountMoreThan => return age >= usize::try_from(number).unwrap_or(usize::MAX),
        CountType::SinceImagePushed => Some(image.image_pushed_at),
        CountType::SinceImagePulled => {
            let restored = image.last_activated_at.unwrap_or(image.image_pushed_at);
            Some(image.last_recorded_pull_time.map_or(restored, |pulled| pulled.max(restored)))
        }
        CountType::SinceImageTransitioned => image.last_archived_at,
    };
    since.is_some_and(|since| now - since > TimeDelta::days(number.into()))
}

fn class_of(image: &Image) -> StorageClass {
    match image.image_status.as_str() {
        "ARCHIVED" => StorageClass::Archive,
        _ => StorageClass::Standard,
    }
}

/// The tags of an image.
pub(crate) fn tags_of<'a>(repository: &'a Repository, image: &Image) -> Vec<&'a str> {
    let tags = repository.image_tags.iter().filter(|(_, digest)| **digest == image.image_digest);
    tags.map(|(tag, _)| tag.as_str()).collect()
}

impl Selection {
    fn selects(&self, tags: &[&str]) -> bool {
        let every = |list: &[String], accepts: fn(&str, &str) -> bool| {
            list.iter().all(|entry| tags.iter().any(|tag| accepts(entry, tag)))
        };
        match self.tag_status {
            TagStatus::Any => true,
            TagStatus::Untagged => tags.is_empty(),
            TagStatus::Tagged => {
                !tags.is_empty()
                    && every(&self.tag_prefix_list, |prefix, tag| tag.starts_with(prefix))
                    && every(&self.tag_pattern_list, matches)
            }
        }
    }
}

/// Whether a pattern, in which `*` stands for any characters, accepts a tag.
pub(crate) fn matches(pattern: &str, tag: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == tag,
        Some((start, rest)) => tag.strip_prefix(start).is_some_and(|tag| {
            tag.char_indices().map(|(at, _)| at).chain([tag.len()]).any(|at| matches(rest, &tag[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn repository(images: &[(&str, i64, &[&str])], now: DateTime<Utc>) -> Repository {
        let arn = fakecloud_ecr::repository_arn("eu-west-1", "123456789012", "app");
        let mut repository = Repository::new("app", arn, "123456789012", "registry");
        for (digest, days, tags) in images {
            add(&mut repository, digest, &json!({}), now - TimeDelta::days(*days));
            for tag in *tags {
                repository.image_tags.insert((*tag).to_owned(), (*digest).to_owned());
            }
        }
        repository
    }

    fn add(repository: &mut Repository, digest: &str, manifest: &Value, pushed: DateTime<Utc>) {
        let image = json!({
            "image_digest": digest,
            "image_manifest": manifest.to_string(),
            "image_manifest_media_type": "application/vnd.oci.image.manifest.v1+json",
            "image_size_in_bytes": 0,
            "image_pushed_at": pushed,
        });
        repository.images.insert(digest.to_owned(), serde_json::from_value(image).expect("an image"));
    }

    fn rule(priority: u32, tags: Value, count: Value) -> Value {
        let mut selection = tags;
        selection.as_object_mut().expect("an object").extend(count.as_object().expect("an object").clone());
        json!({"rulePriority": priority, "selection": selection, "action": {"type": "expire"}})
    }

    fn keep(count: u32) -> Value {
        json!({"countType": "imageCountMoreThan", "countNumber": count})
    }

    fn days(count: u32) -> Value {
        json!({"countType": "sinceImagePushed", "countUnit": "days", "countNumber": count})
    }

    fn expired(repository: &Repository, rules: Value, now: DateTime<Utc>) -> Vec<(String, u32)> {
        let policy = Policy::read(&format!("{:<100}", json!({"rules": rules}).to_string())).expect("a policy");
        let selected = select(&policy, repository, now);
        selected.into_iter().map(|found| (found.image.image_digest.clone(), found.priority)).collect()
    }

    #[test]
    fn the_oldest_beyond_a_count_and_those_beyond_an_age_go() {
        let now = Utc::now();
        let images = repository(&[("a", 1, &["v3"]), ("b", 2, &["v2"]), ("c", 3, &["v1"]), ("d", 9, &[])], now);
        let rules = json!([
            rule(1, json!({"tagStatus": "tagged", "tagPatternList": ["v*"]}), keep(1)),
            rule(2, json!({"tagStatus": "untagged"}), days(7)),
        ]);
        assert_eq!(expired(&images, rules, now), [("c".into(), 1), ("b".into(), 1), ("d".into(), 2)]);
    }

    #[test]
    fn what_an_earlier_rule_selects_is_beyond_later_ones_but_counts_for_them() {
        let now = Utc::now();
        let images = repository(&[("a", 1, &["v2"]), ("b", 2, &["v1"]), ("c", 3, &["x"])], now);
        let rules = json!([
            rule(1, json!({"tagStatus": "tagged", "tagPrefixList": ["v"]}), keep(5)),
            rule(2, json!({"tagStatus": "any"}), keep(2)),
        ]);
        assert_eq!(expired(&images, rules, now), [("c".into(), 2)]);
    }

    #[test]
    fn every_entry_of_a_list_must_accept_one_of_the_tags() {
        let now = Utc::now();
        let images = repository(&[("a", 2, &["dev-1", "qa-1"]), ("b", 3, &["dev-2"])], now);
        let rules = json!([rule(1, json!({"tagStatus": "tagged", "tagPatternList": ["dev-*", "qa-*"]}), days(1))]);
        assert_eq!(expired(&images, rules, now), [("a".into(), 1)]);
    }

    #[test]
    fn children_of_an_index_and_what_refers_to_an_image_stay() {
        let now = Utc::now();
        let mut images = repository(&[("child", 9, &[]), ("loose", 9, &[])], now);
        add(&mut images, "index", &json!({"manifests": [{"digest": "child"}]}), now);
        add(&mut images, "signature", &json!({"subject": {"digest": "child"}}), now - TimeDelta::days(9));
        let rules = json!([rule(1, json!({"tagStatus": "untagged"}), days(1))]);
        assert_eq!(expired(&images, rules, now), [("loose".into(), 1)]);
    }
}
