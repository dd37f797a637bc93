//! Making processes, waiting for them, and what PID 1 needs beside.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::unistd::Pid;

use super::exit_now;

/// Copies this process, as `fork(2)` does, into new namespaces: `clone(2)`. `None` in the copy.
///
/// To be called while this process has one thread. The C library does not take notice: in the copy it still knows the
/// thread by its old number, which only `raise(3)` and locks that are shared between processes would use.
pub(crate) fn clone_process(namespaces: u64) -> Result<Option<Pid>, Errno> {
    let flags = namespaces | u64::from(libc::SIGCHLD.unsigned_abs());
    // JUSTIFICATION: the C library's clone wants a second stack, and its fork takes no flags.
    // SAFETY: without a stack and without CLONE_VM the child continues on a copy of this one, as after fork(2). The
    // process has one thread, so that the copy is whole and no lock is held by somebody who is not in it. The four
    // zeroes mean the same in the order of every architecture.
    let answer = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) };
    let pid = libc::pid_t::try_from(Errno::result(answer)?).map_err(|_beyond| Errno::EOVERFLOW)?;
    Ok((pid != 0).then(|| Pid::from_raw(pid)))
}

/// Moves this process into new namespaces: `unshare(2)`.
pub(crate) fn unshare(namespaces: u64) -> Result<(), Errno> {
    // JUSTIFICATION: nix has the call in a feature that nothing else here needs.
    // SAFETY: the call takes numbers only, and none of the namespaces changes what this process's memory means.
    Errno::result(unsafe { libc::syscall(libc::SYS_unshare, namespaces) }).map(drop)
}

/// Runs `body` in a new process that shares this one's memory and descriptors, while this one stands still, until it has
/// executed a program or ended: `clone(2)` with `CLONE_VM | CLONE_FILES | CLONE_VFORK`. What `body` returns is its exit code.
///
/// What `body` opens stays open here; `execve(2)` gives the program a table of its own (`unshare_files` of the kernel)
/// before it closes anything in it.
///
/// Copying the memory of a process takes longer than all the rest of starting one.
pub(crate) fn run_vforked<F: FnMut() -> i32>(mut body: F) -> Result<Pid, Errno> {
    extern "C" fn enter<F: FnMut() -> i32>(argument: *mut libc::c_void) -> libc::c_int {
        // JUSTIFICATION: C passes one untyped pointer.
        // SAFETY: it is the one given to clone below, to a closure that lives until the new process no longer shares
        // this memory; its owner stands still meanwhile, so that the reference is the only one in use.
        let body = unsafe { &mut *argument.cast::<F>() };
        exit_now(body())
    }
    const STACK: usize = 256 * 1024;
    // Untouched pages of it cost nothing.
    let mut stack: Vec<u128> = Vec::with_capacity(STACK / size_of::<u128>());
    let top = stack.spare_capacity_mut().as_mut_ptr_range().end;
    let argument = (&raw mut body).cast::<libc::c_void>();
    let flags = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_VFORK | libc::SIGCHLD;
    // JUSTIFICATION: no safe wrapper exists; nix's is unsafe as well and takes a boxed closure.
    // SAFETY: the stack is memory of our own, aligned to 16 bytes, and nobody else uses it; it grows down from its end.
    // With CLONE_VFORK this process, which has one thread, does not run until the new one has left its memory, so that
    // both are never in it at once, and `body` and the stack live long enough.
    let answer = unsafe { libc::clone(enter::<F>, top.cast(), flags, argument) };
    drop(stack);
    Errno::result(answer).map(Pid::from_raw)
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// By a signal.
    Signalled {
        /// The signal's number.
        signal: i32,
        /// Whether the kernel wrote a core dump.
        core_dumped: bool,
    },
}

/// What has become of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It has ended, and is collected.
    Ended(Ending),
    /// A signal has stopped it.
    Stopped,
    /// It goes on after a stop.
    Continued,
}

/// Collects all children that have ended, and learns of those that were stopped or go on: `waitpid(2)`. Says whether there
/// is no other.
pub(crate) fn reap(mut each: impl FnMut(Pid, Change)) -> bool {
    loop {
        let mut status: libc::c_int = 0;
        let options = libc::WNOHANG | libc::WUNTRACED | libc::WCONTINUED;
        // JUSTIFICATION: nix has no name for a real-time signal that ended a child, and gives an error in its place.
        // SAFETY: the pointer is to a local that lives until the call returns.
        match Errno::result(unsafe { libc::waitpid(-1, &raw mut status, options) }) {
            Ok(0) => return false,
            Ok(pid) => each(Pid::from_raw(pid), change(status)),
            Err(Errno::EINTR) => {}
            // There is none.
            Err(_) => return true,
        }
    }
}

