//! What a destination lacks of an image, and in which order it gets it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};

use super::blobs::Transfer;
use super::index::Lookup;
use super::source::{MAX_DEPTH, Source};
use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::{Blob, Entry, Manifest};

/// The work that brings an image into a repository.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Blobs that the manifests below need, each once, the largest first.
    pub(crate) blobs: Vec<Blob>,
    /// Manifests below the root that the repository lacks. All that a manifest names is in the repository or in a step
    /// before its own.
    pub(crate) steps: Vec<Vec<Arc<Manifest>>>,
    /// Manifests below the root that the repository has.
    pub(crate) present: Vec<Digest>,
}

/// Looks what the destination has, and reads from the source what it lacks.
///
/// A manifest that the destination has is not read: a registry takes a manifest only when it has all that it names.
pub(crate) async fn plan(
    source: &Arc<Source>,
    transfer: &Transfer,
    lookup: &Lookup,
    root: &Arc<Manifest>,
) -> Result<Plan, Error> {
    let destination = &transfer.destination;
    let mut lacking: HashMap<Digest, Arc<Manifest>> = HashMap::new();
    let mut present = Vec::new();
    let mut seen: HashSet<Digest> = HashSet::from([root.digest.clone()]);
    let mut level: Vec<Entry> = root.entries().to_vec();
    let mut depth = 1;
    while !level.is_empty() {
        if depth > MAX_DEPTH {
            return Err(source.invalid(&root.digest, format!("its indexes lie more than {MAX_DEPTH} deep")));
        }
        level.retain(|entry| seen.insert(entry.digest.clone()));
        let keys: Vec<String> = level.iter().map(|entry| entry.digest.to_string()).collect();
        let told = lookup.manifests(destination, &keys).await;
        let looks = std::mem::take(&mut level).into_iter().map(|entry| {
            let destination = destination.clone();
            let told = match told.get(entry.digest.as_str()) {
                Some(found) => Some(found.is_some()),
                None => transfer.knows(&entry.digest).then_some(true),
            };
            async move {
                let present = match told {
                    Some(present) => present,
                    None => destination.head_manifest(entry.digest.as_str()).await?.is_some(),
                };
                Ok::<_, Error>((entry, present))
            }
        });
        let concurrency = destination.config.max_manifests_per_copy.max(1);
        // In the index's order, so that plans and requests come out the same every time.
        let found: Vec<_> = futures::stream::iter(looks).buffered(concurrency).try_collect().await?;
        let (there, wanted): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, present)| *present);
        present.extend(there.into_iter().map(|(entry, _)| entry.digest));
        source.expect(wanted.iter().map(|(entry, _)| &entry.digest), depth).await?;
        let reads = wanted.into_iter().map(|(entry, _)| {
            let source = source.clone();
            async move { source.child(&entry.digest, entry.size).await }
        });
        let read: Vec<_> = futures::stream::iter(reads).buffered(concurrency).try_collect().await?;
        for manifest in read {
            level.extend_from_slice(manifest.entries());
            lacking.insert(manifest.digest.clone(), manifest);
        }
        depth += 1;
    }
    let blobs = blobs(root, &lacking).map_err(|problem| source.invalid(&root.digest, problem))?;
    Ok(Plan { blobs, steps: steps(root, &lacking), present })
}

/// The blobs of the root and of what is lacking.
fn blobs(root: &Manifest, lacking: &HashMap<Digest, Arc<Manifest>>) -> Result<Vec<Blob>, String> {
    let mut by_digest: HashMap<&Digest, &Blob> = HashMap::new();
    for blob in root.blobs().chain(lacking.values().flat_map(|manifest| manifest.blobs())) {
        let first = by_digest.entry(&blob.digest).or_insert(blob);
        if first.size != blob.size {
            return Err(format!("it gives the blob {} two sizes, {} and {}", blob.digest, first.size, blob.size));
        }
    }
    let mut blobs: Vec<Blob> = by_digest.into_values().cloned().collect();
    // A large blob that starts last is waited for alone.
    blobs.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.digest.cmp(&b.digest)));
    Ok(blobs)
}

