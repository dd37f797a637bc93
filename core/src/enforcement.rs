//! The report of what holds: each guarantee enforced, partial or absent, and why.

mod explanation;
mod guarantee;
mod limits;

use std::borrow::Cow;

use codex_linux_sandbox::{Capabilities, Enforced, Isolation, Network, Plan, UnixSockets, Writes};
use serde::Serialize;

pub use explanation::{Explanation, ExplanationKind};
pub use guarantee::Guarantee;
pub use limits::{LimitHolding, Means};

use crate::config::Explain;
use crate::limits::ResourceLimits;
use crate::policy::HostGrant;
use limits::Held;

/// How far a guarantee holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// It holds.
    Enforced,
    /// It holds with the gaps named beside it.
    Partial,
    /// It does not hold.
    Absent,
    /// The policy does not ask for it.
    NotRequested,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The guarantee.
    pub guarantee: Guarantee,
    /// How far it holds.
    pub hold: Hold,
    /// By what, or why not.
    pub why: Cow<'static, str>,
}

impl Serialize for Holding {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Line<'a> {
            promise: &'static str,
            guarantee: Guarantee,
            hold: Hold,
            why: &'a str,
        }
        let promise = self.guarantee.promise();
        Line { promise, guarantee: self.guarantee, hold: self.hold, why: &self.why }.serialize(serializer)
    }
}

/// How much the kernel here lets us enforce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Namespaces of the command's own, with Landlock and seccomp inside.
    Namespaces,
    /// Landlock and seccomp.
    Landlock,
    /// Nothing was asked for: the policy restricts nothing.
    None,
}

impl Level {
    /// The name used in reports and in the command's `CODEX_SANDBOX`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Landlock => "landlock",
            Self::None => "none",
        }
    }
}

/// What the kernel refuses for a run, mechanism by mechanism.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mechanisms {
    /// The kinds of namespaces that are the command's own.
    pub namespaces: Vec<&'static str>,
    /// The Landlock ABI in use. 0 without Landlock.
    pub landlock_abi: u8,
    /// The rights on files that Landlock refuses outside of what the policy allows.
    pub landlock_fs: Vec<&'static str>,
    /// The rights on the network that Landlock refuses.
    pub landlock_net: Vec<&'static str>,
    /// What Landlock keeps within the sandbox.
    pub landlock_scopes: Vec<&'static str>,
    /// How many system calls seccomp refuses, for some or all arguments.
    pub seccomp_calls: u32,
    /// How unix sockets are kept from reaching the outside: `refused` but for connected pairs, each connection made by the
    /// `broker`, or confined by `landlock`.
    pub unix_sockets: &'static str,
    /// What is left of capabilities: `untouched`, `empty`, or `ownership` (root: `chown`, `dac_override`, `fowner`,
    /// `fsetid`).
    pub capabilities: &'static str,
}

/// Kinds of namespaces by their bit in `CLONE_NEW*` (`linux/sched.h`).
const NAMESPACES: [(u32, &str); 7] =
    [(28, "user"), (17, "mount"), (29, "pid"), (27, "ipc"), (26, "uts"), (25, "cgroup"), (30, "net")];
/// Landlock's rights on files by their bit, from bit 0 on (`linux/landlock.h`).
const LANDLOCK_FS: [&str; 17] = [
    "execute",
    "write_file",
    "read_file",
    "read_dir",
    "remove_dir",
    "remove_file",
    "make_char",
    "make_dir",
    "make_reg",
    "make_sock",
    "make_fifo",
    "make_block",
    "make_sym",
    "refer",
    "truncate",
    "ioctl_dev",
    "resolve_unix",
];
/// Landlock's rights on the network by their bit.
const LANDLOCK_NET: [&str; 4] = ["bind_tcp", "connect_tcp", "bind_udp", "connect_send_udp"];
/// Landlock's scopes by their bit.
const LANDLOCK_SCOPES: [&str; 2] = ["abstract_unix_socket", "signal"];

