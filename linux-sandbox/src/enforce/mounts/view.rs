//! Views of the writable trees: what is written to one is kept in memory and ends with the sandbox, what was not touched is
//! read from the tree itself (overlayfs).
//!
//! ```text
//! tree ──────────── lower, only read ─┐
//! memory ─ N/upper ───────────────────┴▶ view, mounted where the tree is
//! ```
//!
//! Each tree has a view of its own, as it has a mount of its own without; what is kept or hidden in it lies on top of the
//! view. The layers are mounts of the kernel's own that are attached nowhere. The memory lies where `/proc` covers it, and
//! nobody inside has a name for it.
//!
//! Who reads and writes the layers is whoever made the view: this process, before it gives up its privileges, which count over
//! its own namespaces alone. The command's own rights are asked first, by the view (`overlayfs.rst` of the kernel, "Permission
//! model").

use std::ffi::{CStr, CString};
use std::num::NonZeroU64;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, futimens, mkdirat};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::sys::time::TimeSpec;
use nix::unistd::{AccessFlags, Gid, Uid, access, fchown};

use super::failed;
use super::memory::Memory;
use crate::error::{SetupError, Step};
use crate::sys::{self, MountAttributes, xattr};

/// Where the memory is mounted, in that of the sandbox.
const PLACE: &str = "view";
/// An attribute that anybody may give to a file. Views keep what they have to know in such ones.
const ATTRIBUTE: &CStr = c"user.codex";
/// Attributes of a tree that its view is given as well: what users say, and who may do what.
const KEPT_ATTRIBUTES: [&[u8]; 2] = [b"user.", b"system.posix_acl_"];
/// What views are made with: names of ours are no instructions from a tree (`redirect_dir` is off with `userxattr`), and
/// one file system has one number.
const OPTIONS: [(&CStr, &CStr); 2] = [(c"xino", c"on"), (c"index", c"off")];
const BY_USERS_ATTRIBUTES: &CStr = c"userxattr";

/// What is written to all views of a sandbox.
#[derive(Debug)]
pub(super) struct View {
    memory: OwnedFd,
    count: usize,
}

impl View {
    /// Makes the memory.
    pub(super) fn make(bytes: NonZeroU64, memory: &Memory) -> Result<Self, SetupError> {
        let here = |call| failed(call, PLACE);
        let size = CString::new(bytes.to_string()).map_err(|_nul| here("fsconfig")(Errno::EINVAL))?;
        let attributes = MountAttributes::NO_SET_USER_ID.and(MountAttributes::NO_DEVICES);
        let mount = sys::new_file_system(c"tmpfs", &[(c"mode", c"0700"), (c"size", &size)], attributes)
            .map_err(|(call, errno)| failed(call, PLACE)(errno))?;
        mkdirat(memory, PLACE, Mode::S_IRWXU).map_err(here("mkdirat"))?;
        // Only what is mounted somewhere can be a layer.
        sys::attach_mount_in(mount.as_fd(), memory.as_fd(), PLACE).map_err(here("move_mount"))?;
        // Without, a view could not keep that a directory was removed and made anew.
        xattr::set(mount.as_fd(), ATTRIBUTE, b"").map_err(|errno| {
            let error = SetupError::call(Step::Places, "setxattr", errno).on("tmpfs");
            error.hint("a view needs a tmpfs that keeps attributes of users (Linux 6.6)")
        })?;
        Ok(Self { memory: mount, count: 0 })
    }

