//! The spans of reconciles, and of what is done for no single object.

use kube::Resource;
use tracing::Span;
use tracing::field::Empty;

use crate::controllers::report::Outcome;

/// The span of one reconcile of an object, with an id of its own. `registries` are the EcrRegistry objects that its spec names.
///
/// Its level is the highest, so that whatever lines are logged have its fields.
pub(crate) fn reconcile<K: Resource>(kind: &'static str, object: &K, registries: &str) -> Span {
    let metadata = object.meta();
    let span = tracing::error_span!(
        parent: None,
        "reconcile",
        otel.name = %format_args!("reconcile {kind}"),
        otel.status_code = Empty,
        otel.status_description = Empty,
        object.kind = kind,
        object.namespace = metadata.namespace,
        object.name = metadata.name,
        object.uid = metadata.uid,
        object.generation = metadata.generation,
        registry = (!registries.is_empty()).then_some(registries),
        reconcile_id = Empty,
        outcome = Empty,
        reason = Empty,
    );
    span.record("reconcile_id", id_of(&span));
    span
}

/// The span of one round of work that belongs to no single object, with an id of its own. `registry` is the EcrRegistry that it
/// is about, if it is about one.
pub(crate) fn task(name: &'static str, registry: Option<&str>) -> Span {
    let span = tracing::error_span!(
        parent: None,
        "task",
        otel.name = name,
        task = name,
        registry,
        reconcile_id = Empty,
    );
    span.record("reconcile_id", id_of(&span));
    span
}

/// The id of the trace that the span begins, or, where nothing is traced, one that is as good.
fn id_of(span: &Span) -> String {
    #[cfg(feature = "otlp")]
    if let Some(id) = super::otlp::trace_id(span) {
        return id;
    }
    let _ = span;
    random_id()
}

/// 32 hexadecimal digits that nobody else has.
fn random_id() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    // Each state has other keys, which come from the system's random numbers.
    let half = || RandomState::new().hash_one(std::time::Instant::now());
    format!("{:016x}{:016x}", half(), half())
}

/// Notes on the present span how the reconcile ended.
pub(crate) fn ended(outcome: &Outcome) {
    let span = Span::current();
    let (name, reason) = match outcome {
        Outcome::Ready { .. } => ("Ready", None),
        Outcome::Progressing { .. } => ("Progressing", None),
        Outcome::Suspended => ("Suspended", None),
        Outcome::Failed(failure) if failure.is_stalled() => ("Stalled", Some(failure)),
        Outcome::Failed(failure) => ("Failed", Some(failure)),
    };
    span.record("outcome", name);
    span.record("reason", outcome.reason().as_str());
    if let Some(failure) = reason {
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", failure.message.as_str());
    }
}

/// Notes on the present span that the reconcile could not even tell how it went.
pub(crate) fn broke_off(error: &str) {
    let span = Span::current();
    span.record("outcome", "Error");
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", error);
}
