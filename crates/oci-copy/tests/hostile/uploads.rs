//! Destinations that want the upload elsewhere.

use axum::http::{HeaderValue, StatusCode};
use axum::response::IntoResponse;
use oci_copy::ErrorKind;

use crate::scene::{FORBIDDEN_HOSTS, Scene};

async fn upload_to(location: &str) {
    let scene = Scene::basic().await;
    let filled = location.replace("{bystander}", &scene.bystander.host).replace("{port}", scene.bystander.port());
    let filled = filled.replace("{registry}", &scene.hostile.host);
    scene.answers(move |seen| {
        (seen.method == "POST").then(|| {
            let mut response = StatusCode::ACCEPTED.into_response();
            response.headers_mut().insert("location", HeaderValue::from_bytes(filled.as_bytes()).unwrap());
            response
        })
    });
    let error = scene.copy_to().await;
    assert_eq!(error.kind(), ErrorKind::Blocked, "{location}: {error}");
    scene.assert_no_leak(location, Some(&error));
    scene.assert_untouched(location);
    assert_eq!(scene.hostile.tag("b", "v1"), None, "{location}");
}

#[tokio::test]
async fn an_upload_stays_on_the_registrys_own_origin() {
    for location in [
        "http://{bystander}/v2/b/blobs/uploads/1",
        "//{bystander}/v2/b/blobs/uploads/1",
        "\\\\{bystander}/v2/b/blobs/uploads/1",
        "http:\\\\{bystander}/upload",
        "http://localhost:{port}/upload",
        "https://{registry}/v2/b/blobs/uploads/1",
        "https://{bystander}/upload",
        "http://user:pass@{registry}/upload",
        "http://{registry}@{bystander}/upload",
        "http://{registry}.evil.invalid/upload",
        "http://10.0.0.1/upload",
        "http://192.168.0.1/upload",
        "http://[fd12::1]/upload",
        "ftp://{registry}/upload",
        "file:///tmp/upload",
        "javascript:alert(1)",
        "data:,x",
        "http://[::1",
    ] {
        upload_to(location).await;
    }
}

#[tokio::test]
async fn an_upload_never_goes_to_the_metadata_service_however_it_is_written() {
    for host in FORBIDDEN_HOSTS.iter().filter(|host| host.is_ascii()) {
        upload_to(&format!("http://{host}/upload")).await;
    }
}

#[tokio::test]
async fn a_write_is_not_sent_on() {
    for (method, part) in [("POST", "/blobs/uploads/"), ("PUT", "/blobs/uploads/"), ("PUT", "/manifests/")] {
        for status in [301, 302, 303, 307, 308] {
            let scene = Scene::basic().await;
            let to = format!("http://{}/x", scene.bystander.host);
            scene.answers(move |seen| {
                let status = StatusCode::from_u16(status).unwrap();
                let sent_on = || (status, [("location", to.clone())]).into_response();
                (seen.method == method && seen.path.contains(part)).then(sent_on)
            });
            let error = scene.copy_to().await;
            scene.assert_no_leak(part, Some(&error));
            scene.assert_untouched(part);
        }
    }
}

#[tokio::test]
async fn an_upload_without_a_location_is_no_upload() {
    let scene = Scene::basic().await;
    scene.answers(|seen| (seen.method == "POST").then(|| StatusCode::ACCEPTED.into_response()));
    assert_eq!(scene.copy_to().await.kind(), ErrorKind::Protocol);
}
