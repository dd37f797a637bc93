//! Opening places, component by component and following no symbolic link.
//!
//! A plan's paths were resolved before, so that a link in one now was put there since. `openat2(2)` could open it in one
//! call, but not inside another sandbox like ours, where it is answered `ENOSYS`.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::error::{SetupError, Step};
use crate::plan::PlanPath;

/// The way to the last place: each directory on it, open. The next place is often its neighbour.
pub(crate) struct Walk<'k> {
    step: Step,
    known: Option<(&'k Path, &'k OwnedFd)>,
    way: Vec<(OsString, OwnedFd)>,
}

/// What a place has to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Directory,
    Anything,
}

impl<'k> Walk<'k> {
    /// A walk for a step of the set-up, which its failures are failures of.
    pub(crate) const fn new(step: Step) -> Self {
        Self { step, known: None, way: Vec::new() }
    }

    /// A walk that knows one directory already, and does not look for it under its name.
    pub(super) fn knowing(step: Step, path: &'k str, directory: &'k OwnedFd) -> Self {
        Self { step, known: Some((Path::new(path), directory)), way: Vec::new() }
    }

    /// Opens a directory.
    pub(crate) fn directory(&mut self, place: &PlanPath) -> Result<BorrowedFd<'_>, SetupError> {
        self.to(place.path(), Wanted::Directory)
    }

    /// Opens whatever there is, but for a symbolic link.
    pub(crate) fn place(&mut self, place: &Path) -> Result<BorrowedFd<'_>, SetupError> {
        self.to(place, Wanted::Anything)
    }

    /// Forgets the last place: something is mounted on it, so that its path leads elsewhere now.
    pub(crate) fn forget_last(&mut self) {
        self.way.pop();
    }

    fn to(&mut self, place: &Path, wanted: Wanted) -> Result<BorrowedFd<'_>, SetupError> {
        let names: Vec<&OsStr> = place
            .components()
            .filter_map(|component| match component {
                Component::Normal(name) => Some(name),
                Component::RootDir => Some(OsStr::new("/")),
                // A place's path has no other components.
                Component::CurDir | Component::ParentDir | Component::Prefix(_) => None,
            })
            .collect();
        let shared = self.way.iter().zip(&names).take_while(|((open, _), name)| open == *name).count();
        self.way.truncate(shared);
        let last = names.len().saturating_sub(1);
        for (index, name) in names.into_iter().enumerate().skip(shared) {
            let above = self.way.last().map_or(AT_FDCWD, |(_, directory)| directory.as_fd());
            let mut flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            if index < last || wanted == Wanted::Directory {
                flags |= OFlag::O_DIRECTORY;
            }
            let opened = match self.known {
                Some((path, directory)) if self.is_at(path, name) => {
                    directory.try_clone().map_err(|_full| Errno::EMFILE)
                }
                _ => openat(above, name, flags, Mode::empty()),
            };
            let opened = opened.map_err(|errno| self.failed(place, errno))?;
            if !flags.contains(OFlag::O_DIRECTORY)
                && is_link(&opened).map_err(|errno| self.failed(place, errno))?
            {
                return Err(self.failed(place, Errno::ELOOP));
            }
            self.way.push((name.to_owned(), opened));
        }
        match self.way.last() {
            Some((_, opened)) => Ok(opened.as_fd()),
            None => Err(self.failed(place, Errno::EINVAL)),
        }
    }

    /// Whether the next step, by this name, comes to this path.
    fn is_at(&self, path: &Path, name: &OsStr) -> bool {
        let walked = self.way.iter().map(|(name, _)| name.as_os_str()).chain([name]);
        walked.eq(path.components().map(Component::as_os_str))
    }

    fn failed(&self, place: &Path, errno: Errno) -> SetupError {
        let error = SetupError::call(self.step, "openat", errno).on(place);
        match errno {
            Errno::ENOTDIR | Errno::ELOOP => {
                error.hint("a component is a symbolic link or no directory; give the resolved path")
            }
            _ => error,
        }
    }
}

fn is_link(opened: &OwnedFd) -> Result<bool, Errno> {
    let mode = fstat(opened)?.st_mode;
    Ok(SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits()) == SFlag::S_IFLNK)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use nix::errno::Errno;
    use nix::sys::stat::fstat;

    use super::Walk;
    use crate::error::Step;
    use crate::plan::PlanPath;

    #[test]
    fn each_tree_is_the_directory_of_its_path() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("a/b/c")).unwrap();
        fs::create_dir_all(top.join("a/d")).unwrap();
        let mut walk = Walk::new(Step::Landlock);
        fs::write(top.join("a/file"), "").unwrap();
        let file = fstat(walk.place(&top.join("a/file")).unwrap()).unwrap();
        assert_eq!(file.st_ino, top.join("a/file").metadata().unwrap().ino());
        for path in ["a/b/c", "a/b", "a/d", "a/b/c", "", "a"].map(|path| top.join(path)) {
            let tree = PlanPath::new(&path).unwrap();
            let opened = fstat(walk.directory(&tree).unwrap()).unwrap();
            assert_eq!(opened.st_ino, path.metadata().unwrap().ino(), "{}", path.display());
        }
    }

    #[test]
    fn no_link_is_followed_anywhere_on_the_way() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("real/deep")).unwrap();
        symlink("real", top.join("link")).unwrap();
        let mut walk = Walk::new(Step::Landlock);
        for path in ["link", "link/deep"] {
            let error = walk.directory(&PlanPath::new(top.join(path)).unwrap()).unwrap_err();
            assert_eq!(error.errno, Some(Errno::ENOTDIR), "{path}");
        }
        let missing = walk.directory(&PlanPath::new(top.join("real/missing")).unwrap()).unwrap_err();
        assert_eq!(missing.errno, Some(Errno::ENOENT));
        let link = walk.place(&top.join("link")).unwrap_err();
        assert_eq!(link.errno, Some(Errno::ELOOP));
        // A failure leaves nothing behind that would mislead the next.
        let tree = PlanPath::new(top.join("real/deep")).unwrap();
        let opened = fstat(walk.directory(&tree).unwrap()).unwrap();
        assert_eq!(opened.st_ino, top.join("real/deep").metadata().unwrap().ino());
    }
}
