//! How registries are reached, and the engine's limits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::error::sanitize;
use crate::reference::DOCKER_HUB;

/// How one registry is reached and trusted.
///
/// Without a configuration, a host is reached at `https://<host>` with the system's certificates, and its token realm
/// must be on the same origin to get credentials. Docker Hub and GitLab are known: their realms are elsewhere.
///
/// # Where requests go
/// Credentials go to the endpoint's own origin and to the token realms that belong to the registry: those on the
/// endpoint's origin and those that are configured. A realm elsewhere is asked for an anonymous token only, over
/// `https` and on public addresses.
///
/// Redirects, which registries use to hand a blob over to a storage service, never carry credentials to another origin,
/// never go from `https` to `http`, and never reach loopback, link-local or private addresses, with two exceptions: the
/// hosts in [`allow_host`](Self::allow_host); and, when an endpoint is configured explicitly and lies on such an
/// address itself, addresses of that sort (a registry on a private network redirects into it; one on loopback to both).
/// Names are checked at the moment of connecting, so a name that changes its address between check and use gains
/// nothing. Behind an HTTP proxy (`HTTPS_PROXY`) the proxy resolves names, and it has to do this check.
///
/// A host without a configured endpoint may be on a private address, since its name is the user's own choice, but not
/// on loopback or link-local ones, where the machine's own services are.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RegistryConfig {
    host: String,
    endpoint: Url,
    explicit: bool,
    ca_bundle: Option<Vec<u8>>,
    token_realms: Vec<Url>,
    allowed_hosts: Vec<String>,
    manifest_pace: Option<u32>,
    chunk_size: Option<u64>,
}

impl RegistryConfig {
    /// The defaults for a registry's host, which is written as in an image reference: `docker.io`, `localhost:5000`.
    ///
    /// # Errors
    /// If it isn't a host.
    pub fn new(host: &str) -> Result<Self, ConfigError> {
        let host = host.to_ascii_lowercase();
        let (server, realms): (&str, &[&str]) = match host.as_str() {
            DOCKER_HUB | "index.docker.io" => ("registry-1.docker.io", &["https://auth.docker.io"]),
            "registry-1.docker.io" => ("registry-1.docker.io", &["https://auth.docker.io"]),
            "registry.gitlab.com" => ("registry.gitlab.com", &["https://gitlab.com"]),
            other => (other, &[]),
        };
        let endpoint = parse_origin("endpoint", &host, &format!("https://{server}"))?;
        let token_realms =
            realms.iter().map(|realm| parse_origin("token realm", &host, realm)).collect::<Result<_, _>>()?;
        let host = if host == "index.docker.io" { DOCKER_HUB.to_owned() } else { host };
        Ok(Self {
            host,
            endpoint,
            explicit: false,
            ca_bundle: None,
            token_realms,
            allowed_hosts: Vec::new(),
            manifest_pace: None,
            chunk_size: None,
        })
    }

    /// The URL under which the registry is really reached: scheme, host and port. `http` is used only if it is written
    /// here.
    ///
    /// # Errors
    /// If it isn't an `http` or `https` URL, or has a user, a path, a query or a fragment.
    pub fn endpoint(mut self, url: &str) -> Result<Self, ConfigError> {
        self.endpoint = parse_origin("endpoint", &self.host, url)?;
        self.explicit = true;
        Ok(self)
    }

    /// Certificates, PEM, that are trusted for this registry beside the system's, and for where it redirects to.
    ///
    /// # Errors
    /// If it holds no certificate, or one that can't be read.
    pub fn ca_bundle(mut self, pem: impl Into<Vec<u8>>) -> Result<Self, ConfigError> {
        let pem = pem.into();
        check_certificates(&self.host, &pem)?;
        self.ca_bundle = Some(pem);
        Ok(self)
    }

    /// Adds an origin (scheme, host and port) whose token realm belongs to the registry: credentials are sent there.
    ///
    /// # Errors
    /// If it isn't an `http` or `https` URL, or has a user, a path, a query or a fragment.
    pub fn token_realm(mut self, origin: &str) -> Result<Self, ConfigError> {
        let origin = parse_origin("token realm", &self.host, origin)?;
        self.token_realms.push(origin);
        Ok(self)
    }

    /// Adds a host (a DNS name or an address, matched whole) that redirects and token requests may go to even if its
    /// addresses are private, loopback or link-local. `https` stays necessary where it was.
    #[must_use]
    pub fn allow_host(mut self, host: &str) -> Self {
        self.allowed_hosts.push(host.trim_matches(['[', ']']).to_ascii_lowercase());
        self
    }

    /// Puts no more manifests a second than these, at least 1. Default: as many as the registry takes.
    ///
    /// ECR allows 10 `PutImage` a second for an account in a region, and an index of three platforms needs four.
    #[must_use]
    pub fn manifests_per_second(mut self, rate: u32) -> Self {
        self.manifest_pace = Some(rate.max(1));
        self
    }

