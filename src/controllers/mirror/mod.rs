//! ImageMirror: what a source repository has under some tags, in registries of ECR.
//!
//! Its repositories are EcrRepository objects that it owns ([`child`]). [`observe`] asks the source and the destinations
//! for digests, [`plan`] decides what to copy, [`apply`] copies, [`status`] tells.

mod apply;
mod child;
mod copier;
mod failure;
mod observe;
mod plan;
mod schedule;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt as _};
use oci_copy::{Engine, Platform, PlatformSelection, Reference, Repository};

use super::access::Use;
use super::context::Context;
use super::failure::Failure;
use super::report::Outcome;
use super::{Error, next};
use crate::api::conditions::Reason;
use crate::api::{DestinationStatus, ImageMirror, MirrorDestination};
use crate::dockerconfig::DockerConfig;
use crate::ecr::Ecr;
pub(crate) use child::children;
use copier::SourceCredentials;
pub use copier::{Copier, CopierError};
use plan::Step;
use status::DestinationOutcome;

/// The key of a docker config in a Secret of type `kubernetes.io/dockerconfigjson`.
const DOCKER_CONFIG_KEY: &str = ".dockerconfigjson";

/// Reconciles one ImageMirror.
pub(super) async fn reconcile(mirror: Arc<ImageMirror>, context: Arc<Context>) -> Result<Action, Error> {
    if mirror.metadata.deletion_timestamp.is_some() {
        // What was mirrored stays; the garbage collector deletes the children, and they take leave of their repositories.
        return Ok(Action::await_change());
    }
    if mirror.spec.suspend {
        let status = mirror.status.clone().unwrap_or_default();
        context.report(mirror.as_ref(), status, &Outcome::Suspended).await?;
        return Ok(Action::await_change());
    }
    let interval = match schedule::interval(&mirror.spec.interval) {
        Ok(interval) => interval,
        Err(failure) => return fail(&mirror, &context, failure).await,
    };
    let prepared = match prepare(&mirror, &context).await {
        Ok(prepared) => prepared,
        Err(failure) => return fail(&mirror, &context, failure).await,
    };
    let blocked = prepared.destinations.iter().any(|destination| destination.ready.is_err());
    if !blocked && let Some(wait) = schedule::not_due(&mirror, interval, Timestamp::now()) {
        return Ok(Action::requeue(wait));
    }

    let outcomes = tokio::select! {
        outcomes = mirror_all(&mirror, &context, &prepared) => outcomes?,
        // Dropping the copies cancels them: blobs that are complete stay, and no tag names anything incomplete.
        () = superseded(&mirror, &context) => return Ok(Action::requeue(Duration::ZERO)),
    };
    let outcome = status::outcome(&outcomes);
    context.report(mirror.as_ref(), status::status(&mirror, &outcomes, Timestamp::now()), &outcome).await?;
    Ok(next(&context, mirror.as_ref(), &outcome, interval))
}

async fn fail(mirror: &ImageMirror, context: &Context, failure: Failure) -> Result<Action, Error> {
    let outcome = Outcome::Failed(failure);
    context.report(mirror, mirror.status.clone().unwrap_or_default(), &outcome).await?;
    Ok(next(context, mirror, &outcome, context.intervals.resync))
}

/// What is known before the first request to a registry.
struct Prepared {
    source_host: String,
    source: BTreeMap<String, Reference>,
    credentials: SourceCredentials,
    platforms: PlatformSelection,
    destinations: Vec<Destination>,
}

/// One destination, and whether it can be used.
struct Destination {
    registry: String,
    repository: String,
    ready: Result<Arc<Ecr>, Failure>,
}

