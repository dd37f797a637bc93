//! The helper from its first instruction to the command's: the page to read first.
//!
//! The process is fresh and single-threaded, so that allocation and locks are as safe here as anywhere. Every step can
//! only fail closed: the command runs after the last one, or not at all.

use std::convert::Infallible;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{chdir, getppid};

use crate::enforce;
use crate::error::{Failure, SetupError, Step};
use crate::handoff::{EnvironmentBlock, become_command};
use crate::plan::{Descriptors, Environment, Invocation};
use crate::report::{Enforced, Record};
use crate::{PROGRAM, sys, wire};

/// The exit code of a run whose sandbox could not be set up. Nothing ran.
pub const EXIT_SETUP_FAILED: i32 = 125;

/// The first descriptor that is not a standard stream.
const FIRST_INHERITED: u32 = 3;

/// Runs the helper: takes the plan from the arguments, applies it to this process, becomes the command.
///
/// Never returns. Where the command can't be reached, one line on standard error says why, the status pipe says the
/// same to the parent, and the exit code is 125 (set-up), 126 (found, not executable) or 127 (not found).
pub fn run_main() -> ! {
    std::panic::set_hook(Box::new(|_panic| {
        complain("internal error: this is a bug in the sandbox; nothing was run");
        sys::exit_now(EXIT_SETUP_FAILED);
    }));
    let Err(failure) = start();
    end(&failure)
}

/// The helper in a process that was forked instead of executed: the same steps, with everything at hand already.
///
/// To be called in a fresh child of a single-threaded process, which then holds nothing but what its parent held. Saves
/// the time of executing the program once more, a third of a start.
pub fn run_forked(invocation: &Invocation, environment: EnvironmentBlock, status: OwnedFd) -> ! {
    let Err(failure) = become_sandboxed(invocation, Some(environment), Some(Status(File::from(status))));
    end(&failure)
}

fn end(failure: &Failure) -> ! {
    complain(&failure.to_string());
    sys::exit_now(match failure {
        Failure::Arguments(_) | Failure::Setup(_) => EXIT_SETUP_FAILED,
        Failure::Exec(error) => error.exit_code(),
    })
}

fn start() -> Result<Infallible, Failure> {
    let invocation = wire::decode(std::env::args_os().skip(1), current_directory)?;
    // Taken first of all, so that every later failure can be told.
    let status = invocation.status.map(Status::take).transpose()?;
    sys::undo_spawn().map_err(|errno| SetupError::call(Step::Descriptors, "rt_sigaction", errno))?;
    become_sandboxed(&invocation, None, status)
}

fn become_sandboxed(
    invocation: &Invocation,
    environment: Option<EnvironmentBlock>,
    mut status: Option<Status>,
) -> Result<Infallible, Failure> {
    let failure = match set_up(invocation, environment) {
        Ok((enforced, environment)) => {
            if let Some(status) = &mut status {
                status.tell(&Record::Enforced(enforced))?;
            }
            let Err(error) = become_command(&invocation.command, &environment);
            Failure::Exec(error)
        }
        Err(error) => Failure::Setup(error),
    };
    if let Some(status) = &mut status {
        status.tell(&match &failure {
            Failure::Setup(error) => Record::from(error),
            Failure::Exec(error) => Record::from(error),
            Failure::Arguments(_) => return Err(failure),
        })?;
    }
    Err(failure)
}

/// Everything between the arguments and `execve(2)`, in order.
fn set_up(
    invocation: &Invocation,
    environment: Option<EnvironmentBlock>,
) -> Result<(Enforced, EnvironmentBlock), SetupError> {
    // 1. From here on, the end of the parent is ours.
    if let Some(parent) = invocation.parent {
        die_with(parent)?;
    }
    // 2. The environment is data for execve(2) alone: nothing in this process looks at it.
    let environment = match (environment, invocation.environment) {
        (Some(environment), _) => environment,
        (None, Environment::Inherit) => EnvironmentBlock::inherited(),
        (None, Environment::Descriptor(number)) => {
            let descriptor = sys::take_descriptor(number)
                .map_err(|errno| SetupError::call(Step::Environment, "fcntl", errno))?;
            EnvironmentBlock::read(descriptor)?
        }
    };
    // 3. The working directory, while errors can still be told from those of the sandbox.
    if let Some(directory) = &invocation.directory {
        chdir(directory)
            .map_err(|errno| SetupError::call(Step::Directory, "chdir", errno).on(directory.as_path()))?;
    }
    // 4. No descriptor but the three standard streams reaches the command.
    if invocation.descriptors == Descriptors::Close {
        sys::close_on_exec_from(FIRST_INHERITED)
            .map_err(|errno| SetupError::call(Step::Descriptors, "close_range", errno))?;
    }
    // 5. no_new_privs, capabilities, Landlock, seccomp.
    let enforced = enforce::enforce(&invocation.plan)?;
    Ok((enforced, environment))
}

/// Asks the kernel to kill this process when its parent ends, and makes sure that it has not ended yet.
///
/// The signal is bound to the parent's *thread* that started us: the parent sees to it that this is one which lives as
/// long as the process.
fn die_with(parent: i32) -> Result<(), SetupError> {
    set_pdeathsig(Signal::SIGKILL)
        .map_err(|errno| SetupError::call(Step::ParentDeath, "prctl(PR_SET_PDEATHSIG)", errno))?;
    if getppid().as_raw() == parent {
        return Ok(());
    }
    // It ended before the call above could bind us to it.
    Err(SetupError::condition(Step::ParentDeath, "getppid", "the parent has ended, or is not the one named"))
}

fn current_directory() -> Result<PathBuf, &'static str> {
    nix::unistd::getcwd().map_err(Errno::desc)
}

/// The status pipe. A parent that went away is no reason to fail: the parent-death signal takes care of that.
struct Status(File);

impl Status {
    fn take(number: RawFd) -> Result<Self, SetupError> {
        let descriptor = sys::take_descriptor(number).map_err(|errno| {
            SetupError::call(Step::Report, "fcntl", errno).hint("--status-fd names no open descriptor")
        })?;
        Ok(Self(File::from(descriptor)))
    }

    fn tell(&mut self, record: &Record) -> Result<(), SetupError> {
        self.0.write_all(&record.to_line()).map_err(|error| {
            let errno = error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw);
            SetupError::call(Step::Report, "write", errno)
        })
    }
}

/// Writes one line to standard error. There is nobody left to tell where that fails.
fn complain(message: &str) {
    let line = format!("{PROGRAM}: {message}\n");
    if let Err(_unwritable) = std::io::stderr().write_all(line.as_bytes()) {}
}
