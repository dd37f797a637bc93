//! Taking things away from where they were put, so that nobody on the host trips over them.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use codex_linux_sandbox::shown;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, open, openat, readlinkat, renameat2};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, symlinkat, unlinkat};

use super::journal;

/// What is copied at most where a thing can't be moved; a larger one stays in its place, under a name that means nothing.
const MOST_BYTES: u64 = 256 << 20;
const MOST_ENTRIES: usize = 100_000;
const DEEPEST: usize = 256;

/// What became of a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is here now.
    Kept(PathBuf),
    /// There was nothing.
    Gone,
    /// It is still there.
    Stuck(Errno),
}

/// A directory of the quarantine, made when the first thing goes into it.
#[derive(Debug)]
pub(super) struct Keeper {
    /// `$CODEX_HOME/quarantine/TIME-PID`.
    directory: Option<PathBuf>,
    place: Option<OwnedFd>,
    /// Tells apart what would have one name.
    stamp: String,
    number: u32,
}

impl Keeper {
    pub(super) fn new(codex_home: Option<&Path>) -> Self {
        let stamp = format!("{}-{}", journal::micros(SystemTime::now()), std::process::id());
        let directory = codex_home.map(|home| home.join("quarantine").join(&stamp));
        Self { directory, place: None, stamp, number: 0 }
    }

    /// Takes `name` out of the directory `parent`, which stands at `path`.
    pub(super) fn take(&mut self, parent: BorrowedFd<'_>, path: &Path, name: &OsStr) -> Taken {
        self.number += 1;
        let mut new_name = OsString::from(format!("{}-", self.number));
        new_name.push(name);
        let moved = match self.open() {
            Ok(place) => rename(parent, name, place.as_fd(), &new_name),
            // Nowhere to move it to is as far as another file system.
            Err(_) => Err(Errno::EXDEV),
        };
        match moved {
            Ok(()) => self.kept(&new_name, &path.join(name)),
            Err(Errno::ENOENT) => Taken::Gone,
            Err(_) => match self.take_across(parent, path, name, &new_name) {
                // A command may have closed the directory behind itself, as its owner, which is who we run as.
                Taken::Stuck(Errno::EACCES) if open_for_owner(parent) => self.take(parent, path, name),
                taken => taken,
            },
        }
    }

    /// Takes a thing out of another file system: by another name first, which happens at once, then as a copy.
    fn take_across(&mut self, parent: BorrowedFd<'_>, path: &Path, name: &OsStr, new_name: &OsStr) -> Taken {
        let aside = OsString::from(format!(".quarantined-{}-{}", self.stamp, self.number));
        match rename(parent, name, parent, &aside) {
            Ok(()) => {}
            Err(Errno::ENOENT) => return Taken::Gone,
            Err(errno) => {
                // What can't be read or entered is obeyed by nobody but root.
                return match fchmodat(parent, name, Mode::empty(), FchmodatFlags::NoFollowSymlink) {
                    Ok(()) | Err(_) => Taken::Stuck(errno),
                };
            }
        }
        let copied = self.open().map_err(io::Error::from).and_then(|place| {
            let mut room = Room { bytes: MOST_BYTES, entries: MOST_ENTRIES };
            copy((parent, &aside), (place.as_fd(), new_name), DEEPEST, &mut room)
        });
        if copied.is_ok() && remove(parent, &aside, DEEPEST).is_ok() {
            return self.kept(new_name, &path.join(name));
        }
        Taken::Kept(path.join(aside))
    }

    fn open(&mut self) -> Result<&OwnedFd, Errno> {
        if self.place.is_none() {
            let directory = self.directory.as_deref().ok_or(Errno::ENOENT)?;
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            self.place = Some(open(directory, flags, Mode::empty())?);
        }
        self.place.as_ref().ok_or(Errno::ENOENT)
    }

    /// Notes beside a thing where it came from: after a crash, nobody else knows.
    fn kept(&self, name: &OsStr, from: &Path) -> Taken {
        let directory = self.directory.clone().unwrap_or_default();
        let list =
            fs::OpenOptions::new().append(true).create(true).mode(0o600).open(directory.join("origins"));
        // Without the note, the thing is kept all the same.
        drop(list.and_then(|mut list| writeln!(list, "{}\t{}", shown(name), shown(from))));
        Taken::Kept(directory.join(name))
    }
}

/// Gives the owner of a directory all rights on it. Says whether it lacked one and has it now.
fn open_for_owner(directory: BorrowedFd<'_>) -> bool {
    let Ok(status) = fstat(directory) else { return false };
    let mode = Mode::from_bits_truncate(status.st_mode);
    // By its descriptor, which may be one that only names it.
    let itself = format!("/proc/self/fd/{}", directory.as_raw_fd());
    !mode.contains(Mode::S_IRWXU)
        && status.st_uid == geteuid().as_raw()
        && fs::set_permissions(itself, fs::Permissions::from_mode((mode | Mode::S_IRWXU).bits())).is_ok()
}

/// Renames without replacing anything.
fn rename(from: BorrowedFd<'_>, name: &OsStr, to: BorrowedFd<'_>, new_name: &OsStr) -> Result<(), Errno> {
    match renameat2(from, name, to, new_name, RenameFlags::RENAME_NOREPLACE) {
        // A file system without that flag: the new name is ours alone.
        Err(Errno::EINVAL) => nix::fcntl::renameat(from, name, to, new_name),
        answer => answer,
    }
}

/// What may still be copied.
struct Room {
    bytes: u64,
    entries: usize,
}

/// Copies files, directories and links; of anything else, only the name is worth keeping, and is not kept.
fn copy(
    (from, name): (BorrowedFd<'_>, &OsStr),
    (to, new_name): (BorrowedFd<'_>, &OsStr),
    depth: usize,
    room: &mut Room,
) -> io::Result<()> {
    if depth == 0 || room.entries == 0 {
        return Err(io::ErrorKind::StorageFull.into());
    }
    room.entries -= 1;
    let status = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    match SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => {
            let source = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            let target = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            let source = File::from(openat(from, name, source, Mode::empty())?);
            let mut target = File::from(openat(to, new_name, target, Mode::S_IRUSR | Mode::S_IWUSR)?);
            let copied = io::copy(&mut io::Read::take(source, room.bytes), &mut target)?;
            room.bytes -= copied;
            if room.bytes == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
        SFlag::S_IFLNK => Ok(symlinkat(readlinkat(from, name)?.as_os_str(), to, new_name)?),
        SFlag::S_IFDIR => {
            mkdirat(to, new_name, Mode::S_IRWXU)?;
            let place = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let target = openat(to, new_name, place, Mode::empty())?;
            for inner in names(from, name)? {
                let source = openat(from, name, place, Mode::empty())?;
                copy((source.as_fd(), &inner), (target.as_fd(), &inner), depth - 1, room)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn remove(parent: BorrowedFd<'_>, name: &OsStr, depth: usize) -> Result<(), Errno> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR | Errno::EPERM) if depth > 0 => {}
        answer => return answer,
    }
    let place = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let directory = openat(parent, name, place, Mode::empty())?;
    for inner in names(parent, name)? {
        remove(directory.as_fd(), &inner, depth - 1)?;
    }
    unlinkat(parent, name, UnlinkatFlags::RemoveDir)
}

/// The names in a directory.
pub(super) fn names(parent: BorrowedFd<'_>, name: &OsStr) -> Result<Vec<OsString>, Errno> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let mut listing = Dir::from_fd(openat(parent, name, flags, Mode::empty())?)?;
    let mut names = Vec::new();
    for entry in listing.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}
