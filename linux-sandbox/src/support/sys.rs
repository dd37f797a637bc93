//! The system calls behind the questions about the machine, each behind a safe function.
//!
//! Every block says why it is needed (JUSTIFICATION) and why it is sound (SAFETY).

#![expect(unsafe_code, reason = "raw system calls and fork stand here, and nowhere else below `support`")]

use nix::errno::Errno;
use nix::unistd::ForkResult;

/// Whether the kernel knows a seccomp action: `seccomp(2)` with `SECCOMP_GET_ACTION_AVAIL` (Linux 4.14).
pub(super) fn seccomp_action_available(action: u32) -> Result<(), Errno> {
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the kernel reads four bytes at the address of `action`, which lives until the call returns.
    let answer = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0_u32, std::ptr::from_ref(&action))
    };
    Errno::result(answer).map(drop)
}

/// Forks, and runs `attempt` in the child, which ends with it.
///
/// `attempt` may be called in a copy of a process with several threads, of which it has one: it must not allocate, take
/// a lock or panic.
pub(super) fn fork_for(attempt: impl FnOnce()) -> Result<nix::unistd::Pid, Errno> {
    // JUSTIFICATION: namespaces are entered by a process for itself, and this one is to stay where it is.
    // SAFETY: the child makes plain system calls on values that exist already, as the contract above asks, and never
    // returns into code of the parent.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            attempt();
            crate::sys::exit_now(0)
        }
    }
}

/// Makes every mount of this namespace read-only and cuts it from those outside: `mount_setattr(2)` on `/` with
/// `AT_RECURSIVE` (Linux 5.12). No mount is looked into, so that none is triggered or waited for.
pub(super) fn close_mounts() -> Result<(), Errno> {
    /// `struct mount_attr` of `linux/mount.h`.
    #[repr(C)]
    struct Attributes {
        set: u64,
        clear: u64,
        propagation: u64,
        namespace: u64,
    }
    const MOUNT_ATTR_RDONLY: u64 = 1;
    const AT_RECURSIVE: u32 = 0x8000;
    const MS_PRIVATE: u64 = 1 << 18;
    let attributes = Attributes { set: MOUNT_ATTR_RDONLY, clear: 0, propagation: MS_PRIVATE, namespace: 0 };
    let (path, size) = (c"/".as_ptr(), std::mem::size_of::<Attributes>());
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the path is a constant that ends with NUL; the kernel reads `size` bytes of `attributes`, which has the
    // layout of its own structure, and keeps neither.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path,
            AT_RECURSIVE,
            std::ptr::from_ref(&attributes),
            size,
        )
    };
    Errno::result(answer).map(drop)
}
