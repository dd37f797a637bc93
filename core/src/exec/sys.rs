//! The system calls that neither the standard library nor nix wraps, each behind a safe function.

#![expect(unsafe_code, reason = "raw system calls stand here, and nowhere else in this crate")]

use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use codex_linux_sandbox::Ending;
use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::outcome::ResourceUsage;

/// A descriptor for a process: `pidfd_open(2)` (Linux 5.3). Readable once the process has ended; close-on-exec.
pub(super) fn pidfd_open(pid: Pid) -> Result<OwnedFd, Errno> {
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the call takes numbers only.
    let answer = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0_u32) })?;
    let number = RawFd::try_from(answer).map_err(|_beyond| Errno::EBADF)?;
    // JUSTIFICATION: the descriptor has to be closed by somebody.
    // SAFETY: the kernel has just opened it for us, so that nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A second descriptor for the same open file, with the lowest free number from `lowest` on: `fcntl(2)`,
/// `F_DUPFD_CLOEXEC`.
pub(super) fn duplicate_above(descriptor: BorrowedFd<'_>, lowest: RawFd) -> Result<OwnedFd, Errno> {
    // JUSTIFICATION: nix returns the new descriptor as a number that nobody owns.
    // SAFETY: F_DUPFD_CLOEXEC takes a number and touches no memory.
    let number =
        Errno::result(unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) })?;
    // JUSTIFICATION: as above.
    // SAFETY: the kernel has just opened it for us, so that nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Sends a signal to the very process that a descriptor stands for: `pidfd_send_signal(2)` (Linux 5.1).
pub(super) fn pidfd_send_signal(process: BorrowedFd<'_>, signal: Signal) -> Result<(), Errno> {
    let (descriptor, info) = (process.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: a null siginfo makes the kernel fill in one as for kill(2); no memory is read.
    let answer =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, descriptor, signal as libc::c_int, info, 0_u32) };
    Errno::result(answer).map(drop)
}

/// What becomes of children that have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigchldDisposition {
    /// They wait to be collected.
    Default,
    /// The kernel collects them, and nobody learns how they ended.
    Ignored,
}

/// Sets the disposition of SIGCHLD for this process, and tells what it was: `sigaction(2)`.
///
/// # Errors
///
/// None that the kernel gives for this signal.
pub fn set_sigchld(disposition: SigchldDisposition) -> Result<SigchldDisposition, Errno> {
    let handler = match disposition {
        SigchldDisposition::Default => SigHandler::SigDfl,
        SigchldDisposition::Ignored => SigHandler::SigIgn,
    };
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // JUSTIFICATION: the wrapper is unsafe for the sake of handlers.
    // SAFETY: neither of the two dispositions is a handler, so that no code of ours runs in a signal's context.
    let old = unsafe { sigaction(Signal::SIGCHLD, &action) }?;
    Ok(match old.handler() {
        SigHandler::SigIgn => SigchldDisposition::Ignored,
        SigHandler::SigDfl | SigHandler::Handler(_) | SigHandler::SigAction(_) => SigchldDisposition::Default,
    })
}

/// Lets the runtime wait until a descriptor becomes readable.
///
/// # Errors
///
/// What `epoll_ctl(2)` says of a descriptor that can't be waited for.
///
/// # Panics
///
/// Outside a tokio runtime with I/O enabled.
pub fn watch(descriptor: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // JUSTIFICATION: tokio's safe constructors take anything with a number, and are deprecated for it.
    // SAFETY: an `OwnedFd` stays open, under the same number, until it is dropped, which the `AsyncFd` does after it has
    // taken it out of the runtime.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.map_err(std::io::Error::from)
}

/// Which side of a fork this is.
pub(super) enum Fork {
    Parent(Pid),
    Child,
}

/// Makes sure that this thread is the only one.
///
/// # Errors
///
/// `EDEADLK` where there are others: a forked child could wait for ever for a lock that one of them held.
pub(super) fn require_single_thread() -> Result<(), Errno> {
    let threads = std::fs::read_dir("/proc/self/task").map_err(|_unknown| Errno::EDEADLK)?.take(2).count();
    if threads == 1 { Ok(()) } else { Err(Errno::EDEADLK) }
}

