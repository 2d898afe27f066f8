//! What a copy sends, and in which order.

use std::sync::{Arc, Mutex};

use oci_copy::{ErrorKind, Progress, ProgressEvent, media_type};

use crate::support::{Registry, engine, eventually, index_json, request};

async fn two() -> (Registry, Registry) {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    destination.create("b");
    (source, destination)
}

#[tokio::test]
async fn blobs_come_before_children_and_children_before_the_tag() {
    let (source, destination) = two().await;
    let images = [source.put_image("a", None, "one"), source.put_image("a", None, "two")];
    let index = source.put_index("a", Some("v1"), &[&images[0], &images[1]]);

    let report = engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();

    assert_eq!(destination.tag("b", "v1"), Some(index.to_string()));
    assert_eq!((&report.digest, &report.source_digest), (&index, &index));
    assert_eq!((report.blobs_copied, report.manifests_put, report.unchanged), (6, 3, false));
    let writes = destination.writes();
    let rank = |write: &String| match write {
        w if w.contains("blobs/") => 0,
        w if w.contains("manifests/sha256:") => 1,
        _ => 2,
    };
    assert!(writes.is_sorted_by_key(rank), "{writes:#?}");
    assert_eq!(writes.iter().filter(|w| rank(w) == 1).count(), 2);
    assert_eq!(writes.last().unwrap(), "PUT manifests/v1");
}

#[tokio::test]
async fn every_byte_of_every_manifest_stays_and_so_does_a_docker_lists_digest() {
    let (source, destination) = two().await;
    let config_json = r#"{"os":"linux","architecture":"amd64"}"#;
    let config = source.put_blob("a", config_json.as_bytes());
    let image_json = format!(
        "{{\n   \"schemaVersion\": 2,\n   \"mediaType\": \"{}\",\n   \"config\": {{\"mediaType\": \"{}\", \"size\": {}, \"digest\": \"{config}\"}},\n   \"layers\": []\n}}",
        media_type::DOCKER_MANIFEST,
        media_type::DOCKER_CONFIG,
        config_json.len()
    );
    let image = source.put_manifest("a", None, media_type::DOCKER_MANIFEST, &image_json);
    let entry = format!(
        r#"{{"mediaType":"{}","size":{},"digest":"{image}","platform":{{"architecture":"amd64","os":"linux"}}}}"#,
        media_type::DOCKER_MANIFEST,
        image_json.len()
    );
    let list_json = index_json(media_type::DOCKER_LIST, &[entry]);
    let list = source.put_manifest("a", Some("v1"), media_type::DOCKER_LIST, &list_json);

    let report = engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();

    assert_eq!((report.digest, report.media_type.as_str()), (list.clone(), media_type::DOCKER_LIST));
    assert_eq!(destination.manifest("b", list.as_str()).unwrap(), list_json.as_bytes());
    assert_eq!(destination.manifest("b", image.as_str()).unwrap(), image_json.as_bytes());
    let put = destination.seen().into_iter().find(|seen| seen.short() == "PUT manifests/v1").unwrap();
    assert_eq!(put.header("content-type"), Some(media_type::DOCKER_LIST));
}

#[tokio::test]
async fn a_blob_is_sent_in_one_put_that_names_its_length_and_digest() {
    let (source, destination) = two().await;
    let image = source.put_image("a", Some("v1"), "one");
    engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    let puts: Vec<_> =
        destination.seen().into_iter().filter(|s| s.method == "PUT" && s.path.contains("blobs")).collect();
    assert_eq!(puts.len(), 3);
    for put in puts {
        assert!(put.header("content-length").is_some() && put.header("transfer-encoding").is_none());
        assert!(put.query.starts_with("_state=kept&digest=sha256"), "{}", put.query);
    }
    assert_eq!(destination.count("PATCH", ""), 0);
    assert!(destination.has_blob("b", &image.config));
}

