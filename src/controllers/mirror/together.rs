//! Images that several destinations want: each is read once, and goes to all of them at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use oci_copy::{CopyRequest, PlatformSelection, Reference};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::apply::{self, Ended};
use super::plan::Step;
use super::prepare::Prepared;
use super::progress::Tracker;
use crate::api::conditions::Reason;
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;
use crate::ecr::Ecr;

/// An image, and where it goes.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    tag: String,
    source_digest: String,
    targets: Vec<Target>,
}

/// One of the destinations of an image.
#[derive(Clone, Debug)]
struct Target {
    /// Its place in the spec.
    number: usize,
    ecr: Arc<Ecr>,
    reference: Reference,
}

/// The tags that are copied to several of these destinations, with the numbers of these. `None`: nothing goes there.
///
/// A tag that is backed up before it moves has a copy of its own, and so has every destination after the first in one
/// registry: what one identity may do another may not.
fn wanted_by_several(steps: &[Option<(&str, &BTreeMap<String, Step>)>]) -> BTreeMap<String, Vec<usize>> {
    let mut wanted: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut hosts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (number, (host, steps)) in steps.iter().enumerate().filter_map(|(number, it)| Some((number, (*it)?))) {
        let copies = steps.iter().filter(|(_, step)| matches!(step, Step::Copy { backup: None, .. }));
        for (tag, _) in copies {
            if hosts.entry(tag).or_default().insert(host) {
                wanted.entry(tag.clone()).or_default().push(number);
            }
        }
    }
    wanted.retain(|_, numbers| numbers.len() > 1);
    wanted
}

/// What is done in one destination, as far as it matters here.
pub(super) struct Planned<'p> {
    pub(super) ecr: &'p Arc<Ecr>,
    pub(super) references: &'p BTreeMap<String, Reference>,
    pub(super) steps: &'p mut BTreeMap<String, Step>,
}

/// Takes the copies out of the plans that several destinations want.
pub(super) fn take(mut planned: Vec<Option<Planned<'_>>>) -> Vec<Shared> {
    let steps: Vec<_> = planned.iter().map(|it| it.as_ref().map(|it| (it.ecr.host.as_str(), &*it.steps))).collect();
    let wanted = wanted_by_several(&steps);
    let mut all = Vec::new();
    for (tag, numbers) in wanted {
        let (mut targets, mut digest) = (Vec::new(), None);
        for number in numbers {
            let Some(planned) = planned.get_mut(number).and_then(Option::as_mut) else { continue };
            let Some(reference) = planned.references.get(&tag).cloned() else { continue };
            let Some(Step::Copy { source_digest, .. }) = planned.steps.remove(&tag) else { continue };
            digest = Some(source_digest);
            targets.push(Target { number, ecr: planned.ecr.clone(), reference });
        }
        all.extend(digest.map(|source_digest| Shared { tag, source_digest, targets }));
    }
    all
}

/// Copies the images. Says of each destination, by its number, how each tag ended.
pub(super) async fn copy(
    context: &Context,
    prepared: &Prepared,
    source: &BTreeMap<String, Reference>,
    tracker: &Tracker,
    shared: Vec<Shared>,
) -> Vec<(usize, String, Ended)> {
    let at_once = context.copier.limits.of_one_mirror();
    let copies = shared.into_iter().map(|image| copy_one(context, prepared, source, tracker, image));
    let copies: Vec<_> = copies.collect();
    stream::iter(copies).buffer_unordered(at_once).collect::<Vec<_>>().await.into_iter().flatten().collect()
}

async fn copy_one(
    context: &Context,
    prepared: &Prepared,
    source: &BTreeMap<String, Reference>,
    tracker: &Tracker,
    image: Shared,
) -> Vec<(usize, String, Ended)> {
    let results = results(context, prepared, source, tracker, &image).await;
    let mut ended = Vec::new();
    for (target, result) in image.targets.iter().zip(results) {
        let outcome = match result {
            Ok(mirrored) => Ended::Mirrored(mirrored),
            Err(failure) => Ended::Failed(failure),
        };
        let outcome = apply::told(context, outcome);
        tracker.part(target.number).ended(&image.tag, &outcome, true);
        ended.push((target.number, image.tag.clone(), outcome));
    }
    ended
}

