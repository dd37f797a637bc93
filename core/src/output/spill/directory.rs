//! Where spilled files are, and when they go.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use codex_linux_sandbox::shown;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use super::{SpillFile, SpillStop};

/// What every name ends in.
const SUFFIX: &str = ".out";
/// Younger files stay whatever the sum is: somebody has just been told of them.
const FRESH: Duration = Duration::from_secs(60);

/// A directory that is ours alone.
#[derive(Debug)]
pub struct SpillDirectory {
    descriptor: OwnedFd,
    path: PathBuf,
}

/// Why a directory can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpillDirectoryError {
    /// The kernel refused something.
    #[error("output can't be kept in {path}: {call}: {why} ({errno:?})", path = shown(.path), why = .errno.desc())]
    Refused {
        /// The directory.
        path: PathBuf,
        /// The system call.
        call: &'static str,
        /// Its error.
        errno: Errno,
    },
    /// Others may look or write there.
    #[error(
        "output can't be kept in {path}: others have access to it (owner {owner}, mode {mode:03o}); it has to be ours, \
         with mode 700",
        path = shown(.path)
    )]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Its permissions.
        mode: u32,
    },
}

/// What a sweep leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepLimits {
    /// Files that were written to last longer ago go.
    pub max_age: Duration,
    /// How much all of them may take; the oldest go first. Files of the last minute stay.
    pub max_bytes: u64,
}

impl Default for SweepLimits {
    /// A day, and 4 GiB.
    fn default() -> Self {
        Self { max_age: Duration::from_secs(24 * 60 * 60), max_bytes: 4 * 1024 * 1024 * 1024 }
    }
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files that went.
    pub removed: u64,
    /// Files that stayed, and what they take.
    pub kept: u64,
    /// In bytes.
    pub bytes_kept: u64,
}

struct Found {
    name: CString,
    age: Duration,
    bytes: u64,
}

impl SpillDirectory {
    /// Opens a directory, or makes it with mode 700. Its parent has to be there.
    ///
    /// # Errors
    ///
    /// Where it is a link or no directory, belongs to somebody else, or its mode gives anything to others; and what the
    /// kernel says.
    pub fn open(path: &Path) -> Result<Self, SpillDirectoryError> {
        let refused = |call| move |errno| SpillDirectoryError::Refused { path: path.to_owned(), call, errno };
        match mkdirat(AT_FDCWD, path, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(refused("mkdirat")(errno)),
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let descriptor = openat(AT_FDCWD, path, flags, Mode::empty()).map_err(refused("openat"))?;
        let stat = fstat(&descriptor).map_err(refused("fstat"))?;
        let mode = stat.st_mode & 0o7777;
        if stat.st_uid != geteuid().as_raw() || mode & 0o077 != 0 {
            return Err(SpillDirectoryError::NotPrivate { path: path.to_owned(), owner: stat.st_uid, mode });
        }
        Ok(Self { descriptor, path: path.to_owned() })
    }

    /// Its path, as it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a file to write to, with a name of its own.
    pub(super) fn create(&self) -> Result<(SpillFile, PathBuf), SpillStop> {
        let name = new_name();
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let descriptor = openat(&self.descriptor, name.as_str(), flags, mode)
            .map_err(|errno| SpillStop::Refused { call: "openat", errno })?;
        let file = SpillFile::from(descriptor);
        // A sweep leaves it as long as it is locked. Where a file system has no locks, its age has to do.
        if let Err(error) = file.lock() {
            tracing::debug!(%error, "a spilled file can't be locked");
        }
        Ok((file, self.path.join(name)))
    }

    /// Makes a file without a name, to write to and to read from. It goes with the last descriptor.
    pub(super) fn create_unnamed(&self) -> Result<SpillFile, SpillStop> {
        let (flags, mode) = (OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::S_IRUSR | Mode::S_IWUSR);
        match openat(&self.descriptor, c".", flags | OFlag::O_TMPFILE, mode) {
            Ok(descriptor) => return Ok(SpillFile::from(descriptor)),
            // Of a file system that has no such files.
            Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::ENOENT) => {}
            Err(errno) => return Err(SpillStop::Refused { call: "openat", errno }),
        }
        let (name, flags) = (new_name(), flags | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW);
        let refused = |call| move |errno| SpillStop::Refused { call, errno };
        let descriptor = openat(&self.descriptor, name.as_str(), flags, mode).map_err(refused("openat"))?;
        unlinkat(&self.descriptor, name.as_str(), UnlinkatFlags::NoRemoveDir).map_err(refused("unlinkat"))?;
        Ok(SpillFile::from(descriptor))
    }