#[tokio::test]
async fn an_unchanged_tag_costs_two_heads_and_no_get() {
    let (source, destination) = two().await;
    source.put_image("a", Some("v1"), "one");
    let engine = engine(&[&source, &destination]);
    engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    source.forget_seen();
    destination.forget_seen();

    let report = engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();

    assert!(report.unchanged);
    assert_eq!(report.media_type, media_type::OCI_MANIFEST);
    let all: Vec<_> = source.seen().iter().chain(&destination.seen()).map(|seen| seen.short()).collect();
    assert_eq!(all, ["HEAD manifests/v1", "HEAD manifests/v1"]);
}

#[tokio::test]
async fn a_second_tag_of_an_image_that_is_there_reads_nothing_from_the_source() {
    let (source, destination) = two().await;
    let image = source.put_image("a", Some("v1"), "one");
    let engine = engine(&[&source, &destination]);
    engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    source.forget_seen();
    destination.forget_seen();

    let report = engine.copy(request(&source, "a:v1", &destination, "b:latest")).await.unwrap();

    assert_eq!(destination.tag("b", "latest"), Some(image.digest.to_string()));
    assert_eq!((report.manifests_put, report.blobs_copied, report.unchanged), (1, 0, false));
    assert_eq!(source.seen().iter().map(|seen| seen.short()).collect::<Vec<_>>(), ["HEAD manifests/v1"]);
    assert_eq!(destination.writes(), ["PUT manifests/latest"]);
}

#[tokio::test]
async fn what_a_changed_image_shares_with_the_old_one_is_not_sent_again() {
    let (source, destination) = two().await;
    let (one, two, three) =
        (source.put_image("a", None, "one"), source.put_image("a", None, "two"), source.put_image("a", None, "three"));
    source.put_index("a", Some("v1"), &[&one, &two]);
    let engine = engine(&[&source, &destination]);
    engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    let index = source.put_index("a", Some("v1"), &[&one, &three]);
    source.forget_seen();

    let report = engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();

    assert_eq!(destination.tag("b", "v1"), Some(index.to_string()));
    assert_eq!((report.blobs_copied, report.manifests_put, report.manifests_skipped), (3, 2, 1));
    assert_eq!(source.count("GET", one.digest.as_str()), 0, "the child that is there is not read");
}

#[tokio::test]
async fn a_digest_is_copied_without_asking_what_a_tag_names() {
    let (source, destination) = two().await;
    let image = source.put_image("a", Some("v1"), "one");
    source.put_image("a", Some("v1"), "moved");
    let engine = engine(&[&source, &destination]);

    let from = format!("a:v1@{}", image.digest);
    engine.copy(request(&source, &from, &destination, "b:v1")).await.unwrap();
    assert_eq!(destination.tag("b", "v1"), Some(image.digest.to_string()));
    assert_eq!(source.count("HEAD", "manifests"), 0);

    let to = format!("b@{}", image.digest);
    let report = engine.copy(request(&source, &from, &destination, &to)).await.unwrap();
    assert!(report.unchanged, "a digest that is there needs no tag");
}

#[tokio::test]
async fn a_destination_digest_that_the_copy_does_not_have_is_refused_before_anything_is_sent() {
    let (source, destination) = two().await;
    source.put_image("a", Some("v1"), "one");
    let other = source.put_image("a", Some("v2"), "two");
    let to = format!("b:v1@{}", other.digest);
    let error = engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, &to)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert_eq!(destination.writes(), [""; 0]);
}