async fn results(
    context: &Context,
    prepared: &Prepared,
    source: &BTreeMap<String, Reference>,
    tracker: &Tracker,
    image: &Shared,
) -> Vec<Result<apply::Mirrored, Failure>> {
    let all = |failure: Failure| image.targets.iter().map(|_| Err(failure.clone())).collect();
    let ecrs: Vec<&Arc<Ecr>> = image.targets.iter().map(|target| &target.ecr).collect();
    let engine = match context.copier.for_destinations(&prepared.reader, &ecrs) {
        Ok(engine) => engine,
        Err(error) => return all(Failure::stalled(Reason::InvalidSpec, error.to_string())),
    };
    let source = match apply::pinned(&source[&image.tag], &image.source_digest) {
        Ok(source) => source,
        Err(failure) => return all(failure),
    };
    // It counts once, and for the first: who waits for one registry shall hold no turn of another.
    let _place = match context.copier.limits.copy(source.host(), &ecrs[0].host).await {
        Ok(place) => place,
        Err(failure) => return all(failure),
    };
    let whole = super::is_digest(&image.tag);
    let platforms = if whole { PlatformSelection::All } else { prepared.platforms.clone() };
    let references: Vec<Reference> = image.targets.iter().map(|target| target.reference.clone()).collect();
    let request = CopyRequest::new(source.clone(), references[0].clone())
        .platforms(platforms)
        .deadline(context.copier.deadline)
        .progress(tracker.of_image());
    let copying = tokio::spawn({
        let references = references.clone();
        async move { engine.copy_to_all(request, references).await }.in_current_span()
    });
    let reports = match AbortOnDropHandle::new(copying).await {
        Ok(reports) => reports,
        Err(error) => {
            let message = format!("the copy of {source} broke off: {error}");
            return all(Failure::transient(Reason::CopyFailed, message));
        }
    };
    let mut results = Vec::new();
    for (target, report) in image.targets.iter().zip(reports) {
        results.push(match report {
            Ok(report) => Ok(apply::account(context, &prepared.platforms, &source, &target.reference, whole, &report)),
            Err(error) => Err(apply::failed(&error, &target.ecr, &prepared.reader, source.host()).await),
        });
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::mirror::plan::{Backup, Because};

    fn copied(backup: Option<Backup>) -> Step {
        Step::Copy { source_digest: "sha256:a".into(), because: Because::Missing, backup }
    }

    fn steps(tags: &[&str]) -> BTreeMap<String, Step> {
        tags.iter().map(|tag| ((*tag).to_owned(), copied(None))).collect()
    }

    #[test]
    fn what_two_registries_want_is_copied_together() {
        let (one, two) = (steps(&["1", "2"]), steps(&["2", "3"]));
        let wanted = wanted_by_several(&[Some(("a", &one)), None, Some(("b", &two))]);
        assert_eq!(wanted, BTreeMap::from([("2".to_owned(), vec![0, 2])]));
    }

    #[test]
    fn what_is_there_waits_or_has_a_backup_is_not() {
        let mut one = steps(&["1", "2", "3"]);
        one.insert("1".into(), Step::Keep { source_digest: "a".into(), digest: "a".into() });
        one.insert("2".into(), copied(Some(Backup { tag: "old".into(), digest: "sha256:b".into() })));
        let two = steps(&["1", "2", "3"]);
        let wanted = wanted_by_several(&[Some(("a", &one)), Some(("b", &two))]);
        assert_eq!(wanted.into_keys().collect::<Vec<_>>(), ["3"]);
    }

    #[test]
    fn two_repositories_of_one_registry_have_copies_of_their_own() {
        let (one, two, three) = (steps(&["1"]), steps(&["1"]), steps(&["1"]));
        assert!(wanted_by_several(&[Some(("a", &one)), Some(("a", &two))]).is_empty());
        let wanted = wanted_by_several(&[Some(("a", &one)), Some(("a", &two)), Some(("b", &three))]);
        assert_eq!(wanted, BTreeMap::from([("1".to_owned(), vec![0, 2])]));
    }
}
