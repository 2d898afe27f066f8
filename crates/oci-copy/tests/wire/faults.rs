//! What goes wrong on the way, and what never happens then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use oci_copy::{ErrorKind, Missing};

use crate::support::{Registry, engine, engine_with, error, eventually, request};

async fn two() -> (Registry, Registry) {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    destination.create("b");
    (source, destination)
}

/// A body that breaks off.
fn broken_off(content: Vec<u8>, length: usize) -> Response {
    let pieces = vec![Ok(content), Err(std::io::Error::other("broken off"))];
    Response::builder().header("content-length", length).body(Body::from_stream(futures::stream::iter(pieces))).unwrap()
}

fn nothing_was_tagged(destination: &Registry) {
    assert_eq!(destination.tag("b", "v1"), None);
    assert_eq!(destination.count("PUT", "manifests"), 0);
}

#[tokio::test]
async fn a_corrupt_blob_is_never_committed_and_nothing_is_tagged() {
    let (source, destination) = two().await;
    let image = source.put_image("a", Some("v1"), "one");
    // The destination's own check is no help here.
    destination.commit_anything();
    // The same length, so only its digest tells.
    let mut content = "layer two of one".repeat(3000).into_bytes();
    *content.last_mut().unwrap() ^= 1;
    source.corrupt_blob("a", &image.layers[1], &content);

    let error =
        engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{error}");
    assert!(!error.is_transient() && error.to_string().contains(image.layers[1].as_str()), "{error}");
    assert!(!destination.has_blob("b", &image.layers[1]));
    nothing_was_tagged(&destination);
    // The destination was told that it needn't wait, and it never had the whole body: it closed with an error.
    eventually("the upload is cancelled", || destination.count("DELETE", "uploads") >= 1).await;
    let puts: Vec<_> = destination.seen().into_iter().filter(|s| s.query.contains(image.layers[1].hex())).collect();
    assert!(puts.iter().all(|put| put.status != 201), "{puts:?}");
}

#[tokio::test]
async fn a_blob_that_is_too_long_or_too_short_is_never_committed() {
    for length in [100, 100_000] {
        let (source, destination) = two().await;
        let image = source.put_image("a", Some("v1"), "one");
        let layer = image.layers[1].clone();
        // Without a Content-Length, only counting tells.
        source.hook(move |seen| {
            let wanted = seen.method == "GET" && seen.path.contains(layer.as_str());
            wanted.then(|| {
                let pieces = futures::stream::iter(vec![Ok::<_, std::io::Error>(vec![b'x'; length])]);
                Response::new(Body::from_stream(pieces))
            })
        });
        let error =
            engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap_err();
        let expected = if length == 100 { ErrorKind::Unreachable } else { ErrorKind::DigestMismatch };
        assert_eq!(error.kind(), expected, "{error}");
        assert!(!destination.has_blob("b", &image.layers[1]));
        nothing_was_tagged(&destination);
    }
}

#[tokio::test]
async fn a_blob_that_breaks_off_twice_is_read_again_into_the_same_upload() {
    let (source, destination) = two().await;
    let image = source.put_image("a", Some("v1"), "one");
    let (layer, content) = (image.layers[1].clone(), "layer two of one".repeat(3000).into_bytes());
    source.hook_times(
        2,
        move |seen| seen.method == "GET" && seen.path.contains(layer.as_str()),
        move || broken_off(content[..20_000].to_vec(), content.len()),
    );
    let report = engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    assert_eq!(report.blobs_copied, 3);
    assert_eq!(destination.tag("b", "v1"), Some(image.digest.to_string()));
    assert_eq!(source.count("GET", image.layers[1].as_str()), 3);
    assert_eq!(destination.count("POST", "uploads"), 3);
}

#[tokio::test]
async fn a_blob_that_always_breaks_off_ends_the_copy_after_bounded_tries() {
    let (source, destination) = two().await;
    let image = source.put_image("a", Some("v1"), "one");
    let layer = image.layers[1].clone();
    source.hook(move |seen| {
        (seen.method == "GET" && seen.path.contains(layer.as_str())).then(|| broken_off(vec![0; 100], 48_000))
    });
    let engine = engine_with(&[&source, &destination], |config| config.retry.max_tries = 3);
    let error = engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.is_transient());
    assert_eq!(source.count("GET", image.layers[1].as_str()), 3);
    nothing_was_tagged(&destination);
}

#[tokio::test]
async fn a_manifest_that_is_not_what_its_digest_says_is_not_copied() {
    let (source, destination) = two().await;
    let image = source.put_image("a", Some("v1"), "one");
    let digest = image.digest.to_string();
    source.hook(move |seen| {
        let wanted = seen.method == "GET" && seen.path.contains(&digest);
        wanted.then(|| ([("content-type", oci_copy::media_type::OCI_MANIFEST)], "{}").into_response())
    });
    let error =
        engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{error}");
    assert_eq!(destination.writes(), [""; 0]);
}

