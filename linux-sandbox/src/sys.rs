//! The system calls that neither the standard library nor nix wraps, each behind a safe function.
//!
//! `unsafe` stands here and in the files below, nowhere else in the crate. Every block says why it is needed
//! (JUSTIFICATION) and why it is sound (SAFETY).

#![expect(unsafe_code, reason = "raw system calls and descriptors from numbers stand here, and nowhere else")]

mod identity;
mod mount;
mod notify;
mod pass;
mod process;
pub(crate) mod trace;
pub(crate) mod xattr;

pub(crate) use identity::{Identity, identity, identity_of};
pub(crate) use mount::{
    MountAttributes, attach_mount, attach_mount_in, clone_mount, clone_mount_of, new_file_system,
    new_file_system_with, reconfigure_file_system, set_mount_attributes, set_mount_writable,
    set_mounts_private,
};
pub(crate) use notify::{
    Notification, answer_call, be_interruptible, bind_to, connect_to, file_of_socket, hold_thread,
    install_listening_filter, interrupt_thread, let_call_go_on, network_of_socket, notifications_available,
    prepare_interrupts, receive, socket_family, still_waits, take_from, wake_in_place,
};
pub(crate) use pass::receive_descriptors;
pub(crate) use process::{
    CHILD_ENDED, Change, Received, clone_process, collect, end_by_signal, kill, loopback_up, next_signal,
    queue, reap, run_vforked, set_parent_death_signal, set_undumpable, take_terminal, unshare,
};
pub use process::{Ending, PidFd};

use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;

/// The first descriptor that a service manager passes.
const FIRST_PASSED: RawFd = 3;

/// The Landlock ABI of the running kernel: `landlock_create_ruleset(2)` with `LANDLOCK_CREATE_RULESET_VERSION`
/// (Linux 5.13).
///
/// `ENOSYS` where the kernel was built without Landlock, `EOPNOTSUPP` where it was disabled at boot.
pub(crate) fn landlock_abi() -> Result<i64, Errno> {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    // JUSTIFICATION: the landlock crate keeps the kernel's ABI to itself on purpose; a report needs the number.
    // SAFETY: with this flag the kernel requires a null attribute and size 0, reads no memory and returns a number.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    Errno::result(abi)
}

/// Whether the kernel knows an action of seccomp filters: `seccomp(2)` with `SECCOMP_GET_ACTION_AVAIL` (Linux 4.14).
pub(crate) fn seccomp_action_available(action: u32) -> Result<(), Errno> {
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the kernel reads four bytes at the address of `action`, which lives until the call returns.
    let answer = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0_u32, std::ptr::from_ref(&action))
    };
    Errno::result(answer).map(drop)
}

/// Marks every descriptor from `first` on to be closed when a program is executed: `close_range(2)` with
/// `CLOSE_RANGE_CLOEXEC` (Linux 5.11).
pub(crate) fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the flag only sets close-on-exec; no descriptor is closed, so none that Rust owns becomes invalid.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    Errno::result(answer).map(drop)
}

/// Takes over a descriptor that was named by number in the arguments, and marks it to be closed on exec.
pub(crate) fn take_descriptor(number: RawFd) -> Result<OwnedFd, Errno> {
    // JUSTIFICATION: a number from the arguments is all that a fresh process knows of what its parent passed.
    // SAFETY: fcntl(F_SETFD) takes any number and answers EBADF where it names nothing open.
    Errno::result(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // JUSTIFICATION: as above.
    // SAFETY: it is open, as the call above has shown, and nobody else in this process owns it: the helper takes
    // descriptors over once, before it opens any of its own, and numbers below 3 are refused by the decoder.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Takes over so many sockets that listen, from descriptor 3 on, which whoever has started this process has passed to it; they
/// are closed on exec from then on. Once: afterwards, there are none.
///
/// # Errors
///
/// `EALREADY` the second time, `EBADF` or `ENOTSOCK` where there is no socket, `EINVAL` where one does not listen. Nothing is taken
/// over then.
pub fn take_listeners(count: u32) -> Result<Vec<OwnedFd>, Errno> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(Errno::EALREADY);
    }
    let count = RawFd::try_from(count).map_err(|_huge| Errno::EBADF)?;
    let numbers = FIRST_PASSED..FIRST_PASSED.saturating_add(count);
    for number in numbers.clone() {
        let mut listens: libc::c_int = 0;
        let mut length = libc::socklen_t::try_from(size_of::<libc::c_int>()).map_err(|_| Errno::EINVAL)?;
        // JUSTIFICATION: nix asks descriptors that somebody owns; this is about whether one is to be owned.
        // SAFETY: getsockopt(2) takes any number and answers EBADF where it names nothing open; it writes to one integer, of
        // the length that it is told, and to the length.
        Errno::result(unsafe {
            libc::getsockopt(
                number,
                libc::SOL_SOCKET,
                libc::SO_ACCEPTCONN,
                (&raw mut listens).cast(),
                &raw mut length,
            )
        })?;
        if listens == 0 {
            return Err(Errno::EINVAL);
        }
    }
    // Each is open and a socket that listens. Nothing in this process opens one before this, and nobody takes one twice.
    numbers.map(take_descriptor).collect()
}

