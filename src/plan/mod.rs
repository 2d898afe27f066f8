//! What applying manifests would change in ECR, without a cluster and without changing anything: repositories here, the
//! settings of registries in `settings`.
//!
//! The decisions are the controllers' own: the same functions plan here and there. What only a cluster knows is taken from
//! elsewhere: EcrRegistry objects and labels of namespaces from the files, and what objects managed before from `base`,
//! the manifests as they are now.

mod actions;
mod mirrors;
mod pods;
mod report;
mod settings;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use kube::ResourceExt as _;
use prometheus_client::registry::Registry;

use crate::api::conditions::Reason;
use crate::api::{DeletionPolicy, EcrRegistry, EcrRegistrySpec, EcrRepository, EcrRepositoryStatus, ManagementPolicy};
use crate::controllers::access::{Use, authorise};
use crate::controllers::failure::Failure;
use crate::controllers::mirror;
use crate::controllers::repository::desired::Desired;
use crate::controllers::repository::observe::{Depth, observe};
use crate::controllers::repository::owner::Owner;
use crate::controllers::repository::plan::{self, Deletion};
use crate::ecr::Ecr;
use crate::manifests::{Manifest, Object};
use crate::metrics::Metrics;
pub use mirrors::Sources;
pub use pods::{Judged, NotAllowed, PodImage, Pods};
pub use report::{Change, Entry, Outcome, Report, Sign};

/// How many repositories, or registries, are looked at at once. ECR's limits are kept by the client.
const AT_ONCE: usize = 16;

/// What to plan.
#[derive(Debug, Default)]
pub struct Question<'a> {
    /// The manifests that would be applied.
    pub manifests: &'a [Manifest],
    /// The manifests as they are now. What is in them and no longer in `manifests` would be deleted.
    pub base: &'a [Manifest],
    /// The UID of the cluster that owner tags name. Without it, tags of any cluster with the same namespace and name count
    /// as the object's own.
    pub cluster: Option<&'a str>,
    /// The region of the EcrRegistry `default`, where the manifests have none of that name.
    pub region: Option<&'a str>,
    /// Whether to tell which pods of the manifests a rewrite would change.
    pub pods: bool,
    /// Name of the EcrRegistry that pods pull from, where a mirror has several.
    pub own_registry: Option<&'a str>,
    /// How the sources of mirrors are read, to tell which images would be copied. Without it they are not looked at.
    pub sources: Option<Sources>,
}

/// A repository that the manifests are about.
struct Subject {
    title: String,
    file: String,
    object: EcrRepository,
    /// The same object in `base`.
    before: Option<EcrRepository>,
    /// Whether it is in `base` alone.
    goes: bool,
    notes: Vec<String>,
}