/// Reads the spec, finds credentials, and makes the repositories.
async fn prepare(mirror: &ImageMirror, context: &Context) -> Result<Prepared, Failure> {
    let spec = &mirror.spec;
    let invalid = |field: &str, error: &dyn std::fmt::Display| {
        Failure::stalled(Reason::InvalidSpec, format!("spec.{field} can't be used: {error}"))
    };
    let repository: Repository = spec.source.image.parse().map_err(|error| invalid("source.image", &error))?;
    let source = references(&repository, &spec.tags.names).map_err(|error| invalid("tags.names", &error))?;
    let platforms: Vec<Platform> = spec
        .platforms
        .iter()
        .flatten()
        .map(|platform| platform.parse())
        .collect::<Result<_, _>>()
        .map_err(|error| invalid("platforms", &error))?;
    let credentials = source_credentials(mirror, context, repository.host()).await?;

    let mut wanted = Vec::new();
    for destination in &spec.destinations {
        let name = repository_name(destination, &repository);
        let child = destination.create_repository.then(|| child::child(mirror, destination, &name));
        wanted.push((destination, name, child));
    }
    let names: Vec<String> = wanted.iter().filter_map(|(_, _, child)| child.as_ref().map(|it| it.name_any())).collect();
    child::remove_left_over(context, mirror, &names).await?;

    let namespace = mirror.namespace().unwrap_or_default();
    let namespace = namespace.as_str();
    let destinations = future::join_all(wanted.into_iter().map(|(destination, repository, child)| async move {
        let ready = match &child {
            Some(child) => child::ensure(context, mirror, child).await,
            None => Ok(()),
        };
        let ready = match ready {
            Ok(()) => context.registry(&destination.registry_ref, namespace, Use::Repository(&repository)).await,
            Err(failure) => Err(failure),
        };
        Destination { registry: destination.registry_ref.name.clone(), repository, ready }
    }))
    .await;
    Ok(Prepared {
        source_host: repository.host().to_owned(),
        source,
        credentials,
        platforms: PlatformSelection::only(platforms),
        destinations,
    })
}

/// The repository's name in ECR: the destination's, or the source's with its host. ECR's names have no colon.
fn repository_name(destination: &MirrorDestination, source: &Repository) -> String {
    match &destination.repository_name {
        Some(name) => name.clone(),
        None => format!("{}/{}", source.host().replace(':', "-"), source.path()),
    }
}

fn references(
    repository: &Repository,
    tags: &[String],
) -> Result<BTreeMap<String, Reference>, oci_copy::ReferenceError> {
    tags.iter().map(|tag| Ok((tag.clone(), repository.with_tag(tag)?))).collect()
}

async fn source_credentials(mirror: &ImageMirror, context: &Context, host: &str) -> Result<SourceCredentials, Failure> {
    let Some(reference) = &mirror.spec.source.credentials_secret_ref else { return Ok(SourceCredentials::default()) };
    let wrong = |words: String| {
        Failure::stalled(
            Reason::SecretNotFound,
            format!("spec.source.credentialsSecretRef: Secret {:?} {words}", reference.name),
        )
    };
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &mirror.namespace().unwrap_or_default());
    let secret = api
        .get_opt(&reference.name)
        .await
        .map_err(|error| {
            Failure::transient(Reason::Retrying, format!("can't read Secret {:?}: {error}", reference.name))
        })?
        .ok_or_else(|| wrong("does not exist in this namespace".to_owned()))?;
    let content = secret
        .data
        .as_ref()
        .and_then(|data| data.get(DOCKER_CONFIG_KEY))
        .ok_or_else(|| wrong("is not of type kubernetes.io/dockerconfigjson".to_owned()))?;
    let config = DockerConfig::parse(&content.0).map_err(|error| wrong(format!("can't be used: {error}")))?;
    if config.credentials(host).is_none() {
        return Err(wrong(format!("has no credentials for {host}")));
    }
    Ok(SourceCredentials(Arc::new(config)))
}

