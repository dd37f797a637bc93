//! Directories that the caller gave as standard streams.
//!
//! An open directory is a way into the mounts that it was opened in: from there, `..` and every name lead past what lies
//! on top of the same places here, where nothing is read-only and nothing hidden. So it is opened again, here.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlink};
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::enforce::walk::Walk;
use crate::error::{SetupError, Step};
use crate::sys;

/// Opens again what could be a way out. To be called when everything is mounted.
pub(super) fn reopen() -> Result<(), SetupError> {
    let failed = |call| move |errno| SetupError::call(Step::Descriptors, call, errno);
    for number in 0..=2 {
        let Some(stream) = sys::standard_stream(number) else { continue };
        let only_a_place = sys::open_flags(stream).map_err(failed("fcntl(F_GETFL)"))? & libc::O_PATH != 0;
        if !only_a_place && !is_directory(stream).map_err(failed("fstat"))? {
            continue;
        }
        let path = readlink(Path::new(&format!("/proc/self/fd/{number}"))).map_err(failed("readlink"))?;
        let again = again(stream, only_a_place, PathBuf::from(path))?;
        sys::replace_stream(&again, number).map_err(failed("dup2"))?;
    }
    Ok(())
}

fn again(stream: BorrowedFd<'_>, only_a_place: bool, path: PathBuf) -> Result<OwnedFd, SetupError> {
    let failed = |call| {
        let path = path.clone();
        move |errno| SetupError::call(Step::Descriptors, call, errno).on(path)
    };
    let mut walk = Walk::new(Step::Descriptors);
    let found = walk.place(&path)?;
    let (was, is) = (fstat(stream).map_err(failed("fstat"))?, fstat(found).map_err(failed("fstat"))?);
    if (was.st_dev, was.st_ino) != (is.st_dev, is.st_ino) {
        return Err(SetupError::condition(
            Step::Descriptors,
            "openat",
            "a standard stream is a directory that is not to be seen in the sandbox",
        )
        .on(&path));
    }
    if only_a_place {
        return found.try_clone_to_owned().map_err(|_full| failed("fcntl")(Errno::EMFILE));
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(found.as_fd(), ".", flags, Mode::empty()).map_err(failed("openat"))
}

fn is_directory(stream: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mode = fstat(stream)?.st_mode;
    Ok(SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR)
}
