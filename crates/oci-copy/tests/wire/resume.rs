//! Downloads that break off: where they go on, how long they wait, and when they end.

use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use oci_copy::ErrorKind;

use crate::support::{Registry, Seen, engine, engine_with, request};

const CONTENT: &str = "layer two of one";

async fn two() -> (Registry, Registry) {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    destination.create("b");
    (source, destination)
}

fn reads(hex: &str) -> impl Fn(&Seen) -> bool + Send + Sync + 'static {
    let hex = hex.to_owned();
    move |seen| seen.method == "GET" && seen.path.contains(&hex)
}

/// The first bytes of a body, and then nothing but a broken connection.
pub(crate) fn broken_off(content: &[u8], after: usize) -> Response {
    let (first, length) = (content[..after].to_vec(), content.len());
    let pieces = futures::stream::unfold(Some(first), |first| async move {
        match first {
            Some(first) => Some((Ok(first), None)),
            None => {
                // The first part goes out before the connection breaks.
                tokio::time::sleep(Duration::from_millis(50)).await;
                Some((Err(std::io::Error::other("broken off")), None))
            }
        }
    });
    Response::builder().header("content-length", length).body(Body::from_stream(pieces)).unwrap()
}

#[tokio::test]
async fn a_blob_that_breaks_off_goes_on_from_there_in_the_same_upload() {
    for ranges in [true, false] {
        let (source, destination) = two().await;
        if ranges {
            source.enable_ranges();
        }
        let image = source.put_image("a", Some("v1"), "one");
        let (layer, content) = (image.layers[1].clone(), "layer two of one".repeat(3000));
        source.hook_times(
            1,
            move |seen| seen.method == "GET" && seen.path.contains(layer.as_str()),
            move || broken_off(content.as_bytes(), 24_000),
        );
        let report =
            engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
        assert_eq!(report.blobs_copied, 3);
        assert_eq!(destination.tag("b", "v1"), Some(image.digest.to_string()));
        assert_eq!(destination.count("POST", "uploads"), 3, "ranges: {ranges}");
        let reads: Vec<_> =
            source.seen().into_iter().filter(|seen| seen.path.contains(image.layers[1].hex())).collect();
        assert_eq!(reads.len(), 2);
        assert_eq!(reads[1].header("range"), Some("bytes=24000-"));
        assert_eq!(reads[1].status, if ranges { 206 } else { 200 });
    }
}

#[tokio::test]
async fn a_blob_that_breaks_off_before_its_first_byte_is_asked_for_again_and_the_upload_stays() {
    let (source, destination) = two().await;
    let image = source.put_image("a", Some("v1"), "one");
    let content = CONTENT.repeat(3000);
    source.hook_times(2, reads(image.layers[1].hex()), move || broken_off(content.as_bytes(), 0));
    engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    assert_eq!(destination.tag("b", "v1"), Some(image.digest.to_string()));
    assert_eq!(destination.count("POST", "uploads"), 3);
    let again: Vec<_> = source.seen().into_iter().filter(|seen| seen.path.contains(image.layers[1].hex())).collect();
    assert_eq!(again.len(), 3);
    assert!(again.iter().all(|seen| seen.header("range").is_none()), "there was nothing to go on from");
}

#[tokio::test]
async fn a_blob_that_gets_on_a_little_each_time_may_break_off_more_often_than_a_request_is_tried() {
    let (source, destination) = two().await;
    source.enable_ranges();
    let image = source.put_image("a", Some("v1"), "one");
    // Each answer brings 8,000 bytes more, and there are six of them.
    let content = CONTENT.repeat(3000);
    let matches = reads(image.layers[1].hex());
    source.hook(move |seen| {
        let from = seen.header("range").map_or(0, |range| range[6..range.len() - 1].parse().unwrap());
        (matches(seen) && from < 40_000).then(|| {
            let mut answer = broken_off(&content.as_bytes()[from..], 8_000);
            if from > 0 {
                let range = format!("bytes {from}-47999/48000");
                answer.headers_mut().insert("content-range", range.parse().unwrap());
                *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            }
            answer
        })
    });
    let engine = engine_with(&[&source, &destination], |config| config.retry.max_tries = 3);
    engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    assert_eq!(destination.count("POST", "uploads"), 3);
    assert_eq!(source.count("GET", image.layers[1].hex()), 6);
}

