//! What something is, apart from its names: `statx(2)`.

use std::ffi::CString;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;

/// Only what never changes, so that no file system has to ask anybody for it.
const MASK: libc::c_uint = libc::STATX_INO | libc::STATX_MNT_ID;

/// A file, and the mount that it was found on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The mount's number: nobody else's, as long as something on it is open.
    pub(crate) mount: u64,
    device: (u32, u32),
    inode: u64,
}

/// Of what is open.
pub(crate) fn identity(open: BorrowedFd<'_>) -> Result<Identity, Errno> {
    ask(open.as_raw_fd(), Path::new(""), libc::AT_EMPTY_PATH)
}

/// Of what a path leads to, links followed.
pub(crate) fn identity_of(path: &Path) -> Result<Identity, Errno> {
    ask(libc::AT_FDCWD, path, 0)
}

/// `ENOSYS` where the kernel does not tell the mount, as before Linux 5.8.
fn ask(directory: RawFd, path: &Path, flags: libc::c_int) -> Result<Identity, Errno> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_nul| Errno::EINVAL)?;
    let mut answer = std::mem::MaybeUninit::<libc::statx>::zeroed();
    let flags = flags | libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT;
    // JUSTIFICATION: nix has no wrapper.
    // SAFETY: the path is a C string, and the answer a structure of the size that the kernel writes; both live until the call
    // returns.
    let returned = unsafe { libc::statx(directory, path.as_ptr(), flags, MASK, answer.as_mut_ptr()) };
    Errno::result(returned)?;
    // JUSTIFICATION: the structure is plain numbers.
    // SAFETY: it was zeroed, which is a valid value of it, and then filled by the kernel.
    let answer = unsafe { answer.assume_init() };
    if answer.stx_mask & MASK != MASK {
        return Err(Errno::ENOSYS);
    }
    Ok(Identity {
        mount: answer.stx_mnt_id,
        device: (answer.stx_dev_major, answer.stx_dev_minor),
        inode: answer.stx_ino,
    })
}
