//! Which images the pods of this cluster run: an index over a watch that keeps nothing else of a pod.
//!
//! The watch starts when somebody asks first: without lifecycle previews no pod is read.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::Deserialize;
use tokio::sync::Notify;

use super::chain;

/// The images that pods run, by repository. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Workloads(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    wanted: Notify,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    index: Index,
    /// The list that is being read, until it is complete.
    arriving: Option<Index>,
    filled: bool,
    problem: Option<String>,
}

/// What is known about the use of a repository.
#[derive(Clone, Debug, PartialEq)]
pub enum Usage {
    /// The pods are being read.
    Filling,
    /// The pods can't be read.
    Unknown {
        /// What the API server said.
        problem: String,
    },
    /// These images are in use, and no others.
    Known(Uses),
}

/// The images of one repository that are in use: by tag or digest, the pods that name it or run it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses(pub BTreeMap<String, BTreeSet<PodName>>);

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodName {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl Workloads {
    /// Has the watch started, if it is not going on: somebody is going to ask.
    pub fn want(&self) {
        self.0.wanted.notify_one();
    }

    /// The images in use whose names begin with one of these repository URIs.
    pub fn of_repository(&self, uris: &[String]) -> Usage {
        self.want();
        let state = self.0.state.read().unwrap_or_else(PoisonError::into_inner);
        match (&state.problem, state.filled) {
            (_, true) => Usage::Known(state.index.uses(uris)),
            (Some(problem), false) => Usage::Unknown { problem: problem.clone() },
            (None, false) => Usage::Filling,
        }
    }

    /// Watches the pods of all namespaces, once somebody has asked. Never ends.
    pub(super) fn watch(&self, client: Client) -> impl Future<Output = ()> + Send + 'static {
        let shared = self.0.clone();
        async move {
            shared.wanted.notified().await;
            tracing::info!("pods are watched now, to tell which images are in use");
            let pods = watcher(Api::<PodImages>::all(client), watcher::Config::default()).default_backoff();
            pods.for_each(|event| {
                if let Err(error) = &event {
                    tracing::warn!(error = %chain(error), "the watch of pods failed and is started anew");
                }
                let mut state = shared.state.write().unwrap_or_else(PoisonError::into_inner);
                state.take(event.map_err(|error| chain(&error)));
                futures::future::ready(())
            })
            .await;
        }
    }
}

impl State {
    fn take(&mut self, event: Result<Event<PodImages>, String>) {
        match event {
            Ok(Event::Init) => self.arriving = Some(Index::default()),
            Ok(Event::InitApply(pod)) => self.arriving.get_or_insert_default().put(&pod),
            Ok(Event::InitDone) => {
                self.index = self.arriving.take().unwrap_or_default();
                self.filled = true;
                self.problem = None;
            }
            Ok(Event::Apply(pod)) => self.index.put(&pod),
            Ok(Event::Delete(pod)) => self.index.remove(&pod.name()),
            Err(problem) => self.problem = Some(problem),
        }
    }
}

/// All that is read of a pod.
#[derive(Clone, Debug, Default, Deserialize, Resource)]
#[resource(inherit = "Pod")]
struct PodImages {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    ephemeral_containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
    image: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    name: String,
    #[serde(rename = "imageID")]
    image_id: String,
}

impl PodImages {
    fn name(&self) -> PodName {
        PodName {
            namespace: self.metadata.namespace.as_deref().unwrap_or_default().into(),
            name: self.metadata.name.as_deref().unwrap_or_default().into(),
        }
    }

    /// The pairs of repository and tag or digest that the pod names, and those that it runs.
    fn images(&self) -> BTreeSet<(String, String)> {
        // What has come to its end pulls nothing any more.
        if matches!(self.status.phase.as_str(), "Succeeded" | "Failed") {
            return BTreeSet::new();
        }
        let Spec { containers, init_containers, ephemeral_containers } = &self.spec;
        let Status { phase: _, container_statuses, init_container_statuses, ephemeral_container_statuses } =
            &self.status;
        let mut images = BTreeSet::new();
        let mut named = HashMap::new();
        for container in containers.iter().chain(init_containers).chain(ephemeral_containers) {
            let (repository, references) = split(&container.image);
            named.insert(container.name.as_str(), repository);
            images.extend(references.into_iter().map(|reference| (repository.to_owned(), reference.to_owned())));
        }
        for status in container_statuses.iter().chain(init_container_statuses).chain(ephemeral_container_statuses) {
            // Without a repository it is the runtime's own ID of the image, which no registry knows.
            let Some((repository, digest)) = status.image_id.rsplit_once('@') else { continue };
            let repository = repository.strip_prefix("docker-pullable://").unwrap_or(repository);
            // Of an image that it has under several names the runtime reports any.
            let names = named.get(status.name.as_str()).copied().into_iter().chain([repository]);
            images.extend(names.map(|name| (name.to_owned(), digest.to_owned())));
        }
        images
    }
}

