//! Signals that we get while a command runs, and what becomes of them.
//!
//! They are blocked and read from a descriptor, which leaves every disposition as the command has to find it, and tells
//! who sent each one: a signal of the terminal has already reached the command, which is in the same process group.

use codex_core::exec::{CallersSignals, SigchldDisposition, set_sigchld};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What a person or a supervisor sends to end, or to talk to, a program.
/// And SIGCHLD, which says that a process below us has ended.
const HANDLED: [Signal; 7] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCHLD,
];
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

impl Signals {
    /// Blocks the signals for this thread, and those that it starts. To be called while it is the only one.
    pub(crate) fn block() -> Result<Self, Errno> {
        let handled: SigSet = HANDLED.into_iter().collect();
        let mut callers_mask = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&handled), Some(&mut callers_mask))?;
        // With SIGCHLD ignored, as some callers leave it, nobody could learn how a command ended.
        let sigchld = set_sigchld(SigchldDisposition::Default)?;
        let callers =
            CallersSignals { mask: callers_mask, sigchld_ignored: sigchld == SigchldDisposition::Ignored };
        let descriptor = SignalFd::with_flags(&handled, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { descriptor, callers })
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
