//! The helper from its first instruction to the command's: the page to read first.
//!
//! The process is fresh and single-threaded, so that allocation and locks are as safe here as anywhere. Every step can
//! only fail closed: the command runs after the last one, or not at all.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigmaskHow, Signal, pthread_sigmask};
use nix::unistd::{Pid, chdir, getppid};

use crate::early;
use crate::enforce::namespaces::{ForkedInit, Gate, fork_init};
use crate::enforce::{self, Ground};
use crate::error::{Failure, SetupError, Step};
use crate::handoff::{EnvironmentBlock, become_command};
use crate::init::{CallersSignals, Init, Manner};
use crate::plan::{Descriptors, Environment, Footing, Invocation};
use crate::relay::Relay;
use crate::report::{Enforced, Record};
use crate::standby::{Asked, Given, Standby};
use crate::{PROGRAM, sys, wire};

/// The exit code of a run whose sandbox could not be set up. Nothing ran.
pub const EXIT_SETUP_FAILED: i32 = 125;

/// The first descriptor that is not a standard stream.
const FIRST_INHERITED: u32 = 3;

/// Runs the helper: takes the plan from the arguments, applies it to this process, becomes the command.
///
/// Never returns. Where the command can't be reached, the status pipe says why to the parent, or, without one, a line on
/// standard error to whoever is there; the exit code is 125 (set-up), 126 (found, not executable) or 127 (not found).
pub fn run_main() -> ! {
    std::panic::set_hook(Box::new(|_panic| {
        complain("internal error: this is a bug in the sandbox; nothing was run");
        sys::exit_now(EXIT_SETUP_FAILED);
    }));
    let Err(failure) = start();
    end(failure)
}

/// The helper in a process that was forked instead of executed: the same steps, with everything at hand already.
///
/// To be called in a fresh child of a single-threaded process, which then holds nothing but what its parent held. Saves
/// the time of executing the program once more, a third of a start.
pub fn run_forked(invocation: &Invocation, environment: EnvironmentBlock, status: OwnedFd) -> ! {
    let mut reports = Reports { status: Some(Status::to(status)), relay: None };
    let Err(failure) = become_sandboxed(invocation, Some(environment), &mut reports);
    end(failure)
}

/// The same in a child that shares this process's memory until the command is executed, and this process stands still
/// meanwhile: copying the memory takes longer than all the rest of starting a process. Yields its number; that it failed is
/// told over the status pipe, and shows in its exit code.
///
/// To be called by a process with one thread that runs this one command and is not needed before it has begun: neither to
/// keep a deadline nor to free what the child leaves in the memory.
///
/// # Errors
///
/// What `clone(2)` says. Nothing has run then.
pub fn run_sharing_memory(
    invocation: &Invocation,
    environment: EnvironmentBlock,
    status: OwnedFd,
    signals: CallersSignals,
) -> Result<Pid, Errno> {
    // This process's, which closes its end when the child has one of its own or is gone.
    let mut reports = Reports { status: Some(Status::to(status)), relay: None };
    let mut environment = Some(environment);
    sys::run_vforked(|| {
        let Err(unfinished) = (|| -> Result<Infallible, Unfinished> {
            sys::set_sigchld_ignored(signals.sigchld_ignored)
                .and_then(|_| pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&signals.mask), None))
                .map_err(|errno| SetupError::call(Step::Start, "rt_sigprocmask", errno))?;
            become_sandboxed(invocation, environment.take(), &mut reports)
        })();
        unfinished.say()
    })
}

/// The same in the first process of new namespaces, which learns of its plan and command over a pipe from outside, starts
/// the command and stays.
pub(crate) fn run_early(footing: Footing, gate: Gate, signals: CallersSignals, status: OwnedFd) -> ! {
    let reports = Reports { status: Some(Status::to(status)), relay: None };
    let manner = Manner { signals, leads_session: false };
    lead(Inside { gate, footing, orders: Orders::FromThePipe, manner, reports })
}

/// A failure, and whether somebody was told of it who can say it better.
struct Unfinished {
    failure: Failure,
    told: bool,
}

