//! Watches: the caches that they fill, and what they tell.

use std::fmt::Debug;
use std::future::Future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use futures::{Stream, StreamExt as _, TryStreamExt as _, future};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{Predicate, WatchStreamExt as _, predicates};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::accounts::Accounts;
use super::chain;
use super::claims::Claims;
use super::scope::{EventStream, Scope, watch_cluster};
use super::signals::{Signal, Signals};
use crate::api::{
    EcrRegistry, EcrRepository, ImageEnforcement, ImageMirror, MANAGED_BY, MANAGED_BY_LABEL, RELEASE, SYNC_AT,
};

/// Objects of a kind as a watch shows them.
#[derive(Clone)]
pub struct Cache<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    /// The objects.
    pub store: Store<K>,
    filled: watch::Receiver<bool>,
}

/// The side of a [`Cache`] that tells when it is filled.
pub(super) struct Filled(watch::Sender<bool>);

impl<K> Cache<K>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    pub(super) fn new(store: Store<K>) -> (Self, Filled) {
        let (sender, filled) = watch::channel(false);
        (Self { store, filled }, Filled(sender))
    }

    /// Waits until all objects are there. `Store::wait_until_ready` of kube 5.0 does not do where several wait: it wakes
    /// the last one only.
    pub async fn filled(&self) {
        // The sender goes with its watch, when the program stops: nobody needs the answer any more.
        let _ = self.filled.clone().wait_for(|filled| *filled).await;
    }

    /// Whether all objects are there.
    pub fn is_filled(&self) -> bool {
        *self.filled.borrow()
    }
}

impl Filled {
    /// Takes note of an event that the store has seen.
    pub(super) fn observe<K>(&self, event: &Event<K>) {
        if matches!(event, Event::InitDone) {
            self.0.send_replace(true);
        }
    }
}

/// The objects of a kind in a store, and a stream of those whose reconcile is due to a change: another spec, another
/// set of finalizers, deletion, or a new value of an annotation that asks for something. Status writes, ours above all, don't count.
/// `news` is called for every event when the store shows it.
fn watch_and<K>(
    events: EventStream<K>,
    news: impl Fn(&Event<K>) + Send + 'static,
) -> (Cache<K>, impl Stream<Item = Result<K, watcher::Error>> + Send + 'static)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (store, writer) = reflector::store();
    let (cache, filled) = Cache::new(store);
    let stream = events
        .modify(slim)
        .reflect(writer)
        .inspect_ok(move |event| {
            filled.observe(event);
            news(event);
        })
        .applied_objects()
        .predicate_filter(changed(), Default::default());
    (cache, stream)
}

/// Drops what is most of an object and nobody here reads: who wrote which field, and what kubectl applied last.
fn slim<K: Resource>(object: &mut K) {
    const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
    object.managed_fields_mut().clear();
    object.annotations_mut().remove(LAST_APPLIED);
}

fn changed<K: Resource>() -> impl Predicate<K> {
    predicates::generation.combine(predicates::finalizers).combine(|object: &K| {
        let mut hasher = DefaultHasher::new();
        object.annotations().get(SYNC_AT).hash(&mut hasher);
        object.annotations().get(RELEASE).hash(&mut hasher);
        Some(hasher.finish())
    })
}

/// Like [`watch_and`]: tells everybody who uses a registry when it changed in any way, its status included.
pub(super) fn watch_registries(
    client: Client,
    signals: Signals,
) -> (Cache<EcrRegistry>, impl Stream<Item = Result<EcrRegistry, watcher::Error>> + Send + 'static) {
    watch_and(watch_cluster(&client), move |event| {
        signal(&signals, event, |registry: &EcrRegistry| Signal::Registry(registry.name_any()))
    })
}

/// Like [`watch_and`]: keeps the claims, tells who waits for one that was given up, and tells a mirror when one of its
/// repositories changed in any way, its status included.
pub(super) fn watch_repositories(
    events: EventStream<EcrRepository>,
    signals: Signals,
    claims: Arc<Claims>,
) -> (Cache<EcrRepository>, impl Stream<Item = Result<EcrRepository, watcher::Error>> + Send + 'static) {
    watch_and(events, move |event| {
        if let Some(claim) = claims.observe(event) {
            signals.send(Signal::Claim(claim));
        }
        signal_controller(&signals, event);
    })
}

