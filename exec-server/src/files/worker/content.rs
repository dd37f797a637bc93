//! What is in files.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use codex_linux_sandbox::shown;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};

use super::facts::errno;
use super::place::{Follow, Place, There, find, path_of};
use super::{Body, Broken, Carried, json, say_data};
use crate::files::order::{Failure, FailureKind};
use crate::files::wire::PIECE;
use crate::protocol::OpenMode;

/// How often another name is tried for a file that is written beside one.
const ATTEMPTS: u32 = 64;
/// What a file that comes to be may have; the process's mask takes from it.
const NEW: Mode = Mode::from_bits_truncate(0o666);
/// The bits of a mode that a new content keeps. Those by which a program gets its owner's rights are not among them: whoever
/// wrote it is somebody else.
const KEPT: u32 = 0o777;

/// What a place has to be.
fn regular(path: &Path, there: &There) -> Result<(), Failure> {
    match there.kind() {
        SFlag::S_IFREG => Ok(()),
        SFlag::S_IFDIR => Err(Failure::invalid(format!("{} is a directory", shown(path)))),
        _ => Err(Failure::invalid(format!("{} is no regular file", shown(path)))),
    }
}

fn open_to_read(path: &Path, follow: bool) -> Result<File, Failure> {
    let failed = |errno| Failure::of(path, errno);
    let there =
        find(path, Follow::all(follow)).map_err(failed)?.there.ok_or_else(|| failed(Errno::ENOENT))?;
    regular_or_link(path, &there)?;
    there.reopen(OFlag::O_RDONLY).map_err(failed)
}

/// A link is only found where links are not followed.
fn regular_or_link(path: &Path, there: &There) -> Result<(), Failure> {
    if there.is_link() { Err(Failure::of(path, Errno::ELOOP)) } else { regular(path, there) }
}

/// Sends the whole content.
pub(super) fn read(path: &Path, follow: bool, most: u64) -> Carried {
    let mut file = match open_to_read(path, follow) {
        Ok(file) => file,
        Err(failure) => return Ok(Err(failure)),
    };
    let too_large = |size: u64| Failure {
        kind: FailureKind::TooLarge,
        message: format!(
            "{} has {size} bytes or more, and {most} are the most that are read at once; fs/open and fs/readBlock \
             read a file in pieces",
            shown(path)
        ),
    };
    // A file of the kernel's says 0, whatever is in it.
    match file.metadata() {
        Ok(status) if status.len() > most => return Ok(Err(too_large(status.len()))),
        Ok(_) => {}
        Err(error) => return Ok(Err(Failure::of(path, errno(&error)))),
    }
    let mut chunk = vec![0; PIECE];
    let mut total = 0_u64;
    loop {
        let count = match file.read(&mut chunk) {
            Ok(0) => return Ok(json(&super::Nothing {})),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Ok(Err(Failure::of(path, errno(&error)))),
        };
        total += u64::try_from(count).unwrap_or(u64::MAX);
        if total > most {
            return Ok(Err(too_large(total)));
        }
        say_data(chunk.get(..count).unwrap_or_default())?;
    }
}

/// A new content beside the old one, which it will take the place of.
struct Beside {
    directory: OwnedFd,
    name: OsString,
    file: File,
    placed: bool,
}

impl Beside {
    fn new(directory: OwnedFd, mode: Mode) -> Result<Self, Errno> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        for _ in 0..ATTEMPTS {
            let name = OsString::from(format!(".codex-write-{}", uuid::Uuid::new_v4().simple()));
            match openat(&directory, name.as_os_str(), flags, mode) {
                Ok(file) => return Ok(Self { directory, name, file: file.into(), placed: false }),
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::EEXIST)
    }

    fn place(&mut self, name: &OsString) -> Result<(), Errno> {
        let directory = self.directory.as_fd();
        renameat(directory, self.name.as_os_str(), directory, name.as_os_str())?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.placed
            && let Err(errno) = unlinkat(&self.directory, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir)
        {
            tracing::warn!("{}: left over: {errno}", shown(&self.name));
        }
    }
}

