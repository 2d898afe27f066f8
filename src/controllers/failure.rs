//! Why a reconcile did not get to its end, and when it is tried again.

use k8s_openapi::jiff::Timestamp;

use crate::api::conditions::Reason;
use crate::ecr::{ConnectError, EcrError, ErrorKind};

/// Why an object is not ready.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Failure {
    /// The reason for the conditions.
    pub reason: Reason,
    /// What happened and what to do about it.
    pub message: String,
    /// When it is tried again.
    pub retry: Retry,
}

/// When a failed object is tried again. A change of the object, or of what it refers to, is always acted upon at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Soon, with a delay that grows: it may pass by itself.
    Backoff,
    /// At a time that the other side named.
    At(Timestamp),
    /// On the long interval: somebody has to change something. The object is `Stalled`.
    Stalled,
}

impl Failure {
    /// A failure that somebody has to do something about.
    pub fn stalled(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry: Retry::Stalled }
    }

    /// A failure that may pass by itself.
    pub fn transient(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry: Retry::Backoff }
    }

    /// Whether the object counts as stalled.
    pub fn is_stalled(&self) -> bool {
        self.retry == Retry::Stalled
    }
}

impl From<EcrError> for Failure {
    fn from(error: EcrError) -> Self {
        let (reason, advice) = match error.kind {
            ErrorKind::Credentials => (
                Reason::InvalidCredentials,
                "; give the operator valid AWS credentials, or correct spec.credentials of the EcrRegistry",
            ),
            ErrorKind::AccessDenied => {
                (Reason::AccessDenied, "; allow this action in the IAM policy of the identity that the operator uses")
            }
            ErrorKind::Throttled => (Reason::Throttled, ""),
            ErrorKind::Unreachable => {
                (Reason::Unreachable, "; check the network, spec.endpoints of the EcrRegistry and its caBundle")
            }
            ErrorKind::Limit => (Reason::LimitExceeded, "; ask AWS for a higher quota or use less of it"),
            ErrorKind::PolicyTooLarge => (
                Reason::PolicyTooLarge,
                "; use fewer and coarser patterns, such as team-a/*, in spec.access of the EcrRegistry or in spec.repositories, and fewer session tags",
            ),
            ErrorKind::Invalid => (Reason::InvalidParameter, "; correct the spec"),
            ErrorKind::NotFound | ErrorKind::AlreadyExists | ErrorKind::NotEmpty | ErrorKind::Other => {
                (Reason::Retrying, "")
            }
        };
        let message = format!("{error}{advice}");
        // What exists already, or is gone already, changed between our look and our call: looking again settles it.
        match error.kind {
            ErrorKind::NotFound | ErrorKind::AlreadyExists | ErrorKind::NotEmpty => Self::transient(reason, message),
            _ if error.is_transient() => Self::transient(reason, message),
            _ => Self::stalled(reason, message),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::AccountMismatch { .. } | ConnectError::RegistryMismatch { .. } => {
                Self::stalled(Reason::AccountMismatch, error.to_string())
            }
            ConnectError::RegistryEndpoint(_) | ConnectError::EndpointConflict(_) => {
                Self::stalled(Reason::InvalidSpec, error.to_string())
            }
            ConnectError::Aws(error) => error.into(),
        }
    }
}