/// The repository of an image's name, and what follows it: tag, digest, or both; `latest` if there is neither.
fn split(image: &str) -> (&str, Vec<&str>) {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    // A colon before the last slash is a port's.
    let path = name.rfind('/').map_or(0, |slash| slash + 1);
    let (repository, tag) = match name[path..].find(':') {
        Some(colon) => (&name[..path + colon], Some(&name[path + colon + 1..])),
        None => (name, None),
    };
    match (tag, digest) {
        (None, None) => (repository, vec!["latest"]),
        (tag, digest) => (repository, tag.into_iter().chain(digest).collect()),
    }
}

/// A repository, and a tag or digest in it.
type Image = (Arc<str>, Arc<str>);

/// Pods by repository and reference, and back. Texts are kept once, however many pods share them.
#[derive(Debug, Default)]
struct Index {
    pods: HashMap<PodName, Box<[Image]>>,
    repositories: HashMap<Arc<str>, HashMap<Arc<str>, HashSet<PodName>>>,
    namespaces: HashSet<Arc<str>>,
}

impl Index {
    /// Takes note of what a pod is like now.
    fn put(&mut self, pod: &PodImages) {
        let mut name = pod.name();
        self.remove(&name);
        let images = pod.images();
        if images.is_empty() {
            return;
        }
        name.namespace = self.namespaces.get(&name.namespace).cloned().unwrap_or_else(|| {
            self.namespaces.insert(name.namespace.clone());
            name.namespace.clone()
        });
        let kept: Box<[_]> =
            images.iter().map(|(repository, reference)| self.link(repository, reference, &name)).collect();
        self.pods.insert(name, kept);
    }

    fn link(&mut self, repository: &str, reference: &str, pod: &PodName) -> Image {
        let (repository, references) = match self.repositories.entry(repository.into()) {
            Entry::Occupied(entry) => (entry.key().clone(), entry.into_mut()),
            Entry::Vacant(entry) => (entry.key().clone(), entry.insert(HashMap::new())),
        };
        let (reference, pods) = match references.entry(reference.into()) {
            Entry::Occupied(entry) => (entry.key().clone(), entry.into_mut()),
            Entry::Vacant(entry) => (entry.key().clone(), entry.insert(HashSet::new())),
        };
        pods.insert(pod.clone());
        (repository, reference)
    }

    /// Forgets a pod.
    fn remove(&mut self, pod: &PodName) {
        for (repository, reference) in self.pods.remove(pod).unwrap_or_default() {
            let Some(references) = self.repositories.get_mut(&repository) else { continue };
            if let Some(pods) = references.get_mut(&reference) {
                pods.remove(pod);
                if pods.is_empty() {
                    references.remove(&reference);
                }
            }
            if references.is_empty() {
                self.repositories.remove(&repository);
            }
        }
    }

    fn uses(&self, uris: &[String]) -> Uses {
        let mut uses = BTreeMap::<String, BTreeSet<PodName>>::new();
        for (reference, pods) in uris.iter().filter_map(|uri| self.repositories.get(uri.as_str())).flatten() {
            uses.entry(reference.to_string()).or_default().extend(pods.iter().cloned());
        }
        Uses(uses)
    }
}

impl Uses {
    /// Whether nothing of the repository is in use.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pods that run the image with this digest, or name one of these tags.
    pub fn of_image<'a>(&'a self, digest: &str, tags: &[String]) -> BTreeSet<&'a PodName> {
        let references = tags.iter().map(String::as_str).chain([digest]);
        references.filter_map(|reference| self.0.get(reference)).flatten().collect()
    }
}

#[cfg(test)]
#[path = "workloads_tests.rs"]
mod tests;
