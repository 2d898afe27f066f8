//! What traces, and logs at debug, tell of requests: what was asked of whom, and how it ended. Never a URL, whose query may
//! be a credential, and never a header.

use reqwest::{Method, Response};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};
use url::Url;

use crate::error::{Error, Place};

/// Sends a request in a span of its own.
pub(crate) async fn traced(
    place: &Place,
    method: &Method,
    url: &Url,
    request: impl Future<Output = Result<Response, Error>>,
) -> Result<Response, Error> {
    let span = tracing::debug_span!(
        "registry request",
        otel.name = %format_args!("{:?}", place.operation),
        otel.kind = "client",
        otel.status_code = Empty,
        http.request.method = method.as_str(),
        http.response.status_code = Empty,
        server.address = url.host_str(),
        oci.operation = ?place.operation,
        oci.repository = %place.repository,
        oci.reference = place.subject,
        error.type = Empty,
    );
    let result = request.instrument(span.clone()).await;
    tell(&span, &result);
    result
}

fn tell(span: &Span, result: &Result<Response, Error>) {
    match result {
        Ok(response) => {
            let status = response.status();
            span.record("http.response.status_code", status.as_u16());
            // A registry says 401 and 404 in the course of things.
            if status.is_server_error() || status.as_u16() == 429 {
                span.record("otel.status_code", "ERROR");
            }
            span.in_scope(|| tracing::debug!("the registry answered"));
        }
        Err(error) => {
            span.record("otel.status_code", "ERROR");
            span.record("error.type", tracing::field::debug(error.kind()));
            span.in_scope(|| tracing::debug!(%error, "the registry did not answer"));
        }
    }
}
