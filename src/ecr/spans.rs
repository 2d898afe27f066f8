//! What traces, and logs at debug, tell of calls to AWS.

use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_ecr::config::interceptors::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_sdk_ecr::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ecr::error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use tracing::Span;
use tracing::field::Empty;

/// Gives each call a span, from before it is signed until its last try has an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traced;

/// A call that goes on.
#[derive(Debug)]
struct Call {
    span: Span,
    tries: AtomicU32,
}

impl Storable for Call {
    type Storer = StoreReplace<Self>;
}

impl Call {
    fn begin(metadata: &Metadata) -> Self {
        let span = tracing::debug_span!(
            "AWS call",
            otel.name = %format_args!("{}.{}", metadata.service(), metadata.name()),
            otel.kind = "client",
            otel.status_code = Empty,
            rpc.system.name = "aws-api",
            rpc.service = metadata.service(),
            rpc.method = metadata.name(),
            aws.request_id = Empty,
            aws.tries = Empty,
            http.response.status_code = Empty,
        );
        Self { span, tries: AtomicU32::new(0) }
    }

    fn end(&self, context: &FinalizerInterceptorContextRef<'_>) {
        self.span.record("aws.tries", self.tries.load(Ordering::Relaxed));
        let failed = !matches!(context.output_or_error(), Some(Ok(_)));
        if failed {
            self.span.record("otel.status_code", "ERROR");
        }
        if let Some(response) = context.response() {
            self.span.record("http.response.status_code", response.status().as_u16());
            let headers = response.headers();
            if let Some(id) = headers.get("x-amzn-requestid").or_else(|| headers.get("x-amz-request-id")) {
                self.span.record("aws.request_id", id);
            }
        }
        self.span.in_scope(|| match failed {
            true => tracing::debug!("a call to AWS failed"),
            false => tracing::debug!("AWS answered"),
        });
    }
}

#[dyn_dispatch_hint]
impl Intercept for Traced {
    fn name(&self) -> &'static str {
        "Traced"
    }

    fn read_before_serialization(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(call) = config.load::<Metadata>().map(Call::begin) {
            config.interceptor_state().store_put(call);
        }
        Ok(())
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(call) = config.load::<Call>() {
            call.tries.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(call) = config.load::<Call>() {
            call.end(context);
        }
        Ok(())
    }
}
