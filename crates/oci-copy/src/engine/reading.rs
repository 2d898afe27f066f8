//! Reading manifests, small blobs and lists of referrers, without copying.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Engine;
use super::request::{Descriptor, RawManifest, ReferrerDescriptor};
use crate::client::Access;
use crate::client::referrers::Referrer;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind};
use crate::manifest::Blob;
use crate::reference::{Reference, Repository};

impl Engine {
    /// Reads a manifest as it is, at most 4 MiB of it; none if the registry answers 404. What a digest names has that digest.
    ///
    /// # Errors
    /// If it isn't a manifest or hasn't the digest that it should have, or the registry doesn't answer, or refuses to.
    pub async fn read_manifest(&self, reference: &Reference) -> Result<Option<RawManifest>, Error> {
        let session = self.session(reference.repository(), Access::Pull, None)?;
        match session.get_manifest(reference.manifest_key()).await {
            Ok(manifest) => Ok(Some(RawManifest {
                media_type: manifest.media_type,
                digest: manifest.digest,
                bytes: manifest.bytes,
            })),
            Err(error) if matches!(error.kind(), ErrorKind::ManifestNotFound | ErrorKind::RepositoryNotFound) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads a small blob whole: what comes has the descriptor's size and digest.
    ///
    /// # Errors
    /// If it is longer than `limit` bytes, which is then not read, or isn't what the descriptor says, or the registry
    /// doesn't answer, or refuses to.
    pub async fn read_blob(&self, repository: &Repository, blob: &Descriptor, limit: usize) -> Result<Bytes, Error> {
        let session = Arc::new(self.session(repository, Access::Pull, None)?);
        let Descriptor { media_type, digest, size } = blob.clone();
        session.read_blob(&Blob { media_type, digest, size, data: None }, limit).await
    }

    /// What refers to a manifest, by the referrers API, or by the fallback tag where a registry hasn't got it.
    ///
    /// # Errors
    /// If there are more than 1,000, or the registry doesn't answer, or refuses to.
    pub async fn referrers(&self, repository: &Repository, subject: &Digest) -> Result<Vec<ReferrerDescriptor>, Error> {
        let session = self.session(repository, Access::Pull, None)?;
        Ok(session.referrers(subject).await?.into_iter().map(described).collect())
    }
}

fn described(referrer: Referrer) -> ReferrerDescriptor {
    let artifact_type = referrer.artifact_type();
    let annotations = referrer.descriptor.get("annotations").and_then(serde_json::Value::as_object);
    let annotations: BTreeMap<String, String> = annotations
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect();
    let entry = referrer.entry;
    ReferrerDescriptor {
        manifest: Descriptor { media_type: entry.media_type, digest: entry.digest, size: entry.size },
        artifact_type,
        annotations,
    }
}
