//! The regular look at all repositories of each registry in use, which finds what was changed by hand.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::task::AbortHandle;
use tracing::Instrument as _;

use super::context::Context;
use super::signals::{Signal, Signals};
use crate::ecr::Ecr;
use crate::telemetry;

/// Sweeps every registry that an EcrRepository uses, once an interval, until the program stops. Registries don't wait for
/// one another: a slow one misses its turn.
pub(super) async fn sweep_regularly(context: Arc<Context>, signals: Signals) {
    let mut running: HashMap<String, AbortHandle> = HashMap::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(context.intervals.resync) => {}
            () = context.shutdown.cancelled() => break,
        }
        let used: BTreeSet<String> =
            context.repositories.store.state().iter().map(|object| object.spec.registry_ref.name.clone()).collect();
        running.retain(|_, sweep| !sweep.is_finished());
        for (registry, ecr) in context.pool.connected() {
            if used.contains(&registry) && !running.contains_key(&registry) {
                let span = telemetry::task("sweep", Some(&registry));
                let sweep = tokio::spawn(sweep(registry.clone(), ecr, signals.clone()).instrument(span));
                running.insert(registry, sweep.abort_handle());
            }
        }
    }
    running.into_values().for_each(|sweep| sweep.abort());
}

async fn sweep(registry: String, ecr: Arc<Ecr>, signals: Signals) {
    match ecr.sweep().await {
        Ok(names) if names.is_empty() => {}
        Ok(names) => signals.send(Signal::Repositories { registry, names: Arc::new(names) }),
        Err(error) => {
            tracing::warn!(%error, "the repositories could not be listed");
            if !error.is_transient() {
                // Objects that rely on the list have to say so.
                signals.send(Signal::Registry(registry));
            }
        }
    }
}
