//! Errors of the registry API, in its JSON and in ECR's words.

use axum::body::Body;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use crate::serve::Response;

/// An error of the registry API.
/// <https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#error-codes>
#[derive(Debug, PartialEq)]
pub(crate) struct RegistryError {
    pub(crate) status: StatusCode,
    pub(crate) code: String,
    pub(crate) message: String,
}

impl RegistryError {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into() }
    }

    pub(crate) fn name_unknown(repository: &str, account: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NAME_UNKNOWN",
            format!("The repository with name '{repository}' does not exist in the registry with id '{account}'"),
        )
    }

    pub(crate) fn manifest_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "Requested image not found")
    }

    pub(crate) fn blob_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry")
    }

    pub(crate) fn tag_invalid(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "TAG_INVALID", message)
    }

    /// ECR answers parameters that break a rule of its API with 405.
    pub(crate) fn unsupported(parameter: &str, rule: &str) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "UNSUPPORTED",
            format!("Invalid parameter at '{parameter}' failed to satisfy constraint: '{rule}'"),
        )
    }

    /// What a manifest refers to is not there; `what` is `Layers` or `Images`.
    pub(crate) fn required(what: &str, digests: &[String], repository: &str, account: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "MANIFEST_BLOB_UNKNOWN",
            format!(
                "{what} with digests '[{}]' required for pushing image into repository with name '{repository}' in \
                 the registry with id '{account}' do not exist",
                digests.join(", ")
            ),
        )
    }

    /// The emulator's error, worded as ECR would.
    pub(crate) fn of_emulator(status: StatusCode, body: &[u8], repository: &str, account: &str) -> Self {
        let body = String::from_utf8_lossy(body);
        let code = element(&body, "Code").unwrap_or("UNKNOWN");
        match code {
            "NAME_UNKNOWN" => Self::name_unknown(repository, account),
            "MANIFEST_UNKNOWN" => Self::manifest_unknown(),
            "BLOB_UNKNOWN" => Self::blob_unknown(),
            _ => Self::new(status, code, element(&body, "Message").unwrap_or_default()),
        }
    }

    pub(crate) fn into_response(self) -> Response {
        let body = json!({"errors": [{"code": self.code, "message": self.message}]});
        answer(self.status, "application/json; charset=utf-8", body.to_string())
    }
}

/// An answer of the front's own.
pub(crate) fn answer(status: StatusCode, kind: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers
        .insert(HeaderName::from_static("docker-distribution-api-version"), HeaderValue::from_static("registry/2.0"));
    response
}

/// The text of the first XML element of a name.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_emulators_xml_becomes_ecrs_words() {
        let xml = b"<Error><Code>NAME_UNKNOWN</Code><Message>not known</Message></Error>";
        let error = RegistryError::of_emulator(StatusCode::NOT_FOUND, xml, "app", "123456789012");
        assert_eq!(error, RegistryError::name_unknown("app", "123456789012"));
    }

    #[test]
    fn an_error_that_ecr_words_alike_keeps_code_and_message() {
        let xml = b"<Error><Code>DIGEST_INVALID</Code><Message>wrong digest</Message></Error>";
        let error = RegistryError::of_emulator(StatusCode::BAD_REQUEST, xml, "app", "1");
        let same = RegistryError::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "wrong digest");
        assert_eq!(error, same);
    }
}
