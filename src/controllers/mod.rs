//! What keeps AWS, and the cluster's Secrets, in line with the objects: one folder a kind.
//!
//! Each reconcile reads `observe`, `plan`, `apply`, `status`: what is there, what to do about it (a pure function), doing
//! it, and telling. A failure is part of an object's status, not an error of the program; only the API server failing
//! makes a reconcile an error.

pub(crate) mod access;
mod accounts;
mod audits;
mod claims;
mod context;
pub(crate) mod enforcement;
mod events;
pub(crate) mod failure;
mod first_look;
pub(crate) mod mirror;
mod pull_secret;
pub(crate) mod registry;
mod registry_names;
pub(crate) mod report;
pub(crate) mod repository;
pub(crate) mod rewrite;
mod run;
mod schedule;
mod scope;
mod signals;
#[cfg(test)]
mod states;
mod sweeps;
mod watches;
mod workloads;

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt as _};

pub use enforcement::Settings as EnforcementSettings;
pub use mirror::CopyLimits;
pub use rewrite::Settings as RewriteSettings;
pub use run::{Settings, StartError, run};
pub use schedule::Intervals;
pub use scope::Scope;

use context::Context;
use failure::Failure;
use report::Outcome;

/// Why a reconcile could not even tell how it went.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The API server refused or failed.
    #[error("the API server did not take the status: {0}")]
    Kube(#[from] kube::Error),
    /// Adding or removing the finalizer failed, or what is between them.
    #[error(transparent)]
    Finalizer(Box<kube::runtime::finalizer::Error<Error>>),
    /// What must happen before the object may go could not be done.
    #[error(transparent)]
    Failed(Failure),
}

impl Error {
    /// The failure behind the error, if it is one that has been reported.
    fn failure(&self) -> Option<&Failure> {
        use kube::runtime::finalizer::Error as Finalizer;
        match self {
            Self::Failed(failure) => Some(failure),
            Self::Finalizer(error) => match error.as_ref() {
                Finalizer::ApplyFailed(error) | Finalizer::CleanupFailed(error) => error.failure(),
                _ => None,
            },
            Self::Kube(_) => None,
        }
    }
}

/// When the object is looked at again, after this outcome: a ready one about an interval later.
fn next<K: Resource<DynamicType = ()>>(context: &Context, object: &K, outcome: &Outcome, interval: Duration) -> Action {
    match outcome {
        Outcome::Failed(failure) => retry(context, object, failure),
        Outcome::Ready { .. } | Outcome::Progressing { .. } => {
            let uid = object.uid().unwrap_or_default();
            context.retries.succeeded(&uid);
            let turn = Timestamp::now().as_second().unsigned_abs();
            Action::requeue(schedule::jittered(interval, &uid, turn))
        }
        Outcome::Suspended => Action::await_change(),
    }
}

/// When a failed object is tried again.
fn retry<K: Resource<DynamicType = ()>>(context: &Context, object: &K, failure: &Failure) -> Action {
    let uid = object.uid().unwrap_or_default();
    Action::requeue(context.retries.failed(&uid, failure, &context.intervals, Timestamp::now()))
}

/// How long to wait after an error that has no failure behind it.
const AFTER_ERROR: Duration = Duration::from_secs(5);

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
