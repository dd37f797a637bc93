//! An invocation as an argument list, and back.
//!
//! ```text
//! codex-linux-sandbox -s PERMISSION [-s PERMISSION]… [options] -- CMD ARG…
//! ```
//!
//! Arguments are bytes: a path or an argument need not be UTF-8. Every option stands alone in its argument and its
//! value in the next, so that no value needs quoting and no single argument grows with the plan (the kernel refuses
//! one of 128 KiB).

use std::ffi::{OsStr, OsString};
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::str::FromStr;

use crate::plan::{
    Command, Descriptors, Environment, Invocation, Isolation, Kept, LimitKind, Limits, Network, Places, Plan,
    PlanError, PlanPath, Protected, Stay, Terminal, Writes,
};
use crate::shown::shown;

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
const CGROUP: &str = "--cgroup-fd";
const OBSERVER: &str = "--observer-fd";
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

/// Reads the helper's arguments, without the program's own name.
///
/// `current_directory` is what `disk-write-cwd` stands for; it is only asked for where that word occurs.
///
/// # Errors
///
/// [`WireError`] names the first argument that can't be understood. Nothing is guessed and nothing is skipped: a plan
/// that was not understood whole is not enforced in part.
pub fn decode<I>(
    arguments: I,
    current_directory: impl FnOnce() -> Result<PathBuf, &'static str>,
) -> Result<Invocation, WireError>
where
    I: IntoIterator<Item = OsString>,
{
    let mut arguments = arguments.into_iter();
    let mut granted = Granted::default();
    let mut options = Options::default();
    loop {
        let argument = arguments.next().ok_or(WireError::NoCommand)?;
        let mut value = |name: &'static str| arguments.next().ok_or(WireError::MissingValue(name));
        match argument.to_str() {
            Some("--") => break,
            Some(PERMISSION) => granted.add(&value(PERMISSION)?)?,
            Some(ISOLATION) => {
                let level = value(ISOLATION)?;
                let isolation = match level.to_str() {
                    Some(ISOLATION_NAMESPACES) => Isolation::Namespaces,
                    Some(ISOLATION_LANDLOCK) => Isolation::Landlock,
                    _ => return Err(WireError::UnknownIsolation(level)),
                };
                once(ISOLATION, &mut options.isolation, isolation)?;
            }
            Some(DIRECTORY) => {
                let directory = PathBuf::from(value(DIRECTORY)?);
                if !directory.is_absolute() {
                    return Err(WireError::Directory(directory));
                }
                once(DIRECTORY, &mut options.directory, directory)?;
            }
            Some(ARGV0) => once(ARGV0, &mut options.argv0, value(ARGV0)?)?,
            Some(ENVIRONMENT) => {
                once(ENVIRONMENT, &mut options.environment, descriptor(ENVIRONMENT, value(ENVIRONMENT)?)?)?;
            }
            Some(STATUS) => once(STATUS, &mut options.status, descriptor(STATUS, value(STATUS)?)?)?,
            Some(PARENT) => once(PARENT, &mut options.parent, number(PARENT, 1..=i32::MAX, value(PARENT)?)?)?,
            Some(LANDLOCK_ABI) => {
                let abi = number(LANDLOCK_ABI, 0..=u8::MAX, value(LANDLOCK_ABI)?)?;
                once(LANDLOCK_ABI, &mut options.landlock_abi, abi)?;
            }
            Some(CGROUP) => once(CGROUP, &mut options.cgroup, descriptor(CGROUP, value(CGROUP)?)?)?,
            Some(OBSERVER) => once(OBSERVER, &mut options.observer, descriptor(OBSERVER, value(OBSERVER)?)?)?,
            Some(KEEP_DESCRIPTORS) => once(KEEP_DESCRIPTORS, &mut options.keep_descriptors, ())?,
            Some(STAY_FOR_ALL) => once(STAY_FOR_ALL, &mut options.stay_for_all, ())?,
            Some(TAKE_TERMINAL) => once(TAKE_TERMINAL, &mut options.take_terminal, ())?,
            other => {
                let kind = LimitKind::ALL.into_iter().find(|kind| Some(limit_option(*kind)) == other);
                let Some(kind) = kind else { return Err(WireError::UnknownOption(argument)) };
                let option = limit_option(kind);
                let limit = number(option, NonZeroU64::MIN..=NonZeroU64::MAX, value(option)?)?;
                once(option, options.limits.slot(kind), limit)?;
            }
        }
    }
    let program = arguments.next().ok_or(WireError::NoCommand)?;
    let isolation = options.isolation.unwrap_or_default();
    let plan = granted.plan(isolation, options.landlock_abi, current_directory)?;
    let plan = Plan { limits: options.limits, ..plan };
    if plan.limits != plan.limits.that_hold(&plan) {
        return Err(WireError::LimitsNeedNamespaces);
    }
    if options.keep_descriptors.is_some() && !plan.is_unrestricted() {
        return Err(WireError::KeptDescriptors);
    }
    Ok(Invocation {
        plan,
        command: Command { program, argv0: options.argv0, arguments: arguments.collect() },
        directory: options.directory,
        environment: options.environment.map_or(Environment::Inherit, Environment::Descriptor),
        descriptors: options.keep_descriptors.map_or(Descriptors::Close, |()| Descriptors::Keep),
        stay: options.stay_for_all.map_or(Stay::ForTheCommand, |()| Stay::ForAll),
        terminal: options.take_terminal.map_or(Terminal::Leave, |()| Terminal::Take),
        status: options.status,
        parent: options.parent,
        cgroup: options.cgroup,
        observer: options.observer,
    })
}