/// The lacking manifests, deepest first.
fn steps(root: &Manifest, lacking: &HashMap<Digest, Arc<Manifest>>) -> Vec<Vec<Arc<Manifest>>> {
    let mut heights: HashMap<&Digest, usize> = HashMap::new();
    let mut steps: Vec<Vec<Arc<Manifest>>> = Vec::new();
    let mut order: Vec<&Digest> = Vec::new();
    for entry in root.entries() {
        height(&entry.digest, lacking, &mut heights, &mut order);
    }
    for digest in order {
        let (height, manifest) = (heights[digest], &lacking[digest]);
        if steps.len() <= height {
            steps.resize_with(height + 1, Vec::new);
        }
        steps[height].push(manifest.clone());
    }
    steps
}

/// How many steps must come before a manifest's own. There are no circles, since a digest can't be in its own content,
/// and the depth is bounded.
fn height<'a>(
    digest: &'a Digest,
    lacking: &'a HashMap<Digest, Arc<Manifest>>,
    heights: &mut HashMap<&'a Digest, usize>,
    order: &mut Vec<&'a Digest>,
) -> Option<usize> {
    if let Some(height) = heights.get(digest) {
        return Some(*height);
    }
    let manifest = lacking.get(digest)?;
    let below = manifest.entries().iter().filter_map(|entry| height(&entry.digest, lacking, heights, order)).max();
    let own = below.map_or(0, |below| below + 1);
    heights.insert(digest, own);
    order.push(digest);
    Some(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media_type::{OCI_INDEX, OCI_MANIFEST};
    use bytes::Bytes;

    fn read(json: String, media_type: &str) -> Arc<Manifest> {
        let bytes = Bytes::from(json);
        let digest = Digest::sha256(&bytes);
        Arc::new(Manifest::read(bytes, digest, Some(media_type)).unwrap())
    }

    fn image(blobs: &[(&str, u64)]) -> Arc<Manifest> {
        let blob = |(name, size): &(&str, u64)| {
            format!(r#"{{"mediaType":"l","digest":"{}","size":{size}}}"#, Digest::sha256(name.as_bytes()))
        };
        let layers: Vec<_> = blobs[1..].iter().map(blob).collect();
        read(
            format!(r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#, blob(&blobs[0]), layers.join(",")),
            OCI_MANIFEST,
        )
    }

    fn index(children: &[&Arc<Manifest>]) -> Arc<Manifest> {
        let entry = |child: &&Arc<Manifest>| {
            format!(
                r#"{{"mediaType":"{}","digest":"{}","size":{}}}"#,
                child.media_type,
                child.digest,
                child.bytes.len()
            )
        };
        let entries: Vec<_> = children.iter().map(entry).collect();
        read(format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(",")), OCI_INDEX)
    }

    fn lacking(manifests: &[&Arc<Manifest>]) -> HashMap<Digest, Arc<Manifest>> {
        manifests.iter().map(|manifest| (manifest.digest.clone(), (*manifest).clone())).collect()
    }

    #[test]
    fn what_a_manifest_names_comes_in_a_step_before_it() {
        let (a, b) = (image(&[("a", 1)]), image(&[("b", 1)]));
        let inner = index(&[&b]);
        // `b` is named on two levels.
        let root = index(&[&inner, &a, &b]);
        let steps = steps(&root, &lacking(&[&inner, &a, &b]));
        let digests: Vec<Vec<&Digest>> = steps.iter().map(|step| step.iter().map(|m| &m.digest).collect()).collect();
        assert_eq!(digests, [vec![&b.digest, &a.digest], vec![&inner.digest]]);
    }

    #[test]
    fn what_the_destination_has_is_in_no_step() {
        let (a, b) = (image(&[("a", 1)]), image(&[("b", 1)]));
        let root = index(&[&a, &b]);
        let steps = steps(&root, &lacking(&[&b]));
        assert_eq!(steps.len(), 1);
        assert_eq!(steps[0][0].digest, b.digest);
    }

    #[test]
    fn a_blob_comes_once_and_the_largest_first() {
        let (a, b) = (image(&[("config", 5), ("shared", 7)]), image(&[("config", 5), ("shared", 7), ("own", 9)]));
        let root = index(&[&a, &b]);
        let blobs = blobs(&root, &lacking(&[&a, &b])).unwrap();
        assert_eq!(blobs.iter().map(|blob| blob.size).collect::<Vec<_>>(), [9, 7, 5]);
    }

    #[test]
    fn a_blob_with_two_sizes_is_refused() {
        let (a, b) = (image(&[("config", 5)]), image(&[("config", 6)]));
        let root = index(&[&a, &b]);
        assert!(blobs(&root, &lacking(&[&a, &b])).unwrap_err().contains("two sizes"));
    }
}
