//! Keeps unverified images out of the destinations, and remembers those that are verified.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};

use oci_copy::Engine;

use super::prepare::Prepared;
use super::sync::{Planned, known_destination};
use super::verification::Verification;
use super::{signatures, verdicts};
use crate::api::ImageMirror;
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;

/// How many verified images are remembered.
const MANY: usize = 10_000;

/// The images that were verified, with the fingerprints of the policies: one of several tags, or one whose copy failed, is
/// not verified again and again.
#[derive(Default)]
pub(super) struct Verified(Mutex<HashSet<(String, String)>>);

impl Verified {
    /// Takes note of verified images.
    fn remember(&self, fingerprint: &str, digests: impl Iterator<Item = String>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for digest in digests {
            if known.len() >= MANY {
                known.clear();
            }
            known.insert((fingerprint.to_owned(), digest));
        }
    }

    /// Leaves the images that are not known to be verified.
    fn retain_unknown(&self, fingerprint: &str, digests: &mut BTreeSet<String>) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        digests.retain(|digest| !known.contains(&(fingerprint.to_owned(), digest.clone())));
    }
}

/// Verifies what would be copied, and what is there without having been verified; the steps of what is not verified fail.
/// Each image is verified once, however many tags and destinations want it.
pub(super) async fn refuse_unverified(
    mirror: &ImageMirror,
    context: &Context,
    prepared: &Prepared,
    verification: &Verification,
    engine: &Engine,
    planned: &mut [Result<Planned, Failure>],
) {
    let fingerprint = verification.fingerprint.as_str();
    let unsettled: Vec<BTreeMap<String, String>> = prepared
        .destinations
        .iter()
        .zip(planned.iter())
        .map(|(destination, planned)| {
            let Ok(planned) = planned else { return BTreeMap::new() };
            let known = known_destination(mirror, &destination.registry, &planned.uri);
            verdicts::unsettled(&planned.steps, known, fingerprint)
        })
        .collect();
    let mut digests: BTreeSet<String> = unsettled.iter().flat_map(BTreeMap::values).cloned().collect();
    let verified = &context.copier.verified;
    verified.retain_unknown(fingerprint, &mut digests);
    let unverified = signatures::judge(verification, engine, &prepared.source, digests.clone()).await;
    verified.remember(fingerprint, digests.into_iter().filter(|digest| !unverified.contains_key(digest)));
    for (planned, unsettled) in planned.iter_mut().zip(&unsettled) {
        if let Ok(planned) = planned {
            verdicts::refuse(&mut planned.steps, unsettled, &unverified);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_verified_by_one_policy_is_not_verified_by_another() {
        let verified = Verified::default();
        verified.remember("p", ["a".to_owned(), "b".to_owned()].into_iter());
        let unknown = |fingerprint: &str| {
            let mut digests = ["a", "b", "c"].map(str::to_owned).into();
            verified.retain_unknown(fingerprint, &mut digests);
            digests.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(unknown("p"), ["c"]);
        assert_eq!(unknown("q"), ["a", "b", "c"]);
    }
}
