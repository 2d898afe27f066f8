//! Which images the workloads of this cluster use: an index over watches that keep nothing else of an object.
//!
//! Pods are watched once somebody asks for them, what makes pods (Deployments and the like) once somebody asks for that: an
//! operator that needs neither reads neither.

mod index;
mod object;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};

use futures::{StreamExt as _, future};
use kube::core::ApiResource;
use kube::runtime::watcher::Event;
use kube::{Client, ResourceExt as _};
use tokio::sync::Notify;

use self::index::Index;
use self::object::{Images, Workload};
use super::chain;
use super::scope::Scope;
use super::signals::{Signal, Signals};

/// The images that workloads use, by repository and by namespace. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Workloads(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pods: Watched,
    templates: Vec<Watched>,
}

/// One kind, and what is known of its objects.
#[derive(Debug)]
struct Watched {
    resource: ApiResource,
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

/// What is known about the use of images.
#[derive(Clone, Debug, PartialEq)]
pub enum Usage<T = Uses> {
    /// The objects are being read.
    Filling,
    /// The objects can't be read.
    Unknown {
        /// What the API server said.
        problem: String,
    },
    /// These images are in use, and no others.
    Known(T),
}

/// The images of one repository that are in use: by tag or digest, who names it or runs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses(pub BTreeMap<String, BTreeSet<WorkloadName>>);

/// The names of images, as they stand in the workloads of each namespace.
pub type NamedImages = BTreeMap<Arc<str>, BTreeSet<Arc<str>>>;

/// What the pods of each namespace have.
pub type PodImages = BTreeMap<Arc<str>, ImagesOfPods>;

/// What pods have, each with how many of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImagesOfPods {
    /// Names of images.
    pub named: BTreeMap<Arc<str>, u64>,
    /// Those of pods that want to keep them.
    pub kept: BTreeMap<Arc<str>, u64>,
    /// Those that stand in place of others: the other, and the image.
    pub rewritten: BTreeMap<(Arc<str>, Arc<str>), u64>,
}

/// A pod, or something that makes pods.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadName {
    /// Its kind.
    pub kind: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl Default for Workloads {
    fn default() -> Self {
        let watched = |resource| Watched { resource, wanted: Notify::new(), state: RwLock::default() };
        Self(Arc::new(Shared {
            pods: watched(object::pods()),
            templates: object::templates().into_iter().map(watched).collect(),
        }))
    }
}

impl Workloads {
    /// Has the watch of pods started, if it is not going on: somebody is going to ask.
    pub fn want_pods(&self) {
        self.0.pods.wanted.notify_one();
    }

    /// The images that pods use, of those whose names begin with one of these repository URIs.
    pub fn pods_of_repository(&self, uris: &[String]) -> Usage {
        gather([&self.0.pods], |index, uses: &mut Uses| index.add_uses(uris, uses))
    }

    /// The images that pods use or that what makes pods names, of those whose names begin with one of these repository
    /// URIs.
    pub fn of_repository(&self, uris: &[String]) -> Usage {
        gather(self.all(), |index, uses: &mut Uses| index.add_uses(uris, uses))
    }

    /// How many pods of the wanted namespaces have which images.
    pub fn pods_by_image(&self, wanted: impl Fn(&str) -> bool) -> Usage<PodImages> {
        gather([&self.0.pods], |index, images| index.add_counts(&wanted, images))
    }

    /// The images that the workloads of the wanted namespaces name.
    pub fn of_namespaces(&self, wanted: impl Fn(&str) -> bool) -> Usage<NamedImages> {
        gather(self.all(), |index, images| index.add_named(&wanted, images))
    }

    fn all(&self) -> impl Iterator<Item = &Watched> {
        std::iter::once(&self.0.pods).chain(&self.0.templates)
    }

