//! What traces tell of a copy.

use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use super::request::CopyReport;
use crate::error::Error;
use crate::reference::Reference;

/// Copies in a span of its own.
pub(super) async fn traced(
    source: &Reference,
    destination: &Reference,
    copy: impl Future<Output = Result<CopyReport, Error>>,
) -> Result<CopyReport, Error> {
    let span = tracing::debug_span!(
        "copy",
        otel.status_code = Empty,
        copy.source = %source,
        copy.destination = %destination,
        copy.digest = Empty,
        copy.bytes = Empty,
        copy.blobs_copied = Empty,
        copy.blobs_skipped = Empty,
        copy.blobs_mounted = Empty,
        copy.manifests_put = Empty,
        error.type = Empty,
    );
    let result = copy.instrument(span.clone()).await;
    tell(&span, &result);
    result
}

fn tell(span: &Span, result: &Result<CopyReport, Error>) {
    match result {
        Ok(report) => {
            span.record("copy.digest", tracing::field::display(&report.digest));
            span.record("copy.bytes", report.bytes_copied);
            span.record("copy.blobs_copied", report.blobs_copied);
            span.record("copy.blobs_skipped", report.blobs_skipped);
            span.record("copy.blobs_mounted", report.blobs_mounted);
            span.record("copy.manifests_put", report.manifests_put);
        }
        Err(error) => {
            span.record("otel.status_code", "ERROR");
            span.record("error.type", tracing::field::debug(error.kind()));
        }
    }
}