impl Mechanisms {
    fn of(enforced: &Enforced) -> Self {
        let names = |bits: u64, names: &[&'static str]| {
            names.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| *name).collect()
        };
        let namespaces = NAMESPACES.iter().filter(|(bit, _)| enforced.namespaces >> bit & 1 == 1);
        Self {
            namespaces: namespaces.map(|(_, name)| *name).collect(),
            landlock_abi: enforced.landlock_abi,
            landlock_fs: names(enforced.landlock_fs, &LANDLOCK_FS),
            landlock_net: names(enforced.landlock_net, &LANDLOCK_NET),
            landlock_scopes: names(enforced.landlock_scopes, &LANDLOCK_SCOPES),
            seccomp_calls: enforced.seccomp_calls,
            unix_sockets: match enforced.unix_sockets {
                UnixSockets::Refused => "refused",
                UnixSockets::Broker => "broker",
                UnixSockets::Landlock => "landlock",
            },
            capabilities: match enforced.capabilities {
                Capabilities::Untouched => "untouched",
                Capabilities::Empty => "empty",
                Capabilities::Ownership => "ownership",
            },
        }
    }
}

/// What holds for a run, guarantee by guarantee.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Enforcement {
    /// The level in use.
    pub level: Level,
    /// What the kernel refuses.
    pub mechanisms: Mechanisms,
    /// A line for each guarantee, in the order of [`Guarantee::ALL`].
    pub promises: Vec<Holding>,
    /// A line for each limit that there is.
    pub limits: Vec<LimitHolding>,
    /// What is known of denials.
    pub explanation: Explanation,
}

impl Enforcement {
    /// What a plan holds by what is enforced, and with an environment that was or was not filtered.
    #[must_use]
    pub fn of(plan: &Plan, enforced: &Enforced, secrets_filtered: bool) -> Self {
        let level = match plan.isolation {
            _ if plan.is_unrestricted() => Level::None,
            Isolation::Namespaces => Level::Namespaces,
            Isolation::Landlock => Level::Landlock,
        };
        let promises = Guarantee::ALL
            .into_iter()
            .map(|guarantee| {
                let (hold, why) = match (guarantee, level) {
                    (Guarantee::Secrets, _) => secrets(secrets_filtered),
                    (Guarantee::Survivors, Level::None) => survivors(0),
                    (_, Level::None) => (Hold::NotRequested, "the policy restricts nothing"),
                    (_, Level::Namespaces) => in_namespaces(guarantee, plan, enforced),
                    (_, Level::Landlock) => at_landlock(guarantee, plan, enforced.landlock_abi),
                };
                Holding { guarantee, hold, why: Cow::Borrowed(why) }
            })
            .collect();
        let explanation = Explanation::of(Explain::default(), level, None, false);
        Self { level, mechanisms: Mechanisms::of(enforced), promises, limits: Vec::new(), explanation }
    }

    /// The same with limits, and what holds them beside the helper.
    #[must_use]
    pub fn with_limits(mut self, limits: &ResourceLimits, enforced: &Enforced, means: Means) -> Self {
        let root = nix::unistd::geteuid().is_root();
        self.limits = Held { enforced, means, root }.holdings(limits);
        self
    }

    /// The same where commands reach these hosts by a proxy. They are the user's choice, and no gap.
    #[must_use]
    pub fn with_hosts(mut self, mediated: bool, hosts: &[HostGrant]) -> Self {
        let network = self.promises.iter_mut().find(|holding| holding.guarantee == Guarantee::Network);
        if let Some(holding) = network.filter(|_| mediated && !hosts.is_empty()) {
            let named: Vec<String> = hosts.iter().take(MOST_HOSTS).map(ToString::to_string).collect();
            let more = match hosts.len().saturating_sub(MOST_HOSTS) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let why = format!("{}; by a proxy, {}{more}", holding.why, named.join(", "));
            holding.why = Cow::Owned(why);
        }
        self
    }

