//! Pull budgets: what is reserved before it is asked for, and what is asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use oci_copy::{Closed, Error, ErrorKind, Floor, Guard, PullBudget, Why};

use crate::support::{Image, Registry, engine, request};

/// A registry that counts pulls as Docker Hub does, and tells what is left.
struct Hub {
    registry: Registry,
    left: Arc<AtomicU64>,
    /// So many manifests are not handed out, and not counted.
    busy: Arc<AtomicU64>,
}

impl Hub {
    async fn start(left: u64) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let registry = Registry::unserved(listener.local_addr().unwrap().to_string());
        let left = Arc::new(AtomicU64::new(left));
        let busy = Arc::new(AtomicU64::new(0));
        let counters = (left.clone(), busy.clone());
        let limit = from_fn(move |request: Request, next: Next| {
            let (left, busy) = counters.clone();
            pull(left, busy, request, next)
        });
        let app = registry.app().layer(limit);
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { registry, left, busy }
    }

    fn left(&self) -> u64 {
        self.left.load(Ordering::SeqCst)
    }

    fn pulls(&self) -> usize {
        self.registry.count("GET", "/manifests/")
    }
}

async fn pull(left: Arc<AtomicU64>, busy: Arc<AtomicU64>, request: Request, next: Next) -> Response {
    if !request.uri().path().contains("/manifests/") {
        return next.run(request).await;
    }
    let headers = || {
        let remaining = format!("{};w=21600", left.load(Ordering::SeqCst));
        [("ratelimit-limit", "100;w=21600".to_owned()), ("ratelimit-remaining", remaining)]
    };
    let pulls = request.method() == Method::GET;
    let take = |counter: &AtomicU64| {
        counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1)).is_ok()
    };
    if pulls && take(&busy) {
        return (StatusCode::SERVICE_UNAVAILABLE, headers()).into_response();
    }
    if pulls && !take(&left) {
        let words = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#;
        return (StatusCode::TOO_MANY_REQUESTS, headers(), words).into_response();
    }
    let answer = next.run(request).await;
    (headers(), answer).into_response()
}

