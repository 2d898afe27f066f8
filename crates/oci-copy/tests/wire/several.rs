//! One source and several destinations: what is read once, and that nobody's failure is another's.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use oci_copy::{CopyRequest, ErrorKind};

use crate::resume::broken_off;
use crate::support::{Registry, engine, engine_with, eventually, request};

#[tokio::test]
async fn several_destinations_cost_the_source_one_read_of_everything() {
    let source = Registry::start().await;
    let others = [Registry::start().await, Registry::start().await, Registry::start().await];
    let images = [source.put_image("a", None, "one"), source.put_image("a", None, "two")];
    let index = source.put_index("a", Some("v1"), &[&images[0], &images[1]]);
    others.iter().for_each(|other| other.create("b"));
    let engine = engine(&[&source, &others[0], &others[1], &others[2]]);
    let destinations: Vec<_> = others.iter().map(|other| other.reference("b:v1")).collect();
    let copy = CopyRequest::new(source.reference("a:v1"), destinations[0].clone());
    for report in engine.copy_to_all(copy, destinations).await {
        assert_eq!(report.unwrap().blobs_copied, 6);
    }
    for other in &others {
        assert_eq!(other.tag("b", "v1"), Some(index.to_string()));
    }
    assert_eq!((source.count("GET", "blobs"), source.count("GET", "manifests")), (6, 3));
}

#[tokio::test]
async fn a_destination_that_fails_or_has_it_all_does_not_keep_the_others_from_reading_once() {
    let source = Registry::start().await;
    let others = [Registry::start().await, Registry::start().await, Registry::start().await, Registry::start().await];
    let image = source.put_image("a", Some("v1"), "one");
    others.iter().for_each(|other| other.create("b"));
    let engine = engine(&[&source, &others[0], &others[1], &others[2], &others[3]]);
    engine.copy(request(&source, "a:v1", &others[3], "b:v1")).await.unwrap();
    source.forget_seen();
    others[0].hook(|seen| (seen.method == "POST").then(|| StatusCode::FORBIDDEN.into_response()));
    let destinations: Vec<_> = others.iter().map(|other| other.reference("b:v1")).collect();
    let copy = CopyRequest::new(source.reference("a:v1"), destinations[0].clone());
    let reports = engine.copy_to_all(copy, destinations).await;
    assert_eq!(reports.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, true, true]);
    assert_eq!(others[1].tag("b", "v1"), Some(image.digest.to_string()));
    assert_eq!(source.count("GET", "blobs"), 3);
}

