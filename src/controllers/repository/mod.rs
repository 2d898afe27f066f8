//! EcrRepository: one repository, kept as the spec says.
//!
//! [`due`] decides from the list of repositories, which all objects share, whether there is anything to do. If so,
//! [`observe`] reads the rest of what ECR has, [`plan`] decides what to do about it, [`apply`] does it, [`status`] tells.
//! [`preview`] asks ECR what the lifecycle rules would do to the images that are there.

pub(crate) mod action;
mod apply;
pub(crate) mod desired;
mod due;
mod leave;
pub(crate) mod observe;
pub(crate) mod owner;
pub(crate) mod plan;
mod preview;
mod status;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::core::Status;
use kube::runtime::controller::Action as Requeue;
use kube::runtime::events::EventType;
use kube::runtime::finalizer::{self, Event, finalizer};
use kube::{Api, ResourceExt as _};

use super::access::Use;
use super::claims::{Claim, Claimant};
use super::context::Context;
use super::failure::Failure;
use super::report::Outcome;
use super::signals::Signal;
use super::{AFTER_ERROR, Error, retry};
use crate::api::conditions::{READY, Reason};
use crate::api::{EcrRepository, EcrRepositoryStatus, FINALIZER, LifecyclePreview, ManagementPolicy};
use crate::ecr::{Ecr, ErrorKind, Repository};
use action::{Action, in_words};
use apply::Applied;
use desired::Desired;
use due::{Due, due};
use observe::{Depth, Existing, Observed, observe};
use owner::Owner;
#[cfg(test)]
pub(super) use status::tests::cases;

/// Reconciles one EcrRepository, or takes leave of it when it is deleted.
pub(super) async fn reconcile(object: Arc<EcrRepository>, context: Arc<Context>) -> Result<Requeue, Error> {
    let manages = object.spec.management_policy == ManagementPolicy::Manage;
    let finalized = object.finalizers().iter().any(|name| name == FINALIZER);
    if !manages && !finalized {
        // Nothing in AWS depends on this object: it may go at once.
        return match object.metadata.deletion_timestamp {
            Some(_) => Ok(Requeue::await_change()),
            None => converge(&object, &context).await,
        };
    }
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<EcrRepository> = Api::namespaced(context.client.clone(), &namespace);
    finalizer(&api, FINALIZER, object, |event| async {
        match event {
            Event::Apply(object) => converge(&object, &context).await,
            Event::Cleanup(object) => leave::take_leave(&object, &context).await,
        }
    })
    .await
    .or_else(|error| match error {
        finalizer::Error::AddFinalizer(kube::Error::Api(status))
        | finalizer::Error::RemoveFinalizer(kube::Error::Api(status))
            if is_outdated(&status) =>
        {
            // The watch brings the newer object; if it does not, this looks again.
            Ok(Requeue::requeue(AFTER_ERROR))
        }
        error => Err(Error::Finalizer(Box::new(error))),
    })
}

/// Whether the API server refused a change of finalizers because they are not as they were seen. An object that has become
/// invalid has causes.
fn is_outdated(status: &Status) -> bool {
    const UNPROCESSABLE: u16 = 422;
    status.code == UNPROCESSABLE && status.details.as_ref().is_none_or(|details| details.causes.is_empty())
}

/// Whether news from elsewhere is about this object.
pub(super) fn is_about(signal: &Signal, object: &EcrRepository) -> bool {
    let registry_ref = &object.spec.registry_ref.name;
    match signal {
        Signal::Repositories { registry, names } => {
            registry == registry_ref && names.contains(&object.repository_name())
        }
        Signal::Claim(Claim { registry, repository }) => {
            registry == registry_ref && *repository == object.repository_name()
        }
        _ => false,
    }
}

/// Makes the repository what the spec says.
async fn converge(object: &EcrRepository, context: &Context) -> Result<Requeue, Error> {
    let mut status = object.status.clone().unwrap_or_default();
    let (outcome, in_full) = match make_so(object, context, &mut status).await {
        Ok(Some(Settled { outcome, in_full })) => (outcome, in_full),
        Ok(None) => return Ok(until_due(object, context, status.lifecycle_preview.as_ref())),
        Err(Trouble::Report(error)) => return Err(error.into()),
        Err(Trouble::Failure(failure)) => (Outcome::Failed(failure), false),
    };
    let preview = status.lifecycle_preview.clone();
    context.report(object, status, &outcome).await?;
    match &outcome {
        Outcome::Failed(failure) => Ok(retry(context, object, failure)),
        _ => {
            let uid = object.uid().unwrap_or_default();
            context.retries.succeeded(&uid);
            if in_full {
                context.audits.done(&uid, Timestamp::now());
            }
            Ok(until_due(object, context, preview.as_ref()))
        }
    }
}

