//! The image that is copied: its manifests, each read once however many destinations want it. What can't be read is an
//! error for all of them, and isn't tried again for each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::client::Session;
use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::{Content, MAX_BYTES, Manifest, platform_of_config};
use crate::media_type::{is_image_config, is_index};
use crate::platform::{Platform, PlatformSelection};
use crate::reference::Reference;
use crate::subset::{Fate, Tally, decide, rewrite};

/// Indexes within indexes go no deeper than this.
pub(crate) const MAX_DEPTH: usize = 4;
/// One image has no more manifests than these.
const MAX_MANIFESTS: usize = 2_000;
/// All manifests of one image together are no larger than this, in bytes.
const MAX_ALL_BYTES: usize = 64 << 20;

/// Where an image is copied from.
pub(crate) struct Source {
    pub(crate) session: Arc<Session>,
    pub(crate) reference: Reference,
    digest: tokio::sync::Mutex<Option<Result<Digest, Error>>>,
    manifests: Mutex<Manifests>,
}

#[derive(Default)]
struct Manifests {
    by_digest: HashMap<Digest, Slot>,
    bytes: usize,
}

type Slot = Arc<tokio::sync::Mutex<Option<Result<Arc<Manifest>, Error>>>>;

/// What came of reading, for the next who asks.
fn again<T: Clone>(known: &Result<T, Error>) -> Result<T, Error> {
    match known {
        Ok(known) => Ok(known.clone()),
        Err(error) => Err(error.repeated()),
    }
}

impl Source {
    pub(crate) fn new(session: Arc<Session>, reference: Reference) -> Self {
        Self { session, reference, digest: Default::default(), manifests: Default::default() }
    }

    /// The digest that the reference names. Whatever the tag names later, this is what is copied.
    pub(crate) async fn digest(&self) -> Result<Digest, Error> {
        if let Some(digest) = self.reference.digest() {
            return Ok(digest.clone());
        }
        let mut known = self.digest.lock().await;
        if let Some(known) = &*known {
            return again(known);
        }
        again(known.insert(self.look_up().await))
    }

    async fn look_up(&self) -> Result<Digest, Error> {
        let key = self.reference.manifest_key();
        if let Some(descriptor) = self.session.head_manifest(key).await? {
            return Ok(descriptor.digest);
        }
        // GET has words for what is missing.
        let manifest = self.session.get_manifest(key).await?;
        let digest = manifest.digest.clone();
        self.keep(Arc::new(manifest))?;
        Ok(digest)
    }

    /// A manifest of the image.
    pub(crate) async fn manifest(&self, digest: &Digest) -> Result<Arc<Manifest>, Error> {
        let slot = self.slot(digest)?;
        let mut known = slot.lock().await;
        if let Some(known) = &*known {
            return again(known);
        }
        let read = async {
            let manifest = Arc::new(self.session.get_manifest(digest.as_str()).await?);
            self.account(&manifest)?;
            Ok(manifest)
        };
        again(known.insert(read.await))
    }

    /// A manifest that an index names, which must have the size that the index says.
    pub(crate) async fn child(&self, digest: &Digest, size: u64) -> Result<Arc<Manifest>, Error> {
        let manifest = self.manifest(digest).await?;
        let actual = manifest.bytes.len() as u64;
        if actual == size {
            Ok(manifest)
        } else {
            Err(self.invalid(digest, format!("it has {actual} bytes, but the index that names it says {size}")))
        }
    }

    /// Reserves what is to be read of some manifests of an index, which are so deep below the root.
    pub(crate) async fn expect(&self, digests: impl Iterator<Item = &Digest>, depth: usize) -> Result<(), Error> {
        let Some(pulls) = self.session.pulls() else { return Ok(()) };
        let manifests = digests.filter(|digest| !self.has_read(digest)).count();
        let root = match depth {
            1 => Some(self.digest().await?),
            _ => None,
        };
        pulls.expect(manifests, root.as_ref()).map_err(|shortage| self.session.short(shortage))
    }

    /// Whether a manifest was read, for another destination for one.
    fn has_read(&self, digest: &Digest) -> bool {
        let manifests = self.manifests.lock().unwrap_or_else(PoisonError::into_inner);
        manifests.by_digest.get(digest).is_some_and(|slot| slot.try_lock().is_ok_and(|known| known.is_some()))
    }

