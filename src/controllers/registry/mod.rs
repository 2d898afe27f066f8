//! EcrRegistry: says which account it reaches, and keeps saying whether it does.

mod status;

use std::sync::Arc;

use kube::runtime::controller::Action;

use super::context::Context;
use super::failure::Failure;
use super::report::Outcome;
use super::{Error, next};
use crate::api::EcrRegistry;
use crate::ecr::Ecr;

/// Connects, sees that ECR answers these credentials, and reports.
pub(super) async fn reconcile(registry: Arc<EcrRegistry>, context: Arc<Context>) -> Result<Action, Error> {
    let reached = reach(&registry, &context).await;
    let status = status::status(registry.status.as_ref(), reached.as_deref().ok());
    let outcome = match reached {
        Ok(ecr) => Outcome::Ready {
            message: format!("reached account {} in {} as {}", ecr.identity.account_id, ecr.region, ecr.identity.arn),
        },
        Err(failure) => Outcome::Failed(failure),
    };
    context.report(registry.as_ref(), status, &outcome).await?;
    Ok(next(&context, registry.as_ref(), &outcome, context.intervals.resync))
}

async fn reach(registry: &EcrRegistry, context: &Context) -> Result<Arc<Ecr>, Failure> {
    let ecr = context.pool.connect(registry).await?;
    ecr.verify().await?;
    ecr.token().await?;
    Ok(ecr)
}
