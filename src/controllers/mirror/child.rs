//! The EcrRepository that a mirror makes for a destination.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;

use super::names::repository_name;
use super::owned;
use crate::api::conditions::{READY, Reason, STALLED};
use crate::api::{EcrRepository, EcrRepositorySpec, ImageMirror, MirrorDestination};
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;

/// The EcrRepository for a destination. Its name tells mirrors and destinations apart and stays when others come and go.
pub(super) fn child(mirror: &ImageMirror, destination: &MirrorDestination, repository: &str) -> EcrRepository {
    const LONGEST: usize = 253 - owned::SUFFIX;
    let distinction = format!("{}/{repository}", destination.registry_ref.name);
    let mut child = EcrRepository::new(
        &owned::name(mirror, LONGEST, &distinction),
        EcrRepositorySpec {
            registry_ref: destination.registry_ref.clone(),
            repository_name: Some(repository.to_owned()),
            settings: destination.repository.clone().unwrap_or_default(),
            ..EcrRepositorySpec::default()
        },
    );
    owned::adopt(mirror, &mut child);
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

/// Makes the child what it should be, and returns it as it is now.
pub(super) async fn ensure(
    context: &Context,
    mirror: &ImageMirror,
    child: &EcrRepository,
) -> Result<Arc<EcrRepository>, Failure> {
    let key = ObjectRef::from_obj(child);
    let present = context.repositories.store.get(&key);
    owned::check_owner(present.as_deref(), mirror)?;
    match present {
        Some(present) if present.spec == child.spec && present.metadata.deletion_timestamp.is_none() => Ok(present),
        _ => {
            let what = format!("EcrRepository {}", child.name_any());
            Ok(Arc::new(owned::apply(context, child, &what).await?))
        }
    }
}

/// Whether nothing has been said yet of a child that was made a moment ago.
pub(super) fn is_awaited(child: &EcrRepository, now: Timestamp) -> bool {
    const MOMENT: SignedDuration = SignedDuration::from_secs(10);
    let is_new = |created: &Time| now.duration_since(created.0).abs() < MOMENT;
    let is_told_of = child.status.as_ref().is_some_and(|status| status.common.condition(READY).is_some());
    !is_told_of && child.metadata.creation_timestamp.as_ref().is_some_and(is_new)
}

/// Whether the child's repository is there, in the child's own words.
pub(super) fn readiness(child: &EcrRepository) -> Result<(), Failure> {
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
        if owned::belongs(child.as_ref(), mirror) && !wanted.contains(&child.name_any()) {
            owned::delete(context, child.as_ref()).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EcrRepositoryStatus;
    use crate::controllers::report::{Outcome, conditions};

    #[test]
    fn a_repository_is_awaited_for_a_moment_and_until_something_is_said_of_it() {
        let now = Timestamp::from_second(1_000).expect("in range");
        let mut child = EcrRepository::new("child", EcrRepositorySpec::default());
        assert!(!is_awaited(&child, now), "nobody knows how old it is");
        let mut of_age = |seconds: i64| {
            child.metadata.creation_timestamp = Some(Time(now - SignedDuration::from_secs(seconds)));
            child.clone()
        };
        // The API server's clock may be a little ahead.
        let awaited = [-30, -2, 0, 9, 10, 600].map(|seconds| is_awaited(&of_age(seconds), now));
        assert_eq!(awaited, [false, true, true, true, false, false]);
        // The API server's own status says nothing.
        let mut child = EcrRepository { status: Some(EcrRepositoryStatus::default()), ..of_age(1) };
        assert!(is_awaited(&child, now));
        let outcome = Outcome::Failed(Failure::transient(Reason::Unreachable, "no answer"));
        child.status.get_or_insert_default().common.conditions = conditions(&[], Some(1), &outcome, now);
        assert!(!is_awaited(&child, now));
    }
}
