//! Which addresses a request may go to.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::config::RegistryConfig;

/// What an address is for, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// The Internet.
    Public,
    /// Networks of one's own: RFC 1918, RFC 4193, and the shared space of RFC 6598 that clusters use.
    Private,
    /// This machine.
    Loopback,
    /// This link. Clouds serve their machines' metadata and credentials here.
    LinkLocal,
    /// Multicast, unspecified, reserved: nothing that a registry can be on.
    Reserved,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link-local",
            Self::Reserved => "reserved",
        })
    }
}

/// The scope of an address, by the IANA registries of special-purpose addresses.
pub(crate) fn scope(address: IpAddr) -> Scope {
    match address {
        IpAddr::V4(v4) => scope_v4(v4),
        IpAddr::V6(v6) => scope_v6(v6),
    }
}

fn scope_v4(address: Ipv4Addr) -> Scope {
    match address.octets() {
        [127, ..] => Scope::Loopback,
        [169, 254, ..] => Scope::LinkLocal,
        [10, ..] | [192, 168, ..] | [172, 16..=31, ..] | [100, 64..=127, ..] | [198, 18..=19, ..] => Scope::Private,
        [0, ..] | [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [224..=255, ..] => Scope::Reserved,
        _ => Scope::Public,
    }
}

fn scope_v6(address: Ipv6Addr) -> Scope {
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        scope_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Scope::Loopback,
        // IPv4 in IPv6: mapped, NAT64 (which IPv6 clusters reach the IPv4 Internet through), 6to4.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        // EC2's metadata service over IPv6 has an address in the private space.
        [0xfd00, 0xec2, ..] => Scope::LinkLocal,
        [0xfe80..=0xfebf, ..] => Scope::LinkLocal,
        [0xfc00..=0xfdff, ..] | [0x64, 0xff9b, 1, ..] | [0xfec0..=0xfeff, ..] => Scope::Private,
        [0x2001, 0xdb8, ..] | [0x2001, 0, ..] => Scope::Reserved,
        [0x2000..=0x3fff, ..] => Scope::Public,
        _ => Scope::Reserved,
    }
}

/// Which addresses connections may be made to.
#[derive(Clone, Debug)]
pub(crate) enum Reach {
    /// To the registry itself. What is configured may be anywhere; what a user only named may be on a private network.
    Own {
        /// The endpoint was configured.
        explicit: bool,
    },
    /// To where a registry sends us: redirects and foreign token realms.
    Elsewhere {
        /// Hosts that the configuration names.
        allowed: Arc<[String]>,
        /// The endpoint's host, if it was configured: where it lies, others may lie.
        endpoint: Option<Host>,
    },
}

impl Reach {
    pub(crate) fn own(config: &RegistryConfig) -> Self {
        Self::Own { explicit: config.is_explicit() }
    }

    pub(crate) fn elsewhere(config: &RegistryConfig) -> Self {
        let endpoint = config.endpoint_url().host().map(|host| host.to_owned());
        Self::Elsewhere { allowed: config.allowed_hosts().into(), endpoint: endpoint.filter(|_| config.is_explicit()) }
    }