#[tokio::test]
async fn a_manifest_larger_than_registries_take_is_not_read_to_its_end() {
    let (source, destination) = two().await;
    let json = format!("{{\"pad\":\"{}\"}}", "x".repeat(5 << 20));
    source.put_manifest("a", Some("v1"), oci_copy::media_type::OCI_MANIFEST, &json);
    let error =
        engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_does_not_is_not() {
    for (status, code, tries) in [(500, "", 2), (503, "", 2), (429, "TOOMANYREQUESTS", 2), (403, "DENIED", 1)] {
        let (source, destination) = two().await;
        source.put_image("a", Some("v1"), "one");
        source.hook_times(1, |seen| seen.method == "HEAD", move || error(status, code, ""));
        let result = engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await;
        assert_eq!(result.is_ok(), tries == 2, "{status}: {result:?}");
        assert_eq!(source.count("HEAD", "manifests/v1"), tries, "{status}");
    }
}

#[tokio::test]
async fn a_long_retry_after_ends_the_copy_and_says_until_when() {
    let (source, destination) = two().await;
    source.put_image("a", Some("v1"), "one");
    source.hook(|seen| {
        let limited = || (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "3600")]).into_response();
        (seen.method == "HEAD").then(limited)
    });
    let before = SystemTime::now();
    let error =
        engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited, "{error}");
    assert!(error.retry_at().unwrap() >= before + Duration::from_secs(3600));
    assert!(error.to_string().contains(&source.host), "{error}");
    assert_eq!(source.count("HEAD", "manifests"), 1);
}

#[tokio::test]
async fn a_short_retry_after_is_waited_for() {
    let (source, destination) = two().await;
    source.put_image("a", Some("v1"), "one");
    let retry_after = || (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response();
    source.hook_times(1, |seen| seen.method == "HEAD", retry_after);
    let before = SystemTime::now();
    engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    // A clock, not a stopwatch: the second try can't come before the registry allowed it.
    assert!(SystemTime::now().duration_since(before).unwrap() >= Duration::from_millis(900));
}

#[tokio::test]
async fn a_used_up_pull_budget_is_not_asked_again() {
    let (source, destination) = two().await;
    source.put_image("a", Some("v1"), "one");
    source.hook(|seen| {
        let headers = [("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "0;w=21600")];
        (seen.method == "HEAD").then(|| (StatusCode::TOO_MANY_REQUESTS, headers).into_response())
    });
    let engine = engine(&[&source, &destination]);
    let error = engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert_eq!(source.count("HEAD", "manifests"), 1);
    let seen = engine.rate_limit(&source.host).unwrap();
    assert_eq!((seen.limit, seen.remaining, seen.window), (Some(100), Some(0), Some(Duration::from_secs(21600))));
}

#[tokio::test]
async fn a_dropped_copy_leaves_no_tag_and_cancels_its_uploads() {
    let (source, destination) = two().await;
    let image = source.put_image("a", Some("v1"), "one");
    let layer = image.layers[1].clone();
    source.hook(move |seen| {
        let wanted = seen.method == "GET" && seen.path.contains(layer.as_str());
        wanted.then(|| Response::new(Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>())))
    });
    let (engine, request) = (engine(&[&source, &destination]), request(&source, "a:v1", &destination, "b:v1"));
    let copy = tokio::spawn(async move { engine.copy(request).await });
    let upload = || {
        let seen =
            destination.seen().into_iter().find(|s| s.method == "PUT" && s.query.contains(image.layers[1].hex()));
        seen.map(|seen| seen.path)
    };
    eventually("the upload has begun", || upload().is_some()).await;
    copy.abort();
    assert!(copy.await.unwrap_err().is_cancelled());
    let upload = upload().unwrap();
    eventually("the upload is cancelled", || destination.count("DELETE", &upload) == 1).await;
    assert!(!destination.has_blob("b", &image.layers[1]));
    nothing_was_tagged(&destination);
}

#[tokio::test]
async fn a_copy_that_takes_too_long_is_given_up() {
    let (source, destination) = two().await;
    source.put_image("a", Some("v1"), "one");
    source.hook(|seen| {
        let stalled =
            || Response::new(Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>()));
        (seen.method == "GET" && seen.path.contains("blobs")).then(stalled)
    });
    let request = request(&source, "a:v1", &destination, "b:v1").deadline(Duration::from_millis(200));
    let error = engine(&[&source, &destination]).copy(request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(error.is_transient());
    nothing_was_tagged(&destination);
}

#[tokio::test]
async fn a_source_that_stands_still_is_left_before_the_deadline() {
    let (source, destination) = two().await;
    let image = source.put_image("a", Some("v1"), "one");
    source.hook(|seen| {
        let stalled =
            || Response::new(Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>()));
        (seen.method == "GET" && seen.path.contains("blobs")).then(stalled)
    });
    let engine = engine_with(&[&source, &destination], |config| {
        config.idle_timeout = Duration::from_millis(100);
        config.retry.max_tries = 2;
    });
    let error = engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("reading the blob"), "it is the source that stands still: {error}");
    assert!(!destination.has_blob("b", &image.config));
    nothing_was_tagged(&destination);
}

