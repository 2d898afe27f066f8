//! Manifests that could be read in two ways, or that name what can't be.

use axum::response::IntoResponse;
use oci_copy::media_type::{DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use oci_copy::{Digest, ErrorKind};

use crate::scene::Scene;

/// Serves a manifest under the tag, by the digest that it has, and copies it.
async fn copy(case: &str, content_type: &'static str, bytes: &[u8]) -> (Scene, ErrorKind) {
    let scene = Scene::basic().await;
    let (digest, body) = (Digest::sha256(bytes).to_string(), bytes.to_vec());
    scene.answers(move |seen| {
        let wanted = seen.path.ends_with("/manifests/v1") || seen.path.ends_with(&digest);
        let headers = [("content-type", content_type), ("docker-content-digest", digest.as_str())];
        wanted.then(|| (headers, body.clone()).into_response())
    });
    let error = scene.copy_from().await;
    scene.assert_no_leak(case, Some(&error));
    scene.assert_untouched(case);
    assert!(error.to_string().len() < 1_000, "{case}: {error}");
    assert_eq!(scene.honest.count("PUT", "manifests"), 0, "{case}");
    (scene, error.kind())
}

/// The descriptor of a blob that the hostile registry has.
fn config() -> String {
    let config = r#"{"os":"linux","architecture":"amd64","seed":"one"}"#;
    let digest = Digest::sha256(config.as_bytes());
    format!(r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":{}}}"#, config.len())
}

/// An image whose only layer is this.
fn layered(layer: &str) -> String {
    format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{},"layers":[{layer}]}}"#, config())
}

fn layer_with_digest(digest: &str) -> String {
    layered(&format!(r#"{{"mediaType":"l","digest":"{digest}","size":1}}"#))
}

#[tokio::test]
async fn a_field_that_stands_there_twice_is_refused() {
    let config = config();
    let digest = Digest::sha256(b"x");
    for json in [
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"layers":[]}}"#),
        format!(r#"{{"schemaVersion":2,"config":{config},"config":{config}}}"#),
        format!(r#"{{"schemaVersion":2,"schemaVersion":2,"config":{config}}}"#),
        format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","mediaType":"{OCI_INDEX}","config":{config}}}"#),
        format!(r#"{{"schemaVersion":2,"config":{config},"\u006cayers":[],"layers":[]}}"#),
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{digest}","digest":"{digest}","size":1}}}}"#
        ),
        format!(r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{digest}","size":1,"size":2}}}}"#),
        r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#.to_owned(),
    ] {
        let (_, kind) =
            copy(&json, if json.contains("manifests") { OCI_INDEX } else { OCI_MANIFEST }, json.as_bytes()).await;
        assert_eq!(kind, ErrorKind::Invalid, "{json}");
    }
}

#[tokio::test]
async fn a_digest_that_is_none_is_refused() {
    let good = Digest::sha256(b"x").to_string();
    for digest in [
        "sha256:../../../../etc/passwd",
        "../../v2/other/blobs/sha256",
        "sha256:..%2f..%2fother",
        &format!("{good}/../x"),
        &format!("{good}?x=y"),
        &format!("{good}#x"),
        &format!("{good} "),
        &format!("{good}\\n"),
        &format!("http://169.254.169.254/{good}"),
        &good.to_uppercase(),
        &good.replace("sha256:", "sha256:0"),
        &good[..good.len() - 1],
        &good.replace("sha256", "md5"),
        &good.replace("sha256", "sha512"),
        "sha256:",
        "sha256",
        "",
    ] {
        let json = layer_with_digest(digest);
        let (scene, kind) = copy(digest, OCI_MANIFEST, json.as_bytes()).await;
        assert_eq!(kind, ErrorKind::Invalid, "{digest}");
        assert_eq!(scene.hostile.count("GET", "/blobs/"), 0, "{digest}: nothing is asked for");
    }
}

#[tokio::test]
async fn a_size_that_is_none_or_another_one_is_never_committed() {
    let (digest, _) = (Digest::sha256("layer one of one".repeat(1000).as_bytes()), 16_000);
    let layer = |size: &str| layered(&format!(r#"{{"mediaType":"l","digest":"{digest}","size":{size}}}"#));
    for size in ["-1", "1e3", "16000.0", "\"16000\"", "null", "18446744073709551616", "[16000]"] {
        let (_, kind) = copy(size, OCI_MANIFEST, layer(size).as_bytes()).await;
        assert_eq!(kind, ErrorKind::Invalid, "{size}");
    }
    for size in ["0", "1", "15999", "16001", "18446744073709551615"] {
        let (scene, kind) = copy(size, OCI_MANIFEST, layer(size).as_bytes()).await;
        assert!(matches!(kind, ErrorKind::DigestMismatch | ErrorKind::Unreachable), "{size}: {kind:?}");
        assert!(!scene.honest.has_blob("b", &digest), "{size}");
    }
}

#[tokio::test]
async fn what_says_that_it_is_something_else_is_refused() {
    let image = layered("");
    let index = r#"{"schemaVersion":2,"manifests":[]}"#;
    for (content_type, json) in [
        (OCI_INDEX, image.clone()),
        (DOCKER_MANIFEST, image.clone()),
        (OCI_MANIFEST, index.to_owned()),
        (OCI_MANIFEST, image.replace(OCI_MANIFEST, "application/vnd.docker.distribution.manifest.v1+prettyjws")),
        (OCI_MANIFEST, image.replace(OCI_MANIFEST, "text/html")),
        (OCI_MANIFEST, image.replace("\"schemaVersion\":2", "\"schemaVersion\":1")),
        (OCI_MANIFEST, image.replace("\"layers\":[]", "\"layers\":[],\"manifests\":[]")),
        (OCI_MANIFEST, format!("[2,null,{},null,null]", config())),
        (OCI_MANIFEST, image.replace("\"layers\":[]", "\"layers\":{}")),
        (OCI_MANIFEST, "null".to_owned()),
        (OCI_MANIFEST, "\"sha256\"".to_owned()),
        (OCI_MANIFEST, format!("{image}{image}")),
        (OCI_MANIFEST, format!("\u{feff}{image}")),
        (OCI_MANIFEST, format!("{image}\0")),
        ("text/html", "<html>log in</html>".to_owned()),
        (OCI_MANIFEST, String::new()),
    ] {
        let (_, kind) = copy(&json, content_type, json.as_bytes()).await;
        assert_eq!(kind, ErrorKind::Invalid, "{content_type} {json}");
    }
    let (_, kind) = copy("not UTF-8", OCI_MANIFEST, b"{\"schemaVersion\":2,\"mediaType\":\"\xff\"}").await;
    assert_eq!(kind, ErrorKind::Invalid);
}

#[tokio::test]
async fn what_is_too_deep_or_too_many_is_refused() {
    let annotations = format!("\"annotations\":{}{},\"size\"", "[".repeat(5_000), "]".repeat(5_000));
    let deep = layered("").replace("\"size\"", &annotations);
    let (_, kind) = copy("deep", OCI_MANIFEST, deep.as_bytes()).await;
    assert_eq!(kind, ErrorKind::Invalid);

    let entries: Vec<_> = (0..2_500_u32)
        .map(|n| {
            let digest = Digest::sha256(&n.to_be_bytes());
            format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{digest}","size":1}}"#)
        })
        .collect();
    let huge = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#, entries.join(","));
    let (scene, _) = copy("huge", OCI_INDEX, huge.as_bytes()).await;
    assert!(scene.hostile.seen().len() < 2_500, "it is given up early");
}

#[tokio::test]
async fn an_index_that_names_itself_is_no_circle() {
    // Its own digest can't be in it, so the registry has to lie, and is found out by the digest.
    let scene = Scene::basic().await;
    let named = Digest::sha256(b"the index");
    let json = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{"mediaType":"{OCI_INDEX}","digest":"{named}","size":1}}]}}"#
    );
    let size = json.len();
    let json = json.replace("\"size\":1", &format!("\"size\":{size}"));
    scene.answers(move |seen| {
        let headers = [("content-type", OCI_INDEX), ("docker-content-digest", named.as_str())];
        seen.path.contains("/manifests/").then(|| (headers, json.clone()).into_response())
    });
    assert_eq!(scene.copy_from().await.kind(), ErrorKind::DigestMismatch);
    assert!(scene.hostile.seen().len() < 20);
}

