//! A registry that remembers every request, and images to put into it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use oci_copy::{CopyRequest, Digest, Engine, EngineConfig, Reference, RegistryConfig, media_type};

/// A request as it arrived, with the status it was answered with.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) status: u16,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// `PUT manifests/v1`: the method and what follows the repository.
    pub(crate) fn short(&self) -> String {
        let rest = ["/manifests/", "/blobs/", "/tags/", "/referrers/"].iter().find_map(|part| {
            let at = self.path.find(part)?;
            Some(self.path[at + 1..].to_owned())
        });
        format!("{} {}", self.method, rest.unwrap_or_else(|| self.path.clone()))
    }
}

type Matcher = Box<dyn Fn(&Seen) -> bool + Send + Sync>;
type Hook = Arc<dyn Fn(&Seen) -> Option<Response> + Send + Sync>;

#[derive(Default)]
struct Repository {
    blobs: HashMap<String, Bytes>,
    manifests: HashMap<String, (String, Bytes)>,
    tags: BTreeMap<String, String>,
}

#[derive(Default)]
struct Inner {
    seen: Mutex<Vec<Seen>>,
    hooks: Mutex<Vec<Hook>>,
    silent: Mutex<Option<Matcher>>,
    repositories: Mutex<HashMap<String, Repository>>,
    uploads: AtomicU64,
    immutable: Mutex<bool>,
    mounting: Mutex<bool>,
    trusting: Mutex<bool>,
    ranges: Mutex<bool>,
    referrers: Mutex<bool>,
    /// What has been patched into uploads so far.
    patched: Mutex<HashMap<String, Vec<u8>>>,
}

/// A registry on a port of its own. It takes a manifest only when it has all that the manifest names.
#[derive(Clone)]
pub(crate) struct Registry {
    pub(crate) host: String,
    inner: Arc<Inner>,
}

