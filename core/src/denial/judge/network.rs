//! Hosts, ports and unix sockets.

use std::net::IpAddr;
use std::path::Path;

use codex_linux_sandbox::UnixSockets;
use nix::errno::Errno;

use super::super::record::{Allow, Opens, Rule};
use super::super::{grant, secret};
use super::files::locate;
use super::{Judge, Refusal, Verdict, allowed};
use crate::enforcement::Level;
use crate::policy::{Host, HostGrant, NetworkAccess, SandboxMode, is_never_named, is_of_credentials};

/// Ports at which nobody speaks HTTP, so that no client comes there through a proxy: a grant of the host would open nothing.
const NO_PROXY_LEADS_TO: [u16; 24] = [
    20, 21, 22, 23, 25, 53, 110, 119, 123, 139, 143, 389, 445, 465, 587, 636, 993, 995, 1433, 3306, 5432,
    6379, 9418, 27017,
];
const NETWORK_ACCESS: &str = "sandbox_workspace_write.network_access";
/// What opening the network opens.
const WHOLE: &str = "every host and port, this machine's own services among them";
/// Where name servers listen.
pub(crate) const DOMAIN: u16 = 53;
/// What a grant of hosts means to who asks.
const BY_PROXY: &str = "only through the proxy that HTTP_PROXY and HTTPS_PROXY name there, and where the name leads to no \
                        address that is kept from names";

pub(super) fn connect(judge: &Judge<'_>, host: &str, port: Option<u16>) -> Verdict {
    judged(judge, host, port, By::Itself)
}

pub(super) fn connect_directly(judge: &Judge<'_>, host: &str, port: Option<u16>) -> Verdict {
    judged(judge, host, port, By::NoProxy)
}

pub(super) fn connect_by_proxy(judge: &Judge<'_>, host: &str, port: u16) -> Verdict {
    judged(judge, host, Some(port), By::Proxy)
}

/// How somebody wants to get to a host.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// Nobody has seen it: by a proxy, if there is one.
    Itself,
    /// It asked a proxy for it.
    Proxy,
    /// It knows of no proxies.
    NoProxy,
}

/// The network as a whole, where nobody says whom.
pub(super) fn network(judge: &Judge<'_>) -> Verdict {
    if is_open(judge) {
        return allowed();
    }
    let errno = if judge.level == Level::Landlock { Errno::EPERM } else { Errno::ENETUNREACH };
    denied(judge, Some(errno), Some(allow_network(judge)), WHOLE.to_owned())
}

fn is_open(judge: &Judge<'_>) -> bool {
    judge.level == Level::None || judge.policy.network == NetworkAccess::Enabled
}

fn judged(judge: &Judge<'_>, host: &str, port: Option<u16>, by: By) -> Verdict {
    if is_open(judge) {
        return allowed();
    }
    let named = Host::named(host);
    if judge.level == Level::Namespaces
        && let Some(named) = &named
        // Without a port, at any that is granted.
        && judge.places.hosts.iter().any(|grant| grant.is_about(named, port.or(grant.port).unwrap_or(0)))
    {
        return Verdict::Allowed { note: Some(BY_PROXY) };
    }
    let errno = match (judge.level, address(host)) {
        // There is no socket to connect.
        (Level::Landlock, _) => Some(Errno::EPERM),
        (_, Some(address)) if address.is_loopback() || address.is_unspecified() => Some(Errno::ECONNREFUSED),
        (_, Some(_)) => Some(Errno::ENETUNREACH),
        // Nobody answers for its name.
        (_, None) => None,
    };
    if named.as_ref().is_some_and(is_kept_from_grants) {
        let why = "clouds give out credentials there, or nobody is: no grant is proposed";
        return denied(judge, errno, None, why.to_owned());
    }
    if let Some(grant) = host_grant(judge, named, port, by) {
        let risk = match grant.port {
            _ if grant.host.is_loopback() => {
                "whatever answers there on this machine, outside of the sandbox".to_owned()
            }
            Some(443 | 80) | None => "whatever is sent to this host".to_owned(),
            Some(port) => format!("whatever is sent to port {port} of this host"),
        };
        return denied(judge, errno, Some(allow_host(judge, &grant)), risk);
    }
    let mut risk = WHOLE.to_owned();
    if judge.level == Level::Namespaces && port == Some(DOMAIN) {
        risk.push_str(if judge.places.hosts.is_empty() {
            "; a name server was asked, and a host that is allowed is looked up outside: --allow-host HOST"
        } else {
            "; a name server was asked, and not the proxy that HTTPS_PROXY names: hosts that are allowed are reached by it alone"
        });
    }
    denied(judge, errno, Some(allow_network(judge)), risk)
}

