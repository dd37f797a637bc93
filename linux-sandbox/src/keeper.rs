//! The process that stays while a command runs: starts it, passes signals on to it, collects what has ended, and sees to it
//! that nothing is left.
//!
//! In namespaces it is PID 1. When it ends, the kernel ends everything in the PID namespace before anybody is told; no
//! signal from inside can end it, or stop it (`pid_namespaces(7)`). Where there is a [broker](crate::broker), it is a part of
//! this process.
//!
//! Without namespaces it is a child subreaper (`PR_SET_CHILD_SUBREAPER`): whatever the command starts stays below it, in a
//! session of its own or not, and is ended by it. It is not confined itself, so that nobody whom Landlock confines can
//! signal it; and it has told the kernel to be woken when the process ends that started it.

mod start;

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::stat::Mode;
use nix::sys::statvfs::statvfs;
use nix::unistd::{Pid, getpgid, getpid, getppid, getsid};

use crate::broker::Broker;
use crate::error::{Failure, SetupError, Step};
use crate::plan::Stay;
use crate::report::Record;
use crate::run::Reports;
use crate::sys::{self, Change, Ending, Received};
use crate::tree::{kill_below, terminate_below};

/// Tells the process that stays to send the command the signal whose number comes with it (`sigqueue(3)`): some signals would
/// stop those on the way.
pub const ORDER_SIGNAL: i32 = 61;
/// Tells the process that stays to interrupt the process group that the command leads (`SIGINT`).
pub const ORDER_INTERRUPT: i32 = 62;
/// Tells the process that stays to ask everything to end: `SIGTERM` for all, and `SIGCONT`, so that what was stopped can.
pub const ORDER_TERMINATE: i32 = 63;
/// Tells the process that stays to end, and all with it. The kernel sends it when the process ends that started this one.
pub const ORDER_END: i32 = 64;

/// What shells add to the number of a signal.
pub(crate) const SIGNALLED: i32 = 128;

/// How long killed processes are waited for: longer only where the kernel holds one in a device or on a network mount.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many times it is told that the command was stopped or goes on: it could do so without end.
const STOPS_TOLD: u32 = 1000;

/// What the command finds of signals where the process that starts it has changed them for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallersSignals {
    /// The blocked signals.
    pub mask: SigSet,
    /// Whether SIGCHLD was ignored. Who waits for children can't leave it so: the kernel would collect them itself.
    pub sigchld_ignored: bool,
}

/// How the command is started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// What the command finds of signals. Nothing where that is what this process finds.
    pub(crate) signals: Option<CallersSignals>,
    /// Whether it leads a session, as the process does that stands in for it.
    pub(crate) leads_session: bool,
}

impl Manner {
    /// As the caller of this very process wants it.
    pub(crate) fn of_this_process() -> Self {
        Self { signals: None, leads_session: getsid(None) == Ok(getpid()) }
    }
}

/// What surrounds the command.
enum Around {
    /// Namespaces, whose first process this is.
    Namespaces { broker: Option<Broker> },
    /// What surrounds this process as well.
    Nothing,
}

/// The process that stays, and the command once it is there.
pub(crate) struct Keeper {
    signals: CallersSignals,
    leads_session: bool,
    around: Around,
    all: SigSet,
    /// Not everywhere is there one.
    null: Option<OwnedFd>,
    command: Pid,
    ended: Option<Ending>,
    stops_told: u32,
    /// A tree that is shown by a view. All views of a sandbox have the same room.
    viewed: Option<PathBuf>,
}

impl Keeper {
    /// As the first process of namespaces. Holds back every signal, to be taken one by one.
    pub(crate) fn first_inside(manner: Manner) -> Result<Self, SetupError> {
        Self::begin(manner, Around::Namespaces { broker: None })
    }

    /// As the one that everything of the command's belongs to. Bound to the end of the process that started it, where one is
    /// named.
    pub(crate) fn subreaper(manner: Manner, parent: Option<i32>) -> Result<Self, SetupError> {
        let keeper = Self::begin(manner, Around::Nothing)?;
        set_child_subreaper(true)
            .map_err(|errno| SetupError::call(Step::Start, "prctl(PR_SET_CHILD_SUBREAPER)", errno))?;
        if let Some(parent) = parent {
            end_with(parent, ORDER_END)?;
        }
        Ok(keeper)
    }

