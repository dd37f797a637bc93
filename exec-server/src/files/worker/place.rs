//! Paths, opened one name after the other.
//!
//! Links are read and followed here, and not by the kernel: so they are counted, refused where that is asked for, and those of
//! `/proc` that lead past every path (`/proc/self/root`, `/proc/PID/fd/3`) are only the text that they show.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open, openat, readlink, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

/// As many links as the kernel follows.
const MOST_LINKS: u32 = 40;
/// To lead on and to be looked at, and for nothing else: nobody notices.
const LOOK: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Which links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follow {
    /// All.
    All,
    /// Those on the way, but not the last name.
    Way,
    /// None.
    Nothing,
}

impl Follow {
    pub(super) const fn all(follow: bool) -> Self {
        if follow { Self::All } else { Self::Nothing }
    }

    /// For what is done with a name and not with what it leads to.
    pub(super) const fn way(follow: bool) -> Self {
        if follow { Self::Way } else { Self::Nothing }
    }
}

/// What a path leads to.
#[derive(Debug)]
pub(super) struct Place {
    /// The directory, and the name in it. A path that ends in `/` or `..` has none.
    pub(super) name: Option<(OwnedFd, OsString)>,
    /// What is there.
    pub(super) there: Option<There>,
}

/// Something that exists, held.
#[derive(Debug)]
pub(super) struct There {
    pub(super) handle: OwnedFd,
    pub(super) status: FileStat,
}

impl There {
    pub(super) fn of(handle: OwnedFd) -> Result<Self, Errno> {
        let status = fstat(&handle)?;
        Ok(Self { handle, status })
    }

    pub(super) const fn kind(&self) -> SFlag {
        kind(&self.status)
    }

    pub(super) fn is_directory(&self) -> bool {
        self.kind() == SFlag::S_IFDIR
    }

    pub(super) fn is_link(&self) -> bool {
        self.kind() == SFlag::S_IFLNK
    }

    /// What lies over a place that may not be read lets nobody do anything, not even root, whom modes do not bind.
    pub(super) const fn is_for_somebody(&self) -> Result<(), Errno> {
        if self.status.st_mode & 0o777 == 0 { Err(Errno::EACCES) } else { Ok(()) }
    }

    /// Opens the very same file anew.
    pub(super) fn reopen(&self, flags: OFlag) -> Result<File, Errno> {
        self.is_for_somebody()?;
        let path = format!("/proc/self/fd/{}", self.handle.as_raw_fd());
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
        open(path.as_str(), flags, Mode::empty()).map(File::from)
    }
}

/// The path by which the kernel knows what is open.
pub(super) fn path_of(handle: BorrowedFd<'_>) -> Option<PathBuf> {
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    readlink(path.as_str()).map(PathBuf::from).ok().filter(|path| path.is_absolute())
}

pub(super) const fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits())
}

/// The device and the number of a file: the same for all names that it has.
pub(super) const fn identity(status: &FileStat) -> (u64, u64) {
    (status.st_dev, status.st_ino)
}

/// Looks at a name in a directory, without following it.
pub(super) fn look(directory: BorrowedFd<'_>, name: &OsStr) -> Result<There, Errno> {
    There::of(openat(directory, name, LOOK, Mode::empty())?)
}

