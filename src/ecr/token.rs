//! Authorization tokens for the registry API.

use std::sync::Arc;

use aws_sdk_ecr::primitives::DateTime;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use super::connect::Ecr;
use super::error::EcrError;

/// A token with less life than this is as good as expired: a copy that starts with it may outlive it.
pub(super) const MARGIN: SignedDuration = SignedDuration::from_mins(5);

/// User name and password for the registry API. They are good for 12 hours, on every registry that the identity that
/// asked for them can reach.
#[derive(Clone)]
pub struct Token {
    /// Always `AWS`.
    pub username: String,
    /// The secret part.
    pub password: String,
    /// When AWS gave it out.
    pub issued_at: Timestamp,
    /// When AWS stops taking it.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

impl Token {
    /// Reads what AWS answered to an operation.
    pub(super) fn read(
        operation: &'static str,
        encoded: Option<String>,
        expires_at: Option<DateTime>,
        issued_at: Timestamp,
    ) -> Result<Self, EcrError> {
        let encoded = encoded.ok_or_else(|| EcrError::incomplete(operation, "authorizationToken"))?;
        let expires_at = expires_at
            .and_then(|time| Timestamp::from_second(time.secs()).ok())
            .ok_or_else(|| EcrError::incomplete(operation, "expiresAt"))?;
        let (username, password) =
            decode(&encoded).ok_or_else(|| EcrError::incomplete(operation, "readable authorizationToken"))?;
        Ok(Self { username, password, issued_at, expires_at })
    }

    /// When to ask for the next one: after half of its life, so that AWS may be away for hours before anything expires.
    pub fn renew_at(&self) -> Timestamp {
        self.issued_at + self.issued_at.duration_until(self.expires_at) / 2
    }
}

/// The token in use. The lock makes concurrent callers share one call.
#[derive(Debug, Default)]
pub(super) struct TokenCache(Mutex<Option<Arc<Token>>>);

impl TokenCache {
    /// A token to use now at a host. When a new one is due and AWS does not give it, the present one is used while it works.
    pub(super) async fn token<F>(&self, host: &str, ask: impl FnOnce(Timestamp) -> F) -> Result<Arc<Token>, EcrError>
    where
        F: Future<Output = Result<Token, EcrError>>,
    {
        match self.renewed(ask).await {
            Ok(token) => Ok(token),
            Err(error) => match self.0.lock().await.as_ref() {
                Some(token) if Timestamp::now() + MARGIN < token.expires_at => {
                    tracing::warn!(%error, host, "the registry token could not be renewed; the present one still works");
                    Ok(token.clone())
                }
                _ => Err(error),
            },
        }
    }

    async fn renewed<F>(&self, ask: impl FnOnce(Timestamp) -> F) -> Result<Arc<Token>, EcrError>
    where
        F: Future<Output = Result<Token, EcrError>>,
    {
        let mut cached = self.0.lock().await;
        let now = Timestamp::now();
        if let Some(token) = cached.as_ref()
            && now < token.renew_at()
        {
            return Ok(token.clone());
        }
        let token = Arc::new(ask(now).await?);
        *cached = Some(token.clone());
        Ok(token)
    }
}

impl Ecr {
    /// A token to use now. When a new one is due and AWS does not give it, the present one is used while it works.
    pub async fn token(&self) -> Result<Arc<Token>, EcrError> {
        self.tokens.token(&self.host, |now| self.get_authorization_token(now, None)).await
    }

    /// A token that has at least half of its life left. AWS is asked only when the one at hand is older.
    pub async fn renewed_token(&self) -> Result<Arc<Token>, EcrError> {
        self.tokens.renewed(|now| self.get_authorization_token(now, None)).await
    }

    /// Drops the token: the registry refused it.
    pub async fn forget_token(&self) {
        *self.tokens.0.lock().await = None;
    }

    /// Asks AWS for a token, with other credentials than the registry's own where `instead` has some.
    pub(super) async fn get_authorization_token(
        &self,
        now: Timestamp,
        instead: Option<aws_sdk_ecr::config::Builder>,
    ) -> Result<Token, EcrError> {
        const OPERATION: &str = "ecr:GetAuthorizationToken";
        let call = self.api.get_authorization_token();
        let answer = match instead {
            Some(config) => call.customize().config_override(config).send().await,
            None => call.send().await,
        }
        .map_err(|error| EcrError::new(OPERATION, &error))?;
        let data = answer
            .authorization_data
            .and_then(|list| list.into_iter().next())
            .ok_or_else(|| EcrError::incomplete(OPERATION, "authorizationData"))?;
        Token::read(OPERATION, data.authorization_token, data.expires_at, now)
    }
}

/// Splits the base64 of `user:password`.
fn decode(encoded: &str) -> Option<(String, String)> {
    let text = String::from_utf8(BASE64.decode(encoded).ok()?).ok()?;
    let (username, password) = text.split_once(':')?;
    Some((username.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_split_at_the_first_colon() {
        assert_eq!(decode(&BASE64.encode("AWS:pass:word")), Some(("AWS".into(), "pass:word".into())));
        assert_eq!(decode("not base64"), None);
        assert_eq!(decode(&BASE64.encode("no colon")), None);
    }

    #[test]
    fn a_token_is_renewed_after_half_of_its_life_and_never_printed() {
        let issued_at = Timestamp::from_second(1_000_000).expect("in range");
        let token = Token {
            username: "AWS".into(),
            password: "canary".into(),
            issued_at,
            expires_at: issued_at + SignedDuration::from_hours(12),
        };
        assert_eq!(token.renew_at(), issued_at + SignedDuration::from_hours(6));
        assert!(!format!("{token:?}").contains("canary"));
    }
}