fn change(status: libc::c_int) -> Change {
    if libc::WIFEXITED(status) {
        Change::Ended(Ending::Exited { code: libc::WEXITSTATUS(status) })
    } else if libc::WIFSTOPPED(status) {
        Change::Stopped
    } else if libc::WIFCONTINUED(status) {
        Change::Continued
    } else {
        Change::Ended(Ending::Signalled {
            signal: libc::WTERMSIG(status),
            core_dumped: libc::WCOREDUMP(status),
        })
    }
}

/// The very process that a number stood for: `pidfd_open(2)` (Linux 5.3). Close-on-exec; readable once the process has
/// ended.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// Takes hold of a process by its number.
    ///
    /// # Errors
    ///
    /// `ESRCH` where there is none, `EMFILE` where there is no descriptor left for it.
    pub fn open(process: Pid) -> Result<Self, Errno> {
        // JUSTIFICATION: no wrapper exists.
        // SAFETY: the call takes numbers only.
        let answer = unsafe { libc::syscall(libc::SYS_pidfd_open, process.as_raw(), 0_u32) };
        let number = RawFd::try_from(Errno::result(answer)?).map_err(|_beyond| Errno::EBADF)?;
        // JUSTIFICATION: the descriptor has to be closed by somebody.
        // SAFETY: the kernel has just opened it for us, so that nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(number) }))
    }

    /// Sends the process a signal by its number, real-time ones included: `pidfd_send_signal(2)` (Linux 5.1).
    ///
    /// # Errors
    ///
    /// `ESRCH` where it has ended, `EPERM` where it is not ours to signal.
    pub fn send(&self, signal: libc::c_int) -> Result<(), Errno> {
        let (descriptor, info) = (self.0.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
        // JUSTIFICATION: no wrapper exists.
        // SAFETY: a null siginfo makes the kernel fill in one as for kill(2); no memory is read.
        let answer = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, descriptor, signal, info, 0_u32) };
        Errno::result(answer).map(drop)
    }
}

impl PidFd {
    /// Sends the process a signal, and a number with it.
    ///
    /// # Errors
    ///
    /// As [`PidFd::send`].
    pub fn queue(&self, signal: libc::c_int, number: libc::c_int) -> Result<(), Errno> {
        /// `siginfo_t` as it is for `SI_QUEUE`.
        #[repr(C)]
        struct Queued {
            signal: libc::c_int,
            errno: libc::c_int,
            code: libc::c_int,
            padding: libc::c_int,
            sender: libc::pid_t,
            user: libc::uid_t,
            value: libc::sigval,
            rest: [u64; 12],
        }
        const _: () =
            assert!(size_of::<Queued>() == size_of::<libc::siginfo_t>(), "the kernel reads this many bytes");
        let info = Queued {
            signal,
            errno: 0,
            code: libc::SI_QUEUE,
            padding: 0,
            sender: nix::unistd::getpid().as_raw(),
            user: nix::unistd::getuid().as_raw(),
            value: value_of(number),
            rest: [0; 12],
        };
        let descriptor = self.0.as_raw_fd();
        // JUSTIFICATION: no wrapper exists.
        // SAFETY: the kernel reads one structure of its own layout, which lives until the call returns.
        let answer = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, descriptor, signal, std::ptr::from_ref(&info), 0_u32)
        };
        Errno::result(answer).map(drop)
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<PidFd> for OwnedFd {
    fn from(process: PidFd) -> Self {
        process.0
    }
}

/// Asks the kernel to send this process a signal when the thread that started it ends: `prctl(2)`, `PR_SET_PDEATHSIG`.
pub(crate) fn set_parent_death_signal(signal: libc::c_int) -> Result<(), Errno> {
    let signal = libc::c_ulong::from(signal.unsigned_abs());
    // JUSTIFICATION: nix's wrapper takes signals with names only, and real-time ones have none.
    // SAFETY: the call takes numbers only.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0_u64, 0_u64, 0_u64) }).map(drop)
}

/// Makes a terminal that is a standard stream the controlling one of the session that this process leads: `TIOCSCTTY` of
/// `ioctl_tty(2)`.
pub(crate) fn take_terminal(stream: RawFd) -> Result<(), Errno> {
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the request takes a number, and touches no memory.
    Errno::result(unsafe { libc::ioctl(stream, libc::TIOCSCTTY as _, 0) }).map(drop)
}

/// Waits for the end of a child that was killed.
pub(crate) fn collect(pid: Pid) {
    // JUSTIFICATION: as above.
    // SAFETY: a null pointer for the status is allowed; no memory is touched.
    while Errno::result(unsafe { libc::waitpid(pid.as_raw(), std::ptr::null_mut(), 0) }) == Err(Errno::EINTR)
    {
    }
}

/// A signal that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// Its number: there are more than have names.
    pub(crate) signal: libc::c_int,
    /// Whether the kernel sent it by itself, which for a signal that a person causes means the terminal.
    pub(crate) from_kernel: bool,
    /// The process that sent it, where one did that has a number in our PID namespace.
    pub(crate) sender: Option<Pid>,
    /// What was sent with it.
    pub(crate) value: libc::c_int,
}

