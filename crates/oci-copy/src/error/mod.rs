//! What can go wrong between two registries, told so that a person knows what to do and a program knows which it is.

use std::time::{Duration, SystemTime};

use crate::budget::Shortage;
use crate::config::ConfigError;
use crate::digest::Digest;
use crate::platform::Platform;
use crate::reference::{Reference, Repository};

mod refusal;

pub(crate) use refusal::read_error_body;
pub use refusal::{Operation, Place, Refusal};

/// A registry could not be reached, or the connection to it broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportProblem {
    /// The name has no address, or nothing answers there.
    Connect,
    /// The other side's certificate isn't trusted, or there is no TLS in common.
    Tls,
    /// The connection ended early.
    Broken,
}

/// What the engine reports when something fails. [`Error::kind`] sorts it, [`Error::is_transient`] says whether the same
/// may work later.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A registry or token realm answered with an error status.
    #[error("{0}")]
    Refused(Box<Refusal>),

    /// No connection, or a broken one.
    #[error("{place}: {}: {detail}", transport_text(*problem))]
    Transport {
        /// What was being done.
        place: Box<Place>,
        /// What happened.
        problem: TransportProblem,
        /// The innermost causes, without URLs.
        detail: String,
    },

    /// The other side stopped answering.
    #[error("{place}: no {awaited} within {} s", .after.as_secs_f32())]
    Timeout {
        /// What was being done.
        place: Box<Place>,
        /// What didn't come.
        awaited: &'static str,
        /// How long it was waited for.
        after: Duration,
    },

    /// The whole copy took longer than it may.
    #[error("copying {origin} to {destination} was given up after {} s; nothing was tagged", .after.as_secs_f32())]
    DeadlineExceeded {
        /// The source.
        origin: Box<Reference>,
        /// The destination.
        destination: Box<Reference>,
        /// The deadline.
        after: Duration,
    },

    /// The credential source failed.
    #[error("no credentials for {host}: {source}")]
    Credentials {
        /// The registry's host.
        host: String,
        /// What the credential source says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A request would have gone where the configuration doesn't allow it to go.
    #[error("{place}: {problem}")]
    Blocked {
        /// What was being done.
        place: Box<Place>,
        /// Where it would have gone, and what to configure if that is wanted.
        problem: String,
    },

    /// The registry's answer breaks the distribution specification.
    #[error("{place}: the registry's answer makes no sense: {problem}")]
    Protocol {
        /// What was being done.
        place: Box<Place>,
        /// What is wrong with it.
        problem: String,
    },

    /// Bytes don't have the digest that they were asked for by. Nothing was committed.
    #[error("{place}: the content has the digest {actual} instead of {expected}; it was not committed")]
    DigestMismatch {
        /// What was being done.
        place: Box<Place>,
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },

    /// Bytes don't have the size that their descriptor gives. Nothing was committed.
    #[error("{place}: the content has {actual} bytes instead of {expected}; it was not committed")]
    SizeMismatch {
        /// What was being done.
        place: Box<Place>,
        /// The descriptor's size.
        expected: u64,
        /// How many bytes came, at least.
        actual: u64,
    },

    /// A blob's bytes ended early. Nothing was committed.
    #[error("{place}: the content ended after {actual} of {expected} bytes; it was not committed")]
    Truncated {
        /// What was being done.
        place: Box<Place>,
        /// The descriptor's size.
        expected: u64,
        /// How many bytes came.
        actual: u64,
    },

    /// A manifest can't be understood, or it breaks a bound.
    #[error("the manifest {repository}@{digest} can't be copied: {problem}")]
    InvalidManifest {
        /// Where it was read from.
        repository: Box<Repository>,
        /// The manifest.
        digest: Digest,
        /// What is wrong with it.
        problem: String,
    },

    /// The source doesn't have a platform that was asked for.
    #[error("{origin} has no image for {}; it has {}", list(missing), list(available))]
    PlatformNotFound {
        /// The source.
        origin: Box<Reference>,
        /// What was asked for and isn't there.
        missing: Vec<Platform>,
        /// What is there.
        available: Vec<Platform>,
    },

    /// The destination was named by a digest that the copy doesn't have.
    #[error("{destination} can't be written: what would be copied has the digest {actual}")]
    DestinationDigest {
        /// The destination as it was asked for.
        destination: Box<Reference>,
        /// The digest of what would be put there.
        actual: Digest,
    },

    /// A repository has more tags than the engine lists.
    #[error("{repository} has more than {limit} tags")]
    TooManyTags {
        /// The repository.
        repository: Box<Repository>,
        /// [`EngineConfig::max_tags`](crate::EngineConfig::max_tags).
        limit: usize,
    },

    /// The source's pull budget is not enough. Nothing was asked.
    #[error("the pull budget of {host} is not enough now: {shortage}")]
    PullBudget {
        /// The registry's host.
        host: String,
        /// What is there, and when there is more.
        shortage: Box<Shortage>,
    },

    /// The engine's [`Guard`](crate::Guard) keeps requests from the registry. Nothing was asked.
    #[error("{place}: {} is not asked now: {problem}", .place.repository.host())]
    Closed {
        /// What was to be done.
        place: Box<Place>,
        /// What sort of failure it is.
        kind: ErrorKind,
        /// Until when.
        until: SystemTime,
        /// Why.
        problem: String,
    },

    /// A registry's configuration can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Which sort of failure an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The registry says that the repository doesn't exist.
    RepositoryNotFound,
    /// The tag or digest isn't in the repository, or the registry doesn't say whether the repository exists.
    ManifestNotFound,
    /// A manifest names a blob that the repository doesn't have.
    BlobNotFound,
    /// The registry doesn't accept the credentials, or wants some. Many registries say so of missing repositories too.
    Unauthorized,
    /// The credentials aren't allowed to do this.
    Forbidden,
    /// The registry limits the rate; [`Error::retry_at`] says until when, if it said so.
    RateLimited,
    /// The tag exists, names something else, and can't be moved.
    TagImmutable,
    /// The destination doesn't take this manifest.
    ManifestRefused,
    /// Content isn't what its digest or descriptor says.
    DigestMismatch,
    /// The source lacks a platform that was asked for.
    PlatformNotFound,
    /// No connection, or a broken one.
    Unreachable,
    /// A certificate isn't trusted, or there is no TLS in common.
    Tls,
    /// The other side stopped answering.
    Timeout,
    /// The copy's own deadline passed.
    DeadlineExceeded,
    /// The registry answers 5xx or 408.
    Unavailable,
    /// The configuration forbids to send the request there.
    Blocked,
    /// The credential source failed.
    Credentials,
    /// A manifest, reference or configuration can't be used as it is.
    Invalid,
    /// The registry doesn't follow the distribution specification.
    Protocol,
    /// Something else.
    Other,
}

