//! What happens to a repository when its object is deleted.

use kube::ResourceExt as _;
use kube::runtime::controller::Action as Requeue;
use kube::runtime::events::EventType;

use super::desired::Desired;
use super::observe::{Depth, observe};
use super::owner::{self, Owner};
use super::plan::{self, Deletion};
use crate::api::conditions::Reason;
use crate::api::{DeletionPolicy, EcrRepository, ManagementPolicy};
use crate::controllers::Error;
use crate::controllers::access::Use;
use crate::controllers::context::Context;
use crate::controllers::failure::Failure;
use crate::controllers::report::Outcome;
use crate::ecr::{Ecr, ErrorKind};

/// Does to the repository what the deletion policy says, and lets the object go.
pub(super) async fn take_leave(object: &EcrRepository, context: &Context) -> Result<Requeue, Error> {
    match let_go(object, context).await {
        Ok(message) => {
            context.event(object, EventType::Normal, "Deleted", message).await;
            forget(object, context);
            Ok(Requeue::await_change())
        }
        // To keep what is there asks nothing of AWS that could be worth holding up the object for.
        Err(failure) if object.spec.deletion_policy == DeletionPolicy::Retain => {
            let message = format!("the repository is retained, its owner tags could not be removed: {failure}");
            context.event(object, EventType::Warning, failure.reason.as_str(), message).await;
            forget(object, context);
            Ok(Requeue::await_change())
        }
        Err(failure) => {
            let status = object.status.clone().unwrap_or_default();
            context.report(object, status, &Outcome::Failed(failure.clone())).await?;
            Err(Error::Failed(failure))
        }
    }
}

fn forget(object: &EcrRepository, context: &Context) {
    let uid = object.uid().unwrap_or_default();
    context.retries.succeeded(&uid);
    context.audits.forget(&uid);
}

async fn let_go(object: &EcrRepository, context: &Context) -> Result<String, Failure> {
    if object.spec.management_policy == ManagementPolicy::Observe {
        return Ok("nothing was changed in ECR: managementPolicy is Observe".to_owned());
    }
    let owner = Owner::of(object, Some(&context.cluster));
    let name = object.repository_name();
    let namespace = object.namespace().unwrap_or_default();
    let ecr = context.registry(&object.spec.registry_ref, &namespace, Use::Repository(&name)).await?;
    let listed = ecr.look(&name).await?;
    let observed = observe(&ecr, &Desired::nothing(&name, owner.clone()), listed, Depth::Managed).await?;
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

async fn still_has_images(ecr: &Ecr, name: &str) -> Result<Failure, Failure> {
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
