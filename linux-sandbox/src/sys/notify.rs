//! Seccomp notifications (`seccomp_unotify(2)`), and what it takes to act for the process that waits for an answer.

use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, pthread_sigmask, sigaction,
};
use nix::unistd::Pid;

const NEW_LISTENER: libc::c_ulong = 1 << 3;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV` (Linux 5.19): once a call was received, no signal but a deadly one ends the
/// wait for its answer.
const WAIT_KILLABLE_RECEIVED: libc::c_ulong = 1 << 5;
const LISTENING: libc::c_ulong = NEW_LISTENER | WAIT_KILLABLE_RECEIVED;
/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`.
const CONTINUE: u32 = 1;

/// `SECCOMP_IOCTL_NOTIF_*` of `linux/seccomp.h`.
const RECEIVE: u64 = 0xc050_2100;
const SEND: u64 = 0xc018_2101;
const IS_VALID: u64 = 0x4008_2102;
const SET_FLAGS: u64 = 0x4008_2104;
/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`.
const SYNC_WAKE_UP: u64 = 1;
/// `SIOCUNIXFILE` of `linux/un.h`.
const UNIX_FILE: u64 = 0x89e0;
/// `PIDFD_THREAD` of `linux/pidfd.h` (Linux 6.9).
const OF_THREAD: libc::c_int = libc::O_EXCL;
/// `SO_NETNS_COOKIE` of `asm-generic/socket.h` (Linux 5.14).
const NETNS_COOKIE: libc::c_int = 71;

/// Ends a call that a thread of ours waits in. Nobody sends it for anything else, on Linux or off it.
const INTERRUPT: Signal = Signal::SIGSTKFLT;

/// `struct seccomp_notif`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct KernelNotification {
    id: u64,
    pid: u32,
    flags: u32,
    number: i32,
    architecture: u32,
    instruction_pointer: u64,
    arguments: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct KernelResponse {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// A call whose caller waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notification {
    /// By which it is answered.
    pub(crate) id: u64,
    /// The thread that made it.
    pub(crate) caller: Pid,
    /// The number of the call.
    pub(crate) call: i64,
    /// Its arguments.
    pub(crate) arguments: [u64; 6],
}

/// Whether this kernel has notifications as they are needed here, and lets us take what a caller means: the calls answer
/// as they do to nonsense, and not as if there were none of them.
pub(crate) fn notifications_available() -> bool {
    let nothing = std::ptr::null::<libc::c_void>();
    let mut sizes = [0_u16; 3];
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the kernel writes three 16-bit numbers to the array, which lives until the call returns.
    let known =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_NOTIF_SIZES, 0, sizes.as_mut_ptr()) };
    let as_we_know_them = [size_of::<KernelNotification>(), size_of::<KernelResponse>()];
    // JUSTIFICATION: as above.
    // SAFETY: the kernel looks at the flags, then at the filter, which is a null pointer that it refuses to read.
    let flags =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, LISTENING, nothing) };
    let flags = Errno::result(flags);
    // JUSTIFICATION: as above.
    // SAFETY: the call takes numbers only, and -1 names no process.
    let take = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_getfd, -1, 0, 0) });
    let read = nix::sys::uio::process_vm_readv(nix::unistd::getpid(), &mut [], &[]);
    Errno::result(known).is_ok()
        && sizes[..2] == as_we_know_them.map(|size| u16::try_from(size).unwrap_or(0))
        && flags == Err(Errno::EFAULT)
        && take == Err(Errno::EBADF)
        && read == Ok(0)
}

/// Installs a filter in this process alone, and listens to what it asks: `seccomp(2)`.
pub(crate) fn install_listening_filter(program: &[seccompiler::sock_filter]) -> Result<OwnedFd, Errno> {
    #[repr(C)]
    struct Program {
        length: libc::c_ushort,
        instructions: *const seccompiler::sock_filter,
    }
    let length = libc::c_ushort::try_from(program.len()).map_err(|_beyond| Errno::EINVAL)?;
    let program = Program { length, instructions: program.as_ptr() };
    // JUSTIFICATION: the seccompiler crate does not give the listener back.
    // SAFETY: the structure is `struct sock_fprog`, and what it points to has the layout of `struct sock_filter`, as that
    // crate has it; both live until the call returns. The kernel only reads them.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            LISTENING,
            std::ptr::from_ref(&program),
        )
    };
    opened(listener)
}

fn opened(answer: libc::c_long) -> Result<OwnedFd, Errno> {
    let number = RawFd::try_from(Errno::result(answer)?).map_err(|_beyond| Errno::EBADF)?;
    // JUSTIFICATION: the descriptor has to be closed by somebody.
    // SAFETY: the kernel has just opened it for us, so that nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn control<T>(descriptor: BorrowedFd<'_>, request: u64, argument: &mut T) -> Result<libc::c_int, Errno> {
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: each request of this file reads and writes a structure of the size that its number says, which is that of
    // the argument.
    Errno::result(unsafe { libc::ioctl(descriptor.as_raw_fd(), request as _, std::ptr::from_mut(argument)) })
}

/// Lets the kernel run whoever is woken by an answer on the same processor, as it does for a pipe (Linux 6.6).
pub(crate) fn wake_in_place(listener: BorrowedFd<'_>) -> Result<(), Errno> {
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: this request takes a number in the place of a pointer.
    Errno::result(unsafe { libc::ioctl(listener.as_raw_fd(), SET_FLAGS as _, SYNC_WAKE_UP) }).map(drop)
}

/// Takes the next call. `ENOENT` where its caller has ended meanwhile.
pub(crate) fn receive(listener: BorrowedFd<'_>) -> Result<Notification, Errno> {
    let mut received = KernelNotification::default();
    control(listener, RECEIVE, &mut received)?;
    let KernelNotification { id, pid, number, arguments, .. } = received;
    let caller = Pid::from_raw(i32::try_from(pid).map_err(|_beyond| Errno::ESRCH)?);
    Ok(Notification { id, caller, call: number.into(), arguments })
}

/// Whether the caller still waits. What was learned of it before is about nobody else then.
pub(crate) fn still_waits(listener: BorrowedFd<'_>, id: u64) -> bool {
    let mut id = id;
    control(listener, IS_VALID, &mut id).is_ok()
}

/// Answers a call in the kernel's place.
pub(crate) fn answer_call(listener: BorrowedFd<'_>, id: u64, answer: Result<(), Errno>) -> Result<(), Errno> {
    let error = answer.map_or_else(|errno| -(errno as i32), |()| 0);
    control(listener, SEND, &mut KernelResponse { id, value: 0, error, flags: 0 }).map(drop)
}

/// Lets a call go on as if nobody had been asked. Only for one that would be allowed whatever its arguments are: the
/// caller can change what they mean up to the last moment.
pub(crate) fn let_call_go_on(listener: BorrowedFd<'_>, id: u64) -> Result<(), Errno> {
    control(listener, SEND, &mut KernelResponse { id, value: 0, error: 0, flags: CONTINUE }).map(drop)
}

/// A thread by its number, held so that the number can't come to mean another one: `pidfd_open(2)`.
pub(crate) fn hold_thread(thread: Pid) -> Result<OwnedFd, Errno> {
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the call takes numbers only.
    opened(unsafe { libc::syscall(libc::SYS_pidfd_open, thread.as_raw(), OF_THREAD) })
}

/// A copy of a descriptor of another process: `pidfd_getfd(2)`.
pub(crate) fn take_from(process: BorrowedFd<'_>, number: RawFd) -> Result<OwnedFd, Errno> {
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the call takes numbers only.
    opened(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) })
}

/// The file that a unix socket is bound to: `SIOCUNIXFILE` (Linux 4.11). `ENOENT` where there is none. `EPERM` for a socket of
/// a network namespace that we have no power over.
pub(crate) fn file_of_socket(socket: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the request takes no argument; where the descriptor is no unix socket and it means something else, that is
    // handed a null pointer.
    let file = unsafe { libc::ioctl(socket.as_raw_fd(), UNIX_FILE as _, std::ptr::null::<libc::c_void>()) };
    opened(file.into())
}

fn socket_option<T: Default>(socket: BorrowedFd<'_>, option: libc::c_int) -> Result<T, Errno> {
    let mut value = T::default();
    let Ok(mut length) = libc::socklen_t::try_from(size_of::<T>()) else { return Err(Errno::EINVAL) };
    let (number, place) = (socket.as_raw_fd(), std::ptr::from_mut(&mut value).cast());
    // JUSTIFICATION: nix has neither of the two options.
    // SAFETY: the kernel writes at most `length` bytes to the value, a plain number, and the length.
    let answer = unsafe { libc::getsockopt(number, libc::SOL_SOCKET, option, place, &raw mut length) };
    Errno::result(answer).map(|_| value)
}

/// The family of a socket. `ENOTSOCK` for anything else.
pub(crate) fn socket_family(socket: BorrowedFd<'_>) -> Result<libc::c_int, Errno> {
    socket_option(socket, libc::SO_DOMAIN)
}

/// What tells the network namespace of a socket from all others (Linux 5.14).
pub(crate) fn network_of_socket(socket: BorrowedFd<'_>) -> Result<u64, Errno> {
    socket_option(socket, NETNS_COOKIE)
}

/// Connects a socket to an address in the kernel's own form: `connect(2)`.
pub(crate) fn connect_to(socket: BorrowedFd<'_>, address: &[u8]) -> Result<(), Errno> {
    let length = libc::socklen_t::try_from(address.len()).map_err(|_beyond| Errno::EINVAL)?;
    // JUSTIFICATION: nix takes addresses that it understands, and these are for the kernel to understand.
    // SAFETY: the kernel reads so many bytes of the slice, in whatever they are aligned, and checks them itself.
    Errno::result(unsafe { libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), length) }).map(drop)
}

/// Gives a socket an address in the kernel's own form: `bind(2)`.
pub(crate) fn bind_to(socket: BorrowedFd<'_>, address: &[u8]) -> Result<(), Errno> {
    let length = libc::socklen_t::try_from(address.len()).map_err(|_beyond| Errno::EINVAL)?;
    // JUSTIFICATION: as above.
    // SAFETY: as above.
    Errno::result(unsafe { libc::bind(socket.as_raw_fd(), address.as_ptr().cast(), length) }).map(drop)
}

/// Makes it possible to [interrupt] threads that called [`be_interruptible`].
///
/// [interrupt]: interrupt_thread
pub(crate) fn prepare_interrupts() -> Result<(), Errno> {
    extern "C" fn nothing(_signal: libc::c_int) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // JUSTIFICATION: the wrapper is unsafe for the sake of handlers.
    // SAFETY: the handler does nothing; that it is there is what ends a call.
    unsafe { sigaction(INTERRUPT, &action) }.map(drop)
}

/// Lets this thread be interrupted. Another signal reaches it no more than before.
pub(crate) fn be_interruptible() -> Result<(), Errno> {
    pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&SigSet::from(INTERRUPT)), None)
}

/// Makes the call that a thread of this process waits in return `EINTR`.
pub(crate) fn interrupt_thread(thread: Pid) -> Result<(), Errno> {
    let (process, signal) = (nix::unistd::getpid().as_raw(), INTERRUPT as libc::c_int);
    // JUSTIFICATION: the C library's wrapper takes a handle of its own, which a thread can't have before it runs.
    // SAFETY: the call takes numbers only.
    Errno::result(unsafe { libc::syscall(libc::SYS_tgkill, process, thread.as_raw(), signal) }).map(drop)
}
