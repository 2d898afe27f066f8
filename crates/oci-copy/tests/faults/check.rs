//! What must hold of a destination, whatever happened.

use std::collections::HashSet;

use oci_copy::Digest;
use serde_json::Value;

use crate::images::Content;
use crate::registry::{Repository, blobs_of, named};

/// Every tag names a manifest that was the source's, and all that it names is there, with the content that it should
/// have. `whole` are the digests that a tag may have; without them (a subset has a digest of its own), any that is
/// complete.
pub(crate) fn tags_are_complete(
    repository: &Repository,
    sources: &[&Content],
    whole: Option<&HashSet<String>>,
) -> Result<(), String> {
    for (tag, digest) in &repository.tags {
        if whole.is_some_and(|whole| !whole.contains(digest)) {
            return Err(format!("the tag {tag} names {digest}, which is not what the source had"));
        }
        complete(repository, sources, digest, whole.is_some())
            .map_err(|problem| format!("the tag {tag}: {problem}"))?;
    }
    Ok(())
}

fn complete(repository: &Repository, sources: &[&Content], digest: &str, is_the_sources: bool) -> Result<(), String> {
    let Some((media_type, bytes)) = repository.manifests.get(digest) else {
        return Err(format!("the manifest {digest} is missing"));
    };
    if Digest::sha256(bytes).as_str() != digest {
        return Err(format!("the manifest {digest} has other content"));
    }
    match sources.iter().flat_map(|content| content.all()).find(|manifest| manifest.digest == digest) {
        Some(source) if source.media_type != media_type => {
            return Err(format!("the manifest {digest} was put as {media_type} instead of {}", source.media_type));
        }
        None if is_the_sources => return Err(format!("the manifest {digest} was never the source's")),
        _ => {}
    }
    let document: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    for child in named(&document["manifests"]) {
        complete(repository, sources, child, is_the_sources)?;
    }
    for blob in blobs_of(&document) {
        let wanted = &blob.digest;
        match repository.blobs.get(wanted) {
            None => return Err(format!("the blob {wanted} of {digest} is missing")),
            Some(bytes) if Digest::sha256(bytes).as_str() != wanted => {
                return Err(format!("the blob {wanted} of {digest} has other content"));
            }
            Some(bytes) if blob.size != Some(bytes.len() as u64) => {
                return Err(format!("the blob {wanted} of {digest} has another size"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Whatever is in a repository has the content that its digest says. A registry that commits anything has nothing
/// else than the engine's own care for this.
pub(crate) fn nothing_is_corrupt(repository: &Repository) -> Result<(), String> {
    let contents = repository.blobs.iter();
    for (digest, bytes) in contents.chain(repository.manifests.iter().map(|(digest, (_, bytes))| (digest, bytes))) {
        if Digest::sha256(bytes).as_str() != digest {
            return Err(format!("{digest} was committed with other content"));
        }
    }
    Ok(())
}
