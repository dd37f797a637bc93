//! What to enforce and what to run, as validated data: an invalid plan can't be built.

use std::ffi::OsString;
use std::num::NonZeroU64;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

pub use crate::limits::{LimitKind, Limits};
use crate::shown::shown;

/// Why a value can't be part of a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The helper has no directory that a relative path could be relative to: the parent's may be another one.
    #[error("{path} is not absolute", path = shown(.0))]
    NotAbsolute(PathBuf),
    /// A path with `..` names something else once a component of it is a symbolic link.
    #[error("{path} contains `..`; give the resolved path", path = shown(.0))]
    ParentComponent(PathBuf),
    /// The kernel ends a path at its first NUL byte.
    #[error("{path} contains a NUL byte", path = shown(.0))]
    Nul(PathBuf),
}

/// A place that a plan names: an absolute path without `.`, `..`, doubled or trailing slashes.
///
/// The path is expected to be resolved. The helper opens it without following any symbolic link, so that a link put
/// into it between resolution and use ends the set-up instead of moving the place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlanPath(PathBuf);

impl PlanPath {
    /// Accepts an absolute path without `..` and NUL bytes.
    ///
    /// # Errors
    ///
    /// [`PlanError`] names what is wrong with the path.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, PlanError> {
        let path = path.as_ref();
        if path.as_os_str().as_bytes().contains(&0) {
            return Err(PlanError::Nul(path.to_owned()));
        }
        if !path.is_absolute() {
            return Err(PlanError::NotAbsolute(path.to_owned()));
        }
        if path.components().any(|component| component == Component::ParentDir) {
            return Err(PlanError::ParentComponent(path.to_owned()));
        }
        Ok(Self(path.components().collect()))
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// What commands may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writes {
    /// Everything that the user's own permissions allow.
    Everywhere,
    /// Only what is below these trees, and the usual devices.
    Beneath(Vec<PlanPath>),
}

/// Whether commands may reach the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Internet protocols work as they do outside.
    Full,
    /// Nothing leaves, nothing enters.
    Off,
}

/// By what the kernel confines commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// Landlock and seccomp: what every process may ask for.
    #[default]
    Landlock,
    /// Namespaces of their own, with Landlock and seccomp inside them.
    Namespaces,
}

/// How a place inside a writable tree is kept as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kept {
    /// Nothing at or below it changes.
    ReadOnly,
    /// It is not renamed, removed or replaced; what is in it may change.
    Pinned,
}

/// A place inside a writable tree that is kept as it is. It has to exist, and to be no symbolic link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protected {
    /// The place.
    pub path: PlanPath,
    /// How it is kept.
    pub kept: Kept,
}

/// What only namespaces can hold: rules about places inside of what is allowed otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// What is kept as it is inside the writable trees.
    pub protected: Vec<Protected>,
    /// Files and directories that can't be read, nor looked into. One that does not exist hides nothing.
    pub denied: Vec<PlanPath>,
    /// Places below denied directories that can be read all the same.
    pub reopened: Vec<PlanPath>,
    /// Whether `/tmp` is empty and the command's own.
    pub private_tmp: bool,
    /// Sockets of the host that can be connected to. One that does not exist can't be, even if it comes later.
    pub unix_sockets: Vec<PlanPath>,
}

impl Places {
    /// Whether there is no such rule.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.take_nothing_away() && self.unix_sockets.is_empty()
    }

    /// Whether no rule takes anything away. A socket that can be connected to is one more than there would be.
    #[must_use]
    pub const fn take_nothing_away(&self) -> bool {
        self.protected.is_empty() && self.denied.is_empty() && self.reopened.is_empty() && !self.private_tmp
    }
}

/// What is allowed. Everything can be read, as far as the user's own permissions go, but for what [`Places`] denies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// By what commands are confined. Without meaning for a plan that takes nothing away.
    pub isolation: Isolation,
    /// What commands may write.
    pub writes: Writes,
    /// Whether commands may reach the network.
    pub network: Network,
    /// Rules that need [`Isolation::Namespaces`].
    pub places: Places,
    /// How many bytes may be written below the trees where that is to change nothing: they become views of themselves, in
    /// memory, which end with the command. Only with [`Isolation::Namespaces`] and [`Writes::Beneath`]. What can be reached
    /// is the same; files of other owners can't be changed in an unprivileged user's view (`EOVERFLOW`), directories of a
    /// tree not be renamed (`EXDEV`), and sockets, named pipes and locks of processes outside are not met in it.
    pub view: Option<NonZeroU64>,
    /// What commands may use.
    pub limits: Limits,
    /// Uses no Landlock feature above this ABI, as if the kernel were older. It only ever lowers what is used.
    pub landlock_abi_at_most: Option<u8>,
}

impl Plan {
    /// A plan that takes nothing away.
    pub const UNRESTRICTED: Self = Self::new(Isolation::Landlock, Writes::Everywhere, Network::Full);

    /// A plan without rules about places.
    #[must_use]
    pub const fn new(isolation: Isolation, writes: Writes, network: Network) -> Self {
        let places = Places {
            protected: Vec::new(),
            denied: Vec::new(),
            reopened: Vec::new(),
            private_tmp: false,
            unix_sockets: Vec::new(),
        };
        let limits = Limits::NONE;
        Self { isolation, writes, network, places, view: None, limits, landlock_abi_at_most: None }
    }

    /// Whether the plan takes nothing away, so that the helper has nothing to enforce but limits.
    #[must_use]
    pub const fn is_unrestricted(&self) -> bool {
        matches!(self.writes, Writes::Everywhere)
            && matches!(self.network, Network::Full)
            && self.places.take_nothing_away()
    }

