//! Becoming the command: its environment, the search through its `PATH`, `execve(2)`.

use std::convert::Infallible;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access, execve};

use crate::error::{SetupError, Step};
use crate::plan::Command;
use crate::shown::shown;

/// The exit code of a command that was not found, as shells give it.
pub const EXIT_NOT_FOUND: i32 = 127;
/// The exit code of a command that was found and could not be executed, as shells give it.
pub const EXIT_NOT_EXECUTABLE: i32 = 126;

/// Where commands are looked for when the environment has no `PATH`, as `execvp(3)` of glibc does.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// Why a command could not be executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// No file of that name, at that path or in any directory of `PATH`.
    #[error("{program}: command not found", program = shown(.program))]
    NotFound {
        /// What was looked for.
        program: OsString,
    },
    /// There is such a file, and the kernel refused to execute it.
    #[error(
        "{program}: can't be executed: {why} ({errno:?})", program = shown(.program),
        why = Self::why(*.errno)
    )]
    NotExecutable {
        /// What was looked for.
        program: OsString,
        /// The kernel's answer.
        errno: Errno,
    },
    /// An argument that can't be passed to any program.
    #[error("{program}: an argument, the name or the environment contains a NUL byte", program = shown(.program))]
    Nul {
        /// What was looked for.
        program: OsString,
    },
}

impl ExecError {
    /// The exit code that a shell would give.
    #[must_use]
    pub const fn exit_code(&self) -> i32 {
        match self {
            Self::NotFound { .. } => EXIT_NOT_FOUND,
            Self::NotExecutable { .. } | Self::Nul { .. } => EXIT_NOT_EXECUTABLE,
        }
    }

    fn why(errno: Errno) -> &'static str {
        match errno {
            Errno::EACCES => "no permission to execute it, or it is a directory",
            Errno::ENOENT => "the interpreter that its first line or its header names is missing",
            Errno::E2BIG => "the arguments and the environment are larger than the kernel takes",
            Errno::ENOEXEC => "not in a format that this kernel runs",
            other => other.desc(),
        }
    }
}

/// The command's environment: entries of the form `NAME=value`, each ended by a NUL byte, one after the other.
///
/// One piece of memory, since it is made, handed on and given back at every start: with one for each entry, that took
/// longer than anything else that is done with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentBlock(Vec<u8>);

impl EnvironmentBlock {
    /// Adds `NAME=value`. Says whether it could: nothing that contains a NUL byte can be a part of an environment.
    #[must_use]
    pub fn push(&mut self, name: &OsStr, value: &OsStr) -> bool {
        let (name, value) = (name.as_bytes(), value.as_bytes());
        if name.contains(&0) || value.contains(&0) {
            return false;
        }
        self.0.reserve(name.len() + value.len() + 2);
        self.0.extend_from_slice(name);
        self.0.push(b'=');
        self.0.extend_from_slice(value);
        self.0.push(0);
        true
    }

    /// The helper's own environment, entries as they are.
    pub(crate) fn inherited() -> Self {
        let mut block = Self::default();
        for (name, value) in std::env::vars_os() {
            // They came as C strings, so that there is no NUL byte to refuse them for.
            let _added = block.push(&name, &value);
        }
        block
    }

    /// Reads `NAME=value` entries, each ended by a NUL byte, to the end of the file.
    pub(crate) fn read(descriptor: OwnedFd) -> Result<Self, SetupError> {
        let mut bytes = Vec::new();
        File::from(descriptor).read_to_end(&mut bytes).map_err(|error| {
            let errno = error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw);
            SetupError::call(Step::Environment, "read", errno)
        })?;
        Self::parse(bytes)
    }

    /// The entries as bytes, each ended by a NUL byte.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Takes bytes for entries, each ended by a NUL byte.
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<Self, SetupError> {
        match bytes.last() {
            None | Some(0) => Ok(Self(bytes)),
            Some(_) => Err(SetupError::condition(
                Step::Environment,
                "read",
                "the last entry is not ended by a NUL byte",
            )),
        }
    }

    fn entries(&self) -> impl Iterator<Item = &CStr> {
        let whole = self.0.split_inclusive(|byte| *byte == 0);
        // Each one ends with its only NUL byte.
        whole.filter_map(|entry| CStr::from_bytes_with_nul(entry).ok())
    }

    fn path(&self) -> &[u8] {
        let mut values = self.entries().filter_map(|entry| entry.to_bytes().strip_prefix(b"PATH="));
        values.next().unwrap_or(DEFAULT_PATH)
    }
}