    fn slot(&self, digest: &Digest) -> Result<Slot, Error> {
        let mut manifests = self.manifests.lock().unwrap_or_else(PoisonError::into_inner);
        if manifests.by_digest.len() >= MAX_MANIFESTS && !manifests.by_digest.contains_key(digest) {
            return Err(self.invalid(digest, format!("the image has more than {MAX_MANIFESTS} manifests")));
        }
        Ok(manifests.by_digest.entry(digest.clone()).or_default().clone())
    }

    fn account(&self, manifest: &Manifest) -> Result<(), Error> {
        let mut manifests = self.manifests.lock().unwrap_or_else(PoisonError::into_inner);
        manifests.bytes += manifest.bytes.len();
        if manifests.bytes > MAX_ALL_BYTES {
            let problem = format!("the image's manifests have more than {MAX_ALL_BYTES} bytes together");
            return Err(self.invalid(&manifest.digest, problem));
        }
        Ok(())
    }

    /// Remembers a manifest that was read or made some other way.
    fn keep(&self, manifest: Arc<Manifest>) -> Result<(), Error> {
        self.account(&manifest)?;
        let slot = self.slot(&manifest.digest)?;
        if let Ok(mut known) = slot.try_lock() {
            *known = Some(Ok(manifest));
        }
        Ok(())
    }

    pub(crate) fn invalid(&self, digest: &Digest, problem: String) -> Error {
        Error::InvalidManifest {
            repository: Box::new(self.session.repository.clone()),
            digest: digest.clone(),
            problem,
        }
    }

    /// The image's root manifest with the platforms that were asked for. It is the source's own, byte for byte, unless
    /// something has to be left out.
    pub(crate) async fn select(&self, platforms: &PlatformSelection) -> Result<Arc<Manifest>, Error> {
        let root = self.manifest(&self.digest().await?).await?;
        let PlatformSelection::Only(wanted) = platforms else { return Ok(root) };
        let mut tally = Tally::default();
        let selected = match &root.content {
            Content::Index(_) => self.select_index(root, wanted, &mut tally, 0).await?,
            Content::Image { config, .. } if is_image_config(&config.media_type) => {
                let bytes = self.session.read_blob(config, MAX_BYTES).await?;
                let platform = platform_of_config(&bytes).map_err(|problem| self.invalid(&root.digest, problem))?;
                tally.wants(wanted, &platform).then_some(root)
            }
            // An artifact, such as a chart, is for every platform.
            Content::Image { .. } => return Ok(root),
        };
        let missing = tally.missing(wanted);
        match selected {
            Some(selected) if missing.is_empty() => Ok(selected),
            _ => {
                let origin = Box::new(self.reference.clone());
                Err(Error::PlatformNotFound { origin, missing, available: tally.available() })
            }
        }
    }

    /// What of an index was asked for; none if nothing was.
    fn select_index<'a>(
        &'a self,
        index: Arc<Manifest>,
        wanted: &'a [Platform],
        tally: &'a mut Tally,
        depth: usize,
    ) -> BoxFuture<'a, Result<Option<Arc<Manifest>>, Error>> {
        async move {
            if depth >= MAX_DEPTH {
                return Err(self.invalid(&index.digest, format!("it lies more than {MAX_DEPTH} indexes deep")));
            }
            let mut nested = HashMap::new();
            for entry in index.entries().iter().filter(|entry| is_index(&entry.media_type)) {
                let child = self.child(&entry.digest, entry.size).await?;
                if let Some(selected) = self.select_index(child, wanted, tally, depth + 1).await? {
                    let fate = if selected.digest == entry.digest {
                        Fate::Keep
                    } else {
                        Fate::Replace { digest: selected.digest.clone(), size: selected.bytes.len() as u64 }
                    };
                    nested.insert(entry.digest.clone(), fate);
                }
            }
            let fates = decide(index.entries(), wanted, tally, &nested);
            if fates.iter().all(|fate| *fate == Fate::Drop) {
                return Ok(None);
            }
            let invalid = |problem| self.invalid(&index.digest, problem);
            let Some(bytes) = rewrite(&index.bytes, &fates).map_err(invalid)? else { return Ok(Some(index)) };
            let digest = Digest::sha256(&bytes);
            let manifest = Arc::new(Manifest::read(bytes, digest, Some(&index.media_type)).map_err(invalid)?);
            self.keep(manifest.clone())?;
            Ok(Some(manifest))
        }
        .boxed()
    }
}
