//! The helper from its first instruction to the command's: the page to read first.
//!
//! The process is fresh and single-threaded, so that allocation and locks are as safe here as anywhere. Every step can
//! only fail closed: the command runs after the last one, or not at all.

mod reports;

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};
use nix::unistd::chdir;

use crate::early;
use crate::enforce::namespaces::{ForkedInit, Gate, fork_init};
use crate::enforce::{self, Ground};
use crate::error::{Failure, SetupError, Step};
use crate::handoff::EnvironmentBlock;
use crate::keeper::{CallersSignals, Keeper, Manner, end_with};
use crate::plan::{Descriptors, Environment, Footing, Invocation};
use crate::relay::Relay;
use crate::report::Enforced;
use crate::standby::{Asked, Given, Standby};
use crate::{PROGRAM, observe, proxy, sys, wire};
pub(crate) use reports::Reports;
use reports::Status;

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
pub fn run_forked(
    invocation: &Invocation,
    environment: EnvironmentBlock,
    signals: CallersSignals,
    status: OwnedFd,
) -> ! {
    let manner = Manner { signals: Some(signals), leads_session: false };
    let Err(failure) = keep(invocation, Some(environment), manner, Some(Status::to(status)));
    end(failure)
}

/// The same in the first process of new namespaces, which learns of its plan and command over a pipe from outside, starts
/// the command and stays.
pub(crate) fn run_early(footing: Footing, gate: Gate, signals: CallersSignals, status: OwnedFd) -> ! {
    let reports = Reports { status: Some(Status::to(status)), relay: None };
    let manner = Manner { signals: Some(signals), leads_session: false };
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

fn end(Unfinished { failure, told }: Unfinished) -> ! {
    if !told {
        complain(&failure.to_string());
    }
    sys::exit_now(failure.exit_code())
}

fn start() -> Result<Infallible, Unfinished> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(asked) = observe::asked(&arguments) {
        observe::observe(asked)?;
        sys::exit_now(0);
    }
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
        keep(&invocation, None, Manner::of_this_process(), status)
    }
}

/// Makes the namespaces and stays outside, in the place of the command.
fn relay(
    invocation: Invocation,
    status: Option<Status>,
    standby: Option<Standby>,
) -> Result<Infallible, Unfinished> {
    let kept = invocation.proxy;
    let made = (|| -> Result<_, SetupError> {
        if let Some(parent) = invocation.parent {
            end_with(parent, libc::SIGKILL)?;
        }
        join(&invocation)?;
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
            proxy::forget(kept);
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

    /// Reads them, and begins to listen for what commands will ask: whoever gave the orders answers it.
    fn read(self, pipe: &mut File) -> Result<(Invocation, Option<EnvironmentBlock>), Failure> {
        let (invocation, environment) = match self {
            Self::AtHand(invocation) => {
                proxy::open(invocation.proxy, pipe.as_fd())?;
                return Ok((*invocation, None));
            }
            Self::FromThePipe => {
                let orders = early::receive(pipe)?;
                proxy::open(orders.0.proxy, pipe.as_fd())?;
                orders
            }
            Self::Given(mut given) => {
                let orders = given.read()?;
                proxy::open(orders.0.proxy, given.socket.as_fd())?;
                orders
            }
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
            let keeper = Keeper::first_inside(manner)?;
            let pipe = gate.pass()?;
            Ok::<_, SetupError>((keeper, pipe, enforce::enter_namespaces(footing)?))
        })();
        // Where somebody has to come first who can be told, whatever went wrong waits as well.
        let orders = orders.come(&mut reports)?;
        let (mut keeper, mut pipe, ground) = prepared?;
        let (invocation, environment) = orders.read(&mut pipe)?;
        let environment = take_environment(&invocation, environment)?;
        let mut enforced = confine_inside(&invocation, ground)?;
        keeper.hide()?;
        keeper.start_inside(&invocation, &environment, &mut enforced, &mut reports)?;
        keeper.run(invocation.stay, &mut reports)
    })();
    end(reports.unfinished(failure))
}

