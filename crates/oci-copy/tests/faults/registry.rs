//! A registry in memory that keeps to the distribution specification, checks what it is given, and remembers every
//! request. It is served by a proxy.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use oci_copy::Digest;
use serde_json::{Value, json};

/// Who may talk to a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guard {
    Nobody,
    Basic,
    Token,
}

/// How a registry behaves where the specification leaves it open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    pub(crate) guard: Guard,
    /// Takes blobs over from other repositories.
    pub(crate) mounts: bool,
    /// Answers `Range` with 206.
    pub(crate) ranges: bool,
    /// Has the referrers API.
    pub(crate) referrers: bool,
    /// Tags can't be moved.
    pub(crate) immutable: bool,
    /// Commits blobs of whatever digest, and manifests of whatever content: only the engine's own checks count.
    pub(crate) trusting: bool,
}

#[derive(Clone, Default)]
pub(crate) struct Repository {
    pub(crate) blobs: BTreeMap<String, Bytes>,
    /// Media type and bytes, by digest.
    pub(crate) manifests: BTreeMap<String, (String, Bytes)>,
    pub(crate) tags: BTreeMap<String, String>,
    uploads: HashMap<String, Vec<u8>>,
}

/// A blob that was put: whether the registry committed it.
#[derive(Clone, Debug)]
pub(crate) struct BlobPut {
    pub(crate) repository: String,
    pub(crate) digest: String,
    pub(crate) committed: bool,
}

pub(crate) struct Registry {
    pub(crate) manners: Manners,
    password: String,
    repositories: Mutex<HashMap<String, Repository>>,
    tokens: Mutex<HashSet<String>>,
    blob_puts: Mutex<Vec<BlobPut>>,
    /// What was sent as `Authorization`, each value once.
    authorizations: Mutex<HashSet<String>>,
    next: AtomicU64,
    /// Where blobs are, if not here.
    storage: Mutex<Option<String>>,
}

pub(crate) const USER: &str = "AWS";

impl Registry {
    pub(crate) fn new(manners: Manners, password: &str) -> Self {
        Self {
            manners,
            password: password.to_owned(),
            repositories: Mutex::default(),
            tokens: Mutex::default(),
            blob_puts: Mutex::default(),
            authorizations: Mutex::default(),
            next: AtomicU64::new(1),
            storage: Mutex::default(),
        }
    }

    pub(crate) fn repository<T>(&self, name: &str, with: impl FnOnce(&mut Repository) -> T) -> T {
        with(self.repositories().entry(name.to_owned()).or_default())
    }

