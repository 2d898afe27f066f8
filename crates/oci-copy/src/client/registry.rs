//! One registry as configured: its HTTP clients and what it wants from who talks to it.

use std::sync::Arc;

use url::Url;

use crate::auth::AuthState;
use crate::config::{ConfigError, EngineConfig, RegistryConfig};
use crate::net::{GuardedResolver, Reach};

/// The state that all sessions with one registry share.
pub(crate) struct Registry {
    pub(crate) config: RegistryConfig,
    pub(crate) auth: AuthState,
    pub(crate) own: HttpClient,
    pub(crate) elsewhere: HttpClient,
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
    ) -> Result<Self, ConfigError> {
        let client = |reach: Reach| -> Result<HttpClient, ConfigError> {
            let http = reqwest::Client::builder()
                .user_agent(engine.user_agent.as_str())
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .connect_timeout(engine.connect_timeout)
                .pool_idle_timeout(std::time::Duration::from_secs(20))
                .tcp_nodelay(true)
                .tls_certs_merge(config.certificates()?)
                .dns_resolver(GuardedResolver::new(reach.clone(), proxies.clone()))
                .build()
                .map_err(|error| ConfigError::HttpClient {
                    host: config.host().to_owned(),
                    problem: super::transport::innermost(&error),
                })?;
            Ok(HttpClient { http, reach })
        };
        let own = client(Reach::own(&config))?;
        let elsewhere = client(Reach::elsewhere(&config))?;
        Ok(Self { config, auth: AuthState::default(), own, elsewhere })
    }

    pub(crate) fn endpoint(&self) -> &Url {
        self.config.endpoint_url()
    }

    /// Whether a URL is on the registry's own origin, where its credentials may go.
    pub(crate) fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.endpoint().origin()
    }
}
