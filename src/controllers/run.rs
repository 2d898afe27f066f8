//! Starts the watches and the controllers, and stops them.

use std::fmt::Debug;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures::{StreamExt as _, future};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::jiff::Timestamp;
use kube::api::Api;
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::accounts::{Accounts, release_orphans};
use super::audits::Audits;
use super::claims::Claims;
use super::context::Context;
use super::events::Events;
use super::pull_secret::{Objects, Stores, Verified};
use super::registry_names::RegistryNames;
use super::schedule::{Intervals, Retries};
use super::scope::{Scope, watch_cluster};
use super::signals::{Signal, Signals};
use super::sweeps::sweep_regularly;
use super::watches::{
    watch_enforcements, watch_mirrors, watch_namespaces, watch_pull_secrets, watch_registries, watch_repositories,
    watch_secrets,
};
use super::workloads::Workloads;
use super::{AFTER_ERROR, Error, chain, enforcement, first_look, mirror, pull_secret, registry, repository, rewrite};
use crate::api::{
    ClusterEcrPullSecret, EcrPullSecret, EcrRegistry, EcrRepository, HasStatus, ImageEnforcement, ImageMirror,
};
use crate::ecr::{Mints, Pool};
use crate::leadership::Leadership;
use crate::metrics::Metrics;
use crate::registries::Registries;
use crate::server::Health;
use crate::telemetry;
use crate::verify::Root;

/// How many objects of one kind are worked on at once.
const CONCURRENCY: u16 = 32;

/// Mirrors have limits of their own, by what they wait for: here one that waits would keep others from their turn.
const NO_LIMIT: u16 = 0;

