//! The EcrRepository that a mirror makes for a destination.

use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource as _, ResourceExt as _};
use sha2::{Digest as _, Sha256};

use super::names::repository_name;
use crate::api::conditions::{READY, Reason, STALLED};
use crate::api::{EcrRepository, EcrRepositorySpec, ImageMirror, MirrorDestination};
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;

/// The field manager of children.
const MANAGER: &str = "ecr-operator";

/// The EcrRepository for a destination. Its name tells mirrors and destinations apart and stays when others come and go.
pub(super) fn child(mirror: &ImageMirror, destination: &MirrorDestination, repository: &str) -> EcrRepository {
    const HASH: usize = 8;
    const LONGEST: usize = 253 - HASH - 1;
    let registry = &destination.registry_ref.name;
    let hash: String =
        Sha256::digest(format!("{registry}/{repository}")).iter().map(|byte| format!("{byte:02x}")).collect();
    let name: String = mirror.name_any().chars().take(LONGEST).collect();
    let mut child = EcrRepository::new(
        &format!("{name}-{}", &hash[..HASH]),
        EcrRepositorySpec {
            registry_ref: destination.registry_ref.clone(),
            repository_name: Some(repository.to_owned()),
            settings: destination.repository.clone().unwrap_or_default(),
            ..EcrRepositorySpec::default()
        },
    );
    child.metadata.namespace = mirror.namespace();
    child.metadata.owner_references = mirror.controller_owner_ref(&()).map(|owner| vec![owner]);
    child
}

/// The EcrRepository objects that a mirror makes, of every destination that it makes one for.
pub(crate) fn children(mirror: &ImageMirror) -> Vec<EcrRepository> {
    // A source that is none makes the mirror fail before it makes anything.
    let Ok(source) = mirror.spec.source.image.parse::<oci_copy::Repository>() else { return Vec::new() };
    let namespace = mirror.namespace().unwrap_or_default();
    let destinations = mirror.spec.destinations.iter().filter(|destination| destination.create_repository);
    let name = |it: &MirrorDestination| repository_name(it.repository_name.as_deref(), &source, &namespace);
    destinations.map(|it| child(mirror, it, &name(it))).collect()
}

/// Makes the child what it should be, and says whether its repository is there.
pub(super) async fn ensure(context: &Context, mirror: &ImageMirror, child: &EcrRepository) -> Result<(), Failure> {
    let key = ObjectRef::from_obj(child);
    let present = context.repositories.store.get(&key);
    if let Some(other) = present.as_ref().filter(|present| !is_child_of(present, mirror)) {
        return Err(Failure::stalled(
            Reason::NameConflict,
            format!(
                "EcrRepository {} exists and does not belong to this mirror: delete it, or give the mirror another name",
                other.name_any()
            ),
        ));
    }
    let present = match present {
        Some(present) if present.spec == child.spec && present.metadata.deletion_timestamp.is_none() => present,
        _ => {
            let api: Api<EcrRepository> =
                Api::namespaced(context.client.clone(), &child.namespace().unwrap_or_default());
            let applied = api
                .patch(&child.name_any(), &PatchParams::apply(MANAGER).force(), &Patch::Apply(child))
                .await
                .map_err(|error| {
                    let message = format!("can't apply EcrRepository {}: {error}", child.name_any());
                    match &error {
                        kube::Error::Api(answer) if matches!(answer.code, 403 | 422) => {
                            Failure::stalled(Reason::InvalidSpec, message)
                        }
                        _ => Failure::transient(Reason::Retrying, message),
                    }
                })?;
            std::sync::Arc::new(applied)
        }
    };
    readiness(&present)
}

/// Whether the child's repository is there, in the child's own words.
fn readiness(child: &EcrRepository) -> Result<(), Failure> {
    let not_ready = |words: &str| format!("the repository of EcrRepository {} is not ready: {words}", child.name_any());
    let current = child.status.as_ref().filter(|status| status.common.observed_generation == child.metadata.generation);
    let ready = current.and_then(|status| status.common.condition(READY));
    let is_stalled =
        current.and_then(|status| status.common.condition(STALLED)).is_some_and(|stalled| stalled.status == "True");
    match ready {
        Some(ready) if ready.status == "True" => Ok(()),
        // The child tries again by itself, and this mirror hears of it when it becomes ready.
        Some(ready) if is_stalled => Err(Failure::stalled(Reason::DestinationNotReady, not_ready(&ready.message))),
        Some(ready) => Err(Failure::transient(Reason::DestinationNotReady, not_ready(&ready.message))),
        None => Err(Failure::transient(
            Reason::Progressing,
            format!("waiting for the repository of EcrRepository {}", child.name_any()),
        )),
    }
}

/// Deletes the children for destinations that the mirror no longer has. Their repositories stay in ECR.
pub(super) async fn remove_left_over(
    context: &Context,
    mirror: &ImageMirror,
    wanted: &[String],
) -> Result<(), Failure> {
    for child in context.repositories.store.state() {
        if !is_child_of(&child, mirror) || wanted.contains(&child.name_any()) {
            continue;
        }
        let api: Api<EcrRepository> = Api::namespaced(context.client.clone(), &child.namespace().unwrap_or_default());
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: child.uid(), resource_version: None }),
            ..DeleteParams::default()
        };
        match api.delete(&child.name_any(), &params).await {
            Ok(_) => {}
            Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => {}
            Err(error) => {
                return Err(Failure::transient(
                    Reason::Retrying,
                    format!("can't delete EcrRepository {}: {error}", child.name_any()),
                ));
            }
        }
    }
    Ok(())
}

fn is_child_of(child: &EcrRepository, mirror: &ImageMirror) -> bool {
    child.namespace() == mirror.namespace()
        && child
            .owner_references()
            .iter()
            .any(|owner| owner.controller == Some(true) && Some(&owner.uid) == mirror.metadata.uid.as_ref())
}
