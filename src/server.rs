//! Health and metrics over HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::apiserver::{PATIENCE, Watches};
use crate::metrics::Metrics;

/// What the endpoints tell.
#[derive(Clone)]
pub struct Health {
    ready: Arc<AtomicBool>,
    started: Instant,
    watches: Watches,
    metrics: Metrics,
    registry: Arc<Registry>,
}

impl Health {
    /// Not ready yet.
    pub fn new(registry: Registry, metrics: Metrics, watches: Watches) -> Self {
        Self { ready: Arc::default(), started: Instant::now(), watches, metrics, registry: Arc::new(registry) }
    }

    /// From now on `/readyz` says whether this is so.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// What a restart may heal.
    fn sick(&self) -> Option<String> {
        if !self.is_ready() && self.started.elapsed() > PATIENCE {
            return Some(format!("the caches were not filled within {} s\n", PATIENCE.as_secs()));
        }
        let wedged = self.watches.wedged();
        if wedged.is_empty() {
            return None;
        }
        let line = |(path, silence): &(String, std::time::Duration)| {
            format!("the watch of {path} has heard nothing for {} s\n", silence.as_secs())
        };
        Some(wedged.iter().map(line).collect())
    }
}

/// Serves `/healthz`, `/readyz` and `/metrics` until `shutdown`.
pub async fn serve(listener: TcpListener, health: Health, shutdown: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health);
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn healthz(State(health): State<Health>) -> Response {
    match health.sick() {
        None => (StatusCode::OK, "ok\n").into_response(),
        Some(why) => {
            tracing::error!(why = why.trim_end(), "not healthy");
            (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
        }
    }
}

async fn readyz(State(health): State<Health>) -> Response {
    if health.is_ready() {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the caches are not filled yet\n").into_response()
    }
}

async fn metrics(State(health): State<Health>) -> Response {
    for (path, silence) in health.watches.silent() {
        health.metrics.watch_silent(path, silence);
    }
    let mut text = String::new();
    match encode(&mut text, &health.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use std::time::Duration;

    fn health() -> (Health, Watches) {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let watches = Watches::default();
        (Health::new(registry, metrics, watches.clone()), watches)
    }

    async fn told(answer: Response) -> (StatusCode, String) {
        let (parts, body) = answer.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a body");
        (parts.status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_hears_nothing_makes_the_program_unhealthy_and_no_less_ready() {
        let (health, watches) = health();
        health.set_ready(true);
        watches.heard("/apis/x/things");
        tokio::time::advance(PATIENCE).await;
        assert_eq!(told(healthz(State(health.clone())).await).await.0, StatusCode::OK);
        tokio::time::advance(Duration::from_secs(1)).await;
        let (status, text) = told(healthz(State(health.clone())).await).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(text.contains("/apis/x/things") && text.contains("601 s"), "{text}");
        assert_eq!(told(readyz(State(health.clone())).await).await.0, StatusCode::OK);
        let (_, scraped) = told(metrics(State(health)).await).await;
        assert!(scraped.contains(r#"ecr_operator_watch_silent_seconds{path="/apis/x/things"} 601"#), "{scraped}");
    }

    #[tokio::test(start_paused = true)]
    async fn caches_that_never_fill_make_the_program_unhealthy() {
        let (health, _) = health();
        assert_eq!(told(healthz(State(health.clone())).await).await.0, StatusCode::OK);
        assert_eq!(told(readyz(State(health.clone())).await).await.0, StatusCode::SERVICE_UNAVAILABLE);
        tokio::time::advance(PATIENCE + Duration::from_secs(1)).await;
        assert_eq!(told(healthz(State(health)).await).await.0, StatusCode::SERVICE_UNAVAILABLE);
    }
}
