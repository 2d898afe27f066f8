//! Who gets which credentials.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use oci_copy::{CredentialSource, Credentials, Engine, ErrorKind, StaticCredentials};

use crate::support::{Registry, engine, error, request};

/// A token realm: it remembers who asked for what, and its tokens are numbered.
#[derive(Clone, Default)]
struct Realm {
    asked: Arc<Mutex<Vec<Asked>>>,
    expires_in: Arc<Mutex<Option<u64>>>,
}

/// A query, and what came as `Authorization`.
type Asked = (String, Option<String>);

impl Realm {
    async fn start() -> (Self, String) {
        let realm = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(token).with_state(realm.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (realm, origin)
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn token(State(realm): State<Realm>, request: Request) -> Response {
    let authorization = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    if authorization.as_deref().is_some_and(|value| value == basic("user", "wrong")) {
        return (StatusCode::UNAUTHORIZED, "secret text of the realm").into_response();
    }
    let mut asked = realm.asked.lock().unwrap();
    asked.push((request.uri().query().unwrap_or_default().to_owned(), authorization));
    let expires = realm.expires_in.lock().unwrap().map(|s| format!(",\"expires_in\":{s}")).unwrap_or_default();
    format!("{{\"token\":\"token-{}\"{expires}}}", asked.len()).into_response()
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

fn unauthorized(challenge: String) -> Response {
    (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response()
}

/// Lets in who has a token that isn't revoked.
fn want_token(registry: &Registry, realm: &str, revoked: &Arc<Mutex<Vec<String>>>) {
    let (challenge, revoked) = (format!("Bearer realm=\"{realm}/token\",service=\"s\""), revoked.clone());
    registry.hook(move |seen| {
        let token = seen.header("authorization").and_then(|value| value.strip_prefix("Bearer token-"));
        let good = token.is_some_and(|token| !revoked.lock().unwrap().iter().any(|revoked| revoked == token));
        (!good).then(|| unauthorized(challenge.clone()))
    });
}

fn want_basic(registry: &Registry, accepted: String) {
    registry.hook(move |seen| {
        (seen.header("authorization") != Some(&accepted)).then(|| unauthorized("Basic realm=\"x\"".to_owned()))
    });
}

fn with_credentials(engine: &Engine, registry: &Registry, password: &str) -> Engine {
    let credentials = Credentials::new("user", password);
    engine.with_credentials(Arc::new(StaticCredentials::new(&registry.host, credentials)))
}

#[tokio::test]
async fn basic_credentials_go_with_every_request_once_the_registry_wants_them() {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    destination.create("b");
    source.put_image("a", Some("v1"), "one");
    want_basic(&destination, basic("user", "right"));
    let engine = with_credentials(&engine(&[&source, &destination]), &destination, "right");
    engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    let refused = destination.seen().iter().filter(|seen| seen.status == 401).count();
    assert_eq!(refused, 1, "only the first request has to find out");
    assert!(source.seen().iter().all(|seen| seen.header("authorization").is_none()));
}

#[tokio::test]
async fn wrong_credentials_are_tried_once_and_never_shown() {
    let registry = Registry::start().await;
    want_basic(&registry, basic("user", "right"));
    let engine = with_credentials(&engine(&[&registry]), &registry, "wrong-password");
    let error = engine.resolve(&registry.reference("a:v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(!error.is_transient());
    assert!(!format!("{error} {error:?}").contains("wrong-password"));
    assert_eq!(registry.seen().len(), 2);
}

#[tokio::test]
async fn a_registry_that_repeats_the_credentials_to_us_does_not_get_them_into_a_message() {
    let registry = Registry::start().await;
    let accepted = basic("user", "hunter22");
    let encoded = accepted.trim_start_matches("Basic ").to_owned();
    registry.hook(move |seen| match seen.header("authorization") {
        None => Some(unauthorized("Basic".to_owned())),
        Some(_) => Some(error(403, "DENIED", &format!("no: hunter22 {encoded}"))),
    });
    let engine = with_credentials(&engine(&[&registry]), &registry, "hunter22");
    let error = engine.list_tags(&"x/y".parse().unwrap()).await;
    assert!(error.is_err(), "Docker Hub isn't there");
    let repository = registry.reference("a:v1").repository().clone();
    let error = engine.list_tags(&repository).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(!shown.contains("hunter22") && !shown.contains(accepted.trim_start_matches("Basic ")), "{shown}");
}

#[tokio::test]
async fn a_token_is_asked_for_once_for_a_whole_copy_and_only_for_what_it_needs() {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    let (realm, origin) = Realm::start().await;
    destination.create("b");
    source.put_image("a", Some("v1"), "one");
    let revoked = Arc::default();
    want_token(&source, &origin, &revoked);
    want_token(&destination, &origin, &revoked);
    let engine = engine(&[]);
    let engine = engine.with_registry(source.config().token_realm(&origin).unwrap()).unwrap();
    let engine = engine.with_registry(destination.config().token_realm(&origin).unwrap()).unwrap();
    let engine = with_credentials(&engine, &destination, "right");

    engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();

    let asked: HashMap<_, _> = realm.asked().into_iter().collect();
    let pull = "service=s&scope=repository%3Aa%3Apull";
    let push = "service=s&scope=repository%3Ab%3Apull%2Cpush";
    assert_eq!(realm.asked().len(), 2);
    assert_eq!(asked[pull], None, "there are no credentials for the source");
    assert_eq!(asked[push], Some(basic("user", "right")));
    for registry in [&source, &destination] {
        assert!(registry.seen().iter().all(|s| s.header("authorization").is_none_or(|v| v.starts_with("Bearer "))));
    }

    engine.copy(request(&source, "a:v1", &destination, "b:v2")).await.unwrap();
    assert_eq!(realm.asked().len(), 2, "the tokens are kept");
}

#[tokio::test]
async fn a_refused_token_is_renewed_once() {
    let registry = Registry::start().await;
    let (realm, origin) = Realm::start().await;
    registry.put_image("a", Some("v1"), "one");
    let revoked = Arc::new(Mutex::new(Vec::new()));
    want_token(&registry, &origin, &revoked);
    let engine = engine(&[]).with_registry(registry.config().token_realm(&origin).unwrap()).unwrap();
    let reference = registry.reference("a:v1");
    assert!(engine.resolve(&reference).await.unwrap().is_some());
    revoked.lock().unwrap().push("1".to_owned());
    assert!(engine.resolve(&reference).await.unwrap().is_some());
    assert_eq!(realm.asked().len(), 2);
    revoked.lock().unwrap().extend(["2", "3", "4"].map(str::to_owned));
    let error = engine.resolve(&reference).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert_eq!(realm.asked().len(), 3);
}

#[tokio::test]
async fn a_token_that_is_refused_halfway_through_a_copy_does_not_end_it() {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    let (_, origin) = Realm::start().await;
    destination.create("b");
    source.put_image("a", Some("v1"), "one");
    let revoked = Arc::new(Mutex::new(Vec::new()));
    want_token(&destination, &origin, &revoked);
    // It runs out just when a blob's bytes arrive.
    let ran_out = AtomicUsize::new(0);
    let again = revoked.clone();
    let challenge = format!("Bearer realm=\"{origin}/token\",service=\"s\"");
    destination.hook(move |seen| {
        let now = seen.method == "PUT" && seen.path.contains("uploads") && ran_out.fetch_add(1, Ordering::SeqCst) == 0;
        now.then(|| {
            again.lock().unwrap().push("1".to_owned());
            unauthorized(challenge.clone())
        })
    });
    let engine = engine(&[&source]).with_registry(destination.config().token_realm(&origin).unwrap()).unwrap();
    let report = engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    assert_eq!(report.blobs_copied, 3);
}

#[tokio::test]
async fn tokens_of_different_credentials_are_never_mixed() {
    let registry = Registry::start().await;
    let (realm, origin) = Realm::start().await;
    registry.put_image("a", Some("v1"), "one");
    want_token(&registry, &origin, &Arc::default());
    let engine = engine(&[]).with_registry(registry.config().token_realm(&origin).unwrap()).unwrap();
    let reference = registry.reference("a:v1");
    for password in ["one", "two", "one"] {
        with_credentials(&engine, &registry, password).resolve(&reference).await.unwrap();
    }
    engine.resolve(&reference).await.unwrap();
    let who: Vec<_> = realm.asked().into_iter().map(|(_, who)| who).collect();
    assert_eq!(who, [Some(basic("user", "one")), Some(basic("user", "two")), None]);
    let sent: Vec<_> = registry
        .seen()
        .iter()
        .filter(|s| s.status == 200)
        .map(|s| s.header("authorization").unwrap().to_owned())
        .collect();
    assert_eq!(sent, ["Bearer token-1", "Bearer token-2", "Bearer token-1", "Bearer token-3"]);
}

#[tokio::test]
async fn a_realm_that_does_not_belong_to_the_registry_gets_no_request_over_http() {
    let registry = Registry::start().await;
    let (realm, origin) = Realm::start().await;
    registry.put_image("a", Some("v1"), "one");
    want_token(&registry, &origin, &Arc::default());
    // Another port is another origin.
    let engine = with_credentials(&engine(&[&registry]), &registry, "right");
    let error = engine.resolve(&registry.reference("a:v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Blocked, "{error}");
    assert_eq!(realm.asked(), []);
}

#[tokio::test]
async fn a_realm_that_refuses_says_nothing_through_us() {
    let registry = Registry::start().await;
    let (_, origin) = Realm::start().await;
    want_token(&registry, &origin, &Arc::default());
    let engine = engine(&[]).with_registry(registry.config().token_realm(&origin).unwrap()).unwrap();
    let engine = with_credentials(&engine, &registry, "wrong");
    let error = engine.resolve(&registry.reference("a:v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("secret") && !shown.contains("wrong"), "{shown}");
}

/// Gives other credentials every time it is asked.
struct Rotating(AtomicUsize);

#[async_trait]
impl CredentialSource for Rotating {
    async fn credentials(&self, _: &str) -> Result<Option<Credentials>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Some(Credentials::new("AWS", format!("password-{}", self.0.fetch_add(1, Ordering::SeqCst)))))
    }
}

#[tokio::test]
async fn credentials_that_were_renewed_meanwhile_are_asked_for_again() {
    let registry = Registry::start().await;
    registry.put_image("a", Some("v1"), "one");
    want_basic(&registry, basic("AWS", "password-0"));
    let source = Arc::new(Rotating(AtomicUsize::new(0)));
    let view = engine(&[&registry]).with_credentials(source.clone());
    view.resolve(&registry.reference("a:v1")).await.unwrap();
    want_basic(&registry, basic("AWS", "password-2"));
    // The next look-up gets password-1, which is refused, and asks again.
    view.resolve(&registry.reference("a:v1")).await.unwrap_err();
    assert_eq!(source.0.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_password_that_ran_out_halfway_through_a_copy_does_not_end_it() {
    // As ECR says it, without a challenge; and as others do.
    for forbidden in [true, false] {
        let (source, destination) = (Registry::start().await, Registry::start().await);
        destination.create("b");
        let image = source.put_image("a", Some("v1"), "one");
        let (puts, old, new) = (AtomicUsize::new(0), basic("AWS", "password-0"), basic("AWS", "password-1"));
        destination.hook(move |seen| {
            let upload = seen.method == "PUT" && seen.path.contains("blobs");
            let before = puts.fetch_add(usize::from(upload), Ordering::SeqCst);
            let password = seen.header("authorization");
            let good = password == Some(&new) || (password == Some(&old) && before == 0);
            (!good).then(|| match password {
                Some(_) if forbidden => error(403, "DENIED", "Your authorization token has expired."),
                _ => unauthorized("Basic realm=\"x\"".to_owned()),
            })
        });
        let rotating = Arc::new(Rotating(AtomicUsize::new(0)));
        let copy = request(&source, "a:v1", &destination, "b:v1").destination_credentials(rotating.clone());
        engine(&[&source, &destination]).copy(copy).await.unwrap();
        assert_eq!(destination.tag("b", "v1"), Some(image.digest.to_string()));
        assert_eq!(rotating.0.load(Ordering::SeqCst), 2, "asked twice, however many were refused");
    }
}

struct Failing;

#[async_trait]
impl CredentialSource for Failing {
    async fn credentials(&self, _: &str) -> Result<Option<Credentials>, Box<dyn std::error::Error + Send + Sync>> {
        Err("the role can't be assumed".into())
    }
}

#[tokio::test]
async fn a_credential_source_that_fails_is_heard() {
    let registry = Registry::start().await;
    want_basic(&registry, basic("user", "right"));
    let error = engine(&[&registry])
        .with_credentials(Arc::new(Failing))
        .resolve(&registry.reference("a:v1"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials);
    assert!(error.to_string().contains("the role can't be assumed") && error.to_string().contains(&registry.host));
}
