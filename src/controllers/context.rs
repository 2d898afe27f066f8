//! What all controllers share.

use std::sync::Arc;

use kube::runtime::events::Recorder;
use kube::runtime::reflector::ObjectRef;
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::mirror::Copier;
use super::pull_secret::Stores;
use super::schedule::{Intervals, Retries};
use super::watches::Cache;
use crate::api::conditions::Reason;
use crate::api::{EcrRegistry, EcrRepository, ImageMirror, RegistryRef};
use crate::ecr::{Ecr, Pool};
use crate::metrics::Metrics;

/// What all controllers share.
pub struct Context {
    /// The API server.
    pub client: kube::Client,
    /// Connections to ECR.
    pub pool: Pool,
    /// All EcrRegistry objects.
    pub registries: Cache<EcrRegistry>,
    /// All EcrRepository objects.
    pub repositories: Cache<EcrRepository>,
    /// All ImageMirror objects.
    pub mirrors: Cache<ImageMirror>,
    /// What pull secrets depend on.
    pub pull_secrets: Stores,
    /// Tells this cluster from others in owner tags: the UID of the namespace `kube-system`.
    pub cluster: String,
    /// How often things are looked at.
    pub intervals: Intervals,
    /// How often each object has failed in a row.
    pub retries: Retries,
    /// Where events go.
    pub recorder: Recorder,
    /// What is counted.
    pub metrics: Metrics,
    /// The copy engine, with what it knows of registries.
    pub copier: Copier,
    /// Cancelled when the program is to stop.
    pub shutdown: CancellationToken,
}

impl Context {
    /// The connection to the registry that a reference names.
    pub async fn registry(&self, reference: &RegistryRef) -> Result<Arc<Ecr>, Failure> {
        self.registries.filled().await;
        let Some(registry) = self.registries.store.get(&ObjectRef::new(&reference.name)) else {
            return Err(Failure::stalled(
                Reason::RegistryNotFound,
                format!("there is no EcrRegistry {:?}: create it, or correct registryRef.name", reference.name),
            ));
        };
        self.pool.connect(&registry).await.map_err(|error| {
            let cause = Failure::from(error);
            Failure {
                reason: Reason::RegistryNotReady,
                message: format!("EcrRegistry {:?} can't be used: {}", reference.name, cause.message),
                retry: cause.retry,
            }
        })
    }
}