    /// Uploads blobs in pieces of this size, in bytes, for a registry that takes them no other way. By default a blob goes
    /// in one request, which every registry has to take and ECR wants, and pieces are tried only where that is
    /// answered with 413.
    #[must_use]
    pub fn chunked_uploads(mut self, bytes: u64) -> Self {
        self.chunk_size = Some(bytes.max(1));
        self
    }

    /// The registry's host as image references write it.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn endpoint_url(&self) -> &Url {
        &self.endpoint
    }

    pub(crate) fn is_explicit(&self) -> bool {
        self.explicit
    }

    pub(crate) fn allowed_hosts(&self) -> &[String] {
        &self.allowed_hosts
    }

    pub(crate) fn manifest_pace(&self) -> Option<u32> {
        self.manifest_pace
    }

    pub(crate) fn chunk_size(&self) -> Option<u64> {
        self.chunk_size
    }

    /// The certificates to trust beside the system's, PEM.
    pub(crate) fn certificates(&self) -> Option<&[u8]> {
        self.ca_bundle.as_deref()
    }

    /// Whether credentials may go to a realm.
    pub(crate) fn owns_realm(&self, realm: &Url) -> bool {
        let origin = realm.origin();
        origin == self.endpoint.origin() || self.token_realms.iter().any(|own| own.origin() == origin)
    }
}

impl fmt::Debug for RegistryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let realms: Vec<&str> = self.token_realms.iter().map(Url::as_str).collect();
        f.debug_struct("RegistryConfig")
            .field("host", &self.host)
            .field("endpoint", &self.endpoint.as_str())
            .field("ca_bundle", &self.ca_bundle.as_ref().map(Vec::len))
            .field("token_realms", &realms)
            .field("allowed_hosts", &self.allowed_hosts)
            .finish_non_exhaustive()
    }
}

fn parse_origin(what: &'static str, host: &str, url: &str) -> Result<Url, ConfigError> {
    let invalid = |problem| ConfigError::Url { what, host: host.to_owned(), url: sanitize(url, 200), problem };
    let parsed = Url::parse(url).map_err(|_| invalid("it can't be read as a URL"))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(invalid("its scheme must be https, or http where nothing else is possible"));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        // Not even shown: it may be a secret.
        let url = "(with a user or password)".to_owned();
        return Err(ConfigError::Url { what, host: host.to_owned(), url, problem: "credentials don't belong in it" });
    }
    if !matches!(parsed.path(), "" | "/") || parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(invalid("it must be scheme, host and port only"));
    }
    Ok(parsed)
}

fn check_certificates(host: &str, pem: &[u8]) -> Result<(), ConfigError> {
    let invalid = |problem| ConfigError::CaBundle { host: host.to_owned(), problem };
    let certificates = reqwest::Certificate::from_pem_bundle(pem).map_err(|_| invalid("it isn't PEM"))?;
    if certificates.is_empty() {
        return Err(invalid("it holds no certificate"));
    }
    Ok(())
}

/// The engine's limits and times. The defaults suit a pod with a few hundred megabytes of memory.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EngineConfig {
    /// The `User-Agent` of every request. Default: this crate's name and version.
    pub user_agent: String,
    /// Blobs in flight for all copies together, at least 1; what one registry gets of them starts at half and follows
    /// what it bears. Each takes up to [`BLOB_WINDOW`](Self::BLOB_WINDOW) of memory for each of its destinations. Default 16.
    pub max_blobs: usize,
    /// Blobs that are read from one registry at once, at least 1. With fewer than [`max_blobs`](Self::max_blobs), a registry
    /// that is slow, or falls silent, leaves the rest to others; then no limit starts at half. Default 16.
    pub max_blobs_per_registry: usize,
    /// Blobs in flight for one copy, at least 1. Default 8.
    pub max_blobs_per_copy: usize,
    /// Small requests in flight to one registry, at least 1: look-ups, manifests, the beginning of uploads. It is where
    /// the limit that follows the registry's answers ends; it starts at half of it. Default 64.
    pub max_requests: usize,
    /// Manifests of one copy that are looked for, read or put at once, at least 1. Default 8.
    pub max_manifests_per_copy: usize,
    /// How long it is believed, without asking again, that a repository has a blob or manifest that was seen there. What a
    /// registry proves wrong is forgotten at once. Default 10 min; zero asks every time.
    pub knowledge_lifetime: Duration,
    /// More tags than these in one repository are an error. Default 100,000.
    pub max_tags: usize,
    /// How long a connection may take to be made, TLS included. Default 10 s.
    pub connect_timeout: Duration,
    /// How long an answer's headers may take after the request was sent. Default 60 s.
    pub response_timeout: Duration,
    /// How long a body may make no progress, in either direction. Default 60 s.
    pub idle_timeout: Duration,
    /// How long a registry may take to commit a blob whose bytes it has. Large blobs take some registries minutes.
    /// Default 5 min.
    pub commit_timeout: Duration,
    /// How failed requests are repeated.
    pub retry: RetryConfig,
    /// Asked right before every write. Default: everything may be written.
    pub gate: WriteGate,
}

