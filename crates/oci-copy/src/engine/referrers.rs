//! Bringing what refers to an image: signatures, SBOMs and attestations, by the referrers API or cosign's tags.

use std::collections::HashSet;
use std::sync::Arc;

use futures::StreamExt;

use super::copy::Copy;
use super::request::{CopyReport, ReferrerOutcome, ReferrerReport};
use crate::client::referrers::{Referrer, fallback_tag, with_entry};
use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::Manifest;
use crate::media_type::{OCI_INDEX, is_index};

/// A signature of an SBOM refers to what refers to an image; no deeper.
const MAX_DEPTH: usize = 3;
/// Manifests of one image whose referrers are brought at once.
const AT_ONCE: usize = 8;
/// What cosign writes beside an image, as tags made from its digest.
const COSIGN: [&str; 3] = ["sig", "att", "sbom"];

impl Copy {
    /// Brings what refers to the image and to its children. What can't be brought is reported, and fails nothing.
    pub(super) async fn bring_referrers(&self, root: &Arc<Manifest>) -> Vec<ReferrerReport> {
        let mut subjects = vec![root.digest.clone()];
        subjects.extend(self.children(root).await);
        let mut seen: HashSet<Digest> = subjects.iter().cloned().collect();
        let mut all = Vec::new();
        for _ in 0..MAX_DEPTH {
            let of_each: Vec<_> = subjects.iter().map(|subject| self.bring_referrers_of(subject)).collect();
            let reports: Vec<_> = futures::stream::iter(of_each).buffered(AT_ONCE).collect().await;
            let reports: Vec<ReferrerReport> = reports.into_iter().flatten().collect();
            subjects = reports.iter().filter_map(|report| report.digest.clone()).collect();
            subjects.retain(|digest| seen.insert(digest.clone()));
            all.extend(reports);
            if subjects.is_empty() {
                break;
            }
        }
        all
    }

    /// The manifests below an index.
    async fn children(&self, root: &Arc<Manifest>) -> Vec<Digest> {
        let mut found = Vec::new();
        let mut level = vec![root.clone()];
        for _ in 0..super::source::MAX_DEPTH {
            let mut next = Vec::new();
            for entry in level.iter().flat_map(|index| index.entries()) {
                found.push(entry.digest.clone());
                if is_index(&entry.media_type)
                    && let Ok(child) = self.source.child(&entry.digest, entry.size).await
                {
                    next.push(child);
                }
            }
            level = next;
        }
        found
    }

    async fn bring_referrers_of(&self, subject: &Digest) -> Vec<ReferrerReport> {
        let mut reports = Vec::new();
        let report = |digest: Option<Digest>, tag, artifact_type, outcome: Result<ReferrerOutcome, Error>| {
            let failed = |error: Error| ReferrerOutcome::Failed { message: error.to_string() };
            let outcome = outcome.unwrap_or_else(failed);
            ReferrerReport { subject: subject.clone(), digest, tag, artifact_type, outcome }
        };
        match self.source.session.referrers(subject).await {
            Ok(referrers) => {
                for referrer in referrers {
                    let outcome = self.bring_referrer(subject, &referrer).await;
                    let digest = Some(referrer.entry.digest.clone());
                    reports.push(report(digest, None, referrer.artifact_type(), outcome));
                }
            }
            Err(error) => reports.push(report(None, None, None, Err(error))),
        }
        for suffix in COSIGN {
            let tag = format!("{}.{suffix}", fallback_tag(subject));
            match self.bring_tag(&tag).await {
                Ok(None) => {}
                Ok(Some((digest, outcome))) => reports.push(report(Some(digest), Some(tag), None, Ok(outcome))),
                Err(error) => reports.push(report(None, Some(tag), None, Err(error))),
            }
        }
        reports
    }

    async fn bring_referrer(&self, subject: &Digest, referrer: &Referrer) -> Result<ReferrerOutcome, Error> {
        let digest = &referrer.entry.digest;
        let mut outcome = ReferrerOutcome::Present;
        if self.session().head_manifest(digest.as_str()).await?.is_none() {
            let manifest = self.source.child(digest, referrer.entry.size).await?;
            self.bring_below(&manifest, &mut CopyReport::empty(digest)).await?;
            self.put(digest.as_str(), &manifest).await?;
            outcome = ReferrerOutcome::Copied;
        }
        if !self.session().lists_referrers(subject).await? {
            self.list_by_tag(subject, referrer).await?;
        }
        Ok(outcome)
    }

    /// Lists a referrer under the fallback tag. One at a time in a registry: the index is read, changed and put.
    async fn list_by_tag(&self, subject: &Digest, referrer: &Referrer) -> Result<(), Error> {
        let _turn = self.session().registry.fallback_turn.lock().await;
        let index = self.session().fallback_index(subject).await?;
        let Some(bytes) = with_entry(index.as_ref(), referrer) else { return Ok(()) };
        let digest = Digest::sha256(&bytes);
        let media_type = index.map_or_else(|| OCI_INDEX.to_owned(), |index| index.media_type);
        let invalid = |problem| self.source.invalid(subject, problem);
        let index = Manifest::read(bytes.into(), digest, Some(&media_type)).map_err(invalid)?;
        self.put(&fallback_tag(subject), &index).await
    }

    /// Brings what a tag names, if the source has it.
    async fn bring_tag(&self, tag: &str) -> Result<Option<(Digest, ReferrerOutcome)>, Error> {
        let Some(there) = self.source.session.head_manifest(tag).await? else { return Ok(None) };
        let here = self.session().head_manifest(tag).await?;
        if here.is_some_and(|here| here.digest == there.digest) {
            return Ok(Some((there.digest, ReferrerOutcome::Present)));
        }
        let manifest = self.source.manifest(&there.digest).await?;
        self.bring_below(&manifest, &mut CopyReport::empty(&there.digest)).await?;
        self.put(tag, &manifest).await?;
        Ok(Some((there.digest, ReferrerOutcome::Copied)))
    }
}