impl Error {
    /// Which sort of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(refusal) => refusal.kind(),
            Self::Transport { problem: TransportProblem::Tls, .. } => ErrorKind::Tls,
            Self::Transport { .. } | Self::Truncated { .. } => ErrorKind::Unreachable,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::DeadlineExceeded { .. } => ErrorKind::DeadlineExceeded,
            Self::Credentials { .. } => ErrorKind::Credentials,
            Self::PullBudget { .. } => ErrorKind::RateLimited,
            Self::Closed { kind, .. } => *kind,
            Self::Blocked { .. } => ErrorKind::Blocked,
            Self::Protocol { .. } => ErrorKind::Protocol,
            Self::DigestMismatch { .. } | Self::SizeMismatch { .. } => ErrorKind::DigestMismatch,
            Self::PlatformNotFound { .. } => ErrorKind::PlatformNotFound,
            Self::InvalidManifest { .. }
            | Self::DestinationDigest { .. }
            | Self::TooManyTags { .. }
            | Self::Config(_) => ErrorKind::Invalid,
        }
    }

    /// Whether the same request may work later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Unreachable
                | ErrorKind::Timeout
                | ErrorKind::DeadlineExceeded
                | ErrorKind::Unavailable
                | ErrorKind::RateLimited
        )
    }

    /// When the registry wants to be asked again, if it said so.
    #[must_use]
    pub fn retry_at(&self) -> Option<SystemTime> {
        match self {
            Self::Refused(refusal) => refusal.retry_at,
            Self::PullBudget { shortage, .. } => Some(shortage.until),
            Self::Closed { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// Whether a pull budget is used up. [`ErrorKind::RateLimited`] without it is a registry that wants fewer requests, of
    /// whatever sort.
    #[must_use]
    pub fn is_pull_limit(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.exhausted,
            Self::PullBudget { .. } => true,
            _ => false,
        }
    }

    /// The HTTP status, if a registry or token realm answered with an error.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(refusal) => Some(refusal.status),
            _ => None,
        }
    }

    /// The operation that failed, if it was one on a registry.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Refused(refusal) => Some(&refusal.place),
            Self::Transport { place, .. }
            | Self::Timeout { place, .. }
            | Self::Blocked { place, .. }
            | Self::Protocol { place, .. }
            | Self::DigestMismatch { place, .. }
            | Self::SizeMismatch { place, .. }
            | Self::Closed { place, .. }
            | Self::Truncated { place, .. } => Some(place),
            _ => None,
        }
    }

    /// Whether trying again within seconds can help: a used-up budget comes back only after hours.
    pub(crate) fn is_worth_retrying(&self) -> bool {
        match self {
            Self::Refused(refusal) if refusal.exhausted => false,
            Self::DeadlineExceeded { .. } | Self::PullBudget { .. } | Self::Closed { .. } => false,
            _ => self.is_transient(),
        }
    }

    /// The name that metrics and logs use for a failure: few values, never text from elsewhere.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self.kind() {
            ErrorKind::RepositoryNotFound => "repository_not_found",
            ErrorKind::ManifestNotFound => "manifest_not_found",
            ErrorKind::BlobNotFound => "blob_not_found",
            ErrorKind::Unauthorized => "unauthorized",
            ErrorKind::Forbidden => "forbidden",
            ErrorKind::RateLimited => "rate_limited",
            ErrorKind::TagImmutable => "tag_immutable",
            ErrorKind::ManifestRefused => "manifest_refused",
            ErrorKind::DigestMismatch => "digest_mismatch",
            ErrorKind::PlatformNotFound => "platform_not_found",
            ErrorKind::Unreachable => "unreachable",
            ErrorKind::Tls => "tls",
            ErrorKind::Timeout => "timeout",
            ErrorKind::DeadlineExceeded => "deadline_exceeded",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Blocked => "blocked",
            ErrorKind::Credentials => "credentials",
            ErrorKind::Invalid => "invalid",
            ErrorKind::Protocol => "protocol",
            ErrorKind::Other => "other",
        }
    }
}

