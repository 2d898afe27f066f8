//! Failures that tests ask for: a request that matches is delayed, refused, cut short or dropped.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::{Stream, StreamExt, stream};
use http::header::CONTENT_LENGTH;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use http_body::Body as _;
use parking_lot::Mutex;
use regex::Regex;
use serde::Deserialize;

use crate::serve::{Dropped, Response};

/// What `POST /faults` takes.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Fault {
    pub(crate) target: Target,
    /// `api` only: the action, such as `CreateRepository`; every action when left out.
    pub(crate) action: Option<String>,
    /// `registry` only: the method; every method when left out.
    pub(crate) method: Option<String>,
    /// `registry` only: a regular expression that is looked for in path and query; every path when left out.
    pub(crate) path: Option<String>,
    /// `api` only: a regular expression that is looked for in the request's body; every body when left out.
    pub(crate) request: Option<String>,
    /// `api` only: the region that the request is for; every one when left out.
    pub(crate) region: Option<String>,
    /// How many requests it hits; 0 means every one until it is removed.
    #[serde(default = "once")]
    pub(crate) times: u32,
    /// Answer with this status, without asking the emulator.
    pub(crate) status: Option<u16>,
    /// Error code of that answer.
    #[serde(default)]
    pub(crate) code: String,
    /// Error message of that answer.
    #[serde(default)]
    pub(crate) message: String,
    /// Body of that answer, instead of the one made of code and message.
    pub(crate) body: Option<String>,
    /// Set on the answer, whoever gave it.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// Milliseconds to wait before anything else happens.
    #[serde(default)]
    pub(crate) delay_ms: u64,
    /// Drop the connection instead of an answer.
    #[serde(default)]
    pub(crate) close: bool,
    /// Send so many bytes of the body, under the length of the whole one, then drop the connection.
    pub(crate) truncate_body: Option<usize>,
    /// Flip a bit of the body and keep its length.
    #[serde(default)]
    pub(crate) corrupt_body: bool,
}

/// Which listener a fault is for.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Target {
    Api,
    Registry,
}

/// A request, as far as faults tell requests apart.
pub(crate) enum Seen<'a> {
    Api { action: &'a str, region: Option<&'a str>, body: &'a [u8] },
    Registry { method: &'a Method, path: &'a str },
}