    fn repositories(&self) -> MutexGuard<'_, HashMap<String, Repository>> {
        self.repositories.lock().unwrap()
    }

    pub(crate) fn keep_blobs_at(&self, storage: String) {
        *self.storage.lock().unwrap() = Some(storage);
    }

    /// No token that was given out is good any more.
    pub(crate) fn revoke_tokens(&self) {
        self.tokens.lock().unwrap().clear();
    }

    pub(crate) fn blob_puts(&self) -> Vec<BlobPut> {
        self.blob_puts.lock().unwrap().clone()
    }

    pub(crate) fn authorizations(&self) -> HashSet<String> {
        self.authorizations.lock().unwrap().clone()
    }

    /// Answers a request that came for `origin`.
    pub(crate) async fn serve(&self, origin: &str, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let query: HashMap<String, String> =
            url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let path = parts.uri.path().to_owned();
        let authorization = parts.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        if let Some(authorization) = &authorization {
            self.authorizations.lock().unwrap().insert(authorization.clone());
        }
        if let Some(digest) = path.strip_prefix("/storage/") {
            return self.stored(digest, &parts.headers);
        }
        if path == "/token" {
            return self.token(authorization.as_deref());
        }
        if let Err(response) = self.admit(origin, authorization.as_deref()) {
            let _ = to_bytes(body, usize::MAX).await;
            return *response;
        }
        let Some((name, kind, rest)) = split(&path) else { return StatusCode::NOT_FOUND.into_response() };
        let (name, rest) = (name.as_str(), rest.as_str());
        match (&parts.method, kind) {
            (&Method::GET | &Method::HEAD, "manifests") => self.get_manifest(name, rest, parts.method == Method::GET),
            (&Method::PUT, "manifests") => match to_bytes(body, usize::MAX).await {
                Ok(bytes) => self.put_manifest(name, rest, &parts.headers, bytes),
                Err(_) => StatusCode::BAD_REQUEST.into_response(),
            },
            (&Method::GET | &Method::HEAD, "blobs") => self.get_blob(name, rest, &parts.method, &parts.headers),
            (&Method::POST, "blobs") => self.start(name, &query),
            (&Method::PATCH | &Method::PUT, "blobs") => {
                let id = rest.trim_start_matches("uploads/").to_owned();
                match to_bytes(body, usize::MAX).await {
                    Ok(bytes) if parts.method == Method::PUT => self.finish(name, &id, &query, &bytes),
                    Ok(bytes) => self.append(name, &id, &bytes),
                    // As ECR does: an upload that broke off is spent.
                    Err(_) => {
                        self.repository(name, |it| it.uploads.remove(&id));
                        StatusCode::BAD_REQUEST.into_response()
                    }
                }
            }
            (&Method::DELETE, "blobs") => {
                self.repository(name, |it| it.uploads.remove(rest.trim_start_matches("uploads/")));
                StatusCode::NO_CONTENT.into_response()
            }
            (&Method::GET, "tags") => {
                let repositories = self.repositories();
                let Some(it) = repositories.get(name) else { return unknown_name() };
                let tags: Vec<_> = it.tags.keys().collect();
                json!({"name": name, "tags": tags}).to_string().into_response()
            }
            (&Method::GET, "referrers") if self.manners.referrers => self.referrers(name, rest),
            _ => error(404, "UNSUPPORTED", "there is nothing here"),
        }
    }

    pub(crate) fn basic(&self) -> String {
        let pair = format!("{USER}:{}", self.password);
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    }

    /// What this registry's secrets look like on the wire.
    pub(crate) fn owns(&self, authorization: &str) -> bool {
        authorization == self.basic() || authorization.starts_with(&self.token_prefix())
    }

    fn token_prefix(&self) -> String {
        format!("Bearer token-of-{}-", self.password)
    }

    fn admit(&self, origin: &str, authorization: Option<&str>) -> Result<(), Box<Response>> {
        let admitted = match self.manners.guard {
            Guard::Nobody => true,
            Guard::Basic => authorization == Some(&self.basic()),
            Guard::Token => authorization.is_some_and(|value| self.tokens.lock().unwrap().contains(value)),
        };
        if admitted { Ok(()) } else { Err(Box::new(self.challenge(origin))) }
    }

    /// The 401 of this registry.
    pub(crate) fn challenge(&self, origin: &str) -> Response {
        let challenge = match self.manners.guard {
            Guard::Nobody | Guard::Basic => "Basic realm=\"registry\"".to_owned(),
            Guard::Token => format!("Bearer realm=\"{origin}/token\",service=\"registry\""),
        };
        let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        let headers = [("www-authenticate", challenge.as_str()), ("content-type", "application/json")];
        (StatusCode::UNAUTHORIZED, headers, body).into_response()
    }

    fn token(&self, authorization: Option<&str>) -> Response {
        if authorization != Some(&self.basic()) {
            return error(401, "UNAUTHORIZED", "who are you?");
        }
        let token = format!("{}{}", self.token_prefix(), self.next.fetch_add(1, Ordering::SeqCst));
        self.tokens.lock().unwrap().insert(token.clone());
        json!({"token": token.trim_start_matches("Bearer "), "expires_in": 300}).to_string().into_response()
    }

    fn get_manifest(&self, name: &str, key: &str, with_body: bool) -> Response {
        let repositories = self.repositories();
        let Some(it) = repositories.get(name) else { return unknown_name() };
        let digest = it.tags.get(key).map_or(key, String::as_str);
        let Some((media_type, bytes)) = it.manifests.get(digest) else {
            return error(404, "MANIFEST_UNKNOWN", "manifest unknown");
        };
        let headers = [
            ("content-type", media_type.clone()),
            ("docker-content-digest", digest.to_owned()),
            ("content-length", bytes.len().to_string()),
        ];
        (headers, if with_body { bytes.clone() } else { Bytes::new() }).into_response()
    }

    fn put_manifest(&self, name: &str, key: &str, headers: &HeaderMap, bytes: Bytes) -> Response {
        let digest = Digest::sha256(&bytes).to_string();
        let Ok(document) = serde_json::from_slice::<Value>(&bytes) else {
            return error(400, "MANIFEST_INVALID", "not JSON");
        };
        let mut repositories = self.repositories();
        let Some(it) = repositories.get_mut(name) else { return unknown_name() };
        if !self.manners.trusting {
            for blob in blobs_of(&document) {
                if !it.blobs.contains_key(&blob.digest) {
                    return error(400, "MANIFEST_BLOB_UNKNOWN", &format!("blob {} unknown", blob.digest));
                }
            }
            for wanted in named(&document["manifests"]) {
                if !it.manifests.contains_key(wanted) {
                    return error(404, "MANIFEST_BLOB_UNKNOWN", &format!("images with digests {wanted} do not exist"));
                }
            }
        }
        if key.contains(':') {
            if key != digest {
                return error(400, "DIGEST_INVALID", "the digest is another one");
            }
        } else {
            if self.manners.immutable && it.tags.contains_key(key) {
                return error(400, "TAG_INVALID", "the tag already exists and the repository is immutable");
            }
            it.tags.insert(key.to_owned(), digest.clone());
        }
        let media_type = headers.get("content-type").map_or("", |value| value.to_str().unwrap()).to_owned();
        it.manifests.insert(digest.clone(), (media_type, bytes));
        let mut response = (StatusCode::CREATED, [("docker-content-digest", digest)]).into_response();
        if let (true, Some(subject)) = (self.manners.referrers, document["subject"]["digest"].as_str()) {
            response.headers_mut().insert("oci-subject", subject.parse().unwrap());
        }
        response
    }

    fn get_blob(&self, name: &str, digest: &str, method: &Method, headers: &HeaderMap) -> Response {
        let repositories = self.repositories();
        let Some(it) = repositories.get(name) else { return unknown_name() };
        let Some(bytes) = it.blobs.get(digest) else { return error(404, "BLOB_UNKNOWN", "blob unknown") };
        if method == Method::HEAD {
            return [("content-length", bytes.len().to_string())].into_response();
        }
        if let Some(storage) = &*self.storage.lock().unwrap() {
            let location = format!("{storage}/storage/{name}/{digest}?X-Amz-Signature=0123");
            return (StatusCode::TEMPORARY_REDIRECT, [("location", location)]).into_response();
        }
        self.content(bytes, headers)
    }

    fn stored(&self, key: &str, headers: &HeaderMap) -> Response {
        let repositories = self.repositories();
        let found = key.rsplit_once('/').and_then(|(name, digest)| repositories.get(name)?.blobs.get(digest));
        match found {
            Some(bytes) => self.content(bytes, headers),
            None => (StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>").into_response(),
        }
    }

    fn content(&self, bytes: &Bytes, headers: &HeaderMap) -> Response {
        let range = headers.get("range").and_then(|value| value.to_str().ok()).filter(|_| self.manners.ranges);
        let Some(range) = range else { return bytes.clone().into_response() };
        let Some((start, end)) = read_range(range, bytes.len()) else {
            return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
        };
        let content_range = format!("bytes {start}-{}/{}", end - 1, bytes.len());
        (StatusCode::PARTIAL_CONTENT, [("content-range", content_range)], bytes.slice(start..end)).into_response()
    }

    fn start(&self, name: &str, query: &HashMap<String, String>) -> Response {
        let mut repositories = self.repositories();
        let mounted = query.get("from").zip(query.get("mount")).and_then(|(from, digest)| {
            let bytes = repositories.get(from)?.blobs.get(digest)?.clone();
            Some((digest.clone(), bytes))
        });
        let Some(it) = repositories.get_mut(name) else { return unknown_name() };
        if let (true, Some((digest, bytes))) = (self.manners.mounts, mounted) {
            let location = format!("/v2/{name}/blobs/{digest}");
            it.blobs.insert(digest, bytes);
            return (StatusCode::CREATED, [("location", location)]).into_response();
        }
        let id = format!("upload-{}", self.next.fetch_add(1, Ordering::SeqCst));
        it.uploads.insert(id.clone(), Vec::new());
        (StatusCode::ACCEPTED, [("location", format!("/v2/{name}/blobs/uploads/{id}?_state=kept"))]).into_response()
    }

    fn append(&self, name: &str, id: &str, bytes: &[u8]) -> Response {
        let mut repositories = self.repositories();
        let Some(upload) = repositories.get_mut(name).and_then(|it| it.uploads.get_mut(id)) else {
            return error(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown");
        };
        upload.extend_from_slice(bytes);
        let headers = [
            ("location", format!("/v2/{name}/blobs/uploads/{id}?_state=kept")),
            ("range", format!("0-{}", upload.len().saturating_sub(1))),
        ];
        (StatusCode::ACCEPTED, headers).into_response()
    }

    fn finish(&self, name: &str, id: &str, query: &HashMap<String, String>, bytes: &[u8]) -> Response {
        let Some(wanted) = query.get("digest") else { return error(400, "DIGEST_INVALID", "no digest") };
        if query.get("_state").map(String::as_str) != Some("kept") {
            return error(400, "BLOB_UPLOAD_INVALID", "the location's query was lost");
        }
        let mut repositories = self.repositories();
        let Some(it) = repositories.get_mut(name) else { return unknown_name() };
        let Some(mut upload) = it.uploads.remove(id) else {
            return error(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown");
        };
        upload.extend_from_slice(bytes);
        let committed = self.manners.trusting || *wanted == Digest::sha256(&upload).to_string();
        self.blob_puts.lock().unwrap().push(BlobPut { repository: name.to_owned(), digest: wanted.clone(), committed });
        if !committed {
            return error(400, "DIGEST_INVALID", "the digest is another one");
        }
        it.blobs.insert(wanted.clone(), upload.into());
        let headers = [("location", format!("/v2/{name}/blobs/{wanted}")), ("docker-content-digest", wanted.clone())];
        (StatusCode::CREATED, headers).into_response()
    }

    fn referrers(&self, name: &str, subject: &str) -> Response {
        let repositories = self.repositories();
        let Some(it) = repositories.get(name) else { return unknown_name() };
        let mut manifests = Vec::new();
        for (digest, (media_type, bytes)) in &it.manifests {
            let document: Value = serde_json::from_slice(bytes).unwrap();
            if document["subject"]["digest"].as_str() == Some(subject) {
                let artifact_type = document["artifactType"].as_str().or(document["config"]["mediaType"].as_str());
                manifests.push(json!({
                    "mediaType": media_type, "digest": digest, "size": bytes.len(), "artifactType": artifact_type,
                }));
            }
        }
        let index = json!({
            "schemaVersion": 2, "mediaType": oci_copy::media_type::OCI_INDEX, "manifests": manifests,
        });
        ([("content-type", oci_copy::media_type::OCI_INDEX)], index.to_string()).into_response()
    }
}

pub(crate) fn named(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(|entry| entry["digest"].as_str())
}

/// A blob that a registry must hold before it takes a manifest.
pub(crate) struct Blob {
    pub(crate) digest: String,
    pub(crate) size: Option<u64>,
}

/// The blobs of a manifest, without the layers that their owner serves.
pub(crate) fn blobs_of(document: &Value) -> impl Iterator<Item = Blob> {
    let all = document["layers"].as_array().into_iter().flatten().chain(document.get("config"));
    let held = all.filter(|it| !it["mediaType"].as_str().is_some_and(|media_type| media_type.contains("foreign")));
    held.map(|it| Blob { digest: it["digest"].as_str().unwrap_or_default().to_owned(), size: it["size"].as_u64() })
}

fn read_range(header: &str, length: usize) -> Option<(usize, usize)> {
    let (start, end) = header.strip_prefix("bytes=")?.split_once('-')?;
    let start: usize = start.parse().ok()?;
    let end = if end.is_empty() { length } else { (end.parse::<usize>().ok()? + 1).min(length) };
    (start < end).then_some((start, end))
}

/// The repository, the kind of thing, and which of them.
pub(crate) fn split(path: &str) -> Option<(String, &'static str, String)> {
    let path = path.strip_prefix("/v2/")?;
    ["manifests", "blobs", "tags", "referrers"].into_iter().find_map(|kind| {
        let (name, rest) = path.split_once(&format!("/{kind}/"))?;
        Some((name.to_owned(), kind, rest.to_owned()))
    })
}

fn unknown_name() -> Response {
    error(404, "NAME_UNKNOWN", "the repository does not exist")
}

pub(crate) fn error(status: u16, code: &str, message: &str) -> Response {
    let body = json!({"errors": [{"code": code, "message": message}]}).to_string();
    let status = StatusCode::from_u16(status).unwrap();
    (status, [("content-type", "application/json")], Body::from(body)).into_response()
}
