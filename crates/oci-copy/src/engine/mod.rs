//! The engine: what its users call.

mod blobs;
pub(crate) mod contents;
mod copy;
mod in_flight;
pub(crate) mod index;
pub(crate) mod knowledge;
mod plan;
mod reading;
mod referrers;
pub(crate) mod request;
mod source;
mod spans;
mod started;
pub(crate) mod tee;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use crate::auth::credentials::{Anonymous, CredentialSource};
use crate::budget::{Pulls, Purse};
use crate::client::answer::RateLimits;
use crate::client::registry::Registry;
use crate::client::{Access, Session, Watch};
use crate::config::{ConfigError, EngineConfig, RegistryConfig};
use crate::error::Error;
use crate::guard::Guard;
use crate::net::proxy_hosts;
use crate::platform::PlatformSelection;
use crate::reference::{Reference, Repository};
use crate::trust::Trust;
use blobs::Transfer;
use copy::Copy;
use in_flight::InFlight;
use request::{CopyReport, CopyRequest, Descriptor, Missing, RateLimit};
use source::Source;
use tee::{Fan, Seat};

/// Registries that nobody uses any more are forgotten when there are more than these.
const MANY_REGISTRIES: usize = 256;

/// Copies images between registries, and looks things up in them.
///
/// An engine is a view on shared state. Clones, and what the `with_` methods return, share connections, tokens, limits
/// and the transfers in flight; they differ in credentials and in how registries are reached. So a program has one
/// engine, and a view for each of its users.
///
/// Nothing is kept on disk. Dropping a future that a method returned stops what it does; blobs that are already in the
/// destination stay there, and no tag is put.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    view: Arc<View>,
}

struct Shared {
    config: Arc<EngineConfig>,
    proxies: Arc<[String]>,
    trust: Trust,
    registries: Mutex<HashMap<RegistryConfig, Arc<Registry>>>,
    permits: Arc<Semaphore>,
    in_flight: Arc<InFlight>,
}

#[derive(Clone)]
struct View {
    /// Those that are configured, by host.
    registries: HashMap<String, Arc<Registry>>,
    credentials: Arc<dyn CredentialSource>,
    rate_limits: Arc<RateLimits>,
    /// By host.
    purses: HashMap<String, Purse>,
    guard: Option<Arc<dyn Guard>>,
}

impl Engine {
    /// An engine that is anonymous everywhere and reaches registries by their defaults.
    #[must_use]
    pub fn new(config: EngineConfig) -> Self {
        let permits = Arc::new(Semaphore::new(config.max_blobs.clamp(1, Semaphore::MAX_PERMITS)));
        let shared = Shared {
            config: Arc::new(config),
            proxies: proxy_hosts(),
            trust: Trust::default(),
            registries: Mutex::default(),
            permits,
            in_flight: Arc::default(),
        };
        let view = View {
            registries: HashMap::new(),
            credentials: Arc::new(Anonymous),
            rate_limits: Arc::default(),
            purses: HashMap::new(),
            guard: None,
        };
        Self { shared: Arc::new(shared), view: Arc::new(view) }
    }

    /// The same engine, which reaches a registry as configured. It replaces what was configured for this host.
    ///
    /// # Errors
    /// If no HTTP client can be set up for it.
    pub fn with_registry(&self, registry: RegistryConfig) -> Result<Self, ConfigError> {
        let registry = self.shared.registry(&registry)?;
        let mut view = View::clone(&self.view);
        view.registries.insert(registry.config.host().to_owned(), registry);
        Ok(self.viewed(view))
    }

    /// The same engine with other credentials. What it learns of rate limits starts anew, and purses are left behind, since
    /// those belong to the credentials.
    #[must_use]
    pub fn with_credentials(&self, credentials: Arc<dyn CredentialSource>) -> Self {
        let view = View { credentials, rate_limits: Arc::default(), purses: HashMap::new(), ..View::clone(&self.view) };
        self.viewed(view)
    }

