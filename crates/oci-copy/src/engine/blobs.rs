//! Bringing one blob from one repository into another.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use url::Url;

use super::in_flight::{Claim, InFlight, Key, Lead};
use super::started::Started;
use super::tee::{Branch, Ticket};
use crate::client::Session;
use crate::client::blobs::Start;
use crate::client::reader::Turn;
use crate::client::upload::{Failed, Feed, Upload};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Operation, Refusal};
use crate::manifest::Blob;
use crate::progress::{Progress, ProgressEvent};
use crate::reference::Repository;
use crate::retry::retrying_when;

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
    /// The source's registry, and the destination's repository.
    pub(crate) origin: Arc<str>,
    pub(crate) repository: Arc<str>,
    /// The source is on the same registry, so its repository's blobs may be mounted.
    pub(crate) same_registry: bool,
    pub(crate) in_flight: Arc<InFlight>,
    /// For all copies, and for this one.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) own_permits: Arc<Semaphore>,
    /// What is known is not believed any more.
    pub(crate) doubts: AtomicBool,
    /// Something was left out because it was known to be there.
    pub(crate) relied: AtomicBool,
    pub(crate) progress: Progress,
}

/// What a look at the destination showed.
enum Look {
    Done(Outcome),
    /// It is to be sent, perhaps by an upload that has begun.
    Send(Option<Started>),
}

/// What one transfer's tries have in common.
#[derive(Default)]
struct Tries {
    begun: AtomicBool,
    /// What a request was sent with ran out, and has been renewed: just now, and ever.
    late: AtomicBool,
    renewed: AtomicBool,
    looked: AtomicBool,
    /// Reading failed for good: it has tries of its own.
    unreadable: AtomicBool,
    /// The part in a common read, until it is taken or given up.
    ticket: Mutex<Option<Ticket>>,
}

impl Tries {
    fn take_ticket(&self) -> Option<Ticket> {
        self.ticket.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn unreadable(&self, error: Error) -> Error {
        self.unreadable.store(true, Ordering::Relaxed);
        error
    }
}

impl Transfer {
    /// Whether the destination is known to have a blob or manifest.
    pub(crate) fn knows(&self, digest: &Digest) -> bool {
        let knowledge = &self.destination.registry.knowledge;
        let known = !self.doubts.load(Ordering::Relaxed) && knowledge.has(&self.repository, digest);
        if known {
            self.relied.store(true, Ordering::Relaxed);
        }
        known
    }

    /// Whether something was left out because it was known to be there. What is asked again starts anew.
    pub(crate) fn relied(&self) -> bool {
        self.relied.swap(false, Ordering::Relaxed)
    }

    /// The registry proved something of it wrong: from now on this copy looks for itself.
    pub(crate) fn doubt(&self) {
        self.destination.registry.knowledge.forget(&self.repository);
        self.doubts.store(true, Ordering::Relaxed);
    }

    pub(crate) fn learn_manifest(&self, digest: &Digest) {
        self.destination.registry.knowledge.learn(&self.repository, digest);
    }

    /// Brings the blob, unless the destination has it, which may have been told already. With a ticket, it may share its
    /// reading with others, once.
    pub(crate) async fn run(&self, blob: &Blob, told: Option<bool>, ticket: Option<Ticket>) -> Result<Outcome, Error> {
        let told = told.filter(|_| !self.doubts.load(Ordering::Relaxed));
        if told == Some(true) {
            self.relied.store(true, Ordering::Relaxed);
            self.progress.report(ProgressEvent::BlobSkipped { digest: blob.digest.clone(), size: blob.size });
            return Ok(Outcome::Skipped);
        }
        let tries = Tries { ticket: Mutex::new(ticket), ..Tries::default() };
        let attempt = || self.attempt(blob, told, &tries);
        let when = |error: &Error| self.may_pass(error, &tries);
        let outcome = retrying_when(&self.destination.config.retry, when, attempt).await?;
        let (digest, size) = (blob.digest.clone(), blob.size);
        self.progress.report(match outcome {
            Outcome::Copied => ProgressEvent::BlobFinished { digest, size },
            Outcome::Skipped => ProgressEvent::BlobSkipped { digest, size },
            Outcome::Mounted => ProgressEvent::BlobMounted { digest, size },
        });
        Ok(outcome)
    }

