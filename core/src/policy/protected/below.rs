//! Opening what lies below a writable root: by descriptor, and without following a link that a command may have put on
//! the way.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::Mode;
use nix::sys::statfs::{
    AUTOFS_SUPER_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC, FsType, PROC_SUPER_MAGIC,
    SYSFS_MAGIC, TRACEFS_MAGIC, fstatfs,
};

/// File systems below a root that hold no repositories, or that looking at would wake up.
const NOT_SEARCHED: [FsType; 7] = [
    AUTOFS_SUPER_MAGIC,
    PROC_SUPER_MAGIC,
    SYSFS_MAGIC,
    CGROUP_SUPER_MAGIC,
    CGROUP2_SUPER_MAGIC,
    DEBUGFS_MAGIC,
    TRACEFS_MAGIC,
];

/// A place to open others from.
const PLACE: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);
/// A directory to read. A lease or a fifo in its place holds nobody up.
const LISTING: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NONBLOCK);
const ALWAYS: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_CLOEXEC);
/// The kernel gives up on a path while somebody renames on the way; a command could do so without end.
const TRIES: usize = 8;

/// Opens a writable root by its resolved path. A link anywhere on the way is `ELOOP`: the path had none, and who may write
/// above the root, a command with a wider one, could lead whatever is done below it elsewhere.
pub(crate) fn open_root(root: &Path) -> Result<OwnedFd, Errno> {
    let top = open("/", PLACE | ALWAYS, Mode::empty())?;
    let relative = root.strip_prefix("/").map_err(|_relative| Errno::EINVAL)?;
    resolve(top.as_fd(), relative, PLACE, ResolveFlag::RESOLVE_NO_SYMLINKS)
}

/// Opens a directory below a root, as a place only.
pub(crate) fn open_place(root: impl AsFd, relative: &Path) -> Result<OwnedFd, Errno> {
    open_below(root, relative, PLACE)
}

/// Opens what a path below a root names. A link anywhere on the way is `ELOOP`, and nothing leads above the root.
pub(crate) fn open_below(root: impl AsFd, relative: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    resolve(root.as_fd(), relative, flags, ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS)
}

/// Opens a directory below a root for reading. `None` for the kinds of file systems that are not searched.
pub(crate) fn open_listing(root: impl AsFd, relative: &Path) -> Result<Option<Dir>, Errno> {
    let root = root.as_fd();
    let beneath = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    match resolve(root, relative, LISTING, beneath | ResolveFlag::RESOLVE_NO_XDEV) {
        Ok(descriptor) => Dir::from_fd(descriptor).map(Some),
        Err(Errno::EXDEV) => {
            // As a place, an automounter's directory is looked at and not woken up.
            let place = resolve(root, relative, PLACE, beneath)?;
            if NOT_SEARCHED.contains(&fstatfs(&place)?.filesystem_type()) {
                return Ok(None);
            }
            Dir::from_fd(openat(&place, ".", LISTING | ALWAYS, Mode::empty())?).map(Some)
        }
        Err(errno) => Err(errno),
    }
}

fn resolve(root: BorrowedFd<'_>, relative: &Path, flags: OFlag, how: ResolveFlag) -> Result<OwnedFd, Errno> {
    let path = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
    let open_how = OpenHow::new().flags(flags | ALWAYS).resolve(how);
    for _ in 0..TRIES {
        match openat2(root, path, open_how) {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // Refused by the filter of a container, or of a sandbox of our own around us.
            Err(Errno::ENOSYS | Errno::EPERM) => return step_by_step(root, path, flags),
            answer => return answer,
        }
    }
    Err(Errno::EAGAIN)
}

/// The same by calls of old, a component at a time; mounts on the way are not noticed.
fn step_by_step(root: BorrowedFd<'_>, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    let mut place: Option<OwnedFd> = None;
    let mut rest = path.components().peekable();
    while let Some(component) = rest.next() {
        let (Component::Normal(_) | Component::CurDir) = component else { return Err(Errno::EXDEV) };
        let at = place.as_ref().map_or(root, AsFd::as_fd);
        let flags = if rest.peek().is_some() { PLACE } else { flags };
        place = Some(openat(at, component.as_os_str(), flags | ALWAYS, Mode::empty())?);
    }
    place.ok_or(Errno::ENOENT)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::{Errno, PLACE, open_below, open_root, step_by_step};

    #[test]
    fn links_and_ways_up_are_no_way() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        symlink("a", root.join("link")).unwrap();
        symlink("/", root.join("out")).unwrap();
        let root = open_root(&root).unwrap();
        for open in [
            |root: &std::os::fd::OwnedFd, path: &Path| open_below(root, path, PLACE),
            |root: &std::os::fd::OwnedFd, path: &Path| step_by_step(root.as_fd(), path, PLACE),
        ] {
            assert!(open(&root, Path::new("a/b")).is_ok());
            assert!(open(&root, Path::new(".")).is_ok());
            assert_eq!(open(&root, Path::new("a/c")).unwrap_err(), Errno::ENOENT);
            assert!(open(&root, Path::new("link/b")).is_err());
            assert!(open(&root, Path::new("out")).is_err());
            assert_eq!(open(&root, Path::new("../root")).unwrap_err(), Errno::EXDEV);
        }
    }
}
