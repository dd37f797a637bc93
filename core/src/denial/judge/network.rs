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
use crate::policy::{NetworkAccess, SandboxMode};

pub(super) fn connect(judge: &Judge<'_>, host: &str, _port: Option<u16>) -> Verdict {
    if judge.level == Level::None || judge.policy.network == NetworkAccess::Enabled {
        return allowed();
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