impl Registry {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let registry = Self { host, inner: Arc::default() };
        let app = registry.app();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        registry
    }

    /// One that the caller serves.
    pub(crate) fn unserved(host: String) -> Self {
        Self { host, inner: Arc::default() }
    }

    pub(crate) fn app(&self) -> Router {
        Router::new().fallback(handle).with_state(self.inner.clone())
    }

    pub(crate) fn config(&self) -> RegistryConfig {
        RegistryConfig::new(&self.host).unwrap().endpoint(&self.url("")).unwrap()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.host)
    }

    pub(crate) fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.host).parse().unwrap()
    }

    /// Answers instead of the registry, where it wants to. Later hooks come first.
    pub(crate) fn hook(&self, hook: impl Fn(&Seen) -> Option<Response> + Send + Sync + 'static) {
        self.inner.hooks.lock().unwrap().insert(0, Arc::new(hook));
    }

    /// The same for the first `times` matching requests only.
    pub(crate) fn hook_times(
        &self,
        times: u64,
        matches: impl Fn(&Seen) -> bool + Send + Sync + 'static,
        answer: impl Fn() -> Response + Send + Sync + 'static,
    ) {
        let count = AtomicU64::new(0);
        self.hook(move |seen| (matches(seen) && count.fetch_add(1, Ordering::SeqCst) < times).then(&answer));
    }

    pub(crate) fn make_tags_immutable(&self) {
        *self.inner.immutable.lock().unwrap() = true;
    }

    /// Reads such requests to their end and never answers.
    pub(crate) fn never_answer(&self, matches: impl Fn(&Seen) -> bool + Send + Sync + 'static) {
        *self.inner.silent.lock().unwrap() = Some(Box::new(matches));
    }

    /// Commits whatever arrives in full, whatever its digest.
    pub(crate) fn commit_anything(&self) {
        *self.inner.trusting.lock().unwrap() = true;
    }

    pub(crate) fn enable_ranges(&self) {
        *self.inner.ranges.lock().unwrap() = true;
    }

    pub(crate) fn enable_referrers(&self) {
        *self.inner.referrers.lock().unwrap() = true;
    }

    pub(crate) fn remove_blob(&self, repository: &str, digest: &Digest) {
        self.inner.repositories.lock().unwrap().get_mut(repository).unwrap().blobs.remove(digest.as_str());
    }

    pub(crate) fn enable_mounting(&self) {
        *self.inner.mounting.lock().unwrap() = true;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().unwrap().clone()
    }

    pub(crate) fn forget_seen(&self) {
        self.inner.seen.lock().unwrap().clear();
    }

    /// The requests that changed something, in order.
    pub(crate) fn writes(&self) -> Vec<String> {
        let writes = |seen: &&Seen| matches!(seen.method, Method::PUT | Method::POST | Method::DELETE);
        self.seen().iter().filter(writes).map(Seen::short).collect()
    }

    pub(crate) fn count(&self, method: &str, part: &str) -> usize {
        let matches = |seen: &&Seen| seen.method.as_str() == method && seen.path.contains(part);
        self.seen().iter().filter(matches).count()
    }

    pub(crate) fn put_blob(&self, repository: &str, content: &[u8]) -> Digest {
        let digest = Digest::sha256(content);
        let mut repositories = self.inner.repositories.lock().unwrap();
        let blobs = &mut repositories.entry(repository.to_owned()).or_default().blobs;
        blobs.insert(digest.to_string(), Bytes::copy_from_slice(content));
        digest
    }

    /// Makes the content something else than its digest says.
    pub(crate) fn corrupt_blob(&self, repository: &str, digest: &Digest, content: &[u8]) {
        let mut repositories = self.inner.repositories.lock().unwrap();
        let blobs = &mut repositories.get_mut(repository).unwrap().blobs;
        blobs.insert(digest.to_string(), Bytes::copy_from_slice(content));
    }

    pub(crate) fn put_manifest(&self, repository: &str, tag: Option<&str>, media_type: &str, json: &str) -> Digest {
        let digest = Digest::sha256(json.as_bytes());
        let mut repositories = self.inner.repositories.lock().unwrap();
        let repository = repositories.entry(repository.to_owned()).or_default();
        let stored = (media_type.to_owned(), Bytes::copy_from_slice(json.as_bytes()));
        repository.manifests.insert(digest.to_string(), stored);
        if let Some(tag) = tag {
            repository.tags.insert(tag.to_owned(), digest.to_string());
        }
        digest
    }

    pub(crate) fn create(&self, repository: &str) {
        self.inner.repositories.lock().unwrap().entry(repository.to_owned()).or_default();
    }

    pub(crate) fn tag(&self, repository: &str, tag: &str) -> Option<String> {
        self.inner.repositories.lock().unwrap().get(repository)?.tags.get(tag).cloned()
    }

    pub(crate) fn manifest(&self, repository: &str, digest: &str) -> Option<Bytes> {
        let repositories = self.inner.repositories.lock().unwrap();
        repositories.get(repository)?.manifests.get(digest).map(|(_, bytes)| bytes.clone())
    }

    pub(crate) fn has_blob(&self, repository: &str, digest: &Digest) -> bool {
        let repositories = self.inner.repositories.lock().unwrap();
        repositories.get(repository).is_some_and(|r| r.blobs.contains_key(digest.as_str()))
    }

    /// An image of one platform, with blobs that `seed` makes different from others'.
    pub(crate) fn put_image(&self, repository: &str, tag: Option<&str>, seed: &str) -> Image {
        let config = format!(r#"{{"os":"linux","architecture":"amd64","seed":"{seed}"}}"#);
        let layers = [format!("layer one of {seed}").repeat(1000), format!("layer two of {seed}").repeat(3000)];
        self.put_image_of(repository, tag, &config, &layers, "linux", "amd64")
    }

    pub(crate) fn put_image_of(
        &self,
        repository: &str,
        tag: Option<&str>,
        config: &str,
        layers: &[String],
        os: &str,
        architecture: &str,
    ) -> Image {
        let config_digest = self.put_blob(repository, config.as_bytes());
        let layer_digests: Vec<_> =
            layers.iter().map(|layer| (self.put_blob(repository, layer.as_bytes()), layer.len())).collect();
        let layers: Vec<_> = layer_digests
            .iter()
            .map(|(digest, size)| {
                format!(
                    r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{digest}","size":{size}}}"#
                )
            })
            .collect();
        let json = format!(
            r#"{{ "schemaVersion": 2, "mediaType": "{}", "config": {{"mediaType":"{}","digest":"{config_digest}","size":{}}}, "layers": [{}] }}"#,
            media_type::OCI_MANIFEST,
            media_type::OCI_CONFIG,
            config.len(),
            layers.join(",")
        );
        let digest = self.put_manifest(repository, tag, media_type::OCI_MANIFEST, &json);
        let layers = layer_digests.into_iter().map(|(digest, _)| digest).collect();
        let platform = format!(r#"{{"architecture":"{architecture}","os":"{os}"}}"#);
        Image { digest, size: json.len(), config: config_digest, layers, platform }
    }

    /// An artifact about a manifest, with one layer of its own.
    pub(crate) fn put_referrer(&self, repository: &str, tag: Option<&str>, subject: &Digest, what: &str) -> Digest {
        let config = self.put_blob(repository, b"{}");
        let layer = self.put_blob(repository, what.as_bytes());
        let json = format!(
            r#"{{"schemaVersion":2,"mediaType":"{oci}","artifactType":"application/{what}","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{config}","size":2,"data":"e30="}},"layers":[{{"mediaType":"text/plain","digest":"{layer}","size":{}}}],"subject":{{"mediaType":"{oci}","digest":"{subject}","size":7}}}}"#,
            what.len(),
            oci = media_type::OCI_MANIFEST,
        );
        self.put_manifest(repository, tag, media_type::OCI_MANIFEST, &json)
    }

    /// An index over images.
    pub(crate) fn put_index(&self, repository: &str, tag: Option<&str>, images: &[&Image]) -> Digest {
        let entries: Vec<_> = images.iter().map(|image| image.entry("")).collect();
        let json = index_json(media_type::OCI_INDEX, &entries);
        self.put_manifest(repository, tag, media_type::OCI_INDEX, &json)
    }
}

pub(crate) fn index_json(media_type: &str, entries: &[String]) -> String {
    format!(
        "{{\n \"schemaVersion\": 2,\n \"mediaType\": \"{media_type}\",\n \"manifests\": [{}]\n}}\n",
        entries.join(", ")
    )
}

/// An image that a registry has.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) digest: Digest,
    pub(crate) size: usize,
    pub(crate) config: Digest,
    pub(crate) layers: Vec<Digest>,
    pub(crate) platform: String,
}

