//! What refers to an image comes along, if it is asked for.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use oci_copy::{Digest, ReferrerOutcome, ReferrerReport};

use crate::support::{Registry, engine, error, request};

async fn two() -> (Registry, Registry) {
    let (source, destination) = (Registry::start().await, Registry::start().await);
    destination.create("b");
    (source, destination)
}

fn copied(reports: &[ReferrerReport]) -> Vec<&Digest> {
    let copied = |report: &&ReferrerReport| report.outcome == ReferrerOutcome::Copied;
    reports.iter().filter(copied).filter_map(|report| report.digest.as_ref()).collect()
}

#[tokio::test]
async fn referrers_of_the_index_and_of_its_children_come_before_the_tag() {
    for api in [true, false] {
        let (source, destination) = two().await;
        source.enable_referrers();
        if api {
            destination.enable_referrers();
        }
        let image = source.put_image("a", None, "one");
        let index = source.put_index("a", Some("v1"), &[&image]);
        let signature = source.put_referrer("a", None, &index, "signature");
        let sbom = source.put_referrer("a", None, &image.digest, "sbom");
        let about_sbom = source.put_referrer("a", None, &sbom, "signature-of-sbom");

        let request = request(&source, "a:v1", &destination, "b:v1").referrers(true);
        let report = engine(&[&source, &destination]).copy(request).await.unwrap();

        assert_eq!(copied(&report.referrers), [&signature, &sbom, &about_sbom]);
        assert_eq!(report.referrers[0].artifact_type.as_deref(), Some("application/signature"));
        assert_eq!((&report.referrers[0].subject, &report.referrers[1].subject), (&index, &image.digest));
        for digest in [&signature, &sbom, &about_sbom] {
            assert!(destination.manifest("b", digest.as_str()).is_some());
        }
        assert_eq!(destination.writes().last().unwrap(), "PUT manifests/v1");
        let listed = destination.tag("b", &index.as_str().replace(':', "-"));
        assert_eq!(listed.is_some(), !api, "only a registry without the API needs a list under a tag");
        if let Some(listed) = listed {
            let list = String::from_utf8(destination.manifest("b", &listed).unwrap().to_vec()).unwrap();
            assert!(list.contains(signature.as_str()) && list.contains("application/signature"), "{list}");
        }
    }
}

#[tokio::test]
async fn referrers_are_found_by_the_fallback_tag_and_by_cosigns_tags() {
    let (source, destination) = two().await;
    destination.enable_referrers();
    let image = source.put_image("a", Some("v1"), "one");
    let sbom = source.put_referrer("a", None, &image.digest, "sbom");
    let size = source.manifest("a", sbom.as_str()).unwrap().len();
    let entry = format!(r#"{{"mediaType":"{}","digest":"{sbom}","size":{size}}}"#, oci_copy::media_type::OCI_MANIFEST);
    let list = crate::support::index_json(oci_copy::media_type::OCI_INDEX, &[entry]);
    let dashed = image.digest.as_str().replace(':', "-");
    source.put_manifest("a", Some(&dashed), oci_copy::media_type::OCI_INDEX, &list);
    let signature = source.put_image("a", Some(&format!("{dashed}.sig")), "signature");

    let request = request(&source, "a:v1", &destination, "b:v1").referrers(true);
    let report = engine(&[&source, &destination]).copy(request).await.unwrap();

    assert_eq!(copied(&report.referrers), [&sbom, &signature.digest]);
    assert_eq!(report.referrers[1].tag, Some(format!("{dashed}.sig")));
    assert_eq!(destination.tag("b", &format!("{dashed}.sig")), Some(signature.digest.to_string()));
}

#[tokio::test]
async fn a_referrer_that_the_destination_refuses_is_reported_and_the_image_is_there() {
    let (source, destination) = two().await;
    source.enable_referrers();
    destination.enable_referrers();
    let image = source.put_image("a", Some("v1"), "one");
    let (good, bad) =
        (source.put_referrer("a", None, &image.digest, "good"), source.put_referrer("a", None, &image.digest, "bad"));
    let refused = bad.clone();
    destination.hook(move |seen| {
        let puts = seen.method == "PUT" && seen.path.contains(refused.as_str());
        puts.then(|| error(405, "UNSUPPORTED", "Invalid JSON syntax"))
    });
    let request = request(&source, "a:v1", &destination, "b:v1").referrers(true);
    let report = engine(&[&source, &destination]).copy(request).await.unwrap();
    assert_eq!(destination.tag("b", "v1"), Some(image.digest.to_string()));
    assert_eq!(copied(&report.referrers), [&good]);
    let failed = report.referrers.iter().find(|report| report.digest.as_ref() == Some(&bad)).unwrap();
    let ReferrerOutcome::Failed { message } = &failed.outcome else { panic!("{failed:?}") };
    assert!(message.contains("405") && message.contains("Invalid JSON syntax"), "{message}");
}

#[tokio::test]
async fn a_source_that_can_not_list_referrers_fails_nothing() {
    let (source, destination) = two().await;
    let image = source.put_image("a", Some("v1"), "one");
    source.hook(|seen| seen.path.contains("/referrers/").then(|| StatusCode::FORBIDDEN.into_response()));
    let request = request(&source, "a:v1", &destination, "b:v1").referrers(true);
    let report = engine(&[&source, &destination]).copy(request).await.unwrap();
    assert_eq!(destination.tag("b", "v1"), Some(image.digest.to_string()));
    assert!(matches!(report.referrers[0].outcome, ReferrerOutcome::Failed { .. }));
}

#[tokio::test]
async fn an_unchanged_image_gets_referrers_that_are_new() {
    let (source, destination) = two().await;
    source.enable_referrers();
    destination.enable_referrers();
    let image = source.put_image("a", Some("v1"), "one");
    let engine = engine(&[&source, &destination]);
    let copy = || request(&source, "a:v1", &destination, "b:v1").referrers(true);
    assert!(engine.copy(copy()).await.unwrap().referrers.is_empty());
    let signature = source.put_referrer("a", None, &image.digest, "signature");
    let report = engine.copy(copy()).await.unwrap();
    assert!(report.unchanged);
    assert_eq!(copied(&report.referrers), [&signature]);
    assert!(engine.copy(copy()).await.unwrap().referrers.iter().all(|r| r.outcome == ReferrerOutcome::Present));
}

#[tokio::test]
async fn referrers_that_were_not_asked_for_are_not_looked_for() {
    let (source, destination) = two().await;
    source.enable_referrers();
    let image = source.put_image("a", Some("v1"), "one");
    source.put_referrer("a", None, &image.digest, "signature");
    let report = engine(&[&source, &destination]).copy(request(&source, "a:v1", &destination, "b:v1")).await.unwrap();
    assert!(report.referrers.is_empty());
    assert_eq!(source.count("GET", "referrers"), 0);
}
