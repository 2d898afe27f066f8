//! Which images mirrors would copy: what their sources and destinations have is looked at, and nothing is changed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use indicatif::HumanBytes;
use k8s_openapi::jiff::Timestamp;
use oci_copy::{Engine, Platform, PlatformSelection, Repository};

use super::report::{Change, Entry, Outcome, Sign};
use super::{Connections, Question};
use crate::api::{ImageMirror, MirrorDestination};
use crate::controllers::failure::Failure;
use crate::controllers::mirror::preview::{self, Fate, Fates, Look, Others};
use crate::controllers::mirror::selection::{RejectedBy, SelectedBy};
use crate::keychain::{ForRepository, Keychain};
use crate::manifests::Object;
use crate::verify::Root;

/// How many tags stand in a line of rejected ones.
const A_LINE: usize = 10;

/// How many images' manifests are read at once.
const MANIFESTS_AT_ONCE: usize = 4;

/// How the sources of mirrors are read.
#[derive(Clone)]
pub struct Sources {
    /// The engine, with what it knows of registries.
    pub engine: Engine,
    /// Where credentials come from.
    pub keychain: Arc<Keychain>,
    /// What the certificates of signatures are checked against, where a mirror has no trusted root of its own.
    pub trusted_root: Arc<Root>,
    /// Whether the manifests of images are read, to tell how large they are.
    pub sizes: bool,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("engine", &self.engine).finish_non_exhaustive()
    }
}

/// An entry for each destination of each mirror of the manifests, if the question asks for images.
pub(super) async fn entries(question: &Question<'_>, connections: &Connections) -> Vec<Entry> {
    let Some(sources) = &question.sources else { return Vec::new() };
    let mut entries = Vec::new();
    for manifest in question.manifests {
        let Some(Object::Mirror(mirror)) = &manifest.object else { continue };
        let title = format!("{} (images)", manifest.title());
        let engine = engine(mirror, sources);
        let look = match mirror.spec.suspend {
            true => None,
            false if mirror.spec.source.from_workloads.is_some() => {
                let mut entry = Entry::new(&title, &manifest.file, "", Vec::new());
                entry.notes.push(
                    "what the workloads of the cluster use: which images that is only the cluster knows".to_owned(),
                );
                entries.push(entry);
                continue;
            }
            false => Some(preview::look(mirror, &engine, &sources.trusted_root, Timestamp::now()).await),
        };
        for destination in &mirror.spec.destinations {
            let registry = &destination.registry_ref.name;
            let repository = preview::repository(mirror, destination).unwrap_or_default();
            let mut entry = Entry::new(&title, &manifest.file, registry, Vec::new()).of_repository(&repository);
            match &look {
                None => entry.notes.push("spec.suspend is true: nothing would be looked at or copied".to_owned()),
                Some(Err(failure)) => entry.outcome = refused(failure),
                Some(Ok(look)) => {
                    let fates = fill(&mut entry, mirror, look, destination, connections).await;
                    if sources.sizes {
                        entry.notes.extend(sizes(mirror, look, &fates.unwrap_or_default(), &engine).await);
                    }
                }
            }
            entries.push(entry);
        }
    }
    entries
}

/// The engine with credentials for a mirror's source.
fn engine(mirror: &ImageMirror, sources: &Sources) -> Engine {
    match mirror.spec.source.image.parse::<Repository>() {
        Ok(repository) => {
            let credentials = ForRepository { keychain: sources.keychain.clone(), repository };
            sources.engine.with_credentials(Arc::new(credentials))
        }
        // The look says what is wrong with it.
        Err(_) => sources.engine.clone(),
    }
}

