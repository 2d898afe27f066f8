//! Against a registry that has what cosign wrote: `src/verify/testdata/README.md`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use oci_copy::{Engine, EngineConfig, RegistryConfig, media_type};

use super::*;
use crate::api::CosignVerification;
use crate::verify::Root;

const KEY: &str = include_str!("../../verify/testdata/cosign/cosign.pub");
const OTHER_KEY: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAENptdY/l3nB0yqkXLBWkZWQwo6+cu\nOSWS1X9vPavpiQOoTTGC0xX57OojUadxF1cdQmrsiReWg2Wn4FneJfa8xw==\n-----END PUBLIC KEY-----\n";
const CLASSIC: &str = include_str!("../../verify/testdata/cosign/classic.json");
const PAYLOAD: &str = include_str!("../../verify/testdata/cosign/payload.json");
const REFERRER: &str = include_str!("../../verify/testdata/cosign/referrer.json");
const BUNDLE: &str = include_str!("../../verify/testdata/cosign/bundle.json");

/// The image that they are about.
const IMAGE: &str = "sha256:aa3353e9953654cae4b0c113b57f594d77c1b630cfb0f2200c3e2c6864372ab8";

/// A registry that has some paths below `/v2/app/`, and remembers what it was asked for.
struct Registry {
    host: String,
    asked: Arc<Mutex<Vec<String>>>,
}

type Answer = (StatusCode, &'static str, String);

impl Registry {
    async fn start(answers: BTreeMap<String, Answer>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = listener.local_addr().expect("an address").to_string();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (remembered, answers) = (asked.clone(), Arc::new(answers));
        let app = Router::new().fallback(move |request: Request| {
            let path = request.uri().path().trim_start_matches("/v2/app/").to_owned();
            let answer = answers.get(&path).cloned();
            remembered.lock().expect("no panic").push(path);
            let unknown = r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#.to_owned();
            let (status, kind, body) = answer.unwrap_or((StatusCode::NOT_FOUND, "application/json", unknown));
            std::future::ready((status, [("content-type", kind)], body).into_response())
        });
        tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Self { host, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }

    async fn judge(&self, key: &str) -> Option<Failure> {
        let mut config = EngineConfig::default();
        config.retry.min_delay = Duration::from_millis(1);
        config.retry.max_delay = Duration::from_millis(1);
        let reached = RegistryConfig::new(&self.host).and_then(|it| it.endpoint(&format!("http://{}", self.host)));
        let engine = Engine::new(config).with_registry(reached.expect("an address")).expect("an engine");
        let spec: CosignVerification =
            serde_json::from_value(serde_json::json!({"keys": [{"pem": key}]})).expect("a spec");
        let root = Arc::new(Root::public_good().expect("a root"));
        let verification = Verification::new(&spec, &HashMap::new(), &root).expect("it can be used");
        let source = Repository::new(&self.host, "app").expect("a repository");
        let mut unverified = judge(&verification, &engine, &source, [IMAGE.to_owned()].into()).await;
        unverified.remove(IMAGE)
    }
}

fn manifest(body: &str) -> Answer {
    (StatusCode::OK, media_type::OCI_MANIFEST, body.to_owned())
}

fn blob(body: &str) -> Answer {
    (StatusCode::OK, "application/octet-stream", body.to_owned())
}

fn refused(status: StatusCode) -> Answer {
    (status, "application/json", r#"{"errors":[{"code":"DENIED","message":"not for you"}]}"#.to_owned())
}

fn hyphened() -> String {
    IMAGE.replace(':', "-")
}

fn digest(text: &str) -> String {
    Digest::sha256(text.as_bytes()).to_string()
}

fn classic_answers() -> BTreeMap<String, Answer> {
    let tag = format!("manifests/{}.sig", hyphened());
    [(tag, manifest(CLASSIC)), (format!("blobs/{}", digest(PAYLOAD)), blob(PAYLOAD))].into()
}

fn bundle_answers() -> BTreeMap<String, Answer> {
    let list = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{{"mediaType":"{}","digest":"{}","size":{},"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json"}}]}}"#,
        media_type::OCI_INDEX,
        media_type::OCI_MANIFEST,
        digest(REFERRER),
        REFERRER.len(),
    );
    [
        (format!("manifests/{}", hyphened()), (StatusCode::OK, media_type::OCI_INDEX, list)),
        (format!("manifests/{}", digest(REFERRER)), manifest(REFERRER)),
        (format!("blobs/{}", digest(BUNDLE)), blob(BUNDLE)),
    ]
    .into()
}

