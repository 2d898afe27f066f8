//! Starts the watches and the controllers, and stops them.

use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt as _, TryStreamExt as _, future};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{Predicate, WatchStreamExt as _, predicates, watcher};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::pull_secret::{Stores, Verified};
use super::schedule::{Intervals, Retries};
use super::signals::{Signal, Signals};
use super::{AFTER_ERROR, Error, mirror, pull_secret, registry, repository};
use crate::api::{
    ClusterEcrPullSecret, EcrPullSecret, EcrRegistry, EcrRepository, ImageMirror, MANAGED_BY, MANAGED_BY_LABEL,
    RegistryRef, SYNC_AT,
};
use crate::ecr::Pool;
use crate::metrics::Metrics;
use crate::registries::Registries;
use crate::server::Health;

/// How many objects of one kind are worked on at once.
const CONCURRENCY: u16 = 16;

/// How many mirrors are worked on at once. Many may wait for sources that don't answer; copies have a limit of their own.
const MIRROR_CONCURRENCY: u16 = 256;

/// What the user decides about the run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often things are looked at.
    pub intervals: Intervals,
    /// How registries other than ECR are reached.
    pub registries: Registries,
    /// How many images are copied at once.
    pub mirror_concurrency: usize,
    /// How long the copy of one image may take.
    pub copy_deadline: Duration,
}

/// Why the controllers could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The cluster's identity could not be read.
    #[error("can't read the namespace kube-system, whose UID tells this cluster from others: {0}")]
    ClusterIdentity(#[source] kube::Error),
    /// The CustomResourceDefinitions are missing, or may not be read.
    #[error(
        "can't list {kind}: {source}; install the CRDs (`ecr-operator crds | kubectl apply --server-side -f -`) and the RBAC of the chart"
    )]
    Crds {
        /// The kind that could not be listed.
        kind: &'static str,
        /// What the API server said.
        #[source]
        source: Box<kube::Error>,
    },
    /// The copy engine could not be set up.
    #[error(transparent)]
    Copier(#[from] mirror::CopierError),
}

/// Runs all controllers until `shutdown`, and lets what is being done come to an end.
pub async fn run(
    client: Client,
    settings: Settings,
    metrics: Metrics,
    health: Health,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let cluster =
        namespaces.get_metadata("kube-system").await.map_err(StartError::ClusterIdentity)?.uid().unwrap_or_default();
    check_crds(&client).await?;

    let signals = Signals::default();
    let (registries, registry_stream) = registry_watch(client.clone(), signals.clone());
    let (repositories, repository_stream) = watch::<EcrRepository>(client.clone());
    let (mirrors, mirror_stream) = watch::<ImageMirror>(client.clone());
    let (pull_secrets, pull_secret_stream) = watch::<EcrPullSecret>(client.clone());
    let (cluster_pull_secrets, cluster_pull_secret_stream) = watch::<ClusterEcrPullSecret>(client.clone());
    let (secret_store, secret_watch) = secret_watch(client.clone(), signals.clone());
    let (namespace_store, namespace_watch) = namespace_watch(client.clone(), signals.clone());
    let reporter = Reporter { controller: "ecr-operator".to_owned(), instance: None };
    let context = Arc::new(Context {
        client: client.clone(),
        pool: Pool::default(),
        registries: registries.clone(),
        repositories: repositories.clone(),
        mirrors: mirrors.clone(),
        pull_secrets: Stores { secrets: secret_store, namespaces: namespace_store, verified: Verified::default() },
        cluster,
        intervals: settings.intervals,
        retries: Retries::default(),
        recorder: Recorder::new(client.clone(), reporter),
        metrics,
        copier: mirror::Copier::new(&settings)?,
        shutdown: shutdown.clone(),
    });

    let registry_controller = Controller::for_stream(registry_stream, registries.clone());
    let repository_controller = Controller::for_stream(repository_stream, repositories.clone()).reconcile_on(listen(
        &signals,
        repositories.clone(),
        |object, signal| is_about_registry(signal, [&object.spec.registry_ref]),
    ));
    let mirror_controller = Controller::for_stream(mirror_stream, mirrors.clone())
        .owns(Api::<EcrRepository>::all(client.clone()), watcher::Config::default())
        .reconcile_on(listen(&signals, mirrors.clone(), |object, signal| {
            is_about_registry(signal, object.spec.destinations.iter().map(|destination| &destination.registry_ref))
        }));
    let pull_secret_controller = Controller::for_stream(pull_secret_stream, pull_secrets.clone()).reconcile_on(listen(
        &signals,
        pull_secrets.clone(),
        |object, signal| is_about_secret(signal, object) || is_about_registry(signal, &object.spec.registries),
    ));
    let cluster_pull_secret_controller = Controller::for_stream(
        cluster_pull_secret_stream,
        cluster_pull_secrets.clone(),
    )
    .reconcile_on(listen(&signals, cluster_pull_secrets.clone(), |object, signal| {
        *signal == Signal::Namespace
            || is_about_secret(signal, object)
            || is_about_registry(signal, &object.spec.registries)
    }));

    let ready = {
        let context = context.clone();
        async move {
            let all = tokio::try_join!(
                context.registries.wait_until_ready(),
                context.pull_secrets.secrets.wait_until_ready(),
                context.pull_secrets.namespaces.wait_until_ready(),
                repositories.wait_until_ready(),
                mirrors.wait_until_ready(),
                pull_secrets.wait_until_ready(),
                cluster_pull_secrets.wait_until_ready(),
            );
            if all.is_ok() {
                tracing::info!("all caches are filled");
                health.set_ready(true);
            }
        }
    };
    let watches = {
        let shutdown = shutdown.clone();
        async move {
            tokio::select! {
                () = shutdown.cancelled_owned() => {}
                _ = future::join(secret_watch, namespace_watch) => {}
            }
        }
    };
    tokio::spawn(ready);
    tokio::join!(
        watches,
        drive(registry_controller, CONCURRENCY, registry::reconcile, &context),
        drive(repository_controller, CONCURRENCY, repository::reconcile, &context),
        drive(mirror_controller, MIRROR_CONCURRENCY, mirror::reconcile, &context),
        drive(pull_secret_controller, CONCURRENCY, pull_secret::reconcile, &context),
        drive(cluster_pull_secret_controller, CONCURRENCY, pull_secret::reconcile_cluster, &context),
    );
    Ok(())
}

