//! What a copy is asked for, and what it reports.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::index::DestinationIndex;
use crate::auth::credentials::CredentialSource;
use crate::digest::Digest;
use crate::platform::PlatformSelection;
use crate::progress::Progress;
use crate::reference::Reference;

/// One image to copy.
#[derive(Clone)]
#[non_exhaustive]
pub struct CopyRequest {
    /// Where it is read from. With a digest, that digest is copied, whatever the tag names.
    pub source: Reference,
    /// Where it is written to. With a tag, the tag is put last. With a digest, the copy must have that digest.
    pub destination: Reference,
    /// Which platforms are copied. Default: all.
    pub platforms: PlatformSelection,
    /// Credentials for reading, if they aren't the engine's.
    pub source_credentials: Option<Arc<dyn CredentialSource>>,
    /// Credentials for writing, if they aren't the engine's.
    pub destination_credentials: Option<Arc<dyn CredentialSource>>,
    /// Whether what refers to the image and to its children is copied too: signatures, SBOMs and attestations, found by
    /// the referrers API or its fallback tag, and the tags that cosign makes (`.sig`, `.att`, `.sbom`). They are looked
    /// for at every copy, even of an unchanged image, which costs a few requests for each of its manifests. Default: no.
    pub referrers: bool,
    /// Who tells what the destination has, in batches. Default: the registry is asked.
    pub destination_index: Option<Arc<dyn DestinationIndex>>,
    /// How long the copy may take altogether. Default: 1 hour.
    pub deadline: Duration,
    /// Where its progress is told. Default: nowhere.
    pub progress: Progress,
}

impl CopyRequest {
    /// Copies `source` to `destination`, all of it.
    #[must_use]
    pub fn new(source: Reference, destination: Reference) -> Self {
        Self {
            source,
            destination,
            platforms: PlatformSelection::All,
            source_credentials: None,
            destination_credentials: None,
            referrers: false,
            destination_index: None,
            deadline: Duration::from_secs(3600),
            progress: Progress::none(),
        }
    }

    /// Copies only these platforms.
    #[must_use]
    pub fn platforms(mut self, platforms: PlatformSelection) -> Self {
        self.platforms = platforms;
        self
    }

    /// Reads with these credentials.
    #[must_use]
    pub fn source_credentials(mut self, credentials: Arc<dyn CredentialSource>) -> Self {
        self.source_credentials = Some(credentials);
        self
    }

    /// Writes with these credentials.
    #[must_use]
    pub fn destination_credentials(mut self, credentials: Arc<dyn CredentialSource>) -> Self {
        self.destination_credentials = Some(credentials);
        self
    }

    /// Copies what refers to the image, too, or doesn't.
    #[must_use]
    pub fn referrers(mut self, referrers: bool) -> Self {
        self.referrers = referrers;
        self
    }

    /// Asks this index what the destination has, before it asks the registry.
    #[must_use]
    pub fn destination_index(mut self, index: Arc<dyn DestinationIndex>) -> Self {
        self.destination_index = Some(index);
        self
    }

    /// Gives up after this time.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Tells its progress.
    #[must_use]
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
    }
}

impl fmt::Debug for CopyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyRequest")
            .field("source", &self.source)
            .field("destination", &self.destination)
            .field("platforms", &self.platforms)
            .field("referrers", &self.referrers)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// What a copy did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyReport {
    /// The digest that the source reference named.
    pub source_digest: Digest,
    /// The digest that the destination reference names now. It is the source's unless platforms were left out.
    pub digest: Digest,
    /// The media type of the destination's manifest.
    pub media_type: String,
    /// Whether the destination had all of it before.
    pub unchanged: bool,
    /// Blobs whose bytes were sent.
    pub blobs_copied: u64,
    /// Blobs that the destination had.
    pub blobs_skipped: u64,
    /// Blobs that the destination took over from another of its repositories.
    pub blobs_mounted: u64,
    /// The sizes of the blobs that were sent, in bytes.
    pub bytes_copied: u64,
    /// Manifests that were put.
    pub manifests_put: u64,
    /// Manifests that the destination had, with all below them.
    pub manifests_skipped: u64,
    /// What became of each that refers to the image, if [`CopyRequest::referrers`] asked for them. What their copies sent
    /// is not in the numbers above.
    pub referrers: Vec<ReferrerReport>,
}

impl CopyReport {
    pub(crate) fn empty(digest: &Digest) -> Self {
        Self {
            source_digest: digest.clone(),
            digest: digest.clone(),
            media_type: String::new(),
            unchanged: false,
            blobs_copied: 0,
            blobs_skipped: 0,
            blobs_mounted: 0,
            bytes_copied: 0,
            manifests_put: 0,
            manifests_skipped: 0,
            referrers: Vec::new(),
        }
    }
}

/// What became of one that refers to an image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReferrerReport {
    /// The manifest that it refers to: the image, one of its children, or another referrer.
    pub subject: Digest,
    /// The referrer; none if the source didn't say what there is.
    pub digest: Option<Digest>,
    /// The tag that it has, if it was found by one of cosign's tags.
    pub tag: Option<String>,
    /// What it is, if the source says so.
    pub artifact_type: Option<String>,
    /// How it ended.
    pub outcome: ReferrerOutcome,
}

/// How the copy of a referrer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReferrerOutcome {
    /// The destination has it now.
    Copied,
    /// The destination had it.
    Present,
    /// The destination doesn't take it, or something went wrong on the way. The image was copied all the same.
    Failed {
        /// The error's text.
        message: String,
    },
}

/// A manifest as a registry describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Descriptor {
    /// Its media type, without parameters.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl Descriptor {
    /// A manifest of this media type, digest and size in bytes.
    #[must_use]
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self { media_type: media_type.into(), digest, size }
    }
}

/// A manifest as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RawManifest {
    /// Its media type, without parameters.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// All of it.
    pub bytes: Bytes,
}

/// A manifest that refers to another one, as the registry lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReferrerDescriptor {
    /// The manifest that refers.
    pub manifest: Descriptor,
    /// What it is, if the list says so.
    pub artifact_type: Option<String>,
    /// Its annotations, as far as the list has them.
    pub annotations: BTreeMap<String, String>,
}

/// What a registry says about a manifest that isn't there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Missing {
    /// The repository doesn't exist.
    Repository,
    /// The repository exists, the tag or digest doesn't.
    Manifest,
    /// The registry doesn't say which.
    Unknown,
}

/// A registry's pull budget, as Docker Hub tells it in its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimit {
    /// Pulls in a window.
    pub limit: Option<u64>,
    /// Pulls left in the window.
    pub remaining: Option<u64>,
    /// The window's length.
    pub window: Option<Duration>,
    /// When the registry said so.
    pub observed_at: std::time::SystemTime,
}
