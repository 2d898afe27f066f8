//! Finds the signatures of images at their source, and has them judged.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::{StreamExt as _, stream};
use oci_copy::{Descriptor, Digest, Engine, Error, ErrorKind, Repository};

use super::failure::from_engine;
use super::verdicts;
use super::verification::Verification;
use crate::api::conditions::Reason;
use crate::controllers::failure::Failure;
use crate::verify::simple::SimpleSignature;
use crate::verify::{Signature, Signer, bundle, simple};

/// How many images are verified at once.
const AT_ONCE: usize = 8;

/// How many signatures of one image are looked at in each form. Some images are signed again each night.
const MOST: usize = 50;

/// The largest signed text or bundle that is read, in bytes. Those of signatures have a few thousand.
const LARGEST: usize = 1 << 20;

/// Verifies images of a repository, which are named by their digests. What comes back are those that are not verified, each
/// with the reason.
pub(super) async fn judge(
    verification: &Verification,
    engine: &Engine,
    source: &Repository,
    digests: BTreeSet<String>,
) -> BTreeMap<String, Failure> {
    stream::iter(digests)
        .map(|digest| async move {
            match verify(verification, engine, source, &digest).await {
                Ok(signer) => {
                    tracing::info!(%source, digest, %signer, "verified");
                    None
                }
                Err(failure) => Some((digest, failure)),
            }
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await
}

/// Whose signature makes an image acceptable. Bundles are looked for only where no classic signature does.
async fn verify(
    verification: &Verification,
    engine: &Engine,
    source: &Repository,
    digest: &str,
) -> Result<Signer, Failure> {
    let digest: Digest = digest
        .parse()
        .map_err(|error| Failure::stalled(Reason::NotVerified, format!("{digest} can't be verified: {error}")))?;
    let failed = |error: Error| from_engine(&error, source.host());
    let classic = classic(engine, source, &digest).await.map_err(failed)?;
    let mut rejections = match verification.policy.verify(&digest, &classic) {
        Ok(signer) => return Ok(signer),
        Err(rejections) => rejections,
    };
    let unlisted = match bundles(engine, source, &digest).await {
        Ok(bundles) => match verification.policy.verify(&digest, &bundles) {
            Ok(signer) => return Ok(signer),
            Err(more) => {
                rejections.extend(more);
                None
            }
        },
        // Not every registry lets everybody list what refers to an image, and some know no such question.
        Err(error) if !error.is_transient() && error.kind() != ErrorKind::RateLimited => Some(error.to_string()),
        Err(error) => return Err(failed(error)),
    };
    Err(verdicts::failure(&digest, &rejections, unlisted.as_deref()))
}

/// The signatures under the tag that cosign makes of the digest.
async fn classic(engine: &Engine, source: &Repository, digest: &Digest) -> Result<Vec<Signature>, Error> {
    // No tag is long enough for a digest of SHA-512.
    let Ok(tag) = source.with_tag(&simple::tag(digest)) else { return Ok(Vec::new()) };
    let Some(manifest) = engine.read_manifest(&tag).await? else { return Ok(Vec::new()) };
    // The text is the same for all signatures of an image, unless they carry annotations.
    let mut texts: HashMap<Digest, Result<Vec<u8>, String>> = HashMap::new();
    let mut signatures = Vec::new();
    for simple::Layer { payload, annotations } in simple::layers(&manifest.bytes).into_iter().take(MOST) {
        if !texts.contains_key(&payload.digest) {
            let text = read(engine, source, &payload).await?;
            texts.insert(payload.digest.clone(), text);
        }
        signatures.push(match &texts[&payload.digest] {
            Ok(payload) => Signature::Simple(SimpleSignature { payload: payload.clone(), annotations }),
            Err(problem) => Signature::Unreadable(problem.clone()),
        });
    }
    Ok(signatures)
}

/// The bundles that refer to the image and may be signatures.
async fn bundles(engine: &Engine, source: &Repository, digest: &Digest) -> Result<Vec<Signature>, Error> {
    let referrers = engine.referrers(source, digest).await?;
    let may_be_one = referrers.into_iter().filter(|referrer| {
        referrer.artifact_type.as_deref().is_none_or(|kind| kind.starts_with(bundle::MEDIA_TYPE_PREFIX))
            && referrer.annotations.get(bundle::PREDICATE_TYPE).is_none_or(|predicate| predicate == bundle::SIGNED)
    });
    let mut signatures = Vec::new();
    for referrer in may_be_one.take(MOST) {
        let Some(manifest) = engine.read_manifest(&source.with_digest(referrer.manifest.digest)).await? else {
            continue;
        };
        let Some(blob) = bundle::blob(&manifest.bytes) else { continue };
        signatures.push(match read(engine, source, &blob).await? {
            Ok(json) => Signature::Bundle(json),
            Err(problem) => Signature::Unreadable(problem),
        });
    }
    Ok(signatures)
}

/// Reads a small blob. The inner error is why it never can be: it spoils no other signature.
async fn read(engine: &Engine, source: &Repository, blob: &Descriptor) -> Result<Result<Vec<u8>, String>, Error> {
    if blob.size > LARGEST as u64 {
        return Ok(Err(format!("it has more than {LARGEST} bytes")));
    }
    match engine.read_blob(source, blob, LARGEST).await {
        Ok(bytes) => Ok(Ok(bytes.to_vec())),
        Err(error) if error.is_transient() || error.kind() == ErrorKind::RateLimited => Err(error),
        Err(error) => Ok(Err(error.to_string())),
    }
}

#[cfg(test)]
#[path = "signatures_tests.rs"]
mod tests;