    /// The same where this is asked for, and this is what a helper has reported, if one has.
    #[must_use]
    pub fn with_explanation(mut self, asked: Explain, found: Option<&Enforced>) -> Self {
        let observation = found.map(|enforced| enforced.observation);
        let logged = found.is_some_and(|enforced| enforced.logged.is_some());
        self.explanation = Explanation::of(asked, self.level, observation, logged);
        self
    }

    /// How far a guarantee holds, and why.
    #[must_use]
    pub fn holding(&self, guarantee: Guarantee) -> Option<&Holding> {
        self.promises.iter().find(|holding| holding.guarantee == guarantee)
    }
}

/// How many hosts are named in a report.
const MOST_HOSTS: usize = 8;
/// The first ABI of Landlock that keeps signals from leaving.
const LANDLOCK_SCOPES_SIGNALS: u8 = 6;

/// Nothing but the end of a PID namespace ends what is in it whatever happens.
const fn survivors(landlock_abi: u8) -> (Hold, &'static str) {
    let why = if landlock_abi < LANDLOCK_SCOPES_SIGNALS {
        "a process beside the command ends everything below it, also when the caller is killed; but the command could kill \
         that process, and would leave its children behind"
    } else {
        "a process beside the command ends everything below it, also when the caller is killed; where somebody outside \
         kills both, only the command ends with them"
    };
    (Hold::Partial, why)
}

fn secrets(filtered: bool) -> (Hold, &'static str) {
    if filtered {
        (Hold::Enforced, "variables whose names look like secrets are left out")
    } else {
        (
            Hold::NotRequested,
            "shell_environment_policy.ignore_default_excludes keeps variables that look like secrets",
        )
    }
}

fn in_namespaces(guarantee: Guarantee, plan: &Plan, enforced: &Enforced) -> (Hold, &'static str) {
    let nothing_is_writable = match &plan.writes {
        Writes::Everywhere => None,
        Writes::Beneath(trees) => Some(trees.is_empty()),
    };
    match (guarantee, nothing_is_writable) {
        (Guarantee::Writes | Guarantee::Metadata | Guarantee::ProtectedMetadata, None) => {
            (Hold::NotRequested, "the policy leaves the file system to somebody else")
        }
        (Guarantee::Writes, Some(_)) if enforced.landlock_abi == 0 => {
            (Hold::Partial, "read-only mounts; without Landlock, named pipes outside can be written")
        }
        (Guarantee::Writes, Some(_)) => (Hold::Enforced, "read-only mounts, and Landlock"),
        (Guarantee::Metadata, Some(_)) => (Hold::Enforced, "read-only mounts"),
        (Guarantee::ProtectedMetadata, Some(true)) => (Hold::Enforced, "nothing is writable"),
        (Guarantee::ProtectedMetadata, Some(false)) if plan.view.is_some() => (
            Hold::Enforced,
            "read-only mounts keep what exists; all else is written to views, which end with the command",
        ),
        (Guarantee::ProtectedMetadata, Some(false)) => (
            Hold::Partial,
            "read-only mounts keep what exists; what comes to be at a protected name is moved away, within a second or at \
             the end of a shorter call",
        ),
        (Guarantee::Network, _) => match plan.network {
            Network::Full => {
                (Hold::NotRequested, "the policy allows the network; sockets of the host stay closed")
            }
            Network::Off => match enforced.unix_sockets {
                UnixSockets::Refused => (Hold::Enforced, "a network namespace, and seccomp"),
                UnixSockets::Broker => {
                    (Hold::Enforced, "a network namespace, and seccomp; a broker connects unix sockets")
                }
                UnixSockets::Landlock => (Hold::Enforced, "a network namespace, Landlock, and seccomp"),
            },
        },
        (Guarantee::InnerSockets, _) => match (plan.network, enforced.unix_sockets) {
            (Network::Full, UnixSockets::Refused) => {
                (Hold::Partial, "loopback is the host's; unix sockets are closed, but for socket pairs")
            }
            (Network::Full, _) => (
                Hold::Partial,
                "loopback is the host's; unix sockets are closed, but for socket pairs and those that are allowed",
            ),
            (Network::Off, UnixSockets::Refused) => (
                Hold::Partial,
                "a loopback of its own; unix sockets are closed, but for socket pairs: there is no seccomp listener to \
                 be had (Linux 5.19; one for a process), nor Landlock ABI 9",
            ),
            (Network::Off, UnixSockets::Broker) => (
                Hold::Enforced,
                "a loopback of its own; a broker connects unix sockets, but for datagrams, to each other",
            ),
            (Network::Off, UnixSockets::Landlock) => {
                (Hold::Enforced, "a loopback of its own; Landlock keeps unix sockets among each other")
            }
        },
        (Guarantee::Processes, _) if enforced.landlock_abi < 6 => (
            Hold::Partial,
            "a PID namespace, with a /proc of its own; but a signal to the own process group reaches those of it that are \
             outside: Landlock can refuse that from ABI 6 on (Linux 6.12)",
        ),
        (Guarantee::Processes, _) => (Hold::Enforced, "a PID namespace, with a /proc of its own"),
        (Guarantee::Survivors, _) => {
            (Hold::Enforced, "the PID namespace ends with the command, and with the caller")
        }
        (Guarantee::Privilege, _) => {
            (Hold::Enforced, "no_new_privs, a user namespace, capabilities given up, seccomp")
        }
        (Guarantee::Secrets, _) => secrets(true),
    }
}