#[tokio::test]
async fn a_blob_with_two_sizes_is_refused() {
    let digest = Digest::sha256("layer one of one".repeat(1000).as_bytes());
    let layer = |size: u64| format!(r#"{{"mediaType":"l","digest":"{digest}","size":{size}}}"#);
    let json = layered(&[layer(16_000), layer(16_001)].join(","));
    let (_, kind) = copy("two sizes", OCI_MANIFEST, json.as_bytes()).await;
    assert_eq!(kind, ErrorKind::Invalid);
}

#[tokio::test]
async fn the_urls_of_a_layer_are_never_asked() {
    let scene = Scene::basic().await;
    // The honest registry takes no manifest without the layer, whoever serves it.
    let digest = scene.honest.put_blob("b", "layer one of one".repeat(1000).as_bytes());
    for media_type in
        ["application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "application/vnd.oci.image.layer.v1.tar"]
    {
        let url = format!("http://{}/layer", scene.bystander.host);
        let json = layered(&format!(
            r#"{{"mediaType":"{media_type}","digest":"{digest}","size":16000,"urls":["{url}","http://169.254.169.254/"]}}"#
        ));
        scene.hostile.put_manifest("a", Some("urls"), OCI_MANIFEST, &json);
        let request = crate::support::request(&scene.hostile, "a:urls", &scene.honest, "b:urls");
        scene.engine.copy(request).await.unwrap();
        scene.assert_untouched(media_type);
    }
}

#[tokio::test]
async fn a_tags_digest_that_its_content_does_not_have_is_refused() {
    for header in [Digest::sha256(b"other").to_string(), "sha256:../x".to_owned(), "x".repeat(5_000)] {
        let scene = Scene::basic().await;
        let image = layered("");
        scene.answers(move |seen| {
            let headers = [("content-type", OCI_MANIFEST), ("docker-content-digest", header.as_str())];
            let body = if seen.path.ends_with("v1") { image.clone() } else { "{}".to_owned() };
            seen.path.contains("/manifests/").then(|| (headers, body).into_response())
        });
        let error = scene.copy_from().await;
        assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{error}");
    }
}
