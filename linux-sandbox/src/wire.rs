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
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use crate::plan::{
    Command, Descriptors, Environment, Invocation, Network, Plan, PlanError, WritableTree, Writes,
};
use crate::shown::shown;

const READ_ALL: &str = "disk-full-read-access";
const WRITE_ALL: &str = "disk-full-write-access";
const WRITE_CWD: &str = "disk-write-cwd";
const WRITE_FOLDER: &str = "disk-write-folder=";
const NETWORK_ALL: &str = "network-full-access";

const PERMISSION: &str = "-s";
const DIRECTORY: &str = "--cwd";
const ARGV0: &str = "--argv0";
const ENVIRONMENT: &str = "--env-fd";
const STATUS: &str = "--status-fd";
const PARENT: &str = "--parent-pid";
const LANDLOCK_ABI: &str = "--landlock-abi";
const KEEP_DESCRIPTORS: &str = "--keep-descriptors";

/// Why an argument list is not an invocation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// An argument before `--` that is no option of the helper.
    #[error("unknown option {option}", option = shown(.0))]
    UnknownOption(OsString),
    /// A `-s` with a word that is no permission.
    #[error(
        "unknown permission {permission}; known are {READ_ALL}, {WRITE_ALL}, {WRITE_CWD}, {WRITE_FOLDER}PATH, \
         {NETWORK_ALL}", permission = shown(.0)
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
        low: i32,
        /// The largest number it takes.
        high: i32,
        /// What was given.
        value: OsString,
    },
    /// A tree that can't be part of a plan.
    #[error("-s {WRITE_FOLDER}: {0}")]
    Tree(#[from] PlanError),
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
    if let Some(abi) = invocation.plan.landlock_abi_at_most {
        option(LANDLOCK_ABI, abi.to_string().into());
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
    if invocation.descriptors == Descriptors::Keep {
        arguments.push(KEEP_DESCRIPTORS.into());
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
        Writes::Beneath(trees) => words.extend(trees.iter().map(|tree| {
            let mut word = OsString::from(WRITE_FOLDER);
            word.push(tree.path());
            word
        })),
    }
    if plan.network == Network::Full {
        words.push(NETWORK_ALL.into());
    }
    words.into_iter().flat_map(|word| [OsString::from(PERMISSION), word]).collect()
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
            Some(PARENT) => once(PARENT, &mut options.parent, number(PARENT, 1, i32::MAX, value(PARENT)?)?)?,
            Some(LANDLOCK_ABI) => {
                let abi = number(LANDLOCK_ABI, 0, i32::from(u8::MAX), value(LANDLOCK_ABI)?)?;
                // The range above is that of the type, so that the fallback is never taken.
                once(LANDLOCK_ABI, &mut options.landlock_abi, u8::try_from(abi).unwrap_or(0))?;
            }
            Some(KEEP_DESCRIPTORS) => once(KEEP_DESCRIPTORS, &mut options.keep_descriptors, ())?,
            _ => return Err(WireError::UnknownOption(argument)),
        }
    }
    let program = arguments.next().ok_or(WireError::NoCommand)?;
    let plan = granted.plan(options.landlock_abi, current_directory)?;
    if options.keep_descriptors.is_some() && !plan.is_unrestricted() {
        return Err(WireError::KeptDescriptors);
    }
    Ok(Invocation {
        plan,
        command: Command { program, argv0: options.argv0, arguments: arguments.collect() },
        directory: options.directory,
        environment: options.environment.map_or(Environment::Inherit, Environment::Descriptor),
        descriptors: options.keep_descriptors.map_or(Descriptors::Close, |()| Descriptors::Keep),
        status: options.status,
        parent: options.parent,
    })
}

#[derive(Default)]
struct Options {
    directory: Option<PathBuf>,
    argv0: Option<OsString>,
    environment: Option<i32>,
    status: Option<i32>,
    parent: Option<i32>,
    landlock_abi: Option<u8>,
    keep_descriptors: Option<()>,
}

#[derive(Default)]
struct Granted {
    read_all: bool,
    write_all: bool,
    write_cwd: bool,
    trees: Vec<WritableTree>,
    network_all: bool,
}

impl Granted {
    fn add(&mut self, permission: &OsStr) -> Result<(), WireError> {
        if let Some(path) = permission.as_bytes().strip_prefix(WRITE_FOLDER.as_bytes()) {
            self.trees.push(WritableTree::new(PathBuf::from(OsString::from_vec(path.to_vec())))?);
            return Ok(());
        }
        match permission.to_str() {
            Some(READ_ALL) => self.read_all = true,
            Some(WRITE_ALL) => self.write_all = true,
            Some(WRITE_CWD) => self.write_cwd = true,
            Some(NETWORK_ALL) => self.network_all = true,
            _ => return Err(WireError::UnknownPermission(permission.to_owned())),
        }
        Ok(())
    }

    fn plan(
        mut self,
        landlock_abi_at_most: Option<u8>,
        current_directory: impl FnOnce() -> Result<PathBuf, &'static str>,
    ) -> Result<Plan, WireError> {
        if !self.read_all {
            return Err(WireError::NoReadAccess);
        }
        if self.write_cwd {
            let directory = current_directory().map_err(WireError::CurrentDirectory)?;
            self.trees.push(WritableTree::new(directory)?);
        }
        let writes = if self.write_all { Writes::Everywhere } else { Writes::Beneath(self.trees) };
        let network = if self.network_all { Network::Full } else { Network::Off };
        Ok(Plan { writes, network, landlock_abi_at_most })
    }
}

fn once<T>(option: &'static str, slot: &mut Option<T>, value: T) -> Result<(), WireError> {
    if slot.replace(value).is_some() { Err(WireError::Repeated(option)) } else { Ok(()) }
}

/// A descriptor that may be taken over: the three standard streams belong to the command.
fn descriptor(option: &'static str, value: OsString) -> Result<i32, WireError> {
    number(option, 3, i32::MAX, value)
}

fn number(option: &'static str, low: i32, high: i32, value: OsString) -> Result<i32, WireError> {
    value
        .to_str()
        // `parse` alone would take a leading `+`; one number has one spelling here.
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .filter(|number| (low..=high).contains(number))
        .ok_or(WireError::Number { option, low, high, value })
}

#[cfg(test)]
mod tests;
