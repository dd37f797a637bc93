//! A file system in memory, of the sandbox's own: one for everything that is put somewhere, since making and ending one
//! takes longer than the mounts of its directories.

use std::ffi::{CStr, CString};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, fchmod, mkdirat};

use super::{failed, put};
use crate::error::{SetupError, Step};
use crate::sys::{self, MountAttributes};

/// How much of the machine's memory it may take, as `tmpfs(5)` has it.
const SHARE_OF_MEMORY: &CStr = c"25%";
/// Where it is mounted while what it holds is put in place. A new `/proc` covers it in the end.
const PLACE: &str = "/proc";

/// Everybody may make files, and remove their own.
pub(super) const EVERYBODY: Mode =
    Mode::S_ISVTX.union(Mode::S_IRWXU).union(Mode::S_IRWXG).union(Mode::S_IRWXO);

/// The file system.
pub(super) struct Memory(OwnedFd);

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Memory {
    /// Makes it.
    pub(super) fn make() -> Result<Self, SetupError> {
        let options = [(c"mode", c"0700"), (c"size", SHARE_OF_MEMORY)];
        let attributes = MountAttributes::NO_SET_USER_ID.and(MountAttributes::NO_DEVICES);
        let mount = sys::new_file_system(c"tmpfs", &options, attributes)
            .map_err(|(call, errno)| SetupError::call(Step::Mounts, call, errno).on("tmpfs"))?;
        // Only what is mounted somewhere can be mounted a second time.
        put(PLACE, &mount)?;
        Ok(Self(mount))
    }

    /// Bounds what it may hold.
    pub(super) fn limit(&self, bytes: NonZeroU64) -> Result<(), SetupError> {
        let failed = |call, errno| SetupError::call(Step::Limits, call, errno).on("/dev/shm");
        let size = CString::new(bytes.to_string()).map_err(|_nul| failed("fsconfig", Errno::EINVAL))?;
        sys::reconfigure_file_system(self.0.as_fd(), c"size", &size)
            .map_err(|(call, errno)| failed(call, errno))
    }

    /// A directory of it, as a mount of its own that is attached nowhere, and the directory.
    pub(super) fn directory(&self, name: &str, mode: Mode) -> Result<OwnedFd, SetupError> {
        mkdirat(&self.0, name, Mode::S_IRWXU).map_err(failed("mkdirat", name))?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let directory = openat(&self.0, name, flags, Mode::empty()).map_err(failed("openat", name))?;
        // Past the process's umask.
        fchmod(&directory, mode).map_err(failed("fchmod", name))?;
        self.mount(&directory, name)
    }

    /// An empty file of it that nobody may open, as a mount of its own that is attached nowhere.
    pub(super) fn file(&self, name: &str) -> Result<OwnedFd, SetupError> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let file = openat(&self.0, name, flags, Mode::empty()).map_err(failed("openat", name))?;
        self.mount(&file, name)
    }

    /// The same once more, for what was made before.
    pub(super) fn again(&self, name: &str) -> Result<OwnedFd, SetupError> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let place = openat(&self.0, name, flags, Mode::empty()).map_err(failed("openat", name))?;
        self.mount(&place, name)
    }

    fn mount(&self, place: &OwnedFd, name: &str) -> Result<OwnedFd, SetupError> {
        sys::clone_mount(place.as_fd(), false).map_err(|errno: Errno| failed("open_tree", name)(errno))
    }
}