/// Opens a directory to read its names.
pub(super) fn names(directory: &There) -> Result<nix::dir::Dir, Errno> {
    let file = directory.reopen(OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    nix::dir::Dir::from_fd(file.into())
}

/// A name that stands for something in the directory.
pub(super) fn name_of(entry: &nix::dir::Entry) -> Option<OsString> {
    let name = OsStr::from_bytes(entry.file_name().to_bytes());
    (name != "." && name != "..").then(|| name.to_owned())
}

/// Where a link leads, in words.
pub(super) fn target(link: &There) -> Result<PathBuf, Errno> {
    readlinkat(&link.handle, "").map(PathBuf::from)
}

/// Finds what an absolute path leads to.
pub(super) fn find(path: &Path, follow: Follow) -> Result<Place, Errno> {
    let root = openat(AT_FDCWD, "/", LOOK | OFlag::O_DIRECTORY, Mode::empty())?;
    find_from(root, path, follow)
}

/// Finds what a path leads to that begins in a directory.
pub(super) fn find_from(start: OwnedFd, path: &Path, follow: Follow) -> Result<Place, Errno> {
    let mut directory = start;
    let mut ahead: VecDeque<OsString> = components(path);
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == "/" || name == ".." {
            directory = openat(&directory, name.as_os_str(), LOOK | OFlag::O_DIRECTORY, Mode::empty())?;
            continue;
        }
        let is_last = ahead.is_empty();
        let there = match look(directory.as_fd(), &name) {
            Ok(there) => there,
            Err(Errno::ENOENT) if is_last => {
                return Ok(Place { name: Some((directory, name)), there: None });
            }
            Err(errno) => return Err(errno),
        };
        if there.is_link() {
            if is_last && follow != Follow::All {
                return Ok(Place { name: Some((directory, name)), there: Some(there) });
            }
            links += 1;
            if follow == Follow::Nothing || links > MOST_LINKS {
                return Err(Errno::ELOOP);
            }
            for component in components(&target(&there)?).into_iter().rev() {
                ahead.push_front(component);
            }
        } else if is_last {
            return Ok(Place { name: Some((directory, name)), there: Some(there) });
        } else if there.is_directory() {
            directory = there.handle;
        } else {
            return Err(Errno::ENOTDIR);
        }
    }
    let there = There::of(directory)?;
    Ok(Place { name: None, there: Some(there) })
}

/// The names of a path; `/` is its root.
fn components(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter(|component| *component != Component::CurDir);
    names.map(|component| component.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use nix::errno::Errno;

    use super::{Follow, find};

    #[test]
    fn links_are_followed_as_far_as_is_asked_for() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().canonicalize().unwrap();
        std::fs::create_dir(top.join("real")).unwrap();
        std::fs::write(top.join("real/file"), "text").unwrap();
        symlink("real", top.join("way")).unwrap();
        symlink("../real/./file", top.join("real/last")).unwrap();
        symlink(top.join("nowhere"), top.join("dangling")).unwrap();
        symlink("b", top.join("a")).unwrap();
        symlink("a", top.join("b")).unwrap();
        let size = |path: &str, follow| {
            find(&top.join(path), follow).map(|place| place.there.map(|there| there.status.st_size))
        };
        assert_eq!(size("way/last", Follow::All), Ok(Some(4)));
        assert_eq!(size("way/last", Follow::Way), Ok(Some(14)));
        assert_eq!(size("way/last", Follow::Nothing), Err(Errno::ELOOP));
        assert_eq!(size("real/last", Follow::Nothing), Ok(Some(14)));
        assert_eq!(size("real/../way/../real/file", Follow::All), Ok(Some(4)));
        assert_eq!(size("a", Follow::All), Err(Errno::ELOOP));
        assert_eq!(size("real/file/x", Follow::All), Err(Errno::ENOTDIR));
        assert_eq!(size("none/x", Follow::All), Err(Errno::ENOENT));
        // A link to nothing is a name that nothing has yet.
        let dangling = find(&top.join("dangling"), Follow::All).unwrap();
        assert_eq!(dangling.name.unwrap().1, "nowhere");
        assert!(dangling.there.is_none());
        // What leads past every path is only its text: our own root, and a name that nothing has.
        let same = |path: &str| find(Path::new(path), Follow::All).unwrap().there.unwrap().status.st_ino;
        assert_eq!(same("/proc/self/root/etc"), same("/etc"));
        let (ours, _other) = nix::unistd::pipe().unwrap();
        let pipe = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&ours));
        assert!(find(Path::new(&pipe), Follow::All).unwrap().there.is_none());
    }
}
