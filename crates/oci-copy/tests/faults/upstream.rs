//! A registry that runs elsewhere: requests are sent on to it, and its content is read for the checks.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::Value;

use crate::registry::{Repository, blobs_of, named};

/// Accepts every kind of manifest.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

#[derive(Clone)]
pub(crate) struct Remote {
    client: reqwest::Client,
    base: String,
    challenge: String,
    /// What the checks authenticate with.
    authorization: Option<String>,
}

impl Remote {
    pub(crate) fn new(base: &str, challenge: &str, authorization: Option<String>) -> Self {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { client, base: base.to_owned(), challenge: challenge.to_owned(), authorization }
    }

    pub(crate) fn challenge(&self) -> Response {
        (StatusCode::UNAUTHORIZED, [("www-authenticate", self.challenge.clone())]).into_response()
    }

    /// Sends a request on, and makes the answer one of `origin`.
    pub(crate) async fn send(&self, origin: &str, request: Request) -> Response {
        let (mut parts, body) = request.into_parts();
        for name in [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING] {
            parts.headers.remove(name);
        }
        let rest = parts.uri.path_and_query().map_or("/", |rest| rest.as_str());
        let request = self
            .client
            .request(parts.method, format!("{}{rest}", self.base))
            .headers(parts.headers)
            .body(reqwest::Body::wrap_stream(body.into_data_stream()));
        let Ok(answer) = request.send().await else { return StatusCode::BAD_GATEWAY.into_response() };
        let mut response = Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            if name == header::CONNECTION || name == header::TRANSFER_ENCODING {
                continue;
            }
            let moved = value.to_str().ok().filter(|_| name == header::LOCATION || name == header::LINK);
            response = match moved.map(|location| location.replace(&self.base, origin)) {
                Some(location) => response.header(name, location),
                None => response.header(name, value),
            };
        }
        response.body(Body::from_stream(answer.bytes_stream())).unwrap()
    }

    async fn get(&self, path: &str) -> Option<(String, Bytes)> {
        let mut url = format!("{}{path}", self.base);
        loop {
            let mut request = self.client.get(&url).header("accept", ACCEPT);
            if let Some(authorization) = self.authorization.as_ref().filter(|_| url.starts_with(&self.base)) {
                request = request.header("authorization", authorization);
            }
            let answer = request.send().await.expect("the registry answers");
            if let Some(location) = answer.headers().get("location") {
                location.to_str().unwrap().clone_into(&mut url);
                continue;
            }
            if !answer.status().is_success() {
                return None;
            }
            let media_type =
                answer.headers().get("content-type").map_or("", |value| value.to_str().unwrap()).to_owned();
            return Some((media_type, answer.bytes().await.expect("the registry finishes what it says")));
        }
    }

    /// All that a repository's tags name, as far as the registry has it.
    pub(crate) async fn read(&self, name: &str, tags: &[&str]) -> Repository {
        let mut repository = Repository::default();
        for tag in tags {
            let Some((media_type, bytes)) = self.get(&format!("/v2/{name}/manifests/{tag}")).await else { continue };
            let digest = oci_copy::Digest::sha256(&bytes).to_string();
            repository.tags.insert((*tag).to_owned(), digest.clone());
            let mut queue = vec![(digest, media_type, bytes)];
            while let Some((digest, media_type, bytes)) = queue.pop() {
                let document: Value = serde_json::from_slice(&bytes).expect("a manifest is JSON");
                repository.manifests.insert(digest, (media_type, bytes));
                for child in named(&document["manifests"]) {
                    if let Some((media_type, bytes)) = self.get(&format!("/v2/{name}/manifests/{child}")).await {
                        queue.push((child.to_owned(), media_type, bytes));
                    }
                }
                for blob in blobs_of(&document) {
                    if let Some((_, bytes)) = self.get(&format!("/v2/{name}/blobs/{}", blob.digest)).await {
                        repository.blobs.insert(blob.digest, bytes);
                    }
                }
            }
        }
        repository
    }

    /// Puts an image there, blob by blob.
    pub(crate) async fn put(&self, name: &str, tag: &str, content: &crate::images::Content) {
        let send = |request: reqwest::RequestBuilder| {
            let request = match &self.authorization {
                Some(authorization) => request.header("authorization", authorization),
                None => request,
            };
            async move {
                let answer = request.send().await.expect("the registry answers");
                assert!(answer.status().is_success(), "{answer:?}");
                answer
            }
        };
        for (digest, bytes) in &content.blobs {
            let started = send(self.client.post(format!("{}/v2/{name}/blobs/uploads/", self.base))).await;
            let location = started.headers()["location"].to_str().unwrap();
            let mut url = started.url().join(location).unwrap();
            url.query_pairs_mut().append_pair("digest", digest);
            send(self.client.put(url).body(bytes.clone())).await;
        }
        for (at, manifest) in content.manifests.iter().enumerate() {
            let key = if at + 1 == content.manifests.len() { tag } else { manifest.digest.as_str() };
            let url = format!("{}/v2/{name}/manifests/{key}", self.base);
            let request = self.client.put(url).header("content-type", manifest.media_type);
            send(request.body(manifest.bytes.clone())).await;
        }
    }
}