/// A standard stream of the command's for questions about it, if it is open. What is open under its number and will be closed for
/// the command is ours.
pub(crate) fn standard_stream(number: RawFd) -> Option<BorrowedFd<'static>> {
    if !(0..=2).contains(&number) {
        return None;
    }
    // JUSTIFICATION: std's handles assert that the stream is open, which a caller may have closed.
    // SAFETY: fcntl(F_GETFD) takes any number and answers EBADF where it names nothing open.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    let open = flags >= 0 && flags & libc::FD_CLOEXEC == 0;
    // JUSTIFICATION: as above.
    // SAFETY: it is open, and the helper never closes a standard stream, so that it stays open for 'static.
    open.then(|| unsafe { BorrowedFd::borrow_raw(number) })
}

/// The flags of an open descriptor: `fcntl(F_GETFL)`.
pub(crate) fn open_flags(descriptor: BorrowedFd<'_>) -> Result<i32, Errno> {
    // JUSTIFICATION: nix's wrapper drops the bits of flags that it does not know.
    // SAFETY: F_GETFL takes no further argument and touches no memory.
    Errno::result(unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_GETFL) })
}

/// The capability sets of this process, a bit a capability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CapabilitySets {
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3` of `linux/capability.h` (Linux 2.6.26): two words a set.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Reads this thread's capability sets: `capget(2)`.
pub(crate) fn capabilities() -> Result<CapabilitySets, Errno> {
    let mut header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [CapabilityData::default(); 2];
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: both structures have the layout of the kernel's header; version 3 makes the kernel write exactly the two
    // elements of `data`; pid 0 is the caller.
    let answer = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    Errno::result(answer)?;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(CapabilitySets {
        effective: join(data[0].effective, data[1].effective),
        permitted: join(data[0].permitted, data[1].permitted),
        inheritable: join(data[0].inheritable, data[1].inheritable),
    })
}

/// Sets this thread's capability sets: `capset(2)`.
pub(crate) fn set_capabilities(sets: CapabilitySets) -> Result<(), Errno> {
    let mut header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let word = |set: u64, index: u32| u32::try_from(set >> (32 * index) & u64::from(u32::MAX)).unwrap_or(0);
    let data = [0, 1].map(|index| CapabilityData {
        effective: word(sets.effective, index),
        permitted: word(sets.permitted, index),
        inheritable: word(sets.inheritable, index),
    });
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: as in `capabilities`, with the kernel reading `data`.
    let answer = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) };
    Errno::result(answer).map(drop)
}

/// Drops a capability from the bounding set, so that executing a program can't bring it back: `prctl(2)`,
/// `PR_CAPBSET_DROP`. `EINVAL` for a number that this kernel does not know.
pub(crate) fn drop_from_bounding_set(capability: u32) -> Result<(), Errno> {
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the call takes numbers only.
    let answer =
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0_u64, 0_u64, 0_u64) };
    Errno::result(answer).map(drop)
}

/// Empties the ambient set: `prctl(2)`, `PR_CAP_AMBIENT_CLEAR_ALL` (Linux 4.3).
pub(crate) fn clear_ambient_set() -> Result<(), Errno> {
    let clear = libc::c_ulong::from(libc::PR_CAP_AMBIENT_CLEAR_ALL.unsigned_abs());
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the call takes numbers only.
    let answer = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, clear, 0_u64, 0_u64, 0_u64) };
    Errno::result(answer).map(drop)
}

/// Puts a copy of a descriptor in the place of a standard stream: `dup3(2)`.
pub(crate) fn replace_stream(with: &OwnedFd, stream: RawFd) -> Result<(), Errno> {
    // JUSTIFICATION: nix's wrapper takes the place as an owned descriptor, and nobody owns a standard stream.
    // SAFETY: the call takes numbers only, and what becomes of a standard stream surprises nobody in this crate.
    Errno::result(unsafe { libc::dup2(with.as_raw_fd(), stream) }).map(drop)
}

/// Lets go of the standard streams, with something in their places where there is something that takes and gives nothing.
pub(crate) fn let_go_of_streams(null: Option<&OwnedFd>) -> Result<(), Errno> {
    match null {
        Some(null) => (0..=2).try_for_each(|stream| replace_stream(null, stream)),
        None => close_range(0, 2),
    }
}

/// Closes every descriptor from `first` on, but for a few: `close_range(2)` (Linux 5.9). To be called by a process that
/// does not use any of the others again.
pub(crate) fn close_all_but(first: RawFd, keep: &[RawFd]) -> Result<(), Errno> {
    let mut keep = keep.to_vec();
    keep.sort_unstable();
    let mut low = first;
    let ranges = keep.into_iter().map(Some).chain([None]);
    for kept in ranges {
        let high = kept.map_or(RawFd::MAX, |kept| kept - 1);
        if low <= high {
            close_range(low, high)?;
        }
        low = kept.map_or(RawFd::MAX, |kept| kept + 1);
    }
    Ok(())
}

fn close_range(low: RawFd, high: RawFd) -> Result<(), Errno> {
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the callers use none of these descriptors again, and leave the process without dropping their owners.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, low, high, 0) }).map(drop)
}

/// Sets whether this process ignores SIGCHLD, or leaves it alone, and tells what it was: `sigaction(2)`.
pub(crate) fn set_sigchld_ignored(ignored: bool) -> Result<bool, Errno> {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

    let handler = if ignored { SigHandler::SigIgn } else { SigHandler::SigDfl };
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // JUSTIFICATION: the wrapper is unsafe for the sake of handlers.
    // SAFETY: neither of the two dispositions is a handler, so that no code of ours runs in a signal's context.
    let old = unsafe { sigaction(Signal::SIGCHLD, &action) }?;
    Ok(matches!(old.handler(), SigHandler::SigIgn))
}

/// Ends this process at once, without what the C library or Rust would do at an ordinary exit: in a forked child, that
/// is the parent's to do.
pub(crate) fn exit_now(code: i32) -> ! {
    // JUSTIFICATION: the standard library only has the ordinary exit.
    // SAFETY: nothing runs after it, and nothing of this process is left.
    unsafe { libc::_exit(code) }
}

/// Gives signals 32 and 33 back their default disposition. glibc keeps them for itself, and its `posix_spawn(3)` leaves
/// them ignored in the child, which the command would inherit.
pub(crate) fn undo_spawn() -> Result<(), Errno> {
    /// `struct sigaction` as the kernel takes it; all zero is `SIG_DFL` with nothing else.
    #[repr(C)]
    #[derive(Default)]
    struct KernelAction {
        handler: usize,
        flags: libc::c_ulong,
        restorer: usize,
        mask: u64,
    }
    for signal in [32, 33] {
        let action = KernelAction::default();
        let (old, size) = (std::ptr::null_mut::<libc::c_void>(), std::mem::size_of::<u64>());
        // JUSTIFICATION: the C library's wrapper refuses the signals that it keeps.
        // SAFETY: the kernel reads one structure of its own layout, zeroed and alive, and writes nothing. No handler of
        // this single-threaded process stands behind these signals.
        let answer =
            unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, std::ptr::from_ref(&action), old, size) };
        Errno::result(answer)?;
    }
    Ok(())
}

/// Has the threads of this process share so many arenas of the C library's heap at most: `mallopt(3)`, `M_ARENA_MAX`. Threads that come and
/// go are given up to eight for each processor otherwise, and each of them grows to what one alone would hold. Says whether it was
/// done: nothing is wrong where it was not.
///
/// What the user has set (`MALLOC_ARENA_MAX`) stays.
#[cfg(target_env = "gnu")]
#[must_use]
pub fn share_arenas(most: usize) -> bool {
    if std::env::var_os("MALLOC_ARENA_MAX").is_some() {
        return false;
    }
    let Ok(most) = libc::c_int::try_from(most) else { return false };
    // JUSTIFICATION: nobody wraps it.
    // SAFETY: mallopt takes two numbers, and holds the lock of the heap while it keeps them.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, most) == 1 }
}

/// Other C libraries have no arenas to share.
#[cfg(not(target_env = "gnu"))]
#[must_use]
pub const fn share_arenas(_most: usize) -> bool {
    false
}