impl<F: Into<Failure>> From<F> for Unfinished {
    fn from(failure: F) -> Self {
        Self { failure: failure.into(), told: false }
    }
}

impl Unfinished {
    /// Says why, where nobody was told who can say it better. Yields the exit code.
    fn say(self) -> i32 {
        let Self { failure, told } = self;
        if !told {
            complain(&failure.to_string());
        }
        failure.exit_code()
    }
}

fn end(unfinished: Unfinished) -> ! {
    sys::exit_now(unfinished.say())
}

fn start() -> Result<Infallible, Unfinished> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(Asked { invocation, standby }) = Asked::of(&arguments)? {
        sys::undo_spawn().map_err(|errno| SetupError::call(Step::Descriptors, "rt_sigaction", errno))?;
        return relay(invocation, None, Some(standby));
    }
    let invocation = wire::decode(arguments, current_directory)?;
    // Taken first of all, so that every later failure can be told.
    let status = invocation.status.map(Status::take).transpose()?;
    sys::undo_spawn().map_err(|errno| SetupError::call(Step::Descriptors, "rt_sigaction", errno))?;
    if invocation.plan.uses_namespaces() {
        relay(invocation, status, None)
    } else {
        become_sandboxed(&invocation, None, &mut Reports { status, relay: None })
    }
}

/// Makes the namespaces and stays outside, in the place of the command.
fn relay(
    invocation: Invocation,
    status: Option<Status>,
    standby: Option<Standby>,
) -> Result<Infallible, Unfinished> {
    let made = (|| -> Result<_, SetupError> {
        if let Some(parent) = invocation.parent {
            die_with(parent)?;
        }
        let relay = Relay::prepare()?;
        Ok((fork_init(Footing::of(&invocation.plan))?, relay))
    })();
    match made {
        Ok((ForkedInit::Inside(gate), relay)) => {
            let manner = relay.manner;
            let reports = Reports { status, relay: Some(Status::to(relay.into_writing_end())) };
            let footing = Footing::of(&invocation.plan);
            let orders = standby.map_or_else(|| Orders::AtHand(Box::new(invocation)), Orders::WhenTheyCome);
            lead(Inside { gate, footing, orders, manner, reports })
        }
        Ok((ForkedInit::Outside(pid, _), relay)) => {
            drop((status, standby));
            relay.stand_for(pid)
        }
        Err(error) => {
            let mut reports = Reports { status, relay: None };
            if let Some(standby) = standby {
                // Whoever will give orders has to know.
                reports.status = Some(Status::to(wait_for_orders(standby)?.0));
            }
            Err(reports.unfinished(error.into()))
        }
    }
}

/// Waits until there is something to run, and ends quietly where there will be nothing.
fn wait_for_orders(standby: Standby) -> Result<(OwnedFd, Given), SetupError> {
    match standby.wait()? {
        Some(given) => Ok(given),
        None => sys::exit_now(0),
    }
}

/// Where the first process of new namespaces learns what to run.
enum Orders {
    /// It knows.
    AtHand(Box<Invocation>),
    /// From the one outside, who may not know yet.
    FromThePipe,
    /// From a caller who keeps it ready, and has nothing to run yet.
    WhenTheyCome(Standby),
    /// The same, when they have come.
    Given(Given),
}

impl Orders {
    /// Waits for who has something to run, and reports to them from then on.
    fn come(self, reports: &mut Reports) -> Result<Self, SetupError> {
        let Self::WhenTheyCome(standby) = self else { return Ok(self) };
        let (status, given) = wait_for_orders(standby)?;
        reports.status = Some(Status::to(status));
        Ok(Self::Given(given))
    }

    fn read(self, pipe: &mut File) -> Result<(Invocation, Option<EnvironmentBlock>), Failure> {
        let (invocation, environment) = match self {
            Self::AtHand(invocation) => return Ok((*invocation, None)),
            Self::FromThePipe => early::receive(pipe)?,
            Self::Given(given) => given.read()?,
            Self::WhenTheyCome(_) => {
                return Err(SetupError::condition(Step::Start, "read", "no orders have come").into());
            }
        };
        Ok((invocation, Some(environment)))
    }
}