    /// Whether a URL may be asked, as far as that shows before its name is looked up.
    pub(crate) async fn check_url(&self, url: &Url) -> Result<(), BlockedAddress> {
        let address: IpAddr = match url.host() {
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            // The resolver checks names.
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        let host = address.to_string();
        self.filter(&host, vec![SocketAddr::new(address, 0)]).await.map(drop)
    }

    /// The addresses of `host` that may be connected to. None left is an error.
    async fn filter(&self, host: &str, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, BlockedAddress> {
        let permitted: BTreeSet<Scope> = match self {
            Self::Own { explicit: true } => return Ok(addresses),
            Self::Own { explicit: false } => BTreeSet::from([Scope::Public, Scope::Private]),
            Self::Elsewhere { allowed, .. } if allowed.iter().any(|name| name == &host.to_ascii_lowercase()) => {
                return Ok(addresses);
            }
            Self::Elsewhere { endpoint, .. } => neighbours(endpoint.as_ref()).await,
        };
        let (good, bad): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| permitted.contains(&scope(a.ip())));
        match bad.first() {
            Some(first) if good.is_empty() => Err(BlockedAddress { host: host.to_owned(), scope: scope(first.ip()) }),
            _ => Ok(good),
        }
    }
}

/// The scopes that a configured endpoint opens for where it redirects to.
async fn neighbours(endpoint: Option<&Host>) -> BTreeSet<Scope> {
    let addresses: Vec<IpAddr> = match endpoint {
        None => Vec::new(),
        Some(Host::Ipv4(address)) => vec![(*address).into()],
        Some(Host::Ipv6(address)) => vec![(*address).into()],
        Some(Host::Domain(name)) => match tokio::net::lookup_host((name.as_str(), 0)).await {
            Ok(found) => found.map(|address| address.ip()).collect(),
            Err(_) => Vec::new(),
        },
    };
    let mut scopes = BTreeSet::from([Scope::Public]);
    for address in addresses {
        match scope(address) {
            Scope::Public | Scope::Reserved => {}
            Scope::Private => scopes.extend([Scope::Private]),
            Scope::Loopback => scopes.extend([Scope::Private, Scope::Loopback]),
            Scope::LinkLocal => scopes.extend([Scope::LinkLocal]),
        }
    }
    scopes
}

/// Looks names up and leaves out the addresses that must not be reached.
pub(crate) struct GuardedResolver {
    reach: Reach,
    /// The hosts of the environment's proxies: connections go to them, and they look names up themselves.
    proxies: Arc<[String]>,
}

impl GuardedResolver {
    pub(crate) fn new(reach: Reach, proxies: Arc<[String]>) -> Self {
        Self { reach, proxies }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.reach.clone();
        let is_proxy = self.proxies.iter().any(|proxy| proxy == name.as_str());
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let permitted = if is_proxy { found } else { reach.filter(name.as_str(), found).await? };
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

/// The hosts of the proxies that the HTTP client takes from the environment.
pub(crate) fn proxy_hosts() -> Arc<[String]> {
    ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .filter_map(|value| {
            let url = Url::parse(&value).ok().filter(Url::has_host);
            url.or_else(|| Url::parse(&format!("http://{value}")).ok())?.host_str().map(str::to_owned)
        })
        .collect()
}

/// A host has only addresses that must not be reached.
#[derive(Debug, thiserror::Error)]
#[error("{host} is on a {scope} address")]
pub(crate) struct BlockedAddress {
    pub(crate) host: String,
    pub(crate) scope: Scope,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_sorted_by_what_they_are_for() {
        for (address, expected) in [
            ("8.8.8.8", Scope::Public),
            ("172.15.0.1", Scope::Public),
            ("172.32.0.1", Scope::Public),
            ("100.63.0.1", Scope::Public),
            ("10.0.0.1", Scope::Private),
            ("172.16.0.1", Scope::Private),
            ("192.168.1.1", Scope::Private),
            ("100.64.0.1", Scope::Private),
            ("127.0.0.1", Scope::Loopback),
            ("127.8.9.1", Scope::Loopback),
            ("169.254.169.254", Scope::LinkLocal),
            ("169.254.170.2", Scope::LinkLocal),
            ("0.0.0.0", Scope::Reserved),
            ("255.255.255.255", Scope::Reserved),
            ("224.0.0.1", Scope::Reserved),
            ("::1", Scope::Loopback),
            ("::", Scope::Reserved),
            ("fe80::1", Scope::LinkLocal),
            ("fd00:ec2::254", Scope::LinkLocal),
            ("fd00::1", Scope::Private),
            ("2600:1f18::1", Scope::Public),
            ("::ffff:127.0.0.1", Scope::Loopback),
            ("::ffff:169.254.169.254", Scope::LinkLocal),
            ("64:ff9b::a9fe:a9fe", Scope::LinkLocal),
            ("64:ff9b::8.8.8.8", Scope::Public),
            ("2002:a9fe:a9fe::1", Scope::LinkLocal),
            ("ff02::1", Scope::Reserved),
            ("::7f00:1", Scope::Reserved),
        ] {
            assert_eq!(scope(address.parse().unwrap()), expected, "{address}");
        }
    }

    async fn allows(config: &RegistryConfig, url: &str) -> bool {
        Reach::elsewhere(config).check_url(&Url::parse(url).unwrap()).await.is_ok()
    }

    #[tokio::test]
    async fn a_redirect_reaches_public_addresses_only_unless_the_configuration_says_more() {
        let hub = RegistryConfig::new("docker.io").unwrap();
        let inner = RegistryConfig::new("r.corp").unwrap().endpoint("https://10.1.2.3").unwrap();
        let local = RegistryConfig::new("r.corp").unwrap().endpoint("http://127.0.0.1:5000").unwrap();
        let named = RegistryConfig::new("r.corp").unwrap().allow_host("169.254.1.1").allow_host("[::1]");
        for (config, url, allowed) in [
            (&hub, "https://8.8.8.8/", true),
            (&hub, "https://10.0.0.1/", false),
            (&hub, "https://127.0.0.1/", false),
            (&hub, "https://0x7f.1/", false),
            (&hub, "https://2130706433/", false),
            (&hub, "https://169.254.169.254/", false),
            (&hub, "https://[::1]/", false),
            (&hub, "https://[::ffff:10.0.0.1]/", false),
            (&hub, "https://0.0.0.0/", false),
            (&inner, "https://10.9.9.9/", true),
            (&inner, "https://127.0.0.1/", false),
            (&inner, "https://169.254.169.254/", false),
            (&local, "http://127.0.0.1:9000/", true),
            (&local, "http://10.0.0.1/", true),
            (&local, "http://169.254.169.254/", false),
            (&named, "https://169.254.1.1/", true),
            (&named, "https://169.254.1.2/", false),
            (&named, "https://[::1]/", true),
            (&named, "https://10.0.0.1/", false),
        ] {
            assert_eq!(allows(config, url).await, allowed, "{} {url}", config.host());
        }
    }

    #[tokio::test]
    async fn a_host_that_is_only_named_may_be_private_but_not_loopback_or_link_local() {
        let named = Reach::own(&RegistryConfig::new("x.io").unwrap());
        let configured = Reach::own(&RegistryConfig::new("x.io").unwrap().endpoint("https://x.io").unwrap());
        for (url, allowed) in [
            ("https://10.0.0.1/", true),
            ("https://127.0.0.1/", false),
            ("https://169.254.169.254/", false),
            ("https://[fe80::1]/", false),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(named.check_url(&url).await.is_ok(), allowed, "{url}");
            assert!(configured.check_url(&url).await.is_ok(), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_by_the_addresses_it_has() {
        let reach = Reach::elsewhere(&RegistryConfig::new("docker.io").unwrap());
        let address = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
        let mixed = vec![address("10.0.0.1"), address("8.8.8.8")];
        assert_eq!(reach.filter("cdn.example", mixed).await.unwrap(), [address("8.8.8.8")]);
        let error = reach.filter("cdn.example", vec![address("127.0.0.1")]).await.unwrap_err();
        assert_eq!(error.to_string(), "cdn.example is on a loopback address");
    }
}
