//! The copy engine, set up for a mirror: how its registries are reached, and with which credentials.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use kube::{Resource as _, ResourceExt as _};
use oci_copy::{
    CredentialSource, Credentials, Engine, EngineConfig, PlatformSelection, Purse, RegistryConfig, WriteGate,
};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::budgets::Budgets;
use super::limits::{CopyLimits, Limits, SourceGuard};
use super::verified::Verified;
use crate::api::ImageMirror;
use crate::controllers::run::Settings;
use crate::dockerconfig::DockerConfig;
use crate::ecr::{Ecr, PublicEcr, Token};
use crate::leadership::Fence;
use crate::metrics::Metrics;
use crate::registries::Registries;

/// How many lists of tags are read at once. A list of 50,000 tags takes some megabytes while it is judged.
const LISTS: usize = 8;

/// How many blobs of one image are in flight at once.
const BLOBS_OF_ONE: usize = 4;

/// How many rewritten images are remembered.
const MANY_REWRITTEN: usize = 10_000;

/// The copy engine and its limits.
pub struct Copier {
    engine: Engine,
    /// How much goes on at once.
    pub(super) limits: Arc<Limits>,
    budgets: Budgets,
    registries: Registries,
    public: Arc<PublicEcr>,
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
    /// Sets up the engine as the operator's settings say. It writes while the fence is open.
    pub(in crate::controllers) fn new(
        settings: &Settings,
        metrics: &Metrics,
        fence: Fence,
    ) -> Result<Self, CopierError> {
        let public = Arc::new(PublicEcr::new(metrics.clone(), fence.clone()));
        let mut config = engine_config(&settings.copy_limits);
        config.gate = WriteGate::new(move || fence.check().map_err(|fenced| fenced.to_string()));
        let mut engine = Engine::new(config);
        for config in settings.registries.configs() {
            engine = with_registry(&engine, config.clone())?;
        }
        Ok(Self {
            engine,
            limits: Arc::new(Limits::new(settings.copy_limits)),
            budgets: Budgets::new(&settings.registries),
            registries: settings.registries.clone(),
            public,
            lists: Semaphore::new(LISTS),
            rewritten: Mutex::default(),
            verified: Verified::default(),
            deadline: settings.copy_deadline,
        })
    }

    /// ECR Public with the operator's identity, if a source there is to be read with it.
    pub(super) fn public(&self, host: &str) -> Option<Arc<PublicEcr>> {
        self.registries.uses_identity(host).then(|| self.public.clone())
    }

    /// How a mirror reads its source: with these credentials, from the budget that belongs to them.
    pub(super) fn reader(&self, mirror: &ImageMirror, credentials: SourceCredentials, source: &str) -> Reader {
        let budget = self.budgets.of(source, credentials.config.credentials(source));
        // Who has nothing mirrored yet comes first.
        let counts = mirror.status.as_ref().and_then(|status| status.counts.as_ref());
        let is_new = counts.is_none_or(|counts| counts.mirrored == 0);
        let secret = mirror.spec.source.credentials_secret_ref.as_ref();
        let namespace = mirror.meta().namespace.as_deref().unwrap_or_default();
        Reader {
            purse: budget.purse(&mirror.uid().unwrap_or_default(), is_new),
            guard: Arc::new(SourceGuard { limits: self.limits.clone(), source: source.to_owned() }),
            label: match secret {
                Some(secret) => format!("{namespace}/{}", secret.name),
                None if credentials.ecr.is_some() || credentials.public.is_some() => "identity".to_owned(),
                None => "anonymous".to_owned(),
            },
            source: source.to_owned(),
            credentials,
        }
    }

    /// The engine for reading from the source.
    pub(super) fn for_source(&self, reader: &Reader) -> Result<Engine, CopierError> {
        let engine = self.with_source(reader)?.with_credentials(Arc::new(reader.credentials.clone()));
        Ok(reader.watched(engine))
    }

    /// The engine that knows how a mirror's source is reached.
    fn with_source(&self, reader: &Reader) -> Result<Engine, CopierError> {
        match &reader.credentials.ecr {
            Some(ecr) if ecr.host == reader.source => with_registry(&self.engine, ecr_config(ecr)?),
            _ => Ok(self.engine.clone()),
        }
    }