/// Brings every tag to every destination.
async fn mirror_all(
    mirror: &ImageMirror,
    context: &Context,
    prepared: &Prepared,
) -> Result<Vec<DestinationOutcome>, Error> {
    let engine = context.copier.for_source(prepared.credentials.clone());
    let usable = prepared.destinations.iter().any(|destination| destination.ready.is_ok());
    let mut source =
        if usable { observe::digests(&engine, &prepared.source, &prepared.source_host).await } else { BTreeMap::new() };
    for (tag, found) in &mut source {
        if matches!(found, Ok(None)) {
            *found = Err(observe::why_missing(&engine, &prepared.source[tag]).await);
        }
    }
    let planned =
        future::join_all(prepared.destinations.iter().map(|it| plan_one(mirror, context, prepared, &source, it))).await;

    let copies = planned
        .iter()
        .filter_map(|planned| planned.as_ref().ok())
        .flat_map(|planned| planned.steps.values())
        .filter(|step| matches!(step, Step::Copy(_)))
        .count();
    if copies > 0 {
        let message = format!("copying {copies} {}", if copies == 1 { "image" } else { "images" });
        // What was known stays until the copies end.
        let status = mirror.status.clone().unwrap_or_default();
        context.report(mirror, status, &Outcome::Progressing { message }).await?;
    }

    let outcomes = prepared.destinations.iter().zip(planned).map(|(destination, planned)| async move {
        let (uri, tags) = match planned {
            Ok(planned) => {
                let route = apply::Route {
                    engine: &planned.engine,
                    ecr: &planned.ecr,
                    source: &prepared.source,
                    destination: &planned.references,
                    platforms: &prepared.platforms,
                };
                let uri = planned.ecr.repository_uri(&destination.repository);
                (Some(uri), Ok(apply::apply(context, &route, planned.steps).await))
            }
            Err(failure) => (known_uri(mirror, destination), Err(failure)),
        };
        DestinationOutcome { registry: destination.registry.clone(), uri, tags }
    });
    Ok(future::join_all(outcomes).await)
}

/// What will be done in one destination.
struct Planned {
    ecr: Arc<Ecr>,
    engine: Engine,
    references: BTreeMap<String, Reference>,
    steps: BTreeMap<String, Step>,
}

async fn plan_one(
    mirror: &ImageMirror,
    context: &Context,
    prepared: &Prepared,
    source: &observe::Digests,
    destination: &Destination,
) -> Result<Planned, Failure> {
    let ecr = destination.ready.clone()?;
    let invalid = |error: &dyn std::fmt::Display| Failure::stalled(Reason::InvalidSpec, error.to_string());
    let engine = context.copier.for_destination(prepared.credentials.clone(), &ecr).map_err(|error| invalid(&error))?;
    let repository = Repository::new(&ecr.host, &destination.repository).map_err(|error| invalid(&error))?;
    let references = references(&repository, &mirror.spec.tags.names).map_err(|error| invalid(&error))?;
    let present = observe::digests(&engine, &references, &prepared.source_host).await;
    let known = known_destination(mirror, &destination.registry, &ecr.repository_uri(&destination.repository));
    let previous = known.into_iter().flat_map(|known| &known.tags).map(|tag| (tag.name.as_str(), tag)).collect();
    let subset = prepared.platforms != PlatformSelection::All;
    let steps = plan::plan(source, &present, subset, &previous);
    Ok(Planned { ecr, engine, references, steps })
}

/// What the status says of a destination, if its digests belong to the platforms that the spec names.
fn known_destination<'a>(mirror: &'a ImageMirror, registry: &str, uri: &str) -> Option<&'a DestinationStatus> {
    let status = mirror.status.as_ref()?;
    if status.platforms != mirror.spec.platforms {
        return None;
    }
    status.destinations.iter().find(|known| known.registry == registry && known.repository_uri.as_deref() == Some(uri))
}

/// The URI of a destination that can't be reached now, as it was last.
fn known_uri(mirror: &ImageMirror, destination: &Destination) -> Option<String> {
    let path = format!("/{}", destination.repository);
    let known = mirror.status.as_ref()?.destinations.iter().filter(|known| known.registry == destination.registry);
    known.filter_map(|known| known.repository_uri.clone()).find(|uri| uri.ends_with(&path))
}

/// Ends when the object is deleted, or changed, or the program stops.
async fn superseded(mirror: &ImageMirror, context: &Context) {
    const LOOK: Duration = Duration::from_millis(500);
    let key = ObjectRef::from_obj(mirror);
    let changed = async {
        loop {
            tokio::time::sleep(LOOK).await;
            let same = context.mirrors.store.get(&key).is_some_and(|present| {
                present.metadata.uid == mirror.metadata.uid && present.metadata.generation == mirror.metadata.generation
            });
            if !same {
                return;
            }
        }
    };
    tokio::select! {
        () = changed => {}
        () = context.shutdown.cancelled() => {}
    }
}