/// Why a fault can't be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidFault {
    #[error("path or request: {0}")]
    Pattern(#[from] regex::Error),
    #[error("status: {0} is no HTTP status")]
    Status(u16),
    #[error("headers: {0:?} is no HTTP header")]
    Header(String),
    #[error("{0} is for the other target")]
    Target(&'static str),
}

/// The faults that wait for their request.
#[derive(Default)]
pub(crate) struct Faults(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    last_id: u64,
    by_id: BTreeMap<u64, Active>,
}

struct Active {
    fault: Arc<Fault>,
    pattern: Option<Regex>,
    /// `None`: until it is removed.
    left: Option<u32>,
}

fn once() -> u32 {
    1
}

impl Faults {
    /// Adds a fault; the oldest that matches is the one that hits.
    pub(crate) fn add(&self, fault: Fault) -> Result<u64, InvalidFault> {
        check(&fault)?;
        let pattern = fault.path.as_deref().or(fault.request.as_deref()).map(Regex::new).transpose()?;
        let left = (fault.times > 0).then_some(fault.times);
        let mut waiting = self.0.lock();
        waiting.last_id += 1;
        let id = waiting.last_id;
        let fault = Arc::new(fault);
        waiting.by_id.insert(id, Active { fault, pattern, left });
        Ok(id)
    }

    /// Removes a fault; false when there is none of that id.
    pub(crate) fn remove(&self, id: u64) -> bool {
        self.0.lock().by_id.remove(&id).is_some()
    }

    /// Removes every fault.
    pub(crate) fn clear(&self) {
        self.0.lock().by_id.clear();
    }

    /// The fault that hits this request, used up by one.
    pub(crate) fn take(&self, seen: &Seen<'_>) -> Option<Arc<Fault>> {
        let mut waiting = self.0.lock();
        let (&id, active) = waiting.by_id.iter_mut().find(|(_, active)| active.matches(seen))?;
        let fault = active.fault.clone();
        if let Some(left) = &mut active.left {
            *left -= 1;
            if *left == 0 {
                waiting.by_id.remove(&id);
            }
        }
        Some(fault)
    }
}

fn check(fault: &Fault) -> Result<(), InvalidFault> {
    if let Some(status) = fault.status {
        StatusCode::from_u16(status).map_err(|_| InvalidFault::Status(status))?;
    }
    for (name, value) in &fault.headers {
        let valid = name.parse::<HeaderName>().is_ok() && value.parse::<HeaderValue>().is_ok();
        if !valid {
            return Err(InvalidFault::Header(name.clone()));
        }
    }
    match fault.target {
        Target::Registry if fault.action.is_some() => Err(InvalidFault::Target("action")),
        Target::Registry if fault.request.is_some() => Err(InvalidFault::Target("request")),
        Target::Registry if fault.region.is_some() => Err(InvalidFault::Target("region")),
        Target::Api if fault.method.is_some() => Err(InvalidFault::Target("method")),
        Target::Api if fault.path.is_some() => Err(InvalidFault::Target("path")),
        _ => Ok(()),
    }
}

impl Active {
    fn matches(&self, seen: &Seen<'_>) -> bool {
        let fault = &self.fault;
        match seen {
            Seen::Api { action, region, body } => {
                fault.target == Target::Api
                    && fault.action.as_deref().is_none_or(|a| a == *action)
                    && fault.region.as_deref().is_none_or(|wanted| Some(wanted) == *region)
                    && self.pattern.as_ref().is_none_or(|regex| regex.is_match(&String::from_utf8_lossy(body)))
            }
            Seen::Registry { method, path } => {
                fault.target == Target::Registry
                    && fault.method.as_deref().is_none_or(|m| m == method.as_str())
                    && self.pattern.as_ref().is_none_or(|regex| regex.is_match(path))
            }
        }
    }
}

/// Answers a request with the fault that hit it, if one did. `render` words the fault's own answer in the listener's
/// protocol; `answer` is the answer that there would have been.
pub(crate) async fn around(
    fault: Option<Arc<Fault>>,
    render: impl FnOnce(&Fault, StatusCode) -> Response,
    answer: impl Future<Output = Response>,
) -> Result<Response, Dropped> {
    let Some(fault) = fault else {
        return Ok(answer.await);
    };
    tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
    if fault.close {
        return Err(Dropped);
    }
    let status = fault.status.and_then(|s| StatusCode::from_u16(s).ok());
    let mut response = match (status, &fault.body) {
        (None, _) => answer.await,
        (Some(status), None) => render(&fault, status),
        (Some(status), Some(body)) => {
            let mut response = Response::new(Body::from(body.clone()));
            *response.status_mut() = status;
            response
        }
    };
    for (name, value) in &fault.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
            response.headers_mut().insert(name, value);
        }
    }
    if fault.corrupt_body {
        response = with_body(response, corrupt);
    }
    if let Some(bytes) = fault.truncate_body {
        response = with_body(response, |body| truncate(body, bytes));
    }
    Ok(response)
}

/// Replaces the body by a stream over it, and announces the length of the original.
fn with_body<S>(response: Response, change: impl FnOnce(Body) -> S) -> Response
where
    S: Stream<Item = Result<Bytes, axum::Error>> + Send + 'static,
{
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        let announced = parts.headers.entry(CONTENT_LENGTH);
        announced.or_insert_with(|| HeaderValue::from(length));
    }
    http::Response::from_parts(parts, Body::from_stream(change(body)))
}

/// Flips a bit in the last byte of the first chunk.
fn corrupt(body: Body) -> impl Stream<Item = Result<Bytes, axum::Error>> {
    let mut done = false;
    body.into_data_stream().map(move |chunk| {
        let chunk = chunk?;
        if done || chunk.is_empty() {
            return Ok(chunk);
        }
        done = true;
        let mut bytes = chunk.to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        Ok(Bytes::from(bytes))
    })
}

