//! What a mirror would do with its images, without doing it: for `plan`, which has no cluster.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use oci_copy::{Engine, Repository};

use super::age::{self, Releases};
use super::names::repository_name;
use super::observe::{self, Digests};
use super::plan::{self, Because, Step, Terms};
use super::prune;
use super::schedule::duration;
use super::selection::{RejectedBy, Rules, SelectedBy};
use super::sync::{left_out, references};
use super::verification::{self, Verification};
use super::{signatures, verdicts};
use crate::api::conditions::Reason;
use crate::api::{DestinationStatus, ImageMirror, MirrorDestination, RELEASE};
use crate::controllers::failure::Failure;
use crate::ecr::Ecr;
use crate::ecr::lifecycle::Policy;
use crate::verify::Root;

/// What a mirror's source has, and what the mirror wants of it.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// How many tags the source has, if they were listed.
    pub(crate) found: Option<usize>,
    /// What is selected, and by which rule. Digests of the spec are not among them.
    pub(crate) selected: BTreeMap<String, SelectedBy>,
    /// What is not selected, and by which rule.
    pub(crate) rejected: Vec<(String, RejectedBy)>,
    /// Whether `spec.verify` refers to objects of the cluster, so that nobody knows here which signatures count.
    pub(crate) signatures_are_unknown: bool,
    /// The source repository.
    pub(crate) source: Repository,
    digests: Digests,
    waiting: BTreeMap<String, Timestamp>,
    at: Timestamp,
    verification: Option<Arc<Verification>>,
    engine: Engine,
}

/// What would happen to a tag or digest in one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing: it is there.
    Unchanged,
    /// It would be copied.
    Copied { digest: String },
    /// It would be moved in the destination, where it names another image; `backup` keeps that.
    Moved { from: String, to: String, backup: Option<String> },
    /// It may be moved: what an image becomes that loses platforms only a copy tells.
    Unknown { present: String },
    /// It names another image, and `onTagChange` says to keep it.
    Kept { present: String, upstream: String },
    /// It would wait for `minAge`.
    Waiting { digest: String, until: Timestamp },
    /// It would fail.
    Refused(Failure),
}

/// What would happen in one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fates {
    /// To each tag and digest that is selected.
    pub(crate) selected: BTreeMap<String, Fate>,
    /// To tags that are not.
    pub(crate) others: Others,
}

/// What would happen to tags of a destination that are not selected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Others {
    /// Nothing: the mirror does not prune.
    #[default]
    Stay,
    /// These go that the mirror wrote, and which it wrote is not known here.
    MayGo(BTreeSet<String>),
    /// These go, each with its digest, once this time has come and if nothing uses them then.
    Go(Vec<(String, String, Timestamp)>),
}

/// Looks at a mirror's source, with an engine that has credentials for it.
pub(crate) async fn look(
    mirror: &ImageMirror,
    engine: &Engine,
    trusted_root: &Arc<Root>,
    now: Timestamp,
) -> Result<Look, Failure> {
    let spec = &mirror.spec;
    let invalid = |error: &dyn std::fmt::Display| Failure::stalled(Reason::InvalidSpec, error.to_string());
    let source: Repository = spec.source.image.parse().map_err(|error| invalid(&error))?;
    let rules = Rules::new(&spec.tags).map_err(|error| invalid(&error))?;
    let tags = match rules.need_list() {
        true => {
            Some(engine.list_tags(&source).await.map_err(|error| super::failure::from_engine(&error, source.host()))?)
        }
        false => None,
    };
    let verdicts = rules.judge(tags.iter().flatten().map(String::as_str));
    let rejected = verdicts.rejected.iter().map(|(tag, rule)| ((*tag).to_owned(), *rule)).collect();
    let names: Vec<String> = verdicts.selected.keys().chain(&spec.digests).cloned().collect();
    let found = tags.as_ref().map(Vec::len);
    super::check_count(names.len(), found)?;
    let references = references(&source, &names).map_err(|error| invalid(&error))?;
    let mut digests = observe::digests(engine, &references, source.host()).await;
    for (name, found) in &mut digests {
        if matches!(found, Ok(None)) {
            *found = Err(observe::why_missing(engine, &references[name]).await);
        }
    }
    let waiting = match &spec.tags.min_age {
        None => BTreeMap::new(),
        Some(min_age) => {
            // A manifest that came from a cluster has a status. Without it, everything is seen for the first time.
            let previous = mirror.status.as_ref().map(|status| status.seen.as_slice()).unwrap_or_default();
            let seen = age::observe(previous, &digests, &Releases::read(mirror.annotations().get(RELEASE)), now);
            age::waiting(&seen, duration("tags.minAge", min_age)?, now)
        }
    };
    let cosign = spec.verify.as_ref().map(|verify| &verify.cosign);
    let signatures_are_unknown = cosign.is_some_and(|cosign| !verification::references(cosign).is_empty());
    let verification = match cosign {
        Some(cosign) if !signatures_are_unknown => {
            Some(Arc::new(Verification::new(cosign, &HashMap::new(), trusted_root)?))
        }
        _ => None,
    };
    Ok(Look {
        found,
        selected: verdicts.selected,
        rejected,
        signatures_are_unknown,
        source,
        digests,
        waiting,
        at: now,
        verification,
        engine: engine.clone(),
    })
}

