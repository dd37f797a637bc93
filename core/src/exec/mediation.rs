//! Hosts that commands may reach where the network is off: who answers them, and what they were refused.
//!
//! The helper listens inside and gives the socket away; a [`Mediator`] of the caller's answers it for as long as something of the
//! call lives. It is a trait so that this crate knows policies, and speaks no HTTP.

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use codex_linux_sandbox::{PROXY_ADDRESS, take_proxy_socket};
use nix::errno::Errno;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::sys;
use crate::policy::HostGrant;

/// How many different refusals a call keeps.
const MOST_REFUSED: usize = 64;

/// The variables by which programs find a proxy. Some read one spelling and some the other.
const PROXY_VARIABLES: [&str; 6] =
    ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
/// What programs ask without a proxy: the sandbox's own loopback.
const NO_PROXY_VARIABLES: [&str; 2] = ["no_proxy", "NO_PROXY"];
const NO_PROXY: &str = "localhost,127.0.0.1,::1";
/// Without it, Node.js (24 and later) reads none of the others.
const NODE_VARIABLE: &str = "NODE_USE_ENV_PROXY";

/// Connects commands with hosts. What it is asked comes from inside a sandbox, and is trusted in nothing.
pub trait Mediator: fmt::Debug + Send + Sync {
    /// Answers what is asked at a socket that listens inside a sandbox, until the future is dropped: then everything that goes
    /// through it ends as well. Reached are these hosts, and nobody else; every refusal is told.
    fn mediate(
        &self,
        listener: TcpListener,
        hosts: Arc<[HostGrant]>,
        refusals: Refusals,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// Why a host was not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostRefused {
    /// No rule names it at this port.
    NotGranted,
    /// Its name is granted, and leads to an address that is kept from names.
    Address(IpAddr),
    /// It is a name by which clouds give out credentials.
    Credentials,
}

/// One host that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RefusedHost {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) why: HostRefused,
    pub(super) count: u64,
    pub(super) first: Instant,
}

/// Where a mediator tells what it refuses. A clone tells the same call.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Mutex<Told>>);

#[derive(Debug, Default)]
struct Told {
    hosts: Vec<RefusedHost>,
    untold: u64,
}

impl Refusals {
    /// Tells of a host that was asked for, in small letters and without a dot at its end.
    pub fn tell(&self, host: &str, port: u16, why: HostRefused) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) =
            told.hosts.iter_mut().find(|known| known.host == host && known.port == port && known.why == why)
        {
            known.count = known.count.saturating_add(1);
        } else if told.hosts.len() < MOST_REFUSED {
            told.hosts.push(RefusedHost {
                host: host.to_owned(),
                port,
                why,
                count: 1,
                first: Instant::now(),
            });
        } else {
            told.untold = told.untold.saturating_add(1);
        }
    }

    fn take(&self) -> Told {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Who connects a call, and with which hosts.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    pub(super) mediator: Arc<dyn Mediator>,
    pub(super) hosts: Arc<[HostGrant]>,
}

/// A mediator at work for one call. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Mediation {
    refusals: Refusals,
    work: JoinHandle<()>,
}

impl Mediation {
    /// Waits for the socket that the helper gives away, and has what is asked there answered.
    pub(super) fn begin(Reach { mediator, hosts }: Reach, socket: OwnedFd) -> Self {
        let refusals = Refusals::default();
        let told = refusals.clone();
        let work = tokio::spawn(async move {
            match listener(socket).await {
                Ok(Some(listener)) => mediator.mediate(listener, hosts, told).await,
                // Its set-up has failed, and is told of by the helper.
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "what the command asks of hosts can't be answered"),
            }
        });
        Self { refusals, work }
    }

    /// What was refused so far, and how often there was no room for more.
    pub(super) fn refused(&self) -> (Vec<RefusedHost>, u64) {
        let Told { hosts, untold } = self.refusals.take();
        (hosts, untold)
    }
}

impl Drop for Mediation {
    fn drop(&mut self) {
        self.work.abort();
    }
}

async fn listener(socket: OwnedFd) -> std::io::Result<Option<TcpListener>> {
    let socket = sys::watch(socket)?;
    loop {
        let mut ready = socket.readable().await?;
        match take_proxy_socket(socket.get_ref()) {
            Ok(listener) => return Ok(listener),
            Err(Errno::EAGAIN | Errno::EINTR) => ready.clear_ready(),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Tells programs of the proxy, in place of whatever proxy there is outside.
pub(super) fn tell_environment(environment: &mut Vec<(OsString, OsString)>) {
    // However they are written: some look for any spelling.
    let is_ours = |name: &OsString| {
        PROXY_VARIABLES
            .iter()
            .chain(&NO_PROXY_VARIABLES)
            .chain([&NODE_VARIABLE])
            .any(|ours| name.eq_ignore_ascii_case(ours))
    };
    environment.retain(|(name, _)| !is_ours(name));
    let proxy = format!("http://{PROXY_ADDRESS}");
    environment.extend(PROXY_VARIABLES.map(|name| (name.into(), proxy.clone().into())));
    environment.extend(NO_PROXY_VARIABLES.map(|name| (name.into(), NO_PROXY.into())));
    environment.push((NODE_VARIABLE.into(), "1".into()));
}

#[cfg(test)]
mod tests {
    use super::{HostRefused, MOST_REFUSED, Refusals, tell_environment};

    #[test]
    fn the_same_is_counted_and_a_flood_is_bounded() {
        let refusals = Refusals::default();
        for index in 0..2 * MOST_REFUSED {
            refusals.tell("same.example", 443, HostRefused::NotGranted);
            refusals.tell(&format!("{index}.example"), 443, HostRefused::NotGranted);
        }
        let told = refusals.take();
        assert_eq!((told.hosts.len(), told.hosts[0].count), (MOST_REFUSED, 2 * MOST_REFUSED as u64));
        assert_eq!(told.untold, MOST_REFUSED as u64 + 1);
    }

    #[test]
    fn the_proxy_outside_is_none_inside() {
        let mut environment = vec![
            ("HTTPS_PROXY".into(), "http://proxy.corp:8080".into()),
            ("PATH".into(), "/bin".into()),
            ("no_proxy".into(), "*".into()),
            ("No_Proxy".into(), "*".into()),
            ("Https_Proxy".into(), "http://proxy.corp:8080".into()),
        ];
        tell_environment(&mut environment);
        let of = |name: &str| {
            let all: Vec<_> = environment.iter().filter(|(known, _)| known == name).collect();
            assert_eq!(all.len(), 1, "{name}");
            all[0].1.to_str().unwrap().to_owned()
        };
        assert_eq!(of("HTTPS_PROXY"), "http://127.0.0.1:3128");
        assert_eq!(of("https_proxy"), "http://127.0.0.1:3128");
        assert_eq!(of("no_proxy"), "localhost,127.0.0.1,::1");
        assert_eq!(of("PATH"), "/bin");
        assert_eq!(environment.len(), 10, "{environment:?}");
    }
}
