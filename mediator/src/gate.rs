//! Which addresses a host may be reached at.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use codex_core::policy::{Host, HostGrant, is_never_named, is_of_credentials, is_public};
use codex_linux_sandbox::shown;
use hickory_resolver::TokioResolver;

/// Why a host may not be reached, or can't be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// It is on the network, which is off, and no grant names it.
    #[error("it is on the network, which is off")]
    Network,
    /// It leads to this machine, to a network of somebody's own, or to where credentials are given out.
    #[error("it leads to {0}, which is no public address")]
    Address(IpAddr),
    /// It is where a cloud gives out credentials, by a name that says so.
    #[error("clouds give out credentials there")]
    Credentials,
    /// It has no address, or nobody can say which.
    #[error("it can't be resolved: {0}")]
    Unresolved(String),
}

/// Who asks name servers. It is made when the first name is asked for; a clone is another name for the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resolver(Arc<OnceLock<TokioResolver>>);

impl Resolver {
    pub(crate) async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, GateError> {
        let unresolved = |why: String| GateError::Unresolved(shown(why));
        let resolver = match self.0.get() {
            Some(resolver) => resolver,
            None => {
                let builder =
                    TokioResolver::builder_tokio().map_err(|error| unresolved(error.to_string()))?;
                let made = builder.build().map_err(|error| unresolved(error.to_string()))?;
                self.0.get_or_init(|| made)
            }
        };
        let found = resolver.lookup_ip(host).await.map_err(|error| unresolved(error.to_string()))?;
        Ok(found.iter().collect())
    }
}

/// What may be reached.
#[derive(Debug)]
pub struct Gate {
    network: bool,
    grants: Arc<[HostGrant]>,
    resolver: Resolver,
}

impl Gate {
    /// Public addresses, where the network is on, and whatever is granted.
    #[must_use]
    pub fn new(network: bool, grants: Arc<[HostGrant]>) -> Self {
        Self::with(network, grants, Resolver::default())
    }

    pub(crate) const fn with(network: bool, grants: Arc<[HostGrant]>, resolver: Resolver) -> Self {
        Self { network, grants, resolver }
    }

    /// Whether public addresses may be reached, whoever they belong to.
    #[must_use]
    pub const fn network(&self) -> bool {
        self.network
    }

    fn grants(&self, host: &Host, port: u16) -> impl Iterator<Item = &HostGrant> {
        self.grants.iter().filter(move |grant| grant.is_about(host, port))
    }

    /// Whether a host may be reached at this port by somebody else, who looks its name up: then only what is asked for can be compared.
    ///
    /// # Errors
    ///
    /// [`GateError`].
    pub(crate) fn permits(&self, host: &str, port: u16) -> Result<(), GateError> {
        let Some(host) = Host::named(host) else {
            return Err(GateError::Unresolved("it is no name of a host".to_owned()));
        };
        if matches!(&host, Host::Name(name) if is_of_credentials(name)) {
            return Err(GateError::Credentials);
        }
        self.grants(&host, port).next().map(drop).ok_or(GateError::Network)
    }

    /// The addresses of a host that may be reached at this port, looked up once: whoever connects goes to these and to no others.
    ///
    /// A question to a name server leaves the machine as anything else that is sent does, with words of the asker's choice: where
    /// the network is off, only names are looked up that are granted.
    ///
    /// A name that is granted leads to whatever address its owner chooses, and so to none of this machine's unless that address is
    /// granted too, and never to one where credentials are given out. A name below one that is granted leads to public addresses
    /// only.
    ///
    /// # Errors
    ///
    /// [`GateError`].
    pub async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, GateError> {
        let Some(host) = Host::named(host) else {
            return Err(GateError::Unresolved("it is no name of a host".to_owned()));
        };
        let (found, is_local, granted) = match &host {
            Host::Address(address) => (vec![*address], false, Granted::No),
            Host::Name(name) | Host::Below(name) => {
                if is_of_credentials(name) {
                    return Err(GateError::Credentials);
                }
                let granted = Granted::of(self.grants(&host, port));
                // Nobody is asked for these: they are loopback everywhere.
                let is_local = host.is_loopback();
                if !(is_local || self.network || granted != Granted::No) {
                    return Err(GateError::Network);
                }
                // With a dot at its end, no other name is tried in its place.
                let asked = if is_local { format!("{name}.") } else { name.clone() };
                (self.resolver.resolve(&asked).await?, is_local, granted)
            }
        };
        let mut refused = None;
        let mut allowed = Vec::new();
        let own = own_addresses();
        for address in found {
            // Where nobody knows which addresses are the machine's own, any could be.
            let is_own = address.is_loopback() || own.as_ref().is_none_or(|own| own.contains(&address));
            let by_address = self.grants(&Host::Address(address), port).next().is_some();
            let by_name = match granted {
                Granted::Itself => !is_never_named(address) && (is_local || !is_own),
                Granted::FromAbove => is_public(address) && !is_own,
                Granted::No => false,
            };
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
        Err(match refused {
            // What no grant is about is closed whatever it is, and a name that means this machine by itself leads nowhere else.
            Some(address) if granted == Granted::No && !self.network && (is_public(address) || is_local) => {
                GateError::Network
            }
            Some(address) => GateError::Address(address),
            None => GateError::Unresolved("it has no address".to_owned()),
        })
    }
}

/// How a name is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Granted {
    No,
    /// By a name above it.
    FromAbove,
    Itself,
}