#[tokio::test]
async fn a_destination_that_refuses_the_bytes_does_not_end_the_read_of_the_others() {
    let source = Registry::start().await;
    let others = [Registry::start().await, Registry::start().await, Registry::start().await];
    let image = source.put_image("a", Some("v1"), "one");
    others.iter().for_each(|other| other.create("b"));
    // One refuses at once, the other again and again.
    others[0].hook(|seen| (seen.method == "PUT").then(|| StatusCode::FORBIDDEN.into_response()));
    others[1].hook(|seen| (seen.method == "PUT").then(|| StatusCode::BAD_GATEWAY.into_response()));
    let engine = engine_with(&[&source, &others[0], &others[1], &others[2]], |config| config.retry.max_tries = 2);
    let destinations: Vec<_> = others.iter().map(|other| other.reference("b:v1")).collect();
    let copy = CopyRequest::new(source.reference("a:v1"), destinations[0].clone());
    let reports = engine.copy_to_all(copy, destinations).await;
    assert_eq!(reports[0].as_ref().unwrap_err().kind(), ErrorKind::Forbidden);
    assert_eq!(reports[1].as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(reports[2].as_ref().unwrap().blobs_copied, 3);
    assert_eq!(others[2].tag("b", "v1"), Some(image.digest.to_string()));
    assert_eq!(others[2].count("POST", "uploads"), 3, "nothing of it was begun twice");
}

#[tokio::test]
async fn a_common_read_that_breaks_off_goes_on_for_all() {
    for after in [0, 24_000] {
        let source = Registry::start().await;
        let others = [Registry::start().await, Registry::start().await];
        source.enable_ranges();
        let image = source.put_image("a", Some("v1"), "one");
        others.iter().for_each(|other| other.create("b"));
        let (layer, content) = (image.layers[1].hex().to_owned(), "layer two of one".repeat(3000));
        source.hook_times(
            1,
            move |seen| seen.method == "GET" && seen.path.contains(&layer),
            move || broken_off(content.as_bytes(), after),
        );
        let engine = engine(&[&source, &others[0], &others[1]]);
        let destinations: Vec<_> = others.iter().map(|other| other.reference("b:v1")).collect();
        let copy = CopyRequest::new(source.reference("a:v1"), destinations[0].clone());
        for report in engine.copy_to_all(copy, destinations).await {
            assert_eq!(report.unwrap().blobs_copied, 3);
        }
        for other in &others {
            assert_eq!(other.tag("b", "v1"), Some(image.digest.to_string()));
            assert_eq!(other.count("POST", "uploads"), 3);
        }
        assert_eq!(source.count("GET", "blobs"), 4, "one read more, for both");
    }
}

#[tokio::test]
async fn what_the_source_refuses_is_tried_for_all_and_not_for_each() {
    for (method, what) in [("HEAD", "manifests"), ("GET", "manifests"), ("GET", "blobs")] {
        let source = Registry::start().await;
        let others = [Registry::start().await, Registry::start().await, Registry::start().await];
        let image = source.put_image("a", Some("v1"), "one");
        others.iter().for_each(|other| other.create("b"));
        source.hook(move |seen| {
            let hit = seen.method.as_str() == method && seen.path.contains(what);
            hit.then(|| StatusCode::BAD_GATEWAY.into_response())
        });
        let registries = [&source, &others[0], &others[1], &others[2]];
        let engine = engine_with(&registries, |config| config.retry.max_tries = 3);
        let destinations: Vec<_> = others.iter().map(|other| other.reference("b:v1")).collect();
        let copy = CopyRequest::new(source.reference("a:v1"), destinations[0].clone());
        for report in engine.copy_to_all(copy, destinations).await {
            assert_eq!(report.unwrap_err().kind(), ErrorKind::Unavailable);
        }
        let one = if what == "blobs" { image.layers[1].hex() } else { "" };
        assert_eq!(source.count(method, one), 3, "{method} {what}");
    }
}

#[tokio::test]
async fn repositories_of_one_registry_that_mounts_cost_one_read_and_one_upload() {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    destination.enable_mounting();
    let image = source.put_image("a", Some("v1"), "one");
    // The last one is asked for twice.
    let names = ["b", "c", "d", "d"];
    names.iter().for_each(|name| destination.create(name));
    let destinations: Vec<_> = names.iter().map(|name| destination.reference(&format!("{name}:v1"))).collect();
    let copy = CopyRequest::new(source.reference("a:v1"), destinations[0].clone());
    for report in engine(&[&source, &destination]).copy_to_all(copy, destinations).await {
        assert_eq!(report.unwrap().digest, image.digest);
    }
    for name in names {
        assert_eq!(destination.tag(name, "v1"), Some(image.digest.to_string()));
    }
    assert_eq!((source.count("GET", "blobs"), destination.count("PUT", "blobs")), (3, 3));
}

#[tokio::test]
async fn an_upload_that_was_dropped_is_over_before_another_copy_begins_with_the_blob() {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    destination.create("b");
    let image = source.put_image("a", Some("v1"), "one");
    source.put_index("a", Some("v2"), &[&image]);
    let layer = image.layers[1].hex().to_owned();
    source.hook(move |seen| {
        let wanted = seen.method == "GET" && seen.path.contains(&layer);
        let never = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
        wanted.then(|| axum::response::Response::new(axum::body::Body::from_stream(never)))
    });
    // The registry may be about to commit it, and doesn't say yet.
    destination.never_answer(|seen| seen.method == "DELETE");
    let engine = engine(&[&source, &destination]);
    let copy = |tag: &str| {
        let (engine, request) =
            (engine.clone(), request(&source, &format!("a:{tag}"), &destination, &format!("b:{tag}")));
        tokio::spawn(async move { engine.copy(request).await })
    };
    let uploads = || destination.seen().iter().filter(|seen| seen.query.contains(image.layers[1].hex())).count();
    let looks = || destination.count("HEAD", image.layers[1].hex());
    let first = copy("v1");
    eventually("the upload has begun", || uploads() == 1).await;
    let second = copy("v2");
    let small = || destination.count("HEAD", "manifests/v2") == 1 && destination.has_blob("b", &image.config);
    eventually("the other copy is on its way", small).await;
    first.abort();
    eventually("the upload is cancelled", || destination.count("DELETE", "uploads") >= 1).await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!((looks(), uploads()), (1, 1), "nobody else looks for it yet");
    second.abort();
}
