//! Where a patch may write, and the descriptors that lead there.

use std::ffi::OsString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Component, PathBuf};

use codex_linux_sandbox::shown;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;

use super::parse::{Change, Patch};

/// Directories on the way are opened to lead on, and for nothing else.
const ON_THE_WAY: OFlag =
    OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Where a patch may write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// What relative paths are relative to. Absolute, without links.
    pub base: PathBuf,
    /// The trees that may be written. Absolute, without links.
    pub roots: Vec<PathBuf>,
    /// What lies in them and may not be touched, nor anything below it.
    pub protected: Vec<PathBuf>,
    /// What may not be removed or replaced, while what is in it may change.
    pub pinned: Vec<PathBuf>,
}

impl Bounds {
    /// Bounds that leave everything to the kernel: for whoever runs in the sandbox already.
    #[must_use]
    pub fn of_the_kernel(base: PathBuf) -> Self {
        Self { base, roots: vec![PathBuf::from("/")], protected: Vec::new(), pinned: Vec::new() }
    }
}

/// Why a path can't be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// No path of the kernel's holds it.
    #[error("{path}: a path can't contain a NUL byte", path = shown(.0))]
    Nul(String),
    /// Outside of every root.
    #[error(
        "{path} lies outside of the writable roots ({roots}); only the user can widen them",
        path = shown(.path), roots = list(.roots)
    )]
    Outside {
        /// The path.
        path: PathBuf,
        /// The roots.
        roots: Vec<PathBuf>,
    },
    /// Protected metadata.
    #[error(
        "{path} is protected: the host trusts or runs what stands there, and only the user can change it",
        path = shown(.0)
    )]
    Protected(PathBuf),
    /// A root, or the top of everything.
    #[error("{path} is a directory", path = shown(.0))]
    Directory(PathBuf),
    /// A link on the way.
    #[error(
        "{path} is a symbolic link, which patches don't follow: name the place that it leads to", path = shown(.0)
    )]
    Link(PathBuf),
    /// Something else on the way.
    #[error("{path} is no directory", path = shown(.0))]
    NoDirectory(PathBuf),
    /// The kernel's answer.
    #[error("{path}: {call}: {why} ({errno:?})", path = shown(.path), why = .errno.desc())]
    Refused {
        /// The path.
        path: PathBuf,
        /// The system call.
        call: &'static str,
        /// Its error.
        errno: Errno,
    },
}

fn list(roots: &[PathBuf]) -> String {
    if roots.is_empty() {
        return "there are none: the policy lets nothing be written".to_owned();
    }
    roots.iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// A place below a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The whole path.
    pub(super) path: PathBuf,
    root: PathBuf,
    /// The directories between the root and the last name.
    directories: Vec<OsString>,
    pub(super) name: OsString,
}

/// The directory of a place, as far as it exists.
#[derive(Debug)]
pub(super) struct Parent {
    /// The deepest directory that exists.
    pub(super) deepest: OwnedFd,
    /// What has to be made below it.
    pub(super) missing: Vec<OsString>,
}

impl Bounds {
    /// Looks at the paths of a patch, and at nothing else.
    ///
    /// # Errors
    ///
    /// [`PlaceError`] for the first one that can't be written.
    pub fn check(&self, patch: &Patch) -> Result<(), PlaceError> {
        for change in &patch.changes {
            self.place(change.path())?;
            if let Change::Update { move_to: Some(target), .. } = change {
                self.place(target)?;
            }
        }
        Ok(())
    }

    /// Finds the place that a path names. Nothing is looked up: `..` leaves the directory whose name comes before it, and a
    /// link on the way is refused later, so that both readings of a path are the same.
    pub(super) fn place(&self, written: &str) -> Result<Place, PlaceError> {
        if written.contains('\0') {
            return Err(PlaceError::Nul(written.to_owned()));
        }
        let mut path = PathBuf::new();
        for component in self.base.join(written).components() {
            match component {
                Component::ParentDir => {
                    path.pop();
                }
                Component::CurDir => {}
                other => path.push(other),
            }
        }
        let outside = || PlaceError::Outside { path: path.clone(), roots: self.roots.clone() };
        // The deepest root: one in another has the shorter way.
        let deepest = |root: &&PathBuf| root.components().count();
        let root = self.roots.iter().filter(|root| path.starts_with(root)).max_by_key(deepest);
        let root = root.ok_or_else(outside)?;
        let below = path.strip_prefix(root).map_err(|_| outside())?;
        let mut directories: Vec<OsString> = below.iter().map(ToOwned::to_owned).collect();
        let name = directories.pop().ok_or_else(|| PlaceError::Directory(path.clone()))?;
        let is_protected =
            self.protected.iter().any(|place| path.starts_with(place) || place.starts_with(&path));
        if is_protected || self.pinned.contains(&path) {
            return Err(PlaceError::Protected(path));
        }
        Ok(Place { root: root.clone(), directories, name, path })
    }
}

impl Place {
    pub(super) fn refused(&self, call: &'static str) -> impl Fn(Errno) -> PlaceError {
        let path = self.path.clone();
        move |errno| PlaceError::Refused { path: path.clone(), call, errno }
    }

    /// Opens the way to the place, one directory after the other.
    pub(super) fn parent(&self) -> Result<Parent, PlaceError> {
        let mut way = self.root.clone();
        let mut deepest = openat(AT_FDCWD, &self.root, ON_THE_WAY, Mode::empty())
            .map_err(|errno| PlaceError::Refused { path: way.clone(), call: "openat", errno })?;
        let mut directories = self.directories.iter();
        for directory in directories.by_ref() {
            way.push(directory);
            match openat(deepest.as_fd(), directory.as_os_str(), ON_THE_WAY, Mode::empty()) {
                Ok(next) => deepest = next,
                Err(Errno::ENOENT) => {
                    let missing = std::iter::once(directory).chain(directories).cloned().collect();
                    return Ok(Parent { deepest, missing });
                }
                // With O_DIRECTORY a link is told as no directory.
                Err(Errno::ENOTDIR | Errno::ELOOP) if way.is_symlink() => return Err(PlaceError::Link(way)),
                Err(Errno::ENOTDIR) => return Err(PlaceError::NoDirectory(way)),
                Err(errno) => return Err(PlaceError::Refused { path: way, call: "openat", errno }),
            }
        }
        Ok(Parent { deepest, missing: Vec::new() })
    }
}

impl Parent {
    /// Opens a directory below one.
    pub(super) fn enter(directory: &OwnedFd, name: &OsString) -> Result<OwnedFd, Errno> {
        openat(directory.as_fd(), name.as_os_str(), ON_THE_WAY, Mode::empty())
    }
}
