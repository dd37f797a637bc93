//! What the resolved policy says about one operation on one object, without trying it.
//!
//! The answer is the sandbox's alone: what is allowed here can still fail by an ordinary permission, or because it is not
//! there. It is the kernel's answer at the level given, with the error that the kernel gives (see the specification).

mod files;
mod network;

use std::path::{Path, PathBuf};

use codex_linux_sandbox::UnixSockets;
use nix::errno::Errno;
use serde::Serialize;

use super::dwelling::Dwelling;
use super::record::{Allow, Rule};
use crate::config::Settings;
use crate::enforcement::Level;
use crate::policy::{HostGrant, Protection, ResolvedPlaces, ResolvedPolicy, Surroundings};

/// What can be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Opening something that exists to write, or truncating it.
    Write,
    /// Making a file, a directory, a link, a fifo or a socket.
    Create,
    /// Removing a name.
    Remove,
    /// Renaming, or replacing.
    Rename,
    /// Changing mode, owner, times or attributes.
    Metadata,
    /// Opening to read, or listing.
    Read,
    /// Connecting to a host and a port.
    Connect,
    /// Connecting to a unix socket by its path.
    Unix,
    /// Sending a signal to a process outside.
    Signal,
    /// Making a call of the kernel's that is closed.
    Call,
    /// Using more of something than a limit allows.
    Use,
}

impl Operation {
    /// The name used in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Create => "create",
            Self::Remove => "remove",
            Self::Rename => "rename",
            Self::Metadata => "metadata",
            Self::Read => "read",
            Self::Connect => "connect",
            Self::Unix => "unix",
            Self::Signal => "signal",
            Self::Call => "call",
            Self::Use => "use",
        }
    }
}

pub(super) use files::locate;
pub(crate) use network::DOMAIN;
pub use network::is_kept_from_grants;

/// The sandbox's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stands in nobody's way.
    Allowed {
        /// What has to be said all the same.
        note: Option<&'static str>,
    },
    /// It refuses.
    Denied(Box<Refusal>),
}

/// Why, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The promise, by its number in the specification.
    pub promise: Option<&'static str>,
    /// The rule of the configuration. `None` where the promise is no setting's.
    pub rule: Option<Rule>,
    /// The error. `None` where there is none: a name that can't be looked up, a file that root finds empty.
    pub errno: Option<Errno>,
    /// The path with its links followed.
    pub resolved: Option<PathBuf>,
    /// What would allow it.
    pub allow: Option<Allow>,
    /// What the grant would open, or why there is none.
    pub risk: Option<String>,
}

/// A policy, the level it runs at, and where the user's things are.
#[derive(Clone, Debug)]
pub struct Judge<'a> {
    /// The policy, its paths made real.
    pub policy: &'a ResolvedPolicy,
    /// Rules about single places, their paths made real.
    pub places: &'a ResolvedPlaces,
    /// What is protected in the writable roots.
    pub protection: Option<&'a Protection>,
    /// Mounts of the kernel's own in the writable roots.
    pub special: Vec<PathBuf>,
    /// The level.
    pub level: Level,
    /// What there is of unix sockets at that level.
    pub unix_sockets: UnixSockets,
    /// The settings behind the policy, for the origin of each rule.
    pub settings: &'a Settings,
    /// Where the user's things are, for the directories of tools and secrets.
    pub dwelling: &'a Dwelling,
    /// What the policy was resolved against. No grant may open the directory of the configuration.
    pub surroundings: Surroundings<'a>,
    /// Whether commands run as root.
    pub root: bool,
    /// Whether what is writable was shown by views: what commands made there is gone.
    pub viewed: bool,
}

impl Judge<'_> {
    /// Whether a command may do this to a file. `path` is absolute.
    ///
    /// # Errors
    ///
    /// The kernel's answer where the path can't be looked at.
    pub fn file(&self, operation: Operation, path: &Path) -> Result<Verdict, Errno> {
        files::judge(self, operation, path)
    }

    /// The same of a place: an absolute path on which nothing is a link for the command, whatever is there now.
    pub(super) fn file_at(&self, operation: Operation, place: PathBuf) -> Verdict {
        files::judge_at(self, operation, place)
    }

    /// Whether a command may reach the network at all: where it is not known whom it wanted.
    pub(super) fn network(&self) -> Verdict {
        network::network(self)
    }

    /// Whether a command may connect to a port of a host, named or numeric.
    #[must_use]
    pub fn connect(&self, host: &str, port: Option<u16>) -> Verdict {
        network::connect(self, host, port)
    }

    /// The same for a program that knows of no proxies.
    #[must_use]
    pub(super) fn connect_directly(&self, host: &str, port: Option<u16>) -> Verdict {
        network::connect_directly(self, host, port)
    }

    /// What a grant of several hosts looks like.
    pub(super) fn allow_hosts(&self, grants: &[HostGrant]) -> Allow {
        network::allow_hosts(self, grants)
    }

    /// The same of a host that a command has asked for at the proxy: whoever comes there can come there again, whatever host and port
    /// it is.
    #[must_use]
    pub fn connect_by_proxy(&self, host: &str, port: u16) -> Verdict {
        network::connect_by_proxy(self, host, port)
    }

    /// Whether a command may connect to a unix socket of the host. `path` is absolute.
    ///
    /// # Errors
    ///
    /// The kernel's answer where the path can't be looked at.
    pub fn unix(&self, path: &Path) -> Result<Verdict, Errno> {
        network::unix(self, path)
    }

    /// Whether a command may signal a process outside of the sandbox.
    #[must_use]
    pub fn signal(&self) -> Verdict {
        let errno = match self.level {
            Level::None => return allowed(),
            // It has no number inside.
            Level::Namespaces => Errno::ESRCH,
            Level::Landlock => Errno::EPERM,
        };
        Verdict::Denied(Box::new(Refusal {
            promise: Some("P3"),
            rule: None,
            errno: Some(errno),
            resolved: None,
            allow: None,
            risk: Some("processes outside are never opened".to_owned()),
        }))
    }
}

const fn allowed() -> Verdict {
    Verdict::Allowed { note: None }
}
