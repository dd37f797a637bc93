//! Who may be asked.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

use codex_core::config::{HttpGrant, HttpHost, Settings};
use codex_core::policy::SandboxMode;
use codex_linux_sandbox::shown;
use hickory_resolver::TokioResolver;
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::HttpError;
use super::addresses::{is_never_named, is_of_credentials, is_public};

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
    /// It is where a cloud gives out credentials, by a name that says so.
    #[error(
        "{host} is where a cloud gives out credentials, and asked by no name; its address in `exec_server.http_allow`, and in the \
         URL, would allow it"
    )]
    Credentials { host: String },
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

/// How `https:` is spoken, by the machine's certificates.
pub(crate) async fn read_certificates() -> Result<ClientConfig, HttpError> {
    let read = tokio::task::spawn_blocking(|| {
        let mut config = ClientConfig::builder().with_platform_verifier()?.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok::<_, rustls::Error>(config)
    });
    let read = read.await.map_err(|error| HttpError::Failed(error.to_string()))?;
    read.map_err(|error| {
        HttpError::Failed(format!(
            "the certificates by which https is trusted can't be read: {}; a package like ca-certificates has them, and \
             SSL_CERT_FILE may name others",
            shown(error.to_string())
        ))
    })
}

/// What may be asked.
#[derive(Debug)]
pub(crate) struct Gate {
    network: bool,
    grants: Vec<HttpGrant>,
    resolver: OnceLock<TokioResolver>,
    tls: OnceLock<ClientConfig>,
}

impl Gate {
    pub(crate) fn new(settings: &Settings) -> Self {
        // Somebody else may have chosen one already, which is as good.
        if let Err(_chosen) = rustls::crypto::ring::default_provider().install_default() {}
        let server = &settings.exec_server;
        let network = server.network_access.value || server.max_policy.value == SandboxMode::DangerFullAccess;
        let grants = server.http_allow.values().cloned().collect();
        Self { network, grants, resolver: OnceLock::new(), tls: OnceLock::new() }
    }

    /// How `https:` is spoken. The machine's certificates are read when it is asked for first, and then no more.
    pub(super) async fn tls(&self) -> Result<ClientConfig, HttpError> {
        if let Some(known) = self.tls.get() {
            return Ok(known.clone());
        }
        let config = read_certificates().await?;
        Ok(self.tls.get_or_init(|| config).clone())
    }

    fn grants(&self, port: u16, is_meant: impl Fn(&HttpHost) -> bool) -> bool {
        self.grants
            .iter()
            .any(|grant| grant.port.is_none_or(|granted| granted == port) && is_meant(&grant.host))
    }

    /// The addresses of a host that may be asked at this port, looked up once.
    ///
    /// A question to a name server leaves the machine as anything else that is sent does, with words of the client's choice: where
    /// the network is off, only names are looked up that are granted.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, HttpError> {
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let literal = literal.parse::<IpAddr>().ok();
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if is_of_credentials(&name) {
            return Err(Gated::Credentials { host: shown(host) }.into());
        }
        let is_granted = literal.is_none()
            && self.grants(port, |host| matches!(host, HttpHost::Name(granted) if *granted == name));
        let found = match literal {
            Some(address) => vec![address],
            // Nobody is asked for these: they are loopback everywhere.
            None if name == "localhost" || name.ends_with(".localhost") => {
                self.resolve(&format!("{name}.")).await?
            }
            None if self.network || is_granted => self.resolve(host).await?,
            None => return Err(Gated::Network { host: shown(host), port }.into()),
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
            Some(address) if !self.network && is_public(address) => Gated::Network { host, port }.into(),
            Some(address) => Gated::Address { host, port, address }.into(),
            None => HttpError::Unresolved { host, why: "it has no address".to_owned() },
        })
    }

    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, HttpError> {
        let unresolved = |why: String| HttpError::Unresolved { host: shown(host), why: shown(why) };
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

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, OnceLock};

    use codex_core::config::{HttpGrant, HttpHost};
    use hickory_resolver::TokioResolver;
    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use tokio::net::UdpSocket;

    use super::{Gate, Gated, HttpError};

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
        let loopback =
            HttpGrant { host: HttpHost::Address(IpAddr::V4(Ipv4Addr::LOCALHOST)), port: Some(8080) };
        let named = HttpGrant { host: HttpHost::Name("granted.example".to_owned()), port: None };
        let credentials =
            HttpGrant { host: HttpHost::Name("metadata.google.internal".to_owned()), port: None };
        let gate = |network| Gate {
            network,
            grants: vec![loopback.clone(), named.clone(), credentials.clone()],
            resolver: OnceLock::from(resolver.clone()),
            tls: OnceLock::new(),
        };
        let off = gate(false);
        for host in
            ["secret.example", "secret.localhost.example", "granted.example.secret", "a.granted.example"]
        {
            let found = off.addresses(host, 8080).await;
            assert!(matches!(found, Err(HttpError::Gated(Gated::Network { .. }))), "{host}: {found:?}");
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
                assert!(
                    matches!(found, Err(HttpError::Gated(Gated::Credentials { .. }))),
                    "{host}: {found:?}"
                );
            }
        }
        assert_eq!(asked.load(Ordering::SeqCst), 0);
        assert_eq!(off.addresses("Granted.example.", 8080).await.unwrap(), expected);
        assert!(asked.swap(0, Ordering::SeqCst) > 0);
        // Where the network is on, whatever a name leads to is found out.
        assert_eq!(gate(true).addresses("secret.example", 8080).await.unwrap(), expected);
        assert!(asked.swap(0, Ordering::SeqCst) > 0);
    }
}
