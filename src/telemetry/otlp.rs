//! Traces by OTLP, over HTTP as protobuf.
//!
//! Spans wait in a queue of bounded length, and a thread of its own sends them: nobody waits for a collector. What finds no
//! room is dropped.

mod collector;

use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::KeyValue;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::{Level, Metadata, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::filter_fn;

use super::BoxedLayer;
use collector::Collector;

/// What makes and sends traces.
pub(super) struct Exporting {
    provider: SdkTracerProvider,
    /// Where they go.
    host: String,
}

/// Starts to make traces. It is called within the runtime that sends them.
pub(super) fn start(endpoint: &str, ratio: Option<f64>) -> anyhow::Result<(Exporting, BoxedLayer)> {
    let collector = Collector::new(endpoint)?;
    let host = collector.host().to_owned();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(collector)
        .with_endpoint(endpoint)
        .with_protocol(Protocol::HttpBinary)
        .build()
        .context("traces can't be sent")?;
    let mut builder = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource());
    if let Some(ratio) = ratio {
        builder = builder.with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))));
    }
    let provider = builder.build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("ecr-operator"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(is_traced))
        .boxed();
    Ok((Exporting { provider, host }, layer))
}

/// Our own spans, and what is worth a line of the logs in them. What libraries tell stays out: it has URLs.
fn is_traced(metadata: &Metadata<'_>) -> bool {
    let is_ours = ["ecr_operator", "oci_copy"].iter().any(|krate| {
        metadata.target().strip_prefix(krate).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    });
    is_ours && *metadata.level() <= if metadata.is_span() { Level::DEBUG } else { Level::INFO }
}

/// Who makes the traces: what OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME say, which the chart sets.
fn resource() -> Resource {
    let given = Resource::builder().build();
    let has_name = given.get(&"service.name".into()).is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let mut builder = Resource::builder();
    if !has_name {
        builder = builder.with_service_name("ecr-operator");
    }
    if given.get(&"service.version".into()).is_none() {
        builder = builder.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    }
    builder.build()
}

/// The id of the trace that a span belongs to, kept or not.
pub(super) fn trace_id(span: &Span) -> Option<String> {
    let context = span.context();
    let span = context.span();
    let id = span.span_context();
    id.is_valid().then(|| id.trace_id().to_string())
}

impl Exporting {
    pub(super) fn announce(&self) {
        tracing::info!(collector = self.host, "traces are sent");
    }

    pub(super) fn end(self, limit: Duration) {
        if let Err(error) = self.provider.shutdown_with_timeout(limit) {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}
