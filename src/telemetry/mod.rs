//! Logs, and traces where a collector is named.
//!
//! What belongs to the reconcile of an object happens in a span that [`reconcile`] makes: its fields are on each log line, and
//! it is the root of a trace. Spans below it, of calls and copies, are for traces and for logs at debug.

mod json;
#[cfg(feature = "otlp")]
mod otlp;
mod spans;
#[cfg(test)]
mod tests;
mod traces;

use anyhow::Context as _;
use clap::ValueEnum;
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

pub(crate) use spans::{broke_off, ended, reconcile, task};
pub use traces::{Args, Traces};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Logs to standard error from now on, and sends traces to the collector that `args` or the environment name. `filter` is a
/// level, or directives such as `info,ecr_operator=debug`. It is called within the runtime that traces are sent from.
pub fn init(format: LogFormat, filter: &str, args: &Args) -> anyhow::Result<Traces> {
    let (traces, layer) = traces::start(args)?;
    tracing_subscriber::registry().with(layers(format, filter, std::io::stderr, layer)?).init();
    traces.announce();
    Ok(traces)
}

/// The layer that writes logs, and that which makes traces, each with its own view of what is enabled.
fn layers<W>(format: LogFormat, filter: &str, writer: W, traces: Option<BoxedLayer>) -> anyhow::Result<Vec<BoxedLayer>>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter).context("--log-level can't be used")?;
    let logs = logs(format, writer).with_filter(filter).boxed();
    Ok([logs].into_iter().chain(traces).collect())
}

fn logs<S, W>(format: LogFormat, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    match format {
        LogFormat::Json => json::Lines::new(writer).boxed(),
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(writer).boxed()
        }
    }
}