#[derive(Default)]
struct Options {
    directory: Option<PathBuf>,
    argv0: Option<OsString>,
    environment: Option<i32>,
    status: Option<i32>,
    parent: Option<i32>,
    cgroup: Option<i32>,
    observer: Option<i32>,
    limits: Limits,
    landlock_abi: Option<u8>,
    isolation: Option<Isolation>,
    keep_descriptors: Option<()>,
    stay_for_all: Option<()>,
    take_terminal: Option<()>,
}

#[derive(Default)]
struct Granted {
    read_all: bool,
    write_all: bool,
    write_cwd: bool,
    trees: Vec<PlanPath>,
    network_all: bool,
    places: Places,
}

impl Granted {
    fn add(&mut self, permission: &OsStr) -> Result<(), WireError> {
        match permission.to_str() {
            Some(READ_ALL) => self.read_all = true,
            Some(WRITE_ALL) => self.write_all = true,
            Some(WRITE_CWD) => self.write_cwd = true,
            Some(NETWORK_ALL) => self.network_all = true,
            Some(PRIVATE_TMP) => self.places.private_tmp = true,
            _ => return self.add_path(permission),
        }
        Ok(())
    }

    fn add_path(&mut self, permission: &OsStr) -> Result<(), WireError> {
        let named = |word: &'static str| {
            let path = permission.as_bytes().strip_prefix(word.as_bytes())?;
            let path = PathBuf::from(OsString::from_vec(path.to_vec()));
            Some(PlanPath::new(path).map_err(|error| WireError::Path { word, error }))
        };
        let protected = &mut self.places.protected;
        if let Some(path) = named(WRITE_FOLDER) {
            self.trees.push(path?);
        } else if let Some(path) = named(PROTECT) {
            protected.push(Protected { path: path?, kept: Kept::ReadOnly });
        } else if let Some(path) = named(PIN) {
            protected.push(Protected { path: path?, kept: Kept::Pinned });
        } else if let Some(path) = named(DENY_READ) {
            self.places.denied.push(path?);
        } else if let Some(path) = named(READ_FOLDER) {
            self.places.reopened.push(path?);
        } else if let Some(path) = named(UNIX_SOCKET) {
            self.places.unix_sockets.push(path?);
        } else {
            return Err(WireError::UnknownPermission(permission.to_owned()));
        }
        Ok(())
    }

    fn plan(
        mut self,
        isolation: Isolation,
        landlock_abi_at_most: Option<u8>,
        current_directory: impl FnOnce() -> Result<PathBuf, &'static str>,
    ) -> Result<Plan, WireError> {
        if !self.read_all {
            return Err(WireError::NoReadAccess);
        }
        if isolation == Isolation::Landlock && !self.places.is_empty() {
            return Err(WireError::PlacesNeedNamespaces);
        }
        if self.write_cwd {
            let directory = current_directory().map_err(WireError::CurrentDirectory)?;
            let word = WRITE_CWD;
            self.trees.push(PlanPath::new(directory).map_err(|error| WireError::Path { word, error })?);
        }
        let writes = if self.write_all { Writes::Everywhere } else { Writes::Beneath(self.trees) };
        let network = if self.network_all { Network::Full } else { Network::Off };
        Ok(Plan { places: self.places, landlock_abi_at_most, ..Plan::new(isolation, writes, network) })
    }
}

fn once<T>(option: &'static str, slot: &mut Option<T>, value: T) -> Result<(), WireError> {
    if slot.replace(value).is_some() { Err(WireError::Repeated(option)) } else { Ok(()) }
}

/// A descriptor that may be taken over: the three standard streams belong to the command.
fn descriptor(option: &'static str, value: OsString) -> Result<i32, WireError> {
    number(option, 3..=i32::MAX, value)
}

fn number<T>(option: &'static str, range: RangeInclusive<T>, value: OsString) -> Result<T, WireError>
where
    T: Copy + FromStr + PartialOrd + TryInto<u64>,
{
    let bound = |number: &T| (*number).try_into().unwrap_or(0);
    value
        .to_str()
        // `parse` alone would take a leading `+`; one number has one spelling here.
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .filter(|number| range.contains(number))
        .ok_or_else(|| WireError::Number {
            option,
            low: bound(range.start()),
            high: bound(range.end()),
            value,
        })
}

#[cfg(test)]
mod tests;
