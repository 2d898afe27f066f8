//! Exit codes, so that scripts can tell failures apart. docs/cli.md lists them.

use std::process::ExitCode;

use oci_copy::ErrorKind;

/// Why a command failed, as its exit code says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Something that has no code of its own, or several different failures.
    Other = 1,
    /// The command line can't be understood. clap exits with the same.
    Usage = 2,
    /// The image, the tag, the platform or the repository isn't there.
    NotFound = 3,
    /// There are no credentials, they are wrong, or they don't suffice.
    Credentials = 4,
    /// A registry limits the rate.
    RateLimited = 5,
    /// It may work later: a registry was not reached, or has a problem.
    Temporary = 6,
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        Self::from(failure as u8)
    }
}

impl From<&oci_copy::Error> for Failure {
    fn from(error: &oci_copy::Error) -> Self {
        match error.kind() {
            ErrorKind::RepositoryNotFound
            | ErrorKind::ManifestNotFound
            | ErrorKind::BlobNotFound
            | ErrorKind::PlatformNotFound => Self::NotFound,
            ErrorKind::Unauthorized | ErrorKind::Forbidden | ErrorKind::Credentials => Self::Credentials,
            ErrorKind::RateLimited => Self::RateLimited,
            _ if error.is_transient() => Self::Temporary,
            _ => Self::Other,
        }
    }
}

/// The code for several failures: theirs if they agree.
pub(super) fn of_all(failures: impl IntoIterator<Item = Failure>) -> Option<Failure> {
    failures.into_iter().reduce(|one, other| if one == other { one } else { Failure::Other })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_failures_have_a_code_of_their_own_only_if_they_agree() {
        use Failure::{NotFound, Other, RateLimited};
        assert_eq!(of_all([]), None);
        assert_eq!(of_all([RateLimited, RateLimited]), Some(RateLimited));
        assert_eq!(of_all([RateLimited, NotFound, RateLimited]), Some(Other));
    }
}
