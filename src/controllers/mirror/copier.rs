//! The copy engine, set up for a mirror: how its registries are reached, and with which credentials.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use oci_copy::{CredentialSource, Credentials, Engine, EngineConfig, PlatformSelection, RegistryConfig};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::verified::Verified;
use crate::controllers::run::Settings;
use crate::dockerconfig::DockerConfig;
use crate::ecr::Ecr;

/// How many lists of tags are read at once. A list of 50,000 tags takes some megabytes while it is judged.
const LISTS: usize = 8;

/// How many rewritten images are remembered.
const MANY_REWRITTEN: usize = 10_000;

/// The copy engine and its limits.
pub struct Copier {
    engine: Engine,
    permits: Semaphore,
    lists: Semaphore,
    /// What images become when they lose platforms, by the platforms and the digest at the source. The same always: so
    /// what a status has no room for need not be copied again to be known.
    rewritten: Mutex<HashMap<(String, String), String>>,
    /// Which images were verified.
    pub(super) verified: Verified,
    /// How long the copy of one image may take.
    pub(super) deadline: Duration,
}

/// Why the engine could not be set up for a registry.
#[derive(Debug, thiserror::Error)]
#[error("the registry {host} can't be used: {source}")]
pub struct CopierError {
    host: String,
    source: oci_copy::ConfigError,
}

impl Copier {
    /// Sets up the engine as the operator's settings say.
    pub(in crate::controllers) fn new(settings: &Settings) -> Result<Self, CopierError> {
        let mut engine = Engine::new(EngineConfig::default());
        for config in settings.registries.configs() {
            engine = with_registry(&engine, config.clone())?;
        }
        Ok(Self {
            engine,
            permits: Semaphore::new(settings.mirror_concurrency.max(1)),
            lists: Semaphore::new(LISTS),
            rewritten: Mutex::default(),
            verified: Verified::default(),
            deadline: settings.copy_deadline,
        })
    }

    /// The engine for reading from the source.
    pub(super) fn for_source(&self, credentials: SourceCredentials) -> Engine {
        self.engine.with_credentials(Arc::new(credentials))
    }

    /// The engine for copying from the source into a registry of ECR.
    pub(super) fn for_destination(&self, source: SourceCredentials, ecr: &Arc<Ecr>) -> Result<Engine, CopierError> {
        let engine = with_registry(&self.engine, ecr_config(ecr)?)?;
        Ok(engine.with_credentials(Arc::new(BothCredentials { source, ecr: ecr.clone() })))
    }

    /// Waits for a turn to list a source's tags.
    pub(super) async fn turn_to_list(&self) -> Option<SemaphorePermit<'_>> {
        self.lists.acquire().await.ok()
    }

    /// Takes note of what an image became when it was copied with these platforms.
    pub(super) fn learn_rewritten(&self, platforms: &PlatformSelection, source_digest: &str, digest: &str) {
        let Some(platforms) = key(platforms) else { return };
        let mut known = self.rewritten.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MANY_REWRITTEN {
            known.clear();
        }
        known.insert((platforms, source_digest.to_owned()), digest.to_owned());
    }

    /// What these images become with these platforms, as far as it is known.
    pub(super) fn rewritten<'d>(
        &self,
        platforms: &PlatformSelection,
        source_digests: impl Iterator<Item = &'d str>,
    ) -> BTreeMap<String, String> {
        let Some(platforms) = key(platforms) else { return BTreeMap::new() };
        let known = self.rewritten.lock().unwrap_or_else(PoisonError::into_inner);
        source_digests
            .filter_map(|digest| {
                let rewritten = known.get(&(platforms.clone(), digest.to_owned()))?;
                Some((digest.to_owned(), rewritten.clone()))
            })
            .collect()
    }

    /// Waits for a turn to copy.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.permits.acquire().await.ok()
    }
}

/// The platforms as a text; none for all of them, which leave images as they are.
fn key(platforms: &PlatformSelection) -> Option<String> {
    match platforms {
        PlatformSelection::Only(platforms) => {
            let mut names: Vec<String> = platforms.iter().map(ToString::to_string).collect();
            names.sort();
            Some(names.join(","))
        }
        _ => None,
    }
}

fn with_registry(engine: &Engine, config: RegistryConfig) -> Result<Engine, CopierError> {
    let host = config.host().to_owned();
    engine.with_registry(config).map_err(|source| CopierError { host, source })
}

fn ecr_config(ecr: &Ecr) -> Result<RegistryConfig, CopierError> {
    let configure = || {
        let mut config = RegistryConfig::new(&ecr.host)?.endpoint(&format!("https://{}", ecr.host))?;
        if let Some(pem) = &ecr.ca_bundle {
            config = config.ca_bundle(pem.as_bytes())?;
        }
        Ok(config)
    };
    configure().map_err(|source| CopierError { host: ecr.host.clone(), source })
}

/// The credentials of a mirror's source: those of its Secret, or none.
#[derive(Clone, Debug, Default)]
pub(super) struct SourceCredentials(pub(super) Arc<DockerConfig>);

type CredentialResult = Result<Option<Credentials>, Box<dyn std::error::Error + Send + Sync>>;

#[async_trait]
impl CredentialSource for SourceCredentials {
    async fn credentials(&self, host: &str) -> CredentialResult {
        Ok(self.0.credentials(host).cloned())
    }
}

/// The credentials of a mirror's source, and of one registry of ECR.
struct BothCredentials {
    source: SourceCredentials,
    ecr: Arc<Ecr>,
}

#[async_trait]
impl CredentialSource for BothCredentials {
    async fn credentials(&self, host: &str) -> CredentialResult {
        if host != self.ecr.host {
            return self.source.credentials(host).await;
        }
        let token = self.ecr.token().await?;
        Ok(Some(Credentials::new(&token.username, &token.password)))
    }
}
