//! Which namespaces the operator works in, and watches over some of them that look like one.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use kube::core::{ApiResource, DynamicResourceScope};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

/// What a watch tells.
pub(super) type EventStream<K> = BoxStream<'static, Result<Event<K>, watcher::Error>>;

/// Which namespaces the operator works in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    #[default]
    All,
    /// These alone: it has no rights in others.
    Namespaces(Arc<BTreeSet<String>>),
}

impl Scope {
    /// These namespaces, and all of them where none is named.
    pub fn of(namespaces: impl IntoIterator<Item = String>) -> Self {
        let names = namespaces.into_iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        let namespaces: BTreeSet<_> = names.collect();
        if namespaces.is_empty() { Self::All } else { Self::Namespaces(Arc::new(namespaces)) }
    }

    /// Whether the operator works in this namespace.
    pub fn has(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Namespaces(names) => names.contains(namespace),
        }
    }

    /// What the objects of a kind are read through: one API over all namespaces, or one for each.
    pub(super) fn apis<K>(&self, client: &Client) -> Vec<Api<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match self {
            Self::All => vec![Api::all(client.clone())],
            Self::Namespaces(names) => names.iter().map(|name| Api::namespaced(client.clone(), name)).collect(),
        }
    }

    /// Watches the objects of a kind.
    pub(super) fn watch<K>(&self, client: &Client, config: &watcher::Config) -> EventStream<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        one_of(self.apis(client).into_iter().map(|api| watcher(api, config.clone()).default_backoff().boxed()))
    }

    /// Watches the objects of a kind that is known by its name.
    pub(super) fn watch_with<K>(&self, client: &Client, resource: &ApiResource) -> EventStream<K>
    where
        K: Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>,
        K: Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let apis: Vec<Api<K>> = match self {
            Self::All => vec![Api::all_with(client.clone(), resource)],
            Self::Namespaces(names) => {
                names.iter().map(|name| Api::namespaced_with(client.clone(), name, resource)).collect()
            }
        };
        one_of(apis.into_iter().map(|api| watcher(api, watcher::Config::default()).default_backoff().boxed()))
    }
}

fn one_of<K>(streams: impl Iterator<Item = EventStream<K>>) -> EventStream<K>
where
    K: Resource + Clone + Send + 'static,
{
    let mut streams: Vec<_> = streams.collect();
    match streams.len() {
        1 => streams.remove(0),
        _ => merged(streams).boxed(),
    }
}

/// Watches the objects of a kind that has no namespaces.
pub(super) fn watch_cluster<K>(client: &Client) -> EventStream<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    watcher(Api::all(client.clone()), watcher::Config::default()).default_backoff().boxed()
}

