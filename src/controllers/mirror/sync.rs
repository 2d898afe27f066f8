//! One look at the source and the destinations, and what has to be copied.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::future;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::events::EventType;
use oci_copy::{Engine, PlatformSelection, Reference, ReferenceError, Repository};

use super::age::{self, Releases};
use super::limits::Look;
use super::observe::{self, Digests, Selected};
use super::plan::{self, Step, Terms};
use super::prepare::{Destination, Prepared};
use super::progress::Tracker;
use super::selection::newest_first;
use super::status::{DestinationOutcome, Looked};
use super::{apply, is_digest, prune, released, rivals, together, verified};
use crate::api::conditions::Reason;
use crate::api::{
    DestinationStatus, ImageMirror, ImageMirrorStatus, OnTagChange, RELEASE, SeenDigest, TagState, UnselectedTag,
};
use crate::controllers::Error;
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;
use crate::controllers::report::Outcome;
use crate::ecr::lifecycle::Policy;
use crate::ecr::{Ecr, Mutability};

/// Brings every tag to every destination. The inner error is why nothing could be looked at.
pub(super) async fn sync(
    mirror: &ImageMirror,
    context: &Context,
    prepared: &Prepared,
    mut look: Look,
) -> Result<Result<Looked, Failure>, Error> {
    let engine = match context.copier.for_source(&prepared.reader) {
        Ok(engine) => engine,
        Err(error) => return Ok(Err(Failure::stalled(Reason::InvalidSpec, error.to_string()))),
    };
    let usable = prepared.destinations.iter().any(|destination| destination.ready.is_ok());
    let selected = match select(mirror, context, prepared, &engine, usable).await {
        Ok(selected) => selected,
        Err(failure) => return Ok(Err(failure)),
    };
    let references = match references(&prepared.source, &selected.tags) {
        Ok(references) => references,
        Err(error) => return Ok(Err(Failure::stalled(Reason::InvalidSpec, error.to_string()))),
    };
    let mut source = match usable {
        true => observe::digests(&engine, &references, prepared.source.host()).await,
        false => Digests::new(),
    };
    for (tag, found) in &mut source {
        if matches!(found, Ok(None)) {
            *found = Err(observe::why_missing(&engine, &references[tag]).await);
        }
    }
    look.leave_source();
    let age = Age::of(mirror, prepared, &source, usable, Timestamp::now());
    let planned = prepared.destinations.iter().map(|it| plan_one(mirror, context, prepared, &source, &age, it));
    let mut planned = future::join_all(planned).await;
    if let Some(verification) = &prepared.verification {
        verified::refuse_unverified(mirror, context, prepared, verification, &engine, &mut planned).await;
    }
    drop(look);
    prepared.reader.publish(&context.metrics);

    announce(mirror, context, &planned, &age, prepared.reader.is_used_up()).await?;
    let copies = planned.iter().filter_map(|it| it.as_ref().ok()).map(Planned::copies).sum();
    let tracker = Tracker::new(planned.len(), copies);
    let wanted: BTreeSet<&str> = selected.tags.iter().map(String::as_str).collect();
    // What is known of each destination before anything is copied to it.
    let outset: Vec<DestinationOutcome> =
        prepared.destinations.iter().zip(&planned).map(|(it, planned)| outset(mirror, it, planned)).collect();

    let shared = together::take(
        planned
            .iter_mut()
            .map(|planned| {
                let Planned { ecr, references, steps, .. } = planned.as_mut().ok()?;
                Some(together::Planned { ecr, references, steps })
            })
            .collect(),
    );
    let work = prepared.destinations.iter().zip(planned).zip(outset.iter().cloned()).enumerate();
    let work = work.map(|(number, ((destination, planned), outset))| {
        let (references, wanted, progress) = (&references, &wanted, tracker.part(number));
        async move {
            let Ok(planned) = planned else { return outset };
            let route = apply::Route {
                engine: &planned.engine,
                ecr: &planned.ecr,
                source: references,
                reader: &prepared.reader,
                destination: &planned.references,
                platforms: &prepared.platforms,
                progress,
            };
            let tags = Ok(apply::apply(context, &route, planned.steps).await);
            let place = prune::Place {
                engine: &planned.engine,
                ecr: &planned.ecr,
                registry: &destination.registry,
                repository: &destination.repository,
            };
            let unselected = match prepared.prune_after {
                Some(after) => prune_one(mirror, context, &place, &planned.uri, wanted, after).await,
                None => Vec::new(),
            };
            let verified_with = prepared.verification.as_ref().map(|verification| verification.fingerprint.clone());
            DestinationOutcome { tags, unselected, verified_with, ..outset }
        }
    });
    let so_far =
        |destinations| Looked { selected: selected.clone(), seen: age.seen.clone(), destinations, prune_due: None };
    let tell = || tell_progress(mirror, context, &tracker, so_far(outset.clone()));
    let shared = together::copy(context, prepared, &references, &tracker, shared);
    let (mut destinations, shared) = tracker.told_during(future::join(future::join_all(work), shared), tell).await;
    for (number, tag, ended) in shared {
        if let Some(Ok(tags)) = destinations.get_mut(number).map(|destination| &mut destination.tags) {
            tags.insert(tag, ended);
        }
    }
    let prune_due = prepared.prune_after.and_then(|after| {
        destinations.iter().filter_map(|destination| prune::first_due(&destination.unselected, after)).min()
    });
    Ok(Ok(Looked { selected, seen: age.seen, destinations, prune_due }))
}

