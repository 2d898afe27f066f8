//! Mirrors that write the same tags: the older one writes. Nothing here does I/O.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use oci_copy::Repository;

use super::names::repository_name;
use super::selection::Rules;
use crate::api::ImageMirror;

/// The tags that older mirrors write to a repository, each with the mirror that does. `registry` is the name of the
/// EcrRegistry.
pub(super) fn rivals<'t>(
    mirror: &ImageMirror,
    all: &[Arc<ImageMirror>],
    registry: &str,
    repository: &str,
    tags: impl Iterator<Item = &'t str> + Clone,
) -> BTreeMap<String, String> {
    let older = |other: &ImageMirror| other.metadata.deletion_timestamp.is_none() && age(other) < age(mirror);
    select(all.iter().filter(|other| older(other)), registry, repository, tags)
}

/// The tags of a repository that other mirrors select, each with one of the mirrors.
pub(super) fn others<'t>(
    mirror: &ImageMirror,
    all: &[Arc<ImageMirror>],
    registry: &str,
    repository: &str,
    tags: impl Iterator<Item = &'t str> + Clone,
) -> BTreeMap<String, String> {
    select(all.iter().filter(|other| other.metadata.uid != mirror.metadata.uid), registry, repository, tags)
}

fn select<'t, 'm>(
    mirrors: impl Iterator<Item = &'m Arc<ImageMirror>>,
    registry: &str,
    repository: &str,
    tags: impl Iterator<Item = &'t str> + Clone,
) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for other in mirrors.filter(|other| writes_to(other, registry, repository)) {
        let Ok(rules) = Rules::new(&other.spec.tags) else { continue };
        let title = format!("ImageMirror {}/{}", other.namespace().unwrap_or_default(), other.name_any());
        let taken = tags.clone().filter(|tag| !super::is_digest(tag) && writes(other, &rules, tag));
        for tag in taken {
            found.entry(tag.to_owned()).or_insert_with(|| title.clone());
        }
    }
    found
}

/// The order of age. The UID decides between those of the same second, and tells a mirror from itself.
fn age(mirror: &ImageMirror) -> (Timestamp, &str) {
    let created = mirror.metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0);
    (created, mirror.metadata.uid.as_deref().unwrap_or_default())
}

fn writes_to(mirror: &ImageMirror, registry: &str, repository: &str) -> bool {
    let mut destinations =
        mirror.spec.destinations.iter().filter(|destination| destination.registry_ref.name == registry).peekable();
    if destinations.peek().is_none() {
        return false;
    }
    let Ok(source) = mirror.spec.source.image.parse::<Repository>() else { return false };
    let namespace = mirror.namespace().unwrap_or_default();
    destinations.any(|it| repository_name(it.repository_name.as_deref(), &source, &namespace) == repository)
}

