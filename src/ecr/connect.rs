//! From an EcrRegistry's spec to a connection whose account is known.

use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};

use super::calls::EveryCall;
use super::error::EcrError;
use super::host::RegistryHost;
use super::http::{http_client, patience};
use super::listing::Listing;
use super::spans::Traced;
use super::token::TokenCache;
use crate::api::{AssumeRole, EcrRegistrySpec};
use crate::leadership::Fence;
use crate::metrics::Metrics;

/// How often a call is tried before its failure is reported.
pub(super) const ATTEMPTS: u32 = 2;

/// A connection to one private registry, with credentials that reach the account that was asked for.
#[derive(Debug)]
pub struct Ecr {
    pub(super) api: aws_sdk_ecr::Client,
    sts: aws_sdk_sts::Client,
    /// STS, as the operator's own identity: it is who assumes roles.
    pub(super) own_sts: aws_sdk_sts::Client,
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
    /// Where the APIs are reached, if not at AWS's usual endpoints.
    pub endpoints: ApiEndpoints,
}

/// Where the ECR API and STS are reached, if not at AWS's usual endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiEndpoints {
    /// URL of the ECR API.
    pub api: Option<String>,
    /// URL of the STS API.
    pub sts: Option<String>,
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
    /// The registry endpoint is another registry's.
    #[error(
        "spec.endpoints.registry is {host}, which is another registry than the one that the credentials ({arn}) reach, {reached}: correct one of them; nothing was changed in either"
    )]
    RegistryMismatch {
        /// The host that the spec names.
        host: String,
        /// The account that the credentials reach, and the region that the spec names.
        reached: String,
        /// Who the credentials are.
        arn: String,
    },
    /// FIPS or dual-stack endpoints are asked for, and the operator's environment gives an endpoint.
    #[error(
        "spec.endpoints asks for FIPS or dual-stack endpoints, but the operator's environment sets AWS_ENDPOINT_URL to {0}: remove one of them"
    )]
    EndpointConflict(String),
    /// AWS refused a call, or could not be reached.
    #[error(transparent)]
    Aws(#[from] EcrError),
}

impl Ecr {
    /// Connects to the registry that `spec` describes and makes sure that it is the right account.
    pub async fn connect(spec: &EcrRegistrySpec, metrics: &Metrics) -> Result<Self, ConnectError> {
        Self::connect_behind(spec, metrics, &Fence::open()).await
    }

