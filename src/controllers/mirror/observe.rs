//! What the source and the destinations have.

use std::collections::BTreeMap;

use futures::{StreamExt as _, stream};
use oci_copy::{Engine, Reference};

use super::failure::from_engine;
use crate::api::conditions::Reason;
use crate::controllers::failure::Failure;

/// How many tags of one mirror are looked at at once.
const CONCURRENT_LOOKS: usize = 8;

/// The digest of each tag, or why it could not be found out. `None`: there is no such tag.
pub(super) type Digests = BTreeMap<String, Result<Option<String>, Failure>>;

/// Looks at each tag with one HEAD request.
pub(super) async fn digests(engine: &Engine, references: &BTreeMap<String, Reference>, source: &str) -> Digests {
    stream::iter(references.clone())
        .map(|(tag, reference)| async move {
            let found = match engine.resolve(&reference).await {
                Ok(found) => Ok(found.map(|descriptor| descriptor.digest.to_string())),
                Err(error) => Err(from_engine(&error, source)),
            };
            (tag, found)
        })
        .buffer_unordered(CONCURRENT_LOOKS)
        .collect()
        .await
}

/// Finds out why the source does not have a tag: one request more, only where something is missing.
pub(super) async fn why_missing(engine: &Engine, reference: &Reference) -> Failure {
    let repository = reference.repository();
    match engine.why_missing(reference).await {
        Ok(oci_copy::Missing::Repository) => Failure::stalled(
            Reason::SourceNotFound,
            format!("{repository} does not exist: correct spec.source.image, or give credentials that may see it"),
        ),
        Ok(_) => Failure::stalled(
            Reason::TagNotFound,
            format!(
                "{repository} has no tag {:?}: correct spec.tags, or push the tag",
                reference.tag().unwrap_or_default()
            ),
        ),
        Err(error) => from_engine(&error, repository.host()),
    }
}
