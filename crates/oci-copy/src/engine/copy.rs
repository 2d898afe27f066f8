//! One copy, from the first look to the tag.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt, TryStreamExt};

use super::blobs::{Outcome, Transfer};
use super::index::Lookup;
use super::plan::plan;
use super::request::{CopyReport, CopyRequest};
use super::source::Source;
use super::tee::{Seat, Ticket};
use crate::client::Session;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Operation};
use crate::manifest::Manifest;
use crate::platform::PlatformSelection;
use crate::progress::{Progress, ProgressEvent};
use crate::reference::Reference;

/// Blobs of one copy that are looked at, waited for or sent at once. How many are sent is limited elsewhere.
const MANY_BLOBS: usize = 64;

/// A copy to one destination.
pub(crate) struct Copy {
    pub(crate) source: Arc<Source>,
    pub(crate) destination: Reference,
    pub(crate) transfer: Arc<Transfer>,
    pub(crate) platforms: PlatformSelection,
    pub(crate) progress: Progress,
    referrers: bool,
    lookup: Lookup,
    /// Its place among other destinations of the same image, if there are any.
    seat: Mutex<Option<Seat>>,
}

impl Copy {
    pub(crate) fn new(
        source: Arc<Source>,
        destination: Reference,
        transfer: Transfer,
        request: &CopyRequest,
        seat: Option<Seat>,
    ) -> Self {
        Self {
            source,
            destination,
            transfer: Arc::new(transfer),
            platforms: request.platforms.clone(),
            progress: request.progress.clone(),
            referrers: request.referrers,
            lookup: Lookup(request.destination_index.clone()),
            seat: Mutex::new(seat),
        }
    }

    pub(super) fn session(&self) -> &Arc<Session> {
        &self.transfer.destination
    }

    /// Blobs, then manifests from the leaves up, then the tag. Whatever fails on the way, the tag isn't put.
    pub(crate) async fn run(self) -> Result<CopyReport, Error> {
        let (source_digest, tagged) = tokio::try_join!(self.source.digest(), self.tagged())?;
        let root = match &self.platforms {
            PlatformSelection::All => Root::Whole(source_digest.clone()),
            PlatformSelection::Only(_) => Root::Selected(self.source.select(&self.platforms).await?),
        };
        if self.destination.digest().is_some_and(|wanted| wanted != root.digest()) {
            let (destination, actual) = (Box::new(self.destination.clone()), root.digest().clone());
            return Err(Error::DestinationDigest { destination, actual });
        }
        let mut report = CopyReport::empty(root.digest());
        report.source_digest = source_digest;
        if let Some((digest, media_type)) = tagged
            && digest == report.digest
        {
            drop(self.take_seat());
            let mut report = self.unchanged(report, media_type);
            if self.referrers {
                let root = match self.session().find_manifest(&digest).await? {
                    Some(root) => Arc::new(root),
                    None => self.source.manifest(&digest).await?,
                };
                report.referrers = self.bring_referrers(&root).await;
            }
            return Ok(report);
        }
        match self.complete(&root, report.clone()).await {
            // The registry lacks what it was known to have: that counts no longer, and everything is looked at again.
            Err(error) if self.transfer.relied() && is_incomplete(&error) => {
                tracing::debug!(error = %error, "what was known of the destination is not so, looking again");
                self.transfer.doubt();
                self.complete(&root, report).await
            }
            result => result,
        }
    }

    /// Brings what is missing, and puts the tag.
    async fn complete(&self, root: &Root, mut report: CopyReport) -> Result<CopyReport, Error> {
        let root = self.bring(root, &mut report).await?;
        report.media_type.clone_from(&root.media_type);
        if self.referrers {
            // What refers to it comes after it, and before the tag.
            if !report.unchanged && self.destination.tag().is_some() {
                self.put(root.digest.as_str(), &root).await?;
                report.manifests_put += 1;
            }
            report.referrers = self.bring_referrers(&root).await;
        }
        // A destination without a tag that had the digest has all that was asked for.
        if self.destination.tag().is_none() && report.unchanged {
            return Ok(report);
        }
        report.unchanged = false;
        let key = self.destination.tag().unwrap_or(root.digest.as_str());
        self.put(key, &root).await?;
        report.manifests_put += 1;
        Ok(report)
    }

    /// What the destination's tag names now.
    async fn tagged(&self) -> Result<Option<(Digest, String)>, Error> {
        let Some(tag) = self.destination.tag() else { return Ok(None) };
        let mut told = self.lookup.manifests(self.session(), &[tag.to_owned()]).await;
        let found = match told.remove(tag) {
            Some(found) => found,
            None => self.session().head_manifest(tag).await?,
        };
        Ok(found.map(|descriptor| (descriptor.digest, descriptor.media_type)))
    }

