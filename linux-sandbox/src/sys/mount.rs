//! The mount calls that take descriptors instead of paths (Linux 5.2; `mount_setattr` 5.12).

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;

/// `MOUNT_ATTR_*` of `linux/mount.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MountAttributes(u64);

impl MountAttributes {
    pub(crate) const READ_ONLY: Self = Self(libc::MOUNT_ATTR_RDONLY);
    pub(crate) const NO_SET_USER_ID: Self = Self(libc::MOUNT_ATTR_NOSUID);
    pub(crate) const NO_DEVICES: Self = Self(libc::MOUNT_ATTR_NODEV);
    pub(crate) const NO_PROGRAMS: Self = Self(libc::MOUNT_ATTR_NOEXEC);

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

const AT_RECURSIVE: libc::c_uint = 0x8000;
const OPEN_TREE_CLONE: libc::c_uint = 1;
const OPEN_TREE_CLOEXEC: libc::c_uint = libc::O_CLOEXEC.unsigned_abs();
const AT_EMPTY_PATH: libc::c_uint = libc::AT_EMPTY_PATH.unsigned_abs();
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_FLAG: libc::c_uint = 0;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const FSCONFIG_CMD_RECONFIGURE: libc::c_uint = 7;
const FSPICK_CLOEXEC: libc::c_uint = 1;
const FSPICK_EMPTY_PATH: libc::c_uint = 8;
const EMPTY: &CStr = c"";

fn descriptor(answer: libc::c_long) -> Result<OwnedFd, Errno> {
    let number = RawFd::try_from(Errno::result(answer)?).map_err(|_beyond| Errno::EBADF)?;
    // JUSTIFICATION: the descriptor has to be closed by somebody.
    // SAFETY: the kernel has just opened it for us, so that nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A second mount of the same tree, attached nowhere: `open_tree(2)` with `OPEN_TREE_CLONE`. With everything mounted
/// below it, where that is asked for.
pub(crate) fn clone_mount(place: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Errno> {
    let depth = if recursive { AT_RECURSIVE } else { 0 };
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | depth;
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the path is a C string that lives for ever; the kernel writes no memory.
    descriptor(unsafe { libc::syscall(libc::SYS_open_tree, place.as_raw_fd(), EMPTY.as_ptr(), flags) })
}

/// The same of what a path leads to.
pub(crate) fn clone_mount_of(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
    let path = c_string(path)?;
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the path is a C string that outlives the call; the kernel writes no memory.
    descriptor(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
}

/// Attaches a mount that is attached nowhere, on top of a directory or file: `move_mount(2)`.
pub(crate) fn attach_mount(mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Result<(), Errno> {
    attach(mount, place, EMPTY, MOVE_MOUNT_T_EMPTY_PATH)
}

/// Attaches a mount that is attached nowhere, on top of what a directory has under a name. A link is not followed.
pub(crate) fn attach_mount_in(
    mount: BorrowedFd<'_>,
    directory: BorrowedFd<'_>,
    name: &str,
) -> Result<(), Errno> {
    attach(mount, directory, &c_string(Path::new(name))?, 0)
}

fn attach(
    mount: BorrowedFd<'_>,
    place: BorrowedFd<'_>,
    path: &CStr,
    flags: libc::c_uint,
) -> Result<(), Errno> {
    let (mount, place, flags) = (mount.as_raw_fd(), place.as_raw_fd(), flags | MOVE_MOUNT_F_EMPTY_PATH);
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: both paths are C strings that outlive the call; the kernel writes no memory.
    let answer =
        unsafe { libc::syscall(libc::SYS_move_mount, mount, EMPTY.as_ptr(), place, path.as_ptr(), flags) };
    Errno::result(answer).map(drop)
}

fn c_string(path: &Path) -> Result<CString, Errno> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_nul| Errno::EINVAL)
}

/// `struct mount_attr` of `linux/mount.h`, as Linux 5.12 has it.
#[repr(C)]
struct KernelMountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Adds attributes to a mount: `mount_setattr(2)`. Recursively, the kernel changes all mounts below it or none, and
/// looks at no file system: nothing is triggered and no server is asked.
pub(crate) fn set_mount_attributes(
    mount: BorrowedFd<'_>,
    attributes: MountAttributes,
    recursive: bool,
) -> Result<(), Errno> {
    change_mounts(mount, attributes.0, 0, 0, recursive)
}

/// Cuts a mount and all below it off from mounts and unmounts elsewhere: `mount_setattr(2)` with `MS_PRIVATE`.
pub(crate) fn set_mounts_private(mount: BorrowedFd<'_>) -> Result<(), Errno> {
    change_mounts(mount, 0, 0, libc::MS_PRIVATE, true)
}

/// Lets a mount be written again: `mount_setattr(2)`.
pub(crate) fn set_mount_writable(mount: BorrowedFd<'_>) -> Result<(), Errno> {
    change_mounts(mount, 0, MountAttributes::READ_ONLY.0, 0, false)
}

fn change_mounts(
    mount: BorrowedFd<'_>,
    set: u64,
    clear: u64,
    propagation: u64,
    recursive: bool,
) -> Result<(), Errno> {
    let change = KernelMountAttributes { set, clear, propagation, user_namespace: 0 };
    let flags = AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the kernel reads the structure, whose layout and size are those of its header, and writes no memory.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            EMPTY.as_ptr(),
            flags,
            std::ptr::from_ref(&change),
            size_of::<KernelMountAttributes>(),
        )
    };
    Errno::result(answer).map(drop)
}

/// A new file system, mounted nowhere: `fsopen(2)`, `fsconfig(2)`, `fsmount(2)`. The error names the call.
pub(crate) fn new_file_system(
    kind: &CStr,
    options: &[(&CStr, &CStr)],
    attributes: MountAttributes,
) -> Result<OwnedFd, (&'static str, Errno)> {
    new_file_system_with(kind, options, &[], attributes)
}

/// The same, with options that have no value.
pub(crate) fn new_file_system_with(
    kind: &CStr,
    options: &[(&CStr, &CStr)],
    flags: &[&CStr],
    attributes: MountAttributes,
) -> Result<OwnedFd, (&'static str, Errno)> {
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the name is a C string that outlives the call.
    let context = descriptor(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })
        .map_err(|errno| ("fsopen", errno))?;
    for (key, value) in options {
        configure(&context, FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())?;
    }
    for flag in flags {
        configure(&context, FSCONFIG_SET_FLAG, flag.as_ptr(), std::ptr::null())?;
    }
    configure(&context, FSCONFIG_CMD_CREATE, std::ptr::null(), std::ptr::null())?;
    // JUSTIFICATION: as above.
    // SAFETY: the call takes numbers only.
    let mount =
        unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, attributes.0) };
    descriptor(mount).map_err(|errno| ("fsmount", errno))
}