/// What is known of a destination before anything is copied to it.
fn outset(mirror: &ImageMirror, destination: &Destination, planned: &Result<Planned, Failure>) -> DestinationOutcome {
    let registry = destination.registry.clone();
    let uri = match planned {
        Ok(planned) => Some(planned.uri.clone()),
        Err(_) => known_uri(mirror, destination),
    };
    let before = uri.as_ref().and_then(|uri| recorded_destination(mirror, &registry, uri));
    let unselected = before.map(|before| before.unselected.clone()).unwrap_or_default();
    let tags = planned.as_ref().map(|_| apply::Outcomes::new()).map_err(Clone::clone);
    // Until all has ended it is not said of what is told so far that the present policy verified it.
    let verified_with = before.and_then(|before| before.verified_with.clone());
    DestinationOutcome { registry, uri, tags, unselected, verified_with }
}

/// Tells how far the copies are. What can't be told now is told next time.
async fn tell_progress(mirror: &ImageMirror, context: &Context, tracker: &Tracker, mut looked: Looked) {
    for (destination, ended) in looked.destinations.iter_mut().zip(tracker.ended()) {
        if let Ok(tags) = &mut destination.tags {
            *tags = ended;
        }
    }
    let progress = tracker.progress();
    let message = format!(
        "copying images: {} done, {} of {} so far",
        progress.images,
        size(progress.bytes),
        size(progress.total_bytes)
    );
    let status = super::status::status_so_far(mirror, &looked, progress, Timestamp::now());
    if let Err(error) = context.report(mirror, status, &Outcome::Progressing { message }).await {
        tracing::debug!(%error, "the progress of copies could not be told");
    }
}

/// A size in words.
fn size(bytes: i64) -> String {
    const MIB: i64 = 1 << 20;
    format!("{} MiB", bytes / MIB)
}

/// Takes away what the mirror wrote to a destination and no longer selects, once its time has come.
async fn prune_one(
    mirror: &ImageMirror,
    context: &Context,
    place: &prune::Place<'_>,
    uri: &str,
    wanted: &BTreeSet<&str>,
    after: Duration,
) -> Vec<UnselectedTag> {
    let before = recorded_destination(mirror, place.registry, uri);
    let now = Timestamp::now();
    let departed = prune::departed(before, wanted, mirror.spec.destinations.len(), now);
    prune::prune(mirror, context, place, departed, after, now).await
}

/// The tags and digests that the mirror wants. Where no destination can be used, what the status says of them.
async fn select(
    mirror: &ImageMirror,
    context: &Context,
    prepared: &Prepared,
    engine: &Engine,
    usable: bool,
) -> Result<Selected, Failure> {
    let mut selected = match usable {
        true => {
            let _turn = match prepared.rules.need_list() {
                true => context.copier.turn_to_list().await,
                false => None,
            };
            observe::select(engine, &prepared.source, &prepared.rules).await?
        }
        false => known_selection(mirror, prepared),
    };
    selected.tags.extend(mirror.spec.digests.iter().cloned());
    super::check_count(selected.tags.len(), selected.found)?;
    Ok(selected)
}

fn known_selection(mirror: &ImageMirror, prepared: &Prepared) -> Selected {
    let mut tags: Vec<String> = prepared.rules.judge([]).selected.into_keys().collect();
    let known = mirror.status.iter().flat_map(|status| &status.destinations).flat_map(|known| &known.tags);
    let known = known.map(|tag| &tag.name).filter(|name| !is_digest(name) && prepared.rules.rejects(name).is_none());
    tags.extend(known.cloned());
    tags.sort();
    tags.dedup();
    Selected { tags, ..Selected::default() }
}

