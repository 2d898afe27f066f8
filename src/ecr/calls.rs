//! What every call to AWS has in common: a rate of its own for each action, a count, and the fence.

use aws_sdk_ecr::config::interceptors::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_ecr::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ecr::error::BoxError;
use aws_smithy_runtime::client::retries::RetryPartition;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::Metadata;

use crate::leadership::Fence;
use crate::metrics::Metrics;

/// Gives each action of each account and region a rate limiter of its own, counts requests, and
/// lets none through while the fence is closed: a replica that does not lead has nothing to look for in ECR either.
///
/// The SDK's adaptive retry mode slows down what AWS throttles and speeds up again, for each retry partition. Its
/// partitions are clients; AWS's quotas are by account, region and action, however many EcrRegistry objects share them.
#[derive(Debug)]
pub(super) struct EveryCall {
    account: String,
    region: String,
    metrics: Metrics,
    fence: Fence,
}

impl EveryCall {
    pub(super) fn new(account: &str, region: &str, metrics: Metrics, fence: Fence) -> Self {
        Self { account: account.to_owned(), region: region.to_owned(), metrics, fence }
    }
}

#[dyn_dispatch_hint]
impl Intercept for EveryCall {
    fn name(&self) -> &'static str {
        "EveryCall"
    }

    fn read_before_serialization(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(action) = config.load::<Metadata>().map(|metadata| metadata.name().to_owned()) {
            let partition = RetryPartition::new(format!("{}/{}/{action}", self.account, self.region));
            config.interceptor_state().store_put(partition);
        }
        Ok(())
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.fence.check()?;
        if let Some(metadata) = config.load::<Metadata>() {
            self.metrics.aws_call(metadata.service(), metadata.name());
        }
        Ok(())
    }
}