impl Error {
    /// The same error once more, for another who shared the work that failed.
    pub(crate) fn repeated(&self) -> Self {
        match self {
            Self::Refused(refusal) => Self::Refused(refusal.clone()),
            Self::Transport { place, problem, detail } => {
                Self::Transport { place: place.clone(), problem: *problem, detail: detail.clone() }
            }
            Self::Timeout { place, awaited, after } => Self::Timeout { place: place.clone(), awaited, after: *after },
            Self::DeadlineExceeded { origin, destination, after } => {
                Self::DeadlineExceeded { origin: origin.clone(), destination: destination.clone(), after: *after }
            }
            Self::Credentials { host, source } => {
                Self::Credentials { host: host.clone(), source: source.to_string().into() }
            }
            Self::Blocked { place, problem } => Self::Blocked { place: place.clone(), problem: problem.clone() },
            Self::Protocol { place, problem } => Self::Protocol { place: place.clone(), problem: problem.clone() },
            Self::DigestMismatch { place, expected, actual } => {
                Self::DigestMismatch { place: place.clone(), expected: expected.clone(), actual: actual.clone() }
            }
            Self::SizeMismatch { place, expected, actual } => {
                Self::SizeMismatch { place: place.clone(), expected: *expected, actual: *actual }
            }
            Self::Truncated { place, expected, actual } => {
                Self::Truncated { place: place.clone(), expected: *expected, actual: *actual }
            }
            Self::InvalidManifest { repository, digest, problem } => Self::InvalidManifest {
                repository: repository.clone(),
                digest: digest.clone(),
                problem: problem.clone(),
            },
            Self::PlatformNotFound { origin, missing, available } => Self::PlatformNotFound {
                origin: origin.clone(),
                missing: missing.clone(),
                available: available.clone(),
            },
            Self::DestinationDigest { destination, actual } => {
                Self::DestinationDigest { destination: destination.clone(), actual: actual.clone() }
            }
            Self::TooManyTags { repository, limit } => {
                Self::TooManyTags { repository: repository.clone(), limit: *limit }
            }
            Self::PullBudget { host, shortage } => Self::PullBudget { host: host.clone(), shortage: shortage.clone() },
            Self::Closed { place, kind, until, problem } => {
                Self::Closed { place: place.clone(), kind: *kind, until: *until, problem: problem.clone() }
            }
            Self::Config(config) => Self::Config(config.clone()),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

fn transport_text(problem: TransportProblem) -> &'static str {
    match problem {
        TransportProblem::Connect => "can't connect",
        TransportProblem::Tls => "no trusted TLS connection (is the registry's CA bundle configured?)",
        TransportProblem::Broken => "the connection broke",
    }
}

fn list(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<_> = platforms.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// Text from elsewhere on one line, without control characters, and not too long.
pub(crate) fn sanitize(text: &str, max_chars: usize) -> String {
    let mut clean: String = text
        .chars()
        .map(|c| if c.is_control() || c.is_whitespace() { ' ' } else { c })
        // Marks that reorder or hide text have no place in a status or on a terminal.
        .filter(
            |c| !matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'),
        )
        .take(max_chars + 1)
        .collect();
    if clean.chars().count() > max_chars {
        clean = clean.chars().take(max_chars).collect();
        clean.push('…');
    }
    clean
}