/// Whether the directory, and not the file, is what can't be written.
const fn is_about_the_directory(errno: Errno) -> bool {
    matches!(errno, Errno::EACCES | Errno::EPERM | Errno::EROFS | Errno::EBUSY | Errno::EXDEV)
}

/// Puts the content that follows in the place of what is there.
pub(super) fn write(
    path: &Path,
    follow: bool,
    body: &mut Body<'_>,
) -> Result<Result<Option<PathBuf>, Failure>, Broken> {
    let mut target = match Target::find(path, follow) {
        Ok(target) => target,
        Err(failure) => return Ok(Err(failure)),
    };
    while let Some(piece) = body.next()? {
        if let Err(failure) = target.take(&piece) {
            return Ok(Err(failure));
        }
    }
    Ok(target.finish())
}

/// Takes a content, in pieces.
pub(super) struct Target<'p> {
    path: &'p Path,
    there: Option<There>,
    /// By its real path.
    at: Option<PathBuf>,
    name: OsString,
    to: To,
}

enum To {
    Beside(Beside),
    /// Where there is no room beside it.
    InPlace(File),
}

impl<'p> Target<'p> {
    /// Finds the place, and begins beside it.
    pub(super) fn find(path: &'p Path, follow: bool) -> Result<Self, Failure> {
        let failed = |errno| Failure::of(path, errno);
        let place = find(path, Follow::all(follow)).map_err(failed)?;
        Self::at(path, place)
    }