    /// Opens a file of this directory to be read.
    pub(in crate::output) fn read(&self, name: &std::ffi::OsStr) -> Result<SpillFile, Errno> {
        if !is_ours(name.as_encoded_bytes()) {
            return Err(Errno::ENOENT);
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let descriptor = openat(&self.descriptor, name, flags, Mode::empty())?;
        if !is_file(&fstat(&descriptor)?) {
            return Err(Errno::EINVAL);
        }
        Ok(SpillFile::from(descriptor))
    }

    /// Removes files that are too old, and the oldest as long as they are too much. Files that are being written to
    /// stay. Any number of processes may sweep at once. Files that are no spills are not touched.
    ///
    /// # Errors
    ///
    /// Where the directory can't be listed. A file that can't be removed counts as kept.
    pub fn sweep(&self, limits: &SweepLimits) -> Result<Swept, Errno> {
        let mut found = self.list()?;
        found.sort_by_key(|file| std::cmp::Reverse(file.age));
        let mut bytes: u64 = found.iter().map(|file| file.bytes).sum();
        let mut swept = Swept::default();
        for file in &found {
            let due = file.age > limits.max_age || bytes > limits.max_bytes && file.age > FRESH;
            if due && self.remove(&file.name) {
                swept.removed += 1;
                bytes -= file.bytes;
            } else {
                swept.kept += 1;
            }
        }
        swept.bytes_kept = bytes;
        Ok(swept)
    }

    fn list(&self) -> Result<Vec<Found>, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut directory = Dir::openat(self.descriptor.as_fd(), c".", flags, Mode::empty())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut found = Vec::new();
        for entry in directory.iter() {
            let entry = entry?;
            let name = entry.file_name();
            if !is_ours(name.to_bytes()) {
                continue;
            }
            // One that another sweep was faster with is gone.
            let Ok(stat) = fstatat(&self.descriptor, name, AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
            if is_file(&stat) {
                let written = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
                found.push(Found {
                    name: name.to_owned(),
                    age: now.saturating_sub(written),
                    bytes: u64::try_from(stat.st_size).unwrap_or(0),
                });
            }
        }
        Ok(found)
    }

    /// Whether it is gone now. A name is never used twice, so that between looking and removing it is the same file.
    fn remove(&self, name: &CStr) -> bool {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let removed = match openat(&self.descriptor, name, flags, Mode::empty()).map(SpillFile::from) {
            Ok(file) => match file.try_lock() {
                Err(std::fs::TryLockError::WouldBlock) => return false,
                Ok(()) | Err(std::fs::TryLockError::Error(_)) => {
                    unlinkat(&self.descriptor, name, UnlinkatFlags::NoRemoveDir)
                }
            },
            Err(errno) => Err(errno),
        };
        matches!(removed, Ok(()) | Err(Errno::ENOENT))
    }
}

/// A name that nobody had before.
fn new_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{micros}-{}-{number}{SUFFIX}", std::process::id())
}

fn is_file(stat: &FileStat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFREG
}

/// Digits and dashes, and our suffix.
fn is_ours(name: &[u8]) -> bool {
    name.strip_suffix(SUFFIX.as_bytes()).is_some_and(|stem| {
        !stem.is_empty() && stem.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-')
    })
}