/// Changes an option of a file system that is mounted: `fspick(2)`, `fsconfig(2)`. The error names the call.
pub(crate) fn reconfigure_file_system(
    mount: BorrowedFd<'_>,
    key: &CStr,
    value: &CStr,
) -> Result<(), (&'static str, Errno)> {
    let flags = FSPICK_CLOEXEC | FSPICK_EMPTY_PATH;
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the path is a C string that lives for ever; the kernel writes no memory.
    let context =
        descriptor(unsafe { libc::syscall(libc::SYS_fspick, mount.as_raw_fd(), EMPTY.as_ptr(), flags) })
            .map_err(|errno| ("fspick", errno))?;
    configure(&context, FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())?;
    configure(&context, FSCONFIG_CMD_RECONFIGURE, std::ptr::null(), std::ptr::null())
}

/// One step of `fsconfig(2)`. Both pointers are null or C strings that outlive the call.
fn configure(
    context: &OwnedFd,
    command: libc::c_uint,
    key: *const libc::c_char,
    value: *const libc::c_char,
) -> Result<(), (&'static str, Errno)> {
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the caller's pointers are null or C strings, as each command asks for; the kernel only reads them.
    let answer = unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key, value, 0) };
    Errno::result(answer).map(drop).map_err(|errno| ("fsconfig", errno))
}