/// How much there is to copy, by the images' manifests.
async fn sizes(mirror: &ImageMirror, look: &Look, fates: &Fates, engine: &Engine) -> Vec<String> {
    let digests = fates.selected.iter().filter_map(|(name, fate)| match fate {
        Fate::Copied { digest } | Fate::Moved { to: digest, .. } => Some((name, digest)),
        _ => None,
    });
    let platforms: Vec<Platform> =
        mirror.spec.platforms.iter().flatten().filter_map(|platform| platform.parse().ok()).collect();
    let platforms = PlatformSelection::only(platforms);
    let digests: Vec<_> = digests.map(|(name, digest)| (name.clone(), digest.clone())).collect();
    let read = stream::iter(digests)
        .map(|(name, digest)| {
            let (reference, platforms) = (digest.parse().map(|digest| look.source.with_digest(digest)), &platforms);
            async move {
                let Ok(reference) = reference else { return (name, None) };
                (name, Some(engine.contents(&reference, platforms).await))
            }
        })
        .buffered(MANIFESTS_AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    let (mut all, mut images, mut notes) = (BTreeMap::new(), 0, Vec::new());
    for (name, contents) in read {
        match contents {
            Some(Ok(contents)) => {
                images += 1;
                all.extend(contents.blobs);
            }
            Some(Err(error)) => notes.push(format!("how large {name} is can't be told: {error}")),
            None => {}
        }
    }
    if images > 0 {
        let bytes: u64 = all.values().sum();
        notes.insert(
            0,
            format!(
                "to copy: {images} images, {} in {} different layers and configurations, less what the registry has already",
                HumanBytes(bytes),
                all.len()
            ),
        );
    }
    notes
}

async fn fill(
    entry: &mut Entry,
    mirror: &ImageMirror,
    look: &Look,
    destination: &MirrorDestination,
    connections: &Connections,
) -> Option<Fates> {
    // A registry that is missing or can't be reached is told of where the mirror's repository is.
    let ecr = match connections.get(&destination.registry_ref.name) {
        Some(Ok(ecr)) => ecr,
        Some(Err(failure)) => {
            entry.outcome = refused(failure);
            return None;
        }
        None => {
            entry.notes.push("the files don't have its EcrRegistry: what is there is not known".to_owned());
            return None;
        }
    };
    entry.uri = Some(ecr.repository_uri(entry.repository.as_deref().unwrap_or_default()));
    match preview::fates(mirror, look, destination, ecr).await {
        Ok(fates) => {
            let selected = fates.selected.iter();
            entry.changes =
                selected.filter_map(|(name, fate)| change(mirror, look.selected.get(name), name, fate)).collect();
            entry.changes.extend(prunes(mirror, &fates.others));
            if entry.changes.iter().any(|change| change.sign != Sign::Note) {
                entry.outcome = Outcome::Change;
            }
            entry.changes.extend(rejections(&look.rejected));
            entry.notes.push(counts(look, &fates.selected));
            if look.signatures_are_unknown {
                entry.notes.push(
                    "spec.verify refers to a Secret or ConfigMap, which only the cluster has: no signature was looked at"
                        .to_owned(),
                );
            }
            Some(fates)
        }
        Err(failure) => {
            entry.outcome = refused(&failure);
            None
        }
    }
}

/// What happens to the tags that are there and not selected, in words.
fn prunes(mirror: &ImageMirror, others: &Others) -> Vec<Change> {
    match others {
        Others::Stay => Vec::new(),
        Others::MayGo(tags) => vec![
            Change::note(format!(
                "not selected and there, {} of them: those that this mirror wrote go {} after they were last selected, unless something uses them",
                tags.len(),
                mirror.spec.prune_after
            ))
            .with(lines(tags.iter().map(String::as_str).collect())),
        ],
        Others::Go(tags) => tags
            .iter()
            .map(|(tag, digest, due)| {
                let due = Timestamp::from_second(due.as_second()).unwrap_or(*due);
                Change::new(Sign::Delete, format!("delete {tag} ({digest}) at {due}, unless something uses it then"))
            })
            .collect(),
    }
}

fn refused(failure: &Failure) -> Outcome {
    Outcome::refused(failure.reason.as_str(), &failure.message)
}

/// What happens to a tag or digest, in words. Nothing is said of what stays as it is.
fn change(mirror: &ImageMirror, by: Option<&SelectedBy>, name: &str, fate: &Fate) -> Option<Change> {
    let source = &mirror.spec.source.image;
    Some(match fate {
        Fate::Unchanged => return None,
        Fate::Copied { digest } => match by {
            Some(by) => Change::new(Sign::Create, format!("copy {source}:{name} ({digest}), selected by {by}")),
            None => Change::new(Sign::Create, format!("copy {source}@{digest}, selected by digests")),
        },
        Fate::Moved { from, to, backup } => {
            let change = Change::new(Sign::Change, format!("move {name} from {from} to {to}"));
            match backup {
                Some(backup) => change.with(vec![format!("{backup} keeps what it names now")]),
                None => change,
            }
        }
        Fate::Unknown { present } => Change::note(format!(
            "{name} names {present} and may be moved: what the image becomes with spec.platforms only a copy tells"
        )),
        Fate::Kept { present, upstream } => {
            Change::note(format!("{name} stays {present} as onTagChange says, although the source has {upstream}"))
        }
        Fate::Waiting { digest, until } => {
            Change::note(format!("{name} ({digest}) waits for tags.minAge, until {until} if it is seen now"))
        }
        Fate::Refused(failure) => Change::note(format!("{name} fails ({}): {}", failure.reason, failure.message)),
    })
}

/// The tags that are not selected, by the rule that rejects them.
fn rejections(rejected: &[(String, RejectedBy)]) -> Vec<Change> {
    let mut by_rule: BTreeMap<RejectedBy, Vec<&str>> = BTreeMap::new();
    for (tag, rule) in rejected {
        by_rule.entry(*rule).or_default().push(tag);
    }
    by_rule
        .into_iter()
        .map(|(rule, tags)| Change::note(format!("not selected ({rule}), {} of them", tags.len())).with(lines(tags)))
        .collect()
}

/// Tags in lines.
fn lines(mut tags: Vec<&str>) -> Vec<String> {
    tags.sort_unstable();
    tags.chunks(A_LINE).map(|line| line.join(" ")).collect()
}

fn counts(look: &Look, fates: &BTreeMap<String, Fate>) -> String {
    let unchanged = fates.values().filter(|fate| **fate == Fate::Unchanged).count();
    let of = look.found.map_or_else(String::new, |found| format!(" of {found} in the source"));
    format!("{} tags and digests are selected{of}; {unchanged} are there already", fates.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ImageMirrorSpec;
    use crate::api::conditions::Reason;

    fn words(name: &str, by: Option<&SelectedBy>, fate: Fate) -> Option<(Sign, String)> {
        let mut spec = ImageMirrorSpec::default();
        spec.source.image = "nginx".into();
        change(&ImageMirror::new("nginx", spec), by, name, &fate).map(|change| (change.sign, change.action))
    }

    #[test]
    fn each_fate_has_a_line_but_that_of_what_stays() {
        let until = Timestamp::UNIX_EPOCH;
        for (fate, sign, text) in [
            (Fate::Copied { digest: "sha256:a".into() }, Sign::Create, "copy nginx:1 (sha256:a), selected by filters"),
            (
                Fate::Moved { from: "sha256:a".into(), to: "sha256:b".into(), backup: None },
                Sign::Change,
                "move 1 from sha256:a to sha256:b",
            ),
            (Fate::Unknown { present: "sha256:a".into() }, Sign::Note, "may be moved"),
            (Fate::Kept { present: "sha256:a".into(), upstream: "sha256:b".into() }, Sign::Note, "1 stays sha256:a"),
            (Fate::Waiting { digest: "sha256:a".into(), until }, Sign::Note, "waits for tags.minAge"),
            (Fate::Refused(Failure::stalled(Reason::TagImmutable, "it is")), Sign::Note, "fails (TagImmutable): it is"),
        ] {
            let (found, action) = words("1", Some(&SelectedBy::Filters), fate).expect("a line");
            assert!(found == sign && action.contains(text), "{action}");
        }
        assert_eq!(words("1", None, Fate::Unchanged), None);
        let digest = "sha256:a".to_owned();
        let (_, action) = words("sha256:a", None, Fate::Copied { digest }).expect("a line");
        assert_eq!(action, "copy nginx@sha256:a, selected by digests");
    }

    #[test]
    fn what_is_pruned_is_told_as_far_as_it_is_known() {
        let mirror = ImageMirror::new("nginx", ImageMirrorSpec::default());
        assert!(prunes(&mirror, &Others::Stay).is_empty());
        let known = prunes(&mirror, &Others::Go(vec![("1".into(), "sha256:a".into(), Timestamp::UNIX_EPOCH)]));
        assert_eq!(known[0].sign, Sign::Delete);
        assert!(known[0].action.starts_with("delete 1 (sha256:a) at 1970-01-01T00:00:00Z"), "{}", known[0].action);
        let unknown = prunes(&mirror, &Others::MayGo(["1".to_owned(), "2".to_owned()].into()));
        assert_eq!((unknown[0].sign, unknown[0].details.as_slice()), (Sign::Note, ["1 2".to_owned()].as_slice()));
        assert!(unknown[0].action.contains("168h"), "{}", unknown[0].action);
    }

    #[test]
    fn what_is_not_selected_is_listed_with_its_rule() {
        let mut rejected: Vec<_> = (0..12).map(|n| (format!("1.{n}"), RejectedBy::Semver)).collect();
        rejected.push(("latest".into(), RejectedBy::NotAVersion));
        let changes = rejections(&rejected);
        assert_eq!(changes[0].action, "not selected (not a version), 1 of them");
        assert_eq!((changes[1].action.as_str(), changes[1].details.len()), ("not selected (semver), 12 of them", 2));
        assert!(changes[1].details[1].ends_with("1.9"), "{:?}", changes[1].details);
    }
}
