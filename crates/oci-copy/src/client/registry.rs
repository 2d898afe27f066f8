//! One registry as configured: its HTTP clients, what it wants from who talks to it, and what was learned of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::MutexGuard;
use url::Url;

use crate::auth::AuthState;
use crate::config::{ConfigError, EngineConfig, RegistryConfig};
use crate::engine::knowledge::Knowledge;
use crate::limit::{Bounds, Limiter, Pace};
use crate::net::{GuardedResolver, Reach};
use crate::trust::Trust;

/// HTTP/2 windows for what isn't a blob: the largest manifest fits, and so do many small answers.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// A connection that a network device has forgotten is found out after this.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// The state that all sessions with one registry share.
pub(crate) struct Registry {
    pub(crate) config: RegistryConfig,
    pub(crate) auth: AuthState,
    /// For small requests: one HTTP/2 connection carries them all where the registry speaks it.
    pub(crate) own: HttpClient,
    /// For blobs: HTTP/1.1, so each has a connection of its own, with the whole window of that connection and with a TLS
    /// state that needs no other's processor core.
    pub(crate) bulk: HttpClient,
    /// For where the registry redirects to, and for realms of others.
    pub(crate) elsewhere: HttpClient,
    pub(crate) limits: Limits,
    pub(crate) knowledge: Knowledge,
    pub(crate) first: FirstContact,
    pub(crate) chunks: Chunks,
    pub(crate) referrers: ReferrersApi,
    /// Held while an index of referrers is read, changed and put.
    pub(crate) fallback_turn: tokio::sync::Mutex<()>,
}

/// How much may be in flight, by what it is.
pub(crate) struct Limits {
    /// Everything small except the next.
    pub(crate) requests: Arc<Limiter>,
    /// Manifests that are put: registries allow far fewer of them.
    pub(crate) puts: Arc<Limiter>,
    pub(crate) put_pace: Option<Pace>,
    /// Blobs that are read.
    pub(crate) reads: Arc<Limiter>,
    /// Blobs that are written. Reads and writes are apart so that two copies in opposite directions can't wait for each
    /// other.
    pub(crate) writes: Arc<Limiter>,
}

/// An HTTP client that reaches only what it may.
pub(crate) struct HttpClient {
    pub(crate) http: reqwest::Client,
    pub(crate) reach: Reach,
}

impl Registry {
    pub(crate) fn new(
        config: RegistryConfig,
        engine: &EngineConfig,
        proxies: &Arc<[String]>,
        trust: &Trust,
    ) -> Result<Self, ConfigError> {
        let failed = |error: &(dyn std::error::Error + 'static)| ConfigError::HttpClient {
            host: config.host().to_owned(),
            problem: super::transport::innermost(error),
        };
        let tls = trust.client_config(config.certificates()).map_err(|error| failed(&error))?;
        let client = |reach: Reach, http2: bool| -> Result<HttpClient, ConfigError> {
            let mut tls = tls.clone();
            let protocols: &[&[u8]] = if http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
            tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            let builder = reqwest::Client::builder()
                .user_agent(engine.user_agent.as_str())
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .connect_timeout(engine.connect_timeout)
                .pool_idle_timeout(Duration::from_secs(20))
                .tcp_nodelay(true)
                .tls_backend_preconfigured(tls)
                .dns_resolver(GuardedResolver::new(reach.clone(), proxies.clone()));
            let builder = if http2 {
                builder
                    .http2_initial_stream_window_size(STREAM_WINDOW)
                    .http2_initial_connection_window_size(CONNECTION_WINDOW)
                    .http2_keep_alive_interval(KEEP_ALIVE)
            } else {
                builder.http1_only()
            };
            let http = builder.build().map_err(|error| failed(&error))?;
            Ok(HttpClient { http, reach })
        };
        let own = client(Reach::own(&config), true)?;
        let bulk = client(Reach::own(&config), false)?;
        let elsewhere = client(Reach::elsewhere(&config), false)?;
        let shares = engine.max_blobs_per_registry < engine.max_blobs;
        let blobs = |max| if shares { Bounds::all_of(max) } else { Bounds::up_to(max) };
        let limits = Limits {
            requests: Limiter::new(Bounds::up_to(engine.max_requests)),
            puts: Limiter::new(Bounds::up_to(engine.max_requests / 4)),
            put_pace: config.manifest_pace().map(Pace::new),
            reads: Limiter::new(blobs(engine.max_blobs.min(engine.max_blobs_per_registry))),
            writes: Limiter::new(blobs(engine.max_blobs)),
        };
        let chunks = Chunks::new(config.chunk_size());
        Ok(Self {
            auth: AuthState::default(),
            own,
            bulk,
            elsewhere,
            limits,
            knowledge: Knowledge::new(engine.knowledge_lifetime),
            first: FirstContact::default(),
            chunks,
            referrers: ReferrersApi::default(),
            fallback_turn: Default::default(),
            config,
        })
    }

