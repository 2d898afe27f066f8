//! From an EcrRegistry's spec to a connection whose account is known.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_http_client::{Builder, tls};

use super::calls::EveryCall;
use super::error::EcrError;
use super::host::registry_host;
use super::listing::Listing;
use super::token::TokenCache;
use crate::api::{AssumeRole, EcrRegistrySpec};
use crate::metrics::Metrics;

/// How often a call is tried before its failure is reported.
const ATTEMPTS: u32 = 4;

/// A connection to one private registry, with credentials that reach the account that was asked for.
#[derive(Debug)]
pub struct Ecr {
    pub(super) api: aws_sdk_ecr::Client,
    sts: aws_sdk_sts::Client,
    pub(super) tokens: TokenCache,
    pub(super) listing: Listing,
    /// Who the credentials are.
    pub identity: Identity,
    /// The region that the registry is in.
    pub region: String,
    /// Host, and port if there is one, that the names of images begin with.
    pub host: String,
    /// PEM certificates to trust at `host`, beside the system's own.
    pub ca_bundle: Option<String>,
}

/// Who the credentials are, as STS GetCallerIdentity says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The 12 digits of the AWS account.
    pub account_id: String,
    /// ARN of the user or of the assumed role's session.
    pub arn: String,
}

/// Why a registry can't be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// The credentials reach another account.
    #[error(
        "spec.accountId is {wanted}, but the credentials ({arn}) reach account {reached}: correct one of them; nothing was changed in either account"
    )]
    AccountMismatch {
        /// The account that the spec names.
        wanted: String,
        /// The account that the credentials reach.
        reached: String,
        /// Who the credentials are.
        arn: String,
    },
    /// The URL of the registry endpoint is not one.
    #[error("spec.endpoints.registry is {0:?}, which is not an https URL of a host")]
    RegistryEndpoint(String),
    /// AWS refused a call, or could not be reached.
    #[error(transparent)]
    Aws(#[from] EcrError),
}

impl Ecr {
    /// Connects to the registry that `spec` describes and makes sure that it is the right account.
    pub async fn connect(spec: &EcrRegistrySpec, metrics: &Metrics) -> Result<Self, ConnectError> {
        let config = sdk_config(spec).await;
        let sts = aws_sdk_sts::Client::new(&config);
        let identity = caller_identity(&sts).await?;
        if let Some(wanted) = &spec.account_id
            && *wanted != identity.account_id
        {
            return Err(ConnectError::AccountMismatch {
                wanted: wanted.clone(),
                reached: identity.account_id,
                arn: identity.arn,
            });
        }
        let endpoints = spec.endpoints.clone().unwrap_or_default();
        let host = match &endpoints.registry {
            Some(url) => host_of(url).ok_or_else(|| ConnectError::RegistryEndpoint(url.clone()))?,
            None => registry_host(&identity.account_id, &spec.region),
        };
        let mut api = aws_sdk_ecr::config::Builder::from(&config)
            .retry_config(RetryConfig::adaptive().with_max_attempts(ATTEMPTS))
            .interceptor(EveryCall::new(&identity.account_id, &spec.region, metrics.clone()));
        if let Some(url) = endpoints.api {
            api = api.endpoint_url(url);
        }
        Ok(Self {
            api: aws_sdk_ecr::Client::from_conf(api.build()),
            sts,
            tokens: TokenCache::default(),
            listing: Listing::default(),
            identity,
            region: spec.region.clone(),
            host,
            ca_bundle: endpoints.ca_bundle,
        })
    }

    /// Asks AWS again who the credentials are: they may have been taken away since.
    pub async fn verify(&self) -> Result<(), EcrError> {
        caller_identity(&self.sts).await.map(drop)
    }

    /// What the names of a repository's images begin with.
    pub fn repository_uri(&self, repository: &str) -> String {
        format!("{}/{repository}", self.host)
    }
}

/// The AWS SDK's configuration for a registry: region, trust, credentials, patience.
async fn sdk_config(spec: &EcrRegistrySpec) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(spec.region.clone()))
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(5))
                .operation_attempt_timeout(Duration::from_secs(20))
                .operation_timeout(Duration::from_secs(60))
                .build(),
        );
    if let Some(pem) = spec.endpoints.as_ref().and_then(|endpoints| endpoints.ca_bundle.as_ref()) {
        loader = loader.http_client(https_client(pem));
    }
    let config = loader.load().await;
    match &spec.credentials {
        Some(credentials) => {
            let provider = assume_role(&credentials.assume_role, &spec.region, &config).await;
            config
                .into_builder()
                .credentials_provider(aws_sdk_ecr::config::SharedCredentialsProvider::new(provider))
                .build()
        }
        None => config,
    }
}

async fn assume_role(role: &AssumeRole, region: &str, base: &SdkConfig) -> AssumeRoleProvider {
    let mut builder = AssumeRoleProvider::builder(&role.role_arn)
        .session_name("ecr-operator")
        .region(Region::new(region.to_owned()))
        .configure(base);
    if let Some(id) = &role.external_id {
        builder = builder.external_id(id);
    }
    if !role.session_tags.is_empty() {
        builder = builder.tags(role.session_tags.clone());
    }
    builder.build().await
}

/// An HTTPS client that trusts `pem` beside the system's certificates.
fn https_client(pem: &str) -> aws_sdk_ecr::config::SharedHttpClient {
    let trust = tls::TrustStore::default().with_pem_certificate(pem.as_bytes());
    let builder = Builder::new().tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc));
    match tls::TlsContext::builder().with_trust_store(trust).build() {
        Ok(context) => builder.tls_context(context).build_https(),
        // The builder checks nothing today. If it does one day, a connection without the bundle fails with the TLS
        // stack's own words, which reach the status.
        Err(_) => builder.build_https(),
    }
}

async fn caller_identity(sts: &aws_sdk_sts::Client) -> Result<Identity, EcrError> {
    const OPERATION: &str = "sts:GetCallerIdentity";
    let answer = sts.get_caller_identity().send().await.map_err(|error| EcrError::new(OPERATION, &error))?;
    Ok(Identity {
        account_id: answer.account.ok_or_else(|| EcrError::incomplete(OPERATION, "Account"))?,
        arn: answer.arn.ok_or_else(|| EcrError::incomplete(OPERATION, "Arn"))?,
    })
}

/// Host and port of an https URL.
fn host_of(url: &str) -> Option<String> {
    let uri: axum::http::Uri = url.parse().ok()?;
    (uri.scheme_str() == Some("https")).then(|| uri.authority().map(|authority| authority.as_str().to_owned()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_endpoint_gives_host_and_port() {
        assert_eq!(host_of("https://127.0.0.1:5001").as_deref(), Some("127.0.0.1:5001"));
        assert_eq!(host_of("https://registry.example.com/").as_deref(), Some("registry.example.com"));
        assert_eq!(host_of("http://registry.example.com"), None);
        assert_eq!(host_of("registry.example.com"), None);
    }
}
