//! Authorization tokens of the process's own AWS identity, outside of any EcrRegistry: what the command line uses.

use aws_config::{BehaviorVersion, Region};
use k8s_openapi::jiff::Timestamp;

use super::error::EcrError;
use super::http::{http_client, patience};
use super::token::Token;

const OPERATION: &str = "ecr:GetAuthorizationToken";

/// A token, and the registry that AWS gives it for. It works on every registry that the identity can reach.
#[derive(Clone, Debug)]
pub struct IdentityToken {
    /// User name and password.
    pub token: Token,
    /// Host, and port if there is one, of the identity's own registry in the region.
    pub host: Option<String>,
}

/// Asks AWS for a token, with the credentials that every AWS tool finds.
///
/// Without a `region` it is the environment's or the profile's.
///
/// # Errors
/// If there are no credentials, or AWS refuses them or doesn't answer.
pub async fn identity_token(region: Option<&str>) -> Result<IdentityToken, EcrError> {
    let mut loader =
        aws_config::defaults(BehaviorVersion::latest()).http_client(http_client(None)).timeout_config(patience());
    if let Some(region) = region {
        loader = loader.region(Region::new(region.to_owned()));
    }
    let api = aws_sdk_ecr::Client::new(&loader.load().await);
    let now = Timestamp::now();
    let answer = api.get_authorization_token().send().await.map_err(|error| EcrError::new(OPERATION, &error))?;
    let data = answer.authorization_data.and_then(|list| list.into_iter().next());
    let data = data.ok_or_else(|| EcrError::incomplete(OPERATION, "authorizationData"))?;
    let token = Token::read(OPERATION, data.authorization_token, data.expires_at, now)?;
    let host = data.proxy_endpoint.map(|url| url.trim_start_matches("https://").trim_end_matches('/').to_owned());
    Ok(IdentityToken { token, host })
}