/// Forks, if this thread is the only one: `fork(2)`.
///
/// # Errors
///
/// As [`require_single_thread`], and those of the kernel.
pub(super) fn fork_if_single_threaded() -> Result<Fork, Errno> {
    require_single_thread()?;
    // JUSTIFICATION: no safe wrapper exists, since the child of a threaded process may do next to nothing.
    // SAFETY: this thread is the only one, and only it could start another, so that the child is a whole copy of the
    // process: no lock is held by anybody else, and everything that was allowed before is allowed in it.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(Fork::Parent(child)),
        nix::unistd::ForkResult::Child => Ok(Fork::Child),
    }
}

/// Whether this process has children, ended ones included: `waitid(2)`.
pub(super) fn has_children() -> bool {
    peek(libc::P_ALL, 0).is_ok()
}

/// A child that has ended and waits to be collected.
pub(super) fn next_ended() -> Option<Pid> {
    peek(libc::P_ALL, 0).ok().flatten()
}

fn peek(kind: libc::idtype_t, id: libc::id_t) -> Result<Option<Pid>, Errno> {
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // JUSTIFICATION: nix decodes the status, and has no name for a real-time signal that ended a child.
    // SAFETY: the pointer is to a local that lives until the call returns.
    Errno::result(unsafe { libc::waitid(kind, id, info.as_mut_ptr(), options) })?;
    // JUSTIFICATION: the structure is plain numbers.
    // SAFETY: it was zeroed, which is a valid value of it, and perhaps filled by the kernel.
    let info = unsafe { info.assume_init() };
    // JUSTIFICATION: the field is a part of a union.
    // SAFETY: waitid fills this member, and it is 0 where no child had ended.
    let pid = unsafe { info.si_pid() };
    Ok((pid != 0).then(|| Pid::from_raw(pid)))
}

/// Collects a child if it has ended. Says whether there is nothing left of it.
pub(super) fn collect(pid: Pid) -> bool {
    // JUSTIFICATION: as above: nix gives an error for a child that a real-time signal ended.
    // SAFETY: a null pointer for the status is allowed; no memory is touched.
    let answer = unsafe { libc::waitpid(pid.as_raw(), std::ptr::null_mut(), libc::WNOHANG) };
    match Errno::result(answer) {
        Ok(0) | Err(Errno::EINTR) => false,
        Ok(_) | Err(_) => true,
    }
}

/// Collects a child that has ended, or waits for its end: `wait4(2)`.
pub(super) fn reap(pid: Pid) -> Result<(Ending, ResourceUsage), Errno> {
    let mut status: libc::c_int = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // JUSTIFICATION: no wrapper returns the usage of one child.
        // SAFETY: both pointers are to locals that live until the call returns.
        let answer = unsafe { libc::wait4(pid.as_raw(), &raw mut status, 0, usage.as_mut_ptr()) };
        match Errno::result(answer) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    // JUSTIFICATION: the structure is plain numbers.
    // SAFETY: it was zeroed, which is a valid value of it, and then filled by the kernel.
    let usage = unsafe { usage.assume_init() };
    let status = if libc::WIFEXITED(status) {
        Ending::Exited { code: libc::WEXITSTATUS(status) }
    } else {
        Ending::Signalled { signal: libc::WTERMSIG(status), core_dumped: libc::WCOREDUMP(status) }
    };
    let count = |number: libc::c_long| u64::try_from(number).unwrap_or(0);
    let microseconds = |time: libc::timeval| count(time.tv_sec) * 1_000_000 + count(time.tv_usec);
    let usage = ResourceUsage {
        user_us: microseconds(usage.ru_utime),
        system_us: microseconds(usage.ru_stime),
        max_rss_kib: count(usage.ru_maxrss),
        minor_faults: count(usage.ru_minflt),
        major_faults: count(usage.ru_majflt),
        voluntary_switches: count(usage.ru_nvcsw),
        involuntary_switches: count(usage.ru_nivcsw),
    };
    Ok((status, usage))
}
