//! Signals that we get while a command runs, and what becomes of them.
//!
//! They are blocked and read from a descriptor, which leaves every disposition as the command has to find it, and tells
//! who sent each one: a signal of the terminal has already reached the command, which is in the same process group.

use std::io::{stderr, stdin, stdout};
use std::os::fd::AsFd as _;

use codex_core::exec::{CallersSignals, SigchldDisposition, set_sigchld};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::tcgetsid;
use nix::unistd::{getpgid, getppid, getsid};

/// What a person or a supervisor sends to end, or to talk to, a program.
const HANDLED: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];
/// What stops a job. Where the command shares our terminal, it decides about these, and we stop when it has stopped.
const STOPPING: [Signal; 3] = [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];
/// What concerns a command that has a terminal of its own, of which this one is only the display. What stops a job that uses
/// its terminal in the background is not held back: the kernel does that well.
const AT_A_DISPLAY: [Signal; 5] =
    [Signal::SIGTSTP, Signal::SIGCONT, Signal::SIGWINCH, Signal::SIGPIPE, Signal::SIGALRM];
/// `SI_KERNEL` of `siginfo.h`: the kernel sent it by itself, which for these signals means the terminal.
const SI_KERNEL: i32 = 0x80;

/// Signals as they come.
#[derive(Debug)]
pub(crate) struct Signals {
    descriptor: SignalFd,
    /// What the caller had set, for commands.
    pub(crate) callers: CallersSignals,
}

/// One signal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) signal: Signal,
    pub(crate) from_terminal: bool,
}

/// What the command has to do with our terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shares {
    /// It has our streams; whether a shell waits for both as for a job of its own.
    Streams { as_a_job: bool },
    /// Nothing.
    Nothing,
    /// It is displayed there.
    Display,
}

impl Shares {
    /// Our streams, and whatever else is ours.
    pub(crate) fn streams() -> Self {
        Self::Streams { as_a_job: is_a_shells_job() }
    }
}

/// Whether a shell waits for this process as for a job of its own, and goes on when it has stopped.
fn is_a_shells_job() -> bool {
    let parent = getppid();
    let (input, output, errors) = (stdin(), stdout(), stderr());
    // Other callers put us into a group of its own as well, and know nothing of jobs that stop.
    let has_terminal = [input.as_fd(), output.as_fd(), errors.as_fd()]
        .into_iter()
        .any(|stream| tcgetsid(stream).is_ok_and(|session| Ok(session) == getsid(None)));
    // A process group none of whose members has such a parent is an orphaned one: nobody would wake it.
    has_terminal
        && getsid(Some(parent)).is_ok_and(|session| Ok(session) == getsid(None))
        && getpgid(Some(parent)).is_ok_and(|group| Ok(group) != getpgid(None))
}

/// Lets no reader that goes away end this thread, or those that it starts: what is written to it fails instead.
pub(crate) fn outlive_readers() -> Result<(), Errno> {
    let readers = SigSet::from_iter([Signal::SIGPIPE]);
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&readers), None)
}

impl Signals {
    /// Blocks the signals for this thread, and those that it starts. To be called while it is the only one.
    pub(crate) fn block(shares: Shares) -> Result<Self, Errno> {
        let mut handled: SigSet = HANDLED.into_iter().collect();
        match shares {
            Shares::Streams { as_a_job: true } => handled.extend(STOPPING),
            Shares::Display => handled.extend(AT_A_DISPLAY),
            Shares::Streams { as_a_job: false } | Shares::Nothing => {}
        }
        let mut callers_mask = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&handled), Some(&mut callers_mask))?;
        // With SIGCHLD ignored, as some callers leave it, nobody could learn how a command ended.
        let sigchld = set_sigchld(SigchldDisposition::Default)?;
        let callers =
            CallersSignals { mask: callers_mask, sigchld_ignored: sigchld == SigchldDisposition::Ignored };
        let descriptor = SignalFd::with_flags(&handled, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { descriptor, callers })
    }

    /// Lets signals do to this thread what they did before, those that have come included: nobody will take them any more.
    /// Readers that go still end nobody.
    pub(crate) fn give_back(&self) {
        let mut mask = self.callers.mask;
        mask.add(Signal::SIGPIPE);
        if let Err(_no_mask) = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&mask), None) {}
    }

    /// For the runtime to wait on.
    pub(crate) const fn descriptor(&self) -> &SignalFd {
        &self.descriptor
    }

    /// The next signal that has come.
    pub(crate) fn take(&self) -> Option<Received> {
        let info = self.descriptor.read_signal().ok().flatten()?;
        let number = i32::try_from(info.ssi_signo).ok()?;
        let signal = Signal::try_from(number).ok()?;
        Some(Received { signal, from_terminal: info.ssi_code == SI_KERNEL })
    }
}
