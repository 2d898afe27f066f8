use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;

use super::*;

/// An API server that has these kinds in these versions of the group, and whose group is known by its versions.
async fn version(served: &'static [(&'static str, &'static [&'static str])]) -> Option<&'static str> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let versions: Vec<_> = served
        .iter()
        .map(|(version, _)| json!({"version": version, "groupVersion": format!("{GROUP}/{version}")}))
        .collect();
    let groups = json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [{"name": GROUP, "versions": versions}]});
    let json = |value: Value| ([("content-type", "application/json")], value.to_string());
    let resources = move |Path(version): Path<String>| async move {
        let (_, kinds) = served.iter().find(|(served, _)| *served == version).ok_or(StatusCode::NOT_FOUND)?;
        let resources: Vec<_> = kinds
            .iter()
            .map(|kind| json!({"name": "x", "singularName": "", "namespaced": false, "kind": kind, "verbs": ["list"]}))
            .collect();
        let group = format!("{GROUP}/{version}");
        Ok::<_, StatusCode>(json(json!({"kind": "APIResourceList", "groupVersion": group, "resources": resources})))
    };
    let router = axum::Router::new()
        .route("/apis", get(move || async move { json(groups) }))
        .route(&format!("/apis/{GROUP}/{{version}}"), get(resources));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let client = Client::try_from(kube::Config::new(url.parse().expect("a URL"))).expect("a client");
    Cluster::look(&client).await.expect("an answer").version()
}

const WITHOUT: &[&str] = &["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"];
const WITH: &[&str] = &["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy"];

#[tokio::test]
async fn the_first_version_that_has_both_kinds_is_taken() {
    assert_eq!(version(&[("v1", WITH), ("v1beta1", WITH)]).await, Some("v1"));
    assert_eq!(version(&[("v1", WITHOUT), ("v1beta1", WITH)]).await, Some("v1beta1"), "Kubernetes 1.34 with the gate");
    assert_eq!(version(&[("v1beta1", WITH)]).await, Some("v1beta1"));
}

#[tokio::test]
async fn an_api_server_without_the_kinds_has_none() {
    assert_eq!(version(&[("v1", WITHOUT)]).await, None);
    assert_eq!(version(&[("v1", &["MutatingAdmissionPolicy"])]).await, None, "the binding is missing");
    assert_eq!(version(&[("v1alpha1", WITH)]).await, None, "alpha has other fields");
    assert_eq!(version(&[]).await, None);
}
