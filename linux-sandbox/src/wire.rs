//! An invocation as an argument list, and back.
//!
//! ```text
//! codex-linux-sandbox -s PERMISSION [-s PERMISSION]… [options] -- CMD ARG…
//! ```
//!
//! Arguments are bytes: a path or an argument need not be UTF-8. Every option stands alone in its argument and its
//! value in the next, so that no value needs quoting and no single argument grows with the plan (the kernel refuses
//! one of 128 KiB).

mod decode;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::plan::{
    Descriptors, Environment, Invocation, Isolation, Kept, LimitKind, Network, Places, Plan, PlanError,
    PlanPath, Protected, Proxy, Stay, Terminal, Writes,
};
use crate::shown::shown;
pub use decode::decode;

const READ_ALL: &str = "disk-full-read-access";
const WRITE_ALL: &str = "disk-full-write-access";
const WRITE_CWD: &str = "disk-write-cwd";
const WRITE_FOLDER: &str = "disk-write-folder=";
const NETWORK_ALL: &str = "network-full-access";
const PROTECT: &str = "disk-protect=";
const PIN: &str = "disk-pin=";
const DENY_READ: &str = "disk-deny-read=";
const READ_FOLDER: &str = "disk-read-folder=";
const PRIVATE_TMP: &str = "private-tmp";
const UNIX_SOCKET: &str = "unix-socket=";

const PERMISSION: &str = "-s";
const ISOLATION: &str = "--isolation";
const ISOLATION_NAMESPACES: &str = "namespaces";
const ISOLATION_LANDLOCK: &str = "landlock";
const DIRECTORY: &str = "--cwd";
const ARGV0: &str = "--argv0";
const ENVIRONMENT: &str = "--env-fd";
const STATUS: &str = "--status-fd";
const PARENT: &str = "--parent-pid";
const LANDLOCK_ABI: &str = "--landlock-abi";
const VIEW: &str = "--view";
const CGROUP: &str = "--cgroup-fd";
const OBSERVER: &str = "--observer-fd";
const PROXY: &str = "--proxy-fd";
const PROXY_OVER_ORDERS: &str = "--proxy-over-orders";
const LOG_REFUSALS: &str = "--log-refusals";
const KEEP_DESCRIPTORS: &str = "--keep-descriptors";
const STAY_FOR_ALL: &str = "--stay-for-all";
const TAKE_TERMINAL: &str = "--take-terminal";

/// The option of a limit.
const fn limit_option(kind: LimitKind) -> &'static str {
    match kind {
        LimitKind::Memory => "--limit-memory",
        LimitKind::Processes => "--limit-processes",
        LimitKind::CpuTime => "--limit-cpu-time",
        LimitKind::OpenFiles => "--limit-open-files",
        LimitKind::FileSize => "--limit-file-size",
        LimitKind::Shm => "--limit-shm",
    }
}

/// Why an argument list is not an invocation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// An argument before `--` that is no option of the helper.
    #[error("unknown option {option}", option = shown(.0))]
    UnknownOption(OsString),
    /// A `-s` with a word that is no permission.
    #[error(
        "unknown permission {permission}; known are {READ_ALL}, {WRITE_ALL}, {WRITE_CWD}, {WRITE_FOLDER}PATH, \
         {NETWORK_ALL}, {PROTECT}PATH, {PIN}PATH, {DENY_READ}PATH, {READ_FOLDER}PATH, {PRIVATE_TMP}, \
         {UNIX_SOCKET}PATH",
        permission = shown(.0)
    )]
    UnknownPermission(OsString),
    /// An option at the end of the list.
    #[error("{0} needs a value")]
    MissingValue(&'static str),
    /// An option that can only be given once.
    #[error("{0} was given twice")]
    Repeated(&'static str),
    /// A number that is none, or out of range.
    #[error("{option} needs a whole number from {low} to {high}, not {value}", value = shown(.value))]
    Number {
        /// The option.
        option: &'static str,
        /// The smallest number it takes.
        low: u64,
        /// The largest number it takes.
        high: u64,
        /// What was given.
        value: OsString,
    },
    /// A path that can't be part of a plan.
    #[error("-s {word}: {error}")]
    Path {
        /// The permission.
        word: &'static str,
        /// What is wrong with its path.
        error: PlanError,
    },
    /// A level that there is none of.
    #[error("{ISOLATION} needs {ISOLATION_NAMESPACES} or {ISOLATION_LANDLOCK}, not {level}", level = shown(.0))]
    UnknownIsolation(OsString),
    /// A rule that Landlock can't express must not be dropped in silence.
    #[error(
        "{PROTECT}, {PIN}, {DENY_READ}, {READ_FOLDER}, {PRIVATE_TMP} and {UNIX_SOCKET} need {ISOLATION} \
         {ISOLATION_NAMESPACES}"
    )]
    PlacesNeedNamespaces,
    /// Limits that can't be held must not be dropped in silence either.
    #[error(
        "{processes} and {shm} need {ISOLATION} {ISOLATION_NAMESPACES} and a plan that restricts something, the latter a plan \
         without {WRITE_ALL}",
        processes = limit_option(LimitKind::Processes), shm = limit_option(LimitKind::Shm)
    )]
    LimitsNeedNamespaces,
    /// What is to change nothing must not be written to what is there.
    #[error("{VIEW} needs {ISOLATION} {ISOLATION_NAMESPACES}, and a plan without {WRITE_ALL}")]
    NoView,
    /// Nobody would be kept from the network but by it.
    #[error(
        "{PROXY} and {PROXY_OVER_ORDERS} need {ISOLATION} {ISOLATION_NAMESPACES} and a plan without {NETWORK_ALL}, one of them at most"
    )]
    NoNetworkForProxy,
    /// Whose domain it would be is told by a number that is another one outside.
    #[error("{LOG_REFUSALS} is for {ISOLATION} {ISOLATION_LANDLOCK}")]
    LogsOfNamespaces,
    /// A working directory that is relative: it would depend on where the helper was started.
    #[error("{DIRECTORY} {path} is not absolute", path = shown(.0))]
    Directory(PathBuf),
    /// Reads can't be limited, so the permission must be there to say so.
    #[error("-s {READ_ALL} is missing: reads can't be limited, and a plan has to say what it allows")]
    NoReadAccess,
    /// An inherited descriptor would be a way round the plan.
    #[error("{KEEP_DESCRIPTORS} is only for a plan that restricts nothing (-s {WRITE_ALL} -s {NETWORK_ALL})")]
    KeptDescriptors,
    /// `disk-write-cwd` in a directory that was removed or can't be reached.
    #[error("-s {WRITE_CWD}: the current directory is unknown ({0}); use -s {WRITE_FOLDER}PATH")]
    CurrentDirectory(&'static str),
    /// No command after `--`, or no `--` at all.
    #[error("no command: put it after `--`")]
    NoCommand,
}