/// Like [`watch_and`]: tells of every change, its status included, those who look at all mirrors, and a mirror of those that it
/// made.
pub(super) fn watch_mirrors(
    events: EventStream<ImageMirror>,
    signals: Signals,
) -> (Cache<ImageMirror>, impl Stream<Item = Result<ImageMirror, watcher::Error>> + Send + 'static) {
    watch_and(events, move |event| {
        signal_controller(&signals, event);
        if matches!(event, Event::Apply(_) | Event::Delete(_)) {
            signals.send(Signal::Mirrors);
        }
    })
}

/// Like [`watch_and`]: tells when an object has gone, and what it left has to go.
pub(super) fn watch_enforcements(
    client: &Client,
    signals: Signals,
) -> (Cache<ImageEnforcement>, impl Stream<Item = Result<ImageEnforcement, watcher::Error>> + Send + 'static) {
    watch_and(watch_cluster(client), move |event| {
        signal(&signals, event, |_: &ImageEnforcement| Signal::EnforcementGone)
    })
}

/// Tells the object in control of one that changed.
fn signal_controller<K: Resource>(signals: &Signals, event: &Event<K>) {
    match event {
        Event::Apply(object) | Event::Delete(object) => {
            let owners = object.owner_references().iter().filter(|owner| owner.controller == Some(true));
            owners.for_each(|owner| signals.send(Signal::Controlled { by: owner.uid.clone() }));
        }
        Event::InitDone => signals.send(Signal::Anything),
        Event::Init | Event::InitApply(_) => {}
    }
}

/// Like [`watch_and`]: has entries of objects that are gone taken from service accounts.
pub(super) fn watch_pull_secrets<K>(
    events: EventStream<K>,
    accounts: Arc<Accounts>,
) -> (Cache<K>, impl Stream<Item = Result<K, watcher::Error>> + Send + 'static)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    watch_and(events, move |event| {
        if matches!(event, Event::Delete(_) | Event::InitDone) {
            accounts.look_for_orphans();
        }
    })
}

type SecretMetadata = PartialObjectMeta<Secret>;

/// Metadata of the Secrets that the operator wrote.
pub(super) fn watch_secrets(
    client: &Client,
    scope: &Scope,
    signals: Signals,
) -> (Cache<SecretMetadata>, impl Future<Output = ()> + use<>) {
    let ours = watcher::Config::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}"));
    let (store, writer) = reflector::store();
    let (cache, filled) = Cache::new(store);
    let stream = scope.watch::<SecretMetadata>(client, &ours).modify(slim).reflect(writer);
    let watch = drive(stream, move |event| {
        filled.observe(event);
        signal(&signals, event, |secret: &SecretMetadata| Signal::Secret {
            owner: secret.owner_references().first().map(|owner| owner.uid.clone()).unwrap_or_default(),
        });
    });
    (cache, watch)
}

type NamespaceMetadata = PartialObjectMeta<Namespace>;

/// Metadata of all namespaces.
pub(super) fn watch_namespaces(
    client: Client,
    signals: Signals,
) -> (Cache<NamespaceMetadata>, impl Future<Output = ()>) {
    let (store, writer) = reflector::store();
    let (cache, filled) = Cache::new(store);
    let stream = watch_cluster::<NamespaceMetadata>(&client)
        .modify(|object| {
            object.managed_fields_mut().clear();
            object.annotations_mut().clear();
        })
        .reflect(writer);
    let watch = drive(stream, move |event| {
        filled.observe(event);
        signal(&signals, event, |namespace: &NamespaceMetadata| Signal::Namespace(namespace.name_any()));
    });
    (cache, watch)
}

/// Polls a watch that no controller polls.
async fn drive<K>(stream: impl Stream<Item = Result<Event<K>, watcher::Error>>, on_event: impl Fn(&Event<K>)) {
    stream
        .for_each(|event| {
            match event {
                Ok(event) => on_event(&event),
                Err(error) => tracing::warn!(error = %chain(&error), "a watch failed and is started anew"),
            }
            future::ready(())
        })
        .await;
}

