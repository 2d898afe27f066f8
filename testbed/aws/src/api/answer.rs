//! The front's own answers, and what it adds to the emulator's.

use axum::body::{Body, Bytes};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::mutability::Exclusions;
use super::operation::{Operation, Protocol};
use crate::emulator::Emulator;
use crate::serve::Response;

/// An error in AWS's form: a code and a message.
#[derive(Debug, PartialEq)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: String,
    message: String,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &str, message: &str) -> Self {
        Self { status, code: code.to_owned(), message: message.to_owned() }
    }

    /// `InvalidParameterException`: a parameter breaks a rule of the API.
    pub(crate) fn invalid_parameter(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidParameterException", message)
    }

    pub(crate) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "ServerException",
            "These errors are usually caused by a server-side issue.",
        )
    }

    pub(crate) fn into_response(self, protocol: Protocol) -> Response {
        let id = uuid::Uuid::new_v4().to_string();
        let (kind, body) = match protocol {
            Protocol::Json => {
                ("application/x-amz-json-1.1", json!({"__type": self.code, "message": self.message}).to_string())
            }
            Protocol::Query => {
                let (_, _, body) =
                    fakecloud_aws::error::xml_error_response(self.status, &self.code, &self.message, &id);
                ("text/xml", String::from_utf8_lossy(&body).into_owned())
            }
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert(HeaderName::from_static("x-amzn-requestid"), id);
        }
        response
    }
}

/// The answer with what the emulator leaves out; `None` when there is nothing to add.
pub(super) fn complete(
    emulator: &Emulator,
    exclusions: &Exclusions,
    operation: &Operation,
    body: &Bytes,
) -> Option<Bytes> {
    let mut answer: Value = serde_json::from_slice(body).ok()?;
    match operation.action.as_str() {
        "DescribeRepositories" => {
            for repository in answer["repositories"].as_array_mut()? {
                describe(emulator, exclusions, repository);
            }
        }
        "CreateRepository" => describe(emulator, exclusions, &mut answer["repository"]),
        "PutImageTagMutability" => exclusions.show(emulator, &mut answer),
        _ => return None,
    }
    Some(Bytes::from(answer.to_string()))
}

fn describe(emulator: &Emulator, exclusions: &Exclusions, repository: &mut Value) {
    exclusions.show(emulator, repository);
    let name = repository["repositoryName"].as_str().unwrap_or_default();
    let key = emulator.repository(name, |r| r.encryption_configuration.kms_key.clone());
    if let Some(Some(key)) = key {
        repository["encryptionConfiguration"]["kmsKey"] = key.into();
    }
}
