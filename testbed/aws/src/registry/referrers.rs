//! The referrers of an image, which the emulator knows nothing of.
//! <https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#listing-referrers>

use fakecloud_ecr::{Image, Repository};
use serde_json::{Value, json};

/// An index of the manifests whose subject is `digest`, of one artifact type if one is asked for.
pub(crate) fn index(repository: &Repository, digest: &str, artifact_type: Option<&str>) -> Value {
    let manifests: Vec<Value> = repository
        .images
        .values()
        .filter_map(|image| referrer(image, digest))
        .filter(|found| artifact_type.is_none_or(|asked| found["artifactType"] == asked))
        .collect();
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    })
}

/// The digest that a manifest names as its subject.
pub(crate) fn subject(manifest: &[u8]) -> Option<String> {
    let manifest: Value = serde_json::from_slice(manifest).ok()?;
    manifest["subject"]["digest"].as_str().map(str::to_owned)
}

fn referrer(image: &Image, digest: &str) -> Option<Value> {
    let manifest: Value = serde_json::from_str(&image.image_manifest).ok()?;
    if manifest["subject"]["digest"] != digest {
        return None;
    }
    let mut descriptor = json!({
        "mediaType": image.image_manifest_media_type,
        "digest": image.image_digest,
        "size": image.image_manifest.len(),
    });
    // A manifest without an artifact type is of its configuration's.
    for artifact_type in [&manifest["artifactType"], &manifest["config"]["mediaType"]] {
        if artifact_type.is_string() && descriptor["artifactType"].is_null() {
            descriptor["artifactType"] = artifact_type.clone();
        }
    }
    if manifest["annotations"].is_object() {
        descriptor["annotations"] = manifest["annotations"].clone();
    }
    Some(descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(manifests: &[(&str, Value)]) -> Repository {
        let arn = fakecloud_ecr::repository_arn("eu-west-1", "123456789012", "app");
        let mut repository = Repository::new("app", arn, "123456789012", "registry");
        for (digest, manifest) in manifests {
            let image = json!({
                "image_digest": digest,
                "image_manifest": manifest.to_string(),
                "image_manifest_media_type": "application/vnd.oci.image.manifest.v1+json",
                "image_size_in_bytes": 0,
                "image_pushed_at": "2026-01-01T00:00:00Z",
            });
            let image = serde_json::from_value(image).expect("an image");
            repository.images.insert((*digest).to_owned(), image);
        }
        repository
    }

    fn digests(index: &Value) -> Vec<&str> {
        let manifests = index["manifests"].as_array().expect("manifests");
        manifests.iter().filter_map(|found| found["digest"].as_str()).collect()
    }

    #[test]
    fn referrers_are_found_by_their_subject_and_their_type() {
        let repository = repository(&[
            ("sha256:1", json!({"layers": []})),
            ("sha256:2", json!({"subject": {"digest": "sha256:1"}, "artifactType": "sbom"})),
            ("sha256:3", json!({"subject": {"digest": "sha256:1"}, "config": {"mediaType": "signature"}})),
            ("sha256:4", json!({"subject": {"digest": "sha256:9"}})),
        ]);
        let all = index(&repository, "sha256:1", None);
        assert_eq!(digests(&all), ["sha256:2", "sha256:3"]);
        let signatures = index(&repository, "sha256:1", Some("signature"));
        assert_eq!(digests(&signatures), ["sha256:3"]);
        assert!(digests(&index(&repository, "sha256:5", None)).is_empty());
    }
}