/// What the first process of new namespaces has at hand.
struct Inside {
    gate: Gate,
    footing: Footing,
    orders: Orders,
    manner: Manner,
    reports: Reports,
}

/// The first process of new namespaces, to its end.
fn lead(inside: Inside) -> ! {
    let Inside { gate, footing, orders, manner, mut reports } = inside;
    let Err(failure) = (|| -> Result<Infallible, Failure> {
        let prepared = (|| {
            // A signal that comes from here on waits until there is a command to pass it on to.
            let init = Init::begin(manner)?;
            let pipe = gate.pass()?;
            Ok::<_, SetupError>((init, pipe, enforce::enter_namespaces(footing)?))
        })();
        // Where somebody has to come first who can be told, whatever went wrong waits as well.
        let orders = orders.come(&mut reports)?;
        let (mut init, mut pipe, ground) = prepared?;
        let (invocation, environment) = orders.read(&mut pipe)?;
        let (mut enforced, environment) = set_up(&invocation, environment, Some(ground))?;
        init.hide()?;
        init.start(&invocation, &environment, &mut enforced, &mut reports)?;
        init.run(invocation.stay, &mut reports)
    })();
    end(reports.unfinished(failure))
}

fn become_sandboxed(
    invocation: &Invocation,
    environment: Option<EnvironmentBlock>,
    reports: &mut Reports,
) -> Result<Infallible, Unfinished> {
    let failure = match set_up(invocation, environment, None) {
        Ok((enforced, environment)) => {
            reports.tell(&Record::Enforced(enforced))?;
            let Err(error) = become_command(&invocation.command, &environment);
            Failure::Exec(error)
        }
        Err(error) => Failure::Setup(error),
    };
    Err(reports.unfinished(failure))
}

/// Everything between the arguments and `execve(2)`, in order.
fn set_up(
    invocation: &Invocation,
    environment: Option<EnvironmentBlock>,
    ground: Option<Ground>,
) -> Result<(Enforced, EnvironmentBlock), SetupError> {
    // 1. From here on, the end of the parent is ours. In namespaces of our own it is already.
    if let (None, Some(parent)) = (&ground, invocation.parent) {
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
    // 3. What the command sees of the file system, where it has namespaces of its own.
    let directory = if let Some(ground) = ground {
        // Where we are now is below mounts that are about to be covered.
        let here = current_directory();
        ground.arrange(&invocation.plan)?;
        // One that was removed has no name, and nothing in it.
        invocation.directory.clone().or(here.ok())
    } else {
        invocation.directory.clone()
    };
    // 4. The working directory, while errors can still be told from those of Landlock.
    if let Some(directory) = &directory {
        chdir(directory).map_err(|errno| SetupError::call(Step::Directory, "chdir", errno).on(directory))?;
    }
    // 5. No descriptor but the three standard streams reaches the command.
    if invocation.descriptors == Descriptors::Close {
        sys::close_on_exec_from(FIRST_INHERITED)
            .map_err(|errno| SetupError::call(Step::Descriptors, "close_range", errno))?;
    }
    // 6. no_new_privs, capabilities, Landlock, seccomp.
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

/// Who has to know how the command ended: who started the helper, and who stands for the command.
pub(crate) struct Reports {
    status: Option<Status>,
    relay: Option<Status>,
}

impl Reports {
    pub(crate) fn tell(&mut self, record: &Record) -> Result<(), SetupError> {
        [&mut self.status, &mut self.relay].into_iter().flatten().try_for_each(|reader| reader.tell(record))
    }

    /// Tells what kept the command from running.
    fn unfinished(&mut self, failure: Failure) -> Unfinished {
        match Record::of(&failure).map(|record| self.tell(&record)) {
            Some(Ok(())) => Unfinished { failure, told: self.status.is_some() },
            Some(Err(untold)) => untold.into(),
            None => failure.into(),
        }
    }

    /// The numbers of the descriptors.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        [&self.status, &self.relay].into_iter().flatten().map(|reader| reader.0.as_raw_fd())
    }
}

impl Status {
    fn to(pipe: OwnedFd) -> Self {
        Self(File::from(pipe))
    }

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