/// Replaces the process with the command. Returns only where that failed.
pub(crate) fn become_command(
    command: &Command,
    environment: &EnvironmentBlock,
) -> Result<Infallible, ExecError> {
    let program = command.program.as_os_str();
    let nul = |_error| ExecError::Nul { program: program.to_owned() };
    let argv0 = command.argv0.as_deref().unwrap_or(program);
    let mut argv = Vec::with_capacity(command.arguments.len() + 1);
    argv.push(CString::new(argv0.as_bytes()).map_err(nul)?);
    for argument in &command.arguments {
        argv.push(CString::new(argument.as_bytes()).map_err(nul)?);
    }
    let entries: Vec<&CStr> = environment.entries().collect();
    let errno = if program.as_bytes().contains(&b'/') {
        let file = CString::new(program.as_bytes()).map_err(nul)?;
        execute(&file, &argv, &entries)
    } else {
        search(program, &argv, environment, &entries).map_err(nul)?
    };
    if errno == Errno::ENOENT && !exists(program, environment) {
        return Err(ExecError::NotFound { program: program.to_owned() });
    }
    Err(ExecError::NotExecutable { program: program.to_owned(), errno })
}

/// Tries each directory of `PATH` in turn, as `execvp(3)` does: a directory without the file is passed over, and one
/// with a file that may not be executed is remembered while the search goes on.
fn search(
    program: &OsStr,
    argv: &[CString],
    environment: &EnvironmentBlock,
    entries: &[&CStr],
) -> Result<Errno, std::ffi::NulError> {
    if program.is_empty() {
        return Ok(Errno::ENOENT);
    }
    let mut answer = Errno::ENOENT;
    for file in candidates(program, environment) {
        match execute(&CString::new(file)?, argv, entries) {
            // ENOENT also stands for a missing interpreter; `exists` tells the two apart afterwards.
            Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG | Errno::ELOOP => {}
            Errno::EACCES => answer = Errno::EACCES,
            errno => return Ok(errno),
        }
    }
    Ok(answer)
}

fn candidates<'a>(
    program: &'a OsStr,
    environment: &'a EnvironmentBlock,
) -> impl Iterator<Item = Vec<u8>> + 'a {
    environment.path().split(|byte| *byte == b':').map(move |directory| {
        // An empty element of PATH is the working directory.
        let mut file = directory.to_vec();
        if !directory.is_empty() {
            file.push(b'/');
        }
        file.extend_from_slice(program.as_bytes());
        file
    })
}

/// Executes a file; one without a format that the kernel knows is given to the shell, as `execvp(3)` does.
fn execute(file: &CStr, argv: &[CString], entries: &[&CStr]) -> Errno {
    let Err(errno) = execve(file, argv, entries);
    if errno != Errno::ENOEXEC {
        return errno;
    }
    let mut script = vec![c"/bin/sh".to_owned(), file.to_owned()];
    script.extend(argv.iter().skip(1).cloned());
    let Err(errno) = execve(c"/bin/sh", &script, entries);
    errno
}

fn exists(program: &OsStr, environment: &EnvironmentBlock) -> bool {
    let there = |file: &[u8]| access(Path::new(OsStr::from_bytes(file)), AccessFlags::F_OK).is_ok();
    if program.as_bytes().contains(&b'/') {
        return there(program.as_bytes());
    }
    !program.is_empty() && candidates(program, environment).any(|file| there(&file))
}
