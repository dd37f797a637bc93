//! The process that stays outside in the command's place: who started the helper waits for it, sends it signals, and sees
//! it end as the command ended.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpid, getsid, pipe2};

use crate::error::{SetupError, Step};
use crate::keeper::{CallersSignals, Manner, ORDER_SIGNAL, SIGNALLED};
use crate::report::Record;
use crate::run::EXIT_SETUP_FAILED;
use crate::sys::{self, Change};

/// Signals that are not passed on but do to us what they do to the command, so that a shell sees its job stop.
const STOPPING: [Signal; 4] = [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGCONT];

/// Before the fork: what both sides of it need.
pub(crate) struct Relay {
    /// What the command has to find of signals.
    pub(crate) manner: Manner,
    taken: SigSet,
    reading: OwnedFd,
    writing: OwnedFd,
    null: Option<OwnedFd>,
}

impl Relay {
    pub(crate) fn prepare() -> Result<Self, SetupError> {
        let failed = |call| move |errno| SetupError::call(Step::Start, call, errno);
        let mut taken = SigSet::all();
        for signal in STOPPING {
            taken.remove(signal);
        }
        let mut mask = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&taken), Some(&mut mask))
            .map_err(failed("rt_sigprocmask"))?;
        let sigchld_ignored = sys::set_sigchld_ignored(false).map_err(failed("sigaction"))?;
        let (reading, writing) = pipe2(OFlag::O_CLOEXEC).map_err(failed("pipe2"))?;
        let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).ok();
        let manner = Manner {
            signals: Some(CallersSignals { mask, sigchld_ignored }),
            leads_session: getsid(None) == Ok(getpid()),
        };
        Ok(Self { manner, taken, reading, writing, null })
    }

    /// Where the first process inside says how the command ended.
    pub(crate) fn into_writing_end(self) -> OwnedFd {
        self.writing
    }

    /// Waits for the first process inside, and ends as the command did.
    pub(crate) fn stand_for(self, init: Pid) -> ! {
        let Self { taken, reading, writing, null, .. } = self;
        drop(writing);
        // Nobody waits for the end of a stream because we hold it. A failure leaves it open, which only delays them.
        let let_go = sys::let_go_of_streams(null.as_ref());
        if let Err(_held) = let_go.and_then(|()| sys::close_all_but(3, &[reading.as_raw_fd()])) {}
        let ending = loop {
            match sys::next_signal(&taken) {
                Ok(received) if received.signal == sys::CHILD_ENDED => {
                    let mut ended = None;
                    sys::reap(|_, change| {
                        if let Change::Ended(ending) = change {
                            ended = Some(ending);
                        }
                    });
                    if let Some(ending) = ended {
                        break ending;
                    }
                }
                // What the terminal sends has reached everybody.
                Ok(received) if received.from_kernel => {}
                // It may have ended, and SIGCHLD be on its way.
                Ok(received) if received.signal == ORDER_SIGNAL => {
                    if let Err(_ended) = sys::queue(init, ORDER_SIGNAL, received.value) {}
                }
                Ok(received) => if let Err(_ended) = sys::kill(init, received.signal) {},
                // Without us, the kernel ends those inside.
                Err(_) => sys::exit_now(EXIT_SETUP_FAILED),
            }
        };
        let mut said = Vec::new();
        let ending = match File::from(reading).read_to_end(&mut said) {
            Ok(_) => said.split(|byte| *byte == b'\n').find_map(|line| match Record::parse(line) {
                Some(Record::Ended { ending, .. }) => Some(ending),
                _ => None,
            }),
            Err(_) => None,
        }
        .unwrap_or(ending);
        match ending {
            sys::Ending::Exited { code } => sys::exit_now(code),
            sys::Ending::Signalled { signal, .. } => sys::end_by_signal(signal, SIGNALLED + signal),
        }
    }
}