    fn unchanged(&self, mut report: CopyReport, media_type: String) -> CopyReport {
        self.progress.report(ProgressEvent::ManifestSkipped { digest: report.digest.clone() });
        report.media_type = media_type;
        report.unchanged = true;
        report.manifests_skipped += 1;
        report
    }

    /// Brings all that the root names, and returns the root, which isn't put yet. A root that the destination has under
    /// another tag is read from there: it is complete, and reading it costs the source nothing. The same request tells of a
    /// repository that doesn't exist, before anything is read from the source in vain.
    async fn bring(&self, root: &Root, report: &mut CopyReport) -> Result<Arc<Manifest>, Error> {
        if let Some(manifest) = self.session().find_manifest(root.digest()).await? {
            drop(self.take_seat());
            self.progress.report(ProgressEvent::ManifestSkipped { digest: manifest.digest.clone() });
            report.manifests_skipped += 1;
            report.unchanged = true;
            return Ok(Arc::new(manifest));
        }
        let root = match root {
            Root::Selected(manifest) => manifest.clone(),
            Root::Whole(digest) => self.source.manifest(digest).await?,
        };
        self.bring_below(&root, report).await?;
        Ok(root)
    }

    /// Brings all that a manifest names, and not the manifest itself.
    pub(super) async fn bring_below(&self, root: &Arc<Manifest>, report: &mut CopyReport) -> Result<(), Error> {
        let plan = plan(&self.source, &self.transfer, &self.lookup, root).await?;
        self.progress.report(ProgressEvent::Planned {
            manifests: 1 + plan.steps.iter().map(Vec::len).sum::<usize>(),
            blobs: plan.blobs.len(),
            bytes: plan.blobs.iter().map(|blob| blob.size).fold(0, u64::saturating_add),
        });
        for digest in plan.present {
            self.progress.report(ProgressEvent::ManifestSkipped { digest });
            report.manifests_skipped += 1;
        }

        let mut tickets: HashMap<Digest, Ticket> = match self.take_seat() {
            Some(seat) => plan.blobs.iter().map(|blob| blob.digest.clone()).zip(seat.take(&plan.blobs)).collect(),
            None => HashMap::new(),
        };
        let digests: Vec<Digest> = plan.blobs.iter().map(|blob| blob.digest.clone()).collect();
        let told = self.lookup.blobs(self.session(), &digests).await;
        let transfers = plan.blobs.into_iter().map(|blob| {
            let (transfer, ticket) = (self.transfer.clone(), tickets.remove(&blob.digest));
            let told = told.get(&blob.digest).copied();
            async move { transfer.run(&blob, told, ticket).await.map(|outcome| (blob, outcome)) }
        });
        let mut outcomes = futures::stream::iter(transfers).buffer_unordered(MANY_BLOBS);
        while let Some((blob, outcome)) = outcomes.try_next().await? {
            match outcome {
                Outcome::Copied => {
                    report.blobs_copied += 1;
                    report.bytes_copied += blob.size;
                }
                Outcome::Skipped => report.blobs_skipped += 1,
                Outcome::Mounted => report.blobs_mounted += 1,
            }
        }

        let concurrency = self.session().config.max_manifests_per_copy.max(1);
        for step in plan.steps {
            let puts = step.iter().map(|manifest| self.put(manifest.digest.as_str(), manifest));
            let puts: Vec<_> = puts.collect();
            let done: Vec<()> = futures::stream::iter(puts).buffer_unordered(concurrency).try_collect().await?;
            report.manifests_put += done.len() as u64;
            step.iter().for_each(|manifest| self.transfer.learn_manifest(&manifest.digest));
        }
        Ok(())
    }

    /// Who takes it decides; as long as it is there, others wait for what this copy will want.
    fn take_seat(&self) -> Option<Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) async fn put(&self, key: &str, manifest: &Manifest) -> Result<(), Error> {
        self.session().put_manifest(key, manifest).await?;
        let tag = (key != manifest.digest.as_str()).then(|| key.to_owned());
        self.progress.report(ProgressEvent::ManifestPut { digest: manifest.digest.clone(), tag });
        Ok(())
    }
}

/// Whether a registry refuses a manifest, perhaps for something that it names and that isn't there.
fn is_incomplete(error: &Error) -> bool {
    error.place().is_some_and(|place| place.operation == Operation::PutManifest)
        && matches!(error.status(), Some(400 | 404 | 405 | 409 | 412 | 422))
        && error.kind() != ErrorKind::TagImmutable
}

/// The manifest that the destination's reference will name.
enum Root {
    /// The source's, which needn't be read if the destination has it.
    Whole(Digest),
    /// The source's, or what is left of it.
    Selected(Arc<Manifest>),
}

impl Root {
    fn digest(&self) -> &Digest {
        match self {
            Self::Whole(digest) => digest,
            Self::Selected(manifest) => &manifest.digest,
        }
    }
}