/// References to tags and digests of a repository.
pub(super) fn references(
    repository: &Repository,
    names: &[String],
) -> Result<BTreeMap<String, Reference>, ReferenceError> {
    names
        .iter()
        .map(|name| {
            let reference = match name.parse() {
                Ok(digest) if is_digest(name) => repository.with_digest(digest),
                _ => repository.with_tag(name)?,
            };
            Ok((name.clone(), reference))
        })
        .collect()
}

/// What was seen since when, and who has to wait.
struct Age {
    seen: Vec<SeenDigest>,
    waiting: BTreeMap<String, Timestamp>,
    released: Vec<SeenDigest>,
}

impl Age {
    fn of(mirror: &ImageMirror, prepared: &Prepared, source: &Digests, usable: bool, now: Timestamp) -> Self {
        let previous = mirror.status.as_ref().map(|status| status.seen.as_slice()).unwrap_or_default();
        let Some(min_age) = prepared.min_age else {
            return Self { seen: Vec::new(), waiting: BTreeMap::new(), released: Vec::new() };
        };
        // Nothing was looked at: what was seen is as it was.
        let seen = match usable {
            true => {
                let releases = Releases::read(mirror.annotations().get(RELEASE));
                age::observe(previous, source, &releases, now)
            }
            false => previous.to_vec(),
        };
        Self {
            waiting: age::waiting(&seen, min_age, now),
            released: age::newly_released(previous, &seen, min_age, now).into_iter().cloned().collect(),
            seen,
        }
    }
}

/// Tells what is going to happen: copies, and with them what was seen, so that a restart does not forget it; releases; tags
/// that moved.
async fn announce(
    mirror: &ImageMirror,
    context: &Context,
    planned: &[Result<Planned, Failure>],
    age: &Age,
    used_up: bool,
) -> Result<(), Error> {
    let copies: usize = planned.iter().filter_map(|planned| planned.as_ref().ok()).map(Planned::copies).sum();
    // Without pulls nothing is copied now, and nobody need hear of it each time.
    if copies > 0 && !used_up {
        let message = format!("copying {copies} {}", if copies == 1 { "image" } else { "images" });
        // What was known stays until the copies end.
        let previous = mirror.status.clone().unwrap_or_default();
        let status = ImageMirrorStatus { seen: age.seen.clone(), next_sync_time: None, ..previous };
        context.report(mirror, status, &Outcome::Progressing { message }).await?;
    }
    if !age.released.is_empty() {
        released::tell(mirror, context, &age.released).await;
    }
    if mirror.spec.on_tag_change == OnTagChange::Warn {
        for note in planned.iter().filter_map(|planned| planned.as_ref().ok()).filter_map(|it| moved(mirror, it)) {
            context.event(mirror, EventType::Warning, Reason::TagMoved.as_str(), note).await;
        }
    }
    Ok(())
}

/// The tags that moved upstream since the last look, in words.
fn moved(mirror: &ImageMirror, planned: &Planned) -> Option<String> {
    let destinations = mirror.status.iter().flat_map(|status| &status.destinations);
    let before = destinations.into_iter().find(|known| known.repository_uri.as_ref() == Some(&planned.uri))?;
    let known: HashMap<&str, TagState> = before.tags.iter().map(|tag| (tag.name.as_str(), tag.state)).collect();
    let is_news = |tag: &str| match known.get(tag) {
        Some(state) => *state != TagState::Kept,
        // A tag that the status has no room for would be told of on every look.
        None => before.more_tags == 0,
    };
    let moved = planned.steps.iter().filter_map(|(tag, step)| match step {
        Step::KeepOld { upstream, .. } if is_news(tag) => Some(format!("{tag} (now {upstream})")),
        _ => None,
    });
    let moved: Vec<String> = moved.collect();
    let words = moved.iter().take(10).cloned().collect::<Vec<_>>().join(", ");
    (!moved.is_empty()).then(|| {
        let tags = if moved.len() == 1 { "tag" } else { "tags" };
        format!("{} {tags} of {} moved upstream and stay as they are there: {words}", moved.len(), planned.uri)
    })
}

/// What will be done in one destination.
pub(super) struct Planned {
    pub(super) uri: String,
    ecr: Arc<Ecr>,
    engine: Engine,
    references: BTreeMap<String, Reference>,
    pub(super) steps: BTreeMap<String, Step>,
}

impl Planned {
    /// How many images will be copied.
    fn copies(&self) -> usize {
        self.steps.values().filter(|step| matches!(step, Step::Copy { .. })).count()
    }
}

