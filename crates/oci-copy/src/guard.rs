//! Hearing how registries answer, and keeping requests back from those that want none.

use std::time::SystemTime;

use crate::error::{Error, ErrorKind};

/// Hears how registries answer, and may keep requests back. It is called in the midst of requests, and must be quick.
///
/// Hosts are written as in image references.
pub trait Guard: Send + Sync {
    /// Whether a registry may be asked for something now. It isn't asked about blobs and about what is written: a copy
    /// that sends bytes goes on.
    ///
    /// # Errors
    /// When it is not to be asked: the operation ends with this.
    fn admit(&self, host: &str) -> Result<(), Closed>;

    /// A registry answered, whatever it said.
    fn answered(&self, host: &str);

    /// A registry could not be reached, did not answer in time, or wants fewer requests: [`Error::kind`] tells which. A
    /// pull budget that is used up is none of these.
    fn failed(&self, host: &str, error: &Error);
}

/// Why a registry is not asked now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// What sort of failure it is: [`ErrorKind::RateLimited`] or [`ErrorKind::Unreachable`].
    pub kind: ErrorKind,
    /// Until when.
    pub until: SystemTime,
    /// Why, in words that follow a colon.
    pub problem: String,
}