#[tokio::test]
async fn a_classic_signature_costs_two_requests() {
    let registry = Registry::start(classic_answers()).await;
    assert_eq!(registry.judge(KEY).await, None);
    let expected = [format!("manifests/{}.sig", hyphened()), format!("blobs/{}", digest(PAYLOAD))];
    assert_eq!(registry.asked(), expected);
}

#[tokio::test]
async fn a_bundle_is_found_by_the_referrers_api_and_by_its_fallback_tag() {
    let by_tag = bundle_answers();
    let mut by_api = by_tag.clone();
    let list = by_api.remove(&format!("manifests/{}", hyphened())).expect("a list");
    by_api.insert(format!("referrers/{IMAGE}"), list);
    for answers in [by_tag, by_api] {
        assert_eq!(Registry::start(answers).await.judge(KEY).await, None);
    }
}

#[tokio::test]
async fn a_bundle_counts_where_no_classic_signature_does() {
    let mut answers = classic_answers();
    answers.extend(bundle_answers());
    answers.insert(format!("manifests/{}.sig", hyphened()), manifest(&CLASSIC.replace("MEUCIH5e", "MEUCIH5f")));
    assert_eq!(Registry::start(answers).await.judge(KEY).await, None);
}

#[tokio::test]
async fn an_image_without_a_signature_and_one_with_others_are_told_apart() {
    let none = Registry::start(BTreeMap::new()).await.judge(KEY).await.expect("it is unsigned");
    assert_eq!(none.reason, Reason::SignatureNotFound);
    assert!(none.is_stalled() && none.message.contains(IMAGE), "{none}");
    let mut answers = classic_answers();
    answers.extend(bundle_answers());
    let others = Registry::start(answers).await.judge(OTHER_KEY).await.expect("it is foreign");
    assert_eq!(others.reason, Reason::NotVerified);
    assert!(others.message.contains("any of 2 signatures"), "{others}");
}

#[tokio::test]
async fn an_attestation_that_says_so_is_not_even_read() {
    let mut answers = bundle_answers();
    let (_, _, list) = answers.get_mut(&format!("manifests/{}", hyphened())).expect("a list");
    *list = list.replace(
        r#""artifactType""#,
        r#""annotations":{"dev.sigstore.bundle.predicateType":"https://slsa.dev/provenance/v1"},"artifactType""#,
    );
    let registry = Registry::start(answers).await;
    assert_eq!(registry.judge(KEY).await.map(|failure| failure.reason), Some(Reason::SignatureNotFound));
    assert!(!registry.asked().contains(&format!("manifests/{}", digest(REFERRER))), "{:?}", registry.asked());
}

#[tokio::test]
async fn a_registry_that_does_not_answer_proves_nothing() {
    let tag = format!("manifests/{}.sig", hyphened());
    let broken = BTreeMap::from([(tag, refused(StatusCode::INTERNAL_SERVER_ERROR))]);
    let failure = Registry::start(broken).await.judge(KEY).await.expect("it is not verified");
    assert!(failure.reason != Reason::SignatureNotFound && !failure.is_stalled(), "{failure}");
}

#[tokio::test]
async fn a_registry_that_lists_no_referrers_is_told_of() {
    let refused = BTreeMap::from([(format!("referrers/{IMAGE}"), refused(StatusCode::FORBIDDEN))]);
    let failure = Registry::start(refused).await.judge(KEY).await.expect("it is not verified");
    assert_eq!(failure.reason, Reason::SignatureNotFound);
    assert!(failure.message.contains("not for you"), "{failure}");
}

#[tokio::test]
async fn what_is_too_large_or_not_what_its_digest_says_spoils_no_other_signature() {
    let size = format!(r#""size":{}"#, PAYLOAD.len());
    let mut answers = classic_answers();
    answers.insert(format!("manifests/{}.sig", hyphened()), manifest(&CLASSIC.replace(&size, r#""size":9999999"#)));
    let registry = Registry::start(answers).await;
    let failure = registry.judge(KEY).await.expect("it is not verified");
    assert!(failure.message.contains("more than"), "{failure}");
    assert!(!registry.asked().iter().any(|path| path.starts_with("blobs/")), "{:?}", registry.asked());

    let mut answers = classic_answers();
    answers.extend(bundle_answers());
    answers.insert(format!("blobs/{}", digest(PAYLOAD)), blob(&PAYLOAD.replace("cosign", "evil!!")));
    assert_eq!(Registry::start(answers).await.judge(KEY).await, None, "the bundle is good");
}
