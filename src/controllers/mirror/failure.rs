//! What a failure of the copy engine means for a mirror.

use k8s_openapi::jiff::Timestamp;
use oci_copy::{Error, ErrorKind};

use crate::api::conditions::Reason;
use crate::controllers::failure::{Failure, Retry};

/// Sorts a failure by what a user can do about it. `source` is the host that the mirror reads from.
pub(super) fn from_engine(error: &Error, source: &str) -> Failure {
    let at_source = error.place().is_none_or(|place| place.repository.host() == source);
    let (reason, advice) = match (error.kind(), at_source) {
        (ErrorKind::RepositoryNotFound, true) => {
            (Reason::SourceNotFound, "correct spec.source.image, or give credentials that may see it")
        }
        (ErrorKind::RepositoryNotFound, false) => (Reason::DestinationNotReady, ""),
        (ErrorKind::ManifestNotFound, true) => (Reason::TagNotFound, "correct spec.tags, or push the tag"),
        (ErrorKind::Unauthorized | ErrorKind::Forbidden, true) => (
            Reason::SourceUnauthorized,
            "correct spec.source.image, or the credentials in the Secret of spec.source.credentialsSecretRef: registries say the same of repositories that don't exist",
        ),
        (ErrorKind::Unauthorized | ErrorKind::Forbidden, false) => {
            (Reason::AccessDenied, "allow pushing in the IAM policy of the identity that the operator uses")
        }
        (ErrorKind::RateLimited, _) => (Reason::RateLimited, ""),
        (ErrorKind::TagImmutable, _) => {
            (Reason::TagImmutable, "the repository's tags are immutable: delete the tag there, or make them mutable")
        }
        (ErrorKind::DigestMismatch, _) => (Reason::DigestMismatch, "nothing was tagged"),
        (ErrorKind::PlatformNotFound, _) => (Reason::PlatformNotFound, "correct spec.platforms"),
        (ErrorKind::Unreachable | ErrorKind::Tls | ErrorKind::Timeout | ErrorKind::Unavailable, _) => {
            (Reason::Unreachable, "")
        }
        _ => (Reason::CopyFailed, ""),
    };
    let message = if advice.is_empty() { error.to_string() } else { format!("{error}; {advice}") };
    let retry = match (error.is_transient(), error.retry_at()) {
        (_, Some(time)) => Timestamp::try_from(time).map_or(Retry::Backoff, Retry::At),
        // A destination that was there a moment ago, a token that has just expired, bytes that were damaged on the way:
        // another try may find it otherwise.
        (true, None) => Retry::Backoff,
        _ if !at_source && error.kind() == ErrorKind::Unauthorized => Retry::Backoff,
        _ if matches!(reason, Reason::DestinationNotReady | Reason::DigestMismatch) => Retry::Backoff,
        _ => Retry::Stalled,
    };
    Failure { reason, message, retry }
}
