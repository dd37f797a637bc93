//! What the caller gave as standard streams.
//!
//! An open file belongs to the mount that it was opened in, and none of those outside is read-only here. From an open
//! directory, `..` and every name lead past what lies on top of the same places here; a file that is only read can have its
//! mode, owner and times changed, and be opened again for writing, and so can `/dev/null`; a terminal can be opened to others.
//! So they are opened again, by their place in the mounts of this namespace. A terminal's place is hidden with the host's
//! `/dev`, and it gets one in the sandbox's own.
//!
//! What has no place here stays as it is, but for a directory: pipes, sockets, files without a name. A file that was
//! opened for writing stays too: it can be written in any case.

use std::io::IsTerminal as _;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlink};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::{Whence, lseek};

use super::terminals::Terminal;
use crate::enforce::walk::Walk;
use crate::error::{SetupError, Step};
use crate::sys;

/// Opens again what could be a way out. To be called when everything is mounted.
pub(super) fn reopen(terminals: &[Terminal]) -> Result<(), SetupError> {
    let failed = |call| move |errno| SetupError::call(Step::Descriptors, call, errno);
    for number in 0..=2 {
        let Some(stream) = sys::standard_stream(number) else { continue };
        let flags = sys::open_flags(stream).map_err(failed("fcntl(F_GETFL)"))?;
        let status = fstat(stream).map_err(failed("fstat"))?;
        let path = || {
            let path = readlink(Path::new(&format!("/proc/self/fd/{number}")));
            path.map(PathBuf::from).map_err(failed("readlink"))
        };
        let reading = flags & libc::O_ACCMODE == libc::O_RDONLY;
        let again = if flags & libc::O_PATH != 0 || is(&status, SFlag::S_IFDIR) {
            Some(directory(&status, flags & libc::O_PATH != 0, &path()?)?)
        } else if is(&status, SFlag::S_IFREG) && reading
            || is(&status, SFlag::S_IFCHR) && !stream.is_terminal()
        {
            file(stream, &status, &path()?, flags)
        } else if stream.is_terminal() {
            terminals
                .iter()
                .find(|terminal| terminal.is(&status))
                .and_then(|terminal| opened(terminal.place(), flags))
        } else {
            None
        };
        if let Some(again) = again {
            sys::replace_stream(&again, number).map_err(failed("dup2"))?;
        }
    }
    Ok(())
}

/// Refuses files and directories: what a view shows of them is something else, and who has them open can change what is
/// there.
pub(super) fn refuse_files() -> Result<(), SetupError> {
    for number in 0..=2 {
        let Some(stream) = sys::standard_stream(number) else { continue };
        let status = fstat(stream).map_err(|errno| SetupError::call(Step::Descriptors, "fstat", errno))?;
        if is(&status, SFlag::S_IFREG) || is(&status, SFlag::S_IFDIR) {
            let why = "a standard stream is a file of the host, which a view would not keep as it is";
            return Err(SetupError::condition(Step::Descriptors, "fstat", why));
        }
    }
    Ok(())
}

/// A directory, or a mere place. One that can't be seen here must not be seen by its descriptor.
fn directory(was: &FileStat, only_a_place: bool, path: &Path) -> Result<OwnedFd, SetupError> {
    let failed = |call| move |errno| SetupError::call(Step::Descriptors, call, errno).on(path);
    let mut walk = Walk::new(Step::Descriptors);
    let found = walk.place(path)?;
    if !is_same(was, &fstat(found).map_err(failed("fstat"))?) {
        let why = "a standard stream is a directory that is not to be seen in the sandbox";
        return Err(SetupError::condition(Step::Descriptors, "openat", why).on(path));
    }
    if only_a_place {
        return found.try_clone_to_owned().map_err(|_full| failed("fcntl")(Errno::EMFILE));
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(found.as_fd(), ".", flags, Mode::empty()).map_err(failed("openat"))
}

/// The same file, opened in the same way, at the same position. Nothing where it has no name here any more, or where it
/// was opened by somebody who may do more than we.
fn file(stream: BorrowedFd<'_>, was: &FileStat, path: &Path, flags: libc::c_int) -> Option<OwnedFd> {
    let mut walk = Walk::new(Step::Descriptors);
    let found = walk.place(path).ok()?;
    if !is_same(was, &fstat(found).ok()?) {
        return None;
    }
    let again = opened(found, flags)?;
    let position = lseek(stream, 0, Whence::SeekCur).ok()?;
    lseek(&again, position, Whence::SeekSet).ok()?;
    Some(again)
}

/// Opens what was found at a place, in the way that a stream was opened.
fn opened(found: BorrowedFd<'_>, flags: libc::c_int) -> Option<OwnedFd> {
    let kept = libc::O_ACCMODE | libc::O_APPEND | libc::O_NONBLOCK | libc::O_LARGEFILE;
    let flags = OFlag::from_bits_retain(flags & kept) | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    // The object that was found, and not what its name has come to mean since.
    let place = format!("/proc/self/fd/{}", found.as_raw_fd());
    open(place.as_str(), flags, Mode::empty()).ok()
}

pub(super) fn is_same(one: &FileStat, other: &FileStat) -> bool {
    (one.st_dev, one.st_ino, one.st_rdev) == (other.st_dev, other.st_ino, other.st_rdev)
}

fn is(status: &FileStat, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits()) == kind
}