    pub(crate) fn endpoint(&self) -> &Url {
        self.config.endpoint_url()
    }

    /// Whether a URL is on the registry's own origin, where its credentials may go.
    pub(crate) fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.endpoint().origin()
    }
}

/// The first request to a registry goes alone: it finds out what the registry wants to see, and its connection carries
/// the others too if it speaks HTTP/2. A crowd would make a connection and hear a refusal for each of its own.
#[derive(Default)]
pub(crate) struct FirstContact {
    over: AtomicBool,
    turn: tokio::sync::Mutex<()>,
}

impl FirstContact {
    /// Waits while somebody else is the first. What it returns is held by who is the first, until it has an answer.
    pub(crate) async fn enter(&self) -> Option<First<'_>> {
        if self.over.load(Ordering::Acquire) {
            return None;
        }
        let turn = self.turn.lock().await;
        (!self.over.load(Ordering::Acquire)).then(|| First { contact: self, _turn: turn })
    }
}

/// Being the first. Whatever came of it, nobody waits for a second first.
pub(crate) struct First<'a> {
    contact: &'a FirstContact,
    _turn: MutexGuard<'a, ()>,
}

impl Drop for First<'_> {
    fn drop(&mut self) {
        self.contact.over.store(true, Ordering::Release);
    }
}

/// The pieces that a registry wants an upload in; none as long as it takes a blob in one request, which is what nearly
/// all do, and what ECR does right.
pub(crate) struct Chunks(AtomicU64);

impl Chunks {
    /// What is tried when a registry, or a proxy before it, finds a whole blob too large, in bytes.
    const FIRST: u64 = 16 << 20;
    const SMALLEST: u64 = 1 << 20;

    fn new(configured: Option<u64>) -> Self {
        Self(AtomicU64::new(configured.unwrap_or(0)))
    }

    pub(crate) fn size(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|size| *size > 0)
    }

    /// Sizes that were used turned out to be too large. Says whether a smaller one is left to be tried.
    pub(crate) fn shrink(&self, used: Option<u64>) -> bool {
        let smaller = used.map_or(Self::FIRST, |used| used / 4);
        if smaller < Self::SMALLEST {
            return false;
        }
        // Several blobs find it out at the same time: that counts once.
        let _ = self.0.compare_exchange(used.unwrap_or(0), smaller, Ordering::Relaxed, Ordering::Relaxed);
        true
    }
}

/// Whether a registry has the referrers API.
#[derive(Default)]
pub(crate) struct ReferrersApi(AtomicU8);

impl ReferrersApi {
    pub(crate) fn known(&self) -> Option<bool> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            known => Some(known == 1),
        }
    }

    pub(crate) fn learn(&self, supported: bool) {
        self.0.store(if supported { 1 } else { 2 }, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_shrink_once_for_all_who_found_them_too_large_and_not_without_end() {
        let chunks = Chunks::new(None);
        assert_eq!(chunks.size(), None);
        assert!(chunks.shrink(None) && chunks.shrink(None));
        assert_eq!(chunks.size(), Some(16 << 20));
        assert!(chunks.shrink(chunks.size()) && chunks.shrink(chunks.size()));
        assert_eq!(chunks.size(), Some(1 << 20));
        assert!(!chunks.shrink(chunks.size()));
    }

    #[tokio::test]
    async fn only_the_first_goes_alone() {
        let contact = FirstContact::default();
        let first = contact.enter().await;
        assert!(first.is_some());
        let mut second = Box::pin(contact.enter());
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        assert!(second.await.is_none());
        assert!(contact.enter().await.is_none());
    }
}