    /// The engine for copying from the source into a registry of ECR.
    pub(super) fn for_destination(&self, reader: &Reader, ecr: &Arc<Ecr>) -> Result<Engine, CopierError> {
        self.for_destinations(reader, &[ecr])
    }

    /// The engine for copying from the source into several registries of ECR at the same time.
    pub(super) fn for_destinations(&self, reader: &Reader, ecrs: &[&Arc<Ecr>]) -> Result<Engine, CopierError> {
        let mut engine = self.with_source(reader)?;
        for ecr in ecrs {
            engine = with_registry(&engine, ecr_config(ecr)?)?;
        }
        let ecrs = ecrs.iter().map(|ecr| (*ecr).clone()).collect();
        let credentials = AllCredentials { source: reader.credentials.clone(), ecrs };
        Ok(reader.watched(engine.with_credentials(Arc::new(credentials))))
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
}

/// How a mirror reads its source.
pub(super) struct Reader {
    source: String,
    credentials: SourceCredentials,
    purse: Purse,
    guard: Arc<SourceGuard>,
    /// Whose credentials they are, for metrics: a Secret, or nobody's.
    label: String,
}

impl Reader {
    fn watched(&self, engine: Engine) -> Engine {
        engine.with_purse(&self.source, self.purse.clone()).with_guard(self.guard.clone())
    }

    /// When it is worth a look whether the source takes pulls again, if it refuses them now.
    pub(super) fn refused(&self) -> Option<SystemTime> {
        self.purse.budget().refused()
    }

    /// Whether nothing is left to copy with.
    pub(super) fn is_used_up(&self) -> bool {
        self.refused().is_some() || self.purse.budget().free() == Some(0)
    }

    /// Tells in the metrics what is left.
    pub(super) fn publish(&self, metrics: &Metrics) {
        let told = self.purse.budget().told();
        let figures = told.and_then(|told| Some((told.limit?, told.remaining?)));
        metrics.pull_budget(&self.source, &self.label, figures);
    }
}

/// Room for all copies that the limits let through, from one source and in all: blobs wait for no other copy's.
fn engine_config(limits: &CopyLimits) -> EngineConfig {
    let mut config = EngineConfig::default();
    // A mirror that has to wait says so, and lets others have its place.
    config.retry.max_retry_after = Duration::from_secs(10);
    config.max_blobs_per_copy = BLOBS_OF_ONE;
    config.max_blobs_per_registry = limits.most_from_one() * BLOBS_OF_ONE;
    config.max_blobs = limits.most() * BLOBS_OF_ONE;
    config
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

/// The credentials of a mirror's source: those of its Secret, those of an EcrRegistry's identity where it is one of ECR's, or
/// none.
#[derive(Clone, Debug)]
pub(super) struct SourceCredentials {
    /// The source's host.
    pub(super) host: String,
    pub(super) config: Arc<DockerConfig>,
    pub(super) ecr: Option<Arc<Ecr>>,
    /// Where the source is in ECR Public, and read with the operator's identity.
    pub(super) public: Option<Arc<PublicEcr>>,
}

type CredentialResult = Result<Option<Credentials>, Box<dyn std::error::Error + Send + Sync>>;

#[async_trait]
impl CredentialSource for SourceCredentials {
    async fn credentials(&self, host: &str) -> CredentialResult {
        let own = host == self.host;
        match (&self.ecr, &self.public) {
            (Some(ecr), _) if own => ecr_credentials(ecr).await,
            (_, Some(public)) if own => Ok(Some(credentials(&*public.token().await?))),
            _ => Ok(self.config.credentials(host).cloned()),
        }
    }
}

async fn ecr_credentials(ecr: &Ecr) -> CredentialResult {
    Ok(Some(credentials(&*ecr.token().await?)))
}

fn credentials(token: &Token) -> Credentials {
    Credentials::new(&token.username, &token.password)
}

/// The credentials of a mirror's source, and of registries of ECR.
struct AllCredentials {
    source: SourceCredentials,
    ecrs: Vec<Arc<Ecr>>,
}

#[async_trait]
impl CredentialSource for AllCredentials {
    async fn credentials(&self, host: &str) -> CredentialResult {
        match self.ecrs.iter().find(|ecr| ecr.host == host) {
            Some(ecr) => ecr_credentials(ecr).await,
            None => self.source.credentials(host).await,
        }
    }
}