#[tokio::test]
async fn a_destination_that_never_answers_is_left() {
    let (source, destination) = two().await;
    source.put_image("a", Some("v1"), "one");
    destination.never_answer(|_| true);
    let engine = engine_with(&[&source, &destination], |config| {
        config.response_timeout = Duration::from_millis(100);
        config.retry.max_tries = 1;
    });
    let error = engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

#[tokio::test]
async fn a_destination_that_never_confirms_a_complete_upload_is_left() {
    let (source, destination) = two().await;
    source.put_image("a", Some("v1"), "one");
    destination.never_answer(|seen| seen.method == "PUT" && seen.path.contains("uploads"));
    let engine = engine_with(&[&source, &destination], |config| {
        config.commit_timeout = Duration::from_millis(100);
        config.retry.max_tries = 1;
    });
    let error = engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("answer to the complete upload"), "{error}");
    nothing_was_tagged(&destination);
}

#[tokio::test]
async fn an_upload_that_succeeded_unheard_is_not_sent_again() {
    let (source, destination) = two().await;
    let image = source.put_image("a", Some("v1"), "one");
    let (lost, registry, layer) = (Arc::new(AtomicBool::new(false)), destination.clone(), image.layers[1].clone());
    destination.hook(move |seen| {
        let wanted = seen.method == "PUT" && seen.query.contains(layer.hex()) && !lost.swap(true, Ordering::SeqCst);
        wanted.then(|| {
            registry.put_blob("b", "layer two of one".repeat(3000).as_bytes());
            error(500, "UNKNOWN", "the answer got lost")
        })
    });
    let report = engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    assert_eq!((report.blobs_copied, report.blobs_skipped), (2, 1));
}

#[tokio::test]
async fn an_upload_that_the_registry_lost_is_begun_anew() {
    for (status, code) in [(404, "BLOB_UPLOAD_UNKNOWN"), (416, "BLOB_UPLOAD_INVALID")] {
        let (source, destination) = two().await;
        source.put_image("a", Some("v1"), "one");
        let uploading = |seen: &crate::support::Seen| seen.method == "PUT" && seen.path.contains("uploads");
        destination.hook_times(1, uploading, move || error(status, code, ""));
        let report =
            engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
        assert_eq!(report.blobs_copied, 3);
        assert_eq!(destination.count("POST", "uploads"), 4);
    }
}

#[tokio::test]
async fn a_missing_repository_is_named_as_such_on_both_sides() {
    let (source, destination) = two().await;
    let source_manifest = source.put_image("a", Some("v1"), "one");
    let engine = engine(&[&source, &destination]);
    for (from, to, kind, host) in [
        ("nothing:v1", "b:v1", ErrorKind::RepositoryNotFound, &source.host),
        ("a:v2", "b:v1", ErrorKind::ManifestNotFound, &source.host),
        ("a:v1", "nothing:v1", ErrorKind::RepositoryNotFound, &destination.host),
    ] {
        let error = engine.copy(request(&source, from, &destination, to)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(host.as_str()), "{error}");
    }
    assert_eq!(
        source.count("GET", source_manifest.digest.as_str()),
        0,
        "nothing is read for a repository that isn't there"
    );
}

#[tokio::test]
async fn a_registry_that_hangs_up_on_uploads_to_a_missing_repository_is_understood() {
    // As ECR does: an upload to a repository that doesn't exist may end in a closed connection.
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let source = Registry::start().await;
    source.put_image("a", Some("v1"), "one");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(connection.read_u8().await?);
                }
                if !head.starts_with(b"POST") {
                    let body = r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such repository"}]}"#;
                    let body = if head.starts_with(b"HEAD") { "" } else { body };
                    let answer =
                        format!("HTTP/1.1 404 x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    connection.write_all(answer.as_bytes()).await?;
                }
                connection.shutdown().await
            });
        }
    });
    let config = oci_copy::RegistryConfig::new(&host).unwrap().endpoint(&format!("http://{host}")).unwrap();
    let engine = engine(&[&source]).with_registry(config).unwrap();
    let request = oci_copy::CopyRequest::new(source.reference("a:v1"), format!("{host}/b:v1").parse().unwrap());
    let error = engine.copy(request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RepositoryNotFound, "{error}");
    let reference = format!("{host}/b:v1").parse().unwrap();
    assert_eq!(engine.why_missing(&reference).await.unwrap(), Missing::Repository);
}

#[tokio::test]
async fn a_registry_that_stores_something_else_than_it_was_given_is_found_out() {
    let (source, destination) = two().await;
    source.put_image("a", Some("v1"), "one");
    let other = oci_copy::Digest::sha256(b"other").to_string();
    destination.hook(move |seen| {
        let stored = || (StatusCode::CREATED, [("docker-content-digest", other.clone())]).into_response();
        (seen.short() == "PUT manifests/v1").then(stored)
    });
    let error =
        engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
}