/// Writes an invocation as the helper's arguments, without the program's own name.
#[must_use]
pub fn encode(invocation: &Invocation) -> Vec<OsString> {
    let mut arguments = permissions(&invocation.plan);
    let mut option = |name: &str, value: OsString| arguments.extend([OsString::from(name), value]);
    if invocation.plan.isolation == Isolation::Namespaces {
        option(ISOLATION, ISOLATION_NAMESPACES.into());
    }
    if let Some(abi) = invocation.plan.landlock_abi_at_most {
        option(LANDLOCK_ABI, abi.to_string().into());
    }
    if let Some(bytes) = invocation.plan.view {
        option(VIEW, bytes.to_string().into());
    }
    for kind in LimitKind::ALL {
        if let Some(limit) = invocation.plan.limits.get(kind) {
            option(limit_option(kind), limit.to_string().into());
        }
    }
    if let Some(directory) = &invocation.directory {
        option(DIRECTORY, directory.clone().into_os_string());
    }
    if let Some(argv0) = &invocation.command.argv0 {
        option(ARGV0, argv0.clone());
    }
    if let Environment::Descriptor(descriptor) = invocation.environment {
        option(ENVIRONMENT, descriptor.to_string().into());
    }
    if let Some(descriptor) = invocation.status {
        option(STATUS, descriptor.to_string().into());
    }
    if let Some(pid) = invocation.parent {
        option(PARENT, pid.to_string().into());
    }
    if let Some(descriptor) = invocation.cgroup {
        option(CGROUP, descriptor.to_string().into());
    }
    if let Some(descriptor) = invocation.observer {
        option(OBSERVER, descriptor.to_string().into());
    }
    match invocation.proxy {
        Proxy::None => {}
        Proxy::Over(descriptor) => option(PROXY, descriptor.to_string().into()),
        Proxy::OverOrders => arguments.push(PROXY_OVER_ORDERS.into()),
    }
    if invocation.log_refusals {
        arguments.push(LOG_REFUSALS.into());
    }
    if invocation.descriptors == Descriptors::Keep {
        arguments.push(KEEP_DESCRIPTORS.into());
    }
    if invocation.stay == Stay::ForAll {
        arguments.push(STAY_FOR_ALL.into());
    }
    if invocation.terminal == Terminal::Take {
        arguments.push(TAKE_TERMINAL.into());
    }
    arguments.push("--".into());
    arguments.push(invocation.command.program.clone());
    arguments.extend(invocation.command.arguments.iter().cloned());
    arguments
}

fn permissions(plan: &Plan) -> Vec<OsString> {
    let mut words = vec![OsString::from(READ_ALL)];
    match &plan.writes {
        Writes::Everywhere => words.push(WRITE_ALL.into()),
        Writes::Beneath(trees) => words.extend(trees.iter().map(|tree| with_path(WRITE_FOLDER, tree))),
    }
    if plan.network == Network::Full {
        words.push(NETWORK_ALL.into());
    }
    let Places { protected, denied, reopened, private_tmp, unix_sockets } = &plan.places;
    words.extend(protected.iter().map(|Protected { path, kept }| {
        let word = match kept {
            Kept::ReadOnly => PROTECT,
            Kept::Pinned => PIN,
        };
        with_path(word, path)
    }));
    words.extend(denied.iter().map(|path| with_path(DENY_READ, path)));
    words.extend(reopened.iter().map(|path| with_path(READ_FOLDER, path)));
    if *private_tmp {
        words.push(PRIVATE_TMP.into());
    }
    words.extend(unix_sockets.iter().map(|path| with_path(UNIX_SOCKET, path)));
    words.into_iter().flat_map(|word| [OsString::from(PERMISSION), word]).collect()
}

fn with_path(word: &str, path: &PlanPath) -> OsString {
    let mut word = OsString::from(word);
    word.push(path.path());
    word
}

#[cfg(test)]
mod tests;
