//! How AWS is reached over HTTP: through the proxy that the environment names, and with certificates beside the system's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, TlsContext, TrustStore};
use aws_smithy_http_client::{Connector, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

/// How long AWS may take to answer: a connection, a try, and a call with all its tries.
pub(super) fn patience() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        .operation_attempt_timeout(Duration::from_secs(20))
        .operation_timeout(Duration::from_secs(60))
        .build()
}

/// The HTTP client for the APIs of AWS. `pem` are certificates to trust beside the system's. Without them all registries share
/// one client, and its connections.
pub(super) fn http_client(pem: Option<&str>) -> SharedHttpClient {
    static SHARED: LazyLock<SharedHttpClient> = LazyLock::new(|| SharedHttpClient::new(Client::new(None)));
    match pem {
        None => SHARED.clone(),
        Some(pem) => SharedHttpClient::new(Client::new(Some(pem))),
    }
}

/// Connectors are made once for each set of timeouts: the connections are theirs.
#[derive(Debug)]
struct Client {
    trust: TlsContext,
    connectors: Mutex<HashMap<Timeouts, SharedHttpConnector>>,
}

type Timeouts = (Option<Duration>, Option<Duration>);

impl Client {
    fn new(pem: Option<&str>) -> Self {
        let trust = pem.map(|pem| TrustStore::default().with_pem_certificate(pem.as_bytes()));
        let context = trust.and_then(|trust| TlsContext::builder().with_trust_store(trust).build().ok());
        // The builder checks nothing today. If it does one day, a connection without the bundle fails with the TLS
        // stack's own words, which reach the status.
        Self { trust: context.unwrap_or_default(), connectors: Mutex::default() }
    }

    fn connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let builder = || {
            let mut builder = Connector::builder().connector_settings(settings.clone());
            builder.set_sleep_impl(components.sleep_impl());
            builder
        };
        SharedHttpConnector::new(Fork {
            direct: self.build(builder()),
            proxied: self.build(builder().proxy_config(ProxyConfig::from_env())),
        })
    }

    fn build(&self, builder: ConnectorBuilder) -> Connector {
        builder
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
            .tls_context(self.trust.clone())
            .build()
    }
}

impl HttpClient for Client {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let key = (settings.connect_timeout(), settings.read_timeout());
        let mut connectors = self.connectors.lock().unwrap_or_else(PoisonError::into_inner);
        connectors.entry(key).or_insert_with(|| self.connector(settings, components)).clone()
    }
}

/// Two ways to the same place.
#[derive(Debug)]
struct Fork {
    direct: Connector,
    /// Through the proxy of the environment, if it names one and NO_PROXY doesn't name the host.
    proxied: Connector,
}

impl HttpConnector for Fork {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        match serves_credentials(request.uri()) {
            true => self.direct.call(request),
            false => self.proxied.call(request),
        }
    }
}

/// Whether a URL is of what gives a machine or a pod its credentials: the metadata of EC2, the agents of ECS and of EKS Pod
/// Identity. They are on the machine, and a proxy elsewhere would reach its own, or nothing.
fn serves_credentials(url: &str) -> bool {
    let Ok(url) = url.parse::<axum::http::Uri>() else { return false };
    let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    match host.parse() {
        Ok(IpAddr::V4(address)) => address.is_link_local(),
        // EC2 and EKS have theirs in fd00:ec2::/32.
        Ok(IpAddr::V6(address)) => address.is_unicast_link_local() || matches!(address.segments(), [0xfd00, 0xec2, ..]),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gives_out_credentials_is_never_behind_the_proxy() {
        for url in [
            "http://169.254.169.254/latest/meta-data/",
            "http://169.254.170.2/v2/credentials/1",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::23]/v1/credentials",
            "http://[fd00:ec2::254]/latest/meta-data/",
        ] {
            assert!(serves_credentials(url), "{url}");
        }
        for url in [
            "https://api.ecr.eu-west-1.amazonaws.com/",
            "https://127.0.0.1:5000/",
            "https://[fd00:1::254]/",
            "https://169.254.169.254.example.com/",
        ] {
            assert!(!serves_credentials(url), "{url}");
        }
    }
}
