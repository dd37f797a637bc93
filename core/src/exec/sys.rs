//! The system calls that neither the standard library nor nix wraps, each behind a safe function.

#![expect(unsafe_code, reason = "raw system calls stand here, and nowhere else in this crate")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::Arc;

use codex_linux_sandbox::{Ending, PidFd};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::inotify::Inotify;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::outcome::ResourceUsage;
use super::terminal::TerminalSize;

/// A second descriptor for the same open file, with the lowest free number from `lowest` on: `fcntl(2)`,
/// `F_DUPFD_CLOEXEC`.
pub(super) fn duplicate_above(descriptor: BorrowedFd<'_>, lowest: RawFd) -> Result<OwnedFd, Errno> {
    // JUSTIFICATION: nix returns the new descriptor as a number that nobody owns.
    // SAFETY: F_DUPFD_CLOEXEC takes a number and touches no memory.
    let answer = unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) };
    // Where not even the lowest number is allowed, the kernel finds fault with the number.
    let number =
        Errno::result(answer).map_err(|errno| if errno == Errno::EINVAL { Errno::EMFILE } else { errno })?;
    // JUSTIFICATION: as above.
    // SAFETY: the kernel has just opened it for us, so that nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Opens the slave of a pseudo-terminal: `TIOCGPTPEER` of `ioctl_tty(2)` (Linux 4.13).
pub(super) fn open_terminal_peer(master: BorrowedFd<'_>, flags: OFlag) -> Result<OwnedFd, Errno> {
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the request takes a number, and touches no memory.
    let answer = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER as _, flags.bits()) };
    let number = Errno::result(answer)?;
    // JUSTIFICATION: the descriptor has to be closed by somebody.
    // SAFETY: the kernel has just opened it for us, so that nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// How many bytes there are to be read: `FIONREAD` of `pipe(7)`.
pub(super) fn bytes_there(reader: BorrowedFd<'_>) -> Result<usize, Errno> {
    let mut count: libc::c_int = 0;
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the kernel fills one number, which lives until the call returns.
    Errno::result(unsafe { libc::ioctl(reader.as_raw_fd(), libc::FIONREAD as _, &raw mut count) })?;
    usize::try_from(count).map_err(|_negative| Errno::EOVERFLOW)
}

/// Sets the size of a terminal, of which the processes in its foreground are told by SIGWINCH: `TIOCSWINSZ` of
/// `ioctl_tty(2)`.
pub(super) fn set_terminal_size(master: BorrowedFd<'_>, size: TerminalSize) -> Result<(), Errno> {
    let size = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the kernel reads one structure, which lives until the call returns.
    Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ as _, &raw const size) })
        .map(drop)
}

/// The size of a terminal: `TIOCGWINSZ` of `ioctl_tty(2)`.
pub(super) fn terminal_size(terminal: BorrowedFd<'_>) -> Result<TerminalSize, Errno> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the kernel fills one structure, which lives until the call returns.
    Errno::result(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ as _, &raw mut size) })?;
    Ok(TerminalSize { rows: size.ws_row, columns: size.ws_col })
}

/// Sends a signal to the process group in the foreground of a terminal: `TIOCSIG` of its master (Linux 2.6.36). The kernel
/// takes SIGINT, SIGQUIT and SIGTSTP.
pub(super) fn signal_foreground(master: BorrowedFd<'_>, signal: Signal) -> Result<(), Errno> {
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the request takes a number, and touches no memory.
    Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSIG as _, signal as libc::c_int) })
        .map(drop)
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

/// Lets the runtime wait until a descriptor can be read, or written, without waiting.
///
/// # Errors
///
/// As [`watch`].
///
/// # Panics
///
/// As [`watch`].
pub(super) fn watch_both(descriptor: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // JUSTIFICATION: as below.
    // SAFETY: as below.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE | Interest::WRITABLE) }
        .map_err(std::io::Error::from)
}

/// Lets the runtime wait until a descriptor can be written without waiting.
///
/// # Errors
///
/// As [`watch`].
///
/// # Panics
///
/// As [`watch`].
pub(super) fn watch_writable(descriptor: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // JUSTIFICATION: as below.
    // SAFETY: as below.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::WRITABLE) }.map_err(std::io::Error::from)
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

/// Something that has one descriptor, the same one for as long as it lives.
pub(super) trait HasOneDescriptor: AsFd {}

impl HasOneDescriptor for PidFd {}

impl HasOneDescriptor for Inotify {}

/// The descriptor of something that has other owners as well.
#[derive(Debug)]
pub(super) struct Shared<T>(Arc<T>);

impl<T: HasOneDescriptor> AsRawFd for Shared<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Lets the runtime wait until something becomes readable that is used beside, without a descriptor more.
///
/// # Errors
///
/// As [`watch`].
///
/// # Panics
///
/// As [`watch`].
pub(super) fn watch_shared<T: HasOneDescriptor>(descriptor: Arc<T>) -> std::io::Result<AsyncFd<Shared<T>>> {
    // JUSTIFICATION: as above.
    // SAFETY: as above; what is shared is never exchanged, and lives until its last owner is dropped, of whom the `AsyncFd` is
    // one.
    unsafe { AsyncFd::register_with_interest(Shared(descriptor), Interest::READABLE) }
        .map_err(std::io::Error::from)
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