    fn may_pass(&self, error: &Error, tries: &Tries) -> bool {
        if tries.unreadable.load(Ordering::Relaxed) {
            return false;
        }
        let uploading = error.place().is_some_and(|place| place.operation == Operation::UploadBlob);
        // A token that ran out between the upload's start and its bytes costs one more try.
        let late_refusal = tries.late.swap(false, Ordering::Relaxed) && !tries.renewed.swap(true, Ordering::Relaxed);
        // An upload that the registry has lost, or wants to hear of no more, is begun anew.
        let lost = uploading && matches!(error.status(), Some(404 | 416));
        let chunks = &self.destination.registry.chunks;
        let too_large = uploading && error.status() == Some(413) && chunks.shrink(chunks.size());
        error.is_worth_retrying() || late_refusal || lost || too_large
    }

    /// One try, with an upload of its own. It begins with a look, since a try before may have succeeded unheard.
    async fn attempt(&self, blob: &Blob, told: Option<bool>, tries: &Tries) -> Result<Outcome, Error> {
        let knowledge = &self.destination.registry.knowledge;
        let lead = loop {
            if self.knows(&blob.digest) {
                return Ok(Outcome::Skipped);
            }
            let registry = Arc::as_ptr(&self.destination.registry) as usize;
            let key = Key { registry, origin: self.origin.clone(), digest: blob.digest.clone() };
            match self.in_flight.claim(key, &self.repository, knowledge.mounts()) {
                Claim::Lead(lead) => break Arc::new(lead),
                Claim::Wait(waiting) => {
                    // Whoever reads it must not wait for us meanwhile.
                    drop(tries.take_ticket());
                    waiting.done().await;
                }
            }
        };
        let outcome = match self.look(blob, told, &lead, tries).await? {
            Look::Done(outcome) => outcome,
            Look::Send(started) => {
                self.send(blob, started, &lead, tries).await?;
                Outcome::Copied
            }
        };
        // Before others hear that it is done.
        knowledge.learn_blob(&self.origin, &self.repository, &blob.digest);
        drop(lead);
        Ok(outcome)
    }

    /// Looks whether the destination has the blob, or can take it over from another of its repositories.
    async fn look(&self, blob: &Blob, told: Option<bool>, lead: &Arc<Lead>, tries: &Tries) -> Result<Look, Error> {
        // After a try that failed nothing is taken for granted: it may have succeeded unheard.
        let absent = told == Some(false) && !tries.looked.swap(true, Ordering::Relaxed);
        let knowledge = &self.destination.registry.knowledge;
        let holder = knowledge.holder(&self.origin, &self.repository, &blob.digest);
        let holder = holder.and_then(|path| Repository::new(self.destination.repository.host(), &path).ok());
        // Where another repository has it, the mount is the look: it succeeds just as well if the blob is there.
        if let Some(from) = holder {
            match self.mount(blob, &from, lead).await? {
                None => return Ok(Look::Done(Outcome::Mounted)),
                Some(mut started) => {
                    // A registry that doesn't mount says nothing of what the repository has.
                    if !absent && self.destination.has_blob(&blob.digest).await? {
                        started.cancel().await;
                        return Ok(Look::Done(Outcome::Skipped));
                    }
                    return Ok(Look::Send(Some(started)));
                }
            }
        }
        if !absent && self.destination.has_blob(&blob.digest).await? {
            return Ok(Look::Done(Outcome::Skipped));
        }
        if self.same_registry {
            return Ok(match self.mount(blob, &self.source.repository, lead).await? {
                None => Look::Done(Outcome::Mounted),
                started => Look::Send(started),
            });
        }
        Ok(Look::Send(None))
    }

    /// Asks for a mount. A registry that refuses to be asked is sent the bytes.
    async fn mount(&self, blob: &Blob, from: &Repository, lead: &Arc<Lead>) -> Result<Option<Started>, Error> {
        let result = match self.start(blob, Some(from), lead).await {
            Err(error) if !error.is_worth_retrying() => self.start(blob, None, lead).await,
            result => result,
        };
        if let Ok(started) = &result {
            self.destination.registry.knowledge.mount_answered(started.is_none());
        }
        result
    }

    async fn send(&self, blob: &Blob, started: Option<Started>, lead: &Arc<Lead>, tries: &Tries) -> Result<(), Error> {
        let branch = match (&blob.data, tries.take_ticket()) {
            (None, Some(ticket)) => ticket.join().await,
            _ => None,
        };
        match branch {
            Some(branch) => self.send_shared(blob, started, branch, lead, tries).await,
            None => self.send_alone(blob, started, lead, tries).await,
        }
    }

    /// What a blob in flight takes of the engine's own limits. They are never closed.
    async fn permits(&self) -> Vec<Box<dyn Send + Sync>> {
        let mut permits: Vec<Box<dyn Send + Sync>> = Vec::new();
        permits.extend(permit(&self.own_permits).await);
        permits.extend(permit(&self.permits).await);
        permits
    }

