//! The front's own answers, and what it adds to the emulator's.

use axum::body::{Body, Bytes};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::operation::{Operation, Protocol};
use super::settings;
use crate::cloud::Registry;
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

    #[cfg(test)]
    pub(super) fn code(&self) -> &str {
        &self.code
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
        let body = match protocol {
            Protocol::Json => json!({"__type": self.code, "message": self.message}).to_string(),
            Protocol::Query => {
                let (_, _, body) =
                    fakecloud_aws::error::xml_error_response(self.status, &self.code, &self.message, &id);
                String::from_utf8_lossy(&body).into_owned()
            }
        };
        protocol.respond(self.status, body, &id)
    }
}

impl Protocol {
    /// A success of the front's own.
    pub(super) fn answer(self, answer: &Value) -> Response {
        self.respond(StatusCode::OK, answer.to_string(), &uuid::Uuid::new_v4().to_string())
    }

    fn respond(self, status: StatusCode, body: String, id: &str) -> Response {
        let kind = match self {
            Self::Json => "application/x-amz-json-1.1",
            Self::Query => "text/xml",
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Ok(id) = HeaderValue::from_str(id) {
            headers.insert(HeaderName::from_static("x-amzn-requestid"), id);
        }
        response
    }
}

/// The answer with what the emulator leaves out; `None` when there is nothing to add.
pub(super) fn complete(
    registry: &Registry,
    operation: &Operation,
    asked: &Value,
    body: &Bytes,
    failures: Vec<Value>,
) -> Option<Bytes> {
    let mut answer: Value = serde_json::from_slice(body).ok()?;
    let action = operation.action.as_str();
    match action {
        "DescribeRepositories" => {
            for repository in answer["repositories"].as_array_mut()? {
                describe(registry, repository);
            }
        }
        "CreateRepository" => describe(registry, &mut answer["repository"]),
        "PutImageTagMutability" => registry.mutability.show(&registry.emulator, &mut answer),
        "BatchDeleteImage" if !failures.is_empty() => answer["failures"].as_array_mut()?.extend(failures),
        _ => {
            let known = settings::after(registry, action, asked, &mut answer)
                | registry.dropped.complete(action, asked, &mut answer);
            if !known {
                return None;
            }
        }
    }
    Some(Bytes::from(answer.to_string()))
}

/// An error that names the registry, where the emulator leaves its ID empty.
pub(super) fn name_registry(body: &Bytes, account: &str) -> Option<Bytes> {
    let words = std::str::from_utf8(body).ok()?;
    words.contains("with id ''").then(|| Bytes::from(words.replace("with id ''", &format!("with id '{account}'"))))
}

fn describe(registry: &Registry, repository: &mut Value) {
    registry.mutability.show(&registry.emulator, repository);
    let name = repository["repositoryName"].as_str().unwrap_or_default();
    let key = registry.emulator.repository(name, |r| r.encryption_configuration.kms_key.clone());
    if let Some(Some(key)) = key {
        repository["encryptionConfiguration"]["kmsKey"] = key.into();
    }
}
