//! A registry in memory that can hold a request up and remembers what it was sent.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use oci_copy::Digest;
use oci_copy::media_type::{OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// When the held request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    BeforeItTakesEffect,
    AfterItTookEffect,
}

#[derive(Default)]
struct Repository {
    blobs: HashMap<String, Bytes>,
    manifests: HashMap<String, (String, Bytes)>,
    tags: BTreeMap<String, String>,
}

#[derive(Default)]
struct Inner {
    repositories: HashMap<String, Repository>,
    requests: usize,
    blob_puts: Vec<String>,
    hold: Option<(usize, Hold, oneshot::Sender<()>)>,
}

#[derive(Clone)]
pub(crate) struct Registry {
    host: String,
    inner: Arc<Mutex<Inner>>,
}

impl Registry {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let registry = Self { host: listener.local_addr().unwrap().to_string(), inner: Arc::default() };
        registry.inner.lock().unwrap().repositories.insert("copy".to_owned(), Repository::default());
        let app = Router::new().fallback(handle).with_state(registry.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        registry
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// An image of two platforms that share a layer, under the tag `v1`.
    pub(crate) fn put_image(&self) -> String {
        let mut inner = self.inner.lock().unwrap();
        let it = inner.repositories.entry("source".to_owned()).or_default();
        let mut blob = |media_type: &str, content: Vec<u8>| {
            let descriptor =
                json!({"mediaType": media_type, "digest": Digest::sha256(&content), "size": content.len()});
            it.blobs.insert(Digest::sha256(&content).to_string(), content.into());
            descriptor
        };
        let layer = "application/vnd.oci.image.layer.v1.tar+gzip";
        let shared = blob(layer, vec![7; 200_000]);
        let mut entries = Vec::new();
        for architecture in ["amd64", "arm64"] {
            let config = json!({"os": "linux", "architecture": architecture}).to_string();
            let own = format!("layer of {architecture}").repeat(9_000);
            let layers = [shared.clone(), blob(layer, own.into())];
            let manifest = json!({
                "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": blob(OCI_CONFIG, config.into()), "layers": layers,
            });
            entries.push((architecture, manifest.to_string()));
        }
        let mut manifest = |media_type: &str, text: String| {
            let digest = Digest::sha256(text.as_bytes()).to_string();
            let descriptor = json!({"mediaType": media_type, "digest": digest, "size": text.len()});
            it.manifests.insert(digest, (media_type.to_owned(), text.into()));
            descriptor
        };
        let entries: Vec<_> = entries
            .into_iter()
            .map(|(architecture, text)| {
                let mut descriptor = manifest(OCI_MANIFEST, text);
                descriptor["platform"] = json!({"os": "linux", "architecture": architecture});
                descriptor
            })
            .collect();
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
        let digest = manifest(OCI_INDEX, index.to_string())["digest"].as_str().unwrap().to_owned();
        it.tags.insert("v1".to_owned(), digest.clone());
        digest
    }

    /// Holds up the request with this number. What is returned ends when it has come so far.
    pub(crate) fn hold(&self, step: usize, hold: Hold) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.inner.lock().unwrap().hold = Some((step, hold, sender));
        receiver
    }

    pub(crate) fn requests(&self) -> usize {
        self.inner.lock().unwrap().requests
    }

    /// The digests that were put, in order.
    pub(crate) fn blob_puts(&self) -> Vec<String> {
        self.inner.lock().unwrap().blob_puts.clone()
    }

    pub(crate) fn blobs(&self, repository: &str) -> HashSet<String> {
        self.inner.lock().unwrap().repositories[repository].blobs.keys().cloned().collect()
    }

    pub(crate) fn tag(&self, repository: &str, tag: &str) -> Option<String> {
        self.inner.lock().unwrap().repositories[repository].tags.get(tag).cloned()
    }

