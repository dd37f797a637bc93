//! Who may be asked.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

use codex_core::config::{HttpGrant, HttpHost, Settings};
use codex_core::policy::SandboxMode;
use codex_linux_sandbox::shown;
use hickory_resolver::TokioResolver;

use super::addresses::{is_never_named, is_public};

/// Why a server may not be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Gated {
    /// It is on the network, which is off.
    #[error(
        "{host}:{port} is on the network, which this server does not let its clients reach; `exec_server.network_access` in its \
         configuration would allow it, or the host in `exec_server.http_allow`"
    )]
    Network { host: String, port: u16 },
    /// It is on this machine, in a network of somebody's own, or where credentials are given out.
    #[error(
        "{host}:{port} leads to {address}, which is no public address; {address}:{port} in `exec_server.http_allow` would allow it",
        address = Literal(*address)
    )]
    Address { host: String, port: u16, address: IpAddr },
    /// It has no address.
    #[error("{host} can't be resolved: {why}")]
    Unresolved { host: String, why: String },
}

/// An address as it stands in a URL.
struct Literal(IpAddr);

impl std::fmt::Display for Literal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(formatter),
            IpAddr::V6(address) => write!(formatter, "[{address}]"),
        }
    }
}

/// What may be asked.
#[derive(Debug)]
pub(crate) struct Gate {
    network: bool,
    grants: Vec<HttpGrant>,
    resolver: OnceLock<TokioResolver>,
}

impl Gate {
    pub(crate) fn new(settings: &Settings) -> Self {
        // Somebody else may have chosen one already, which is as good.
        if let Err(_chosen) = rustls::crypto::ring::default_provider().install_default() {}
        let server = &settings.exec_server;
        let network = server.network_access.value || server.max_policy.value == SandboxMode::DangerFullAccess;
        Self { network, grants: server.http_allow.values().cloned().collect(), resolver: OnceLock::new() }
    }

    fn grants(&self, port: u16, is_meant: impl Fn(&HttpHost) -> bool) -> bool {
        self.grants
            .iter()
            .any(|grant| grant.port.is_none_or(|granted| granted == port) && is_meant(&grant.host))
    }

    /// The addresses of a host that may be asked at this port, looked up once.
    pub(crate) async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Gated> {
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let literal = literal.parse::<IpAddr>().ok();
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let is_granted = literal.is_none()
            && self.grants(port, |host| matches!(host, HttpHost::Name(granted) if *granted == name));
        let found = match literal {
            Some(address) => vec![address],
            None => self.resolve(host).await?,
        };
        let mut refused = None;
        let mut allowed = Vec::new();
        let own = own_addresses();
        for address in found {
            let by_address = self.grants(port, |host| *host == HttpHost::Address(address));
            let by_name = is_granted && !is_never_named(address);
            // Where nobody knows which addresses are the machine's own, any could be.
            let is_own = own.as_ref().is_none_or(|own| own.contains(&address));
            let by_network = self.network && is_public(address) && !is_own;
            if by_address || by_name || by_network {
                allowed.push(SocketAddr::new(address, port));
            } else {
                refused.get_or_insert(address);
            }
        }
        if !allowed.is_empty() {
            return Ok(allowed);
        }
        let host = shown(host);
        Err(match refused {
            Some(address) if !self.network && is_public(address) => Gated::Network { host, port },
            Some(address) => Gated::Address { host, port, address },
            None => Gated::Unresolved { host, why: "it has no address".to_owned() },
        })
    }

    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, Gated> {
        let unresolved = |why: String| Gated::Unresolved { host: shown(host), why: shown(why) };
        let resolver = match self.resolver.get() {
            Some(resolver) => resolver,
            None => {
                let builder =
                    TokioResolver::builder_tokio().map_err(|error| unresolved(error.to_string()))?;
                let made = builder.build().map_err(|error| unresolved(error.to_string()))?;
                self.resolver.get_or_init(|| made)
            }
        };
        let found = resolver.lookup_ip(host).await.map_err(|error| unresolved(error.to_string()))?;
        Ok(found.iter().collect())
    }
}

/// The machine's own addresses: a public one of them leads to what listens here.
fn own_addresses() -> Option<Vec<IpAddr>> {
    let addresses = nix::ifaddrs::getifaddrs().ok()?.filter_map(|interface| interface.address);
    let of_ip = |address: nix::sys::socket::SockaddrStorage| {
        let version_4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        version_4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    Some(addresses.filter_map(of_ip).collect())
}
