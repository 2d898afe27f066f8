//! EcrRegistry: says which account it reaches, keeps saying whether it does, and keeps the registry-wide settings as the
//! spec says.
//!
//! Each part of the settings goes its own way, in [`settle`]: [`observe`] reads what ECR has, [`plan`] decides what to do
//! about it, [`apply`] does it, [`status`] tells.

mod apply;
pub(crate) mod desired;
pub(crate) mod observe;
pub(crate) mod plan;
pub(crate) mod rival;
pub(crate) mod setting;
pub(crate) mod settle;
mod status;

use std::sync::Arc;

use kube::runtime::controller::Action;
use kube::runtime::events::EventType;

use super::context::Context;
use super::failure::Failure;
use super::report::Outcome;
use super::{Error, next};
use crate::api::{EcrRegistry, RegistrySettings};
use crate::ecr::Ecr;
use desired::Place;
use setting::Held;
use settle::{Settled, combined, settle};
#[cfg(test)]
pub(super) use status::tests::cases;

/// Connects, sees that ECR answers these credentials, keeps the settings, and reports.
pub(super) async fn reconcile(registry: Arc<EcrRegistry>, context: Arc<Context>) -> Result<Action, Error> {
    let (reached, settled) = match reach(&registry, &context).await {
        Ok(ecr) => {
            let settled = keep_settings(&registry, &ecr, &context).await;
            (Ok(ecr), settled)
        }
        Err(failure) => (Err(failure), Ok(None)),
    };
    let (parts, settings) = match settled {
        Ok(None) => (None, Ok(Vec::new())),
        Ok(Some(Settled { parts, done, failures })) => {
            if !done.is_empty() {
                let note = done.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                tracing::info!(changes = note, "changed in ECR");
                context.event(registry.as_ref(), EventType::Normal, "SettingsChanged", note).await;
            }
            let names = parts.iter().map(|part| part.name.clone()).collect();
            (Some(parts), combined(failures).map_or(Ok(names), Err))
        }
        Err(failure) => (None, Err(failure)),
    };
    let status = status::status(registry.status.as_ref(), reached.as_deref().ok(), parts);
    let outcome = match (reached, settings) {
        (Ok(ecr), Ok(parts)) => Outcome::Ready { message: ready(&ecr, &parts) },
        (Err(failure), _) | (Ok(_), Err(failure)) => Outcome::Failed(failure),
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

/// Keeps the settings, unless an older object does. `None`: this object neither has settings nor ever had any.
async fn keep_settings(registry: &EcrRegistry, ecr: &Ecr, context: &Context) -> Result<Option<Settled>, Failure> {
    let held = Held::by_part(registry.status.as_ref());
    let settings = match &registry.spec.settings {
        Some(settings) => settings.clone(),
        None if held.is_empty() => return Ok(None),
        None => RegistrySettings::default(),
    };
    context.registries.filled().await;
    let place = Place::of(ecr);
    let all = context.registries.store.state();
    match rival::refuse(registry, &place, all.iter().map(AsRef::as_ref)) {
        // What this object made before is in the other's hands.
        Some(_) if settings == RegistrySettings::default() => Ok(Some(Settled::default())),
        Some(failure) => Err(failure),
        None => Ok(Some(settle(ecr, &settings, &held).await)),
    }
}

fn ready(ecr: &Ecr, parts: &[String]) -> String {
    let reached = format!("reached account {} in {} as {}", ecr.identity.account_id, ecr.region, ecr.identity.arn);
    match parts {
        [] => reached,
        parts => format!("{reached}; as the spec says: {}", parts.join(", ")),
    }
}
