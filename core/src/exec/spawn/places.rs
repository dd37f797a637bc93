//! A helper that is executed, with descriptors at the numbers at which it looks for them.

use std::ffi::{CString, OsString};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use codex_linux_sandbox::PROGRAM;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::SigSet;
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use super::preparing;
use crate::exec::error::ExecError;
use crate::exec::options::Helper;
use crate::exec::request::{Signals, Stdio};
use crate::exec::sys;

/// Descriptors to be put in place are moved above all places first, so that no move overwrites another's source.
const ABOVE_ALL_PLACES: RawFd = 10;
/// `POSIX_SPAWN_SETSID` of `spawn.h` (glibc 2.26), which nix does not name.
const SETSID: libc::c_int = 0x80;

/// Descriptors on their way to the numbers at which the helper finds them.
pub(super) struct Places {
    actions: PosixSpawnFileActions,
    held: Vec<OwnedFd>,
}

impl Places {
    pub(super) fn new() -> Result<Self, ExecError> {
        let actions = PosixSpawnFileActions::init().map_err(preparing("posix_spawn_file_actions"))?;
        Ok(Self { actions, held: Vec::new() })
    }

    /// Executes the helper with everything in place.
    pub(super) fn spawn(
        &self,
        helper: &Helper,
        words: Vec<OsString>,
        stdio: Stdio,
        signals: Signals,
    ) -> Result<Pid, ExecError> {
        let mut arguments = vec![c_string(PROGRAM.into())?];
        for word in words {
            arguments.push(c_string(word)?);
        }
        let attributes = attributes(stdio, signals).map_err(preparing("posix_spawnattr"))?;
        // The helper's own environment is empty: nothing in the command's can influence it.
        let no_environment: [&std::ffi::CStr; 0] = [];
        let path = c_string(helper.path().as_os_str().to_owned())?;
        posix_spawn(path.as_c_str(), &self.actions, &attributes, &arguments, &no_environment)
            .map_err(|errno| ExecError::Helper { helper: shown(helper), errno })
    }

    pub(super) fn put_nothing_in_the_streams(&mut self) -> Result<(), ExecError> {
        let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(preparing("open /dev/null"))?;
        for stream in [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO] {
            self.put(null.try_clone().map_err(|_full| preparing("fcntl")(Errno::EMFILE))?, stream)?;
        }
        Ok(())
    }

    pub(super) fn put(&mut self, descriptor: OwnedFd, place: RawFd) -> Result<(), ExecError> {
        let moved = sys::duplicate_above(descriptor.as_fd(), ABOVE_ALL_PLACES).map_err(preparing("fcntl"))?;
        self.actions.add_dup2(moved.as_raw_fd(), place).map_err(preparing("posix_spawn_file_actions"))?;
        self.held.push(moved);
        Ok(())
    }
}

fn attributes(stdio: Stdio, signals: Signals) -> Result<PosixSpawnAttr, Errno> {
    let mut attributes = PosixSpawnAttr::init()?;
    let mut flags = PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK;
    match signals {
        Signals::Default => {
            flags |= PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF;
            attributes.set_sigdefault(&SigSet::all())?;
            attributes.set_sigmask(&SigSet::empty())?;
        }
        Signals::Inherit(signals) => attributes.set_sigmask(&signals.mask)?,
    }
    if stdio != Stdio::Inherit {
        flags |= PosixSpawnFlags::from_bits_retain(SETSID);
    }
    attributes.set_flags(flags)?;
    Ok(attributes)
}

fn c_string(text: OsString) -> Result<CString, ExecError> {
    // The request was checked, and a plan holds no NUL bytes: this is for the helper's own path.
    CString::new(text.into_vec())
        .map_err(|_nul| ExecError::Prepare { call: "posix_spawn", errno: Errno::EINVAL })
}

/// The helper by the name that a person knows it by.
pub(super) fn shown(helper: &Helper) -> PathBuf {
    match helper {
        Helper::Program(path) => path.clone(),
        Helper::ThisProgram => std::fs::read_link(helper.path()).unwrap_or_else(|_| helper.path().to_owned()),
    }
}