/// Waits for the next of these signals, which have to be blocked: `sigwaitinfo(2)`.
pub(crate) fn next_signal(signals: &SigSet) -> Result<Received, Errno> {
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    loop {
        // JUSTIFICATION: nix's wrapper does not tell who sent the signal.
        // SAFETY: both pointers are to values that live until the call returns.
        let answer = unsafe { libc::sigwaitinfo(signals.as_ref(), info.as_mut_ptr()) };
        match Errno::result(answer) {
            Ok(signal) => {
                // JUSTIFICATION: the structure is plain numbers.
                // SAFETY: it was zeroed, which is a valid value of it, and then filled by the kernel.
                let info = unsafe { info.assume_init() };
                let sent = info.si_code <= 0;
                // JUSTIFICATION: the field is a part of a union.
                // SAFETY: whatever the member that was filled, these bytes are plain numbers; they are the sender's where
                // a process has sent the signal.
                let sender = unsafe { info.si_pid() };
                // JUSTIFICATION: as above.
                // SAFETY: as above.
                let value = unsafe { info.si_value() };
                return Ok(Received {
                    signal,
                    from_kernel: info.si_code == libc::SI_KERNEL,
                    sender: (sent && sender != 0).then(|| Pid::from_raw(sender)),
                    value: number_in(value),
                });
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// A number as it travels with a signal: in the lower half of what can be a pointer.
fn value_of(number: libc::c_int) -> libc::sigval {
    libc::sigval { sival_ptr: std::ptr::without_provenance_mut(number.unsigned_abs() as usize) }
}

fn number_in(value: libc::sigval) -> libc::c_int {
    libc::c_int::try_from(value.sival_ptr.addr() & 0x7fff_ffff).unwrap_or(0)
}

/// Sends a signal and a number with it: `sigqueue(3)`.
pub(crate) fn queue(pid: Pid, signal: libc::c_int, number: libc::c_int) -> Result<(), Errno> {
    // JUSTIFICATION: nix has it for signals with names only.
    // SAFETY: the call takes numbers only; the value is none of our memory.
    Errno::result(unsafe { libc::sigqueue(pid.as_raw(), signal, value_of(number)) }).map(drop)
}

/// Sends a signal by its number: `kill(2)`.
pub(crate) fn kill(pid: Pid, signal: libc::c_int) -> Result<(), Errno> {
    // JUSTIFICATION: nix's wrapper takes signals with names only, and real-time ones have none.
    // SAFETY: the call takes numbers only.
    Errno::result(unsafe { libc::kill(pid.as_raw(), signal) }).map(drop)
}

/// Ends this process by a signal, as a program would end that nobody stands in for. No second core is dumped.
pub(crate) fn end_by_signal(signal: libc::c_int, otherwise: i32) -> ! {
    let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // JUSTIFICATION: nix is used without its feature for limits.
    // SAFETY: the kernel reads one structure, which lives until the call returns.
    let limited = unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core) };
    // Where it failed, there is one core more than needed.
    if let Err(_unlimited) = Errno::result(limited) {}
    // JUSTIFICATION: nix's wrapper takes signals with names only.
    // SAFETY: SIG_DFL is no handler, so that no code of ours runs in a signal's context.
    let default = unsafe { libc::signal(signal, libc::SIG_DFL) } != libc::SIG_ERR;
    // Nobody can change what SIGKILL does.
    if (default || signal == libc::SIGKILL)
        && pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).is_ok()
        && kill(nix::unistd::getpid(), signal).is_ok()
    {
        // It has ended by now, but for a signal that ends nobody.
    }
    exit_now(otherwise)
}

/// Hides this process's memory, environment and descriptors from every process without privileges over it:
/// `prctl(2)`, `PR_SET_DUMPABLE`.
pub(crate) fn set_undumpable() -> Result<(), Errno> {
    nix::sys::prctl::set_dumpable(false)
}

/// Brings up the loopback device of this network namespace: `netdevice(7)`, `SIOCSIFFLAGS`.
pub(crate) fn loopback_up() -> Result<(), Errno> {
    let control: OwnedFd = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    /// `struct ifreq` as this request uses it; its size is that of the kernel's.
    #[repr(C)]
    struct Request {
        name: [u8; libc::IFNAMSIZ],
        flags: libc::c_short,
        rest: [u8; 22],
    }
    const _: () =
        assert!(size_of::<Request>() == size_of::<libc::ifreq>(), "the kernel reads this many bytes");
    let mut request = Request { name: [0; libc::IFNAMSIZ], flags: 1, rest: [0; 22] };
    request.name[..2].copy_from_slice(b"lo");
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the kernel reads and writes one structure of this size, which lives until the call returns.
    let answer = unsafe { libc::ioctl(control.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut request) };
    Errno::result(answer).map(drop)
}

/// The signal by which a process is told of a child's end, or stop.
pub(crate) const CHILD_ENDED: libc::c_int = Signal::SIGCHLD as libc::c_int;
