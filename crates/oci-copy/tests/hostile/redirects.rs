//! Redirects, and lists that go on elsewhere.

use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use oci_copy::ErrorKind;

use crate::network::{Gate, Transport, Weather, authority};
use crate::scene::{FORBIDDEN_HOSTS, Scene, patient};
use crate::support::Registry;

fn redirect(status: u16, to: &str) -> Response {
    let mut response = StatusCode::from_u16(status).unwrap().into_response();
    // As bytes: not every letter is one of a header's text.
    response.headers_mut().insert("location", HeaderValue::from_bytes(to.as_bytes()).unwrap());
    response
}

/// Reads a manifest and a blob from a registry that sends both on to `to`.
async fn follow(status: u16, to: impl Fn(&Scene) -> String, expected: &[ErrorKind]) -> Scene {
    let scene = Scene::basic().await;
    let to = to(&scene);
    let case = format!("{status} to {to}");
    for part in ["/blobs/", "/manifests/"] {
        let to = to.clone();
        scene.answers(move |seen| (seen.method == "GET" && seen.path.contains(part)).then(|| redirect(status, &to)));
        let error = scene.copy_from().await;
        assert!(expected.contains(&error.kind()), "{case}: {:?} {error}", error.kind());
        scene.assert_no_leak(&case, Some(&error));
    }
    scene
}

#[tokio::test]
async fn a_redirect_to_the_metadata_service_is_not_followed_however_it_is_written() {
    for host in FORBIDDEN_HOSTS {
        // What isn't ASCII is no URL in a header: the registry is asked again where it was, until that is a loop.
        let expected: &[ErrorKind] =
            if host.is_ascii() { &[ErrorKind::Blocked] } else { &[ErrorKind::Blocked, ErrorKind::Protocol] };
        follow(307, |_| format!("http://{host}/latest/meta-data?token=x"), expected).await;
    }
}

#[tokio::test]
async fn a_redirect_to_something_else_than_http_or_with_a_user_is_not_followed() {
    for to in [
        "ftp://{bystander}/x",
        "file:///etc/passwd",
        "data:application/json,{}",
        "javascript:alert(1)",
        "http://user:pass@{bystander}/x",
        "http://{registry}@{bystander}/x",
        "http://[::1",
        "http://",
        "unix:/var/run/docker.sock",
    ] {
        let fill =
            |scene: &Scene| to.replace("{bystander}", &scene.bystander.host).replace("{registry}", &scene.hostile.host);
        follow(307, fill, &[ErrorKind::Blocked]).await.assert_untouched(to);
    }
}

#[tokio::test]
async fn a_redirect_to_another_host_carries_no_credentials() {
    let not_there = [ErrorKind::BlobNotFound, ErrorKind::ManifestNotFound];
    for status in [301, 302, 303, 307, 308] {
        follow(status, |scene| format!("http://{}/x?sig=1", scene.bystander.host), &not_there).await;
    }
    for to in ["//{bystander}/x", "\\\\{bystander}/x", "http:\\\\{bystander}/x", "http://localhost:{port}/x"] {
        let fill =
            |scene: &Scene| to.replace("{bystander}", &scene.bystander.host).replace("{port}", scene.bystander.port());
        follow(307, fill, &not_there).await;
    }
}

#[tokio::test]
async fn redirects_that_are_no_redirects_are_not_followed() {
    for status in [300, 304, 305, 306] {
        let scene = Scene::basic().await;
        let to = format!("http://{}/x", scene.bystander.host);
        scene.answers(move |seen| seen.path.contains("/manifests/").then(|| redirect(status, &to)));
        let error = scene.copy_from().await;
        scene.assert_no_leak("odd status", Some(&error));
        scene.assert_untouched("odd status");
    }
}

#[tokio::test]
async fn what_came_over_tls_is_never_sent_on_without() {
    let (hostile, scene) = (tls_registry().await, Scene::basic().await);
    hostile.put_image("a", Some("v1"), "one");
    let config = oci_copy::RegistryConfig::new(&hostile.host).unwrap();
    let config = config.endpoint(&format!("https://{}", hostile.host)).unwrap().ca_bundle(authority()).unwrap();
    let engine = patient(&[], &hostile).with_registry(config).unwrap();
    for to in [format!("http://{}/x", scene.bystander.host), format!("http://{}/v2/a/manifests/v1", hostile.host)] {
        let sent = to.clone();
        hostile.hook(move |_| Some(redirect(307, &sent)));
        let error = engine.resolve(&hostile.reference("a:v1")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Blocked, "{to}: {error}");
        scene.assert_untouched(&to);
    }
}

async fn tls_registry() -> Registry {
    let gate = Gate::open(Transport::Tls, std::sync::Arc::new(Weather::default())).await;
    let registry = Registry::unserved(gate.address.to_string());
    let app = registry.app();
    tokio::spawn(async move { axum::serve(gate, app).await.unwrap() });
    registry
}

#[tokio::test]
async fn a_list_of_tags_that_goes_on_elsewhere_ends_there() {
    for link in [
        "<http://{bystander}/v2/a/tags/list>; rel=next",
        "<//{bystander}/v2/a/tags/list>; rel=next",
        "<http://localhost:{port}/v2/a/tags/list>; rel=next",
        "<https://{registry}/v2/a/tags/list>; rel=next",
        "<http://user@{registry}/v2/a/tags/list>; rel=next",
        "<http://{registry}@{bystander}/v2/a/tags/list>; rel=next",
        "<http://169.254.169.254/>; rel=next",
        "<ftp://{bystander}/>; rel=next",
        "<\\\\{bystander}\\v2>; rel=next",
        "</v2/a/tags/list?n=1000>; rel=prev, <http://{bystander}/>; rel=\"next\"",
    ] {
        let scene = Scene::basic().await;
        let filled = link.replace("{bystander}", &scene.bystander.host).replace("{port}", scene.bystander.port());
        let filled = filled.replace("{registry}", &scene.hostile.host);
        scene.answers(move |_| Some(([("link", filled.clone())], "{\"tags\":[\"x\"]}").into_response()));
        let error = scene.engine.list_tags(scene.hostile.reference("a:v1").repository()).await.expect_err(link);
        assert_eq!(error.kind(), ErrorKind::Blocked, "{link}: {error}");
        scene.assert_no_leak(link, Some(&error));
        scene.assert_untouched(link);
    }
}
