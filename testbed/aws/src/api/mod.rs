//! The front of AWS's API.

mod answer;
mod auth;
mod deletion;
pub(crate) mod dropped;
pub(crate) mod lifecycle;
pub(crate) mod mutability;
mod operation;
mod settings;

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use chrono::Utc;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;

use crate::cloud::{Cloud, Registry};
use crate::faults::{self, Seen};
use crate::iam::need::{self, Place};
use crate::serve::{self, Request, Response};
use answer::ApiError;
use auth::Signed;
use dropped::Dropped;
use operation::Operation;

/// The largest request: a layer part of 20 MiB in base64, and room to spare.
const BODY_LIMIT: usize = 32 * 1024 * 1024;
/// The largest answer that the front changes: a page of 1,000 repositories.
const ANSWER_LIMIT: usize = 32 * 1024 * 1024;

/// What stands between clients of AWS's API and the emulator.
pub(crate) struct Front {
    pub(crate) cloud: Arc<Cloud>,
}

impl Front {
    pub(crate) async fn handle(self: Arc<Self>, request: Request) -> Result<Response, serve::Dropped> {
        let (parts, body) = request.into_parts();
        let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
            // Either the client went away or it sent more than any operation takes.
            return Err(serve::Dropped);
        };
        let operation = Operation::of(&parts.headers, &body);
        self.cloud.calls.api(&operation.action);
        let region = auth::region(&parts);
        let seen = Seen::Api { action: &operation.action, region: region.as_deref(), body: &body };
        let fault = self.cloud.faults.take(&seen);
        let render = |fault: &faults::Fault, status| {
            ApiError::new(status, &fault.code, &fault.message).into_response(operation.protocol)
        };
        faults::around(fault, render, self.answer(&operation, parts, body)).await
    }

    async fn answer(&self, operation: &Operation, parts: Parts, body: Bytes) -> Response {
        let signed = auth::check(&*self.cloud.identities.resolver(), operation, &parts, &body);
        let result = match signed {
            Err(refusal) => Err(refusal.into()),
            Ok(signed) => self.operate(operation, signed, parts, body).await,
        };
        result.unwrap_or_else(|error| error.into_response(operation.protocol))
    }

    async fn operate(
        &self,
        operation: &Operation,
        signed: Option<Signed>,
        parts: Parts,
        body: Bytes,
    ) -> Result<Response, ApiError> {
        let cloud = &self.cloud;
        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
        let Some(signed) = signed.filter(|_| operation.is_regional()) else {
            let home = cloud.registry(cloud.account(), cloud.region()).map_err(|_| ApiError::internal())?;
            return Ok(home.emulator.call(Request::from_parts(parts, body.into())).await);
        };
        let account = asked["registryId"].as_str().unwrap_or(signed.caller.account());
        let registry = cloud.registry(account, &signed.region).map_err(|_| ApiError::internal())?;
        if !operation.is_ecr() {
            return Ok(registry.emulator.call(Request::from_parts(parts, body.into())).await);
        }
        let needs = need::of_api(&operation.action, &asked, Place { account, region: &signed.region });
        if let Some(action) = cloud.over_quota(&registry, &needs) {
            tracing::debug!(action, "throttled");
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "ThrottlingException", "Rate exceeded"));
        }
        cloud
            .authorize(&signed.caller, &registry, &needs)
            .map_err(|denied| ApiError::new(StatusCode::BAD_REQUEST, "AccessDeniedException", &denied.0))?;

        let delay = *cloud.preview_delay.lock();
        if let Some(answer) = lifecycle::answer(&registry, &operation.action, &asked, delay) {
            return answer.map(|answer| operation.protocol.answer(&answer));
        }
        let response = registry.operate(operation, &asked, parts, body).await?;
        if operation.action == "GetAuthorizationToken" && response.status() == StatusCode::OK {
            let (parts, body) = response.into_parts();
            let body = to_bytes(body, ANSWER_LIMIT).await.map_err(|_| ApiError::internal())?;
            cloud.tokens.remember(&body, &signed.caller, Utc::now());
            return Ok(Response::from_parts(parts, Body::from(body)));
        }
        Ok(response)
    }
}

impl Registry {
    /// Lets the emulator answer, between what it does not check and what it leaves out.
    async fn operate(
        &self,
        operation: &Operation,
        asked: &Value,
        mut parts: Parts,
        body: Bytes,
    ) -> Result<Response, ApiError> {
        let action = operation.action.as_str();
        let change = self.mutability.before(&self.emulator, operation, asked)?;
        Dropped::check(action, asked)?;
        let checked = settings::before(self, action, asked)?;
        let name = asked["repositoryName"].as_str().unwrap_or_default();
        let deletion = match action {
            "BatchDeleteImage" => self.emulator.repository(name, |found| deletion::allowed(found, asked)).flatten(),
            _ => None,
        };
        let (allowed, failures) = deletion.unzip();
        let written = match &change {
            Some(change) => Some(change.without_exclusions(asked)),
            None => checked.or(allowed),
        };
        let body = written.map_or(body, |asked| Bytes::from(asked.to_string()));
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        let response = self.emulator.call(Request::from_parts(parts, body.into())).await;
        let (mut parts, body) = response.into_parts();
        let mut body = to_bytes(body, ANSWER_LIMIT).await.map_err(|_| ApiError::internal())?;
        let completed = if parts.status == StatusCode::OK {
            self.mutability.after(&self.emulator, operation, asked, change);
            if action == "CreateRepository" {
                self.name_managed_key(asked);
            }
            if action == "DeleteRepository" {
                self.previews.forget(name);
            }
            answer::complete(self, operation, asked, &body, failures.unwrap_or_default())
        } else {
            answer::name_registry(&body, &self.emulator.account)
        };
        if let Some(completed) = completed {
            body = completed;
        }
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        Ok(Response::from_parts(parts, Body::from(body)))
    }

    /// A repository that asks for KMS without a key gets the key that AWS manages for ECR.
    fn name_managed_key(&self, asked: &Value) {
        let encryption = &asked["encryptionConfiguration"];
        let kms = matches!(encryption["encryptionType"].as_str(), Some("KMS" | "KMS_DSSE"));
        if kms && encryption["kmsKey"].is_null() {
            let key = self.emulator.managed_key();
            let name = asked["repositoryName"].as_str().unwrap_or_default();
            self.emulator.change_repository(name, |repository| {
                repository.encryption_configuration.kms_key = Some(key);
            });
        }
    }
}
