//! News from watches that several controllers listen to.
//!
//! A controller that looks something up in a shared store must not be woken before the store knows the news. So the watch
//! fills the store first and signals then, and there is one watch however many listen.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{Stream, StreamExt as _, stream};
use kube::Resource;
use kube::runtime::reflector::{ObjectRef, Store};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::claims::Claim;

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The EcrRegistry of this name.
    Registry(String),
    /// A Secret that the operator wrote, by the UID of the object that owns it.
    Secret {
        /// UID of the object.
        owner: String,
    },
    /// The namespace of this name.
    Namespace(String),
    /// Service accounts.
    ServiceAccounts {
        /// Those of this namespace; without it any.
        namespace: Option<String>,
    },
    /// An object that another one controls, by the UID of the controlling object.
    Controlled {
        /// UID of the object in control.
        by: String,
    },
    /// Repositories in ECR that are not as they were at the sweep before.
    Repositories {
        /// Name of the EcrRegistry.
        registry: String,
        /// Names of the repositories.
        names: Arc<BTreeSet<String>>,
    },
    /// An object gave up its claim to a repository for which others wait.
    Claim(Claim),
    /// The workloads of some namespace name an image that they did not name before, or their list was read anew.
    Images,
    /// An ImageEnforcement was deleted.
    EnforcementGone,
    /// A mirror changed in any way, its status included.
    Mirrors,
    /// Anything: a watch started anew, or a listener was too slow to hear everything.
    Anything,
}

/// Where signals are sent.
#[derive(Clone, Debug)]
pub struct Signals(broadcast::Sender<Signal>);

impl Default for Signals {
    fn default() -> Self {
        Self(broadcast::channel(1024).0)
    }
}

impl Signals {
    /// Tells all listeners.
    pub fn send(&self, signal: Signal) {
        // Nobody listens while the program starts and stops.
        let _ = self.0.send(signal);
    }

    /// All signals from now on.
    pub(super) fn listen(&self) -> impl Stream<Item = Signal> + Send + 'static + use<> {
        stream::unfold(self.0.subscribe(), |mut receiver| async {
            match receiver.recv().await {
                Ok(signal) => Some((signal, receiver)),
                Err(RecvError::Lagged(_)) => Some((Signal::Anything, receiver)),
                Err(RecvError::Closed) => None,
            }
        })
        .fuse()
    }

    /// The objects of a store that signals are about, from now on.
    pub fn objects<K>(
        &self,
        objects: Store<K>,
        is_about: impl Fn(&K, &Signal) -> bool + Send + 'static,
    ) -> impl Stream<Item = ObjectRef<K>> + Send + 'static
    where
        K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
    {
        self.listen().flat_map(move |signal| {
            let concerned: Vec<_> = objects
                .state()
                .into_iter()
                .filter(|object| signal == Signal::Anything || is_about(object, &signal))
                .map(|object| ObjectRef::from_obj(object.as_ref()))
                .collect();
            stream::iter(concerned)
        })
    }
}
