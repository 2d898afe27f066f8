//! The registries: one for each account and region, made when it is first asked for.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::api::dropped::Dropped;
use crate::api::lifecycle::Previews;
use crate::api::mutability::Exclusions;
use crate::calls::Calls;
use crate::emulator::Emulator;
use crate::faults::Faults;
use crate::iam::need::Need;
use crate::iam::sessions::PodIdentities;
use crate::iam::{Caller, Denied, Identities, Question};
use crate::quotas::Quotas;
use crate::registry::layers::Layers;
use crate::registry::sessions::Sessions;
use crate::tokens::Tokens;
use crate::{registry, serve};

/// What every registry shares.
pub(crate) struct Cloud {
    pub(crate) identities: Identities,
    pub(crate) pods: PodIdentities,
    pub(crate) tokens: Tokens,
    pub(crate) calls: Calls,
    pub(crate) faults: Faults,
    pub(crate) quotas: Quotas,
    /// How long lifecycle previews take.
    pub(crate) preview_delay: Mutex<std::time::Duration>,
    home: (String, String),
    tls: TlsAcceptor,
    registries: Mutex<BTreeMap<(String, String), Arc<Registry>>>,
}

/// One private registry: an account in a region, with an address of its own for the registry API.
pub(crate) struct Registry {
    pub(crate) emulator: Emulator,
    pub(crate) mutability: Exclusions,
    pub(crate) previews: Previews,
    pub(crate) dropped: Dropped,
    pub(crate) layers: Layers,
    pub(crate) sessions: Sessions,
    pub(crate) address: SocketAddr,
}

impl Cloud {
    /// `home` is the account and the region of the registry that is there from the start.
    pub(crate) fn new(account: &str, region: &str, tls: TlsAcceptor) -> Self {
        Self {
            identities: Identities::new(account, region),
            pods: PodIdentities::default(),
            tokens: Tokens::default(),
            calls: Calls::default(),
            faults: Faults::default(),
            quotas: Quotas::default(),
            preview_delay: Mutex::default(),
            home: (account.to_owned(), region.to_owned()),
            tls,
            registries: Mutex::default(),
        }
    }

    /// The account that the stand-in started with.
    pub(crate) fn account(&self) -> &str {
        &self.home.0
    }

    /// The region that the stand-in started with.
    pub(crate) fn region(&self) -> &str {
        &self.home.1
    }

    /// Opens the registry that is there from the start.
    pub(crate) fn open_home(self: &Arc<Self>, listener: TcpListener) -> std::io::Result<Arc<Registry>> {
        let registry = self.open(&self.home, listener)?;
        self.registries.lock().insert(self.home.clone(), registry.clone());
        Ok(registry)
    }

    /// The registry of an account in a region.
    pub(crate) fn registry(self: &Arc<Self>, account: &str, region: &str) -> std::io::Result<Arc<Registry>> {
        let key = (account.to_owned(), region.to_owned());
        let mut registries = self.registries.lock();
        if let Some(registry) = registries.get(&key) {
            return Ok(registry.clone());
        }
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let registry = self.open(&key, TcpListener::from_std(listener)?)?;
        tracing::info!(account, region, registry = %registry.address, "opened another registry");
        registries.insert(key, registry.clone());
        Ok(registry)
    }

    /// Those that are open.
    pub(crate) fn registries(&self) -> Vec<Arc<Registry>> {
        self.registries.lock().values().cloned().collect()
    }

    fn open(
        self: &Arc<Self>,
        (account, region): &(String, String),
        listener: TcpListener,
    ) -> std::io::Result<Arc<Registry>> {
        let address = listener.local_addr()?;
        let opened = Arc::new(Registry {
            emulator: Emulator::new(account, region, &format!("https://{address}"), &self.identities),
            mutability: Exclusions::default(),
            previews: Previews::default(),
            dropped: Dropped::default(),
            layers: Layers::new(address.port()),
            sessions: Sessions::default(),
            address,
        });
        let front = Arc::new(registry::Front { cloud: self.clone(), registry: opened.clone() });
        tokio::spawn(serve::serve(listener, self.tls.clone(), move |request| front.clone().handle(request)));
        Ok(opened)
    }

    /// Whether a caller may do all that a request to a registry needs.
    pub(crate) fn authorize(&self, caller: &Caller, registry: &Registry, needs: &[Need]) -> Result<(), Denied> {
        let emulator = &registry.emulator;
        let prefix = fakecloud_ecr::repository_arn(&emulator.region, &emulator.account, "");
        needs.iter().try_for_each(|need| {
            let name = need.resource.strip_prefix(&prefix).unwrap_or_default();
            let found = emulator.repository(name, |found| {
                (found.policy.clone(), found.tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
            });
            let (resource_policy, resource_tags) = found.unwrap_or_default();
            let (region, owner) = (emulator.region.as_str(), emulator.account.as_str());
            self.identities.authorize(caller, &Question { need, region, owner, resource_policy, resource_tags })
        })
    }

    /// The first of these actions whose quota is used up.
    pub(crate) fn over_quota<'a>(&self, registry: &Registry, needs: &'a [Need]) -> Option<&'a str> {
        let now = std::time::Instant::now();
        let mut actions = needs.iter().filter_map(|need| need.action.strip_prefix("ecr:"));
        actions.find(|action| !self.quotas.take(&registry.emulator.region, action, now))
    }
}

#[cfg(test)]
impl Registry {
    /// A registry that nothing listens for.
    pub(crate) fn alone() -> Self {
        let (account, region) = ("123456789012", "eu-west-1");
        Self {
            emulator: Emulator::new(account, region, "https://127.0.0.1:1", &Identities::new(account, region)),
            mutability: Exclusions::default(),
            previews: Previews::default(),
            dropped: Dropped::default(),
            layers: Layers::new(1),
            sessions: Sessions::default(),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
        }
    }
}