/// Until the object is compared in full again, or there is something to do about its lifecycle preview. What the list of
/// repositories shows is signalled.
fn until_due(object: &EcrRepository, context: &Context, preview: Option<&LifecyclePreview>) -> Requeue {
    let (now, due_at) = (Timestamp::now(), context.audits.due_at(&object.uid().unwrap_or_default()));
    let audit = Duration::try_from(now.duration_until(due_at)).unwrap_or_default();
    let wait = preview.map_or(audit, |preview| audit.min(preview::again(preview, now)));
    Requeue::requeue(wait.max(Duration::from_secs(1)))
}

/// What came of a look at an object.
struct Settled {
    outcome: Outcome,
    /// Whether everything was compared.
    in_full: bool,
}

/// Why an object could not be made as it should be.
enum Trouble {
    /// A failure to tell.
    Failure(Failure),
    /// The API server did not take the status.
    Report(kube::Error),
}

impl<E: Into<Failure>> From<E> for Trouble {
    fn from(failure: E) -> Self {
        Self::Failure(failure.into())
    }
}

/// What came of what was done, or nothing where there was nothing to do. `status` is what the status says so far.
async fn make_so(
    object: &EcrRepository,
    context: &Context,
    status: &mut EcrRepositoryStatus,
) -> Result<Option<Settled>, Trouble> {
    context.repositories.filled().await;
    let desired = Desired::new(object, Owner::of(object, Some(&context.cluster)))?;
    let namespace = object.namespace().unwrap_or_default();
    let ecr = context.registry(&object.spec.registry_ref, &namespace, Use::Repository(&desired.name)).await?;
    refuse_a_claim_of_an_older_object(object, context, &desired.name).await?;
    let mut listed = ecr.listed(&desired.name).await?;
    let audit = context.audits.due_at(&object.uid().unwrap_or_default()) <= Timestamp::now();
    match due(object, &desired, listed.as_deref(), audit) {
        None => return Ok(preview_alone(object, context, status, &ecr, &desired).await),
        Some(Due::Asked) => listed = ecr.look(&desired.name).await?,
        Some(Due::NewSpec | Due::NotReady | Due::Different | Due::Audit) => {}
    }
    if object.spec.management_policy == ManagementPolicy::Observe {
        return compare(object, context, status, &ecr, &desired, listed).await.map(Some);
    }
    let applied = match change(object, context, status, &ecr, &desired, listed).await {
        // The list was older than somebody's change: one more look settles it.
        Err(Tried::Outdated) => {
            let listed = ecr.look(&desired.name).await?;
            change(object, context, status, &ecr, &desired, listed).await
        }
        applied => applied,
    };
    let applied = match applied {
        Ok(applied) => applied,
        Err(Tried::Trouble(trouble)) => return Err(trouble),
        Err(Tried::Outdated) => {
            return Err(Failure::transient(
                Reason::Retrying,
                format!("repository {} is created and deleted by somebody else at the same time", desired.name),
            )
            .into());
        }
    };
    tell(object, context, &applied).await;
    let was_put = applied.actions.iter().any(|action| matches!(action, Action::PutLifecycle { .. }));
    let preview = preview::of(object, context, &ecr, desired.lifecycle.as_ref(), was_put).await;
    let message = format!("{} is as the spec says", applied.uri);
    *status = status::status(status, &applied, preview);
    Ok(Some(Settled { outcome: Outcome::Ready { message }, in_full: true }))
}

/// A step of the lifecycle preview, where there is nothing else to do.
async fn preview_alone(
    object: &EcrRepository,
    context: &Context,
    status: &mut EcrRepositoryStatus,
    ecr: &Ecr,
    desired: &Desired,
) -> Option<Settled> {
    let preview = preview::of(object, context, ecr, desired.lifecycle.as_ref(), false).await;
    if preview == status.lifecycle_preview {
        return None;
    }
    let message = status.common.condition(READY).map(|ready| ready.message.clone()).unwrap_or_default();
    status.lifecycle_preview = preview;
    Some(Settled { outcome: Outcome::Ready { message }, in_full: false })
}

/// Two objects that claim one repository: the older has it, unless its namespace may not use it at all.
async fn refuse_a_claim_of_an_older_object(
    object: &EcrRepository,
    context: &Context,
    name: &str,
) -> Result<(), Failure> {
    let older = context.claims.older_claimants(object);
    if older.is_empty() {
        return Ok(());
    }
    let registry = context.registry_object(&object.spec.registry_ref).await?;
    for Claimant { namespace, name: claimant } in older {
        if context.authorise(&registry, &namespace, Use::Repository(name)).await.is_ok() {
            return Err(Failure::stalled(
                Reason::OwnedByAnother,
                format!(
                    "repository {name} is claimed by EcrRepository {namespace}/{claimant}, which is older: use another repositoryName, or delete that object; this one goes on when it is gone"
                ),
            ));
        }
    }
    Ok(())
}

