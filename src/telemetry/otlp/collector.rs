//! The collector: how it is reached, and what is said of it when it isn't.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::{Certificate, Url};
use tokio::runtime::Handle;

/// How long a request may take where the environment says nothing else.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A collector that takes OTLP over HTTP.
///
/// The exporter calls from a thread of its own; requests are made in the runtime.
#[derive(Debug)]
pub(super) struct Collector {
    http: reqwest::Client,
    runtime: Handle,
    host: String,
    told: Mutex<Told>,
}

impl Collector {
    pub(super) fn new(endpoint: &str) -> anyhow::Result<Self> {
        let url: Url = endpoint.parse().context("the endpoint for traces is not a URL")?;
        let host = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https"));
        let host = host.context("the endpoint for traces is not an http or https URL")?;
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("ecr-operator/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(variable("TIMEOUT").and_then(|it| it.parse().ok()).map_or(TIMEOUT, Duration::from_millis));
        if let Some(path) = variable("CERTIFICATE") {
            let pem = std::fs::read(&path).with_context(|| format!("OTEL_EXPORTER_OTLP_CERTIFICATE: {path}"))?;
            let certificates = Certificate::from_pem_bundle(&pem).with_context(|| format!("{path} is not PEM"))?;
            builder = builder.tls_certs_merge(certificates);
        }
        Ok(Self { http: builder.build()?, runtime: Handle::try_current()?, host, told: Mutex::default() })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Says what is new, and nothing again and again.
    fn tell(&self, problem: Option<&str>) {
        let say = self.told.lock().unwrap_or_else(PoisonError::into_inner).next(problem.is_some(), Instant::now());
        match (say, problem) {
            (true, Some(problem)) => tracing::warn!(
                collector = self.host,
                problem,
                "traces can't be sent: they are dropped until the collector takes them; nothing else is affected"
            ),
            (true, None) => tracing::info!(collector = self.host, "traces are sent again"),
            (false, _) => {}
        }
    }
}

/// A variable of the exporter: that of traces, or that of everything.
fn variable(name: &str) -> Option<String> {
    let read = |name: String| std::env::var(name).ok().filter(|value| !value.is_empty());
    read(format!("OTEL_EXPORTER_OTLP_TRACES_{name}")).or_else(|| read(format!("OTEL_EXPORTER_OTLP_{name}")))
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let http = self.http.clone();
        let sending = async move { http.execute(request.try_into()?).await };
        let outcome = self.runtime.spawn(sending).await?;
        let problem = match &outcome {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answers {}", answer.status())),
            // The innermost cause is the one that says something.
            Err(error) => Some(innermost(error)),
        };
        self.tell(problem.as_deref());
        let answer = outcome.map_err(reqwest::Error::without_url)?;
        // Nothing in the body is acted upon.
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = answer.status();
        *response.headers_mut() = answer.headers().clone();
        Ok(response)
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => innermost(cause),
        None => error.to_string(),
    }
}

/// What was last said of the collector.
#[derive(Debug, Default)]
struct Told {
    failing: bool,
    at: Option<Instant>,
}

/// One that comes and goes is told of no more often than this.
const SELDOM: Duration = Duration::from_secs(600);

impl Told {
    /// Whether to say how the collector is now.
    fn next(&mut self, fails: bool, now: Instant) -> bool {
        let lately = self.at.is_some_and(|at| now.duration_since(at) < SELDOM);
        if fails == self.failing || (fails && lately) {
            return false;
        }
        self.failing = fails;
        if fails {
            self.at = Some(now);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_collector_is_told_of_once_and_so_is_its_return() {
        let (mut told, now) = (Told::default(), Instant::now());
        assert!(!told.next(false, now), "that it works is no news");
        assert!(told.next(true, now));
        for second in 1..5000 {
            assert!(!told.next(true, now + Duration::from_secs(second)));
        }
        let back = now + Duration::from_secs(5000);
        assert!(told.next(false, back) && !told.next(false, back));
    }

    #[test]
    fn one_that_comes_and_goes_is_told_of_seldom() {
        let (mut told, start) = (Told::default(), Instant::now());
        let lines = (0..3600_u64).filter(|second| told.next(second % 2 == 0, start + Duration::from_secs(*second)));
        assert_eq!(lines.count(), 12, "once in ten minutes each way");
    }
}
