//! Opening trees for rules, component by component and following no symbolic link.
//!
//! A tree's path was resolved before, so that a link in it now was put there since. `openat2(2)` could open it in one
//! call, but not inside another sandbox like ours, where it is answered `ENOSYS`.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Component;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;

use crate::error::{SetupError, Step};
use crate::plan::WritableTree;

/// The way to the last tree: each directory on it, open. The next tree is often its neighbour.
#[derive(Default)]
pub(super) struct Walk(Vec<(OsString, OwnedFd)>);

impl Walk {
    /// Opens a tree.
    pub(super) fn to(&mut self, tree: &WritableTree) -> Result<BorrowedFd<'_>, SetupError> {
        let names: Vec<&OsStr> = tree
            .path()
            .components()
            .filter_map(|component| match component {
                Component::Normal(name) => Some(name),
                Component::RootDir => Some(OsStr::new("/")),
                // A tree's path has no other components.
                Component::CurDir | Component::ParentDir | Component::Prefix(_) => None,
            })
            .collect();
        let shared = self.0.iter().zip(&names).take_while(|((open, _), name)| open == *name).count();
        self.0.truncate(shared);
        for name in names.into_iter().skip(shared) {
            let above = self.0.last().map_or(AT_FDCWD, |(_, directory)| directory.as_fd());
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let directory = openat(above, name, flags, Mode::empty()).map_err(|errno| failed(tree, errno))?;
            self.0.push((name.to_owned(), directory));
        }
        match self.0.last() {
            Some((_, directory)) => Ok(directory.as_fd()),
            None => Err(failed(tree, Errno::EINVAL)),
        }
    }
}

fn failed(tree: &WritableTree, errno: Errno) -> SetupError {
    let error = SetupError::call(Step::Landlock, "openat", errno).on(tree.path());
    match errno {
        Errno::ENOTDIR => {
            error.hint("a component is a symbolic link or no directory; give the resolved path")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use nix::errno::Errno;
    use nix::sys::stat::fstat;

    use super::Walk;
    use crate::plan::WritableTree;

    #[test]
    fn each_tree_is_the_directory_of_its_path() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("a/b/c")).unwrap();
        fs::create_dir_all(top.join("a/d")).unwrap();
        let mut walk = Walk::default();
        for path in ["a/b/c", "a/b", "a/d", "a/b/c", "", "a"].map(|path| top.join(path)) {
            let tree = WritableTree::new(&path).unwrap();
            let opened = fstat(walk.to(&tree).unwrap()).unwrap();
            assert_eq!(opened.st_ino, path.metadata().unwrap().ino(), "{}", path.display());
        }
    }

    #[test]
    fn no_link_is_followed_anywhere_on_the_way() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("real/deep")).unwrap();
        symlink("real", top.join("link")).unwrap();
        let mut walk = Walk::default();
        for path in ["link", "link/deep"] {
            let error = walk.to(&WritableTree::new(top.join(path)).unwrap()).unwrap_err();
            assert_eq!(error.errno, Some(Errno::ENOTDIR), "{path}");
        }
        let missing = walk.to(&WritableTree::new(top.join("real/missing")).unwrap()).unwrap_err();
        assert_eq!(missing.errno, Some(Errno::ENOENT));
        // A failure leaves nothing behind that would mislead the next.
        let tree = WritableTree::new(top.join("real/deep")).unwrap();
        let opened = fstat(walk.to(&tree).unwrap()).unwrap();
        assert_eq!(opened.st_ino, top.join("real/deep").metadata().unwrap().ino());
    }
}
