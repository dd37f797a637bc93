//! PID 1 of the sandbox: starts the command, passes signals on to it, collects what has ended, and ends with it. Where
//! there is a [broker](crate::broker), it is a part of this process.
//!
//! When it ends, the kernel ends everything in the PID namespace before anybody is told. No signal from inside can end it,
//! or stop it (`pid_namespaces(7)`).

use std::convert::Infallible;
use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, open};
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpgid, setsid};

use crate::broker::{Broker, UnixSockets};
use crate::enforce;
use crate::error::{Failure, SetupError, Step};
use crate::handoff::{EnvironmentBlock, ExecError, become_command};
use crate::plan::{Invocation, Stay};
use crate::report::{Enforced, Record};
use crate::run::Reports;
use crate::sys::{self, Ending};

/// What the command finds of signals where the process that starts it has changed them for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallersSignals {
    /// The blocked signals.
    pub mask: SigSet,
    /// Whether SIGCHLD was ignored. Who waits for children can't leave it so: the kernel would collect them itself.
    pub sigchld_ignored: bool,
}

/// How the command is started, and when its namespaces end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// What the command finds of signals.
    pub(crate) signals: CallersSignals,
    /// Whether it leads a session, as the process does that stands in for it.
    pub(crate) leads_session: bool,
}

/// PID 1, and the command once it is there.
pub(crate) struct Init {
    manner: Manner,
    all: SigSet,
    null: OwnedFd,
    broker: Option<Broker>,
    command: Pid,
}

impl Init {
    /// Holds back every signal, to be taken one by one.
    pub(crate) fn begin(manner: Manner) -> Result<Self, SetupError> {
        let all = SigSet::all();
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&all), None)
            .map_err(|errno| SetupError::call(Step::Start, "rt_sigprocmask", errno))?;
        sys::set_sigchld_ignored(false).map_err(|errno| SetupError::call(Step::Start, "sigaction", errno))?;
        let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|errno| SetupError::call(Step::Start, "open", errno).on("/dev/null"))?;
        Ok(Self { manner, all, null, broker: None, command: Pid::from_raw(0) })
    }

    /// Hides from the command what this process was started with: it may be a copy of the agent, secrets and all.
    pub(crate) fn hide(&self) -> Result<(), SetupError> {
        sys::set_undumpable().map_err(|errno| SetupError::call(Step::Start, "prctl(PR_SET_DUMPABLE)", errno))
    }

    /// Starts the command, with signals as the caller has them, and tells what is enforced.
    pub(crate) fn start(
        &mut self,
        invocation: &Invocation,
        environment: &EnvironmentBlock,
        enforced: &mut Enforced,
        reports: &mut Reports,
    ) -> Result<(), Failure> {
        if enforced.unix_sockets == UnixSockets::Broker {
            self.broker = Some(Broker::prepare(&invocation.plan, &self.all)?);
        }
        let mut failure = None;
        let started = sys::run_vforked(|| {
            let Err(error) = self.become_command(invocation, environment, enforced, reports);
            let code = error.exit_code();
            failure = Some(error);
            code
        });
        let pid = started.map_err(|errno| SetupError::call(Step::Start, "clone", errno))?;
        self.command = pid;
        failure.map_or(Ok(()), Err)
    }

    /// The command's process to its first instruction. All memory and descriptors are still those of this one.
    fn become_command(
        &mut self,
        invocation: &Invocation,
        environment: &EnvironmentBlock,
        enforced: &mut Enforced,
        reports: &mut Reports,
    ) -> Result<Infallible, Failure> {
        let command = &invocation.command;
        let Manner { signals, leads_session } = self.manner;
        sys::set_sigchld_ignored(signals.sigchld_ignored)
            .and_then(|_| if leads_session { setsid().map(drop) } else { Ok(()) })
            .and_then(|()| pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&signals.mask), None))
            .map_err(|errno| ExecError::NotExecutable { program: command.program.clone(), errno })?;
        let listener = enforce::finish(&invocation.plan, enforced)?;
        if let (Some(broker), Some(listener)) = (&mut self.broker, listener) {
            broker.listen_to(listener);
        }
        enforce::limit(&invocation.plan.limits)?;
        reports.tell(&Record::Enforced(enforced.clone()))?;
        Ok(become_command(command, environment)?)
    }

    /// Stays until the command has ended, or all has.
    pub(crate) fn run(mut self, stay: Stay, reports: &mut Reports) -> Result<Infallible, Failure> {
        self.let_go(reports)?;
        let mut ended: Option<Ending> = None;
        loop {
            if let Some(broker) = &mut self.broker {
                broker.attend();
            }
            let received = sys::next_signal(&self.all)
                .map_err(|errno| SetupError::call(Step::Start, "rt_sigtimedwait", errno))?;
            if received.signal == sys::CHILD_ENDED {
                let nobody_is_left = sys::reap(|pid, ending| {
                    if pid == self.command {
                        ended = Some(ending);
                        // Whoever is not there to read it sees our exit code.
                        drop(reports.tell(&Record::Ended(ending)));
                    }
                });
                match ended {
                    Some(ending) if stay == Stay::ForTheCommand || nobody_is_left => end_as(ending),
                    _ => {}
                }
            } else if ended.is_none()
                && !received.from_inside
                && !(received.from_kernel && self.command_is_in_our_group())
            {
                // Only what comes from outside is for the command: those inside can reach it themselves.
                // Once the command has been collected, its number may be another's.
                // What the terminal sends, it sends to the whole group.
                // It may have ended, and SIGCHLD be on its way. Only a program that gained privileges could refuse, and none
                // does.
                if let Err(_ended) = sys::kill(self.command, received.signal) {}
            }
        }
    }

    /// Holds no stream that the command has: who reads one sees its end when the command has closed it.
    fn let_go(&self, reports: &Reports) -> Result<(), SetupError> {
        let brokers = self.broker.iter().flat_map(Broker::descriptors);
        let keep: Vec<_> = reports.descriptors().chain(brokers).collect();
        for stream in 0..=2 {
            sys::replace_stream(&self.null, stream)
                .map_err(|errno| SetupError::call(Step::Start, "dup3", errno))?;
        }
        sys::close_all_but(3, &keep).map_err(|errno| SetupError::call(Step::Start, "close_range", errno))
    }

    fn command_is_in_our_group(&self) -> bool {
        // A group that was made outside has no number inside: both are 0 then.
        getpgid(Some(self.command)) == getpgid(None)
    }
}

fn end_as(ending: Ending) -> ! {
    let code = match ending {
        Ending::Exited { code } => code,
        Ending::Signalled { signal, .. } => SIGNALLED + signal,
    };
    sys::exit_now(code)
}

/// What shells add to the number of a signal.
pub(crate) const SIGNALLED: i32 = 128;
