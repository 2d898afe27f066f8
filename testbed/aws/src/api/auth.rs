//! Who may call AWS's API: requests are signed, by a key that exists, with the right secret.

use axum::body::Bytes;
use chrono::Utc;
use fakecloud_aws::sigv4::{self, SigV4Error, VerifyRequest};
use fakecloud_core::auth::CredentialResolver;
use http::request::Parts;
use http::{StatusCode, header};
use sha2::{Digest, Sha256};

use super::answer::ApiError;
use super::operation::{Operation, Protocol};
use crate::iam::Caller;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Refusal {
    Unsigned,
    Incomplete,
    UnknownKey,
    Expired,
    Mismatch,
    Skewed,
}

/// Who signed a request, and for which region.
pub(super) struct Signed {
    pub(super) caller: Caller,
    pub(super) region: String,
}

/// Checks the signature (Signature Version 4) and, with temporary credentials, the session token. `None`: the operation
/// takes no signature.
pub(super) fn check(
    credentials: &dyn CredentialResolver,
    operation: &Operation,
    parts: &Parts,
    body: &Bytes,
) -> Result<Option<Signed>, RefusedCall> {
    if operation.is_unsigned() {
        return Ok(None);
    }
    let signed = signature(credentials, parts, body);
    signed.map(Some).map_err(|refusal| RefusedCall { refusal, protocol: operation.protocol })
}

/// The region that a request says it is for, whoever signed it.
pub(super) fn region(parts: &Parts) -> Option<String> {
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    Some(sigv4::parse_sigv4_header(text(header::AUTHORIZATION.as_str())?, text("x-amz-date"))?.region)
}

fn signature(credentials: &dyn CredentialResolver, parts: &Parts, body: &Bytes) -> Result<Signed, Refusal> {
    let text = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok());
    let authorization = text(header::AUTHORIZATION.as_str()).ok_or(Refusal::Unsigned)?;
    let parsed = sigv4::parse_sigv4_header(authorization, text("x-amz-date")).ok_or(Refusal::Incomplete)?;
    let Some(known) = credentials.resolve(&parsed.access_key) else {
        return Err(match credentials.is_expired(&parsed.access_key) {
            true => Refusal::Expired,
            false => Refusal::UnknownKey,
        });
    };
    if known.session_token.as_deref() != text("x-amz-security-token") {
        return Err(Refusal::UnknownKey);
    }
    let request = VerifyRequest {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &sigv4::headers_from_http(&parts.headers),
        body,
    };
    match sigv4::verify(&parsed, &request, &known.secret_access_key, Utc::now()) {
        Ok(()) => {}
        Err(SigV4Error::RequestTimeTooSkewed { .. }) => return Err(Refusal::Skewed),
        Err(SigV4Error::SignatureMismatch) => return Err(Refusal::Mismatch),
        Err(_) => return Err(Refusal::Incomplete),
    }
    // The signature covers the digest that the header claims; the body must be what it says.
    match text("x-amz-content-sha256") {
        Some(claimed) if claimed != hex::encode(Sha256::digest(body)) => Err(Refusal::Mismatch),
        _ => Ok(Signed { caller: known.into(), region: parsed.region }),
    }
}

/// A refusal, with the protocol that words it.
#[derive(Debug)]
pub(super) struct RefusedCall {
    refusal: Refusal,
    protocol: Protocol,
}

impl From<RefusedCall> for ApiError {
    /// The same refusal has one name in awsJson services and another in awsQuery services.
    /// <https://docs.aws.amazon.com/AmazonECR/latest/APIReference/CommonErrors.html>
    fn from(refused: RefusedCall) -> Self {
        const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check \
            your AWS Secret Access Key and signing method. Consult the service documentation for details.";
        let (json, query, query_status, message) = match refused.refusal {
            Refusal::Unsigned => (
                "MissingAuthenticationTokenException",
                "MissingAuthenticationToken",
                StatusCode::FORBIDDEN,
                "Request is missing Authentication Token",
            ),
            Refusal::Incomplete => (
                "IncompleteSignatureException",
                "IncompleteSignature",
                StatusCode::BAD_REQUEST,
                "The request signature does not conform to AWS standards.",
            ),
            Refusal::UnknownKey => (
                "UnrecognizedClientException",
                "InvalidClientTokenId",
                StatusCode::FORBIDDEN,
                "The security token included in the request is invalid.",
            ),
            Refusal::Expired => (
                "ExpiredTokenException",
                "ExpiredToken",
                StatusCode::FORBIDDEN,
                "The security token included in the request is expired",
            ),
            Refusal::Mismatch => {
                ("InvalidSignatureException", "SignatureDoesNotMatch", StatusCode::FORBIDDEN, MISMATCH)
            }
            Refusal::Skewed => (
                "InvalidSignatureException",
                "SignatureDoesNotMatch",
                StatusCode::FORBIDDEN,
                "Signature expired: the time of the request is not within 15 minutes of the server's.",
            ),
        };
        match refused.protocol {
            Protocol::Json => Self::new(StatusCode::BAD_REQUEST, json, message),
            Protocol::Query => Self::new(query_status, query, message),
        }
    }
}