/// Stays beside the command, which confines itself on its way: there are no namespaces whose end would end it.
fn keep(
    invocation: &Invocation,
    environment: Option<EnvironmentBlock>,
    manner: Manner,
    status: Option<Status>,
) -> Result<Infallible, Unfinished> {
    let mut reports = Reports { status, relay: None };
    let kept = (|| -> Result<Infallible, Failure> {
        // From here on, the end of the parent is ours, and everybody's below.
        let mut keeper = Keeper::subreaper(manner, invocation.parent)?;
        let environment = take_environment(invocation, environment)?;
        keeper.start_beside(invocation, &environment, &mut reports)?;
        keeper.hide()?;
        keeper.run(invocation.stay, &mut reports)
    })();
    kept.map_err(|failure| reports.unfinished(failure))
}

/// The environment is data for execve(2) alone: nothing in this process looks at it.
fn take_environment(
    invocation: &Invocation,
    at_hand: Option<EnvironmentBlock>,
) -> Result<EnvironmentBlock, SetupError> {
    match (at_hand, invocation.environment) {
        (Some(environment), _) => Ok(environment),
        (None, Environment::Inherit) => Ok(EnvironmentBlock::inherited()),
        (None, Environment::Descriptor(number)) => {
            let descriptor = sys::take_descriptor(number)
                .map_err(|errno| SetupError::call(Step::Environment, "fcntl", errno))?;
            EnvironmentBlock::read(descriptor)
        }
    }
}

/// What the command sees of the file system, where it has namespaces of its own, and then the rest.
fn confine_inside(invocation: &Invocation, ground: Ground) -> Result<Enforced, SetupError> {
    // Where we are now is below mounts that are about to be covered.
    let here = current_directory();
    // One that was removed has no name, and nothing in it.
    let directory = invocation.directory.clone().or(here.ok());
    let left_out = ground.arrange(&invocation.plan, directory.as_deref())?;
    let mut enforced = finish_confining(invocation, directory)?;
    enforced.namespaces &= !left_out;
    Ok(enforced)
}

/// Everything between the command's own process and `execve(2)`, in order.
pub(crate) fn confine(invocation: &Invocation) -> Result<Enforced, SetupError> {
    finish_confining(invocation, invocation.directory.clone())
}

fn finish_confining(invocation: &Invocation, directory: Option<PathBuf>) -> Result<Enforced, SetupError> {
    // 1. The working directory, while errors can still be told from those of Landlock.
    if let Some(directory) = &directory {
        chdir(directory).map_err(|errno| SetupError::call(Step::Directory, "chdir", errno).on(directory))?;
    }
    // 2. No descriptor but the three standard streams reaches the command.
    if invocation.descriptors == Descriptors::Close {
        sys::close_on_exec_from(FIRST_INHERITED)
            .map_err(|errno| SetupError::call(Step::Descriptors, "close_range", errno))?;
    }
    // 3. no_new_privs, capabilities, Landlock, seccomp. Limits come after that, in the command's own process.
    enforce::enforce(&invocation.plan, invocation.log_refusals)
}

/// Enters the cgroup that the parent has made, before there is anybody else to take along: what is started from here on
/// belongs to it from its first instruction.
pub(crate) fn join(invocation: &Invocation) -> Result<(), SetupError> {
    let Some(number) = invocation.cgroup else { return Ok(()) };
    let failed = |call| move |errno| SetupError::call(Step::Cgroup, call, errno);
    let members = sys::take_descriptor(number)
        .map_err(|errno| failed("fcntl")(errno).hint("--cgroup-fd names no open descriptor"))?;
    // Anything else would take what is written, and hold nothing.
    if fstatfs(&members).map_err(failed("fstatfs"))?.filesystem_type() != CGROUP2_SUPER_MAGIC {
        return Err(SetupError::condition(Step::Cgroup, "fstatfs", "--cgroup-fd names no file of a cgroup"));
    }
    // 0 stands for who writes (`cgroup_procs_write` of the kernel).
    nix::unistd::write(&members, b"0").map_err(failed("write")).map(drop)
}

fn current_directory() -> Result<PathBuf, &'static str> {
    nix::unistd::getcwd().map_err(Errno::desc)
}

/// Writes one line to standard error. There is nobody left to tell where that fails.
fn complain(message: &str) {
    let line = format!("{PROGRAM}: {message}\n");
    if let Err(_unwritable) = std::io::stderr().write_all(line.as_bytes()) {}
}