/// The name of a destination's repository.
pub(crate) fn repository(mirror: &ImageMirror, destination: &MirrorDestination) -> Option<String> {
    let source: Repository = mirror.spec.source.image.parse().ok()?;
    let namespace = mirror.namespace().unwrap_or_default();
    Some(repository_name(destination.repository_name.as_deref(), &source, &namespace))
}

/// What would happen in one destination.
pub(crate) async fn fates(
    mirror: &ImageMirror,
    look: &Look,
    destination: &MirrorDestination,
    ecr: &Ecr,
) -> Result<Fates, Failure> {
    let repository =
        repository_name(destination.repository_name.as_deref(), &look.source, &mirror.namespace().unwrap_or_default());
    let mut present = Digests::new();
    let mut unselected = BTreeSet::new();
    ecr.visit_images(&repository, usize::MAX, |image| {
        let Some(digest) = image.image_digest else { return };
        for name in [Some(digest.clone()), image.image_tag].into_iter().flatten() {
            if look.digests.contains_key(&name) {
                present.insert(name, Ok(Some(digest.clone())));
            } else if !super::is_digest(&name) {
                unselected.insert(name);
            }
        }
    })
    .await?;
    let listed = ecr.listed(&repository).await?;
    // What the mirror would set counts; what somebody else sets is read.
    let wanted = destination.repository.as_ref().and_then(|settings| settings.lifecycle.as_ref());
    let policy = match wanted {
        Some(lifecycle) => Policy::from_spec(lifecycle).ok(),
        None => ecr.lifecycle_policy(&repository).await?.and_then(|text| Policy::parse(&text).ok()),
    };
    let uri = ecr.repository_uri(&repository);
    let recorded = mirror.status.iter().flat_map(|status| &status.destinations);
    let recorded = recorded.into_iter().find(|it| it.repository_uri.as_ref() == Some(&uri));
    let same_platforms = mirror.status.as_ref().is_some_and(|status| status.platforms == mirror.spec.platforms);
    let known = recorded.filter(|_| same_platforms).into_iter();
    let others = others(mirror, recorded, look, unselected)?;
    let terms = Terms {
        uri: &uri,
        subset: mirror.spec.platforms.is_some(),
        rewritten: BTreeMap::new(),
        previous: known.flat_map(|known| &known.tags).map(|tag| (tag.name.as_str(), tag)).collect(),
        on_tag_change: mirror.spec.on_tag_change,
        backup_tag: mirror.spec.backup_tag.as_deref(),
        mutability: listed.as_ref().and_then(|listed| listed.tag_mutability.as_ref()),
        waiting: look.waiting.clone(),
        crowded_out: policy.map(|policy| left_out(&policy, &look.digests)).unwrap_or_default(),
        // Which of two mirrors is older only a cluster knows.
        rivals: BTreeMap::new(),
    };
    let mut steps = plan::plan(&look.digests, &present, &terms);
    if let Some(verification) = &look.verification {
        let unsettled = verdicts::unsettled(&steps, recorded, &verification.fingerprint);
        let digests = unsettled.values().cloned().collect();
        let unverified = signatures::judge(verification, &look.engine, &look.source, digests).await;
        verdicts::refuse(&mut steps, &unsettled, &unverified);
    }
    let selected = steps.into_iter().map(|(name, step)| (name.clone(), fate(&name, step, &present, &terms))).collect();
    Ok(Fates { selected, others })
}

/// What happens to the tags that are there and not selected.
fn others(
    mirror: &ImageMirror,
    recorded: Option<&DestinationStatus>,
    look: &Look,
    unselected: BTreeSet<String>,
) -> Result<Others, Failure> {
    if !mirror.spec.prune || unselected.is_empty() {
        return Ok(Others::Stay);
    }
    let Some(recorded) = recorded else { return Ok(Others::MayGo(unselected)) };
    let after = duration("pruneAfter", &mirror.spec.prune_after)?;
    let selected = look.digests.keys().map(String::as_str).collect();
    let departed = prune::departed(Some(recorded), &selected, mirror.spec.destinations.len(), look.at);
    let there = departed.into_iter().filter(|tag| unselected.contains(&tag.name));
    Ok(Others::Go(
        there.map(|tag| (tag.name.clone(), tag.digest.clone(), prune::due(&tag, after).max(look.at))).collect(),
    ))
}

fn fate(name: &str, step: Step, present: &Digests, terms: &Terms<'_>) -> Fate {
    let there = present.get(name).and_then(|found| found.as_ref().ok()).and_then(Option::as_ref);
    match (step, there) {
        (Step::Keep { .. }, _) => Fate::Unchanged,
        (Step::Copy { because: Because::Differs, .. }, Some(present))
            if terms.subset && !terms.previous.contains_key(name) =>
        {
            Fate::Unknown { present: present.clone() }
        }
        (Step::Copy { source_digest, because: Because::Differs, backup }, Some(present)) => {
            Fate::Moved { from: present.clone(), to: source_digest, backup: backup.map(|backup| backup.tag) }
        }
        (Step::Copy { source_digest, .. }, _) => Fate::Copied { digest: source_digest },
        (Step::KeepOld { digest, upstream }, _) => Fate::Kept { present: digest, upstream },
        (Step::Wait { source_digest, until }, _) => Fate::Waiting { digest: source_digest, until },
        (Step::Fail(failure), _) => Fate::Refused(failure),
    }
}
