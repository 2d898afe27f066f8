//! The tags that the status of a mirror has no room for. Only mirrors with `spec.rewrite` need them: pods get all images.
//!
//! They are in memory. After a restart the first look finds them again; until then the policy's bindings tell of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::status::{self, Looked};
use crate::api::{ImageMirror, ImageMirrorStatus, TagState, TagStatus};

/// By the UIDs of mirrors.
#[derive(Default)]
pub(in crate::controllers) struct Unshown(Mutex<HashMap<String, Arc<OfMirror>>>);

/// The tags of one mirror, by the URIs of its repositories.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct OfMirror {
    source: String,
    tags: BTreeMap<String, Vec<TagStatus>>,
}

impl OfMirror {
    /// The tags in one repository.
    pub(in crate::controllers) fn tags(&self, uri: &str) -> &[TagStatus] {
        self.tags.get(uri).map(Vec::as_slice).unwrap_or_default()
    }
}

impl Unshown {
    /// What is known of the mirrors with these UIDs; all else is forgotten.
    pub(in crate::controllers) fn of(&self, uids: &HashSet<String>) -> HashMap<String, Arc<OfMirror>> {
        let mut all = self.lock();
        all.retain(|uid, _| uids.contains(uid));
        all.clone()
    }

    /// The mirror, with a status that has all tags.
    pub(super) fn complete(&self, mirror: &ImageMirror) -> ImageMirror {
        let mut complete = mirror.clone();
        if let Some(of) = self.lock().get(&mirror.uid().unwrap_or_default())
            && let Some(status) = &mut complete.status
            && status.source.as_ref() == Some(&of.source)
        {
            for there in &mut status.destinations {
                let shown: HashSet<String> = there.tags.iter().map(|tag| tag.name.clone()).collect();
                let unshown = there.repository_uri.as_deref().map(|uri| of.tags(uri)).unwrap_or_default();
                there.tags.extend(unshown.iter().filter(|tag| !shown.contains(&tag.name)).cloned());
            }
        }
        complete
    }

    /// Takes in what a look found and its status has no room for. `complete` is the mirror as [`Self::complete`] makes it.
    pub(super) fn remember(&self, complete: &ImageMirror, looked: &Looked, status: &ImageMirrorStatus, now: Timestamp) {
        let uid = complete.uid().unwrap_or_default();
        let mut of = OfMirror { source: complete.spec.source.image.clone(), ..OfMirror::default() };
        if complete.spec.rewrite.is_some() && status.destinations.iter().any(|there| there.more_tags > 0) {
            for (all, shown) in status::all_tags(complete, looked, now).into_iter().zip(&status.destinations) {
                let shown: HashSet<&str> = shown.tags.iter().map(|tag| tag.name.as_str()).collect();
                let unshown = all.tags.into_iter().filter(|tag| !shown.contains(tag.name.as_str()));
                // What went wrong with them is of no use to anybody.
                let unshown = unshown.map(|tag| TagStatus { message: None, ..tag });
                of.tags.extend(all.repository_uri.map(|uri| (uri, unshown.collect())));
            }
        }
        match of.tags.is_empty() {
            true => self.lock().remove(&uid),
            false => self.lock().insert(uid, Arc::new(of)),
        };
    }

    /// Takes in tags that were mirrored before a restart, each with its digest, unless the mirror was looked at since.
    pub(in crate::controllers) fn recall(&self, mirror: &ImageMirror, uri: &str, digests: &BTreeMap<String, String>) {
        let there = mirror.status.iter().flat_map(|status| &status.destinations);
        let there = there.into_iter().find(|there| there.repository_uri.as_deref() == Some(uri) && there.more_tags > 0);
        let (Some(there), Some(uid)) = (there, mirror.uid()) else { return };
        let shown: HashSet<&str> = there.tags.iter().map(|tag| tag.name.as_str()).collect();
        let unshown =
            digests.iter().filter(|(name, _)| !shown.contains(name.as_str())).map(|(name, digest)| TagStatus {
                state: TagState::Mirrored,
                source_digest: Some(digest.clone()),
                digest: Some(digest.clone()),
                ..TagStatus::pending(name)
            });
        let mut all = self.lock();
        let of = all
            .entry(uid)
            .or_insert_with(|| OfMirror { source: mirror.spec.source.image.clone(), ..OfMirror::default() }.into());
        Arc::make_mut(of).tags.entry(uri.to_owned()).or_insert_with(|| unshown.collect());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<OfMirror>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "unshown_tests.rs"]
mod tests;