/// What the user decides about the run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often things are looked at.
    pub intervals: Intervals,
    /// How registries other than ECR are reached.
    pub registries: Registries,
    /// What the certificates of signatures are checked against, where a mirror has no trusted root of its own.
    pub trusted_root: Arc<Root>,
    /// How many images are copied at once.
    pub copy_limits: mirror::CopyLimits,
    /// How long the copy of one image may take.
    pub copy_deadline: Duration,
    /// Whether tokens that can do more than pull are kept from pull secrets.
    pub require_pull_only: bool,
    /// How pods are rewritten.
    pub rewrite: rewrite::Settings,
    /// What all that enforces where images come from has in common.
    pub enforcement: enforcement::Settings,
    /// Which namespaces are worked in.
    pub scope: Scope,
    /// The namespace of the Secrets that ClusterEcrPullSecret objects name, if not the client's own.
    pub operator_namespace: Option<String>,
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
    /// A controller panicked.
    #[error("a controller failed: {0}")]
    Panicked(#[from] tokio::task::JoinError),
    /// The copy engine could not be set up.
    #[error(transparent)]
    Copier(#[from] mirror::CopierError),
}

/// Runs all controllers until `shutdown`, and lets what is being done come to an end. The caches fill at once; work begins
/// when this replica leads.
pub async fn run(
    client: Client,
    settings: Settings,
    metrics: Metrics,
    health: Health,
    leadership: Leadership,
    shutdown: CancellationToken,
) -> Result<(), StartError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let cluster =
        namespaces.get_metadata("kube-system").await.map_err(StartError::ClusterIdentity)?.uid().unwrap_or_default();
    let scope = settings.scope.clone();
    check_crds(&client, &scope).await?;

    let signals = Signals::default();
    let everything = watcher::Config::default();
    let (registries, registry_stream) = watch_registries(client.clone(), signals.clone());
    let claims = Arc::new(Claims::default());
    let (repositories, repository_stream) =
        watch_repositories(scope.watch(&client, &everything), signals.clone(), claims.clone());
    let (mirrors, mirror_stream) = watch_mirrors(scope.watch(&client, &everything), signals.clone());
    let (enforcements, enforcement_stream) = watch_enforcements(&client, signals.clone());
    let (accounts, account_watch) = Accounts::new(client.clone(), scope.clone(), signals.clone());
    let (pull_secrets, pull_secret_stream) =
        watch_pull_secrets::<EcrPullSecret>(scope.watch(&client, &everything), accounts.clone());
    let (cluster_pull_secrets, cluster_pull_secret_stream) =
        watch_pull_secrets::<ClusterEcrPullSecret>(watch_cluster(&client), accounts.clone());
    let (secret_store, secret_watch) = watch_secrets(&client, &scope, signals.clone());
    let (namespace_store, namespace_watch) = watch_namespaces(client.clone(), signals.clone());
    let (events, publish_events) = Events::new(client.clone());
    let context = Arc::new(Context {
        client: client.clone(),
        pool: Pool::new(metrics.clone(), leadership.fence().clone()),
        registries: registries.clone(),
        repositories: repositories.clone(),
        claims,
        audits: Audits::new(settings.intervals.audit, Timestamp::now()),
        mirrors: mirrors.clone(),
        enforcements: enforcements.clone(),
        enforcement: settings.enforcement.clone(),
        pull_secrets: Stores {
            secrets: secret_store,
            namespaces: namespace_store,
            verified: Verified::default(),
            mints: Mints::default(),
            objects: Objects { namespaced: pull_secrets.clone(), cluster: cluster_pull_secrets.clone() },
        },
        accounts,
        scope: scope.clone(),
        operator_namespace: settings
            .operator_namespace
            .clone()
            .unwrap_or_else(|| client.default_namespace().to_owned()),
        require_pull_only: settings.require_pull_only,
        unshown: mirror::unshown::Unshown::default(),
        workloads: Workloads::default(),
        cluster,
        intervals: settings.intervals,
        retries: Retries::default(),
        events,
        copier: mirror::Copier::new(&settings, &metrics, leadership.fence().clone())?,
        metrics,
        leadership,
        trusted_root: settings.trusted_root,
        shutdown: shutdown.clone(),
    });

    let registry_controller = Controller::for_stream(registry_stream, registries.store.clone());
    let repository_controller = Controller::for_stream(repository_stream, repositories.store.clone()).reconcile_on(
        signals.objects(repositories.store.clone(), |object, signal| {
            is_about_registry(signal, object)
                || is_about_namespace(signal, object)
                || repository::is_about(signal, object)
        }),
    );
    let mirror_controller = Controller::for_stream(mirror_stream, mirrors.store.clone()).reconcile_on(signals.objects(
        mirrors.store.clone(),
        |object, signal| {
            is_about_registry(signal, object)
                || is_about_namespace(signal, object)
                || mirror::discovery::is_about(signal, object)
                || matches!(signal, Signal::Controlled { by } if object.metadata.uid.as_ref() == Some(by))
        },
    ));
    let enforcement_controller = Controller::for_stream(enforcement_stream, enforcements.store.clone()).reconcile_on(
        signals.objects(enforcements.store.clone(), |object, signal| enforcement::is_about(signal, object)),
    );
    let pull_secret_controller = Controller::for_stream(pull_secret_stream, pull_secrets.store.clone()).reconcile_on(
        signals.objects(pull_secrets.store.clone(), |object, signal| {
            is_about_secret(signal, object)
                || is_about_registry(signal, object)
                || is_about_namespace(signal, object)
                || is_about_accounts(
                    signal,
                    object.metadata.namespace.as_deref(),
                    object.spec.service_accounts.is_some(),
                )
        }),
    );
    let cluster_pull_secret_controller =
        Controller::for_stream(cluster_pull_secret_stream, cluster_pull_secrets.store.clone()).reconcile_on(
            signals.objects(cluster_pull_secrets.store.clone(), |object, signal| {
                matches!(signal, Signal::Namespace(_))
                    || is_about_secret(signal, object)
                    || is_about_registry(signal, object)
                    || is_about_accounts(signal, None, object.spec.service_accounts.is_some())
            }),
        );

    let ready = {
        let context = context.clone();
        async move {
            tokio::join!(
                context.registries.filled(),
                context.pull_secrets.secrets.filled(),
                context.pull_secrets.namespaces.filled(),
                repositories.filled(),
                mirrors.filled(),
                enforcements.filled(),
                pull_secrets.filled(),
                cluster_pull_secrets.filled(),
            );
            tracing::info!("all caches are filled");
            health.set_ready(true);
        }
    };
    let objects = context.pull_secrets.objects.clone();
    context.metrics.watch_pull_secrets(move || objects.tally());
    let workload_watch = context.workloads.watch(client.clone(), scope, signals.clone());
    let watches = {
        let shutdown = shutdown.clone();
        async move {
            tokio::select! {
                () = shutdown.cancelled_owned() => {}
                _ = future::join4(secret_watch, namespace_watch, account_watch, workload_watch) => {}
            }
        }
    };
    // A task each: a controller runs its reconciles in its own task, and none shall wait for another's.
    tokio::spawn(ready);
    let mut tasks = JoinSet::new();
    let publishing = tokio::spawn(publish_events);
    tasks.spawn(watches);
    tasks.spawn(once_leading(context.clone(), sweep_regularly(context.clone(), signals.clone())));
    tasks.spawn(once_leading(context.clone(), release_orphans(context.clone())));
    // Not of stand-bys, or every mirror would count once for each replica.
    tasks.spawn(once_leading(context.clone(), mirror::gauges::keep(context.clone())));
    tasks.spawn(once_leading(context.clone(), rewrite::gauges::keep(context.clone(), settings.rewrite.clone())));
    let rewriting = rewrite::keep(context.clone(), settings.rewrite.clone(), signals.clone());
    tasks.spawn(once_leading(context.clone(), rewriting));
    tasks.spawn(once_leading(context.clone(), enforcement::clear(context.clone(), signals.clone())));
    tasks.spawn(drive(enforcement_controller, CONCURRENCY, enforcement::reconcile, &context));
    tasks.spawn(drive(registry_controller, CONCURRENCY, registry::reconcile, &context));
    tasks.spawn(drive(repository_controller, CONCURRENCY, repository::reconcile, &context));
    tasks.spawn(drive(mirror_controller, NO_LIMIT, mirror::reconcile, &context));
    tasks.spawn(drive(pull_secret_controller, CONCURRENCY, pull_secret::reconcile, &context));
    tasks.spawn(drive(cluster_pull_secret_controller, CONCURRENCY, pull_secret::reconcile_cluster, &context));
    while let Some(ended) = tasks.join_next().await {
        ended?;
        // None ends by itself: the program stops, or it had better.
        shutdown.cancel();
    }
    // With the last sender the queue ends, and with it what publishes it.
    drop(context);
    Ok(publishing.await?)
}