/// A kind that isn't installed makes its watch fail for ever: better to say so at the start.
async fn check_crds(client: &Client) -> Result<(), StartError> {
    async fn check<K>(client: &Client, kind: &'static str) -> Result<(), StartError>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let limit = kube::api::ListParams::default().limit(1);
        match Api::<K>::all(client.clone()).list_metadata(&limit).await {
            Ok(_) => Ok(()),
            Err(source) => Err(StartError::Crds { kind, source: Box::new(source) }),
        }
    }
    tokio::try_join!(
        check::<EcrRegistry>(client, "EcrRegistry"),
        check::<EcrRepository>(client, "EcrRepository"),
        check::<ImageMirror>(client, "ImageMirror"),
        check::<EcrPullSecret>(client, "EcrPullSecret"),
        check::<ClusterEcrPullSecret>(client, "ClusterEcrPullSecret"),
    )
    .map(drop)
}

/// Runs one controller until `shutdown`.
fn drive<K, F>(
    controller: Controller<K>,
    concurrency: u16,
    reconcile: fn(Arc<K>, Arc<Context>) -> F,
    context: &Arc<Context>,
) -> impl Future<Output = ()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    F: Future<Output = Result<Action, Error>> + Send + 'static,
{
    let kind: &'static str = short_name::<K>();
    let timed = move |object: Arc<K>, context: Arc<Context>| {
        let started = Instant::now();
        let metrics = context.metrics.clone();
        let reconcile = reconcile(object, context);
        async move {
            let outcome = reconcile.await;
            metrics.reconciled(kind, if outcome.is_ok() { "done" } else { "error" }, started.elapsed());
            outcome
        }
    };
    let error_policy = |object: Arc<K>, error: &Error, context: Arc<Context>| match error.failure() {
        Some(failure) => super::retry(&context, object.as_ref(), failure),
        None => Action::requeue(AFTER_ERROR),
    };
    controller
        .with_config(controller::Config::default().concurrency(concurrency))
        .graceful_shutdown_on(context.shutdown.clone().cancelled_owned())
        .run(timed, error_policy, context.clone())
        .for_each(move |outcome| {
            match outcome {
                Ok((object, _)) => {
                    tracing::debug!(kind, name = object.name, namespace = object.namespace, "reconciled")
                }
                // The object went away between the event and the reconcile: nothing is wrong.
                Err(controller::Error::ObjectNotFound(_)) => {}
                Err(error) => tracing::warn!(kind, error = %chain(&error), "a reconcile failed"),
            }
            future::ready(())
        })
}

