//! ECR Public, read with the operator's own identity: AWS lets who is known read more, and faster, than who is not.

use std::sync::Arc;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region};
use k8s_openapi::jiff::Timestamp;
use tokio::sync::OnceCell;

use super::calls::EveryCall;
use super::connect::ATTEMPTS;
use super::error::EcrError;
use super::http::{http_client, patience};
use super::spans::Traced;
use super::token::{Token, TokenCache};
use crate::leadership::Fence;
use crate::metrics::Metrics;

/// The API of ECR Public is in one region.
/// <https://docs.aws.amazon.com/AmazonECR/latest/public/public-registry-auth.html>
const REGION: &str = "us-east-1";

/// ECR Public, for whom the AWS SDK finds as the process's identity.
#[derive(Debug)]
pub struct PublicEcr {
    api: OnceCell<aws_sdk_ecrpublic::Client>,
    tokens: TokenCache,
    metrics: Metrics,
    fence: Fence,
}

impl PublicEcr {
    /// Nothing is asked before a token is.
    #[must_use]
    pub fn new(metrics: Metrics, fence: Fence) -> Self {
        Self { api: OnceCell::new(), tokens: TokenCache::default(), metrics, fence }
    }

    /// A token to read with now.
    ///
    /// # Errors
    /// If AWS does not give one, and there is none that still works.
    pub async fn token(&self) -> Result<Arc<Token>, EcrError> {
        self.tokens.token("public.ecr.aws", |now| self.get_authorization_token(now)).await
    }

    async fn get_authorization_token(&self, now: Timestamp) -> Result<Token, EcrError> {
        const OPERATION: &str = "ecr-public:GetAuthorizationToken";
        let api = self.api.get_or_init(|| self.client()).await;
        let answer = api.get_authorization_token().send().await.map_err(|error| EcrError::new(OPERATION, &error))?;
        let data = answer.authorization_data.ok_or_else(|| EcrError::incomplete(OPERATION, "authorizationData"))?;
        Token::read(OPERATION, data.authorization_token, data.expires_at, now)
    }

    async fn client(&self) -> aws_sdk_ecrpublic::Client {
        let config = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http_client(None))
            .region(Region::new(REGION))
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(patience())
            .load()
            .await;
        let every_call = EveryCall::new("public", REGION, self.metrics.clone(), self.fence.clone());
        let config = aws_sdk_ecrpublic::config::Builder::from(&config).interceptor(Traced).interceptor(every_call);
        aws_sdk_ecrpublic::Client::from_conf(config.build())
    }
}
