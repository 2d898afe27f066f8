//! What the caller knows of a destination, or finds out for many images at once.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::request::Descriptor;
use crate::client::Session;
use crate::digest::Digest;
use crate::reference::Repository;

/// Answers what a destination has, in batches: for registries whose own API is quicker at that than a request for each,
/// as ECR's `BatchGetImage` and `BatchCheckLayerAvailability` are.
///
/// It is asked before the registry is. What it doesn't answer, the registry is asked for as usual; an error of its own is
/// logged, and then it has answered nothing. What it answers is believed, and what it says wrong ends as a copy's error
/// or in a blob that is sent in vain, never in an incomplete image: the registry checks every manifest.
#[async_trait]
pub trait DestinationIndex: Send + Sync {
    /// What the tags and digests name; `None` for one that is not there. Those that it doesn't know are left out.
    ///
    /// # Errors
    /// Any error: the registry is asked instead.
    async fn manifests(
        &self,
        repository: &Repository,
        keys: &[String],
    ) -> Result<HashMap<String, Option<Descriptor>>, Box<dyn std::error::Error + Send + Sync>>;

    /// Whether the repository has the blobs. Those that it doesn't know are left out.
    ///
    /// # Errors
    /// Any error: the registry is asked instead.
    async fn blobs(
        &self,
        repository: &Repository,
        digests: &[Digest],
    ) -> Result<HashMap<Digest, bool>, Box<dyn std::error::Error + Send + Sync>>;
}

/// The index of one copy, which may have none.
#[derive(Clone, Default)]
pub(crate) struct Lookup(pub(crate) Option<Arc<dyn DestinationIndex>>);

impl Lookup {
    pub(crate) async fn manifests(&self, session: &Session, keys: &[String]) -> HashMap<String, Option<Descriptor>> {
        let Some(index) = self.0.as_ref().filter(|_| !keys.is_empty()) else { return HashMap::new() };
        heard(index.manifests(&session.repository, keys).await)
    }

    pub(crate) async fn blobs(&self, session: &Session, digests: &[Digest]) -> HashMap<Digest, bool> {
        let Some(index) = self.0.as_ref().filter(|_| !digests.is_empty()) else { return HashMap::new() };
        heard(index.blobs(&session.repository, digests).await)
    }
}

fn heard<T: Default>(answer: Result<T, Box<dyn std::error::Error + Send + Sync>>) -> T {
    answer.unwrap_or_else(|error| {
        tracing::debug!(error, "the destination's index gave no answer, asking the registry");
        T::default()
    })
}
