//! What all controllers share.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt as _;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::ObjectRef;
use tokio_util::sync::CancellationToken;

use super::access::{Granted, Use, authorise, granted};
use super::accounts::Accounts;
use super::audits::Audits;
use super::claims::Claims;
use super::enforcement;
use super::events::Events;
use super::failure::Failure;
use super::mirror::Copier;
use super::mirror::unshown::Unshown;
use super::pull_secret::Stores;
use super::schedule::{Intervals, Retries};
use super::scope::Scope;
use super::watches::Cache;
use super::workloads::Workloads;
use crate::api::conditions::Reason;
use crate::api::{EcrRegistry, EcrRepository, ImageEnforcement, ImageMirror, RegistryRef};
use crate::ecr::{Ecr, Pool};
use crate::leadership::Leadership;
use crate::metrics::Metrics;
use crate::verify::Root;

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
    /// Who claims which repository.
    pub claims: Arc<Claims>,
    /// When repositories are compared in full.
    pub audits: Audits,
    /// All ImageMirror objects.
    pub mirrors: Cache<ImageMirror>,
    /// All ImageEnforcement objects.
    pub enforcements: Cache<ImageEnforcement>,
    /// What ImageEnforcement objects have in common.
    pub enforcement: enforcement::Settings,
    /// What pull secrets depend on.
    pub pull_secrets: Stores,
    /// Service accounts whose `imagePullSecrets` pull secrets are added to.
    pub accounts: Arc<Accounts>,
    /// Which namespaces the operator works in.
    pub scope: Scope,
    /// The namespace of the Secrets that ClusterEcrPullSecret objects name.
    pub operator_namespace: String,
    /// Whether tokens that can do more than pull are kept from pull secrets.
    pub require_pull_only: bool,
    /// The tags that the statuses of mirrors have no room for.
    pub(super) unshown: Unshown,
    /// Which images pods run.
    pub workloads: Workloads,
    /// Tells this cluster from others in owner tags: the UID of the namespace `kube-system`.
    pub cluster: String,
    /// How often things are looked at.
    pub intervals: Intervals,
    /// How often each object has failed in a row.
    pub retries: Retries,
    /// Where events go.
    pub events: Events,
    /// What is counted.
    pub metrics: Metrics,
    /// The copy engine, with what it knows of registries.
    pub copier: Copier,
    /// Whether this replica is the one that works.
    pub leadership: Leadership,
    /// What the certificates of signatures are checked against, where a mirror has no trusted root of its own.
    pub trusted_root: Arc<Root>,
    /// Cancelled when the program is to stop.
    pub shutdown: CancellationToken,
}

impl Context {
    /// The connection to the registry that a reference names, for what an object in `namespace` wants of it.
    ///
    /// Every use of a registry by a namespaced object, or on behalf of a namespace, comes through here or through
    /// [`Self::authorise`]: `spec.access` is checked each time, against the labels that the namespace has now.
    pub async fn registry(
        &self,
        reference: &RegistryRef,
        namespace: &str,
        wanted: Use<'_>,
    ) -> Result<Arc<Ecr>, Failure> {
        let registry = self.registry_object(reference).await?;
        self.authorise(&registry, namespace, wanted).await?;
        self.connect(&registry).await
    }

    /// The EcrRegistry that a reference names.
    pub async fn registry_object(&self, reference: &RegistryRef) -> Result<Arc<EcrRegistry>, Failure> {
        self.registries.filled().await;
        self.registries.store.get(&ObjectRef::new(&reference.name)).ok_or_else(|| {
            Failure::stalled(
                Reason::RegistryNotFound,
                format!("there is no EcrRegistry {:?}: create it, or correct registryRef.name", reference.name),
            )
        })
    }

    /// Whether a namespace may use a registry so. A namespace that is not known gets nothing.
    pub async fn authorise(&self, registry: &EcrRegistry, namespace: &str, wanted: Use<'_>) -> Result<(), Failure> {
        match self.labels(registry, namespace).await? {
            None => Ok(()),
            Some(known) => authorise(registry, namespace, known.labels(), wanted),
        }
    }

    /// What a namespace may use of a registry, and that it is something. A namespace that is not known gets nothing.
    pub async fn granted(&self, registry: &EcrRegistry, namespace: &str) -> Result<Granted, Failure> {
        match self.labels(registry, namespace).await? {
            None => Ok(Granted::All),
            Some(known) => {
                authorise(registry, namespace, known.labels(), Use::Anything)?;
                Ok(granted(registry, namespace, known.labels()))
            }
        }
    }

    /// The namespace with its labels, where the registry's `spec.access` asks for them.
    async fn labels(
        &self,
        registry: &EcrRegistry,
        namespace: &str,
    ) -> Result<Option<Arc<PartialObjectMeta<Namespace>>>, Failure> {
        if registry.spec.access.is_none() {
            return Ok(None);
        }
        self.pull_secrets.namespaces.filled().await;
        // Younger than what the watch has told so far, or gone.
        let unknown = || Failure::transient(Reason::Progressing, format!("waiting to see namespace {namespace}"));
        self.pull_secrets.namespaces.store.get(&ObjectRef::new(namespace)).ok_or_else(unknown).map(Some)
    }

    /// The connection to a registry whose use was authorised.
    pub async fn connect(&self, registry: &EcrRegistry) -> Result<Arc<Ecr>, Failure> {
        self.pool.connect(registry).await.map_err(|error| {
            let cause = Failure::from(error);
            Failure {
                reason: Reason::RegistryNotReady,
                message: format!("EcrRegistry {:?} can't be used: {}", registry.name_any(), cause.message),
                retry: cause.retry,
            }
        })
    }
}
