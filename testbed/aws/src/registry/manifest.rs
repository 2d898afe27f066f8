//! What ECR checks of a manifest before it takes it, and the emulator does not.

use fakecloud_ecr::Repository;
use http::StatusCode;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::error::RegistryError;
use crate::api::mutability::{Exclusions, immutable_tag};

/// A manifest that is being pushed.
pub(crate) struct Push<'a> {
    pub(crate) repository: &'a str,
    pub(crate) account: &'a str,
    /// A tag or a digest.
    pub(crate) reference: &'a str,
    pub(crate) manifest: &'a [u8],
}

impl Push<'_> {
    pub(crate) fn check(&self, repository: &Repository, exclusions: &Exclusions) -> Result<(), RegistryError> {
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(self.manifest)));
        if self.reference.contains(':') && self.reference != digest {
            return Err(RegistryError::new(
                StatusCode::BAD_REQUEST,
                "DIGEST_INVALID",
                format!("Provided digest '{}' does not match digest calculated by ECR '{digest}'", self.reference),
            ));
        }
        let manifest: Value = serde_json::from_slice(self.manifest)
            .ok()
            .filter(Value::is_object)
            .ok_or_else(|| RegistryError::unsupported("ImageManifest", "Invalid JSON syntax"))?;

        let layers = missing(descriptors(&manifest["layers"]).chain(manifest.get("config")), |digest| {
            repository.layers.contains_key(digest)
        });
        if !layers.is_empty() {
            return Err(self.required("Layers", &layers));
        }
        let images = missing(descriptors(&manifest["manifests"]), |digest| repository.images.contains_key(digest));
        if !images.is_empty() {
            return Err(self.required("Images", &images));
        }
        if exclusions.refuses(repository, self.reference, &digest) {
            return Err(RegistryError::tag_invalid(immutable_tag(self.repository, self.reference)));
        }
        Ok(())
    }

    fn required(&self, what: &str, digests: &[String]) -> RegistryError {
        RegistryError::required(what, digests, self.repository, self.account)
    }
}

fn descriptors(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn missing<'a>(descriptors: impl Iterator<Item = &'a Value>, present: impl Fn(&str) -> bool) -> Vec<String> {
    descriptors
        .filter(|descriptor| {
            // Foreign layers are fetched from elsewhere and never pushed.
            descriptor["urls"].is_null()
        })
        .filter_map(|descriptor| descriptor["digest"].as_str())
        .filter(|digest| !present(digest))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn push(reference: &str, manifest: &str) -> Result<(), RegistryError> {
        let arn = fakecloud_ecr::repository_arn("eu-west-1", "123456789012", "app");
        let mut repository = Repository::new("app", arn, "123456789012", "registry");
        repository.image_tag_mutability = "IMMUTABLE".to_owned();
        repository.image_tags.insert("taken".to_owned(), "sha256:old".to_owned());
        Push { repository: "app", account: "123456789012", reference, manifest: manifest.as_bytes() }
            .check(&repository, &Exclusions::default())
    }

    fn code(result: Result<(), RegistryError>) -> String {
        result.expect_err("a refusal").code
    }

    #[test]
    fn a_manifest_is_refused_before_what_it_names_is_there() {
        let image = json!({"config": {"digest": "sha256:1"}, "layers": [{"digest": "sha256:2"}]});
        let error = push("v1", &image.to_string()).expect_err("a refusal");
        assert_eq!(error.code, "MANIFEST_BLOB_UNKNOWN");
        assert!(error.message.starts_with("Layers with digests '[sha256:2, sha256:1]'"));
        let index = json!({"manifests": [{"digest": "sha256:3"}]});
        let error = push("v1", &index.to_string()).expect_err("a refusal");
        assert!(error.message.starts_with("Images with digests '[sha256:3]'"));
    }

    #[test]
    fn a_manifest_is_refused_under_another_ones_digest_or_an_immutable_tag() {
        assert_eq!(code(push("sha256:1", "{}")), "DIGEST_INVALID");
        assert_eq!(code(push("taken", "{}")), "TAG_INVALID");
        assert_eq!(push("free", "{}"), Ok(()));
    }

    #[test]
    fn what_is_no_json_object_is_no_manifest() {
        assert_eq!(code(push("v1", "[")), "UNSUPPORTED");
        assert_eq!(code(push("v1", "[]")), "UNSUPPORTED");
    }
}