impl Image {
    /// Its descriptor in an index, with more fields if they are given (`,"name":...`).
    pub(crate) fn entry(&self, more: &str) -> String {
        format!(
            r#"{{"mediaType":"{}","digest":"{}","size":{},"platform":{}{more}}}"#,
            media_type::OCI_MANIFEST,
            self.digest,
            self.size,
            self.platform
        )
    }
}

/// An engine that knows these registries and doesn't wait long.
pub(crate) fn engine(registries: &[&Registry]) -> Engine {
    engine_with(registries, |_| {})
}

pub(crate) fn engine_with(registries: &[&Registry], adjust: impl FnOnce(&mut EngineConfig)) -> Engine {
    let mut config = EngineConfig::default();
    config.retry.min_delay = Duration::from_millis(1);
    config.retry.max_delay = Duration::from_millis(5);
    adjust(&mut config);
    let engine = Engine::new(config);
    registries.iter().fold(engine, |engine, registry| engine.with_registry(registry.config()).unwrap())
}

pub(crate) fn request(source: &Registry, from: &str, destination: &Registry, to: &str) -> CopyRequest {
    CopyRequest::new(source.reference(from), destination.reference(to)).deadline(Duration::from_secs(60))
}

/// Waits until something holds; a test that waits for what never comes fails.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came to pass that {what}");
}