impl EngineConfig {
    /// How many bytes of a blob wait at most for a destination that is slower than the others it is read for.
    pub const BLOB_WINDOW: usize = 1 << 20;
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            user_agent: concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_blobs: 16,
            max_blobs_per_registry: 16,
            max_blobs_per_copy: 8,
            max_requests: 64,
            max_manifests_per_copy: 8,
            knowledge_lifetime: Duration::from_secs(600),
            max_tags: 100_000,
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            commit_timeout: Duration::from_secs(300),
            retry: RetryConfig::default(),
            gate: WriteGate::default(),
        }
    }
}

/// What is asked right before each request that could change a registry goes out, and before each piece of a blob. For
/// programs of which several run and one may write: no copy has to be found and cancelled at the right moment.
#[derive(Clone)]
pub struct WriteGate(Arc<Ask>);

type Ask = dyn Fn() -> Result<(), String> + Send + Sync;

impl WriteGate {
    /// A gate that is open as long as `ask` returns no error. What it says is in the error of the copy, which ends
    /// with [`ErrorKind::Blocked`](crate::ErrorKind::Blocked).
    pub fn new(ask: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        (self.0)()
    }
}

impl Default for WriteGate {
    fn default() -> Self {
        Self::new(|| Ok(()))
    }
}

impl fmt::Debug for WriteGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriteGate")
    }
}

/// How often and how fast a request that failed on the way, or with 408, 429 or 5xx, is repeated.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RetryConfig {
    /// How often a request is sent at most, the first time included. Default 5.
    pub max_tries: usize,
    /// The wait after the first failure; it doubles from try to try, and a random part of it is added. Default 500 ms.
    pub min_delay: Duration,
    /// The longest wait between two tries, before the random part. Default 15 s.
    pub max_delay: Duration,
    /// The longest `Retry-After` that is waited for. A longer one ends the copy with
    /// [`ErrorKind::RateLimited`](crate::ErrorKind::RateLimited) or
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) at once. Default 60 s.
    pub max_retry_after: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            max_tries: 5,
            min_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(15),
            max_retry_after: Duration::from_secs(60),
        }
    }
}

/// A configuration can't be used.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// An endpoint or token realm isn't an origin.
    #[error("the {what} {url:?} of registry {host:?} is invalid: {problem}")]
    Url {
        /// Which URL.
        what: &'static str,
        /// The registry.
        host: String,
        /// The URL.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A CA bundle can't be read.
    #[error("the CA bundle of registry {host:?} is invalid: {problem}")]
    CaBundle {
        /// The registry.
        host: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The HTTP client can't be set up.
    #[error("the HTTP client for registry {host:?} can't be set up: {problem}")]
    HttpClient {
        /// The registry.
        host: String,
        /// What the HTTP library says.
        problem: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_hub_is_served_elsewhere_and_its_realm_is_its_own() {
        let hub = RegistryConfig::new("docker.io").unwrap();
        assert_eq!(hub.endpoint_url().as_str(), "https://registry-1.docker.io/");
        assert!(hub.owns_realm(&Url::parse("https://auth.docker.io/token?x=y").unwrap()));
        assert!(hub.owns_realm(&Url::parse("https://registry-1.docker.io/token").unwrap()));
        assert_eq!(RegistryConfig::new("index.docker.io").unwrap().host(), "docker.io");
    }

    #[test]
    fn a_realm_belongs_to_a_registry_by_its_whole_origin_only() {
        let hub = RegistryConfig::new("docker.io").unwrap();
        for foreign in [
            "http://auth.docker.io/token",
            "https://auth.docker.io:8443/token",
            "https://auth.docker.io.evil.example/token",
            "https://evil.example/auth.docker.io",
            "https://auth.docker.io@evil.example/token",
        ] {
            assert!(!hub.owns_realm(&Url::parse(foreign).unwrap()), "{foreign}");
        }
    }

    #[test]
    fn what_is_not_configured_goes_over_https_and_counts_as_not_explicit() {
        let config = RegistryConfig::new("localhost:5000").unwrap();
        assert_eq!(config.endpoint_url().as_str(), "https://localhost:5000/");
        assert!(!config.is_explicit());
        assert!(config.endpoint("http://localhost:5000").unwrap().is_explicit());
    }

    #[test]
    fn an_endpoint_is_an_origin_and_nothing_else() {
        for url in ["ftp://x", "x", "https://u:p@x", "https://x/v2", "https://x?y", "https://x#y", ""] {
            let error = RegistryConfig::new("x.io").unwrap().endpoint(url).unwrap_err().to_string();
            assert!(error.contains("x.io") && !error.contains("u:p"), "{error}");
        }
    }

    #[test]
    fn a_ca_bundle_must_hold_certificates() {
        for pem in ["", "nonsense", "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----"] {
            assert!(RegistryConfig::new("x.io").unwrap().ca_bundle(pem).is_err(), "{pem}");
        }
    }
}
