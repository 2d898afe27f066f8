//! Looking things up without copying.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use oci_copy::{ErrorKind, Missing, media_type};

use crate::support::{Registry, engine, engine_with, error};

#[tokio::test]
async fn a_tag_is_resolved_by_one_head() {
    let registry = Registry::start().await;
    let image = registry.put_image("a", Some("v1"), "one");
    let found = engine(&[&registry]).resolve(&registry.reference("a:v1")).await.unwrap().unwrap();
    assert_eq!((found.digest, found.size), (image.digest, image.size as u64));
    assert_eq!(found.media_type, media_type::OCI_MANIFEST);
    assert_eq!(registry.seen().iter().map(|seen| seen.short()).collect::<Vec<_>>(), ["HEAD manifests/v1"]);
    let accept = registry.seen()[0].header("accept").unwrap().to_owned();
    for media_type in
        [media_type::OCI_INDEX, media_type::OCI_MANIFEST, media_type::DOCKER_LIST, media_type::DOCKER_MANIFEST]
    {
        assert!(accept.contains(media_type), "{accept}");
    }
}

#[tokio::test]
async fn what_is_missing_is_none_and_why_it_is_missing_can_be_asked() {
    let registry = Registry::start().await;
    registry.put_image("a", Some("v1"), "one");
    let engine = engine(&[&registry]);
    for (reference, expected) in [("a:v2", Missing::Manifest), ("nothing:v1", Missing::Repository)] {
        let reference = registry.reference(reference);
        assert_eq!(engine.resolve(&reference).await.unwrap(), None);
        assert_eq!(engine.why_missing(&reference).await.unwrap(), expected);
    }
    registry.hook(|_| Some(StatusCode::NOT_FOUND.into_response()));
    assert_eq!(engine.why_missing(&registry.reference("a:v1")).await.unwrap(), Missing::Unknown);
}

#[tokio::test]
async fn a_registry_that_knows_only_missing_manifests_is_asked_for_tags() {
    let registry = Registry::start().await;
    registry.put_image("a", Some("v1"), "one");
    registry.hook(|seen| {
        let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
        seen.path.contains("/manifests/").then(|| (StatusCode::NOT_FOUND, body).into_response())
    });
    let engine = engine(&[&registry]);
    for (reference, expected) in [("a:v2", Missing::Manifest), ("nothing:v1", Missing::Repository)] {
        assert_eq!(engine.why_missing(&registry.reference(reference)).await.unwrap(), expected, "{reference}");
    }
}

#[tokio::test]
async fn a_registry_that_tells_no_digest_is_asked_for_the_manifest() {
    let registry = Registry::start().await;
    let image = registry.put_image("a", Some("v1"), "one");
    let bytes = registry.manifest("a", image.digest.as_str()).unwrap();
    registry.hook(move |_| Some(([("content-type", media_type::OCI_MANIFEST)], bytes.clone()).into_response()));
    let found = engine(&[&registry]).resolve(&registry.reference("a:v1")).await.unwrap().unwrap();
    assert_eq!((found.digest, found.size), (image.digest, image.size as u64));
}

#[tokio::test]
async fn tags_are_listed_page_after_page() {
    let registry = Registry::start().await;
    registry.hook(|seen| {
        let page = |link: Option<&str>, tags: &str| {
            let body = format!("{{\"name\":\"a\",\"tags\":{tags}}}");
            match link {
                Some(link) => ([("link", format!("<{link}>; rel=\"next\""))], body).into_response(),
                None => body.into_response(),
            }
        };
        Some(match seen.query.as_str() {
            "n=1000" => page(Some("/v2/a/tags/list?last=2&n=2"), "[\"1\",\"2\"]"),
            "last=2&n=2" => page(Some("list?last=4"), "[\"2\",\"3\",\"not a tag\",\"../4\",\"4\"]"),
            _ => page(None, "null"),
        })
    });
    let repository = registry.reference("a:v1").repository().clone();
    assert_eq!(engine(&[&registry]).list_tags(&repository).await.unwrap(), ["1", "2", "3", "4"]);
    assert_eq!(registry.seen().len(), 3);
}

#[tokio::test]
async fn pages_that_go_round_in_a_circle_and_lists_without_end_are_errors() {
    let registry = Registry::start().await;
    let repository = registry.reference("a:v1").repository().clone();
    registry.hook(|_| Some(([("link", "</v2/a/tags/list?n=1000>; rel=next")], "{\"tags\":[]}").into_response()));
    let error = engine(&[&registry]).list_tags(&repository).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");

    registry.hook(|seen| {
        let n = seen.query.len();
        let link = format!("</v2/a/tags/list?{}>; rel=next", "x".repeat(n + 1));
        Some(([("link", link)], format!("{{\"tags\":[\"t{n}\"]}}")).into_response())
    });
    let engine = engine_with(&[&registry], |config| config.max_tags = 20);
    let error = engine.list_tags(&repository).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("more than 20 tags"), "{error}");
}

#[tokio::test]
async fn the_tags_of_a_missing_repository_are_an_error() {
    let registry = Registry::start().await;
    let repository = registry.reference("nothing:v1").repository().clone();
    let error = engine(&[&registry]).list_tags(&repository).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RepositoryNotFound, "{error}");
}

#[tokio::test]
async fn a_registrys_words_are_shown_on_one_line_and_cut() {
    let registry = Registry::start().await;
    registry.hook(|_| Some(error(403, "DENIED", &"no\\n\\u001b[31m".repeat(500))));
    let repository = registry.reference("a:v1").repository().clone();
    let shown = engine(&[&registry]).list_tags(&repository).await.unwrap_err().to_string();
    assert!(shown.len() < 700 && !shown.contains(['\n', '\u{1b}']), "{shown}");
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_unreachable() {
    let registry = Registry::unserved("127.0.0.1:1".to_owned());
    let error = engine(&[&registry]).resolve(&registry.reference("a:v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.is_transient() && error.to_string().contains("127.0.0.1:1/a:v1"), "{error}");
}
