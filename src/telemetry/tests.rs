use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use tracing::subscriber::with_default;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;
use crate::api::conditions::Reason;
use crate::controllers::failure::Failure;
use crate::controllers::report::Outcome;

/// What was logged.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What `work` logs with this filter.
fn logged(format: LogFormat, filter: &str, work: impl FnOnce()) -> Written {
    let written = Written::default();
    let writer = written.clone();
    let layers = layers(format, filter, move || writer.clone(), None).expect("a valid filter");
    with_default(tracing_subscriber::registry().with(layers), work);
    written
}

fn object() -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": "nginx", "namespace": "team-a", "uid": "1", "generation": 3}}))
        .expect("valid")
}

#[test]
fn each_line_of_a_reconcile_names_the_object_and_the_reconcile() {
    let written = logged(LogFormat::Json, "info,ecr_operator=debug", || {
        let span = reconcile("ImageMirror", &object(), "default,us");
        let _within = span.enter();
        tracing::info!(bytes = 7, "one");
        let inner = tracing::debug_span!("inner", http.response.status_code = 200);
        inner.in_scope(|| tracing::debug!("two"));
        ended(&Outcome::Failed(Failure::stalled(Reason::AccessDenied, "no")));
        tracing::warn!("three");
    });
    let lines = written.lines();
    let id = lines[0]["reconcile_id"].clone();
    assert!(id.as_str().is_some_and(|id| id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit())), "{id}");
    for line in &lines {
        assert_eq!(line["object"], json!({"kind": "ImageMirror", "namespace": "team-a", "name": "nginx"}));
        assert_eq!(line["registry"], "default,us");
        assert_eq!(line["reconcile_id"], id);
        assert!(line["timestamp"].as_str().is_some_and(|at| at.ends_with('Z')), "{line}");
        assert!(line.as_object().is_some_and(|it| !it.keys().any(|name| name.starts_with("otel"))), "{line}");
    }
    assert_eq!(
        (&lines[0]["message"], &lines[0]["level"], &lines[0]["bytes"]),
        (&json!("one"), &json!("INFO"), &json!(7))
    );
    assert_eq!(lines[1]["http.response.status_code"], 200);
    assert_eq!(lines[0].get("reason"), None);
    assert_eq!((&lines[2]["reason"], &lines[2]["outcome"]), (&json!("AccessDenied"), &json!("Stalled")));
}

#[test]
fn each_reconcile_has_another_id_and_a_line_outside_has_none() {
    let written = logged(LogFormat::Json, "info", || {
        for _ in 0..2 {
            reconcile("ImageMirror", &object(), "").in_scope(|| tracing::info!("within"));
        }
        tracing::info!("outside");
    });
    let lines = written.lines();
    assert_ne!(lines[0]["reconcile_id"], lines[1]["reconcile_id"]);
    assert_eq!((lines[2].get("reconcile_id"), lines[2].get("object")), (None, None));
    assert_eq!(lines[0].get("registry"), None, "no registry is none, and not an empty one");
}

#[test]
fn each_line_of_a_task_names_it_and_its_round() {
    let written = logged(LogFormat::Json, "info", || {
        for _ in 0..2 {
            task("sweep", Some("default")).in_scope(|| tracing::info!("within"));
        }
        task("rewrite", None).in_scope(|| tracing::info!("within"));
    });
    let lines = written.lines();
    assert_eq!((&lines[0]["task"], &lines[0]["registry"]), (&json!("sweep"), &json!("default")));
    assert_eq!((&lines[2]["task"], lines[2].get("registry")), (&json!("rewrite"), None));
    assert_ne!(lines[0]["reconcile_id"], lines[1]["reconcile_id"]);
    assert!(lines.iter().all(|line| line["reconcile_id"].is_string() && line.get("object").is_none()));
}

#[test]
fn a_high_level_leaves_the_object_on_what_is_left() {
    let written = logged(LogFormat::Json, "warn", || {
        reconcile("ImageMirror", &object(), "default").in_scope(|| {
            tracing::info!("not told");
            tracing::warn!("told");
        });
    });
    let lines = written.lines();
    assert_eq!((lines.len(), &lines[0]["object"]["name"]), (1, &json!("nginx")));
}

#[test]
fn what_an_event_says_itself_counts_for_more_than_the_span() {
    let written = logged(LogFormat::Json, "info", || {
        reconcile("ImageMirror", &object(), "default")
            .in_scope(|| tracing::info!(registry = "us", "message\nof two lines"));
    });
    assert_eq!(written.lines()[0]["registry"], "us");
    assert_eq!(written.text().lines().count(), 1, "a line break in a message breaks no line");
}

#[test]
fn text_has_the_object_too() {
    let written = logged(LogFormat::Text, "info", || {
        reconcile("ImageMirror", &object(), "default").in_scope(|| tracing::info!("told"));
    });
    let text = written.text();
    for part in ["ImageMirror", "team-a", "nginx", "reconcile_id", "told"] {
        assert!(text.contains(part), "{text}");
    }
}