/// The name of a kind, for labels: the last part of its type's name.
fn short_name<K>() -> &'static str {
    std::any::type_name::<K>().rsplit("::").next().unwrap_or("unknown")
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// The objects of a kind in a store, and a stream of those whose reconcile is due to a change: another spec, another
/// set of finalizers, deletion, or a new value of the sync-at annotation. Status writes, ours above all, don't count.
fn watch<K>(client: Client) -> (Store<K>, impl Stream<Item = Result<K, watcher::Error>> + Send + 'static)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let (reader, writer) = reflector::store();
    let stream = watcher(Api::<K>::all(client), watcher::Config::default())
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer)
        .applied_objects()
        .predicate_filter(changed(), Default::default());
    (reader, stream)
}

fn changed<K: Resource>() -> impl Predicate<K> {
    predicates::generation.combine(predicates::finalizers).combine(|object: &K| {
        let mut hasher = std::hash::DefaultHasher::new();
        object.annotations().get(SYNC_AT).hash(&mut hasher);
        Some(std::hash::Hasher::finish(&hasher))
    })
}

/// Like [`watch`], and tells everybody who uses a registry when it changed in any way, its status included.
fn registry_watch(
    client: Client,
    signals: Signals,
) -> (Store<EcrRegistry>, impl Stream<Item = Result<EcrRegistry, watcher::Error>> + Send + 'static) {
    let (reader, writer) = reflector::store();
    let stream = watcher(Api::<EcrRegistry>::all(client), watcher::Config::default())
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer)
        .inspect_ok(move |event| {
            signal(&signals, event, |registry| Signal::Registry(registry.name_any()));
        })
        .applied_objects()
        .predicate_filter(changed(), Default::default());
    (reader, stream)
}

type SecretMetadata = PartialObjectMeta<Secret>;

/// Metadata of the Secrets that the operator wrote.
fn secret_watch(client: Client, signals: Signals) -> (Store<SecretMetadata>, impl Future<Output = ()>) {
    let ours = watcher::Config::default().labels(&format!("{MANAGED_BY_LABEL}={MANAGED_BY}"));
    let (reader, writer) = reflector::store();
    let stream = watcher(Api::<SecretMetadata>::all(client), ours)
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer);
    let watch = watch_and_signal(stream, move |event| {
        signal(&signals, event, |secret: &SecretMetadata| Signal::Secret {
            owner: secret.owner_references().first().map(|owner| owner.uid.clone()).unwrap_or_default(),
        });
    });
    (reader, watch)
}

type NamespaceMetadata = PartialObjectMeta<Namespace>;

/// Metadata of all namespaces.
fn namespace_watch(client: Client, signals: Signals) -> (Store<NamespaceMetadata>, impl Future<Output = ()>) {
    let (reader, writer) = reflector::store();
    let stream = watcher(Api::<NamespaceMetadata>::all(client), watcher::Config::default())
        .default_backoff()
        .modify(|object| {
            object.managed_fields_mut().clear();
            object.annotations_mut().clear();
        })
        .reflect(writer);
    let watch =
        watch_and_signal(stream, move |event| signal(&signals, event, |_: &NamespaceMetadata| Signal::Namespace));
    (reader, watch)
}

async fn watch_and_signal<K>(
    stream: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>>,
    on_event: impl Fn(&watcher::Event<K>),
) {
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
fn signal<K>(signals: &Signals, event: &watcher::Event<K>, of_object: impl Fn(&K) -> Signal) {
    match event {
        watcher::Event::Apply(object) | watcher::Event::Delete(object) => signals.send(of_object(object)),
        // The store shows a new list only when it is complete.
        watcher::Event::InitDone => signals.send(Signal::Anything),
        watcher::Event::Init | watcher::Event::InitApply(_) => {}
    }
}

/// The objects that a signal is about.
fn listen<K>(
    signals: &Signals,
    objects: Store<K>,
    is_about: impl Fn(&K, &Signal) -> bool + Send + 'static,
) -> impl Stream<Item = ObjectRef<K>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    signals.listen().flat_map(move |signal| {
        let concerned: Vec<_> = objects
            .state()
            .into_iter()
            .filter(|object| signal == Signal::Anything || is_about(object, &signal))
            .map(|object| ObjectRef::from_obj(object.as_ref()))
            .collect();
        futures::stream::iter(concerned)
    })
}

fn is_about_registry<'a>(signal: &Signal, references: impl IntoIterator<Item = &'a RegistryRef>) -> bool {
    matches!(signal, Signal::Registry(name) if references.into_iter().any(|reference| reference.name == *name))
}

fn is_about_secret<K: Resource>(signal: &Signal, object: &K) -> bool {
    matches!(signal, Signal::Secret { owner } if object.meta().uid.as_ref() == Some(owner))
}