    /// The same with the turn to read from the source's registry. Who waits for a registry holds nothing that others need.
    async fn turn(&self) -> Turn<Vec<Box<dyn Send + Sync>>> {
        let mut permits: Vec<Box<dyn Send + Sync>> = Vec::new();
        permits.extend(permit(&self.own_permits).await);
        let read = self.source.registry.limits.reads.acquire().await;
        permits.extend(permit(&self.permits).await);
        Turn(permits, read)
    }

    /// Reads the blob, and sends it.
    ///
    /// Permits are taken in the same order everywhere, the reading before the writing, so that no two wait for each
    /// other.
    async fn send_alone(
        &self,
        blob: &Blob,
        started: Option<Started>,
        lead: &Arc<Lead>,
        tries: &Tries,
    ) -> Result<(), Error> {
        if let Some(data) = &blob.data {
            let permits = self.permits().await;
            let started = self.started(blob, started, lead).await?;
            return self.upload(blob, started, Feed::Bytes(Some(data.clone())), permits, tries).await;
        }
        let first = self.turn().await;
        let open = async { Ok(self.source.open_blob(blob, first, || self.turn()).await) };
        match tokio::try_join!(self.started(blob, started, lead), open)? {
            (started, Ok((reader, permits))) => {
                self.upload(blob, started, Feed::Reader(Box::new(reader)), permits, tries).await
            }
            (mut started, Err(error)) => {
                started.cancel().await;
                Err(tries.unreadable(error))
            }
        }
    }

    /// Sends what a common reader reads.
    async fn send_shared(
        &self,
        blob: &Blob,
        started: Option<Started>,
        mut branch: Branch,
        lead: &Arc<Lead>,
        tries: &Tries,
    ) -> Result<(), Error> {
        let ready = async { Ok(branch.ready().await) };
        match tokio::try_join!(self.started(blob, started, lead), ready)? {
            (started, Ok(())) => self.upload(blob, started, Feed::Branch(Box::new(branch)), Vec::new(), tries).await,
            (mut started, Err(error)) => {
                started.cancel().await;
                Err(tries.unreadable(error))
            }
        }
    }

    async fn upload(
        &self,
        blob: &Blob,
        mut started: Started,
        feed: Feed,
        permits: Vec<Box<dyn Send + Sync>>,
        tries: &Tries,
    ) -> Result<(), Error> {
        let Some(location) = started.location().cloned() else { return Ok(()) };
        let write = self.destination.registry.limits.writes.acquire().await;
        if tries.begun.swap(true, Ordering::Relaxed) {
            self.progress.report(ProgressEvent::BlobRestarted { digest: blob.digest.clone() });
        }
        self.progress.report(ProgressEvent::BlobStarted { digest: blob.digest.clone(), size: blob.size });
        let (progress, digest) = (self.progress.clone(), blob.digest.clone());
        let on_bytes = move |bytes| progress.report(ProgressEvent::BlobBytes { digest: digest.clone(), bytes });
        let upload = Upload { location: &location, blob, feed, write: &write, permits, on_bytes: Box::new(on_bytes) };
        match self.destination.upload(upload).await {
            Ok(()) => {
                started.finish();
                Ok(())
            }
            Err(failed) => {
                started.cancel().await;
                Err(match failed {
                    Failed::Reading(error) => tries.unreadable(error),
                    Failed::Sending(error) => error,
                    Failed::Late(error) => {
                        tries.late.store(true, Ordering::Relaxed);
                        error
                    }
                })
            }
        }
    }

    /// An upload that has begun, or a new one.
    async fn started(&self, blob: &Blob, started: Option<Started>, lead: &Arc<Lead>) -> Result<Started, Error> {
        if let Some(started) = started {
            return Ok(started);
        }
        match self.start(blob, None, lead).await {
            Ok(Some(started)) => Ok(started),
            // Without a mount it always starts an upload.
            Ok(None) => Ok(self.upload_at(None, lead)),
            Err(error) => Err(self.explain(error, blob).await),
        }
    }

    async fn start(
        &self,
        blob: &Blob,
        mount_from: Option<&Repository>,
        lead: &Arc<Lead>,
    ) -> Result<Option<Started>, Error> {
        Ok(match self.destination.start_upload(&blob.digest, mount_from).await? {
            Start::Mounted => None,
            Start::Upload(location) => Some(self.upload_at(Some(location), lead)),
        })
    }

    fn upload_at(&self, location: Option<Url>, lead: &Arc<Lead>) -> Started {
        Started::new(self.destination.clone(), location, lead.clone())
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

async fn permit(of: &Arc<Semaphore>) -> Option<Box<dyn Send + Sync>> {
    of.clone().acquire_owned().await.ok().map(|permit| Box::new(permit) as Box<_>)
}