impl Granted {
    fn of<'g>(grants: impl Iterator<Item = &'g HostGrant>) -> Self {
        grants.fold(Self::No, |known, grant| match (known, &grant.host) {
            (Self::Itself, _) | (_, Host::Name(_)) => Self::Itself,
            (_, Host::Below(_)) => Self::FromAbove,
            (known, Host::Address(_)) => known,
        })
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

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, OnceLock};

    use hickory_resolver::TokioResolver;
    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use tokio::net::UdpSocket;

    use super::{Gate, GateError, Resolver};

    /// A name server for which every name is loopback, and how often it was asked.
    async fn name_server() -> (TokioResolver, Arc<AtomicUsize>) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut connection = ConnectionConfig::udp();
        connection.port = socket.local_addr().unwrap().port();
        let server = NameServerConfig::new(IpAddr::V4(Ipv4Addr::LOCALHOST), true, vec![connection]);
        let config = ResolverConfig::from_name_servers(vec![server]);
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let asked = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query).await {
                count.fetch_add(1, Ordering::SeqCst);
                let question = query[12..length].iter().position(|byte| *byte == 0).unwrap() + 17;
                let is_of_version_4 = query[question - 4..question - 2] == [0, 1];
                // An answer to this question, with no record or one.
                let mut answer = query[..question].to_vec();
                answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_of_version_4), 0, 0, 0, 0]);
                if is_of_version_4 {
                    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
                }
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        (resolver.build().unwrap(), asked)
    }

    #[tokio::test]
    async fn with_the_network_off_nobody_is_asked_for_a_name() {
        let (resolver, asked) = name_server().await;
        let grants = ["127.0.0.1:8080", "granted.example", "metadata.google.internal", "*.above.example"];
        let grants: Vec<_> = grants.iter().map(|grant| grant.parse().unwrap()).collect();
        let gate = |network| {
            let resolver = Resolver(Arc::new(OnceLock::from(resolver.clone())));
            Gate::with(network, grants.as_slice().into(), resolver)
        };
        let off = gate(false);
        for host in
            ["secret.example", "secret.localhost.example", "granted.example.secret", "a.granted.example"]
        {
            let found = off.addresses(host, 8080).await;
            assert!(matches!(found, Err(GateError::Network)), "{host}: {found:?}");
        }
        // Without asking anybody either.
        let expected = ["127.0.0.1:8080".parse().unwrap()];
        for host in ["localhost.", "LOCALHOST", "secret.localhost"] {
            assert_eq!(off.addresses(host, 8080).await.unwrap(), expected, "{host}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 0);
        for network in [false, true] {
            for host in ["metadata.google.internal", "Metadata.Google.Internal."] {
                let found = gate(network).addresses(host, 8080).await;
                assert!(matches!(found, Err(GateError::Credentials)), "{host}: {found:?}");
            }
        }
        assert_eq!(asked.load(Ordering::SeqCst), 0);
        assert_eq!(off.addresses("Granted.example.", 8080).await.unwrap(), expected);
        assert!(asked.swap(0, Ordering::SeqCst) > 0);
        // Whoever owns a name has it lead to this machine: only where that address is granted as well.
        for (host, port) in [("granted.example", 8081), ("a.above.example", 8081)] {
            let found = off.addresses(host, port).await;
            assert_eq!(found, Err(GateError::Address(Ipv4Addr::LOCALHOST.into())), "{host}");
        }
        assert_eq!(off.addresses("above.example", 8080).await, Err(GateError::Network));
        assert!(asked.swap(0, Ordering::SeqCst) > 0);
        // Where the network is on, whatever a name leads to is found out.
        assert_eq!(gate(true).addresses("secret.example", 8080).await.unwrap(), expected);
        assert!(asked.swap(0, Ordering::SeqCst) > 0);
    }
}
