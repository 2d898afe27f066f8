//! Images that may not be deleted, because an index names them.
//! <https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ImageFailure.html>

use std::collections::BTreeSet;

use fakecloud_ecr::Repository;
use serde_json::{Value, json};

/// A `BatchDeleteImage` request without the images that stay, and the failures for those.
pub(super) fn allowed(repository: &Repository, asked: &Value) -> Option<(Value, Vec<Value>)> {
    let children = children(repository);
    let ids = asked["imageIds"].as_array()?;
    let (refused, allowed): (Vec<_>, Vec<_>) = ids.iter().cloned().partition(|id| {
        let digest = match (id["imageTag"].as_str(), id["imageDigest"].as_str()) {
            // Deleting a tag deletes the image only if it was the last one.
            (Some(tag), _) => repository.image_tags.get(tag).filter(|digest| tags(repository, digest) == 1),
            (None, Some(digest)) => repository.images.get_key_value(digest).map(|(digest, _)| digest),
            (None, None) => None,
        };
        digest.is_some_and(|digest| children.contains(digest.as_str()))
    });
    if refused.is_empty() {
        return None;
    }
    let failures = refused.into_iter().map(|id| {
        json!({
            "imageId": id,
            "failureCode": "ImageReferencedByManifestList",
            "failureReason": "Requested image referenced by manifest list",
        })
    });
    let mut asked = asked.clone();
    asked["imageIds"] = allowed.into();
    Some((asked, failures.collect()))
}

/// The images that an index in the repository names.
fn children(repository: &Repository) -> BTreeSet<String> {
    let manifests = repository.images.values().filter_map(|image| {
        let manifest: Value = serde_json::from_str(&image.image_manifest).ok()?;
        manifest["manifests"].as_array().cloned()
    });
    manifests.flatten().filter_map(|child| child["digest"].as_str().map(str::to_owned)).collect()
}

fn tags(repository: &Repository, digest: &str) -> usize {
    repository.image_tags.values().filter(|tagged| *tagged == digest).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> Repository {
        let arn = fakecloud_ecr::repository_arn("eu-west-1", "123456789012", "app");
        let mut repository = Repository::new("app", arn, "123456789012", "registry");
        for (digest, manifest) in [("child", json!({})), ("index", json!({"manifests": [{"digest": "child"}]}))] {
            let image = json!({
                "image_digest": digest,
                "image_manifest": manifest.to_string(),
                "image_manifest_media_type": "",
                "image_size_in_bytes": 0,
                "image_pushed_at": "2026-01-01T00:00:00Z",
            });
            repository.images.insert(digest.to_owned(), serde_json::from_value(image).expect("an image"));
        }
        repository.image_tags.insert("only".to_owned(), "child".to_owned());
        repository
    }

    #[test]
    fn an_indexs_children_stay_by_digest_and_by_their_last_tag() {
        let mut repository = repository();
        let asked = json!({"imageIds": [{"imageDigest": "child"}, {"imageDigest": "index"}, {"imageTag": "only"}]});
        let (rest, failures) = allowed(&repository, &asked).expect("a refusal");
        assert_eq!(rest["imageIds"], json!([{"imageDigest": "index"}]));
        assert_eq!(failures.len(), 2);
        assert_eq!(failures[0]["failureCode"], "ImageReferencedByManifestList");
        repository.image_tags.insert("second".to_owned(), "child".to_owned());
        let by_tag = json!({"imageIds": [{"imageTag": "only"}]});
        assert!(allowed(&repository, &by_tag).is_none(), "another tag is left");
    }
}
