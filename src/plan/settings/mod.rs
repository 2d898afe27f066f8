//! What applying EcrRegistry manifests would change in the settings of registries, by their controller's decisions.

mod before;
mod changes;
mod template;
mod told;

use futures::{StreamExt as _, stream};
use kube::{Resource as _, ResourceExt as _};

use super::report::{Entry, Outcome};
use super::{AT_ONCE, Connections, Question};
use crate::api::{EcrRegistry, RegistrySettings};
use crate::controllers::failure::Failure;
use crate::controllers::registry::desired::{Place, desired};
use crate::controllers::registry::observe::observe;
use crate::controllers::registry::rival;
use crate::controllers::registry::setting::{Part, Setting};
use crate::controllers::registry::settle::{concerned, refused};
use crate::ecr::{Ecr, EcrError};
use crate::manifests::{Manifest, Object};
use before::Known;
use told::Told;

/// An EcrRegistry that has settings, or had some.
struct Subject {
    title: String,
    file: String,
    object: EcrRegistry,
    known: Known,
    /// Whether it is in `base` alone.
    goes: bool,
}

impl Subject {
    fn settings(&self) -> RegistrySettings {
        self.object.spec.settings.clone().unwrap_or_default()
    }
}

/// An entry for each registry whose settings the manifests are about, in their order; what goes comes last.
pub(super) async fn plan(question: &Question<'_>, connections: &Connections) -> Vec<Entry> {
    let subjects = subjects(question);
    let reached = |it: &EcrRegistry| connections.get(&it.name_any()).cloned();
    let staying = subjects.iter().filter(|subject| !subject.goes).map(|subject| &subject.object);
    let rivals: Vec<EcrRegistry> =
        staying.map(|object| with_account(object, reached(object).and_then(Result::ok).as_deref())).collect();
    stream::iter(&subjects)
        .map(|subject| async {
            let mut entry = Entry::new(&subject.title, &subject.file, &subject.object.name_any(), Vec::new());
            if subject.goes {
                // Its controller has nothing to do before it may go.
                entry.notes.push(
                    "the object goes, and nothing changes in ECR: what it has set stays as it is; take the parts out of spec.settings first if they are to go"
                        .to_owned(),
                );
                return entry;
            }
            match reached(&subject.object) {
                Some(Ok(ecr)) => {
                    entry.uri = Some(ecr.host.clone());
                    keep(subject, &ecr, &rivals, &mut entry).await;
                }
                Some(Err(failure)) => entry.outcome = failed(failure),
                None => {}
            }
            entry
        })
        .buffered(AT_ONCE)
        .collect()
        .await
}

fn failed(failure: Failure) -> Outcome {
    Outcome::refused(failure.reason.as_str(), failure.message)
}

/// Decides as the controller would, unless another object keeps the settings.
async fn keep(subject: &Subject, ecr: &Ecr, rivals: &[EcrRegistry], entry: &mut Entry) {
    let (settings, place) = (subject.settings(), Place::of(ecr));
    match rival::refuse(&with_account(&subject.object, Some(ecr)), &place, rivals) {
        Some(_) if settings == RegistrySettings::default() => {
            entry.notes.push("nothing changes in ECR: another EcrRegistry manages these settings".to_owned());
        }
        Some(failure) => {
            entry.outcome = failed(failure);
            if rivals.iter().any(|rival| rival.creation_timestamp().is_none()) {
                entry.notes.push(
                    "which one is older only a cluster knows: here it is what is in --base, or else the first in the files"
                        .to_owned(),
                );
            }
        }
        None => look(&settings, &place, &subject.known, async |part| observe(ecr, part).await).await.tell(entry),
    }
}

/// Looks at what the settings are about, and plans each part.
async fn look(
    settings: &RegistrySettings,
    place: &Place,
    known: &Known,
    observe: impl AsyncFn(Part) -> Result<Setting, EcrError>,
) -> Told {
    let mut wanted = desired(settings, place);
    let mut told = Told::new(known, place);
    told.leaving(&wanted);
    for part in concerned(&wanted, told.held()) {
        match wanted.remove(&part).transpose() {
            Ok(wanted) => match observe(part).await {
                Ok(present) => told.part(part, wanted.as_ref(), &present),
                Err(error) => told.failed(refused(part, None, error)),
            },
            Err(failure) => told.failed(failure),
        }
    }
    told
}

/// The registries of both sides that have settings, or had some.
fn subjects(question: &Question<'_>) -> Vec<Subject> {
    let mut before: Vec<(&Manifest, &EcrRegistry)> = registries(question.base).collect();
    let ages: Vec<String> = before.iter().map(|(manifest, _)| manifest.title()).collect();
    let mut subjects = Vec::new();
    for (manifest, object) in registries(question.manifests) {
        let title = manifest.title();
        let found = before.iter().position(|(before, _)| before.title() == title);
        let old = found.map(|index| before.remove(index).1);
        let age = ages.iter().position(|it| *it == title).unwrap_or(ages.len() + subjects.len());
        subjects.push(Subject {
            title,
            file: manifest.file.clone(),
            object: with_age(object, old, age),
            known: Known::of(object, old, !question.base.is_empty()),
            goes: false,
        });
    }
    subjects.extend(before.into_iter().map(|(manifest, object)| Subject {
        title: manifest.title(),
        file: manifest.file.clone(),
        object: object.clone(),
        known: Known::of(object, Some(object), true),
        goes: true,
    }));
    subjects.retain(|it| it.settings() != RegistrySettings::default() || !it.known.is_nothing());
    subjects
}

fn registries(manifests: &[Manifest]) -> impl Iterator<Item = (&Manifest, &EcrRegistry)> {
    manifests.iter().filter_map(|manifest| match &manifest.object {
        Some(Object::Registry(object)) => Some((manifest, object)),
        _ => None,
    })
}

/// Which of several objects for one registry is older only a cluster knows. Where neither side has it from there, what is
/// in `base` is older than what is new, and what comes first older than what comes after.
fn with_age(object: &EcrRegistry, old: Option<&EcrRegistry>, place: usize) -> EcrRegistry {
    let mut object = object.clone();
    let told = [Some(object.meta().clone()), old.map(|old| old.meta().clone())];
    let told = told.into_iter().flatten().find(|it| it.creation_timestamp.is_some());
    let meta = object.meta_mut();
    (meta.creation_timestamp, meta.uid) = match told {
        Some(told) => (told.creation_timestamp, told.uid),
        // Those of one second are told apart by their UID.
        None => (None, Some(format!("{place:08}"))),
    };
    object
}

/// The object with the account that it reaches.
fn with_account(object: &EcrRegistry, ecr: Option<&Ecr>) -> EcrRegistry {
    let mut object = object.clone();
    if let Some(ecr) = ecr {
        object.status.get_or_insert_default().account_id = Some(ecr.identity.account_id.clone());
    }
    object
}

#[cfg(test)]
mod tests;
