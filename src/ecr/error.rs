//! What AWS answers when it refuses, sorted by what a user can do about it.

use aws_sdk_ecr::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ecr::operation::RequestId as _;

/// A call to AWS that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{operation} failed: {message}")]
pub struct EcrError {
    /// The AWS action, such as `CreateRepository`.
    pub operation: &'static str,
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// AWS's own words, or the transport's.
    pub message: String,
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// There are no credentials, or AWS does not know them, or they have expired.
    Credentials,
    /// AWS knows who calls and refuses the call.
    AccessDenied,
    /// Too many calls.
    Throttled,
    /// The endpoint could not be reached, or its certificate is not trusted, or it did not answer in time.
    Unreachable,
    /// What the call names does not exist.
    NotFound,
    /// What the call creates exists already.
    AlreadyExists,
    /// The repository still has images.
    NotEmpty,
    /// A quota is used up.
    Limit,
    /// A session policy, packed with the session's tags, is larger than STS takes.
    PolicyTooLarge,
    /// AWS refuses a value.
    Invalid,
    /// AWS failed, or answered something that is not listed here.
    Other,
}

impl EcrError {
    /// Whether the same call may succeed later although nobody changes anything.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, ErrorKind::Throttled | ErrorKind::Unreachable | ErrorKind::Other)
    }

    /// Turns an error of the SDK into ours.
    pub(super) fn new<E, R>(operation: &'static str, error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug + 'static,
        SdkError<E, R>: aws_sdk_ecr::operation::RequestId,
    {
        let (kind, message) = match error {
            SdkError::ServiceError(_) => {
                let code = error.code().unwrap_or("an error without a code");
                let words = error.message().unwrap_or("no message");
                // Not in the message: it differs from try to try, and a status shall change only when something did.
                tracing::debug!(operation, code, request_id = error.request_id(), "AWS refused a call");
                let advice = match code {
                    "RequestExpired" => " (check the clock of the machine that the operator runs on)",
                    _ => "",
                };
                (kind_of_code(code), format!("{code}: {words}{advice}"))
            }
            SdkError::TimeoutError(_) => (ErrorKind::Unreachable, "the endpoint did not answer in time".to_owned()),
            SdkError::DispatchFailure(failure) if failure.is_other() => match refused_role(error) {
                Some(words) => (ErrorKind::Credentials, format!("no credentials: {words}")),
                None => (ErrorKind::Credentials, causes(error)),
            },
            SdkError::DispatchFailure(_) => (ErrorKind::Unreachable, causes(error)),
            SdkError::ConstructionFailure(_) => (ErrorKind::Credentials, causes(error)),
            _ => (ErrorKind::Other, causes(error)),
        };
        Self { operation, kind, message }
    }

    /// A value that the SDK does not take.
    pub(super) fn invalid(operation: &'static str, error: &dyn std::error::Error) -> Self {
        Self { operation, kind: ErrorKind::Invalid, message: error.to_string() }
    }

    /// An answer that lacks what the API promises.
    pub(super) fn incomplete(operation: &'static str, what: &str) -> Self {
        Self { operation, kind: ErrorKind::Other, message: format!("the answer has no {what}") }
    }
}

/// STS's own words, where assuming a role is what failed.
fn refused_role(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    use aws_sdk_sts::operation::assume_role::AssumeRoleError;
    use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
    let mut next = Some(error);
    while let Some(cause) = next {
        let metadata = match (cause.downcast_ref(), cause.downcast_ref()) {
            (Some(refusal), _) => Some(AssumeRoleError::meta(refusal)),
            (_, Some(refusal)) => Some(AssumeRoleWithWebIdentityError::meta(refusal)),
            _ => None,
        };
        if let Some(metadata) = metadata {
            return Some(format!(
                "{}: {}",
                metadata.code().unwrap_or("refused"),
                metadata.message().unwrap_or("no message")
            ));
        }
        next = cause.source();
    }
    None
}

/// An error with its chain of causes on one line: the SDK's outermost words say little.
fn causes(error: &dyn std::error::Error) -> String {
    let mut words = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if words.last() != Some(&text) {
            words.push(text);
        }
        next = cause.source();
    }
    words.join(": ")
}

/// Sorts AWS's error codes: those of the ECR API reference for the calls that we make, and AWS's common errors.
fn kind_of_code(code: &str) -> ErrorKind {
    match code {
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "RequestExpired"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "AuthFailure" => ErrorKind::Credentials,
        "AccessDenied"
        | "AccessDeniedException"
        | "NotAuthorized"
        | "OptInRequired"
        | "BlockedByOrganizationPolicyException" => ErrorKind::AccessDenied,
        "ThrottlingException" | "Throttling" | "TooManyRequestsException" | "RequestLimitExceeded" => {
            ErrorKind::Throttled
        }
        "RepositoryNotFoundException"
        | "LifecyclePolicyNotFoundException"
        | "RepositoryPolicyNotFoundException"
        | "RegistryPolicyNotFoundException"
        | "SigningConfigurationNotFoundException"
        | "PullThroughCacheRuleNotFoundException"
        | "TemplateNotFoundException"
        | "ExclusionNotFoundException"
        | "ImageNotFoundException" => ErrorKind::NotFound,
        "RepositoryAlreadyExistsException"
        | "PullThroughCacheRuleAlreadyExistsException"
        | "TemplateAlreadyExistsException"
        | "ExclusionAlreadyExistsException" => ErrorKind::AlreadyExists,
        "RepositoryNotEmptyException" => ErrorKind::NotEmpty,
        "LimitExceededException" | "TooManyTagsException" => ErrorKind::Limit,
        "PackedPolicyTooLarge" | "PackedPolicyTooLargeException" => ErrorKind::PolicyTooLarge,
        "InvalidParameterException"
        | "InvalidTagParameterException"
        | "ValidationException"
        | "SecretNotFoundException"
        | "UnableToAccessSecretException"
        | "UnableToDecryptSecretValueException"
        | "UnsupportedUpstreamRegistryException"
        | "KmsException"
        | "ValidationError" => ErrorKind::Invalid,
        _ => ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_codes_count_as_transient_and_refusals_do_not() {
        for (code, transient) in [
            ("ServerException", true),
            ("InternalFailure", true),
            ("ThrottlingException", true),
            ("AccessDeniedException", false),
            ("ExpiredTokenException", false),
            ("InvalidParameterException", false),
            ("LimitExceededException", false),
        ] {
            let error = EcrError { operation: "Test", kind: kind_of_code(code), message: code.to_owned() };
            assert_eq!(error.is_transient(), transient, "{code}");
        }
    }
}