/// A kind that isn't installed makes its watch fail for ever: better to say so at the start.
async fn check_crds(client: &Client, scope: &Scope) -> Result<(), StartError> {
    async fn check<K>(apis: Vec<Api<K>>, kind: &'static str) -> Result<(), StartError>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let limit = kube::api::ListParams::default().limit(1);
        for api in apis {
            api.list_metadata(&limit).await.map_err(|source| StartError::Crds { kind, source: Box::new(source) })?;
        }
        Ok(())
    }
    tokio::try_join!(
        check::<EcrRegistry>(vec![Api::all(client.clone())], "EcrRegistry"),
        check::<EcrRepository>(scope.apis(client), "EcrRepository"),
        check::<ImageMirror>(scope.apis(client), "ImageMirror"),
        check::<EcrPullSecret>(scope.apis(client), "EcrPullSecret"),
        check::<ClusterEcrPullSecret>(vec![Api::all(client.clone())], "ClusterEcrPullSecret"),
        check::<ImageEnforcement>(vec![Api::all(client.clone())], "ImageEnforcement"),
    )
    .map(drop)
}

/// Does some work when this replica leads; nothing if the program stops before.
async fn once_leading(context: Arc<Context>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = context.leadership.leads() => work.await,
        () = context.shutdown.cancelled() => {}
    }
}