    /// The same engine, which spends from this purse what it reads of a registry: manifests by `GET`, with the engine's
    /// own credentials. What the budget doesn't have is an error, [`Error::PullBudget`], before anything is asked.
    #[must_use]
    pub fn with_purse(&self, host: &str, purse: Purse) -> Self {
        let mut view = View::clone(&self.view);
        view.purses.insert(host.to_ascii_lowercase(), purse);
        self.viewed(view)
    }

    /// The same engine, whose requests are watched over.
    #[must_use]
    pub fn with_guard(&self, guard: Arc<dyn Guard>) -> Self {
        self.viewed(View { guard: Some(guard), ..View::clone(&self.view) })
    }

    fn viewed(&self, view: View) -> Self {
        Self { shared: self.shared.clone(), view: Arc::new(view) }
    }

    /// Copies an image. It is in the destination completely before a tag names it, and nothing that it can do without is
    /// read or sent: a destination that names the source's digest already costs two `HEAD` requests.
    ///
    /// # Errors
    /// See [`Error::kind`]. Whatever the error, the destination's tag is what it was before, except that it can't be
    /// known when the connection broke, or the deadline passed, while the tag was being put.
    pub async fn copy(&self, request: CopyRequest) -> Result<CopyReport, Error> {
        let source = Arc::new(self.source(&request)?);
        self.copy_from(source, &request, request.destination.clone(), None).await
    }

    /// Copies an image to several destinations, in place of the request's own. Each of the source's manifests and blobs is
    /// read once, as long as the destinations keep pace with one another, and what can't be read is an error for all. The
    /// reports come in the order of the destinations; one that fails doesn't keep the others from succeeding.
    pub async fn copy_to_all(
        &self,
        request: CopyRequest,
        destinations: Vec<Reference>,
    ) -> Vec<Result<CopyReport, Error>> {
        let source = match self.source(&request) {
            Ok(source) => Arc::new(source),
            Err(error) => return destinations.iter().map(|_| Err(error.clone().into())).collect(),
        };
        let seats = Fan::seats(&source.session, &self.shared.permits, destinations.len());
        let copies = destinations.into_iter().zip(seats);
        let copies = copies.map(|(destination, seat)| self.copy_from(source.clone(), &request, destination, seat));
        futures::future::join_all(copies).await
    }

    /// What a reference names, by one `HEAD` request; none if the registry answers 404. [`Engine::why_missing`] asks
    /// for more.
    ///
    /// # Errors
    /// If the registry doesn't answer, or refuses to. Many registries, Docker Hub among them, answer 401 and not 404
    /// for a repository that doesn't exist.
    pub async fn resolve(&self, reference: &Reference) -> Result<Option<Descriptor>, Error> {
        let session = self.session(reference.repository(), Access::Pull, None)?;
        session.head_manifest(reference.manifest_key()).await
    }

    /// What an image consists of: its manifests are read, its blobs are not.
    ///
    /// # Errors
    /// As for [`Engine::copy`], as far as it reads manifests.
    pub async fn contents(
        &self,
        reference: &Reference,
        platforms: &PlatformSelection,
    ) -> Result<contents::Contents, Error> {
        let session = self.session(reference.repository(), Access::Pull, None)?;
        contents::contents(&Source::new(Arc::new(session), reference.clone()), platforms).await
    }

    /// Whether the repository or only the tag or digest is missing, by one or two `GET` requests, as far as the registry
    /// says.
    ///
    /// # Errors
    /// As for [`Engine::resolve`].
    pub async fn why_missing(&self, reference: &Reference) -> Result<Missing, Error> {
        let session = self.session(reference.repository(), Access::Pull, None)?;
        session.why_missing(reference.manifest_key()).await
    }

    /// All tags of a repository, in the registry's order.
    ///
    /// # Errors
    /// If there are more than [`EngineConfig::max_tags`], or the registry doesn't answer, or refuses to.
    pub async fn list_tags(&self, repository: &Repository) -> Result<Vec<String>, Error> {
        let session = self.session(repository, Access::Pull, None)?;
        session.list_tags().await
    }

