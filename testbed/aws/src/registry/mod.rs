//! The front of ECR's registry API.

mod error;
pub(crate) mod layers;
mod manifest;
mod referrers;
pub(crate) mod route;
pub(crate) mod sessions;
mod tags;

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::Query;
use chrono::Utc;
use http::{HeaderValue, Method, StatusCode, header};

use crate::cloud::{Cloud, Registry};
use crate::faults::{self, Seen};
use crate::iam::Caller;
use crate::iam::need::{self, Place};
use crate::serve::{Dropped, Request, Response};
use crate::tokens::Refusal;
use error::{RegistryError, answer};
use manifest::Push;
use route::Route;

/// The largest manifest. <https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html>
const MANIFEST_LIMIT: usize = 4 * 1024 * 1024;
/// The largest answer that the front changes: a list of tags or an error.
const ANSWER_LIMIT: usize = 32 * 1024 * 1024;
/// What the emulator takes for a token, in the front's own requests.
const EMULATOR_TOKEN: HeaderValue = HeaderValue::from_static("Basic QVdTOg==");

/// What stands between the clients of one registry and the emulator.
pub(crate) struct Front {
    pub(crate) cloud: Arc<Cloud>,
    pub(crate) registry: Arc<Registry>,
}

impl Front {
    pub(crate) async fn handle(self: Arc<Self>, request: Request) -> Result<Response, Dropped> {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let route = Route::of(uri.path());
        self.cloud.calls.registry(route.kind(&method));
        let fault = self
            .cloud
            .faults
            .take(&Seen::Registry { method: &method, path: uri.path_and_query().map_or("/", |path| path.as_str()) });
        let render = |fault: &faults::Fault, status| {
            RegistryError::new(status, &fault.code, fault.message.as_str()).into_response()
        };
        let mut response = faults::around(fault, render, self.answer(&route, request)).await?;
        if method == Method::HEAD {
            // A length that describes the body of a GET stays, a body does not.
            let body = std::mem::take(response.body_mut());
            let empty = Body::empty();
            let length = http_body::Body::size_hint(&body).exact().unwrap_or(0);
            *response.body_mut() = empty;
            let announced = response.headers_mut().entry(header::CONTENT_LENGTH);
            announced.or_insert_with(|| HeaderValue::from(length));
        }
        Ok(response)
    }

    async fn answer(&self, route: &Route<'_>, request: Request) -> Response {
        if let Route::Layer { repository, digest } = *route {
            return self.layer(repository, digest, request).await;
        }
        let authorization = request.headers().get(header::AUTHORIZATION);
        let caller = match self.cloud.tokens.check(authorization, Utc::now()) {
            Err(refusal) => return self.challenge(&refusal),
            Ok(caller) => caller,
        };
        if let Err(refusal) = self.admit(&caller, route, &request) {
            return refusal.into_response();
        }
        let result = match (request.method(), route) {
            (&Method::GET, Route::Blob { repository, digest }) => {
                self.redirect_to_layer(repository, digest, request).await
            }
            (&Method::GET, Route::Tags { repository }) => self.tags(repository, request).await,
            (&Method::PUT, Route::Manifest { repository, reference }) => {
                self.put_manifest(repository, reference, request).await
            }
            (&Method::GET, Route::Referrers { repository, digest }) => self.referrers(repository, digest, &request),
            (&Method::PATCH | &Method::PUT, Route::Upload { .. }) => self.upload(route, request).await,
            _ => self.pass(route, request).await,
        };
        result.unwrap_or_else(RegistryError::into_response)
    }