    /// Like [`Self::connect`]; ECR is called only while the fence is open.
    pub async fn connect_behind(
        spec: &EcrRegistrySpec,
        metrics: &Metrics,
        fence: &Fence,
    ) -> Result<Self, ConnectError> {
        let Configured { ecr: config, sts, own_sts } = sdk_config(spec).await;
        let (fips, dual_stack) = (config.use_fips().unwrap_or(false), config.use_dual_stack().unwrap_or(false));
        if let Some(url) = config.endpoint_url()
            && (fips || dual_stack)
        {
            return Err(ConnectError::EndpointConflict(url.to_owned()));
        }
        let sts = sts_client(&sts);
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
            Some(url) => registry_of(url, &identity, &spec.region)?,
            None => RegistryHost::new(&identity.account_id, &spec.region, fips, dual_stack).to_string(),
        };
        let mut api = aws_sdk_ecr::config::Builder::from(&config)
            .retry_config(RetryConfig::adaptive().with_max_attempts(ATTEMPTS))
            .interceptor(Traced)
            .interceptor(EveryCall::new(&identity.account_id, &spec.region, metrics.clone(), fence.clone()));
        if let Some(url) = &endpoints.api {
            api = api.endpoint_url(url);
        }
        Ok(Self {
            api: aws_sdk_ecr::Client::from_conf(api.build()),
            sts,
            own_sts: sts_client(&own_sts),
            tokens: TokenCache::default(),
            listing: Listing::default(),
            identity,
            region: spec.region.clone(),
            host,
            ca_bundle: endpoints.ca_bundle,
            endpoints: ApiEndpoints { api: endpoints.api, sts: endpoints.sts },
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

/// The AWS SDK's configuration for a registry: ECR and STS have the same but for the endpoint.
struct Configured {
    ecr: SdkConfig,
    sts: SdkConfig,
    /// With the operator's own identity, whatever role the registry is reached by.
    own_sts: SdkConfig,
}

async fn sdk_config(spec: &EcrRegistrySpec) -> Configured {
    let ecr = loader(spec).load().await;
    // Only what a loader is told counts for more than the environment.
    let sts = match spec.endpoints.as_ref().and_then(|endpoints| endpoints.sts.as_ref()) {
        Some(url) => loader(spec).endpoint_url(url).load().await,
        None => ecr.clone(),
    };
    let own_sts = sts.clone();
    let Some(credentials) = &spec.credentials else { return Configured { ecr, sts, own_sts } };
    let provider = assume_role(&credentials.assume_role, &spec.region, &sts).await;
    let provider = aws_sdk_ecr::config::SharedCredentialsProvider::new(provider);
    let with_role = |config: SdkConfig| config.into_builder().credentials_provider(provider.clone()).build();
    Configured { ecr: with_role(ecr), sts: with_role(sts), own_sts }
}

/// Region, trust, endpoints of a kind, patience; credentials as the SDK finds them.
fn loader(spec: &EcrRegistrySpec) -> ConfigLoader {
    let pem = spec.endpoints.as_ref().and_then(|endpoints| endpoints.ca_bundle.as_deref());
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client(pem))
        .region(Region::new(spec.region.clone()))
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(patience());
    let Some(endpoints) = &spec.endpoints else { return loader };
    // What the spec leaves out, the environment may still ask for.
    if let Some(fips) = endpoints.fips {
        loader = loader.use_fips(fips);
    }
    if let Some(dual_stack) = endpoints.dual_stack {
        loader = loader.use_dual_stack(dual_stack);
    }
    loader
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

fn sts_client(config: &SdkConfig) -> aws_sdk_sts::Client {
    aws_sdk_sts::Client::from_conf(aws_sdk_sts::config::Builder::from(config).interceptor(Traced).build())
}

async fn caller_identity(sts: &aws_sdk_sts::Client) -> Result<Identity, EcrError> {
    const OPERATION: &str = "sts:GetCallerIdentity";
    let answer = sts.get_caller_identity().send().await.map_err(|error| EcrError::new(OPERATION, &error))?;
    Ok(Identity {
        account_id: answer.account.ok_or_else(|| EcrError::incomplete(OPERATION, "Account"))?,
        arn: answer.arn.ok_or_else(|| EcrError::incomplete(OPERATION, "Arn"))?,
    })
}

/// Host and port of the registry endpoint. If it is one of ECR's own hosts, it must be this account's in this region.
fn registry_of(url: &str, identity: &Identity, spec_region: &str) -> Result<String, ConnectError> {
    let host = host_of(url).ok_or_else(|| ConnectError::RegistryEndpoint(url.to_owned()))?;
    match RegistryHost::parse(&host) {
        Some(of) if of.account != identity.account_id || of.region != spec_region => {
            let reached = format!("account {} in {spec_region}", identity.account_id);
            Err(ConnectError::RegistryMismatch { host, reached, arn: identity.arn.clone() })
        }
        _ => Ok(host),
    }
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

    #[test]
    fn an_endpoint_that_is_another_registrys_is_refused() {
        let identity = Identity { account_id: "123456789012".into(), arn: "arn:aws:iam::123456789012:user/x".into() };
        let check = |url: &str| registry_of(url, &identity, "eu-west-1");
        for own in [
            "https://123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "https://123456789012.dkr-ecr.eu-west-1.on.aws",
            "https://registry.example.com:5000",
            // Not ECR's host, whatever it looks like.
            "https://999999999999.dkr.ecr.eu-west-1.amazonaws.com.example.com",
        ] {
            assert!(check(own).is_ok(), "{own}");
        }
        for others in [
            "https://999999999999.dkr.ecr.eu-west-1.amazonaws.com",
            "https://123456789012.dkr.ecr.eu-west-2.amazonaws.com",
        ] {
            let error = check(others).expect_err(others).to_string();
            assert!(error.contains("123456789012") && error.contains("eu-west-1"), "{error}");
        }
    }
}