    /// Every tag names something whole.
    pub(crate) fn assert_complete(&self, repository: &str, when: &str) {
        let inner = self.inner.lock().unwrap();
        let it = &inner.repositories[repository];
        let mut queue: Vec<String> = it.tags.values().cloned().collect();
        while let Some(digest) = queue.pop() {
            let (_, bytes) = it.manifests.get(&digest).unwrap_or_else(|| panic!("{when}: {digest} is missing"));
            let document: Value = serde_json::from_slice(bytes).unwrap();
            queue.extend(named(&document["manifests"]));
            for blob in named(&document["layers"]).chain(document["config"]["digest"].as_str().map(str::to_owned)) {
                assert_eq!(Digest::sha256(&it.blobs[&blob]).as_str(), blob, "{when}");
            }
        }
    }
}

fn named(list: &Value) -> impl Iterator<Item = String> {
    list.as_array().into_iter().flatten().map(|entry| entry["digest"].as_str().unwrap().to_owned())
}

async fn handle(State(registry): State<Registry>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (number, held) = {
        let mut inner = registry.inner.lock().unwrap();
        let number = inner.requests;
        inner.requests += 1;
        let held = inner.hold.take_if(|(step, ..)| *step == number);
        (number, held)
    };
    if let Some((_, Hold::BeforeItTakesEffect, _)) = held {
        let _ = held.map(|(_, _, told)| told.send(()));
        return std::future::pending().await;
    }
    let Ok(body) = to_bytes(body, usize::MAX).await else { return StatusCode::BAD_REQUEST.into_response() };
    let query = parts.uri.query().unwrap_or_default().replace("%3A", ":");
    let response = registry.serve(&parts.method, parts.uri.path(), &query, &parts.headers, body, number);
    if let Some((_, _, told)) = held {
        let _ = told.send(());
        return std::future::pending().await;
    }
    response
}

impl Registry {
    fn serve(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        headers: &axum::http::HeaderMap,
        body: Bytes,
        number: usize,
    ) -> Response {
        let parts: Vec<&str> = path.splitn(5, '/').collect();
        let ["", "v2", name, kind, rest] = parts[..] else { return StatusCode::NOT_FOUND.into_response() };
        let mut inner = self.inner.lock().unwrap();
        if method == Method::PUT && kind == "blobs" {
            let digest = query.rsplit_once("digest=").unwrap().1.to_owned();
            assert_eq!(Digest::sha256(&body).as_str(), digest);
            inner.blob_puts.push(digest);
        }
        let Some(it) = inner.repositories.get_mut(name) else { return StatusCode::NOT_FOUND.into_response() };
        match (method.as_str(), kind) {
            ("GET" | "HEAD", "manifests") => {
                let digest = it.tags.get(rest).map_or(rest, String::as_str);
                let Some((media_type, bytes)) = it.manifests.get(digest) else {
                    let unknown = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":""}]}"#;
                    return (StatusCode::NOT_FOUND, [("content-type", "application/json")], unknown).into_response();
                };
                let headers = [("content-type", media_type.clone()), ("docker-content-digest", digest.to_owned())];
                (headers, bytes.clone()).into_response()
            }
            ("PUT", "manifests") => {
                let digest = Digest::sha256(&body).to_string();
                if !rest.contains(':') {
                    it.tags.insert(rest.to_owned(), digest.clone());
                }
                it.manifests.insert(digest, (headers["content-type"].to_str().unwrap().to_owned(), body));
                StatusCode::CREATED.into_response()
            }
            ("GET" | "HEAD", "blobs") => match it.blobs.get(rest) {
                Some(bytes) => bytes.clone().into_response(),
                None => StatusCode::NOT_FOUND.into_response(),
            },
            ("POST", "blobs") => {
                let location = format!("/v2/{name}/blobs/uploads/{number}");
                (StatusCode::ACCEPTED, [("location", location)]).into_response()
            }
            ("PUT", "blobs") => {
                it.blobs.insert(Digest::sha256(&body).to_string(), body);
                StatusCode::CREATED.into_response()
            }
            ("DELETE", "blobs") => StatusCode::NO_CONTENT.into_response(),
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }
}