/// Passes `bytes` bytes, then fails, upon which hyper drops the connection.
fn truncate(body: Body, bytes: usize) -> impl Stream<Item = Result<Bytes, axum::Error>> {
    let start = Some((body.into_data_stream(), bytes));
    stream::unfold(start, |state| async move {
        let (mut chunks, left) = state?;
        if left == 0 {
            // hyper sends what it holds only while the body keeps it waiting.
            tokio::time::sleep(Duration::from_millis(10)).await;
            let cut = io::Error::other("cut short by a fault");
            return Some((Err(axum::Error::new(cut)), None));
        }
        match chunks.next().await? {
            Err(error) => Some((Err(error), None)),
            Ok(chunk) => {
                let part = chunk.slice(..chunk.len().min(left));
                let left = left - part.len();
                Some((Ok(part), Some((chunks, left))))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn fault(json: Value) -> Fault {
        serde_json::from_value(json).expect("a fault")
    }

    fn get(path: &'static str) -> Seen<'static> {
        Seen::Registry { method: &Method::GET, path }
    }

    async fn hit(json: Value, body: &'static str) -> Result<Response, Dropped> {
        let render = |_: &Fault, status| {
            let mut response = Response::new(Body::from("refused"));
            *response.status_mut() = status;
            response
        };
        let answer = async { Response::new(Body::from(body)) };
        around(Some(Arc::new(fault(json))), render, answer).await
    }

    #[test]
    fn a_fault_hits_as_often_as_it_says() {
        let faults = Faults::default();
        let twice = json!({"target": "registry", "path": "/blobs/", "times": 2, "status": 500});
        faults.add(fault(twice)).expect("added");
        assert!(faults.take(&get("/v2/a/manifests/1")).is_none());
        assert!(faults.take(&get("/v2/a/blobs/sha256:1")).is_some());
        assert!(faults.take(&get("/v2/a/blobs/sha256:1")).is_some());
        assert!(faults.take(&get("/v2/a/blobs/sha256:1")).is_none());
    }

    #[test]
    fn a_fault_without_end_hits_until_it_is_removed() {
        let faults = Faults::default();
        let endless = json!({"target": "api", "action": "ListImages", "times": 0, "close": true});
        let id = faults.add(fault(endless)).expect("added");
        let list = Seen::Api { action: "ListImages", region: None, body: b"{}" };
        for _ in 0..3 {
            assert!(faults.take(&list).is_some());
        }
        assert!(faults.remove(id));
        assert!(faults.take(&list).is_none());
    }

    #[test]
    fn a_fault_of_the_api_can_be_for_one_repository() {
        let faults = Faults::default();
        let one = json!({"target": "api", "request": "team/one\"", "times": 0, "status": 500});
        faults.add(fault(one)).expect("added");
        let about = |body: &'static [u8]| Seen::Api { action: "CreateRepository", region: None, body };
        assert!(faults.take(&about(br#"{"repositoryName":"team/one"}"#)).is_some());
        assert!(faults.take(&about(br#"{"repositoryName":"team/two"}"#)).is_none());
    }

    #[test]
    fn a_fault_of_the_api_can_be_for_one_region() {
        let faults = Faults::default();
        faults.add(fault(json!({"target": "api", "region": "us-east-1", "times": 0, "status": 500}))).expect("added");
        let to = |region| Seen::Api { action: "CreateRepository", region, body: b"{}" };
        assert!(faults.take(&to(Some("us-east-1"))).is_some());
        assert!(faults.take(&to(Some("eu-west-1"))).is_none() && faults.take(&to(None)).is_none());
    }

    #[test]
    fn a_fault_that_could_never_hit_is_refused() {
        let faults = Faults::default();
        for nonsense in [
            json!({"target": "registry", "action": "PutImage"}),
            json!({"target": "registry", "region": "eu-west-1"}),
            json!({"target": "api", "path": "/v2/"}),
            json!({"target": "registry", "path": "("}),
            json!({"target": "registry", "status": 1}),
        ] {
            assert!(faults.add(fault(nonsense)).is_err());
        }
    }

    #[tokio::test]
    async fn a_closing_fault_gives_no_answer() {
        assert!(hit(json!({"target": "api", "close": true}), "body").await.is_err());
    }

    #[tokio::test]
    async fn a_refusing_fault_answers_instead_of_the_emulator() {
        let refusal = json!({"target": "api", "status": 503, "headers": {"retry-after": "7"}});
        let response = hit(refusal, "body").await.expect("an answer");
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "7");
    }

    #[tokio::test]
    async fn a_corrupted_body_keeps_its_length() {
        let corrupted = json!({"target": "registry", "corruptBody": true});
        let response = hit(corrupted, "content").await.expect("an answer");
        assert_eq!(response.headers()[CONTENT_LENGTH], "7");
        let body = axum::body::to_bytes(response.into_body(), 64).await;
        let body = body.expect("a whole body");
        assert_eq!(body.len(), 7);
        assert_ne!(body, "content");
    }

    #[tokio::test]
    async fn a_truncated_body_announces_all_and_fails_part_way() {
        let truncated = json!({"target": "registry", "truncateBody": 3});
        let response = hit(truncated, "content").await.expect("an answer");
        assert_eq!(response.headers()[CONTENT_LENGTH], "7");
        let mut body = response.into_body().into_data_stream();
        let first = body.next().await.expect("a chunk");
        assert_eq!(first.expect("the first bytes"), "con");
        assert!(body.next().await.expect("an end").is_err());
    }
}
