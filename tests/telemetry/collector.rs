//! The OpenTelemetry project's collector, and what it received.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::support::operator::free_address;
use crate::support::{env, eventually};

/// A collector that takes OTLP over HTTP and writes each batch as a line of JSON.
pub(crate) struct Collector {
    pub(crate) url: String,
    child: Child,
    folder: TempDir,
}

/// A span as it arrived. Values are strings, and numbers as protobuf's JSON has them.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty for the first of a trace.
    pub(crate) parent: String,
    pub(crate) attributes: BTreeMap<String, Value>,
    pub(crate) resource: BTreeMap<String, Value>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let address = free_address();
        let config = json!({
            "receivers": {"otlp": {"protocols": {"http": {"endpoint": address}}}},
            "exporters": {"file": {"path": folder.path().join("traces.jsonl"), "flush_interval": "100ms"}},
            "service": {
                "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["file"]}},
                "telemetry": {"metrics": {"level": "none"}, "logs": {"level": "warn"}},
            },
        });
        let child = Command::new(PathBuf::from(env("TESTBED_BIN")).join("collector"))
            .arg(format!("--config=yaml:{config}"))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        eventually("the collector listens", || async { TcpStream::connect(&address).await.ok() }).await;
        Self { url: format!("http://{address}"), child, folder }
    }

    /// Everything that arrived, after which nothing more does.
    pub(crate) async fn spans(&self) -> Vec<Span> {
        let text = self.text().await;
        text.lines().flat_map(|line| spans_of(&serde_json::from_str(line).expect("a line is JSON"))).collect()
    }

    /// The same as it was written. The collector ends, so that all of it is.
    pub(crate) async fn text(&self) -> String {
        if let Some(pid) = self.child.id() {
            let _ = Command::new("kill").arg(pid.to_string()).status().await.unwrap();
            let alive = PathBuf::from(format!("/proc/{pid}/stat"));
            eventually("the collector has ended", || async {
                // Until it is waited for, what has ended is a zombie.
                let state = std::fs::read_to_string(&alive).unwrap_or_default();
                (state.is_empty() || state.contains(") Z ")).then_some(())
            })
            .await;
        }
        tokio::fs::read_to_string(self.folder.path().join("traces.jsonl")).await.unwrap_or_default()
    }
}

fn spans_of(batch: &Value) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_resource in list(&batch["resourceSpans"]) {
        let resource = attributes(&of_resource["resource"]["attributes"]);
        for of_scope in list(&of_resource["scopeSpans"]) {
            for span in list(&of_scope["spans"]) {
                let text = |name: &str| span[name].as_str().unwrap_or_default().to_owned();
                spans.push(Span {
                    name: text("name"),
                    trace: text("traceId"),
                    id: text("spanId"),
                    parent: text("parentSpanId"),
                    attributes: attributes(&span["attributes"]),
                    resource: resource.clone(),
                });
            }
        }
    }
    spans
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// `[{"key": ..., "value": {"stringValue": ...}}]` as a map.
fn attributes(value: &Value) -> BTreeMap<String, Value> {
    let pairs = list(value).iter().filter_map(|pair| {
        let (_, value) = pair["value"].as_object()?.iter().next()?;
        Some((pair["key"].as_str()?.to_owned(), value.clone()))
    });
    pairs.collect()
}