    fn begin(manner: Manner, around: Around) -> Result<Self, SetupError> {
        let (all, mut mask) = (SigSet::all(), SigSet::empty());
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&all), Some(&mut mask))
            .map_err(|errno| SetupError::call(Step::Start, "rt_sigprocmask", errno))?;
        let sigchld_ignored = sys::set_sigchld_ignored(false)
            .map_err(|errno| SetupError::call(Step::Start, "sigaction", errno))?;
        Ok(Self {
            signals: manner.signals.unwrap_or(CallersSignals { mask, sigchld_ignored }),
            leads_session: manner.leads_session,
            around,
            all,
            null: open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).ok(),
            command: Pid::from_raw(0),
            ended: None,
            stops_told: 0,
            viewed: None,
        })
    }

    /// Hides from the command what this process was started with: it may be a copy of the agent, secrets and all.
    pub(crate) fn hide(&self) -> Result<(), SetupError> {
        sys::set_undumpable().map_err(|errno| SetupError::call(Step::Start, "prctl(PR_SET_DUMPABLE)", errno))
    }

    /// Stays until the command has ended, or all has.
    pub(crate) fn run(mut self, mut stay: Stay, reports: &mut Reports) -> Result<Infallible, Failure> {
        // Whoever is not there to read it has no use for it.
        drop(reports.tell(&Record::Executed));
        self.let_go(reports)?;
        loop {
            if let Around::Namespaces { broker: Some(broker) } = &mut self.around {
                broker.attend();
            }
            let received = sys::next_signal(&self.all)
                .map_err(|errno| SetupError::call(Step::Start, "rt_sigtimedwait", errno))?;
            match received.signal {
                sys::CHILD_ENDED => {
                    let nobody_is_left = self.collect(reports);
                    if self.ended.is_some() && (stay == Stay::ForTheCommand || nobody_is_left) {
                        self.end(reports);
                    }
                }
                _ if self.is_from_below(received) => {}
                ORDER_END => self.end(reports),
                ORDER_TERMINATE => {
                    stay = Stay::ForAll;
                    self.terminate();
                }
                ORDER_SIGNAL if self.ended.is_none() => {
                    // As below.
                    if let Err(_ended) = sys::kill(self.command, received.value) {}
                }
                ORDER_INTERRUPT if self.ended.is_none() => {
                    // Where it leads no group, there is nobody to interrupt.
                    if let Err(_nobody) = sys::kill(Pid::from_raw(-self.command.as_raw()), libc::SIGINT) {}
                }
                signal if self.ended.is_none() && !self.has_reached_the_command(received) => {
                    // It may have ended, and SIGCHLD be on its way. Only a program that gained privileges could refuse.
                    if let Err(_ended) = sys::kill(self.command, signal) {}
                }
                // Once the command has been collected, its number may be another's.
                _ => {}
            }
        }
    }

    /// Collects what has ended, and tells what became of the command. Says whether nobody is left.
    fn collect(&mut self, reports: &mut Reports) -> bool {
        let Self { command, ended, stops_told, .. } = self;
        let (mut stopped, mut ended_now) = (false, None);
        let nobody_is_left = sys::reap(|pid, change| {
            let record = match change {
                _ if pid != *command => return,
                Change::Ended(ending) => {
                    ended_now = Some(ending);
                    return;
                }
                Change::Stopped | Change::Continued if *stops_told == STOPS_TOLD => return,
                Change::Stopped => {
                    *stops_told += 1;
                    stopped = true;
                    Record::Stopped
                }
                Change::Continued => {
                    *stops_told += 1;
                    stopped = false;
                    Record::Continued
                }
            };
            // Whoever is not there to read it has no use for it.
            drop(reports.tell(&record));
        });
        if let Some(ending) = ended_now {
            *ended = Some(ending);
            if let Around::Namespaces { broker: Some(broker) } = &self.around {
                reports.tell_refused(broker.refused());
            }
            if self.viewed.as_deref().is_some_and(is_full) {
                drop(reports.tell(&Record::Full));
            }
            // Whoever is not there to read it sees how we end.
            drop(reports.tell(&Record::Ended { ending, others: !nobody_is_left }));
        }
        if stopped && matches!(self.around, Around::Nothing) && !reports.are_read() {
            // Somebody waits for us, and has to see that the job has stopped. Goes on when the job does.
            if let Err(_ended) =
                sys::kill(getpid(), libc::SIGSTOP).and_then(|()| sys::kill(self.command, libc::SIGCONT))
            {
            }
        }
        nobody_is_left
    }

    /// Only what comes from outside is for the command: those inside can reach it themselves.
    fn is_from_below(&self, received: Received) -> bool {
        match self.around {
            Around::Namespaces { .. } => received.sender.is_some(),
            Around::Nothing => received.sender == Some(self.command),
        }
    }

    /// What the terminal sends, it sends to the whole group.
    fn has_reached_the_command(&self, received: Received) -> bool {
        // A group that was made outside has no number in a PID namespace: both are 0 then.
        received.from_kernel && getpgid(Some(self.command)) == getpgid(None)
    }

    /// Asks everything to end. What can't be asked is ended later.
    fn terminate(&self) {
        match self.around {
            // All that is in our PID namespace, and nobody else.
            Around::Namespaces { .. } => {
                for signal in [libc::SIGTERM, libc::SIGCONT] {
                    if let Err(_nobody) = sys::kill(Pid::from_raw(-1), signal) {}
                }
            }
            Around::Nothing => terminate_below(getpid()),
        }
    }

    /// Ends, and everything with it.
    fn end(&mut self, reports: &mut Reports) -> ! {
        match (&self.around, self.ended) {
            (Around::Namespaces { .. }, ending) => sys::exit_now(exit_code(ending)),
            (Around::Nothing, _) => {
                self.end_all(reports);
                match self.ended {
                    Some(Ending::Signalled { signal, .. }) => sys::end_by_signal(signal, SIGNALLED + signal),
                    ending => sys::exit_now(exit_code(ending)),
                }
            }
        }
    }

    /// Ends all that is below this process. What was started meanwhile, by somebody who was not found in time, has become ours
    /// by the end of its parent, and is found the next time.
    fn end_all(&mut self, reports: &mut Reports) {
        let end = Instant::now() + PATIENCE;
        while !self.collect(reports) {
            let killed = kill_below(getpid());
            for process in &killed {
                let remaining = end.saturating_duration_since(Instant::now());
                let timeout = PollTimeout::try_from(remaining).unwrap_or(PollTimeout::MAX);
                // All signals are blocked, so that nothing interrupts it.
                let ended = poll(&mut [PollFd::new(process.pidfd(), PollFlags::POLLIN)], timeout);
                if ended.is_err() {
                    break;
                }
            }
            if killed.is_empty() || Instant::now() >= end {
                // What is left is not ours to kill, or the kernel does not let go of it.
                break;
            }
        }
    }

    /// Holds no stream that the command has: who reads one sees its end when the command has closed it.
    fn let_go(&self, reports: &Reports) -> Result<(), SetupError> {
        let brokers = match &self.around {
            Around::Namespaces { broker } => broker.iter().flat_map(Broker::descriptors).collect(),
            Around::Nothing => Vec::new(),
        };
        let keep: Vec<_> = reports.descriptors().chain(brokers).collect();
        sys::let_go_of_streams(self.null.as_ref())
            .map_err(|errno| SetupError::call(Step::Start, "dup3", errno))?;
        sys::close_all_but(3, &keep).map_err(|errno| SetupError::call(Step::Start, "close_range", errno))
    }
}

