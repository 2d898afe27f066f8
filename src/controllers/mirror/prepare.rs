//! What is known before the first request to a registry.

use std::sync::Arc;
use std::time::Duration;

use futures::future;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::{Api, ResourceExt as _};
use oci_copy::{Platform, PlatformSelection, Repository};

use super::copier::{Reader, SourceCredentials};
use super::names::repository_name;
use super::selection::Rules;
use super::verification::{self, Verification};
use super::{child, ecr_source, schedule};
use crate::api::conditions::Reason;
use crate::api::{ImageMirror, SecretRef};
use crate::controllers::access::Use;
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;
use crate::dockerconfig::DockerConfig;
use crate::ecr::Ecr;

/// The key of a docker config in a Secret of type `kubernetes.io/dockerconfigjson`.
const DOCKER_CONFIG_KEY: &str = ".dockerconfigjson";

/// What is known before the first request to a registry.
pub(super) struct Prepared {
    pub(super) source: Repository,
    pub(super) rules: Rules,
    pub(super) min_age: Option<Duration>,
    pub(super) reader: Reader,
    /// How long a tag stays that is no longer selected, if such tags go at all.
    pub(super) prune_after: Option<Duration>,
    pub(super) platforms: PlatformSelection,
    /// What images need before they are copied.
    pub(super) verification: Option<Verification>,
    pub(super) destinations: Vec<Destination>,
}

/// One destination, and whether it can be used.
pub(super) struct Destination {
    pub(super) registry: String,
    pub(super) repository: String,
    pub(super) ready: Result<Arc<Ecr>, Failure>,
}

/// Reads the spec, finds credentials, and makes the repositories.
pub(super) async fn prepare(mirror: &ImageMirror, context: &Context) -> Result<Prepared, Failure> {
    let spec = &mirror.spec;
    let invalid = |field: &str, error: &dyn std::fmt::Display| {
        Failure::stalled(Reason::InvalidSpec, format!("spec.{field} can't be used: {error}"))
    };
    let source: Repository = spec.source.image.parse().map_err(|error| invalid("source.image", &error))?;
    let rules = Rules::new(&spec.tags).map_err(|error| Failure::stalled(Reason::InvalidSpec, error.to_string()))?;
    let min_age = spec.tags.min_age.as_ref().map(|text| schedule::duration("tags.minAge", text)).transpose()?;
    let prune_after = spec.prune.then(|| schedule::duration("pruneAfter", &spec.prune_after)).transpose()?;
    let platforms: Vec<Platform> = spec
        .platforms
        .iter()
        .flatten()
        .map(|platform| platform.parse())
        .collect::<Result<_, _>>()
        .map_err(|error| invalid("platforms", &error))?;
    let credentials = source_credentials(mirror, context, &source).await?;
    let verification = verification::read(mirror, context).await?;
    let reader = context.copier.reader(mirror, credentials, source.host());

    let namespace = mirror.namespace().unwrap_or_default();
    let namespace = namespace.as_str();
    let mut wanted = Vec::new();
    for destination in &spec.destinations {
        let name = repository_name(destination.repository_name.as_deref(), &source, namespace);
        let child = destination.create_repository.then(|| child::child(mirror, destination, &name));
        wanted.push((destination, name, child));
    }
    let names: Vec<String> = wanted.iter().filter_map(|(_, _, child)| child.as_ref().map(|it| it.name_any())).collect();
    child::remove_left_over(context, mirror, &names).await?;

    let children = future::join_all(wanted.iter().map(|(_, _, child)| async move {
        match child {
            Some(child) => child::ensure(context, mirror, child).await.map(Some),
            None => Ok(None),
        }
    }))
    .await;
    // All destinations wait for one of which something will be known in a moment: then one read of the source is for all.
    let now = Timestamp::now();
    let awaited = children.iter().flatten().flatten().find(|child| child::is_awaited(child, now));
    let awaited = &awaited.map_or(Ok(()), |child| child::readiness(child));
    let wanted = wanted.into_iter().zip(children);
    let destinations = future::join_all(wanted.map(|((destination, repository, _), child)| async move {
        let ready = match child.and_then(|child| child.map_or(Ok(()), |child| child::readiness(&child))) {
            Ok(()) => context.registry(&destination.registry_ref, namespace, Use::Repository(&repository)).await,
            Err(failure) => Err(failure),
        };
        let ready = ready.and_then(|ecr| awaited.clone().map(|()| ecr));
        Destination { registry: destination.registry_ref.name.clone(), repository, ready }
    }))
    .await;
    let platforms = PlatformSelection::only(platforms);
    Ok(Prepared { source, rules, min_age, prune_after, reader, platforms, verification, destinations })
}

async fn source_credentials(
    mirror: &ImageMirror,
    context: &Context,
    source: &Repository,
) -> Result<SourceCredentials, Failure> {
    let config = source_config(mirror, context).await?;
    let host = source.host().to_owned();
    let ecr = match &mirror.spec.source.credentials_secret_ref {
        Some(reference) if config.credentials(&host).is_none() => {
            return Err(wrong(reference, format!("has no credentials for {host}")));
        }
        Some(_) => None,
        None => ecr_source::registry_of(context, &mirror.namespace().unwrap_or_default(), source).await?,
    };
    let public = match &mirror.spec.source.credentials_secret_ref {
        Some(_) => None,
        None => context.copier.public(&host),
    };
    Ok(SourceCredentials { host, config: Arc::new(config), ecr, public })
}

/// What the Secret of `credentialsSecretRef` has; nothing without one.
pub(super) async fn source_config(mirror: &ImageMirror, context: &Context) -> Result<DockerConfig, Failure> {
    let Some(reference) = &mirror.spec.source.credentials_secret_ref else { return Ok(DockerConfig::default()) };
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &mirror.namespace().unwrap_or_default());
    let secret = api
        .get_opt(&reference.name)
        .await
        .map_err(|error| {
            Failure::transient(Reason::Retrying, format!("can't read Secret {:?}: {error}", reference.name))
        })?
        .ok_or_else(|| wrong(reference, "does not exist in this namespace".to_owned()))?;
    let content = secret
        .data
        .as_ref()
        .and_then(|data| data.get(DOCKER_CONFIG_KEY))
        .ok_or_else(|| wrong(reference, "is not of type kubernetes.io/dockerconfigjson".to_owned()))?;
    DockerConfig::parse(&content.0).map_err(|error| wrong(reference, format!("can't be used: {error}")))
}

fn wrong(reference: &SecretRef, words: String) -> Failure {
    Failure::stalled(
        Reason::SecretNotFound,
        format!("spec.source.credentialsSecretRef: Secret {:?} {words}", reference.name),
    )
}
