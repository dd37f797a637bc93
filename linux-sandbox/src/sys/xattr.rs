//! Extended attributes (`xattr(7)`), by a path that leads to what is open.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use nix::errno::Errno;

/// No value is larger (`XATTR_SIZE_MAX` of `linux/limits.h`), nor is the list of all names (`XATTR_LIST_MAX`).
const LARGEST: usize = 64 * 1024;

/// The names of what has some. `place` may be open as a mere place.
pub(crate) fn list(place: BorrowedFd<'_>) -> Result<Vec<CString>, Errno> {
    let (path, mut names) = (path_of(place)?, vec![0_u8; LARGEST]);
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: the path is a C string that outlives the call; the kernel writes no more than the length of the buffer.
    let length = unsafe { libc::listxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    names.truncate(length_of(length)?);
    Ok(names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .filter_map(|name| CString::new(name).ok())
        .collect())
}

/// The value of a name.
pub(crate) fn get(place: BorrowedFd<'_>, name: &CStr) -> Result<Vec<u8>, Errno> {
    let (path, mut value) = (path_of(place)?, vec![0_u8; LARGEST]);
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: path and name are C strings that outlive the call; the kernel writes no more than the length of the buffer.
    let length =
        unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    value.truncate(length_of(length)?);
    Ok(value)
}

/// Gives a name a value.
pub(crate) fn set(place: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    let path = path_of(place)?;
    // JUSTIFICATION: no wrapper exists.
    // SAFETY: path and name are C strings that outlive the call; the kernel reads as many bytes as there are.
    let answer =
        unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(answer).map(drop)
}

fn length_of(answer: isize) -> Result<usize, Errno> {
    usize::try_from(Errno::result(answer)?).map_err(|_negative| Errno::EIO)
}

/// The calls on descriptors take none that is open as a mere place.
fn path_of(place: BorrowedFd<'_>) -> Result<CString, Errno> {
    CString::new(format!("/proc/self/fd/{}", place.as_raw_fd())).map_err(|_nul| Errno::EINVAL)
}
