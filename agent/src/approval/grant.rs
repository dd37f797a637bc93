//! What a call is given beyond the policy.

use std::path::PathBuf;

use codex_core::denial::{Denial, Opens};
use codex_core::policy::HostGrant;
use codex_linux_sandbox::shown;
use serde::{Deserialize, Serialize};

/// What a call is given beyond the policy: just this, and nothing beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// No sandbox at all.
    #[serde(default)]
    pub unsandboxed: bool,
    /// Directories below which it may write. Without links.
    #[serde(default)]
    pub write: Vec<PathBuf>,
    /// What it may read although the policy hides it. Without links.
    #[serde(default)]
    pub read: Vec<PathBuf>,
    /// The network.
    #[serde(default)]
    pub network: bool,
    /// Single hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostGrant>,
}

impl Grant {
    /// Whether it is nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        !self.unsandboxed
            && !self.network
            && self.hosts.is_empty()
            && self.write.is_empty()
            && self.read.is_empty()
    }

    /// What it opens, a line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.unsandboxed {
            lines.push("no sandbox: whatever you can do, it can".to_owned());
        }
        lines.extend(self.write.iter().map(|path| format!("writing below {}", shown(path))));
        lines.extend(self.read.iter().map(|path| format!("reading {}", shown(path))));
        if self.network {
            lines.push("the network: every host and port".to_owned());
        }
        lines.extend(self.hosts.iter().map(|host| match host.port {
            Some(_) => format!("the host {host}"),
            None => format!("the host {host}, at every port"),
        }));
        lines
    }

    /// The narrowest grant that the denials of a call name, with what they say of its risks. Empty where they name none that a
    /// call can be given.
    #[must_use]
    pub fn named_by(denials: &[Denial]) -> (Self, Vec<String>) {
        let (mut grant, mut risks) = (Self::default(), Vec::new());
        for denial in denials {
            let Some(allow) = &denial.allow else { continue };
            match &allow.opens {
                Opens::Write(directory) if !grant.write.contains(directory) => {
                    grant.write.push(directory.clone())
                }
                Opens::Network => grant.network = true,
                Opens::Host(host) if !grant.hosts.contains(host) => grant.hosts.push(host.clone()),
                Opens::Hosts(hosts) => {
                    let new = hosts.iter().filter(|host| !grant.hosts.contains(host));
                    let new: Vec<_> = new.cloned().collect();
                    grant.hosts.extend(new);
                }
                // A socket of the host is a setting's matter: whatever listens there works outside of the sandbox.
                Opens::Write(_) | Opens::Host(_) | Opens::UnixSocket(_) => continue,
            }
            risks.extend(denial.risk.clone().filter(|risk| !risks.contains(risk)));
        }
        (grant, risks)
    }
}
