//! Copies container images from registry to registry.
//!
//! Bytes go from the source to the destination as they come, checked on the way: nothing is written to disk, memory
//! stays bounded whatever a layer's size, and what doesn't have the digest and size that it should have is never
//! committed. Blobs come first, then manifests from the leaves up, then the tag, so a tag never names something
//! incomplete. Manifests stay as they are, byte for byte, unless platforms are left out.
//!
//! The crate speaks the [OCI distribution specification] and knows neither Kubernetes nor a cloud. It knows how Docker
//! Hub names images and how Amazon ECR likes to be pushed to.
//!
//! ```no_run
//! use std::sync::Arc;
//! use oci_copy::{CopyRequest, Credentials, Engine, EngineConfig, PlatformSelection, StaticCredentials};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let ecr = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
//! let credentials = StaticCredentials::new(ecr, Credentials::new("AWS", "an authorization token"));
//! let engine = Engine::new(EngineConfig::default()).with_credentials(Arc::new(credentials));
//!
//! let request = CopyRequest::new("nginx:1.27".parse()?, format!("{ecr}/mirror/nginx:1.27").parse()?)
//!     .platforms(PlatformSelection::only(["linux/amd64".parse()?, "linux/arm64".parse()?]));
//! let report = engine.copy(request).await?;
//! println!("{} is {}, {} bytes were sent", report.source_digest, report.digest, report.bytes_copied);
//! # Ok(())
//! # }
//! ```
//!
//! # What is copied
//! - Images and indexes in OCI's and Docker's current formats (schema 2), indexes within indexes, and artifacts that
//!   are packed as OCI manifests, such as Helm charts. Docker's schema 1 is refused.
//! - Non-distributable (foreign) layers are not: registries don't hold them, and clients fetch them from the URLs in
//!   the manifest, which stay.
//! - With a subset of the platforms, an index loses the entries of the others. The order and all other fields stay. An
//!   attestation (an entry with the annotation `vnd.docker.reference.digest`) stays with the image it is about; any
//!   other entry without a platform goes. An artifact that has no platform is copied as it is.
//!
//! - With [`CopyRequest::referrers`], what refers to the image and to its children: signatures, SBOMs and attestations. One
//!   that can't be copied is in the report, and fails nothing.
//!
//! # When something fails
//! - Whatever may pass is tried again, with growing pauses and no more often than [`RetryConfig`] says; a registry's
//!   `Retry-After` is kept to, for everything that is asked of it. Reading and writing of a blob have tries of their own.
//! - A download that breaks off goes on from where it was, by `Range` where the source knows it, in the same upload.
//!   An upload that a registry lost begins anew.
//! - How much is in flight follows what a registry bears: it grows while answers are quick, and is halved by 429 and 503.
//! - Several destinations of one image ([`Engine::copy_to_all`]) share its reading. One that fails, or is slow, keeps
//!   back no other.
//! - A pull budget that a registry tells of ([`PullBudget`]) is not overspent: what an image needs is reserved first.
//! - What is known of a destination is a shortcut: a registry that refuses a manifest for what it lacks is looked at
//!   again.
//! - Everything has an end: connections, answers, bodies that stand still, commits, and each copy by its
//!   [deadline](CopyRequest::deadline).
//!
//! After a failure, a cancellation or a crash nothing is left to clean up. Copying again goes on with what the
//! destination has.
//!
//! # Trust
//! See [`RegistryConfig`] for where requests and credentials go.
//!
//! TLS is rustls with aws-lc-rs, which also does the hashing.
//!
//! [OCI distribution specification]: https://github.com/opencontainers/distribution-spec/blob/main/spec.md

mod auth;
mod budget;
mod client;
mod config;
mod digest;
mod engine;
mod error;
#[doc(hidden)]
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod guard;
mod limit;
mod manifest;
pub mod media_type;
mod net;
mod platform;
mod progress;
mod reference;
mod retry;
mod subset;
mod trust;

pub use auth::credentials::{Anonymous, CredentialSource, Credentials, StaticCredentials};
pub use budget::{Floor, PullBudget, Purse, Shortage, Why};
pub use config::{ConfigError, EngineConfig, RegistryConfig, RetryConfig, WriteGate};
pub use digest::{Algorithm, Digest, DigestError};
pub use engine::Engine;
pub use engine::contents::Contents;
pub use engine::index::DestinationIndex;
pub use engine::request::{
    CopyReport, CopyRequest, Descriptor, Missing, RateLimit, RawManifest, ReferrerDescriptor, ReferrerOutcome,
    ReferrerReport,
};
pub use error::{Error, ErrorKind, Operation, Place, Refusal, TransportProblem};
pub use guard::{Closed, Guard};
pub use platform::{Platform, PlatformError, PlatformSelection};
pub use progress::{Progress, ProgressEvent};
pub use reference::{DOCKER_HUB, Reference, ReferenceError, Repository};
