//! From the names of images in workloads to source repositories with tags and digests. Nothing here does I/O.

use std::collections::{BTreeMap, BTreeSet};

use oci_copy::Reference;

use crate::controllers::workloads::NamedImages;

/// The source repositories that workloads use, each with the tags and digests that they name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) repositories: BTreeMap<String, BTreeSet<String>>,
    /// How many namespaces use at least one of them.
    pub(super) namespaces: usize,
}

/// What is to be mirrored of the images that workloads name: those of the registries, by tag or by digest. A name with both is
/// pulled by its digest, so the tag does not matter. What is no name of an image, no node can pull either.
pub(super) fn found(named: &NamedImages, registries: &[String]) -> Found {
    let mut found = Found::default();
    for images in named.values() {
        let mut any = false;
        for reference in images.iter().filter_map(|image| image.parse::<Reference>().ok()) {
            let repository = reference.repository();
            if !registries.iter().any(|host| host == repository.host()) {
                continue;
            }
            any = true;
            let name = match (reference.digest(), reference.tag()) {
                (Some(digest), _) => digest.to_string(),
                (None, tag) => tag.unwrap_or("latest").to_owned(),
            };
            found.repositories.entry(repository.to_string()).or_default().insert(name);
        }
        found.namespaces += usize::from(any);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn of(images: &[(&str, &[&str])], registries: &[&str]) -> Found {
        let named = images
            .iter()
            .map(|(namespace, images)| ((*namespace).into(), images.iter().map(|image| (*image).into()).collect()))
            .collect();
        found(&named, &registries.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>())
    }

    fn names(found: &Found) -> Vec<(&str, Vec<&str>)> {
        let repositories = found.repositories.iter();
        repositories.map(|(name, tags)| (name.as_str(), tags.iter().map(String::as_str).collect())).collect()
    }

    #[test]
    fn every_spelling_of_a_name_is_the_same_repository() {
        let images: &[&str] = &[
            "nginx",
            "nginx:1.27",
            "library/nginx:1.26",
            "docker.io/nginx:1.25",
            "index.docker.io/library/nginx:1.24",
        ];
        let found = of(&[("a", images)], &["docker.io"]);
        assert_eq!(names(&found), [("docker.io/library/nginx", vec!["1.24", "1.25", "1.26", "1.27", "latest"])]);
    }

    #[test]
    fn only_the_registries_asked_for_count() {
        let images: &[&str] = &["nginx:1", "quay.io/team/app:1", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/api:1"];
        assert_eq!(names(&of(&[("a", images)], &["quay.io"])), [("quay.io/team/app", vec!["1"])]);
    }

    #[test]
    fn a_name_with_tag_and_digest_is_mirrored_by_its_digest() {
        let with_both = format!("nginx:1.27@{DIGEST}");
        let found = of(&[("a", &[&with_both])], &["docker.io"]);
        assert_eq!(names(&found), [("docker.io/library/nginx", vec![DIGEST])]);
    }

    #[test]
    fn namespaces_count_that_use_something_of_it_and_nonsense_is_left_out() {
        let found = of(
            &[("a", &["nginx"]), ("b", &["nginx"]), ("c", &["quay.io/x"]), ("d", &["Not An Image"])],
            &["docker.io"],
        );
        assert_eq!((found.repositories.len(), found.namespaces), (1, 2));
    }
}