    /// Whether the token's owner may make this request, now.
    fn admit(&self, caller: &Caller, route: &Route<'_>, request: &Request) -> Result<(), RegistryError> {
        let emulator = &self.registry.emulator;
        let place = Place { account: &emulator.account, region: &emulator.region };
        let query = request.uri().query().unwrap_or_default();
        let needs = need::of_registry(request.method(), route, query, place);
        if self.cloud.over_quota(&self.registry, &needs).is_some() {
            return Err(RegistryError::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "Rate exceeded"));
        }
        let authorized = self.cloud.authorize(caller, &self.registry, &needs);
        authorized.map_err(|denied| RegistryError::new(StatusCode::FORBIDDEN, "DENIED", denied.0))
    }

    /// No token or an unknown one is 401 with a challenge, an expired one is 403 without.
    fn challenge(&self, refusal: &Refusal) -> Response {
        if *refusal == Refusal::Expired {
            let message = "Your authorization token has expired. Reauthenticate and try again.";
            return RegistryError::new(StatusCode::FORBIDDEN, "DENIED", message).into_response();
        }
        let mut response = answer(StatusCode::UNAUTHORIZED, "text/plain; charset=utf-8", "Not Authorized\n".to_owned());
        let challenge = format!("Basic realm=\"https://{}/\",service=\"ecr.amazonaws.com\"", self.registry.address);
        if let Ok(challenge) = HeaderValue::from_str(&challenge) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }

    /// Lets the emulator answer; its errors come in the registry API's form.
    async fn pass(&self, route: &Route<'_>, request: Request) -> Result<Response, RegistryError> {
        let response = self.registry.emulator.call(request).await;
        let status = response.status();
        if !status.is_client_error() && !status.is_server_error() {
            return Ok(response);
        }
        let account = &self.registry.emulator.account;
        let repository = route.repository().unwrap_or_default();
        let missing = self.registry.emulator.repository(repository, |_| ()).is_none();
        if status == StatusCode::NOT_FOUND && !repository.is_empty() && missing {
            return Err(RegistryError::name_unknown(repository, account));
        }
        let body = to_bytes(response.into_body(), ANSWER_LIMIT).await;
        let body = body.unwrap_or_default();
        Err(RegistryError::of_emulator(status, &body, repository, account))
    }

    /// Takes a part of a blob, or the end of it. ECR answers a part with 201, where the specification wants 202.
    async fn upload(&self, route: &Route<'_>, request: Request) -> Result<Response, RegistryError> {
        let session = request.uri().path().to_owned();
        self.registry.sessions.begin(&session)?;
        let mut response = self.pass(route, request).await?;
        self.registry.sessions.succeeded(&session);
        if response.status() == StatusCode::ACCEPTED {
            *response.status_mut() = StatusCode::CREATED;
        }
        Ok(response)
    }

    fn referrers(&self, repository: &str, digest: &str, request: &Request) -> Result<Response, RegistryError> {
        let query = Query::<HashMap<String, String>>::try_from_uri(request.uri());
        let query = query.map(|Query(query)| query).unwrap_or_default();
        let artifact_type = query.get("artifactType").map(String::as_str);
        let index = self
            .registry
            .emulator
            .repository(repository, |found| referrers::index(found, digest, artifact_type))
            .ok_or_else(|| RegistryError::name_unknown(repository, &self.registry.emulator.account))?;
        let kind = "application/vnd.oci.image.index.v1+json";
        let mut response = answer(StatusCode::OK, kind, index.to_string());
        if artifact_type.is_some() {
            let filtered = HeaderValue::from_static("artifactType");
            response.headers_mut().insert("oci-filters-applied", filtered);
        }
        Ok(response)
    }

    async fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        request: Request,
    ) -> Result<Response, RegistryError> {
        let account = &self.registry.emulator.account;
        let (parts, body) = request.into_parts();
        let manifest = to_bytes(body, MANIFEST_LIMIT)
            .await
            .map_err(|_| RegistryError::unsupported("ImageManifest", "Member must be at most 4 MiB long"))?;
        let push = Push { repository, account, reference, manifest: &manifest };
        self.registry
            .emulator
            .repository(repository, |found| push.check(found, &self.registry.mutability))
            .ok_or_else(|| RegistryError::name_unknown(repository, account))??;
        let route = Route::Manifest { repository, reference };
        let subject = referrers::subject(&manifest);
        let request = Request::from_parts(parts, Body::from(manifest));
        let mut response = self.pass(&route, request).await?;
        if let Some(subject) = subject.and_then(|digest| HeaderValue::try_from(digest).ok()) {
            response.headers_mut().insert("oci-subject", subject);
        }
        Ok(response)
    }

    async fn tags(&self, repository: &str, request: Request) -> Result<Response, RegistryError> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let all = self.pass(&Route::Tags { repository }, request).await?;
        let (mut parts, body) = all.into_parts();
        let all = to_bytes(body, ANSWER_LIMIT).await.unwrap_or_default();
        let page = tags::page(repository, &query, &all)?;
        parts.headers.remove(header::CONTENT_LENGTH);
        if let Some(link) = page.link.and_then(|link| HeaderValue::try_from(link).ok()) {
            parts.headers.insert(header::LINK, link);
        }
        Ok(Response::from_parts(parts, Body::from(page.body)))
    }

    async fn redirect_to_layer(
        &self,
        repository: &str,
        digest: &str,
        mut request: Request,
    ) -> Result<Response, RegistryError> {
        *request.method_mut() = Method::HEAD;
        let route = Route::Blob { repository, digest };
        self.pass(&route, request).await?;
        let address = self.registry.layers.address(repository, digest, Utc::now());
        let mut response = answer(StatusCode::TEMPORARY_REDIRECT, "text/html", String::new());
        if let Ok(address) = HeaderValue::try_from(address) {
            response.headers_mut().insert(header::LOCATION, address);
        }
        Ok(response)
    }

    /// The storage origin: knows signed addresses, and no credentials.
    async fn layer(&self, repository: &str, digest: &str, request: Request) -> Response {
        if request.method() != Method::GET {
            return layers::Refusal::Signature.into_response();
        }
        let (path, query) = (request.uri().path(), request.uri().query());
        let checked = self.registry.layers.check(path, query.unwrap_or_default(), request.headers(), Utc::now());
        if let Err(refusal) = checked {
            if refusal == layers::Refusal::Leak {
                self.cloud.calls.credential_leak();
            }
            return refusal.into_response();
        }
        let inner = http::Request::builder()
            .uri(format!("/v2/{repository}/blobs/{digest}"))
            .header(header::AUTHORIZATION, EMULATOR_TOKEN)
            .body(Body::empty());
        match inner {
            Err(_) => RegistryError::blob_unknown().into_response(),
            Ok(request) => {
                let route = Route::Blob { repository, digest };
                let response = self.pass(&route, request).await;
                response.unwrap_or_else(RegistryError::into_response)
            }
        }
    }
}
