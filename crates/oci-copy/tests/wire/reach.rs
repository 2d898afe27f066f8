//! Where requests go, and what goes with them.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use oci_copy::{Credentials, ErrorKind, StaticCredentials};

use crate::support::{Registry, engine, request};

fn redirect(location: String) -> Response {
    (StatusCode::TEMPORARY_REDIRECT, [("location", location)]).into_response()
}

/// A registry that wants a password, and one elsewhere.
async fn guarded() -> (Registry, Registry, oci_copy::Engine) {
    let (registry, elsewhere) = (Registry::start().await, Registry::start().await);
    registry.hook(|seen| {
        let challenge = || (StatusCode::UNAUTHORIZED, [("www-authenticate", "Basic")]).into_response();
        seen.header("authorization").is_none().then(challenge)
    });
    let credentials = Credentials::new("user", "password");
    let engine = engine(&[&registry, &elsewhere])
        .with_credentials(Arc::new(StaticCredentials::new(&registry.host, credentials)));
    (registry, elsewhere, engine)
}

fn got_no_credentials(registry: &Registry) {
    assert!(!registry.seen().is_empty());
    assert!(registry.seen().iter().all(|seen| seen.header("authorization").is_none()), "{:?}", registry.seen());
}

#[tokio::test]
async fn a_blob_is_fetched_from_where_the_registry_redirects_to_without_credentials() {
    let (source, storage, engine) = guarded().await;
    let destination = Registry::start().await;
    destination.create("b");
    let image = source.put_image("a", Some("v1"), "one");
    storage.put_image("a", None, "one");
    let to = storage.url("/v2/a/blobs/");
    source.hook(move |seen| {
        let digest = seen.path.split("/blobs/").nth(1)?.to_owned();
        (seen.method == "GET" && seen.header("authorization").is_some())
            .then(|| redirect(format!("{to}{digest}?X-Amz-Signature=secret")))
    });
    let engine = engine.with_registry(destination.config()).unwrap();
    engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    assert_eq!(destination.tag("b", "v1"), Some(image.digest.to_string()));
    assert_eq!(storage.count("GET", "blobs"), 3);
    got_no_credentials(&storage);
}

#[tokio::test]
async fn a_redirect_back_to_the_registry_comes_as_a_stranger() {
    let (source, storage, engine) = guarded().await;
    source.put_image("a", Some("v1"), "one");
    let (there, back) = (storage.url("/x"), source.url("/v2/secret/manifests/v1"));
    source.hook(move |seen| {
        (seen.path == "/v2/a/manifests/v1" && seen.header("authorization").is_some()).then(|| redirect(there.clone()))
    });
    storage.hook(move |_| Some(redirect(back.clone())));
    let error = engine.resolve(&source.reference("a:v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    let back: Vec<_> = source.seen().into_iter().filter(|seen| seen.path.contains("secret")).collect();
    assert_eq!(back.len(), 1);
    assert_eq!(back[0].header("authorization"), None);
}

#[tokio::test]
async fn a_redirect_to_the_metadata_service_is_not_followed() {
    let (source, _, engine) = guarded().await;
    source.put_image("a", Some("v1"), "one");
    source.hook(|seen| {
        let metadata = || redirect("http://169.254.169.254/latest/meta-data/?key=secret".to_owned());
        seen.path.contains("manifests").then(metadata)
    });
    let error = engine.resolve(&source.reference("a:v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Blocked, "{error}");
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("link-local") && !shown.contains("secret"), "{shown}");
}

#[tokio::test]
async fn a_redirect_without_end_ends() {
    let (source, _, engine) = guarded().await;
    let to = source.url("/v2/a/manifests/v1");
    source.hook(move |_| Some(redirect(to.clone())));
    let error = engine.resolve(&source.reference("a:v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    assert_eq!(source.seen().len(), 11);
}

#[tokio::test]
async fn an_upload_that_is_sent_to_another_host_is_not_followed() {
    let (destination, foreign, engine) = guarded().await;
    let source = Registry::start().await;
    source.put_image("a", Some("v1"), "one");
    destination.create("b");
    let location = foreign.url("/v2/b/blobs/uploads/1");
    destination.hook(move |seen| {
        let accepted = || (StatusCode::ACCEPTED, [("location", location.clone())]).into_response();
        (seen.method == "POST" && seen.header("authorization").is_some()).then(accepted)
    });
    let engine = engine.with_registry(source.config()).unwrap();
    let error = engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Blocked, "{error}");
    assert!(error.to_string().contains("not its own origin"), "{error}");
    assert!(foreign.seen().is_empty());
    assert_eq!(destination.tag("b", "v1"), None);
}

#[tokio::test]
async fn a_write_is_never_redirected() {
    let (destination, foreign, engine) = guarded().await;
    let source = Registry::start().await;
    source.put_image("a", Some("v1"), "one");
    destination.create("b");
    let location = foreign.url("/");
    destination.hook(move |seen| {
        (seen.method == "PUT" && seen.path.contains("manifests")).then(|| redirect(location.clone()))
    });
    let engine = engine.with_registry(source.config()).unwrap();
    engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap_err();
    assert!(foreign.seen().is_empty());
}

#[tokio::test]
async fn the_next_page_of_tags_on_another_host_is_not_fetched() {
    let (registry, foreign, engine) = guarded().await;
    let link = format!("<{}>; rel=\"next\"", foreign.url("/v2/a/tags/list?last=x"));
    registry.hook(move |seen| {
        let page = || ([("link", link.clone())], "{\"tags\":[\"x\"]}").into_response();
        (seen.path.contains("tags") && seen.header("authorization").is_some()).then(page)
    });
    let error = engine.list_tags(registry.reference("a:v1").repository()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Blocked, "{error}");
    assert!(foreign.seen().is_empty());
}

#[tokio::test]
async fn a_registry_that_is_only_named_is_not_looked_for_on_this_machine() {
    let registry = Registry::start().await;
    let port = registry.host.rsplit(':').next().unwrap().to_owned();
    let engine = engine(&[]);
    for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), "169.254.169.254".to_owned()] {
        let error = engine.resolve(&format!("{host}/a:v1").parse().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Blocked, "{error}");
    }
    assert!(registry.seen().is_empty());
}
