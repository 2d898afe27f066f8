//! Which image a pod gets in place of the one that it names. Nothing here does I/O.
//!
//! The API server gives the answer, from the expressions in [`policy`] and the texts that [`entry`] writes, which [`shards`] puts into the
//! annotations of bindings. [`rewritten`] is the same in Rust, for whoever wants to know it beforehand; `testdata/references.tsv` holds both to the same answers.

pub mod binding;
pub mod entry;
pub mod names;
pub mod policy;
pub mod shards;

use std::collections::BTreeMap;

use oci_copy::Reference;
use serde::Deserialize;

/// The mirrored images of one source repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RewrittenImages {
    /// What the names of the mirrored images begin with: `<registry host>/<repository name>`.
    pub repository: String,

    /// Whether the digest is put behind a tag.
    pub pin: bool,

    /// The mirrored tags, each with its digest in the mirror.
    pub tags: BTreeMap<String, String>,

    /// The digests that are mirrored without a tag.
    pub digests: Vec<String>,
}

/// The image that a pod gets in place of this one. `None`: it keeps what it names. The images are by their source repository, in
/// full: `docker.io/library/nginx`.
pub fn rewritten(image: &str, images: &BTreeMap<String, RewrittenImages>) -> Option<String> {
    let reference: Reference = image.parse().ok()?;
    replacement(&reference, images.get(&reference.repository().to_string())?)
}

/// What stands in the place of an image of the repository that these images were mirrored from.
pub fn replacement(reference: &Reference, images: &RewrittenImages) -> Option<String> {
    let RewrittenImages { repository, pin, tags, digests } = images;
    if let Some(digest) = reference.digest() {
        let digest = digest.to_string();
        let is_there = digests.contains(&digest) || tags.values().any(|mirrored| *mirrored == digest);
        return is_there.then(|| format!("{repository}@{digest}"));
    }
    let tag = reference.tag()?;
    let digest = tags.get(tag)?;
    Some(if *pin { format!("{repository}:{tag}@{digest}") } else { format!("{repository}:{tag}") })
}

#[cfg(test)]
mod tests;
