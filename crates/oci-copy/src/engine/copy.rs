//! One copy, from the first look to the tag.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt, TryStreamExt};

use super::blobs::{Outcome, Transfer};
use super::plan::plan;
use super::request::{CopyReport, CopyRequest};
use super::source::Source;
use super::tee::{Seat, Ticket};
use crate::client::Session;
use crate::digest::Digest;
use crate::error::Error;
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
            seat: Mutex::new(seat),
        }
    }

    fn session(&self) -> &Arc<Session> {
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
        let mut report = CopyReport {
            source_digest,
            digest: root.digest().clone(),
            media_type: String::new(),
            unchanged: false,
            blobs_copied: 0,
            blobs_skipped: 0,
            blobs_mounted: 0,
            bytes_copied: 0,
            manifests_put: 0,
            manifests_skipped: 0,
        };
        if let Some((digest, media_type)) = tagged
            && digest == report.digest
        {
            return Ok(self.unchanged(report, media_type));
        }
        let root = self.bring(root, &mut report).await?;
        report.media_type.clone_from(&root.media_type);
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
        let found = self.session().head_manifest(tag).await?;
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
    async fn bring(&self, root: Root, report: &mut CopyReport) -> Result<Arc<Manifest>, Error> {
        if let Some(manifest) = self.session().find_manifest(root.digest()).await? {
            self.progress.report(ProgressEvent::ManifestSkipped { digest: manifest.digest.clone() });
            report.manifests_skipped += 1;
            report.unchanged = true;
            return Ok(Arc::new(manifest));
        }
        let root = match root {
            Root::Selected(manifest) => manifest,
            Root::Whole(digest) => self.source.manifest(&digest).await?,
        };
        let plan = plan(&self.source, self.session(), &root).await?;
        self.progress.report(ProgressEvent::Planned {
            manifests: 1 + plan.steps.iter().map(Vec::len).sum::<usize>(),
            blobs: plan.blobs.len(),
            bytes: plan.blobs.iter().map(|blob| blob.size).fold(0, u64::saturating_add),
        });
        for digest in plan.present {
            self.progress.report(ProgressEvent::ManifestSkipped { digest });
            report.manifests_skipped += 1;
        }

        let seat = self.seat.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut tickets: HashMap<Digest, Ticket> = match seat {
            Some(seat) => plan.blobs.iter().map(|blob| blob.digest.clone()).zip(seat.take(&plan.blobs)).collect(),
            None => HashMap::new(),
        };
        let transfers = plan.blobs.into_iter().map(|blob| {
            let (transfer, ticket) = (self.transfer.clone(), tickets.remove(&blob.digest));
            async move { transfer.run(&blob, ticket).await.map(|outcome| (blob, outcome)) }
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
        }
        Ok(root)
    }

    async fn put(&self, key: &str, manifest: &Manifest) -> Result<(), Error> {
        self.session().put_manifest(key, manifest).await?;
        let tag = (key != manifest.digest.as_str()).then(|| key.to_owned());
        self.progress.report(ProgressEvent::ManifestPut { digest: manifest.digest.clone(), tag });
        Ok(())
    }
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