    /// The view of a tree, as a mount that is attached nowhere.
    pub(super) fn over(&mut self, tree: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, SetupError> {
        let call = |call: &'static str| move |errno| SetupError::call(Step::Places, call, errno).on(path);
        let flags = fstatvfs(tree).map_err(call("fstatfs"))?.flags();
        let name = self.count.to_string();
        self.count += 1;
        let own = self.directory(&self.memory, &name).map_err(call("mkdirat"))?;
        let work = self.directory(&own, "work").map_err(call("mkdirat"))?;
        let upper = self.directory(&own, "upper").map_err(call("mkdirat"))?;
        look_alike(&upper, tree).map_err(call("fchmod"))?;
        let layer = |place: BorrowedFd<'_>| {
            let path = format!("/proc/self/fd/{}", place.as_raw_fd());
            CString::new(path).map_err(|_nul| call("fsconfig")(Errno::EINVAL))
        };
        let (lower, upper, work) = (layer(tree)?, layer(upper.as_fd())?, layer(work.as_fd())?);
        let layers: [(&CStr, &CStr); 3] = [(c"lowerdir", &lower), (c"upperdir", &upper), (c"workdir", &work)];
        let options: Vec<_> = layers.into_iter().chain(OPTIONS).collect();
        // A view is a mount like any, and nothing of what the tree's mount forbids is known to it.
        let mut attributes = MountAttributes::NO_SET_USER_ID.and(MountAttributes::NO_DEVICES);
        for (flag, attribute) in [
            (FsFlags::ST_RDONLY, MountAttributes::READ_ONLY),
            (FsFlags::ST_NOEXEC, MountAttributes::NO_PROGRAMS),
        ] {
            if flags.contains(flag) {
                attributes = attributes.and(attribute);
            }
        }
        sys::new_file_system_with(c"overlay", &options, &[BY_USERS_ATTRIBUTES], attributes).map_err(
            |(call, errno)| SetupError::call(Step::Places, call, errno).on(path).hint(why_not(errno)),
        )
    }

    fn directory(&self, above: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
        mkdirat(above, name, Mode::S_IRWXU)?;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(above, name, flags, Mode::empty())
    }
}

/// Why there is no view of a tree.
const fn why_not(errno: Errno) -> &'static str {
    match errno {
        Errno::EPERM | Errno::ENODEV | Errno::EACCES => {
            "no view can be had of it: there is no overlayfs for users here (Linux 5.11 and later have it)"
        }
        _ => {
            "no view can be had of it: something is mounted in it, or overlayfs does not take what it lies on (a file system of \
             another kind, or two overlays already)"
        }
    }
}

/// Gives the top of a view what the top of the tree has: below it, the view takes that from the tree.
fn look_alike(upper: &OwnedFd, tree: BorrowedFd<'_>) -> Result<(), Errno> {
    let status = fstat(tree)?;
    let mut mode = Mode::from_bits_truncate(status.st_mode);
    let (owner, group) = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
    if fchown(upper, Some(owner), Some(group)).is_err() {
        // An owner who is none of ours can't be had. Ours then may what we may in the tree.
        mode = mode.difference(Mode::S_IRWXU).union(ours(tree));
        if let Err(_unknown_here) = fchown(upper, None, Some(group)) {}
    }
    fchmod(upper, mode)?;
    for name in xattr::list(tree).unwrap_or_default() {
        if KEPT_ATTRIBUTES.iter().any(|kept| name.as_bytes().starts_with(kept))
            // One that names others than us can't be had either.
            && let Err(_refused) =
                xattr::get(tree, &name).and_then(|value| xattr::set(upper.as_fd(), &name, &value))
        {}
    }
    let (accessed, modified) = times(&status);
    futimens(upper, &accessed, &modified)
}

/// What we may do in a directory, as its owner's permissions.
fn ours(tree: BorrowedFd<'_>) -> Mode {
    let path = format!("/proc/self/fd/{}", tree.as_raw_fd());
    let each = [
        (AccessFlags::R_OK, Mode::S_IRUSR),
        (AccessFlags::W_OK, Mode::S_IWUSR),
        (AccessFlags::X_OK, Mode::S_IXUSR),
    ];
    let may = each.into_iter().filter(|(how, _)| access(path.as_str(), *how).is_ok());
    may.fold(Mode::empty(), |all, (_, mode)| all.union(mode))
}

const fn times(status: &FileStat) -> (TimeSpec, TimeSpec) {
    (
        TimeSpec::new(status.st_atime, status.st_atime_nsec),
        TimeSpec::new(status.st_mtime, status.st_mtime_nsec),
    )
}