fn denied(judge: &Judge<'_>, errno: Option<Errno>, allow: Option<Allow>, risk: String) -> Verdict {
    let settings = judge.settings;
    let rule = if judge.policy.mode == SandboxMode::WorkspaceWrite {
        Rule::new(NETWORK_ACCESS, &settings.workspace_write.network_access.origin)
    } else {
        Rule::new("sandbox_mode", &settings.sandbox_mode.origin)
    };
    Verdict::Denied(Box::new(Refusal {
        promise: Some("P2"),
        rule: Some(rule),
        errno,
        resolved: None,
        allow,
        risk: Some(risk),
    }))
}

fn allow_network(judge: &Judge<'_>) -> Allow {
    let in_table = judge.policy.mode == SandboxMode::WorkspaceWrite;
    Allow {
        setting: in_table.then_some(NETWORK_ACCESS),
        toml: in_table.then(|| format!("{NETWORK_ACCESS} = true")),
        flag: Some("--network".to_owned()),
        opens: Opens::Network,
    }
}

/// Whether a host is one that no grant is proposed for: what is told there is for the machine, and no command.
#[must_use]
pub fn is_kept_from_grants(host: &Host) -> bool {
    match host {
        Host::Name(name) => is_of_credentials(name),
        // What belongs to nobody is left to whoever writes it down.
        Host::Address(address) => is_never_named(*address) && !address.is_unspecified(),
        Host::Below(_) => false,
    }
}

/// The grant of one host that would do, where commands come there through a proxy.
fn host_grant(judge: &Judge<'_>, host: Option<Host>, port: Option<u16>, by: By) -> Option<HostGrant> {
    let host = host.filter(|host| judge.level == Level::Namespaces && !matches!(host, Host::Below(_)))?;
    // Loopback is the sandbox's own, and asked for at the proxy by nobody who was not told to.
    let is_inside = host.is_loopback() && by != By::Proxy;
    let has_a_proxy = match by {
        By::Proxy => true,
        By::NoProxy => false,
        By::Itself => port.is_none_or(|port| !NO_PROXY_LEADS_TO.contains(&port)),
    };
    (!is_inside && has_a_proxy && port != Some(0)).then_some(HostGrant { host, port })
}

/// What a grant of a host looks like.
fn allow_host(judge: &Judge<'_>, grant: &HostGrant) -> Allow {
    Allow { opens: Opens::Host(grant.clone()), ..allow_hosts(judge, std::slice::from_ref(grant)) }
}

/// The same of several.
pub(super) fn allow_hosts(judge: &Judge<'_>, grants: &[HostGrant]) -> Allow {
    let key = "sandbox.allow_hosts";
    let known: Vec<String> =
        grant::in_files(&judge.settings.sandbox.allow_hosts).map(|host| host.value.to_string()).collect();
    let more = grants.iter().map(ToString::to_string);
    let flags: Option<Vec<String>> =
        more.clone().map(|host| Some(format!("--allow-host {}", grant::shell_word(&host)?))).collect();
    Allow {
        setting: Some(key),
        toml: Some(grant::list_line(key, known.into_iter(), more)),
        flag: flags.map(|flags| flags.join(" ")),
        opens: Opens::Hosts(grants.to_vec()),
    }
}

/// A numeric address, or the name that means this machine without asking anybody.
pub(super) fn address(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if bare.eq_ignore_ascii_case("localhost") {
        return Some(IpAddr::from([127, 0, 0, 1]));
    }
    bare.parse().ok()
}

pub(super) fn unix(judge: &Judge<'_>, path: &Path) -> Result<Verdict, Errno> {
    if judge.level == Level::None {
        return Ok(allowed());
    }
    let place = locate(path, true)?;
    if judge.level == Level::Namespaces && judge.places.unix_sockets.contains(&place) {
        return Ok(allowed());
    }
    let errno = match (judge.level, judge.unix_sockets) {
        (Level::Namespaces, UnixSockets::Broker | UnixSockets::Landlock) => Errno::EACCES,
        _ => Errno::EPERM,
    };
    let is_daemon = grant::is_container_daemon(&place);
    let (allow, risk) = if secret::is_secret_socket(&place) {
        (None, "what answers there holds keys, or starts programs outside")
    } else {
        let key = "sandbox.allow_unix_sockets";
        let known = judge.settings.sandbox.allow_unix_sockets.values();
        let toml = grant::list_toml(key, known.map(std::path::PathBuf::as_path), &place);
        let opens = Opens::UnixSocket(place.clone());
        let allow = toml.map(|toml| Allow { setting: Some(key), toml: Some(toml), flag: None, opens });
        let risk = if is_daemon {
            "whoever reaches this daemon is root on this machine"
        } else {
            "whatever answers at this socket, outside of the sandbox"
        };
        (allow, risk)
    };
    Ok(Verdict::Denied(Box::new(Refusal {
        promise: Some("P2"),
        rule: Some(Rule::new(
            "sandbox.allow_unix_sockets",
            judge.settings.sandbox.allow_unix_sockets.origin_of_all(),
        )),
        errno: Some(errno),
        resolved: Some(place),
        allow,
        risk: Some(risk.to_owned()),
    })))
}
