//! What is not sent, not asked and not read, counted at the wire.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use oci_copy::{Descriptor, DestinationIndex, Digest, Repository, media_type};

use crate::support::{Registry, engine, engine_with, request};

async fn two() -> (Registry, Registry) {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    destination.create("b");
    destination.create("c");
    (source, destination)
}

#[tokio::test]
async fn layers_that_another_repository_got_from_the_same_registry_are_mounted_without_a_look() {
    let (source, destination) = two().await;
    destination.enable_mounting();
    source.put_image("a", Some("v1"), "one");
    source.put_image("z", Some("v1"), "one");
    let engine = engine(&[&source, &destination]);
    engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    destination.forget_seen();
    source.forget_seen();
    let report = engine.copy(request(&source, "z:v1", &destination, "c:v1")).await.unwrap();
    assert_eq!((report.blobs_mounted, report.blobs_copied), (3, 0));
    assert_eq!((destination.count("POST", "uploads"), destination.count("HEAD", "blobs")), (3, 0));
    assert_eq!(source.count("GET", "blobs"), 0);
}

#[tokio::test]
async fn images_of_several_repositories_at_once_send_a_shared_layer_once() {
    let (source, destination) = two().await;
    destination.enable_mounting();
    source.put_image("a", Some("v1"), "one");
    source.put_image("z", Some("v1"), "one");
    let engine = engine(&[&source, &destination]);
    let (one, two) = tokio::join!(
        engine.copy(request(&source, "a:v1", &destination, "b:v1")),
        engine.copy(request(&source, "z:v1", &destination, "c:v1")),
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!((one.blobs_copied + two.blobs_copied, one.blobs_mounted + two.blobs_mounted), (3, 3));
    assert_eq!(source.count("GET", "blobs"), 3);
}

#[tokio::test]
async fn a_registry_that_never_mounts_is_soon_not_asked_any_more() {
    let (source, destination) = two().await;
    let engine = engine(&[&source, &destination]);
    for n in 0..4 {
        source.put_image("a", Some(&format!("v{n}")), &n.to_string());
        engine.copy(request(&source, &format!("a:v{n}"), &destination, &format!("b:v{n}"))).await.unwrap();
        let report = engine.copy(request(&source, &format!("a:v{n}"), &destination, &format!("c:v{n}"))).await.unwrap();
        assert_eq!((report.blobs_mounted, report.blobs_copied), (0, 3));
    }
    let asked = destination.seen().iter().filter(|seen| seen.query.contains("mount=")).count();
    assert_eq!(asked, 3);
}

#[tokio::test]
async fn a_blob_of_one_registry_is_never_mounted_for_an_image_of_another() {
    let (source, destination) = two().await;
    destination.enable_mounting();
    let stranger = Registry::start().await;
    source.put_image("a", Some("v1"), "one");
    stranger.put_image("a", Some("v1"), "one");
    let engine = engine(&[&source, &stranger, &destination]);
    engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    let report = engine.copy(request(&stranger, "a:v1", &destination, "c:v1")).await.unwrap();
    assert_eq!((report.blobs_mounted, report.blobs_copied), (0, 3));
    assert!(destination.seen().iter().all(|seen| !seen.query.contains("mount=")));
}

#[tokio::test]
async fn what_a_registry_proves_wrong_is_forgotten_and_looked_for_again() {
    let (source, destination) = two().await;
    let first = source.put_image("a", Some("v1"), "one");
    let engine = engine(&[&source, &destination]);
    engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    // Another image with the same layers, and one of them is gone meanwhile.
    let layers = ["layer one of one".repeat(1000), "layer two of one".repeat(3000)];
    let image =
        source.put_image_of("a", Some("v2"), r#"{"os":"linux","architecture":"arm64"}"#, &layers, "linux", "arm64");
    destination.remove_blob("b", &first.layers[1]);
    destination.forget_seen();
    let report = engine.copy(request(&source, "a:v2", &destination, "b:v2")).await.unwrap();
    assert_eq!(destination.tag("b", "v2"), Some(image.digest.to_string()));
    assert_eq!(report.blobs_copied, 1);
    assert!(destination.has_blob("b", &first.layers[1]));
    assert_eq!(destination.count("PUT", "manifests"), 2, "refused once");
}

#[tokio::test]
async fn what_is_known_of_a_repository_is_not_asked_again_unless_that_is_wanted() {
    for (lifetime, heads) in [(600, 1), (0, 3)] {
        let (source, destination) = two().await;
        source.put_image("a", Some("v1"), "one");
        let lifetime = std::time::Duration::from_secs(lifetime);
        let engine = engine_with(&[&source, &destination], |config| config.knowledge_lifetime = lifetime);
        engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
        let layers = ["layer one of one".repeat(1000), "layer two of one".repeat(3000)];
        source.put_image_of("a", Some("v2"), r#"{"os":"linux","architecture":"arm64"}"#, &layers, "linux", "arm64");
        destination.forget_seen();
        engine.copy(request(&source, "a:v2", &destination, "b:v2")).await.unwrap();
        assert_eq!(destination.count("HEAD", "blobs"), heads);
    }
}

/// Knows everything that it was told, and remembers what it was asked.
#[derive(Default)]
struct Told {
    manifests: HashMap<String, Option<Descriptor>>,
    blobs: HashMap<Digest, bool>,
    asked: Mutex<Vec<usize>>,
}

#[async_trait]
impl DestinationIndex for Told {
    async fn manifests(
        &self,
        _: &Repository,
        keys: &[String],
    ) -> Result<HashMap<String, Option<Descriptor>>, Box<dyn std::error::Error + Send + Sync>> {
        self.asked.lock().unwrap().push(keys.len());
        Ok(keys.iter().filter_map(|key| Some((key.clone(), self.manifests.get(key)?.clone()))).collect())
    }

    async fn blobs(
        &self,
        _: &Repository,
        digests: &[Digest],
    ) -> Result<HashMap<Digest, bool>, Box<dyn std::error::Error + Send + Sync>> {
        self.asked.lock().unwrap().push(digests.len());
        Ok(digests.iter().filter_map(|digest| Some((digest.clone(), *self.blobs.get(digest)?))).collect())
    }
}

#[tokio::test]
async fn an_unchanged_tag_costs_the_destination_nothing_where_the_callers_index_knows_it() {
    let (source, destination) = two().await;
    let image = source.put_image("a", Some("v1"), "one");
    let engine = engine(&[&source, &destination]);
    engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    destination.forget_seen();
    let there = Descriptor::new(media_type::OCI_MANIFEST, image.digest, image.size as u64);
    let told = Told { manifests: HashMap::from([("v1".to_owned(), Some(there))]), ..Told::default() };
    let request = request(&source, "a:v1", &destination, "b:v1").destination_index(Arc::new(told));
    assert!(engine.copy(request).await.unwrap().unchanged);
    assert!(destination.seen().is_empty());
}

#[tokio::test]
async fn what_the_callers_index_knows_is_asked_in_batches_and_of_the_registry_no_more() {
    let (source, destination) = two().await;
    let images = [source.put_image("a", None, "one"), source.put_image("a", None, "two")];
    source.put_index("a", Some("v1"), &[&images[0], &images[1]]);
    let all = images.iter().flat_map(|image| image.layers.iter().chain([&image.config]));
    let mut told = Told { blobs: all.map(|digest| (digest.clone(), false)).collect(), ..Told::default() };
    told.manifests.insert("v1".to_owned(), None);
    told.manifests.extend(images.iter().map(|image| (image.digest.to_string(), None)));
    let told = Arc::new(told);
    let request = request(&source, "a:v1", &destination, "b:v1").destination_index(told.clone());
    engine(&[&source, &destination]).copy(request).await.unwrap();
    assert_eq!(*told.asked.lock().unwrap(), [1, 2, 6]);
    assert_eq!(destination.count("HEAD", ""), 0);
}

#[tokio::test]
async fn a_config_that_the_manifest_carries_is_not_read_from_the_source() {
    let (source, destination) = two().await;
    source.put_referrer("a", Some("v1"), &Digest::sha256(b"nothing"), "chart");
    let report = engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    assert_eq!(report.blobs_copied, 2);
    assert_eq!(source.count("GET", "blobs"), 1);
    assert!(destination.has_blob("b", &Digest::sha256(b"{}")));
}

#[tokio::test]
async fn a_registry_that_wants_chunks_gets_them() {
    let (source, destination) = two().await;
    let image = source.put_image("a", Some("v1"), "one");
    let config = destination.config().chunked_uploads(20_000);
    let engine = engine(&[&source]).with_registry(config).unwrap();
    engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    assert_eq!(destination.tag("b", "v1"), Some(image.digest.to_string()));
    let ranges: Vec<_> = destination
        .seen()
        .iter()
        .filter(|seen| seen.method == "PATCH")
        .map(|seen| seen.header("content-range").unwrap().to_owned())
        .collect();
    assert_eq!(ranges, ["0-19999", "20000-39999", "40000-47999"], "what fits into one goes in one request");
}

#[tokio::test]
async fn a_blob_that_is_too_large_for_one_request_is_sent_in_chunks_from_then_on() {
    let (source, destination) = two().await;
    let layer = vec![7; 20 << 20];
    let digest = source.put_blob("a", &layer);
    let config = source.put_blob("a", b"{}");
    let json = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{config}","size":2}},"layers":[{{"mediaType":"l","digest":"{digest}","size":{}}}]}}"#,
        layer.len()
    );
    source.put_manifest("a", Some("v1"), media_type::OCI_MANIFEST, &json);
    destination.hook(|seen| {
        let length: u64 = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
        (seen.method == "PUT" && length > 16 << 20).then(|| StatusCode::PAYLOAD_TOO_LARGE.into_response())
    });
    engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    assert_eq!(destination.count("PATCH", ""), 2);
    assert!(destination.has_blob("b", &digest));
}

#[tokio::test]
async fn the_first_request_goes_alone_and_the_others_know_what_it_learned() {
    let (source, destination) = two().await;
    let challenge = "Basic realm=\"x\"";
    source.hook(move |seen| {
        seen.header("authorization")
            .is_none()
            .then(|| (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response())
    });
    for n in 0..8 {
        source.put_image("a", Some(&format!("v{n}")), &n.to_string());
    }
    let credentials = oci_copy::StaticCredentials::new(&source.host, oci_copy::Credentials::new("user", "password"));
    let engine = engine(&[&source, &destination]).with_credentials(Arc::new(credentials));
    let copies = (0..8).map(|n| engine.copy(request(&source, &format!("a:v{n}"), &destination, &format!("b:v{n}"))));
    for report in futures::future::join_all(copies).await {
        report.unwrap();
    }
    assert_eq!(source.seen().iter().filter(|seen| seen.status == 401).count(), 1);
}

#[tokio::test]
async fn a_registry_that_says_too_much_is_asked_more_slowly_and_everything_arrives() {
    let (source, destination) = two().await;
    let images: Vec<_> = (0..12).map(|n| source.put_image("a", Some(&format!("v{n}")), &n.to_string())).collect();
    let busy = Arc::new(Mutex::new(0));
    let refused = busy.clone();
    destination.hook(move |seen| {
        let mut count = refused.lock().unwrap();
        *count += usize::from(seen.method == "HEAD");
        (seen.method == "HEAD" && count.is_multiple_of(7)).then(|| StatusCode::TOO_MANY_REQUESTS.into_response())
    });
    let engine = engine_with(&[&source, &destination], |config| config.retry.max_tries = 10);
    let copies = (0..12).map(|n| engine.copy(request(&source, &format!("a:v{n}"), &destination, &format!("b:v{n}"))));
    for (n, report) in futures::future::join_all(copies).await.into_iter().enumerate() {
        assert_eq!(report.unwrap().digest, images[n].digest);
    }
    assert!(*busy.lock().unwrap() >= 7, "some were refused");
}