pub(crate) fn error(status: u16, code: &str, message: &str) -> Response {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#);
    (StatusCode::from_u16(status).unwrap(), [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn handle(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut seen = Seen {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        status: 0,
    };
    let at = {
        let mut log = inner.seen.lock().unwrap();
        log.push(seen.clone());
        log.len() - 1
    };
    if inner.silent.lock().unwrap().as_ref().is_some_and(|silent| silent(&seen)) {
        let _ = to_bytes(body, usize::MAX).await;
        return std::future::pending().await;
    }
    let hooks = inner.hooks.lock().unwrap().clone();
    let response = match hooks.iter().find_map(|hook| hook(&seen)) {
        Some(response) => {
            // A hook answers at once; what is still coming is read, as a registry would.
            let _ = to_bytes(body, usize::MAX).await;
            response
        }
        None => serve(&inner, &mut seen, body).await,
    };
    if let Some(entry) = inner.seen.lock().unwrap().get_mut(at) {
        entry.status = response.status().as_u16();
    }
    response
}

async fn serve(inner: &Inner, seen: &mut Seen, body: Body) -> Response {
    let Some((name, kind, rest)) = split(&seen.path) else { return StatusCode::NOT_FOUND.into_response() };
    let query: HashMap<String, String> = url::form_urlencoded::parse(seen.query.as_bytes()).into_owned().collect();
    // An upload that ends early is seen here, as an error of its body.
    let Ok(body) = to_bytes(body, usize::MAX).await else { return StatusCode::BAD_REQUEST.into_response() };
    let mut repositories = inner.repositories.lock().unwrap();
    let mounted = query.get("from").and_then(|from| {
        let from = repositories.get(from)?;
        from.blobs.get(query.get("mount")?).cloned()
    });
    let Some(repository) = repositories.get_mut(&name) else {
        return error(404, "NAME_UNKNOWN", "the repository does not exist");
    };
    match (seen.method.as_str(), kind.as_str()) {
        ("GET" | "HEAD", "manifests") => {
            let digest = repository.tags.get(&rest).cloned().unwrap_or(rest);
            match repository.manifests.get(&digest) {
                Some((media_type, bytes)) => {
                    let headers = [
                        ("content-type", media_type.clone()),
                        ("docker-content-digest", digest),
                        ("content-length", bytes.len().to_string()),
                    ];
                    let body = if seen.method == Method::HEAD { Bytes::new() } else { bytes.clone() };
                    (headers, body).into_response()
                }
                None => error(404, "MANIFEST_UNKNOWN", "the manifest is not there"),
            }
        }
        ("PUT", "manifests") => {
            let digest = Digest::sha256(&body).to_string();
            if let Err(response) = check_manifest(repository, &body) {
                return response;
            }
            if !rest.contains(':') {
                if *inner.immutable.lock().unwrap() && repository.tags.contains_key(&rest) {
                    return error(400, "TAG_INVALID", "the tag already exists and the repository is immutable");
                }
                repository.tags.insert(rest, digest.clone());
            } else if rest != digest {
                return error(400, "DIGEST_INVALID", "the digest is another one");
            }
            let media_type = seen.header("content-type").unwrap_or_default().to_owned();
            repository.manifests.insert(digest.clone(), (media_type, body));
            (StatusCode::CREATED, [("docker-content-digest", digest)]).into_response()
        }
        ("GET" | "HEAD", "blobs") => match repository.blobs.get(&rest) {
            Some(bytes) if seen.method == Method::GET => {
                let start = seen.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
                match start.filter(|_| *inner.ranges.lock().unwrap()).map(|start| start.parse::<usize>().unwrap()) {
                    Some(start) => {
                        let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
                        (StatusCode::PARTIAL_CONTENT, [("content-range", range)], bytes.slice(start..)).into_response()
                    }
                    None => bytes.clone().into_response(),
                }
            }
            Some(bytes) => [("content-length", bytes.len().to_string())].into_response(),
            None => error(404, "BLOB_UNKNOWN", "the blob is not there"),
        },
        ("POST", "blobs") => {
            if let (true, Some(blob)) = (*inner.mounting.lock().unwrap(), mounted) {
                repository.blobs.insert(query["mount"].clone(), blob);
                return (StatusCode::CREATED, [("location", "/mounted")]).into_response();
            }
            let id = inner.uploads.fetch_add(1, Ordering::SeqCst);
            let location = format!("/v2/{name}/blobs/uploads/{id}?_state=kept");
            (StatusCode::ACCEPTED, [("location", location)]).into_response()
        }
        ("PATCH", "blobs") => {
            let mut patched = inner.patched.lock().unwrap();
            let upload = patched.entry(rest.clone()).or_default();
            let start = seen.header("content-range").unwrap().split('-').next().unwrap().parse::<usize>().unwrap();
            if start != upload.len() {
                return error(416, "BLOB_UPLOAD_INVALID", "it goes on elsewhere");
            }
            upload.extend_from_slice(&body);
            let location = format!("/v2/{name}/blobs/{rest}?_state=kept");
            // ECR's status; the specification has 202.
            (StatusCode::CREATED, [("location", location)]).into_response()
        }
        ("PUT", "blobs") => {
            let body = match inner.patched.lock().unwrap().remove(&rest) {
                Some(patched) => Bytes::from(patched),
                None => body,
            };
            let wanted = &query["digest"];
            let right = *wanted == Digest::sha256(&body).to_string() || *inner.trusting.lock().unwrap();
            if !right || query.get("_state").map(String::as_str) != Some("kept") {
                return error(400, "DIGEST_INVALID", "the digest is another one");
            }
            repository.blobs.insert(wanted.clone(), body);
            StatusCode::CREATED.into_response()
        }
        ("DELETE", "blobs") => StatusCode::NO_CONTENT.into_response(),
        ("GET", "referrers") if *inner.referrers.lock().unwrap() => {
            let mut entries = Vec::new();
            for (digest, (media_type, bytes)) in &repository.manifests {
                let json: serde_json::Value = serde_json::from_slice(bytes).unwrap();
                if json["subject"]["digest"] == rest.as_str() {
                    entries.push(format!(
                        r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{},"artifactType":{}}}"#,
                        bytes.len(),
                        json["artifactType"]
                    ));
                }
            }
            ([("content-type", media_type::OCI_INDEX)], index_json(media_type::OCI_INDEX, &entries)).into_response()
        }
        ("GET", "referrers") => StatusCode::NOT_FOUND.into_response(),
        ("GET", "tags") => {
            let tags: Vec<_> = repository.tags.keys().collect();
            axum::response::Response::new(Body::from(format!("{{\"name\":\"{name}\",\"tags\":{tags:?}}}")))
        }
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

fn split(path: &str) -> Option<(String, String, String)> {
    let path = path.strip_prefix("/v2/")?;
    ["manifests", "blobs", "tags", "referrers"].iter().find_map(|kind| {
        let (name, rest) = path.split_once(&format!("/{kind}/"))?;
        Some((name.to_owned(), (*kind).to_owned(), rest.to_owned()))
    })
}

#[allow(clippy::result_large_err)]
fn check_manifest(repository: &Repository, bytes: &[u8]) -> Result<(), Response> {
    let json: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    let digests = |value: &serde_json::Value| -> Vec<String> {
        let entries = value.as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect()
    };
    let mut blobs = digests(&json["layers"]);
    blobs.extend(json["config"]["digest"].as_str().map(str::to_owned));
    if let Some(blob) = blobs.iter().find(|blob| !repository.blobs.contains_key(*blob)) {
        return Err(error(400, "MANIFEST_BLOB_UNKNOWN", blob));
    }
    let children = digests(&json["manifests"]);
    if let Some(child) = children.iter().find(|child| !repository.manifests.contains_key(*child)) {
        return Err(error(404, "MANIFEST_BLOB_UNKNOWN", child));
    }
    Ok(())
}
