//! Bringing one blob from one repository into another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use url::Url;

use super::in_flight::InFlight;
use crate::client::Session;
use crate::client::blobs::Start;
use crate::client::upload::BlobReader;
use crate::error::{Error, ErrorKind, Operation, Refusal};
use crate::manifest::Blob;
use crate::progress::{Progress, ProgressEvent};
use crate::retry::retrying_when;

/// How long the cancelling of an upload may take; nothing depends on it.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// How a blob came to be in the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Copied,
    Skipped,
    Mounted,
}

/// What the transfers of one copy have in common.
pub(crate) struct Transfer {
    pub(crate) source: Arc<Session>,
    pub(crate) destination: Arc<Session>,
    /// The source is on the same registry, so its repository's blobs may be mounted.
    pub(crate) mount_from: Option<String>,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) progress: Progress,
}

impl Transfer {
    /// Brings the blob, unless the destination has it.
    pub(crate) async fn run(&self, blob: &Blob) -> Result<Outcome, Error> {
        let _turn = self.in_flight.turn(&self.destination.repository, &blob.digest).await;
        let started = AtomicBool::new(false);
        let refused_once = AtomicBool::new(false);
        let when = |error: &Error| {
            let uploading = error.place().is_some_and(|place| place.operation == Operation::UploadBlob);
            // A token that ran out between the upload's start and its bytes costs one more try.
            let late_refusal =
                uploading && error.kind() == ErrorKind::Unauthorized && !refused_once.swap(true, Ordering::Relaxed);
            // An upload that the registry has lost, or wants to hear of no more, is begun anew.
            let lost = uploading && matches!(error.status(), Some(404 | 416));
            error.is_worth_retrying() || late_refusal || lost
        };
        let outcome = retrying_when(&self.destination.config.retry, when, || self.attempt(blob, &started)).await?;
        let (digest, size) = (blob.digest.clone(), blob.size);
        self.progress.report(match outcome {
            Outcome::Copied => ProgressEvent::BlobFinished { digest, size },
            Outcome::Skipped => ProgressEvent::BlobSkipped { digest, size },
            Outcome::Mounted => ProgressEvent::BlobMounted { digest, size },
        });
        Ok(outcome)
    }

    /// One try, with an upload of its own. It begins with a look, since a try before may have succeeded unheard.
    async fn attempt(&self, blob: &Blob, started: &AtomicBool) -> Result<Outcome, Error> {
        // Nobody waits for a turn, or between two tries, with a permit in hand.
        let _permit = self.permits.acquire().await;
        if self.destination.has_blob(&blob.digest).await? {
            return Ok(Outcome::Skipped);
        }
        let (mut upload, reader) = match &self.mount_from {
            Some(from) => match self.mount(blob, from).await? {
                None => return Ok(Outcome::Mounted),
                Some(mut upload) => match self.open(blob).await {
                    Ok(reader) => (upload, reader),
                    Err(error) => {
                        upload.cancel().await;
                        return Err(error);
                    }
                },
            },
            None => match tokio::join!(self.start(blob, None), self.open(blob)) {
                (Ok(Some(upload)), Ok(reader)) => (upload, reader),
                (Ok(upload), Err(error)) => {
                    if let Some(mut upload) = upload {
                        upload.cancel().await;
                    }
                    return Err(error);
                }
                (Ok(None), Ok(_)) => return Ok(Outcome::Mounted),
                (Err(error), _) => return Err(self.explain(error, blob).await),
            },
        };
        if started.swap(true, Ordering::Relaxed) {
            self.progress.report(ProgressEvent::BlobRestarted { digest: blob.digest.clone() });
        }
        self.progress.report(ProgressEvent::BlobStarted { digest: blob.digest.clone(), size: blob.size });
        let (progress, digest) = (self.progress.clone(), blob.digest.clone());
        let on_bytes = move |bytes| progress.report(ProgressEvent::BlobBytes { digest: digest.clone(), bytes });
        let Some(location) = upload.location.clone() else { return Ok(Outcome::Mounted) };
        match self.destination.upload(&location, reader, on_bytes).await {
            Ok(()) => {
                upload.location = None;
                Ok(Outcome::Copied)
            }
            Err(error) => {
                upload.cancel().await;
                Err(error)
            }
        }
    }

    /// Asks for a mount. A registry that refuses to be asked is sent the bytes.
    async fn mount(&self, blob: &Blob, from: &str) -> Result<Option<Upload>, Error> {
        match self.start(blob, Some(from)).await {
            Err(error) if !error.is_worth_retrying() => self.start(blob, None).await,
            result => result,
        }
    }

    async fn start(&self, blob: &Blob, mount_from: Option<&str>) -> Result<Option<Upload>, Error> {
        Ok(match self.destination.start_upload(&blob.digest, mount_from).await? {
            Start::Mounted => None,
            Start::Upload(location) => Some(Upload { session: self.destination.clone(), location: Some(location) }),
        })
    }

    async fn open(&self, blob: &Blob) -> Result<BlobReader, Error> {
        let (place, answer) = self.source.open_blob(&blob.digest, blob.size).await?;
        Ok(BlobReader { place, answer, digest: blob.digest.clone(), size: blob.size })
    }

    /// ECR hangs up on an upload to a repository that doesn't exist. It says so when it is asked for a manifest.
    async fn explain(&self, error: Error, blob: &Blob) -> Error {
        let hung_up = error.kind() == ErrorKind::Unreachable
            && error.place().is_some_and(|place| place.operation == Operation::StartUpload);
        if !hung_up {
            return error;
        }
        match self.destination.why_missing(blob.digest.as_str()).await {
            Ok(crate::Missing::Repository) => Refusal {
                place: self.destination.place(Operation::StartUpload, None),
                status: 404,
                code: Some("NAME_UNKNOWN".to_owned()),
                message: None,
                retry_at: None,
                note: None,
                exhausted: false,
            }
            .into(),
            _ => error,
        }
    }
}

/// An upload that the registry waits for. Unless it is finished, the registry is told not to wait any longer.
struct Upload {
    session: Arc<Session>,
    location: Option<Url>,
}

impl Upload {
    async fn cancel(&mut self) {
        if let Some(location) = self.location.take() {
            let _ = tokio::time::timeout(CANCEL_TIMEOUT, self.session.cancel_upload(location)).await;
        }
    }
}

impl Drop for Upload {
    /// The copy was dropped halfway: the registry hears of it from a task of its own, if there is a runtime left.
    fn drop(&mut self) {
        let Some(location) = self.location.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let session = self.session.clone();
            runtime.spawn(async move {
                let _ = tokio::time::timeout(CANCEL_TIMEOUT, session.cancel_upload(location)).await;
            });
        }
    }
}
