//! Log lines as JSON: one flat object a line, with the fields of the event and of all spans around it.

use std::fmt::Debug;
use std::io::Write as _;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Writes a line for each event.
pub(super) struct Lines<W> {
    writer: W,
}

impl<W> Lines<W> {
    pub(super) fn new(writer: W) -> Self {
        Self { writer }
    }
}

/// The fields of an event or a span, in their order. Those whose names have a common part before a dot and are about the
/// object become one.
#[derive(Clone, Debug, Default)]
struct Fields(Map<String, Value>);

/// What `object.kind`, `object.namespace` and `object.name` are put into.
const OBJECT: &str = "object";

/// What is for traces alone: instructions for them, and what repeats on each line and is in the first.
fn is_for_traces(name: &str) -> bool {
    name.starts_with("otel.") || matches!(name, "object.uid" | "object.generation")
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        let name = field.name();
        if is_for_traces(name) {
            return;
        }
        match name.strip_prefix("object.") {
            Some(part) => {
                let object = self.0.entry(OBJECT).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(parts) = object {
                    parts.insert(part.to_owned(), value);
                }
            }
            // `log` and raw identifiers.
            None => drop(self.0.insert(name.trim_start_matches("r#").to_owned(), value)),
        }
    }

    /// Adds what another has and this one has not.
    fn add(&mut self, other: &Self) {
        for (name, value) in &other.0 {
            if !self.0.contains_key(name) {
                self.0.insert(name.clone(), value.clone());
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::String(value.to_owned()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::Bool(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // Numbers that JSON can't write become null.
        self.put(field, value.into());
    }
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut line = Fields::default();
        line.0.insert("timestamp".to_owned(), format!("{:.6}", Timestamp::now()).into());
        line.0.insert("level".to_owned(), metadata.level().as_str().into());
        event.record(&mut line);
        // From the innermost out: what is nearer counts.
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<Fields>() {
                line.add(fields);
            }
        }
        line.0.insert("target".to_owned(), metadata.target().into());
        let mut text = Value::Object(line.0).to_string();
        text.push('\n');
        // Where logs can't be written there is nowhere to say so.
        let _ = self.writer.make_writer_for(metadata).write_all(text.as_bytes());
    }
}
