//! Copying some platforms of an image.

use oci_copy::{CopyRequest, Digest, ErrorKind, PlatformSelection, media_type};

use crate::support::{Image, Registry, engine, index_json, request};

fn only(request: CopyRequest, platforms: &[&str]) -> CopyRequest {
    request.platforms(PlatformSelection::only(platforms.iter().map(|p| p.parse().unwrap())))
}

fn image(registry: &Registry, architecture: &str) -> Image {
    let config = format!(r#"{{"os":"linux","architecture":"{architecture}"}}"#);
    registry.put_image_of("a", None, &config, &[format!("layer of {architecture}")], "linux", architecture)
}

fn attestation(registry: &Registry, about: &Image) -> Image {
    let config = format!(r#"{{"attestation":"{}"}}"#, about.digest);
    registry.put_image_of("a", None, &config, &["in-toto".to_owned()], "unknown", "unknown")
}

async fn two() -> (Registry, Registry) {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    destination.create("b");
    (source, destination)
}

fn digests(manifest: &[u8]) -> Vec<String> {
    let json: serde_json::Value = serde_json::from_slice(manifest).unwrap();
    let entries = json["manifests"].as_array().unwrap();
    entries.iter().map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_subset_has_its_images_with_their_attestations_and_a_digest_of_its_own() {
    let (source, destination) = two().await;
    let (amd, arm) = (image(&source, "amd64"), image(&source, "arm64"));
    let (about_amd, about_arm) = (attestation(&source, &amd), attestation(&source, &arm));
    let about = |image: &Image| {
        format!(
            r#","annotations":{{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":"{}"}}"#,
            image.digest
        )
    };
    let entries = [amd.entry(""), arm.entry(""), about_amd.entry(&about(&amd)), about_arm.entry(&about(&arm))];
    let index =
        source.put_manifest("a", Some("v1"), media_type::OCI_INDEX, &index_json(media_type::OCI_INDEX, &entries));
    let engine = engine(&[&source, &destination]);

    let report = engine.copy(only(request(&source, "a:v1", &destination, "b:v1"), &["linux/arm64"])).await.unwrap();

    assert_eq!(report.source_digest, index);
    assert_ne!(report.digest, index);
    let tagged = destination.tag("b", "v1").unwrap();
    assert_eq!(tagged, report.digest.to_string());
    let bytes = destination.manifest("b", &tagged).unwrap();
    assert_eq!(digests(&bytes), [arm.digest.to_string(), about_arm.digest.to_string()]);
    assert!(!destination.has_blob("b", &amd.layers[0]));
    assert_eq!(source.count("GET", amd.digest.as_str()), 0);

    // The same subset is the same digest, and nothing is left to do.
    let again = engine.copy(only(request(&source, "a:v1", &destination, "b:v1"), &["linux/arm64"])).await.unwrap();
    assert!(again.unchanged);
    assert_eq!(again.digest, report.digest);
}

#[tokio::test]
async fn a_subset_that_is_all_of_it_keeps_the_digest() {
    let (source, destination) = two().await;
    let (amd, arm) = (image(&source, "amd64"), image(&source, "arm64"));
    let index = source.put_index("a", Some("v1"), &[&amd, &arm]);
    let platforms = ["linux/arm64", "linux/amd64"];
    let report = engine(&[&source, &destination])
        .copy(only(request(&source, "a:v1", &destination, "b:v1"), &platforms))
        .await
        .unwrap();
    assert_eq!(report.digest, index);
}

#[tokio::test]
async fn a_platform_that_is_not_there_is_an_error_that_names_what_is() {
    let (source, destination) = two().await;
    let (amd, arm) = (image(&source, "amd64"), image(&source, "arm64"));
    source.put_index("a", Some("index"), &[&amd, &arm]);
    let json = source.manifest("a", amd.digest.as_str()).unwrap();
    source.put_manifest("a", Some("image"), media_type::OCI_MANIFEST, std::str::from_utf8(&json).unwrap());
    for (tag, has) in [("index", "it has linux/amd64, linux/arm64"), ("image", "it has linux/amd64")] {
        let request =
            only(request(&source, &format!("a:{tag}"), &destination, "b:v1"), &["linux/amd64", "linux/s390x"]);
        let error = engine(&[&source, &destination]).copy(request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PlatformNotFound);
        let text = error.to_string();
        assert!(text.contains("no image for linux/s390x") && text.contains(has), "{text}");
    }
    assert_eq!(destination.writes(), [""; 0]);
}

#[tokio::test]
async fn a_single_image_is_judged_by_its_configuration_and_copied_as_it_is() {
    let (source, destination) = two().await;
    let amd = image(&source, "amd64");
    let json = source.manifest("a", amd.digest.as_str()).unwrap();
    source.put_manifest("a", Some("v1"), media_type::OCI_MANIFEST, std::str::from_utf8(&json).unwrap());
    let request = only(request(&source, "a:v1", &destination, "b:v1"), &["linux/amd64"]);
    let report = engine(&[&source, &destination]).copy(request).await.unwrap();
    assert_eq!(report.digest, amd.digest);
}

#[tokio::test]
async fn an_index_within_an_index_is_filtered_too() {
    let (source, destination) = two().await;
    let (amd, arm) = (image(&source, "amd64"), image(&source, "arm64"));
    let inner_json = index_json(media_type::OCI_INDEX, &[amd.entry(""), arm.entry("")]);
    let inner = source.put_manifest("a", None, media_type::OCI_INDEX, &inner_json);
    let entry =
        format!(r#"{{"mediaType":"{}","digest":"{inner}","size":{}}}"#, media_type::OCI_INDEX, inner_json.len());
    source.put_manifest("a", Some("v1"), media_type::OCI_INDEX, &index_json(media_type::OCI_INDEX, &[entry]));
    let engine = engine(&[&source, &destination]);

    let request_arm = only(request(&source, "a:v1", &destination, "b:v1"), &["linux/arm64"]);
    let report = engine.copy(request_arm).await.unwrap();
    let outer = destination.manifest("b", report.digest.as_str()).unwrap();
    let [new_inner] = digests(&outer).try_into().unwrap();
    assert_ne!(new_inner, inner.to_string());
    assert_eq!(digests(&destination.manifest("b", &new_inner).unwrap()), [arm.digest.to_string()]);

    let report = engine.copy(request(&source, "a:v1", &destination, "b:all")).await.unwrap();
    assert_eq!(report.digest, report.source_digest);
    assert!(destination.manifest("b", inner.as_str()).is_some());
}

#[tokio::test]
async fn indexes_that_lie_too_deep_are_refused() {
    let (source, destination) = two().await;
    let amd = image(&source, "amd64");
    let mut entry = amd.entry("");
    let mut digest = Digest::sha256(b"");
    for level in 0..6 {
        let json = index_json(media_type::OCI_INDEX, &[entry]);
        digest = source.put_manifest("a", (level == 5).then_some("v1"), media_type::OCI_INDEX, &json);
        entry = format!(r#"{{"mediaType":"{}","digest":"{digest}","size":{}}}"#, media_type::OCI_INDEX, json.len());
    }
    let engine = engine(&[&source, &destination]);
    for request in [
        request(&source, "a:v1", &destination, "b:v1"),
        only(request(&source, "a:v1", &destination, "b:v1"), &["linux/amd64"]),
    ] {
        let error = engine.copy(request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(digest.as_str()) || error.to_string().contains("deep"), "{error}");
    }
    assert_eq!(destination.tag("b", "v1"), None);
}
