//! Which images mirrors would copy: what their sources and destinations have is looked at, and nothing is changed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use oci_copy::{Engine, Repository};

use super::report::{Change, Entry, Outcome, Sign};
use super::{Connections, Question};
use crate::api::{ImageMirror, MirrorDestination};
use crate::controllers::failure::Failure;
use crate::controllers::mirror::preview::{self, Fate, Look};
use crate::controllers::mirror::selection::{RejectedBy, SelectedBy};
use crate::keychain::{ForRepository, Keychain};
use crate::manifests::Object;

/// How many tags stand in a line of rejected ones.
const A_LINE: usize = 10;

/// How the sources of mirrors are read.
#[derive(Clone)]
pub struct Sources {
    /// The engine, with what it knows of registries.
    pub engine: Engine,
    /// Where credentials come from.
    pub keychain: Arc<Keychain>,
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
        let look = match mirror.spec.suspend {
            true => None,
            false => Some(look(mirror, sources).await),
        };
        for destination in &mirror.spec.destinations {
            let registry = &destination.registry_ref.name;
            let repository = preview::repository(mirror, destination).unwrap_or_default();
            let mut entry = Entry::new(&title, &manifest.file, registry, Vec::new()).of_repository(&repository);
            match &look {
                None => entry.notes.push("spec.suspend is true: nothing would be looked at or copied".to_owned()),
                Some(Err(failure)) => entry.outcome = refused(failure),
                Some(Ok(look)) => fill(&mut entry, mirror, look, destination, connections).await,
            }
            entries.push(entry);
        }
    }
    entries
}

async fn look(mirror: &ImageMirror, sources: &Sources) -> Result<Look, Failure> {
    let engine = match mirror.spec.source.image.parse::<Repository>() {
        Ok(repository) => {
            let credentials = ForRepository { keychain: sources.keychain.clone(), repository };
            sources.engine.with_credentials(Arc::new(credentials))
        }
        // The look says what is wrong with it.
        Err(_) => sources.engine.clone(),
    };
    preview::look(mirror, &engine, Timestamp::now()).await
}

async fn fill(
    entry: &mut Entry,
    mirror: &ImageMirror,
    look: &Look,
    destination: &MirrorDestination,
    connections: &Connections,
) {
    // A registry that is missing or can't be reached is told of where the mirror's repository is.
    let ecr = match connections.get(&destination.registry_ref.name) {
        Some(Ok(ecr)) => ecr,
        Some(Err(failure)) => {
            entry.outcome = refused(failure);
            return;
        }
        None => {
            entry.notes.push("the files don't have its EcrRegistry: what is there is not known".to_owned());
            return;
        }
    };
    entry.uri = Some(ecr.repository_uri(entry.repository.as_deref().unwrap_or_default()));
    match preview::fates(mirror, look, destination, ecr).await {
        Ok(fates) => {
            entry.changes =
                fates.iter().filter_map(|(name, fate)| change(mirror, look.selected.get(name), name, fate)).collect();
            let copies = |fate: &Fate| matches!(fate, Fate::Copied { .. } | Fate::Moved { .. });
            if fates.values().any(copies) {
                entry.outcome = Outcome::Change;
            }
            entry.changes.extend(rejections(&look.rejected));
            entry.notes.push(counts(look, &fates));
        }
        Err(failure) => entry.outcome = refused(&failure),
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
    let lines = |mut tags: Vec<&str>| {
        tags.sort_unstable();
        tags.chunks(A_LINE).map(|line| line.join(" ")).collect()
    };
    by_rule
        .into_iter()
        .map(|(rule, tags)| Change::note(format!("not selected ({rule}), {} of them", tags.len())).with(lines(tags)))
        .collect()
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
    fn what_is_not_selected_is_listed_with_its_rule() {
        let mut rejected: Vec<_> = (0..12).map(|n| (format!("1.{n}"), RejectedBy::Semver)).collect();
        rejected.push(("latest".into(), RejectedBy::NotAVersion));
        let changes = rejections(&rejected);
        assert_eq!(changes[0].action, "not selected (not a version), 1 of them");
        assert_eq!((changes[1].action.as_str(), changes[1].details.len()), ("not selected (semver), 12 of them", 2));
        assert!(changes[1].details[1].ends_with("1.9"), "{:?}", changes[1].details);
    }
}