/// Looks at ECR and says what would change.
pub async fn plan(question: &Question<'_>) -> Report {
    let registries = registries(question);
    let connections = connect(&registries).await;
    let subjects = subjects(question);
    let first_claims = first_claims(&subjects);
    let mut repositories: Vec<Entry> = stream::iter(&subjects)
        .map(|subject| async {
            let claim = (subject.object.spec.registry_ref.name.clone(), subject.object.repository_name());
            let mut entry =
                Entry::new(&subject.title, &subject.file, &claim.0, subject.notes.clone()).of_repository(&claim.1);
            let first = &first_claims[&claim];
            entry.outcome = if *first != subject.title && !subject.goes {
                Outcome::refused(
                    "OwnedByAnother",
                    format!("{} is claimed by {first} too: the older object keeps it", claim.1),
                )
            } else {
                match look(question, subject, &registries, &connections, &mut entry).await {
                    Ok(outcome) => outcome,
                    Err(failure) => Outcome::refused(failure.reason.as_str(), failure.message),
                }
            };
            entry
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    repositories.extend(mirrors::entries(question, &connections).await);
    let pods = question.pods.then(|| {
        let registries = with_hosts(registries, &connections);
        pods::pods(question.manifests, &registries, question.own_registry)
    });
    Report { registries: settings::plan(question, &connections).await, repositories, pods }
}

/// EcrRegistry objects by name. Those of `base` serve what goes.
fn registries(question: &Question<'_>) -> BTreeMap<String, EcrRegistry> {
    let mut all = BTreeMap::new();
    let spec = question.region.map(|region| serde_json::json!({"region": region}));
    if let Some(spec) = spec.and_then(|spec| serde_json::from_value::<EcrRegistrySpec>(spec).ok()) {
        all.insert("default".to_owned(), EcrRegistry::new("default", spec));
    }
    for manifest in question.base.iter().chain(question.manifests) {
        if let Some(Object::Registry(registry)) = &manifest.object {
            all.insert(registry.name_any(), registry.clone());
        }
    }
    all
}

/// The registries, each with its host, which those of files that nobody has applied don't say.
fn with_hosts(
    mut registries: BTreeMap<String, EcrRegistry>,
    connections: &Connections,
) -> BTreeMap<String, EcrRegistry> {
    for (name, registry) in &mut registries {
        if let Some(Ok(ecr)) = connections.get(name) {
            registry.status.get_or_insert_default().registry_host.get_or_insert_with(|| ecr.host.clone());
        }
    }
    registries
}

type Connections = HashMap<String, Result<Arc<Ecr>, Failure>>;

async fn connect(registries: &BTreeMap<String, EcrRegistry>) -> Connections {
    let metrics = Metrics::register(&mut Registry::default());
    let mut connections = HashMap::new();
    for (name, registry) in registries {
        let connection = Ecr::connect(&registry.spec, &metrics).await.map(Arc::new).map_err(Failure::from);
        connections.insert(name.clone(), connection);
    }
    connections
}

/// The repositories of both sides: EcrRepository objects, and those that mirrors make.
fn subjects(question: &Question<'_>) -> Vec<Subject> {
    let mut before: BTreeMap<String, (String, EcrRepository)> = BTreeMap::new();
    for (title, file, object) in question.base.iter().flat_map(repositories) {
        before.insert(title, (file, object));
    }
    let mut subjects = Vec::new();
    for (title, file, object) in question.manifests.iter().flat_map(repositories) {
        let before = before.remove(&title).map(|(_, object)| object);
        let notes = Vec::new();
        subjects.push(Subject { title, file, object, before, goes: false, notes });
    }
    let left = before.into_iter().map(|(title, (file, object))| Subject {
        title,
        file,
        object: object.clone(),
        before: Some(object),
        goes: true,
        notes: Vec::new(),
    });
    subjects.extend(left);
    subjects
}

fn repositories(manifest: &Manifest) -> Vec<(String, String, EcrRepository)> {
    match &manifest.object {
        Some(Object::Repository(object)) => vec![(manifest.title(), manifest.file.clone(), object.clone())],
        Some(Object::Mirror(object)) => mirror::children(object)
            .into_iter()
            .map(|child| (format!("{} ({})", manifest.title(), child.repository_name()), manifest.file.clone(), child))
            .collect(),
        _ => Vec::new(),
    }
}

/// Which object claims each repository first. Which one is older only a cluster knows.
fn first_claims(subjects: &[Subject]) -> HashMap<(String, String), String> {
    let mut claims = HashMap::new();
    for subject in subjects {
        let claim = (subject.object.spec.registry_ref.name.clone(), subject.object.repository_name());
        claims.entry(claim).or_insert_with(|| subject.title.clone());
    }
    claims
}

/// Looks at one repository and decides as its controller would.
async fn look(
    question: &Question<'_>,
    subject: &Subject,
    registries: &BTreeMap<String, EcrRegistry>,
    connections: &Connections,
    entry: &mut Entry,
) -> Result<Outcome, Failure> {
    let object = with_what_it_managed(&subject.object, subject.before.as_ref());
    let reference = &object.spec.registry_ref.name;
    let (Some(registry), Some(connection)) = (registries.get(reference), connections.get(reference)) else {
        return Err(Failure::stalled(
            Reason::RegistryNotFound,
            format!(
                "the files have no EcrRegistry {reference:?}: give its file too, or --region for the one named default"
            ),
        ));
    };
    allowed(question, registry, &object)?;
    let ecr = connection.clone()?;
    entry.uri = Some(ecr.repository_uri(&object.repository_name()));
    let owner = Owner::of(&object, question.cluster);
    if subject.goes {
        return goes(&ecr, &object, &owner, entry).await;
    }
    let desired = Desired::new(&object, owner)?;
    let listed = ecr.listed(&desired.name).await?;
    let observed = observe(&ecr, &desired, listed, Depth::Everything).await?;
    if object.spec.management_policy == ManagementPolicy::Observe {
        return Ok(match &observed.existing {
            None => Outcome::refused(
                "RepositoryNotFound",
                "it does not exist, and managementPolicy Observe creates nothing",
            ),
            Some(existing) => {
                entry.changes = plan::differences(&desired, existing).into_iter().map(Change::note).collect();
                Outcome::Observed
            }
        });
    }
    let planned = plan::plan(&desired, &observed)?;
    if subject.before.is_none() && object.status.is_none() {
        entry.notes.extend(actions::unknown(&desired, &observed));
    }
    entry.changes = planned.iter().map(|action| actions::change(action, &observed)).collect();
    Ok(match planned.first() {
        None => Outcome::Unchanged,
        Some(_) if observed.existing.is_none() => Outcome::Create,
        Some(_) => Outcome::Change,
    })
}

/// What a deletion of the object would do.
async fn goes(ecr: &Ecr, object: &EcrRepository, owner: &Owner, entry: &mut Entry) -> Result<Outcome, Failure> {
    if object.spec.management_policy == ManagementPolicy::Observe {
        return Ok(Outcome::Unchanged);
    }
    let name = object.repository_name();
    let listed = ecr.listed(&name).await?;
    let desired = Desired::nothing(&name, owner.clone());
    let observed = observe(ecr, &desired, listed, Depth::Managed).await?;
    match plan::deletion(object.spec.deletion_policy, owner, &observed) {
        Deletion::Nothing { because } => {
            entry.notes.push(format!("nothing happens in ECR: {because}"));
            Ok(Outcome::Unchanged)
        }
        Deletion::Release { arn: _, because } => {
            entry
                .changes
                .push(Change::new(Sign::Change, format!("keep the repository and remove its owner tags: {because}")));
            Ok(Outcome::Change)
        }
        Deletion::Delete { force } => {
            const LIMIT: usize = 1000;
            let images = match ecr.image_count(&name, LIMIT).await? {
                0 => "no images".to_owned(),
                1 => "1 image".to_owned(),
                LIMIT.. => format!("{LIMIT} images or more"),
                count => format!("{count} images"),
            };
            let policy = object.spec.deletion_policy;
            if !force && images != "no images" {
                debug_assert_eq!(policy, DeletionPolicy::Delete);
                return Ok(Outcome::refused(
                    "ImagesRemain",
                    format!("it has {images}, and deletionPolicy Delete waits until none is left"),
                ));
            }
            entry.changes.push(Change::new(Sign::Delete, format!("delete the repository, which has {images}")));
            Ok(Outcome::Delete)
        }
    }
}

/// The object with the status that it has where `before` was applied: without it, nobody knows what came from the object.
fn with_what_it_managed(object: &EcrRepository, before: Option<&EcrRepository>) -> EcrRepository {
    let mut object = object.clone();
    if object.status.is_none()
        && let Some(before) = before
    {
        let settings = &before.spec.settings;
        object.status = Some(EcrRepositoryStatus {
            manages_lifecycle: settings.lifecycle.is_some(),
            manages_policy: settings.access.is_some() || settings.policy.is_some(),
            managed_tag_keys: settings.tags.keys().cloned().collect(),
            ..EcrRepositoryStatus::default()
        });
    }
    object
}

/// Whether the object's namespace may use the repository, by the labels that the files give the namespace. Its name is a
/// label that every namespace has.
fn allowed(question: &Question<'_>, registry: &EcrRegistry, object: &EcrRepository) -> Result<(), Failure> {
    let namespace = object.namespace().unwrap_or_default();
    let found = question
        .manifests
        .iter()
        .find(|it| it.value["kind"] == "Namespace" && it.value["metadata"]["name"] == namespace.as_str());
    let mut labels: BTreeMap<String, String> = found
        .and_then(|manifest| serde_json::from_value(manifest.value["metadata"]["labels"].clone()).ok())
        .unwrap_or_default();
    labels.insert("kubernetes.io/metadata.name".to_owned(), namespace.clone());
    authorise(registry, &namespace, &labels, Use::Repository(&object.repository_name())).map_err(|mut failure| {
        if found.is_none() {
            failure.message.push_str(&format!(
                "; the files don't have the Namespace {namespace}, so its labels are not known here: give its file too"
            ));
        }
        failure
    })
}

#[cfg(test)]
mod tests;
