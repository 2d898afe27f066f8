//! News from watches that several controllers listen to.
//!
//! A controller that looks something up in a shared store must not be woken before the store knows the news. So the watch
//! fills the store first and signals then, and there is one watch however many listen.

use futures::{Stream, StreamExt as _, stream};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

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
    /// A namespace.
    Namespace,
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
    pub fn listen(&self) -> impl Stream<Item = Signal> + Send + 'static + use<> {
        stream::unfold(self.0.subscribe(), |mut receiver| async {
            match receiver.recv().await {
                Ok(signal) => Some((signal, receiver)),
                Err(RecvError::Lagged(_)) => Some((Signal::Anything, receiver)),
                Err(RecvError::Closed) => None,
            }
        })
        .fuse()
    }
}