/// Signals what an event of a watch means to those who look things up in its store.
fn signal<K>(signals: &Signals, event: &Event<K>, of_object: impl Fn(&K) -> Signal) {
    match event {
        Event::Apply(object) | Event::Delete(object) => signals.send(of_object(object)),
        // The store shows a new list only when it is complete.
        Event::InitDone => signals.send(Signal::Anything),
        Event::Init | Event::InitApply(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EcrRegistry;

    /// An API server that has nothing of any kind, and the requests that it gets: their URI and what they accept.
    async fn empty_cluster() -> (Client, tokio::sync::mpsc::UnboundedReceiver<(String, String)>) {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (seen, requests) = tokio::sync::mpsc::unbounded_channel();
        let router = axum::Router::new().fallback(move |request: axum::extract::Request| {
            let accept = request.headers().get("accept").and_then(|accept| accept.to_str().ok()).unwrap_or_default();
            let _ = seen.send((request.uri().to_string(), accept.to_owned()));
            let list = r#"{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {"resourceVersion": "1"}, "items": []}"#;
            future::ready(([("content-type", "application/json")], list))
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let config = kube::Config::new(url.parse().expect("a URL"));
        (Client::try_from(config).expect("a client"), requests)
    }

    #[tokio::test]
    async fn of_secrets_the_operator_asks_for_metadata_and_for_its_own_only() {
        for scope in [Scope::All, Scope::of(["a".to_owned(), "b".to_owned()])] {
            let (client, mut requests) = empty_cluster().await;
            let (cache, watch) = watch_secrets(&client, &scope, Signals::default());
            let watching = tokio::spawn(watch);
            cache.filled().await;
            let mut paths = std::collections::BTreeSet::new();
            // A list and the watch after it, of each namespace.
            for _ in 0..2 * if scope == Scope::All { 1 } else { 2 } {
                let (uri, accept) = requests.recv().await.expect("a request");
                assert!(uri.contains("labelSelector=app.kubernetes.io%2Fmanaged-by%3Decr-operator"), "{uri}");
                assert!(accept.contains("as=PartialObjectMetadata"), "{accept}");
                paths.insert(uri.split('?').next().unwrap_or_default().to_owned());
            }
            let paths: Vec<_> = paths.iter().map(String::as_str).collect();
            match scope {
                Scope::All => assert_eq!(paths, ["/api/v1/secrets"]),
                Scope::Namespaces(_) => {
                    assert_eq!(paths, ["/api/v1/namespaces/a/secrets", "/api/v1/namespaces/b/secrets"])
                }
            }
            watching.abort();
        }
    }

    #[tokio::test]
    async fn service_accounts_are_not_read_before_somebody_asks_but_for_one_that_was_changed() {
        let (client, mut requests) = empty_cluster().await;
        let (_accounts, watch) = Accounts::new(client, Scope::All, Signals::default());
        let watching = tokio::spawn(watch);
        let (uri, accept) = requests.recv().await.expect("a request");
        assert!(uri.contains("limit=1") && uri.contains("labelSelector=ecr-operator.io%2Fpull-secret"), "{uri}");
        assert!(accept.contains("as=PartialObjectMetadata"), "{accept}");
        let more = tokio::time::timeout(std::time::Duration::from_millis(200), requests.recv()).await;
        assert!(more.is_err(), "{more:?}");
        watching.abort();
    }

    #[tokio::test]
    async fn all_who_wait_are_woken() {
        let (store, _writer) = reflector::store::<EcrRegistry>();
        let (cache, filled) = Cache::new(store);
        let waiting: Vec<_> = (0..8)
            .map(|_| {
                let cache = cache.clone();
                tokio::spawn(async move { cache.filled().await })
            })
            .collect();
        tokio::task::yield_now().await;
        filled.observe(&Event::<EcrRegistry>::Init);
        assert!(waiting.iter().all(|task| !task.is_finished()));
        filled.observe(&Event::<EcrRegistry>::InitDone);
        for task in waiting {
            task.await.expect("woken");
        }
    }
}