/// One watch made of several, each over a namespace of its own.
fn merged<K>(streams: Vec<EventStream<K>>) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static
where
    K: Resource + Clone + Send + 'static,
{
    let mut merge = Merge::new(streams.len());
    let numbered = streams.into_iter().enumerate().map(|(n, stream)| stream.map(move |event| (n, event)).boxed());
    stream::select_all(numbered).flat_map(move |(n, event)| {
        let events = match event {
            Ok(event) => merge.take(n, event).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        stream::iter(events)
    })
}

/// Makes the events of one watch out of those of several.
///
/// A store takes a new list for all that there is. So the first list is passed on when all parts have theirs, and a part
/// that is listed anew later becomes the changes since. For that each part's objects are kept a second time.
struct Merge<K> {
    parts: Vec<Part<K>>,
    filled: bool,
}

struct Part<K> {
    known: HashMap<String, K>,
    /// The list that is being read, until it is complete.
    arriving: Option<HashMap<String, K>>,
    listed: bool,
}

impl<K: Resource + Clone> Merge<K> {
    fn new(parts: usize) -> Self {
        let part = || Part { known: HashMap::new(), arriving: None, listed: false };
        Self { parts: (0..parts).map(|_| part()).collect(), filled: false }
    }

    fn take(&mut self, n: usize, event: Event<K>) -> Vec<Event<K>> {
        let Some(part) = self.parts.get_mut(n) else { return Vec::new() };
        let events = match event {
            Event::Init => {
                part.arriving = Some(HashMap::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                part.arriving.get_or_insert_default().insert(object.name_any(), object);
                Vec::new()
            }
            Event::InitDone => {
                let listed = part.arriving.take().unwrap_or_default();
                let before = std::mem::replace(&mut part.known, listed);
                part.listed = true;
                let gone = before.into_iter().filter(|(name, _)| !part.known.contains_key(name));
                let gone: Vec<_> = gone.map(|(_, object)| Event::Delete(object)).collect();
                gone.into_iter().chain(part.known.values().cloned().map(Event::Apply)).collect()
            }
            Event::Apply(object) => {
                part.known.insert(object.name_any(), object.clone());
                vec![Event::Apply(object)]
            }
            Event::Delete(object) => {
                part.known.remove(&object.name_any());
                vec![Event::Delete(object)]
            }
        };
        if self.filled {
            return events;
        }
        self.filled = self.parts.iter().all(|part| part.listed);
        if !self.filled {
            return Vec::new();
        }
        let all = self.parts.iter().flat_map(|part| part.known.values().cloned().map(Event::InitApply));
        std::iter::once(Event::Init).chain(all).chain([Event::InitDone]).collect()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(name: &str) -> ConfigMap {
        serde_json::from_value(serde_json::json!({"metadata": {"name": name}})).expect("a ConfigMap")
    }

    fn told(merge: &mut Merge<ConfigMap>, n: usize, event: Event<ConfigMap>) -> Vec<String> {
        let mut told: Vec<_> = merge
            .take(n, event)
            .into_iter()
            .map(|event| match event {
                Event::Init => "1 init".to_owned(),
                Event::InitApply(object) => format!("2 {}", object.name_any()),
                Event::InitDone => "3 done".to_owned(),
                Event::Apply(object) => format!("apply {}", object.name_any()),
                Event::Delete(object) => format!("delete {}", object.name_any()),
            })
            .collect();
        told.sort();
        told
    }

    fn list(merge: &mut Merge<ConfigMap>, n: usize, names: &[&str]) -> Vec<String> {
        assert_eq!(told(merge, n, Event::Init), Vec::<String>::new());
        for name in names {
            assert_eq!(told(merge, n, Event::InitApply(object(name))), Vec::<String>::new());
        }
        told(merge, n, Event::InitDone)
    }

    #[test]
    fn the_first_list_is_complete_when_all_parts_are() {
        let mut merge = Merge::new(2);
        assert_eq!(list(&mut merge, 0, &["a"]), Vec::<String>::new());
        assert_eq!(told(&mut merge, 0, Event::Apply(object("b"))), Vec::<String>::new());
        assert_eq!(told(&mut merge, 0, Event::Delete(object("a"))), Vec::<String>::new());
        assert_eq!(list(&mut merge, 1, &["c"]), ["1 init", "2 b", "2 c", "3 done"]);
    }

    #[test]
    fn a_part_that_is_listed_anew_takes_nothing_from_the_others() {
        let mut merge = Merge::new(2);
        list(&mut merge, 0, &["a", "b"]);
        list(&mut merge, 1, &["c"]);
        assert_eq!(list(&mut merge, 0, &["b", "d"]), ["apply b", "apply d", "delete a"]);
        assert_eq!(told(&mut merge, 1, Event::Apply(object("e"))), ["apply e"]);
        assert_eq!(list(&mut merge, 1, &["e"]), ["apply e", "delete c"]);
    }

    #[test]
    fn without_names_every_namespace_is_meant() {
        assert_eq!(Scope::of([]), Scope::All);
        assert_eq!(Scope::of(["".to_owned()]), Scope::All, "an empty variable of the environment");
        assert!(Scope::All.has("a"));
        let some = Scope::of(["a".to_owned()]);
        assert!(some.has("a") && !some.has("b"));
    }
}
