//! How the API server is reached: what every request passes on its way out, and what every watch leaves on its way in.

mod middleware;
mod spans;
mod watches;

pub use watches::{PATIENCE, Watches};

use axum::http::Uri;
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
        let mut config = Config::infer().await.map_err(kube::Error::InferConfig)?;
        // In a pod the API server is reached without a proxy, so it is with a kubeconfig: that takes the environment's for its
        // own where it names none.
        let of_environment = |url: &Uri| {
            let variables = ["HTTPS_PROXY", "https_proxy"].into_iter().filter_map(|name| std::env::var(name).ok());
            variables.filter_map(|value| value.parse::<Uri>().ok()).any(|value| value == *url)
        };
        config.proxy_url = config.proxy_url.filter(|url| !of_environment(url));
        let guarded = middleware::Guard::new(fence, watches);
        Ok(Self {
            work: ClientBuilder::try_from(config.clone())?.with_layer(&guarded).build(),
            lease: Client::try_from(config)?,
        })
    }
}