#[tokio::test]
async fn a_source_that_wants_a_pause_before_a_blob_goes_on_gets_it() {
    let (source, destination) = two().await;
    source.enable_ranges();
    let image = source.put_image("a", Some("v1"), "one");
    let content = CONTENT.repeat(3000);
    source.hook_times(1, reads(image.layers[1].hex()), move || broken_off(content.as_bytes(), 24_000));
    let continued = reads(image.layers[1].hex());
    let pause = || (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")]).into_response();
    source.hook_times(1, move |seen| continued(seen) && seen.header("range").is_some(), pause);
    let before = SystemTime::now();
    engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    // A clock, not a stopwatch: the third try can't come before the registry allowed it.
    assert!(SystemTime::now().duration_since(before).unwrap() >= Duration::from_millis(900));
    assert_eq!(destination.count("POST", "uploads"), 3);
    assert_eq!(source.count("GET", image.layers[1].hex()), 3);
}

#[tokio::test]
async fn a_source_that_wants_a_long_pause_before_a_blob_goes_on_ends_the_copy_and_says_until_when() {
    let (source, destination) = two().await;
    let image = source.put_image("a", Some("v1"), "one");
    let matches = reads(image.layers[1].hex());
    source.hook(move |seen| {
        let limited = || (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "3600")]).into_response();
        (matches(seen) && seen.header("range").is_some()).then(limited)
    });
    let content = CONTENT.repeat(3000);
    source.hook_times(1, reads(image.layers[1].hex()), move || broken_off(content.as_bytes(), 24_000));
    let before = SystemTime::now();
    let error =
        engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited, "{error}");
    assert!(error.retry_at().unwrap() >= before + Duration::from_secs(3600));
    assert_eq!(source.count("GET", image.layers[1].hex()), 2);
    assert_eq!(destination.tag("b", "v1"), None);
}

#[tokio::test]
async fn a_lost_upload_and_a_broken_download_of_one_blob_are_both_made_up_for() {
    let (source, destination) = two().await;
    let image = source.put_image("a", Some("v1"), "one");
    let layer = image.layers[1].hex().to_owned();
    let lost = move |seen: &Seen| seen.method == "PUT" && seen.query.contains(&layer);
    destination.hook_times(1, lost, || crate::support::error(503, "UNKNOWN", ""));
    // The first read goes well, the second one breaks off before its answer, the third one is refused.
    let count = std::sync::atomic::AtomicU64::new(0);
    let matches = reads(image.layers[1].hex());
    source.hook(move |seen| match matches(seen).then(|| count.fetch_add(1, std::sync::atomic::Ordering::SeqCst)) {
        Some(1) => Some(broken_off(CONTENT.repeat(3000).as_bytes(), 0)),
        Some(2) => Some(StatusCode::BAD_GATEWAY.into_response()),
        _ => None,
    });
    engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    assert_eq!(destination.tag("b", "v1"), Some(image.digest.to_string()));
}

#[tokio::test]
async fn a_source_that_is_waited_for_holds_up_no_other() {
    let (source, destination) = two().await;
    let other = Registry::start().await;
    let image = source.put_image("a", Some("v1"), "one");
    let quick = other.put_image("a", Some("v1"), "two");
    // It asks for a pause until the copy from the other one is there.
    let there = destination.clone();
    source.hook(move |seen| {
        let pause = || (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response();
        let blob = seen.method == "GET" && seen.path.contains("blobs");
        (blob && there.tag("b", "quick").is_none()).then(pause)
    });
    // There is room for one blob.
    let engine = engine_with(&[&source, &other, &destination], |config| {
        config.max_blobs = 1;
        config.retry.max_tries = 30;
    });
    let blocked = tokio::spawn({
        let (engine, request) = (engine.clone(), request(&source, "a:v1", &destination, "b:v1"));
        async move { engine.copy(request).await }
    });
    crate::support::eventually("it is told to wait", || source.count("GET", "blobs") > 0).await;
    engine.copy(request(&other, "a:v1", &destination, "b:quick")).await.unwrap();
    assert_eq!(destination.tag("b", "quick"), Some(quick.digest.to_string()));
    blocked.await.unwrap().unwrap();
    assert_eq!(destination.tag("b", "v1"), Some(image.digest.to_string()));
}
