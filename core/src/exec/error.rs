//! Why a request was not even started, each with one line.

use std::ffi::OsString;
use std::path::PathBuf;

use codex_linux_sandbox::shown;
use nix::errno::Errno;

use super::level::PlanFailure;
use crate::audit::AuditError;

/// Why a request was not even started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// What is to be kept out or protected can't be said.
    #[error(transparent)]
    Plan(#[from] PlanFailure),
    /// No program, or one without a name.
    #[error("the command is empty: name a program to run")]
    EmptyCommand,
    /// The kernel ends an argument at its first NUL byte.
    #[error("argument {index} of the command contains a NUL byte, which no program can be given")]
    NulInArgument {
        /// Counted from 0, the program.
        index: usize,
    },
    /// A variable that no environment can hold.
    #[error(
        "the environment variable {name} can't be set: its name is empty or contains `=`, or it contains a NUL byte",
        name = shown(.name)
    )]
    Environment {
        /// Its name.
        name: OsString,
    },
    /// What goes on would hold streams that are the caller's.
    #[error("what the command leaves behind can't go on where it has the caller's own streams: capture them")]
    DetachWithStreams,
    /// The command's working directory can't be entered.
    #[error("working directory {path}: {why}", path = shown(.path), why = Self::directory(*.errno))]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The audit log can't be written, and what nobody hears of is not run.
    #[error("nothing is started: {0}")]
    Audit(#[from] AuditError),
    /// The helper could not be started.
    #[error("the sandbox helper {helper} can't be started: {why} ({errno:?})", helper = shown(.helper), why = .errno.desc())]
    Helper {
        /// The helper.
        helper: PathBuf,
        /// The kernel's answer.
        errno: Errno,
    },
    /// A pipe, a file in memory or a descriptor for the run could not be had.
    #[error("the run can't be prepared: {call}: {why} ({errno:?})", why = .errno.desc())]
    Prepare {
        /// The system call.
        call: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },
}

impl ExecError {
    const fn directory(errno: Errno) -> &'static str {
        match errno {
            Errno::ENOENT => "no such directory",
            Errno::ENOTDIR => "not a directory",
            Errno::EACCES => "no permission to enter it",
            Errno::EINVAL => "not an absolute path",
            _ => "it can't be looked at",
        }
    }
}