/// Whether there is no room left where a file system keeps things. One that says nothing is not known to be full.
fn is_full(place: &Path) -> bool {
    statvfs(place).is_ok_and(|room| room.blocks_available() == 0 || room.files_available() == 0)
}

/// The code of who can't end as the command did.
const fn exit_code(ending: Option<Ending>) -> i32 {
    match ending {
        Some(Ending::Exited { code }) => code,
        Some(Ending::Signalled { signal, .. }) => SIGNALLED + signal,
        // We were told to end before it had.
        None => SIGNALLED + Signal::SIGKILL as i32,
    }
}

/// Asks the kernel for a signal when the parent of this process ends, and makes sure that it has not ended yet.
///
/// The signal is bound to the parent's *thread* that started us: the parent sees to it that this is one which lives as
/// long as the process.
pub(crate) fn end_with(parent: i32, signal: i32) -> Result<(), SetupError> {
    sys::set_parent_death_signal(signal)
        .map_err(|errno| SetupError::call(Step::ParentDeath, "prctl(PR_SET_PDEATHSIG)", errno))?;
    if getppid().as_raw() == parent {
        return Ok(());
    }
    // It ended before the call above could bind us to it.
    Err(SetupError::condition(Step::ParentDeath, "getppid", "the parent has ended, or is not the one named"))
}
