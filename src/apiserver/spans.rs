//! What traces, and logs at debug, tell of writes to the API server: which object, never what of it.

use std::fmt::Display;

use axum::http::{Method, Request, Response};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

/// What a path of the API is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Target<'a> {
    namespace: Option<&'a str>,
    resource: &'a str,
    name: Option<&'a str>,
    subresource: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// `/api/v1/...` or `/apis/<group>/<version>/...`, then perhaps `namespaces/<namespace>`, then the resource.
    fn of(path: &'a str) -> Self {
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        match parts.next() {
            Some("api") => drop(parts.next()),
            Some("apis") => drop((parts.next(), parts.next())),
            _ => return Self::default(),
        }
        let parts: Vec<&str> = parts.collect();
        let (namespace, rest) = match parts.as_slice() {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
            rest => (None, rest),
        };
        let at = |index: usize| rest.get(index).copied();
        Self { namespace, resource: at(0).unwrap_or_default(), name: at(1), subresource: at(2) }
    }
}

/// Makes a write in a span of its own, below the one that it belongs to. One that belongs to none is not traced.
pub(super) async fn traced<B, E: Display>(
    span: Span,
    write: impl Future<Output = Result<Response<B>, E>>,
) -> Result<Response<B>, E> {
    let answer = write.instrument(span.clone()).await;
    match &answer {
        Ok(response) => {
            span.record("http.response.status_code", response.status().as_u16());
            if response.status().is_server_error() {
                span.record("otel.status_code", "ERROR");
            }
            span.in_scope(|| tracing::debug!("the API server answered"));
        }
        Err(error) => {
            span.record("otel.status_code", "ERROR");
            span.in_scope(|| tracing::debug!(%error, "the API server did not answer"));
        }
    }
    answer
}

/// The span of a write.
pub(super) fn write<B>(request: &Request<B>) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    let Target { namespace, resource, name, subresource } = Target::of(request.uri().path());
    tracing::debug_span!(
        "Kubernetes write",
        otel.name = %format_args!("Kubernetes {} {resource}", verb(request.method())),
        otel.kind = "client",
        otel.status_code = Empty,
        http.request.method = request.method().as_str(),
        http.response.status_code = Empty,
        kubernetes.resource = resource,
        kubernetes.subresource = subresource,
        kubernetes.namespace = namespace,
        kubernetes.name = name,
    )
}

/// What Kubernetes calls a write.
fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::DELETE => "delete",
        _ => "patch",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_the_object() {
        for (path, namespace, resource, name, subresource) in [
            ("/api/v1/namespaces/a/secrets/ecr", Some("a"), "secrets", Some("ecr"), None),
            ("/api/v1/namespaces/a", None, "namespaces", Some("a"), None),
            ("/api/v1/namespaces/a/secrets", Some("a"), "secrets", None, None),
            (
                "/apis/ecr-operator.io/v1alpha1/namespaces/a/imagemirrors/nginx/status",
                Some("a"),
                "imagemirrors",
                Some("nginx"),
                Some("status"),
            ),
            (
                "/apis/ecr-operator.io/v1alpha1/ecrregistries/default/status",
                None,
                "ecrregistries",
                Some("default"),
                Some("status"),
            ),
            ("/version", None, "", None, None),
        ] {
            assert_eq!(Target::of(path), Target { namespace, resource, name, subresource }, "{path}");
        }
    }
}
