//! EcrRepository: one repository, kept as the spec says.
//!
//! [`observe`] reads what ECR has, [`plan`] decides what to do about it, [`apply`] does it, [`status`] tells.

mod apply;
mod observe;
mod owner;
mod plan;
mod status;

use std::sync::Arc;

use kube::runtime::controller::Action;
use kube::runtime::events::EventType;
use kube::runtime::finalizer::{Event, finalizer};
use kube::{Api, ResourceExt as _};

use super::context::Context;
use super::failure::Failure;
use super::report::Outcome;
use super::{Error, next};
use crate::api::conditions::Reason;
use crate::api::{DeletionPolicy, EcrRepository, FINALIZER};
use crate::ecr::ErrorKind;
use owner::Owner;
use plan::Deletion;

/// Reconciles one EcrRepository, or takes leave of it when it is deleted.
pub(super) async fn reconcile(repository: Arc<EcrRepository>, context: Arc<Context>) -> Result<Action, Error> {
    let namespace = repository.namespace().unwrap_or_default();
    let api: Api<EcrRepository> = Api::namespaced(context.client.clone(), &namespace);
    finalizer(&api, FINALIZER, repository, |event| async {
        match event {
            Event::Apply(repository) => converge(&repository, &context).await,
            Event::Cleanup(repository) => take_leave(&repository, &context).await,
        }
    })
    .await
    .map_err(|error| Error::Finalizer(Box::new(error)))
}

/// Makes the repository what the spec says.
async fn converge(object: &EcrRepository, context: &Context) -> Result<Action, Error> {
    let (status, outcome) = match make_so(object, context).await {
        Ok(applied) => {
            for done in &applied.actions {
                tracing::info!(repository = applied.name, action = %done, "changed in ECR");
            }
            let message = format!("{} is as the spec says", applied.uri);
            (status::status(&applied), Outcome::Ready { message })
        }
        Err(failure) => (object.status.clone().unwrap_or_default(), Outcome::Failed(failure)),
    };
    context.report(object, status, &outcome).await?;
    Ok(next(context, object, &outcome, context.intervals.resync))
}

async fn make_so(object: &EcrRepository, context: &Context) -> Result<apply::Applied, Failure> {
    let desired = plan::Desired::new(object, Owner::of(object, &context.cluster))?;
    let ecr = context.registry(&object.spec.registry_ref).await?;
    let observed = observe::observe(&ecr, &desired.name).await?;
    let actions = plan::plan(&desired, &observed)?;
    Ok(apply::apply(&ecr, desired, observed, actions).await?)
}

/// Does to the repository what the deletion policy says, and lets the object go.
async fn take_leave(object: &EcrRepository, context: &Context) -> Result<Action, Error> {
    match let_go(object, context).await {
        Ok(message) => {
            context.event(object, EventType::Normal, "Deleted", message).await;
            context.retries.succeeded(&object.uid().unwrap_or_default());
            Ok(Action::await_change())
        }
        // To keep what is there asks nothing of AWS that could be worth holding up the object for.
        Err(failure) if object.spec.deletion_policy == DeletionPolicy::Retain => {
            let message = format!("the repository is retained, its owner tags could not be removed: {failure}");
            context.event(object, EventType::Warning, failure.reason.as_str(), message).await;
            Ok(Action::await_change())
        }
        Err(failure) => {
            let status = object.status.clone().unwrap_or_default();
            context.report(object, status, &Outcome::Failed(failure.clone())).await?;
            Err(Error::Failed(failure))
        }
    }
}

async fn let_go(object: &EcrRepository, context: &Context) -> Result<String, Failure> {
    let owner = Owner::of(object, &context.cluster);
    let name = object.repository_name();
    let ecr = context.registry(&object.spec.registry_ref).await?;
    let observed = observe::observe(&ecr, &name).await?;
    match plan::deletion(object.spec.deletion_policy, &owner, &observed) {
        Deletion::Nothing { because } => Ok(format!("nothing was deleted in ECR: {because}")),
        Deletion::Release { arn, because } => {
            ecr.untag(&arn, owner::keys()).await?;
            Ok(format!("{} was retained: {because}", ecr.repository_uri(&name)))
        }
        Deletion::Delete { force } => match ecr.delete_repository(&name, force).await {
            Ok(()) => Ok(format!("{} was deleted", ecr.repository_uri(&name))),
            Err(error) if error.kind == ErrorKind::NotEmpty => Err(still_has_images(&ecr, &name).await?),
            Err(error) => Err(error.into()),
        },
    }
}

async fn still_has_images(ecr: &crate::ecr::Ecr, name: &str) -> Result<Failure, Failure> {
    const LIMIT: usize = 1000;
    let images = match ecr.image_count(name, LIMIT).await? {
        LIMIT.. => format!("{LIMIT} images or more"),
        1 => "1 image".to_owned(),
        count => format!("{count} images"),
    };
    Ok(Failure::stalled(
        Reason::ImagesRemain,
        format!(
            "{name} still has {images}, and deletionPolicy is Delete: delete them, or set deletionPolicy to DeleteWithImages to delete them too, or to Retain to keep the repository"
        ),
    ))
}