async fn plan_one(
    mirror: &ImageMirror,
    context: &Context,
    prepared: &Prepared,
    source: &Digests,
    age: &Age,
    destination: &Destination,
) -> Result<Planned, Failure> {
    let ecr = destination.ready.clone()?;
    let invalid = |error: &dyn std::fmt::Display| Failure::stalled(Reason::InvalidSpec, error.to_string());
    let engine = context.copier.for_destination(&prepared.reader, &ecr).map_err(|error| invalid(&error))?;
    let repository = Repository::new(&ecr.host, &destination.repository).map_err(|error| invalid(&error))?;
    let names: Vec<String> = source.keys().cloned().collect();
    let references = references(&repository, &names).map_err(|error| invalid(&error))?;
    let present = observe::present(&engine, &ecr, &destination.repository, &references, prepared.source.host()).await;
    let uri = ecr.repository_uri(&destination.repository);
    let known = known_destination(mirror, &destination.registry, &uri);
    let digests = source.values().filter_map(|found| found.as_ref().ok()?.as_deref());
    let mirrors = context.mirrors.store.state();
    // What the list of repositories shows. Without it the registry's own answer tells what it refuses.
    let listed = ecr.listed(&destination.repository).await.ok().flatten();
    let mutability: Option<&Mutability> = listed.as_ref().and_then(|listed| listed.tag_mutability.as_ref());
    let terms = Terms {
        uri: &uri,
        subset: prepared.platforms != PlatformSelection::All,
        rewritten: context.copier.rewritten(&prepared.platforms, digests),
        previous: known.into_iter().flat_map(|known| &known.tags).map(|tag| (tag.name.as_str(), tag)).collect(),
        on_tag_change: mirror.spec.on_tag_change,
        backup_tag: mirror.spec.backup_tag.as_deref(),
        mutability,
        waiting: age.waiting.clone(),
        crowded_out: crowded_out(&ecr, &destination.repository, source, &present).await,
        rivals: rivals::rivals(
            mirror,
            &mirrors,
            &destination.registry,
            &destination.repository,
            source.keys().map(String::as_str),
        ),
    };
    let steps = plan::plan(source, &present, &terms);
    Ok(Planned { uri, ecr, engine, references, steps })
}

/// The tags that a lifecycle policy has no room for, each with the rule. It is asked for where something is to be copied
/// beside other things; what can't be read crowds nothing out.
async fn crowded_out(ecr: &Ecr, repository: &str, source: &Digests, present: &Digests) -> BTreeMap<String, String> {
    let is_missing = |tag: &String| matches!(present.get(tag), Some(Ok(None)) | None);
    if source.len() < 2 || !source.keys().any(is_missing) {
        return BTreeMap::new();
    }
    let policy = match ecr.lifecycle_policy(repository).await {
        Ok(text) => text.and_then(|text| Policy::parse(&text).ok()),
        Err(error) => {
            tracing::debug!(%error, repository, "the lifecycle policy could not be read");
            None
        }
    };
    let Some(policy) = policy else { return BTreeMap::new() };
    left_out(&policy, source)
}

/// The tags of a source that a policy has no room for. The newest matter most.
pub(super) fn left_out(policy: &Policy, source: &Digests) -> BTreeMap<String, String> {
    let mut images: Vec<Vec<&str>> = Vec::new();
    let mut index: HashMap<&str, usize> = HashMap::new();
    for tag in newest_first(source.keys().map(String::as_str).filter(|name| !is_digest(name))) {
        let Some(Ok(Some(digest))) = source.get(tag) else { continue };
        let image = *index.entry(digest).or_insert_with(|| {
            images.push(Vec::new());
            images.len() - 1
        });
        images[image].push(tag);
    }
    let crowded = policy.crowded_out(&images).into_iter();
    crowded.flat_map(|(image, rule)| images[image].iter().map(move |tag| ((*tag).to_owned(), rule.clone()))).collect()
}

/// What the status says of a destination.
fn recorded_destination<'a>(mirror: &'a ImageMirror, registry: &str, uri: &str) -> Option<&'a DestinationStatus> {
    let mut known = mirror.status.as_ref()?.destinations.iter();
    known.find(|known| known.registry == registry && known.repository_uri.as_deref() == Some(uri))
}

/// What the status says of a destination, if its digests belong to the platforms that the spec names.
pub(super) fn known_destination<'a>(
    mirror: &'a ImageMirror,
    registry: &str,
    uri: &str,
) -> Option<&'a DestinationStatus> {
    let status = mirror.status.as_ref()?;
    if status.platforms != mirror.spec.platforms {
        return None;
    }
    recorded_destination(mirror, registry, uri)
}

/// The URI of a destination that can't be reached now, as it was last.
fn known_uri(mirror: &ImageMirror, destination: &Destination) -> Option<String> {
    let path = format!("/{}", destination.repository);
    let known = mirror.status.as_ref()?.destinations.iter().filter(|known| known.registry == destination.registry);
    known.filter_map(|known| known.repository_uri.clone()).find(|uri| uri.ends_with(&path))
}