/// Whether a mirror selects a tag. With `latest` its rules alone don't tell; then its status does, if it has all tags.
fn writes(mirror: &ImageMirror, rules: &Rules, tag: &str) -> bool {
    if rules.rejects(tag).is_some() {
        return false;
    }
    let destinations = mirror.status.iter().flat_map(|status| &status.destinations);
    let mut told = destinations.filter(|told| told.more_tags == 0 && !told.tags.is_empty()).peekable();
    mirror.spec.tags.latest.is_none()
        || mirror.spec.tags.names.iter().any(|name| name == tag)
        || told.peek().is_none()
        || told.any(|told| told.tags.iter().any(|known| known.name == tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{DestinationStatus, ImageMirrorSpec, ImageMirrorStatus, TagStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn mirror(name: &str, second: i64, spec: &str) -> Arc<ImageMirror> {
        let spec: ImageMirrorSpec = serde_saphyr::from_str(spec).expect("a spec");
        let mut mirror = ImageMirror::new(name, spec);
        mirror.metadata.namespace = Some("ns".into());
        mirror.metadata.uid = Some(format!("uid-{name}"));
        mirror.metadata.creation_timestamp = Some(Time(Timestamp::from_second(second).expect("in range")));
        Arc::new(mirror)
    }

    const SHARED: &str = "destinations: [{repositoryName: shared, createRepository: false}]";

    fn taken(of: &ImageMirror, all: &[Arc<ImageMirror>], tags: &[&str]) -> Vec<String> {
        rivals(of, all, "default", "shared", tags.iter().copied()).into_keys().collect()
    }

    #[test]
    fn the_older_mirror_writes_the_tags_that_both_select() {
        let old = mirror("old", 1, &format!("source: {{image: a/a}}\ntags: {{names: ['1', '2']}}\n{SHARED}"));
        let new = mirror("new", 2, &format!("source: {{image: b/b}}\ntags: {{names: ['2', '3']}}\n{SHARED}"));
        let all = [new.clone(), old.clone()];
        assert_eq!(taken(&new, &all, &["2", "3"]), ["2"]);
        assert!(taken(&old, &all, &["1", "2"]).is_empty());
        let who = rivals(&new, &all, "default", "shared", ["2"].into_iter());
        assert_eq!(who["2"], "ImageMirror ns/old");
    }

    #[test]
    fn a_tag_is_selected_by_others_whatever_their_age() {
        let old = mirror("old", 1, &format!("source: {{image: a/a}}\ntags: {{names: ['1', '2']}}\n{SHARED}"));
        let new = mirror("new", 2, &format!("source: {{image: b/b}}\ntags: {{names: ['2', '3']}}\n{SHARED}"));
        let all = [new, old.clone()];
        let taken = others(&old, &all, "default", "shared", ["1", "2", "3"].into_iter());
        assert_eq!(taken.into_keys().collect::<Vec<_>>(), ["2", "3"]);
    }

    #[test]
    fn another_repository_or_registry_is_no_conflict() {
        let tags = "tags: {names: ['1']}";
        let elsewhere = "destinations: [{registryRef: {name: us}, repositoryName: shared}]";
        let all = [
            mirror("default-name", 1, &format!("source: {{image: a/a}}\n{tags}")),
            mirror("registry", 1, &format!("source: {{image: a/a}}\n{tags}\n{elsewhere}")),
        ];
        let new = mirror("new", 2, &format!("source: {{image: b/b}}\n{tags}\n{SHARED}"));
        assert!(taken(&new, &all, &["1"]).is_empty());
        let template = "destinations: [{repositoryName: '{name}'}]";
        let same = [mirror("template", 1, &format!("source: {{image: a/shared}}\n{tags}\n{template}"))];
        assert_eq!(taken(&new, &same, &["1"]), ["1"], "templates are filled in");
    }

    #[test]
    fn filters_of_the_older_mirror_count_and_with_latest_what_its_status_tells() {
        let new = mirror("new", 2, &format!("source: {{image: b/b}}\ntags: {{include: ['*']}}\n{SHARED}"));
        let globs = [mirror("old", 1, &format!("source: {{image: a/a}}\ntags: {{include: ['1.*']}}\n{SHARED}"))];
        assert_eq!(taken(&new, &globs, &["1.0", "2.0"]), ["1.0"]);

        let mut latest = mirror("old", 1, &format!("source: {{image: a/a}}\ntags: {{latest: 1}}\n{SHARED}"));
        assert_eq!(taken(&new, &[latest.clone()], &["1.0", "2.0"]), ["1.0", "2.0"], "not known yet");
        let told = DestinationStatus { tags: vec![TagStatus::pending("2.0")], ..DestinationStatus::default() };
        Arc::make_mut(&mut latest).status =
            Some(ImageMirrorStatus { destinations: vec![told], ..ImageMirrorStatus::default() });
        assert_eq!(taken(&new, &[latest], &["1.0", "2.0"]), ["2.0"]);
    }
}