fn at_landlock(guarantee: Guarantee, plan: &Plan, abi: u8) -> (Hold, &'static str) {
    let confined = match &plan.writes {
        Writes::Everywhere => None,
        Writes::Beneath(trees) => Some(trees),
    };
    match (guarantee, confined) {
        (Guarantee::Writes | Guarantee::Metadata | Guarantee::ProtectedMetadata, None) => {
            (Hold::NotRequested, "the policy leaves the file system to somebody else")
        }
        (Guarantee::Writes, Some(_)) if abi < 3 => (
            Hold::Partial,
            "files outside can be emptied by truncate(2): Landlock can refuse that from ABI 3 on (Linux 6.2)",
        ),
        (Guarantee::Writes, Some(_)) => (Hold::Enforced, "Landlock"),
        (Guarantee::Metadata, Some(_)) => (
            Hold::Absent,
            "Landlock has no right for mode, owner, times and attributes: files of the same owner can have theirs changed",
        ),
        (Guarantee::Network, _) => match plan.network {
            Network::Full => {
                (Hold::NotRequested, "the policy allows the network; sockets of the host stay closed")
            }
            Network::Off => (Hold::Enforced, "seccomp refuses sockets; Landlock refuses TCP"),
        },
        (Guarantee::InnerSockets, _) => match plan.network {
            Network::Full => {
                (Hold::Partial, "loopback is the host's; unix sockets are closed, but for socket pairs")
            }
            Network::Off => (Hold::Absent, "needs a network namespace; pipes and socket pairs work"),
        },
        (Guarantee::Processes, _) if abi < 6 => (
            Hold::Partial,
            "signals reach processes outside: Landlock can refuse that from ABI 6 on (Linux 6.12); names, \
             arguments and state of processes outside can be read in /proc",
        ),
        (Guarantee::Processes, _) => {
            (Hold::Partial, "names, arguments and state of processes outside can be read in /proc")
        }
        (Guarantee::ProtectedMetadata, Some(trees)) if trees.is_empty() => {
            (Hold::Enforced, "nothing is writable")
        }
        (Guarantee::ProtectedMetadata, Some(_)) => (
            Hold::Partial,
            "Landlock can't take a path out of a writable root, so that what exists can be changed; what comes to be \
                 at a protected name is moved away after the call",
        ),
        (Guarantee::Survivors, _) => survivors(abi),
        (Guarantee::Privilege, _) => (Hold::Enforced, "no_new_privs, capabilities given up, seccomp"),
        (Guarantee::Secrets, _) => secrets(true),
    }
}

#[cfg(test)]
mod tests;