fn index_of_three(registry: &Registry) -> Vec<Image> {
    let image = |architecture: &str| {
        let config = format!(r#"{{"os":"linux","architecture":"{architecture}"}}"#);
        registry.put_image_of("a", None, &config, &[format!("layer of {architecture}")], "linux", architecture)
    };
    let images: Vec<_> = ["amd64", "arm64", "s390x"].iter().map(|it| image(it)).collect();
    registry.put_index("a", Some("v1"), &images.iter().collect::<Vec<_>>());
    images
}

fn why(error: &Error) -> Option<Why> {
    match error {
        Error::PullBudget { shortage, .. } => Some(shortage.why),
        _ => None,
    }
}

#[tokio::test]
async fn an_image_is_copied_within_what_is_left_and_not_begun_with_less() {
    let hub = Hub::start(4).await;
    let (source, destination) = (&hub.registry, Registry::start().await);
    destination.create("b");
    index_of_three(source);
    let budget = PullBudget::new(Floor { pulls: 2, percent: 0 });
    let engine = engine(&[source, &destination]).with_purse(&source.host, budget.purse("one", false));

    let error = engine.copy(request(source, "a:v1", &destination, "b:v1")).await.unwrap_err();
    assert_eq!((error.kind(), why(&error)), (ErrorKind::RateLimited, Some(Why::UsedUp)), "{error}");
    assert!(error.is_pull_limit() && error.retry_at().is_some_and(|at| at > SystemTime::now()));
    assert_eq!(hub.pulls(), 1, "only the index was read, which showed what it needs");
    assert_eq!(destination.tag("b", "v1"), None);

    // By now it is known what it needs: it isn't even begun.
    engine.copy(request(source, "a:v1", &destination, "b:v1")).await.unwrap_err();
    assert_eq!((hub.pulls(), budget.free()), (1, Some(1)), "what was reserved was given back");

    hub.left.store(6, Ordering::SeqCst);
    engine.copy(request(source, "a:v1", &destination, "b:v1")).await.unwrap();
    assert!(destination.tag("b", "v1").is_some());
    assert_eq!(hub.left(), 2, "this registry counts the index too");
}

#[tokio::test]
async fn a_pull_that_the_registry_did_not_count_is_asked_for_again_with_what_was_reserved() {
    let hub = Hub::start(2).await;
    let (source, destination) = (&hub.registry, Registry::start().await);
    destination.create("b");
    source.put_image("a", Some("v1"), "one");
    hub.busy.store(4, Ordering::SeqCst);
    let budget = PullBudget::new(Floor { pulls: 1, percent: 0 });
    let engine = engine(&[source, &destination]).with_purse(&source.host, budget.purse("one", false));
    let copy = engine.copy(request(source, "a:v1", &destination, "b:v1"));
    let others_get_nothing = async {
        loop {
            if hub.busy.load(Ordering::SeqCst) < 4 {
                assert_eq!(budget.free(), Some(0), "the pull is kept for the next try");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        copied = copy => { copied.unwrap(); }
        () = others_get_nothing => {}
    }
    assert_eq!((hub.busy.load(Ordering::SeqCst), hub.left(), budget.free()), (0, 1, Some(0)));
}

#[tokio::test]
async fn a_look_is_free_and_tells_the_budget() {
    let hub = Hub::start(30).await;
    hub.registry.put_image("a", Some("v1"), "one");
    let budget = PullBudget::new(Floor { pulls: 0, percent: 10 });
    assert_eq!(budget.told(), None);
    let engine = engine(&[&hub.registry]).with_purse(&hub.registry.host, budget.purse("one", false));
    engine.resolve(&hub.registry.reference("a:v1")).await.unwrap();
    let told = budget.told().unwrap();
    assert_eq!((told.limit, told.remaining, budget.free()), (Some(100), Some(30), Some(20)));
    assert_eq!(hub.left(), 30);
}

#[tokio::test]
async fn other_credentials_do_not_spend_from_the_purse() {
    let hub = Hub::start(0).await;
    hub.registry.put_image("a", Some("v1"), "one");
    let budget = PullBudget::new(Floor::default());
    let engine = engine(&[&hub.registry]).with_purse(&hub.registry.host, budget.purse("one", false));
    let others = engine.with_credentials(Arc::new(oci_copy::Anonymous));
    others.resolve(&hub.registry.reference("a:v1")).await.unwrap();
    assert_eq!(budget.told(), None);
}

#[tokio::test]
async fn a_budget_that_others_used_up_meanwhile_is_not_asked_again() {
    let hub = Hub::start(10).await;
    let (source, destination) = (&hub.registry, Registry::start().await);
    destination.create("b");
    source.put_image("a", Some("v1"), "one");
    let budget = PullBudget::new(Floor::default());
    let engine = engine(&[source, &destination]).with_purse(&source.host, budget.purse("one", false));
    let digest = engine.resolve(&source.reference("a:v1")).await.unwrap().unwrap().digest;
    hub.left.store(0, Ordering::SeqCst);

    let by_digest = format!("a@{digest}");
    let error = engine.copy(request(source, &by_digest, &destination, "b:v1")).await.unwrap_err();
    assert!(error.is_pull_limit() && error.status() == Some(429), "{error}");
    assert_eq!(budget.free(), Some(0));
    let error = engine.copy(request(source, &by_digest, &destination, "b:v1")).await.unwrap_err();
    assert_eq!(why(&error), Some(Why::UsedUp), "{error}");
}

/// Writes down what it hears, and keeps everything back from when it was told to.
#[derive(Default)]
struct Ear {
    answered: AtomicU64,
    failed: Mutex<Vec<ErrorKind>>,
    until: Mutex<Option<SystemTime>>,
}

impl Guard for Ear {
    fn admit(&self, _: &str) -> Result<(), Closed> {
        match *self.until.lock().unwrap() {
            Some(until) => Err(Closed { kind: ErrorKind::RateLimited, until, problem: "it wanted a pause".to_owned() }),
            None => Ok(()),
        }
    }

    fn answered(&self, _: &str) {
        self.answered.fetch_add(1, Ordering::SeqCst);
    }

    fn failed(&self, _: &str, error: &Error) {
        self.failed.lock().unwrap().push(error.kind());
    }
}

#[tokio::test]
async fn a_guard_hears_of_a_registry_that_wants_fewer_requests_and_keeps_them_back() {
    let source = Registry::start().await;
    source.put_image("a", Some("v1"), "one");
    let ear = Arc::new(Ear::default());
    let engine = engine(&[&source]).with_guard(ear.clone());
    engine.resolve(&source.reference("a:v1")).await.unwrap();
    assert!(ear.answered.load(Ordering::SeqCst) > 0 && ear.failed.lock().unwrap().is_empty());

    source.hook(|_| Some((StatusCode::TOO_MANY_REQUESTS, "Too Many Requests").into_response()));
    let error = engine.resolve(&source.reference("a:v1")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::RateLimited && !error.is_pull_limit(), "{error}");
    assert!(ear.failed.lock().unwrap().iter().all(|kind| *kind == ErrorKind::RateLimited));
    assert!(!ear.failed.lock().unwrap().is_empty());

    let until = SystemTime::now();
    *ear.until.lock().unwrap() = Some(until);
    source.forget_seen();
    let error = engine.resolve(&source.reference("a:v1")).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_at()), (ErrorKind::RateLimited, Some(until)));
    assert!(error.to_string().contains("it wanted a pause"), "{error}");
    assert!(source.seen().is_empty(), "nothing was asked");
}
