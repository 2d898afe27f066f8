//! What a failure of the copy engine means for a mirror.

use k8s_openapi::jiff::Timestamp;
use oci_copy::{Error, ErrorKind, Shortage, Why};

use super::limits::whole_second;
use crate::api::conditions::Reason;
use crate::controllers::failure::{Failure, Retry};

/// Sorts a failure by what a user can do about it. `source` is the host that the mirror reads from.
pub(super) fn from_engine(error: &Error, source: &str) -> Failure {
    if let Error::PullBudget { host, shortage } = error {
        return from_budget(host, shortage);
    }
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
    let failure = Failure { reason, message, retry };
    match (error, retry) {
        (Error::Refused(_), Retry::At(time)) => asked_again(failure, time),
        _ => failure,
    }
}

/// The same with the time when it goes on, which comes first: what is long is cut.
pub(super) fn asked_again(failure: Failure, time: Timestamp) -> Failure {
    let message = format!("waits until {}: {}", whole_second(time.into()), failure.message);
    Failure { message, retry: Retry::At(time), ..failure }
}

/// Nothing was asked, since the pull budget is not enough: it goes on when there is more.
fn from_budget(host: &str, shortage: &Shortage) -> Failure {
    let advice = match shortage.why {
        Why::TooMuch => {
            "select fewer platforms, use credentials with a higher limit, or lower pullBudgetFloor".to_owned()
        }
        _ => format!("it goes on at {} or earlier", whole_second(shortage.until)),
    };
    Failure {
        reason: Reason::RateLimited,
        message: format!("the pull budget of {host} is not enough now: {shortage}; {advice}"),
        retry: Timestamp::try_from(shortage.look_at).map_or(Retry::Backoff, Retry::At),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use oci_copy::{Engine, EngineConfig};

    use super::*;

    /// The error of a look at a registry that is kept from being asked.
    async fn closed(kind: ErrorKind) -> (Error, SystemTime) {
        struct Shut(ErrorKind, SystemTime);
        impl oci_copy::Guard for Shut {
            fn admit(&self, _: &str) -> Result<(), oci_copy::Closed> {
                Err(oci_copy::Closed { kind: self.0, until: self.1, problem: "it is shut".into() })
            }
            fn answered(&self, _: &str) {}
            fn failed(&self, _: &str, _: &Error) {}
        }
        let until = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let engine = Engine::new(EngineConfig::default()).with_guard(Arc::new(Shut(kind, until)));
        let reference = "registry.example/a:1".parse().expect("a reference");
        (engine.resolve(&reference).await.expect_err("it is shut"), until)
    }

    #[tokio::test]
    async fn a_source_that_is_left_alone_is_told_with_its_reason_and_asked_again_at_its_time() {
        for (kind, reason) in
            [(ErrorKind::Unreachable, Reason::Unreachable), (ErrorKind::RateLimited, Reason::RateLimited)]
        {
            let (error, until) = closed(kind).await;
            let failure = from_engine(&error, "registry.example");
            let until = Timestamp::try_from(until).expect("in range");
            assert_eq!((failure.reason, failure.retry), (reason, Retry::At(until)));
            assert!(
                failure.message.contains("registry.example") && failure.message.contains("it is shut"),
                "{failure}"
            );
        }
    }

    #[test]
    fn a_time_is_told_without_fractions() {
        let failure = Failure::transient(Reason::RateLimited, "no pulls");
        let time = "2026-11-25T10:00:00.123Z".parse().expect("a time");
        let told = asked_again(failure, time);
        assert_eq!(told.message, "waits until 2026-11-25T10:00:00Z: no pulls");
        assert_eq!(told.retry, Retry::At(time));
    }
}