#[tokio::test]
async fn copies_at_the_same_time_send_a_blob_once() {
    let (source, destination) = two().await;
    let image = source.put_image("a", Some("v1"), "one");
    source.put_index("a", Some("v2"), &[&image]);
    // No byte of a blob comes before both copies are on their way.
    let (go, gate) = tokio::sync::watch::channel(false);
    let layer = image.layers[1].clone();
    let content = "layer two of one".repeat(3000);
    source.hook(move |seen| {
        let wanted = seen.method == "GET" && seen.path.contains(layer.as_str());
        let (mut gate, content) = (gate.clone(), content.clone());
        wanted.then(|| {
            let piece = async move {
                gate.wait_for(|open| *open).await.unwrap();
                Ok::<_, std::io::Error>(content)
            };
            axum::response::Response::new(axum::body::Body::from_stream(futures::stream::once(piece)))
        })
    });
    let engine = engine(&[&source, &destination]);
    let copies: Vec<_> = ["v1", "v2"]
        .map(|tag| {
            let (engine, request) =
                (engine.clone(), request(&source, &format!("a:{tag}"), &destination, &format!("b:{tag}")));
            tokio::spawn(async move { engine.copy(request).await })
        })
        .into();
    let looks = || destination.count("GET", image.digest.as_str()) + destination.count("HEAD", image.digest.as_str());
    eventually("both copies have planned", || destination.count("HEAD", "manifests/v1") == 1 && looks() == 2).await;
    go.send(true).unwrap();
    let mut copied = 0;
    for copy in copies {
        copied += copy.await.unwrap().unwrap().blobs_copied;
    }
    assert_eq!(copied, 3);
    assert_eq!(destination.count("POST", "uploads"), 3);
    assert_eq!(source.count("GET", "blobs"), 3);
}

#[tokio::test]
async fn several_destinations_get_the_image_and_the_sources_manifests_are_read_once() {
    let (source, destination) = two().await;
    let third = Registry::start().await;
    third.create("c");
    let image = source.put_image("a", None, "one");
    let index = source.put_index("a", Some("v1"), &[&image]);
    let engine = engine(&[&source, &destination, &third]);
    let destinations = vec![destination.reference("b:v1"), third.reference("missing:v1"), third.reference("c:v1")];

    let reports = engine.copy_to_all(request(&source, "a:v1", &destination, "b:v1"), destinations).await;

    assert_eq!(reports[0].as_ref().unwrap().digest, index);
    assert_eq!(reports[1].as_ref().unwrap_err().kind(), ErrorKind::RepositoryNotFound);
    assert_eq!(third.tag("c", "v1"), Some(index.to_string()));
    assert_eq!(reports[2].as_ref().unwrap().blobs_copied, 3);
    assert_eq!((source.count("GET", "manifests"), source.count("HEAD", "manifests")), (2, 1));
}

#[tokio::test]
async fn blobs_of_another_repository_on_the_same_registry_are_mounted() {
    let registry = Registry::start().await;
    registry.enable_mounting();
    registry.create("b");
    let image = registry.put_image("a", Some("v1"), "one");
    let report = engine(&[&registry]).copy(request(&registry, "a:v1", &registry, "b:v1")).await.unwrap();
    assert_eq!((report.blobs_mounted, report.blobs_copied, report.bytes_copied), (3, 0, 0));
    assert_eq!(registry.tag("b", "v1"), Some(image.digest.to_string()));
    assert_eq!((registry.count("GET", "blobs"), registry.count("PUT", "blobs")), (0, 0));
}

#[tokio::test]
async fn a_registry_that_does_not_mount_is_sent_the_bytes_by_the_upload_it_began() {
    let registry = Registry::start().await;
    registry.create("b");
    registry.put_image("a", Some("v1"), "one");
    let report = engine(&[&registry]).copy(request(&registry, "a:v1", &registry, "b:v1")).await.unwrap();
    assert_eq!((report.blobs_mounted, report.blobs_copied), (0, 3));
    assert_eq!(registry.count("POST", "uploads"), 3);
}

#[tokio::test]
async fn a_mount_is_never_asked_of_another_registry() {
    let (source, destination) = two().await;
    source.put_image("a", Some("v1"), "one");
    engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    assert!(destination.seen().iter().all(|seen| !seen.query.contains("mount=")));
}