/// Runs one controller until `shutdown`.
fn drive<K, F>(
    controller: Controller<K>,
    concurrency: u16,
    reconcile: fn(Arc<K>, Arc<Context>) -> F,
    context: &Arc<Context>,
) -> impl Future<Output = ()> + use<K, F>
where
    K: HasStatus + RegistryNames + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    F: Future<Output = Result<Action, Error>> + Send + 'static,
{
    let kind: &'static str = short_name::<K>();
    let objects = controller.store();
    // When this replica began to lead.
    let began = Arc::new(OnceLock::new());
    let timed = move |object: Arc<K>, context: Arc<Context>| {
        let (objects, began) = (objects.clone(), began.clone());
        async move {
            tokio::select! {
                () = context.leadership.leads() => {}
                () = context.shutdown.cancelled() => return Ok(Action::await_change()),
            }
            // It may have waited for long: what counts is what the object is now.
            let Some(object) = objects.get(&ObjectRef::from_obj(object.as_ref())) else {
                return Ok(Action::await_change());
            };
            let leading = began.get_or_init(Instant::now).elapsed();
            if let Some(wait) = first_look::wait(object.as_ref(), objects.len(), leading) {
                return Ok(Action::requeue(wait));
            }
            let metrics = context.metrics.clone();
            let span = telemetry::reconcile(kind, object.as_ref(), &object.registry_names().join(","));
            let watched = async {
                let started = Instant::now();
                // On the heap from here on: a thousand objects may wait, for their lead or for their turns.
                let outcome = Box::pin(reconcile(object, context)).await;
                let took = started.elapsed();
                metrics.reconciled(kind, if outcome.is_ok() { "done" } else { "error" }, took);
                match &outcome {
                    Ok(_) => tracing::debug!(seconds = took.as_secs_f64(), "reconciled"),
                    Err(error) => {
                        let error = chain(error);
                        telemetry::broke_off(&error);
                        tracing::warn!(error, "a reconcile failed");
                    }
                }
                outcome
            };
            watched.instrument(span).await
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
                Ok(_) => {}
                // The object went away between the event and the reconcile: nothing is wrong.
                Err(controller::Error::ObjectNotFound(_)) => {}
                // It has been told, with the object's name.
                Err(controller::Error::ReconcilerFailed(..)) => {}
                Err(error) => tracing::warn!(kind, error = %chain(&error), "a controller failed, and goes on"),
            }
            future::ready(())
        })
}

/// The name of a kind, for labels: the last part of its type's name.
fn short_name<K>() -> &'static str {
    std::any::type_name::<K>().rsplit("::").next().unwrap_or("unknown")
}

fn is_about_registry(signal: &Signal, object: &impl RegistryNames) -> bool {
    matches!(signal, Signal::Registry(name) if object.registry_names().contains(&name.as_str()))
}

fn is_about_namespace<K: Resource>(signal: &Signal, object: &K) -> bool {
    matches!(signal, Signal::Namespace(name) if object.meta().namespace.as_ref() == Some(name))
}

fn is_about_accounts(signal: &Signal, within: Option<&str>, has_accounts: bool) -> bool {
    match signal {
        // What was there before may have to go, too.
        Signal::ServiceAccounts { namespace: None } => true,
        Signal::ServiceAccounts { namespace: Some(name) } => has_accounts && within.is_none_or(|it| it == name),
        _ => false,
    }
}

fn is_about_secret<K: Resource>(signal: &Signal, object: &K) -> bool {
    matches!(signal, Signal::Secret { owner } if object.meta().uid.as_ref() == Some(owner))
}
