//! Resolving a path while remembering every place at which somebody could make it mean something else.

use std::collections::{HashSet, VecDeque};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::readlink;
use nix::sys::stat::{SFlag, lstat};

/// As many symbolic links as the kernel follows in one path (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// A resolved path and the way to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trace {
    /// The path without any symbolic link in it. Where the end of the path does not exist, the missing part follows as
    /// it was written.
    pub(super) resolved: PathBuf,
    /// Where each symbolic link on the way stands. Whoever can write there decides what the path means.
    pub(super) links: Vec<PathBuf>,
    /// Whether everything on the way exists.
    pub(super) exists: bool,
    /// Whether it ended at a place beyond which nothing was to be looked at.
    pub(super) stopped: bool,
}

/// What was found on the way to earlier paths: places that are there and are no links. Neighbours share most of theirs.
#[derive(Debug, Default)]
pub(super) struct Known(HashSet<PathBuf>);

/// Follows an absolute path component by component.
///
/// # Errors
///
/// What the kernel says of a component that can't be looked at; `ELOOP` past 40 links.
pub(super) fn trace(path: &Path, known: &mut Known) -> Result<Trace, Errno> {
    trace_until(path, known, &|_| false)
}

/// The same, up to the first place at which it is to stop. That place is not looked at any more.
///
/// # Errors
///
/// As [`trace`].
pub(super) fn trace_until(
    path: &Path,
    known: &mut Known,
    stops: &dyn Fn(&Path) -> bool,
) -> Result<Trace, Errno> {
    let mut rest: VecDeque<OsString> = components(path);
    let mut trace = Trace { resolved: PathBuf::from("/"), links: Vec::new(), exists: true, stopped: false };
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            trace.resolved.pop();
            continue;
        }
        let place = trace.resolved.join(&name);
        if stops(&place) {
            return Ok(Trace { resolved: place, stopped: true, ..trace });
        }
        if !trace.exists || known.0.contains(&place) {
            trace.resolved = place;
            continue;
        }
        match lstat(&place) {
            Ok(status) if is_link(status.st_mode) => {
                if trace.links.len() == MAX_LINKS {
                    return Err(Errno::ELOOP);
                }
                let target = PathBuf::from(readlink(&place)?);
                if target.is_absolute() {
                    trace.resolved = PathBuf::from("/");
                }
                for component in components(&target).into_iter().rev() {
                    rest.push_front(component);
                }
                trace.links.push(place);
            }
            Ok(_) => {
                known.0.insert(place.clone());
                trace.resolved = place;
            }
            Err(Errno::ENOENT) => {
                trace.exists = false;
                trace.resolved = place;
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(trace)
}

/// Where an absolute path leads, what does not exist taken as it was written.
///
/// # Errors
///
/// As [`trace`].
pub(crate) fn resolve_path(path: &Path) -> Result<PathBuf, Errno> {
    trace(path, &mut Known::default()).map(|trace| trace.resolved)
}

/// The way along which an absolute path leads somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Its end, without any symbolic link; what does not exist is taken as it was written.
    pub end: PathBuf,
    /// Where each symbolic link on it stands. Whoever can write there decides where the path leads.
    pub links: Vec<PathBuf>,
}

/// Follows an absolute path to where it leads.
///
/// # Errors
///
/// What the kernel says of a component that can't be looked at; `ELOOP` past 40 links.
pub fn way(path: &Path) -> Result<Way, Errno> {
    trace(path, &mut Known::default()).map(|Trace { resolved, links, .. }| Way { end: resolved, links })
}

fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

fn is_link(mode: u32) -> bool {
    SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits()) == SFlag::S_IFLNK
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::{Errno, Known, Trace};

    fn trace(path: &std::path::Path) -> Result<Trace, Errno> {
        super::trace(path, &mut Known::default())
    }

    #[test]
    fn links_are_followed_and_remembered() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("real/deep")).unwrap();
        symlink("real", top.join("relative")).unwrap();
        symlink(top.join("relative/deep"), top.join("absolute")).unwrap();

        let traced = trace(&top.join("absolute/../deep/new/file")).unwrap();
        assert_eq!(traced.resolved, top.join("real/deep/new/file"));
        assert_eq!(traced.links, [top.join("absolute"), top.join("relative")]);
        assert!(!traced.exists);
        assert!(trace(&top.join("absolute")).unwrap().exists);
    }

    #[test]
    fn a_loop_ends() {
        let scratch = tempfile::tempdir().unwrap();
        symlink("b", scratch.path().join("a")).unwrap();
        symlink("a", scratch.path().join("b")).unwrap();
        assert_eq!(trace(&scratch.path().join("a")).unwrap_err(), Errno::ELOOP);
    }

    #[test]
    fn it_agrees_with_the_kernel_on_existing_paths() {
        for path in ["/", "/usr/../tmp", "/proc/self/exe", "/bin/sh", "/dev/fd/0/.."] {
            if let Ok(kernel) = std::fs::canonicalize(path) {
                assert_eq!(trace(path.as_ref()).unwrap().resolved, kernel, "{path}");
            }
        }
    }
}