    /// Shows each tag of a repository to `visit`, in the registry's order, and returns how many there are. Of a long list
    /// that way only what is needed has to be kept.
    ///
    /// # Errors
    /// As for [`Engine::list_tags`]; some tags may have been shown before.
    pub async fn visit_tags(&self, repository: &Repository, visit: impl FnMut(String)) -> Result<usize, Error> {
        let session = self.session(repository, Access::Pull, None)?;
        session.visit_tags(visit).await
    }

    /// The pull budget that a registry last told this view; none if it told none.
    #[must_use]
    pub fn rate_limit(&self, host: &str) -> Option<RateLimit> {
        self.view.rate_limits.get(&host.to_ascii_lowercase())
    }

    fn source(&self, request: &CopyRequest) -> Result<Source, ConfigError> {
        let repository = request.source.repository();
        let session = self.session(repository, Access::Pull, request.source_credentials.as_ref())?;
        Ok(Source::new(Arc::new(session), request.source.clone()))
    }

    async fn copy_from(
        &self,
        source: Arc<Source>,
        request: &CopyRequest,
        destination: Reference,
        seat: Option<Seat>,
    ) -> Result<CopyReport, Error> {
        let credentials = request.destination_credentials.as_ref();
        let session = self.session(destination.repository(), Access::PullPush, credentials)?;
        let from = &source.session;
        let transfer = Transfer {
            source: from.clone(),
            origin: from.repository.host().into(),
            repository: session.repository.path().into(),
            same_registry: Arc::ptr_eq(&from.registry, &session.registry) && from.repository != session.repository,
            destination: Arc::new(session),
            in_flight: self.shared.in_flight.clone(),
            permits: self.shared.permits.clone(),
            own_permits: Arc::new(Semaphore::new(
                self.shared.config.max_blobs_per_copy.clamp(1, Semaphore::MAX_PERMITS),
            )),
            doubts: AtomicBool::new(false),
            relied: AtomicBool::new(false),
            progress: request.progress.clone(),
        };
        let copy = Copy::new(source, destination.clone(), transfer, request, seat);
        spans::traced(&request.source, &destination.clone(), async {
            match tokio::time::timeout(request.deadline, copy.run()).await {
                Ok(result) => result,
                Err(_) => Err(Error::DeadlineExceeded {
                    origin: Box::new(request.source.clone()),
                    destination: Box::new(destination),
                    after: request.deadline,
                }),
            }
        })
        .await
    }

    fn session(
        &self,
        repository: &Repository,
        access: Access,
        own: Option<&Arc<dyn CredentialSource>>,
    ) -> Result<Session, ConfigError> {
        let registry = match self.view.registries.get(repository.host()) {
            Some(registry) => registry.clone(),
            None => self.shared.registry(&RegistryConfig::new(repository.host())?)?,
        };
        let guard = self.view.guard.clone();
        // Other credentials have other budgets.
        let (credentials, watch) = match own {
            Some(own) => (own.clone(), Watch { guard, ..Watch::default() }),
            None => {
                let purse = self.view.purses.get(repository.host()).filter(|_| access == Access::Pull);
                let pulls = purse.cloned().map(Pulls::new);
                let rate_limits = self.view.rate_limits.clone();
                (self.view.credentials.clone(), Watch { rate_limits, pulls, guard })
            }
        };
        let config = self.shared.config.clone();
        Ok(Session::new(registry, config, repository.clone(), access, credentials, watch))
    }
}

impl Shared {
    fn registry(&self, config: &RegistryConfig) -> Result<Arc<Registry>, ConfigError> {
        let mut registries = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(registry) = registries.get(config) {
            return Ok(registry.clone());
        }
        if registries.len() >= MANY_REGISTRIES {
            registries.retain(|_, registry| Arc::strong_count(registry) > 1);
        }
        let registry = Arc::new(Registry::new(config.clone(), &self.config, &self.proxies, &self.trust)?);
        registries.insert(config.clone(), registry.clone());
        Ok(registry)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("config", &self.shared.config)
            .field("registries", &self.view.registries.values().map(|registry| &registry.config).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
