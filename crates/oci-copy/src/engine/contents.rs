//! What an image consists of.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};

use super::source::{MAX_DEPTH, Source};
use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::{Entry, Manifest};
use crate::platform::PlatformSelection;

/// Manifests of one image that are read at once.
const AT_ONCE: usize = 4;

/// What an image consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// How many manifests it has, its index included.
    pub manifests: usize,
    /// Its layers and configurations, each with its size in bytes.
    pub blobs: BTreeMap<Digest, u64>,
}

impl Contents {
    fn add(&mut self, manifest: &Manifest) {
        self.manifests += 1;
        self.blobs.extend(manifest.blobs().map(|blob| (blob.digest.clone(), blob.size)));
    }
}

/// Reads the manifests of an image.
pub(super) async fn contents(source: &Source, platforms: &PlatformSelection) -> Result<Contents, Error> {
    let root = match platforms {
        PlatformSelection::All => source.manifest(&source.digest().await?).await?,
        PlatformSelection::Only(_) => source.select(platforms).await?,
    };
    let mut contents = Contents::default();
    contents.add(&root);
    let mut seen: HashSet<Digest> = HashSet::from([root.digest.clone()]);
    let mut level: Vec<Entry> = root.entries().to_vec();
    let mut depth = 1;
    while !level.is_empty() {
        if depth > MAX_DEPTH {
            return Err(source.invalid(&root.digest, format!("its indexes lie more than {MAX_DEPTH} deep")));
        }
        level.retain(|entry| seen.insert(entry.digest.clone()));
        let reads = std::mem::take(&mut level)
            .into_iter()
            .map(|entry| async move { source.child(&entry.digest, entry.size).await });
        let found: Vec<Arc<Manifest>> = futures::stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        for manifest in found {
            contents.add(&manifest);
            level.extend_from_slice(manifest.entries());
        }
        depth += 1;
    }
    Ok(contents)
}
