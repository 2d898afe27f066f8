//! What a copy tells while it runs.

use std::fmt;
use std::sync::Arc;

use crate::digest::Digest;

/// One step of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgressEvent {
    /// What there is to do is known. Blobs that turn out to be in the destination are reported as skipped later.
    Planned {
        /// Manifests that the destination lacks.
        manifests: usize,
        /// Different blobs of these manifests.
        blobs: usize,
        /// The blobs' sizes together.
        bytes: u64,
    },
    /// A blob's bytes begin to flow.
    BlobStarted {
        /// The blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// Bytes of a blob went on to the destination.
    BlobBytes {
        /// The blob.
        digest: Digest,
        /// How many bytes since the event before.
        bytes: u64,
    },
    /// A blob's transfer failed and starts over: bytes told before don't count.
    BlobRestarted {
        /// The blob.
        digest: Digest,
    },
    /// The destination has committed a blob.
    BlobFinished {
        /// The blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// The destination had the blob already.
    BlobSkipped {
        /// The blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// The destination took the blob over from another of its repositories.
    BlobMounted {
        /// The blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// The destination has taken a manifest.
    ManifestPut {
        /// The manifest.
        digest: Digest,
        /// The tag it was put by; none when it was put by its digest.
        tag: Option<String>,
    },
    /// The destination had the manifest already, and all below it.
    ManifestSkipped {
        /// The manifest.
        digest: Digest,
    },
}

/// Where the events of a copy go. Clones share the same receiver.
///
/// It is called from the copy's own tasks, so it must return at once.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<dyn Fn(ProgressEvent) + Send + Sync>>);

impl Progress {
    /// Events go to `sink`.
    pub fn new(sink: impl Fn(ProgressEvent) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(sink)))
    }

    /// Events go nowhere.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    pub(crate) fn report(&self, event: ProgressEvent) {
        if let Some(sink) = &self.0 {
            sink(event);
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Progress(..)" } else { "Progress(none)" })
    }
}