#[tokio::test]
async fn an_empty_blob_and_layers_from_elsewhere_are_no_trouble() {
    let (source, destination) = two().await;
    let (config, empty) = (source.put_blob("a", b"{}"), source.put_blob("a", b""));
    let foreign = oci_copy::Digest::sha256(b"not here");
    let json = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{config}","size":2,"data":"e30="}},"layers":[{{"mediaType":"application/octet-stream","digest":"{empty}","size":0}},{{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"{foreign}","size":9,"urls":["https://example.com/x"]}}]}}"#
    );
    let digest = source.put_manifest("a", Some("v1"), media_type::OCI_MANIFEST, &json);
    // The registry of these tests wants every layer; one that takes foreign layers doesn't.
    destination.corrupt_blob("b", &foreign, b"");
    let report = engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    assert_eq!(report.blobs_copied, 2);
    assert_eq!(destination.tag("b", "v1"), Some(digest.to_string()));
    assert_eq!(source.count("GET", foreign.as_str()), 0);
}

#[tokio::test]
async fn progress_tells_every_byte_and_every_step() {
    let (source, destination) = two().await;
    let image = source.put_image("a", Some("v1"), "one");
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = events.clone();
    let progress = Progress::new(move |event| sink.lock().unwrap().push(event));
    let request = request(&source, "a:v1", &destination, "b:v1").progress(progress);
    let report = engine(&[&source, &destination]).copy(request).await.unwrap();
    let events = events.lock().unwrap();
    let told: u64 =
        events.iter().map(|event| if let ProgressEvent::BlobBytes { bytes, .. } = event { *bytes } else { 0 }).sum();
    assert_eq!(told, report.bytes_copied);
    assert_eq!(events[0], ProgressEvent::Planned { manifests: 1, blobs: 3, bytes: told });
    let finished = |event: &&ProgressEvent| matches!(event, ProgressEvent::BlobFinished { .. });
    assert_eq!(events.iter().filter(finished).count(), 3);
    let tag = ProgressEvent::ManifestPut { digest: image.digest, tag: Some("v1".to_owned()) };
    assert_eq!(events.last(), Some(&tag));
}

#[tokio::test]
async fn an_immutable_tag_that_names_the_same_is_success_and_another_is_an_error_of_its_own() {
    let (source, destination) = two().await;
    source.put_image("a", Some("v1"), "one");
    let engine = engine(&[&source, &destination]);
    engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    destination.make_tags_immutable();
    let before = destination.tag("b", "v1");

    assert!(engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap().unchanged);

    source.put_image("a", Some("v1"), "two");
    let error = engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TagImmutable, "{error}");
    assert!(!error.is_transient());
    assert_eq!(destination.tag("b", "v1"), before);
}

#[tokio::test]
async fn an_immutable_tag_that_someone_else_put_meanwhile_with_the_same_image_is_success() {
    let (source, destination) = two().await;
    source.put_image("a", Some("v1"), "one");
    let engine = engine(&[&source, &destination]);
    engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    destination.make_tags_immutable();
    // The first look doesn't see the tag yet.
    destination.hook_times(
        1,
        |seen| seen.short() == "HEAD manifests/v1",
        || crate::support::error(404, "MANIFEST_UNKNOWN", ""),
    );
    engine.copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    assert_eq!(destination.count("PUT", "manifests/v1"), 2);
}

#[test]
fn the_engine_and_its_futures_go_from_thread_to_thread() {
    fn is_send<T: Send>(_: &T) {}
    fn is_sync<T: Send + Sync>(_: &T) {}
    let engine = oci_copy::Engine::new(oci_copy::EngineConfig::default());
    is_sync(&engine);
    let reference: oci_copy::Reference = "nginx".parse().unwrap();
    is_send(&engine.copy(oci_copy::CopyRequest::new(reference.clone(), reference.clone())));
    is_send(&engine.copy_to_all(oci_copy::CopyRequest::new(reference.clone(), reference.clone()), vec![]));
    is_send(&engine.resolve(&reference));
    is_send(&engine.why_missing(&reference));
    is_send(&engine.list_tags(reference.repository()));
}
