//! The front of AWS's API.

mod answer;
mod auth;
pub(crate) mod mutability;
mod operation;

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use chrono::Utc;
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;

use crate::calls::Calls;
use crate::emulator::Emulator;
use crate::faults::{self, Faults, Seen};
use crate::serve::{Dropped, Request, Response};
use crate::tokens::Tokens;
use answer::ApiError;
use mutability::Exclusions;
use operation::Operation;

/// The largest request: a layer part of 20 MiB in base64, and room to spare.
const BODY_LIMIT: usize = 32 * 1024 * 1024;
/// The largest answer that the front changes: a page of 1,000 repositories.
const ANSWER_LIMIT: usize = 32 * 1024 * 1024;

/// What stands between clients of AWS's API and the emulator.
pub(crate) struct Front {
    pub(crate) emulator: Arc<Emulator>,
    pub(crate) calls: Arc<Calls>,
    pub(crate) faults: Arc<Faults>,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) mutability: Arc<Exclusions>,
}

impl Front {
    pub(crate) async fn handle(self: Arc<Self>, request: Request) -> Result<Response, Dropped> {
        let (parts, body) = request.into_parts();
        let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
            // Either the client went away or it sent more than any operation takes.
            return Err(Dropped);
        };
        let operation = Operation::of(&parts.headers, &body);
        self.calls.api(&operation.action);
        let seen = Seen::Api { action: &operation.action, body: &body };
        let fault = self.faults.take(&seen);
        let render = |fault: &faults::Fault, status| {
            ApiError::new(status, &fault.code, &fault.message).into_response(operation.protocol)
        };
        faults::around(fault, render, self.answer(&operation, parts, body)).await
    }

    async fn answer(&self, operation: &Operation, parts: http::request::Parts, body: Bytes) -> Response {
        let signed = auth::check(&*self.emulator.credentials, operation, &parts, &body);
        let result = match signed {
            Err(refusal) => Err(refusal.into()),
            Ok(()) => self.operate(operation, parts, body).await,
        };
        result.unwrap_or_else(|error| error.into_response(operation.protocol))
    }

    async fn operate(
        &self,
        operation: &Operation,
        mut parts: http::request::Parts,
        body: Bytes,
    ) -> Result<Response, ApiError> {
        if !operation.is_ecr() {
            return Ok(self.emulator.call(Request::from_parts(parts, body.into())).await);
        }
        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
        let change = self.mutability.before(&self.emulator, operation, &asked)?;
        let body = match &change {
            Some(change) => Bytes::from(change.without_exclusions(&asked).to_string()),
            None => body,
        };
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        let response = self.emulator.call(Request::from_parts(parts, body.into())).await;
        if response.status() != StatusCode::OK {
            return Ok(response);
        }
        self.mutability.after(&self.emulator, operation, &asked, change);
        if operation.action == "CreateRepository" {
            self.name_managed_key(&asked);
        }
        Ok(self.complete(operation, response).await)
    }

    /// Adds to the emulator's answer what it leaves out.
    async fn complete(&self, operation: &Operation, response: Response) -> Response {
        let (mut parts, body) = response.into_parts();
        let Ok(mut body) = to_bytes(body, ANSWER_LIMIT).await else {
            return ApiError::internal().into_response(operation.protocol);
        };
        if operation.action == "GetAuthorizationToken" {
            self.tokens.remember(&body, Utc::now());
        }
        if let Some(completed) = answer::complete(&self.emulator, &self.mutability, operation, &body) {
            body = completed;
        }
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        Response::from_parts(parts, Body::from(body))
    }

    /// A repository that asks for KMS without a key gets the key that AWS manages for ECR.
    fn name_managed_key(&self, asked: &Value) {
        let encryption = &asked["encryptionConfiguration"];
        if encryption["encryptionType"] == "KMS" && encryption["kmsKey"].is_null() {
            let key = self.emulator.managed_key();
            let name = asked["repositoryName"].as_str().unwrap_or_default();
            self.emulator.change_repository(name, |repository| {
                repository.encryption_configuration.kms_key = Some(key);
            });
        }
    }
}