    /// Whether the plan is enforced by namespaces.
    #[must_use]
    pub const fn uses_namespaces(&self) -> bool {
        matches!(self.isolation, Isolation::Namespaces) && !self.is_unrestricted()
    }

    /// Whether commands have a network of their own, in which nothing but they is.
    #[must_use]
    pub const fn has_its_own_network(&self) -> bool {
        self.uses_namespaces() && matches!(self.network, Network::Off)
    }

    /// Whether a view can be had of what is written: in namespaces, and where writes are confined to trees.
    #[must_use]
    pub const fn can_be_viewed(&self) -> bool {
        self.uses_namespaces() && matches!(self.writes, Writes::Beneath(_))
    }

    /// The oldest Landlock ABI that can take part in the plan. 0 where none has to.
    ///
    /// Landlock also keeps processes inside from those outside, which nothing else does here, so that a plan which only
    /// closes the network needs one as well: the first with a right for the network.
    #[must_use]
    pub const fn landlock_abi_needed(&self) -> u8 {
        match (&self.writes, self.network) {
            // Whatever there is serves as the second wall.
            _ if self.uses_namespaces() => 0,
            (Writes::Beneath(_), _) => 1,
            (Writes::Everywhere, Network::Off) => 4,
            (Writes::Everywhere, Network::Full) => 0,
        }
    }
}

/// What of a plan has to be known before its namespaces are made. The rest may come while they are being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footing {
    /// Whether commands may reach the network.
    pub network: Network,
    /// Whether writes are confined.
    pub confined: bool,
}

impl Footing {
    /// What a plan stands on.
    #[must_use]
    pub const fn of(plan: &Plan) -> Self {
        Self { network: plan.network, confined: matches!(plan.writes, Writes::Beneath(_)) }
    }
}

/// The command: what is looked up and executed, and what it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// A path, or a name to look up in the command's own `PATH`.
    pub program: OsString,
    /// The command's `argv[0]`, where it is not `program`.
    pub argv0: Option<OsString>,
    /// The arguments after `argv[0]`, bytes preserved.
    pub arguments: Vec<OsString>,
}

/// Where the command's environment comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Environment {
    /// The helper's own: what a person gets who pastes the line into a shell.
    #[default]
    Inherit,
    /// A seekable descriptor that holds `NAME=value` entries, each ended by a NUL byte. The helper's own environment
    /// is then empty, so that no variable meant for the command can influence the helper.
    Descriptor(RawFd),
}

/// What becomes of descriptors above 2 that the helper was started with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Descriptors {
    /// They end with the helper: an inherited descriptor is a way round every rule about paths.
    #[default]
    Close,
    /// The command gets them. Only for a plan that restricts nothing.
    Keep,
}

/// When the process that stays beside the command ends, and everything that the command has started with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stay {
    /// When the command ends.
    #[default]
    ForTheCommand,
    /// When nothing is left: what the command leaves behind may have something to say yet. Whoever started the helper is
    /// told of the command's end, and ends the rest when it has waited long enough.
    ForAll,
}

/// Over what whoever watches over the command gets the socket that listens inside a closed network, so that it can answer what
/// commands ask there of hosts outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// Nothing listens.
    #[default]
    None,
    /// Over this socket, which the helper was started with.
    Over(RawFd),
    /// Over the one by which the orders came ([`EarlyInit`](crate::EarlyInit), [`StandbyOrders`](crate::StandbyOrders)).
    OverOrders,
}

/// Whose terminal standard input is, if it is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Terminal {
    /// The caller's.
    #[default]
    Leave,
    /// The command's: it becomes the controlling terminal of the session that the command leads.
    Take,
}

/// A plan, the command to run under it, and what is handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// What to enforce.
    pub plan: Plan,
    /// What to run.
    pub command: Command,
    /// The command's working directory, where it is not the helper's.
    pub directory: Option<PathBuf>,
    /// The command's environment.
    pub environment: Environment,
    /// What becomes of inherited descriptors.
    pub descriptors: Descriptors,
    /// When everything below the command ends.
    pub stay: Stay,
    /// What becomes of the terminal on standard input.
    pub terminal: Terminal,
    /// Where to report to. Closed when the command starts, where no other process stays.
    pub status: Option<RawFd>,
    /// The process whose end must end the command.
    pub parent: Option<i32>,
    /// The `cgroup.procs` of the cgroup (version 2) that everything runs in, open for writing. Not for a process that
    /// [waits for its orders](crate::EarlyInit).
    pub cgroup: Option<RawFd>,
    /// The command's end of the socket to an [observer](crate::observer_arguments), which sees what is refused.
    pub observer: Option<RawFd>,
    /// What becomes of what commands ask of hosts outside. Only for a plan with a network of its own.
    pub proxy: Proxy,
    /// Whether what Landlock refuses is written to the kernel's audit log where auditing is on. Only for a plan without
    /// namespaces, and from Landlock's ABI 7 on.
    pub log_refusals: bool,
}

impl Invocation {
    /// A command under a plan, with everything else as the helper finds it.
    #[must_use]
    pub fn new(plan: Plan, command: Command) -> Self {
        Self {
            plan,
            command,
            directory: None,
            environment: Environment::default(),
            descriptors: Descriptors::default(),
            stay: Stay::default(),
            terminal: Terminal::default(),
            status: None,
            parent: None,
            cgroup: None,
            observer: None,
            proxy: Proxy::None,
            log_refusals: false,
        }
    }
}