    /// Watches the objects, each kind once somebody has asked, and signals when a namespace names an image that it did not
    /// name before. Never ends.
    pub(super) fn watch(
        &self,
        client: Client,
        scope: Scope,
        signals: Signals,
    ) -> impl Future<Output = ()> + Send + 'static {
        let count = 1 + self.0.templates.len();
        let watches = (0..count).map(move |kind| {
            let (shared, client, scope, signals) = (self.0.clone(), client.clone(), scope.clone(), signals.clone());
            async move {
                let watched = if kind == 0 { &shared.pods } else { &shared.templates[kind - 1] };
                watched.watch(client, scope, signals).await;
            }
        });
        let watches = future::join_all(watches);
        async move { drop(watches.await) }
    }
}

/// Puts together what is known of several kinds, and has their watches started.
fn gather<'w, T: Default>(
    kinds: impl IntoIterator<Item = &'w Watched>,
    mut add: impl FnMut(&Index, &mut T),
) -> Usage<T> {
    let (mut gathered, mut filling) = (T::default(), false);
    let mut unknown = None;
    for kind in kinds {
        kind.wanted.notify_one();
        let state = kind.state.read().unwrap_or_else(PoisonError::into_inner);
        match (&state.problem, state.filled) {
            (_, true) => add(&state.index, &mut gathered),
            (Some(problem), false) => unknown = Some(problem.clone()),
            (None, false) => filling = true,
        }
    }
    match unknown {
        Some(problem) => Usage::Unknown { problem },
        None if filling => Usage::Filling,
        None => Usage::Known(gathered),
    }
}

impl Watched {
    async fn watch(&self, client: Client, scope: Scope, signals: Signals) {
        self.wanted.notified().await;
        let kind: Arc<str> = self.resource.kind.as_str().into();
        tracing::info!(%kind, "these objects are watched now, to tell which images are in use");
        scope
            .watch_with::<Workload>(&client, &self.resource)
            .for_each(|event| {
                if let Err(error) = &event {
                    tracing::warn!(%kind, error = %chain(error), "a watch of workloads failed and is started anew");
                }
                let news = {
                    let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
                    state.take(&kind, event.map_err(|error| chain(&error)))
                };
                if news {
                    signals.send(Signal::Images);
                }
                future::ready(())
            })
            .await;
    }
}

impl State {
    /// Takes note of an event. Says whether it may be that a namespace names an image that it did not before.
    fn take(&mut self, kind: &Arc<str>, event: Result<Event<Workload>, String>) -> bool {
        match event {
            Ok(Event::Init) => self.arriving = Some(Index::default()),
            Ok(Event::InitApply(object)) => {
                self.arriving.get_or_insert_default().put(WorkloadName::of(kind, &object), &Images::of(&object));
            }
            Ok(Event::InitDone) => {
                self.index = self.arriving.take().unwrap_or_default();
                self.filled = true;
                self.problem = None;
                return true;
            }
            Ok(Event::Apply(object)) => return self.index.put(WorkloadName::of(kind, &object), &Images::of(&object)),
            Ok(Event::Delete(object)) => self.index.remove(&WorkloadName::of(kind, &object)),
            Err(problem) => self.problem = Some(problem),
        }
        false
    }
}

impl WorkloadName {
    fn of(kind: &Arc<str>, object: &Workload) -> Self {
        Self {
            kind: kind.clone(),
            namespace: object.namespace().unwrap_or_default().into(),
            name: object.name_any().into(),
        }
    }
}

impl std::fmt::Display for WorkloadName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

impl Uses {
    /// Whether nothing of the repository is in use.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who runs the image with this digest, or names one of these tags.
    pub fn of_image<'a>(&'a self, digest: &str, tags: &[String]) -> BTreeSet<&'a WorkloadName> {
        let references = tags.iter().map(String::as_str).chain([digest]);
        references.filter_map(|reference| self.0.get(reference)).flatten().collect()
    }
}

#[cfg(test)]
mod tests;
