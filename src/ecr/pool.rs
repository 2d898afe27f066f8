//! One connection for each EcrRegistry, shared by everything that uses it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::ResourceExt as _;
use tokio::sync::OnceCell;

use super::connect::{ConnectError, Ecr};
use crate::api::EcrRegistry;
use crate::leadership::Fence;
use crate::metrics::Metrics;

/// How long a failure to connect is remembered, so that a thousand objects don't ask AWS the same question.
const REMEMBER_FAILURE: Duration = Duration::from_secs(2);

/// The outcome of one attempt to connect, shared by all that asked while it ran.
type Attempt = Arc<OnceCell<(Instant, Result<Arc<Ecr>, ConnectError>)>>;

/// Connections by the registry's name.
#[derive(Debug)]
pub struct Pool {
    metrics: Metrics,
    fence: Fence,
    attempts: Mutex<HashMap<String, (Version, Attempt)>>,
}

/// What makes a connection stale: another object of the same name, or another spec.
type Version = (Option<String>, Option<i64>);

impl Pool {
    /// No connections yet; calls will be counted in `metrics`, and made only while the fence is open.
    pub fn new(metrics: Metrics, fence: Fence) -> Self {
        Self { metrics, fence, attempts: Mutex::default() }
    }

    /// The connection to `registry`, made now if there is none for its present spec.
    pub async fn connect(&self, registry: &EcrRegistry) -> Result<Arc<Ecr>, ConnectError> {
        let attempt = self.attempt(registry);
        let connect = || async {
            let connected = Ecr::connect_behind(&registry.spec, &self.metrics, &self.fence).await;
            (Instant::now(), connected.map(Arc::new))
        };
        let (_, outcome) = attempt.get_or_init(connect).await;
        outcome.clone()
    }

    /// The connections that work, by the registry's name.
    pub fn connected(&self) -> Vec<(String, Arc<Ecr>)> {
        let attempts = self.lock();
        let connected = attempts.iter().filter_map(|(name, (_, attempt))| {
            let (_, outcome) = attempt.get()?;
            Some((name.clone(), outcome.as_ref().ok()?.clone()))
        });
        connected.collect()
    }

    /// Forgets the connection to a registry that is gone.
    pub fn forget(&self, registry: &str) {
        self.lock().remove(registry);
    }

    fn attempt(&self, registry: &EcrRegistry) -> Attempt {
        let version = (registry.metadata.uid.clone(), registry.metadata.generation);
        let mut attempts = self.lock();
        if let Some((known, attempt)) = attempts.get(&registry.name_any())
            && *known == version
        {
            let failed_long_ago =
                attempt.get().is_some_and(|(at, outcome)| outcome.is_err() && at.elapsed() > REMEMBER_FAILURE);
            if !failed_long_ago {
                return attempt.clone();
            }
        }
        let attempt = Attempt::default();
        attempts.insert(registry.name_any(), (version, attempt.clone()));
        attempt
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Version, Attempt)>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
