//! Manifests, small blobs and lists of referrers are read without copying.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use oci_copy::{Descriptor, Digest, ErrorKind, media_type};

use crate::support::{Registry, engine, error};

#[tokio::test]
async fn a_manifest_comes_byte_for_byte_and_what_is_missing_is_none() {
    let registry = Registry::start().await;
    let image = registry.put_image("a", Some("v1"), "one");
    let engine = engine(&[&registry]);
    let read = engine.read_manifest(&registry.reference("a:v1")).await.unwrap().unwrap();
    assert_eq!((read.digest.clone(), read.media_type.as_str()), (image.digest, media_type::OCI_MANIFEST));
    assert_eq!(read.bytes, registry.manifest("a", read.digest.as_str()).unwrap());
    assert_eq!(engine.read_manifest(&registry.reference("a:v2")).await.unwrap(), None);
    assert_eq!(engine.read_manifest(&registry.reference("nothing:v1")).await.unwrap(), None);
    registry.hook(|_| Some(error(403, "DENIED", "no")));
    let refused = engine.read_manifest(&registry.reference("a:v2")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Forbidden, "{refused}");
}

#[tokio::test]
async fn a_blob_is_read_up_to_a_limit_and_checked() {
    let registry = Registry::start().await;
    let digest = registry.put_blob("a", b"a payload");
    let repository = registry.reference("a:v1").repository().clone();
    let engine = engine(&[&registry]);
    let blob = |digest: &Digest, size| Descriptor::new("text/plain", digest.clone(), size);
    assert_eq!(engine.read_blob(&repository, &blob(&digest, 9), 9).await.unwrap(), &b"a payload"[..]);

    let requests = registry.seen().len();
    let long = engine.read_blob(&repository, &blob(&digest, 9), 8).await.unwrap_err();
    assert_eq!(long.kind(), ErrorKind::Protocol, "{long}");
    assert_eq!(registry.seen().len(), requests, "what is too long is not asked for");

    let missing = engine.read_blob(&repository, &blob(&Digest::sha256(b"x"), 1), 9).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::BlobNotFound, "{missing}");
    registry.hook(|_| Some("b payload".into_response()));
    let other = engine.read_blob(&repository, &blob(&digest, 9), 9).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::DigestMismatch, "{other}");
}

#[tokio::test]
async fn referrers_are_listed_with_their_types_and_annotations() {
    let registry = Registry::start().await;
    let image = registry.put_image("a", Some("v1"), "one");
    let signature = registry.put_referrer("a", None, &image.digest, "signature");
    let repository = registry.reference("a:v1").repository().clone();
    let entry = format!(
        r#"{{"mediaType":"{}","digest":"{signature}","size":7,"artifactType":"application/signature","annotations":{{"k":"v","n":1}}}}"#,
        media_type::OCI_MANIFEST
    );
    let list = crate::support::index_json(media_type::OCI_INDEX, &[entry]);
    registry.put_manifest("a", Some(&image.digest.as_str().replace(':', "-")), media_type::OCI_INDEX, &list);
    // A registry without the API: the fallback tag has the list.
    let found = engine(&[&registry]).referrers(&repository, &image.digest).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        (&found[0].manifest.digest, found[0].artifact_type.as_deref()),
        (&signature, Some("application/signature"))
    );
    assert_eq!(found[0].annotations.iter().collect::<Vec<_>>(), [(&"k".to_owned(), &"v".to_owned())]);

    registry.enable_referrers();
    let found = engine(&[&registry]).referrers(&repository, &image.digest).await.unwrap();
    assert_eq!(found.iter().map(|it| &it.manifest.digest).collect::<Vec<_>>(), [&signature]);
    let none = engine(&[&registry]).referrers(&repository, &Digest::sha256(b"x")).await.unwrap();
    assert!(none.is_empty());

    registry.hook(|_| Some(StatusCode::FORBIDDEN.into_response()));
    let refused = engine(&[&registry]).referrers(&repository, &image.digest).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Forbidden, "{refused}");
}