    pub(super) fn at(path: &'p Path, place: Place) -> Result<Self, Failure> {
        let failed = |errno| Failure::of(path, errno);
        let Place { name: Some((directory, name)), there } = place else {
            return Err(failed(Errno::EISDIR));
        };
        if let Some(there) = &there {
            if there.is_directory() {
                return Err(failed(Errno::EISDIR));
            }
            regular_or_link(path, there)?;
            // Whoever may write the directory, and not the file, does not write the file.
            match there.reopen(OFlag::O_WRONLY) {
                // A program that runs is written as a new file.
                Ok(_) | Err(Errno::ETXTBSY) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        let at = path_of(directory.as_fd()).map(|above| above.join(&name));
        // Until it is whole, nobody else has business with it.
        let mode = if there.is_some() { Mode::S_IRUSR | Mode::S_IWUSR } else { NEW };
        let to = match (Beside::new(directory, mode), &there) {
            (Ok(beside), _) => To::Beside(beside),
            (Err(errno), Some(there)) if is_about_the_directory(errno) => {
                To::InPlace(emptied(there).map_err(failed)?)
            }
            (Err(errno), _) => return Err(failed(errno)),
        };
        Ok(Self { path, there, at, name, to })
    }

    pub(super) fn take(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let file = match &mut self.to {
            To::Beside(beside) => &mut beside.file,
            To::InPlace(file) => file,
        };
        file.write_all(piece).map_err(|error| Failure::of(self.path, errno(&error)))
    }

    /// Keeps a mode where a new file comes to be.
    pub(super) fn with_mode(self, mode: u32) -> Result<Self, Failure> {
        if let (To::Beside(beside), None) = (&self.to, &self.there) {
            fchmod(&beside.file, Mode::from_bits_truncate(mode & KEPT))
                .map_err(|errno| Failure::of(self.path, errno))?;
        }
        Ok(self)
    }

    /// Puts it in place, and says where that is.
    pub(super) fn finish(self) -> Result<Option<PathBuf>, Failure> {
        let failed = |errno| Failure::of(self.path, errno);
        let To::Beside(mut beside) = self.to else { return Ok(self.at) };
        if let Some(there) = &self.there {
            take_over(&beside.file, &there.status).map_err(failed)?;
        }
        match (beside.place(&self.name), &self.there) {
            (Ok(()), _) => Ok(self.at),
            (Err(errno), Some(there)) if is_about_the_directory(errno) => {
                // A directory whose names only their owners change, or a name that is pinned: what is in it can change.
                let copied = emptied(there).and_then(|mut file| {
                    beside.file.rewind().map_err(|error| super::facts::errno(&error))?;
                    std::io::copy(&mut beside.file, &mut file).map_err(|error| super::facts::errno(&error))
                });
                copied.map(|_bytes| self.at).map_err(failed)
            }
            (Err(errno), _) => Err(failed(errno)),
        }
    }
}

/// The same file, with nothing in it.
fn emptied(there: &There) -> Result<File, Errno> {
    let file = there.reopen(OFlag::O_WRONLY)?;
    file.set_len(0).map_err(|error| errno(&error))?;
    Ok(file)
}

/// Gives a new content what the old one had.
fn take_over(file: &File, before: &FileStat) -> Result<(), Errno> {
    if (before.st_uid, before.st_gid) != (Uid::effective().as_raw(), Gid::effective().as_raw()) {
        // Only root can, and a file of one's own is no worse.
        match fchown(file, Some(Uid::from_raw(before.st_uid)), Some(Gid::from_raw(before.st_gid))) {
            Ok(()) | Err(Errno::EPERM | Errno::EINVAL) => {}
            Err(errno) => return Err(errno),
        }
    }
    fchmod(file, Mode::from_bits_truncate(before.st_mode & KEPT))
}

/// Opens a file that stays open.
pub(super) fn open(path: &Path, mode: OpenMode) -> Result<File, Failure> {
    let failed = |errno| Failure::of(path, errno);
    if mode == OpenMode::Read {
        return open_to_read(path, true);
    }
    for _ in 0..ATTEMPTS {
        let place = find(path, Follow::All).map_err(failed)?;
        if let Some(there) = &place.there {
            regular(path, there)?;
            return emptied(there).map_err(failed);
        }
        let Some((directory, name)) = place.name else { return Err(failed(Errno::EISDIR)) };
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(&directory, name.as_os_str(), flags, NEW) {
            Ok(file) => return Ok(file.into()),
            // It has come to be since.
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Err(failed(Errno::EEXIST))
}

fn unknown() -> Failure {
    Failure { kind: crate::files::FailureKind::NotFound, message: "the file is not open any more".to_owned() }
}

/// Sends a piece of an open file; the result says whether that is its end.
pub(super) fn read_block(file: Option<&File>, offset: u64, length: u64) -> Carried {
    let Some(file) = file else { return Ok(Err(unknown())) };
    let mut left = length;
    let mut at = offset;
    let mut chunk = vec![0; PIECE];
    let mut eof = false;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let count = match file.read_at(chunk.get_mut(..most).unwrap_or_default(), at) {
            Ok(0) => {
                eof = true;
                break;
            }
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Ok(Err(Failure::of("an open file", errno(&error)))),
        };
        say_data(chunk.get(..count).unwrap_or_default())?;
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        (left, at) = (left.saturating_sub(count), at.saturating_add(count));
    }
    // What ends exactly here has ended as well.
    eof =
        eof || file.metadata().is_ok_and(|status| status.is_file() && status.len() > 0 && at >= status.len());
    Ok(json(&EndOfFile { eof }))
}

/// What a worker says of a block.
#[derive(serde::Serialize)]
struct EndOfFile {
    eof: bool,
}

pub(super) fn write_block(
    file: Option<&File>,
    offset: u64,
    body: &mut Body<'_>,
) -> Result<Result<(), Failure>, Broken> {
    let Some(file) = file else { return Ok(Err(unknown())) };
    let mut at = offset;
    while let Some(piece) = body.next()? {
        if let Err(error) = file.write_all_at(&piece, at) {
            return Ok(Err(Failure::of("an open file", errno(&error))));
        }
        at = at.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
    }
    Ok(Ok(()))
}
