//! Whether a pod may have an image. Nothing here does I/O.
//!
//! The API server judges, by the expressions in [`policy`]. [`judge`] is the same in Rust, for telling what pods have already;
//! `testdata/images.tsv` holds both to the same answers.

pub mod policy;

use oci_copy::Reference;

/// What images are allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Hosts of registries (`quay.io`), and paths in them (`quay.io/team`) with what is below.
    pub prefixes: Vec<String>,
    /// Whether images need a digest.
    pub require_digest: bool,
}

/// The answer about an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may run.
    Allowed,
    /// It comes from elsewhere, or is no name of an image at all.
    NotAllowed,
    /// It comes from where it may, and needs a digest.
    NoDigest,
}

/// Judges the image that a pod names.
pub fn judge(image: &str, allowed: &Allowed) -> Verdict {
    let Ok(reference) = image.parse::<Reference>() else { return Verdict::NotAllowed };
    let repository = reference.repository().to_string();
    if !allowed.prefixes.iter().any(|prefix| is_below(&repository, prefix)) {
        return Verdict::NotAllowed;
    }
    match reference.digest() {
        None if allowed.require_digest => Verdict::NoDigest,
        _ => Verdict::Allowed,
    }
}

fn is_below(repository: &str, prefix: &str) -> bool {
    repository.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
