//! Who may be asked.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

use codex_core::config::Settings;
use codex_core::policy::SandboxMode;
use codex_linux_sandbox::shown;
use codex_mediator::GateError;
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::HttpError;

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
    gate: codex_mediator::Gate,
    tls: OnceLock<ClientConfig>,
}

impl Gate {
    pub(crate) fn new(settings: &Settings) -> Self {
        // Somebody else may have chosen one already, which is as good.
        if let Err(_chosen) = rustls::crypto::ring::default_provider().install_default() {}
        let server = &settings.exec_server;
        let network = server.network_access.value || server.max_policy.value == SandboxMode::DangerFullAccess;
        let grants = server.http_allow.values().cloned().collect();
        Self { gate: codex_mediator::Gate::new(network, grants), tls: OnceLock::new() }
    }

    /// How `https:` is spoken. The machine's certificates are read when it is asked for first, and then no more.
    pub(super) async fn tls(&self) -> Result<ClientConfig, HttpError> {
        if let Some(known) = self.tls.get() {
            return Ok(known.clone());
        }
        let config = read_certificates().await?;
        Ok(self.tls.get_or_init(|| config).clone())
    }

    /// The addresses of a host that may be asked at this port, looked up once.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, HttpError> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let found = self.gate.addresses(bare, port).await;
        let host = shown(host);
        found.map_err(|error| match error {
            GateError::Network => Gated::Network { host, port }.into(),
            GateError::Address(address) => Gated::Address { host, port, address }.into(),
            GateError::Credentials => Gated::Credentials { host }.into(),
            GateError::Unresolved(why) => HttpError::Unresolved { host, why },
        })
    }
}
