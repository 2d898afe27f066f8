//! Tokens that can pull only: from a role, narrowed by a session policy.

use std::collections::BTreeMap;

use aws_sdk_ecr::config::{Builder, Credentials, IdentityCache};
use aws_sdk_sts::types::Tag;
use k8s_openapi::jiff::Timestamp;

use super::connect::{ApiEndpoints, Ecr};
use super::error::EcrError;
use super::token::Token;

/// The name of the sessions, as CloudTrail shows it.
const SESSION: &str = "ecr-operator-pull";

/// The role that tokens are minted from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PullRole {
    /// ARN of the role.
    pub arn: String,
    /// The external ID that its trust policy asks for.
    pub external_id: Option<String>,
    /// Session tags, with everything filled in.
    pub tags: BTreeMap<String, String>,
    /// Whether a token counts as expired when the role's session ends.
    pub within_session: bool,
}

/// What makes two tokens the same: whoever has the same key gets the same token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MintKey {
    /// The 12 digits of the account.
    pub account: String,
    /// The region.
    pub region: String,
    /// Where AWS is reached.
    pub endpoints: ApiEndpoints,
    /// The role and the session policy. Without, the token is the registry's own identity's and has all its rights.
    pub narrowed: Option<(PullRole, String)>,
}

impl Ecr {
    /// Asks AWS for a token with these rights. The operator's own identity assumes the role, whatever role the registry
    /// itself is reached by: there is one trust policy to write, and no chain of roles of ours.
    pub async fn mint(&self, key: &MintKey, now: Timestamp) -> Result<Token, EcrError> {
        const ASSUME_ROLE: &str = "sts:AssumeRole";
        let Some((role, policy)) = &key.narrowed else {
            return self.renewed_token().await.map(|token| token.as_ref().clone());
        };
        let mut tags = Vec::new();
        for (key, value) in &role.tags {
            let tag = Tag::builder().key(key).value(value).build();
            tags.push(tag.map_err(|error| EcrError::invalid(ASSUME_ROLE, &error))?);
        }
        let answer = self
            .own_sts
            .assume_role()
            .role_arn(&role.arn)
            .role_session_name(SESSION)
            .set_external_id(role.external_id.clone())
            .set_tags((!tags.is_empty()).then_some(tags))
            .policy(policy)
            .send()
            .await
            .map_err(|error| EcrError::new(ASSUME_ROLE, &error))?;
        let session = answer.credentials.ok_or_else(|| EcrError::incomplete(ASSUME_ROLE, "Credentials"))?;
        let credentials = Credentials::new(
            session.access_key_id,
            session.secret_access_key,
            Some(session.session_token),
            None,
            "ecr-operator pull role",
        );
        // The session serves this one call: a cache of identities would keep each for ever.
        let with_session = Builder::new().credentials_provider(credentials).identity_cache(IdentityCache::no_cache());
        let mut token = self.get_authorization_token(now, Some(with_session)).await?;
        if role.within_session {
            let ends = Timestamp::from_second(session.expiration.secs());
            let ends = ends.map_err(|_| EcrError::incomplete(ASSUME_ROLE, "readable Expiration"))?;
            token.expires_at = token.expires_at.min(ends);
        }
        Ok(token)
    }
}
