//! Hosts, ports and unix sockets.

use std::net::IpAddr;
use std::path::Path;

use codex_linux_sandbox::UnixSockets;
use nix::errno::Errno;

use super::super::record::{Allow, Opens, Rule};
use super::super::{grant, secret};
use super::files::locate;
use super::{Judge, Refusal, Verdict, allowed};
use crate::config::toml_string;
use crate::enforcement::Level;
use crate::policy::{Host, HostGrant, NetworkAccess, SandboxMode, is_never_named, is_of_credentials};

/// Ports at which nobody speaks HTTP, so that no client comes there through a proxy: a grant of the host would open nothing.
const NO_PROXY_LEADS_TO: [u16; 24] = [
    20, 21, 22, 23, 25, 53, 110, 119, 123, 139, 143, 389, 445, 465, 587, 636, 993, 995, 1433, 3306, 5432,
    6379, 9418, 27017,
];
/// What a grant of hosts means to who asks.
const BY_PROXY: &str = "only through the proxy that HTTP_PROXY and HTTPS_PROXY name there, and where the name leads to no \
                        address that is kept from names";

pub(super) fn connect(judge: &Judge<'_>, host: &str, port: Option<u16>) -> Verdict {
    judged(judge, host, port, false)
}

pub(super) fn connect_by_proxy(judge: &Judge<'_>, host: &str, port: u16) -> Verdict {
    judged(judge, host, Some(port), true)
}

fn judged(judge: &Judge<'_>, host: &str, port: Option<u16>, is_by_proxy: bool) -> Verdict {
    if judge.level == Level::None || judge.policy.network == NetworkAccess::Enabled {
        return allowed();
    }
    let named = Host::named(host);
    if judge.level == Level::Namespaces
        && let Some(named) = &named
        && judge.places.hosts.iter().any(|grant| {
            // Without a port, any that is granted.
            port.or(grant.port)
                .map_or(grant.port.is_none() && grant.is_about(named, 0), |port| grant.is_about(named, port))
        })
    {
        return Verdict::Allowed { note: Some(BY_PROXY) };
    }
    let errno = match judge.level {
        Level::None => return allowed(),
        // There is no socket to connect.
        Level::Landlock => Some(Errno::EPERM),
        Level::Namespaces => match address(host) {
            Some(address) if address.is_loopback() || address.is_unspecified() => Some(Errno::ECONNREFUSED),
            Some(_) => Some(Errno::ENETUNREACH),
            // Nobody answers for its name.
            None => None,
        },
    };
    let settings = judge.settings;
    let in_table = judge.policy.mode == SandboxMode::WorkspaceWrite;
    let rule = if in_table {
        let origin = &settings.workspace_write.network_access.origin;
        Rule::new("sandbox_workspace_write.network_access", origin)
    } else {
        Rule::new("sandbox_mode", &settings.sandbox_mode.origin)
    };
    if named.as_ref().is_some_and(is_kept_from_grants) {
        return Verdict::Denied(Box::new(Refusal {
            promise: Some("P2"),
            rule: Some(rule),
            errno,
            resolved: None,
            allow: None,
            risk: Some("clouds give out credentials there, or nobody is: no grant is proposed".to_owned()),
        }));
    }
    if let Some(grant) = host_grant(judge, named, port, is_by_proxy) {
        return Verdict::Denied(Box::new(Refusal {
            promise: Some("P2"),
            rule: Some(rule),
            errno,
            resolved: None,
            allow: Some(allow_host(judge, &grant)),
            risk: Some(match grant.port {
                _ if is_of_this_machine(&grant.host) => {
                    "whatever answers there on this machine, outside of the sandbox".to_owned()
                }
                Some(443 | 80) | None => "whatever is sent to this host".to_owned(),
                Some(port) => format!("whatever is sent to port {port} of this host"),
            }),
        }));
    }
    let key = "sandbox_workspace_write.network_access";
    Verdict::Denied(Box::new(Refusal {
        promise: Some("P2"),
        rule: Some(rule),
        errno,
        resolved: None,
        allow: Some(Allow {
            setting: in_table.then_some(key),
            toml: in_table.then(|| format!("{key} = true")),
            flag: Some("--network".to_owned()),
            opens: Opens::Network,
        }),
        risk: Some("every host and port, this machine's own services among them".to_owned()),
    }))
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

/// Whether a host is the machine that asks, whoever that is.
fn is_of_this_machine(host: &Host) -> bool {
    match host {
        Host::Address(address) => address.is_loopback() || address.is_unspecified(),
        Host::Name(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Below(_) => false,
    }
}

/// The grant of one host that would do, where commands come there through a proxy.
fn host_grant(
    judge: &Judge<'_>,
    host: Option<Host>,
    port: Option<u16>,
    is_by_proxy: bool,
) -> Option<HostGrant> {
    let host = host.filter(|host| judge.level == Level::Namespaces && !matches!(host, Host::Below(_)))?;
    // Loopback is the sandbox's own, and asked for at the proxy by nobody who was not told to.
    let is_inside = is_of_this_machine(&host) && !is_by_proxy;
    // What stands for anybody's address (`ELSEWHERE`) is nobody's to grant.
    if matches!(&host, Host::Address(IpAddr::V4(address)) if address.is_documentation()) && !is_by_proxy {
        return None;
    }
    let has_a_proxy = is_by_proxy || port.is_none_or(|port| !NO_PROXY_LEADS_TO.contains(&port));
    (!is_inside && has_a_proxy && port != Some(0)).then_some(HostGrant { host, port })
}

/// What a grant of a host looks like.
fn allow_host(judge: &Judge<'_>, grant: &HostGrant) -> Allow {
    let key = "sandbox.allow_hosts";
    let known = judge.settings.sandbox.allow_hosts.values().filter(|known| *known != grant);
    let items: Vec<String> = known.chain([grant]).map(|host| toml_string(&host.to_string())).collect();
    Allow {
        setting: Some(key),
        toml: Some(format!("{key} = [{}]", items.join(", "))),
        flag: grant::shell_word(&grant.to_string()).map(|word| format!("--allow-host {word}")),
        opens: Opens::Host(grant.clone()),
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
            &judge.settings.sandbox.allow_unix_sockets.origin,
        )),
        errno: Some(errno),
        resolved: Some(place),
        allow,
        risk: Some(risk.to_owned()),
    })))
}
