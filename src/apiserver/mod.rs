//! How the API server is reached: what every request passes on its way out, and what every watch leaves on its way in.

mod middleware;
mod watches;

pub use watches::{PATIENCE, Watches};

use kube::client::ClientBuilder;
use kube::{Client, Config};

use crate::leadership::Fence;

/// Connections to the API server.
pub struct Clients {
    /// For all work: it writes nothing while the fence is closed, and its watches are under observation.
    pub work: Client,
    /// For the Lease alone, with connections of its own: it must get through when the others are busy or broken.
    pub lease: Client,
}

impl Clients {
    /// Finds out how to reach the API server: a kubeconfig, or the Pod's ServiceAccount.
    pub async fn connect(fence: Fence, watches: Watches) -> Result<Self, kube::Error> {
        let config = Config::infer().await.map_err(kube::Error::InferConfig)?;
        let guarded = middleware::Guard::new(fence, watches);
        Ok(Self {
            work: ClientBuilder::try_from(config.clone())?.with_layer(&guarded).build(),
            lease: Client::try_from(config)?,
        })
    }
}