/// How one try to change a repository ended, if not well.
enum Tried {
    /// ECR has something else than the list showed.
    Outdated,
    Trouble(Trouble),
}

impl<E: Into<Failure>> From<E> for Tried {
    fn from(failure: E) -> Self {
        Self::Trouble(Trouble::Failure(failure.into()))
    }
}

async fn change(
    object: &EcrRepository,
    context: &Context,
    status: &mut EcrRepositoryStatus,
    ecr: &Ecr,
    desired: &Desired,
    listed: Option<Arc<Repository>>,
) -> Result<Applied, Tried> {
    let observed = observe(ecr, desired, listed, depth(object)).await?;
    let actions = plan::plan(desired, &observed)?;
    if let Some(existing) = &observed.existing
        && status.found.is_none()
        && actions.iter().any(|action| matches!(action, Action::Adopt { .. }))
    {
        status.found = Some(status::found(existing));
        show_before_adoption(object, context, status.clone(), existing, &actions)
            .await
            .map_err(|error| Tried::Trouble(Trouble::Report(error)))?;
    }
    apply::apply(ecr, desired, observed, actions).await.map_err(|error| match error.kind {
        ErrorKind::AlreadyExists | ErrorKind::NotFound => Tried::Outdated,
        _ => error.into(),
    })
}

/// A repository that is not known to be this object's is looked at as a whole.
fn depth(object: &EcrRepository) -> Depth {
    match object.status.as_ref().and_then(|status| status.repository_arn.as_ref()) {
        Some(_) => Depth::Managed,
        None => Depth::Everything,
    }
}

/// Puts the repository's state into the status before anything is changed.
async fn show_before_adoption(
    object: &EcrRepository,
    context: &Context,
    status: EcrRepositoryStatus,
    existing: &Existing,
    actions: &[Action],
) -> Result<(), kube::Error> {
    let name = &existing.repository.name;
    let message =
        format!("adopting repository {name}; status.found has its present state; to do: {}", in_words(actions));
    context.report(object, status, &Outcome::Progressing { message: message.clone() }).await?;
    context.event(object, EventType::Normal, "Adopting", message).await;
    Ok(())
}

/// Logs what was done, and publishes what was changed about a repository that was there.
async fn tell(object: &EcrRepository, context: &Context, applied: &Applied) {
    for done in &applied.actions {
        tracing::info!(repository = applied.name, action = %done, "changed in ECR");
    }
    let created = applied.actions.iter().any(|action| matches!(action, Action::Create(_)));
    if !created && !applied.actions.is_empty() {
        context.event(object, EventType::Normal, "Updated", in_words(&applied.actions)).await;
    }
}

/// Says how the repository differs from the spec, and changes nothing.
async fn compare(
    object: &EcrRepository,
    context: &Context,
    status: &mut EcrRepositoryStatus,
    ecr: &Ecr,
    desired: &Desired,
    listed: Option<Arc<Repository>>,
) -> Result<Settled, Trouble> {
    let Observed { existing: Some(existing) } = observe(ecr, desired, listed, Depth::Managed).await? else {
        return Err(Failure::stalled(
            Reason::RepositoryNotFound,
            format!(
                "repository {} does not exist, and spec.managementPolicy is Observe: set it to Manage to have the repository created",
                desired.name
            ),
        )
        .into());
    };
    let uri = ecr.repository_uri(&desired.name);
    let differences = plan::differences(desired, &existing);
    let message = match differences.as_slice() {
        [] => format!("{uri} is as the spec says; it is observed only"),
        found => format!("{uri} differs from the spec, and is observed only: {}", found.join("; ")),
    };
    let preview = preview::of(object, context, ecr, desired.lifecycle.as_ref(), false).await;
    *status = status::observed(status, &existing, uri, differences, preview);
    Ok(Settled { outcome: Outcome::Ready { message }, in_full: true })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finalizers_that_are_not_as_they_were_seen_are_told_from_an_object_that_is_invalid() {
        let status = |status| serde_json::from_value::<Status>(status).expect("a status");
        let details = json!({"name": "", "causes": []});
        assert!(is_outdated(&status(json!({"code": 422, "reason": "Invalid", "details": details}))));
        assert!(is_outdated(&status(json!({"code": 422, "reason": "Invalid"}))));
        let details = json!({"causes": [{"reason": "FieldValueInvalid", "message": "no", "field": "spec"}]});
        assert!(!is_outdated(&status(json!({"code": 422, "reason": "Invalid", "details": details}))));
        assert!(!is_outdated(&status(json!({"code": 403, "reason": "Forbidden"}))));
    }
}
