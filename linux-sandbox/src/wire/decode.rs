//! The way back: an argument list as an invocation, or what is wrong with it.

use std::ffi::{OsStr, OsString};
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::str::FromStr;

use super::{
    ARGV0, CGROUP, DENY_READ, DIRECTORY, ENVIRONMENT, ISOLATION, ISOLATION_LANDLOCK, ISOLATION_NAMESPACES,
    KEEP_DESCRIPTORS, LANDLOCK_ABI, LOG_REFUSALS, NETWORK_ALL, OBSERVER, PARENT, PERMISSION, PIN,
    PRIVATE_TMP, PROTECT, PROXY, PROXY_OVER_ORDERS, READ_ALL, READ_FOLDER, STATUS, STAY_FOR_ALL,
    TAKE_TERMINAL, UNIX_SOCKET, VIEW, WRITE_ALL, WRITE_CWD, WRITE_FOLDER, WireError, limit_option,
};
use crate::plan::{
    Command, Descriptors, Environment, Invocation, Isolation, Kept, LimitKind, Limits, Network, Places, Plan,
    PlanPath, Protected, Proxy, Stay, Terminal, Writes,
};

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
            Some(VIEW) => {
                let bytes = number(VIEW, NonZeroU64::MIN..=NonZeroU64::MAX, value(VIEW)?)?;
                once(VIEW, &mut options.view, bytes)?;
            }
            Some(CGROUP) => once(CGROUP, &mut options.cgroup, descriptor(CGROUP, value(CGROUP)?)?)?,
            Some(OBSERVER) => once(OBSERVER, &mut options.observer, descriptor(OBSERVER, value(OBSERVER)?)?)?,
            Some(PROXY) => once(PROXY, &mut options.proxy, descriptor(PROXY, value(PROXY)?)?)?,
            Some(PROXY_OVER_ORDERS) => once(PROXY_OVER_ORDERS, &mut options.proxy_over_orders, ())?,
            Some(LOG_REFUSALS) => once(LOG_REFUSALS, &mut options.log_refusals, ())?,
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
    let plan = Plan { limits: options.limits, view: options.view, ..plan };
    if plan.view.is_some() && !plan.can_be_viewed() {
        return Err(WireError::NoView);
    }
    if plan.limits != plan.limits.that_hold(&plan) {
        return Err(WireError::LimitsNeedNamespaces);
    }
    if options.keep_descriptors.is_some() && !plan.is_unrestricted() {
        return Err(WireError::KeptDescriptors);
    }
    let proxy = match (options.proxy, options.proxy_over_orders) {
        (None, None) => Proxy::None,
        (Some(number), None) if plan.has_its_own_network() => Proxy::Over(number),
        (None, Some(())) if plan.has_its_own_network() => Proxy::OverOrders,
        _ => return Err(WireError::NoNetworkForProxy),
    };
    if options.log_refusals.is_some() && plan.isolation != Isolation::Landlock {
        return Err(WireError::LogsOfNamespaces);
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
        proxy,
        log_refusals: options.log_refusals.is_some(),
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
    proxy: Option<i32>,
    proxy_over_orders: Option<()>,
    log_refusals: Option<()>,
    limits: Limits,
    landlock_abi: Option<u8>,
    view: Option<NonZeroU64>,
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
