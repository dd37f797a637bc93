//! What changes names: directories that come to be, what is removed, what is copied.

use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use codex_linux_sandbox::shown;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, mkdirat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use super::content::Target;
use super::facts::errno;
use super::place::{Follow, Place, There, find, find_from, identity, look, name_of, names, path_of, target};
use crate::files::order::{Failure, FailureKind};
use crate::files::wire::PIECE;

/// How deep a tree may be that is removed or copied: a descriptor is open for each level.
const DEEPEST: usize = 200;
/// What a directory that comes to be may have; the process's mask takes from it.
const NEW: Mode = Mode::from_bits_truncate(0o777);

/// Makes a directory.
pub(super) fn create_directory(
    path: &Path,
    recursive: bool,
    follow: bool,
) -> Result<Option<PathBuf>, Failure> {
    let failed = |errno| Failure::of(path, errno);
    if !recursive {
        return match find(path, Follow::way(follow)).map_err(failed)? {
            Place { name: Some((directory, name)), there: None } => {
                mkdirat(&directory, name.as_os_str(), NEW).map_err(failed)?;
                Ok(below(directory.as_fd(), &name))
            }
            Place { .. } => Err(failed(Errno::EEXIST)),
        };
    }
    // From the first one that is missing on, each below the one before.
    let mut missing = Vec::new();
    let mut above = path;
    let mut directory = loop {
        match find(above, Follow::all(follow)) {
            Ok(Place { there: Some(there), .. }) if there.is_directory() => break there.handle,
            Ok(Place { there: Some(there), .. }) if there.is_link() => return Err(failed(Errno::ELOOP)),
            Ok(Place { there: Some(_), .. }) => return Err(failed(Errno::ENOTDIR)),
            // A link to what is not there: the directory comes to be where it leads.
            Ok(Place { there: None, name: Some((directory, name)) }) => {
                break make(directory, &name, follow).map_err(failed)?;
            }
            Err(Errno::ENOENT) => {
                let name = above.file_name().ok_or_else(|| failed(Errno::ENOENT))?;
                missing.push(name.to_owned());
                above = above.parent().ok_or_else(|| failed(Errno::ENOENT))?;
            }
            Ok(Place { there: None, name: None }) => return Err(failed(Errno::ENOENT)),
            Err(errno) => return Err(failed(errno)),
        }
    };
    for name in missing.iter().rev() {
        directory = make(directory, name, follow).map_err(failed)?;
    }
    Ok(path_of(directory.as_fd()))
}

/// Makes a directory, or takes one that somebody else has made at this moment.
fn make(directory: OwnedFd, name: &OsStr, follow: bool) -> Result<OwnedFd, Errno> {
    match mkdirat(&directory, name, NEW) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno),
    }
    let place = find_from(directory, Path::new(name), Follow::all(follow))?;
    let there = place.there.ok_or(Errno::ENOENT)?;
    if there.is_directory() { Ok(there.handle) } else { Err(Errno::ENOTDIR) }
}

/// Removes what is there. A link itself, and never what it leads to.
pub(super) fn remove(
    path: &Path,
    recursive: bool,
    force: bool,
    follow: bool,
) -> Result<Option<PathBuf>, Failure> {
    let failed = |errno| Failure::of(path, errno);
    let place = match find(path, Follow::way(follow)) {
        Err(Errno::ENOENT) if force => return Ok(None),
        found => found.map_err(failed)?,
    };
    let Place { name: Some((directory, name)), there } = place else {
        return Err(Failure::invalid(format!("{} has no name that could be removed", shown(path))));
    };
    let Some(there) = there else {
        return if force { Ok(None) } else { Err(failed(Errno::ENOENT)) };
    };
    let flag = if there.is_directory() {
        if recursive {
            empty(path, &there, 0)?;
        }
        UnlinkatFlags::RemoveDir
    } else {
        UnlinkatFlags::NoRemoveDir
    };
    unlinkat(&directory, name.as_os_str(), flag).map_err(failed)?;
    Ok(below(directory.as_fd(), &name))
}

/// The path of a name in a directory.
fn below(directory: BorrowedFd<'_>, name: &OsStr) -> Option<PathBuf> {
    path_of(directory).map(|above| above.join(name))
}

fn too_deep(path: &Path) -> Failure {
    Failure {
        kind: FailureKind::Other,
        message: format!("{} lies deeper than {DEEPEST} directories", shown(path)),
    }
}

/// The names in a directory, all at once: it changes while they are gone through.
fn all_names(directory: &There) -> Result<Vec<OsString>, Errno> {
    let mut found = Vec::new();
    for entry in names(directory)?.iter() {
        found.extend(name_of(&entry?));
    }
    Ok(found)
}

fn empty(path: &Path, directory: &There, depth: usize) -> Result<(), Failure> {
    if depth >= DEEPEST {
        return Err(too_deep(path));
    }
    for name in all_names(directory).map_err(|errno| Failure::of(path, errno))? {
        let inside = path.join(&name);
        let handle = directory.handle.as_fd();
        let there = match look(handle, &name) {
            Ok(there) => there,
            // Somebody else was faster.
            Err(Errno::ENOENT) => continue,
            Err(errno) => return Err(Failure::of(inside, errno)),
        };
        let flag = if there.is_directory() {
            empty(&inside, &there, depth + 1)?;
            UnlinkatFlags::RemoveDir
        } else {
            UnlinkatFlags::NoRemoveDir
        };
        match unlinkat(handle, name.as_os_str(), flag) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(Failure::of(inside, errno)),
        }
    }
    Ok(())
}

/// Copies a file, a link as a link or, where that is asked for, a directory with what is in it.
pub(super) fn copy(source: &Path, destination: &Path, recursive: bool) -> Result<Option<PathBuf>, Failure> {
    let there = find(source, Follow::Way)
        .and_then(|place| place.there.ok_or(Errno::ENOENT))
        .map_err(|errno| Failure::of(source, errno))?;
    let failed = |errno| Failure::of(destination, errno);
    if !there.is_directory() {
        let follow = if there.is_link() { Follow::Way } else { Follow::All };
        return copy_one(source, &there, destination, find(destination, follow).map_err(failed)?);
    }
    if !recursive {
        return Err(Failure::invalid(format!(
            "{} is a directory, and is only copied where `recursive` says so",
            shown(source)
        )));
    }
    let place = find(destination, Follow::All).map_err(failed)?;
    let into = match &place {
        Place { there: Some(there), .. } => path_of(there.handle.as_fd()),
        Place { name: Some((directory, name)), .. } => below(directory.as_fd(), name),
        Place { there: None, name: None } => None,
    };
    let into = into.ok_or_else(|| failed(Errno::ENOENT))?;
    let from = path_of(there.handle.as_fd()).ok_or_else(|| Failure::of(source, Errno::ENOENT))?;
    if into.starts_with(&from) {
        return Err(Failure::invalid(format!(
            "{} lies in {}, which can't be copied into itself",
            shown(destination),
            shown(source)
        )));
    }
    copy_tree(source, &there, destination, place, 0)?;
    Ok(Some(into))
}

fn copy_one(
    source: &Path,
    there: &There,
    destination: &Path,
    place: Place,
) -> Result<Option<PathBuf>, Failure> {
    let failed = |errno| Failure::of(destination, errno);
    match there.kind() {
        SFlag::S_IFLNK => {
            let leads = target(there).map_err(|errno| Failure::of(source, errno))?;
            let Some((directory, name)) = place.name else { return Err(failed(Errno::EEXIST)) };
            symlinkat(leads.as_path(), &directory, name.as_os_str()).map_err(failed)?;
            Ok(below(directory.as_fd(), &name))
        }
        SFlag::S_IFREG => {
            let from = |errno| Failure::of(source, errno);
            if place.there.as_ref().is_some_and(|at| identity(&at.status) == identity(&there.status)) {
                return Err(Failure::invalid(format!("{} is the same file", shown(destination))));
            }
            let mut file = there.reopen(OFlag::O_RDONLY).map_err(from)?;
            let mut target = Target::at(destination, place)?.with_mode(there.status.st_mode)?;
            let mut chunk = vec![0; PIECE];
            loop {
                match file.read(&mut chunk) {
                    Ok(0) => return target.finish(),
                    Ok(count) => target.take(chunk.get(..count).unwrap_or_default())?,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(from(errno(&error))),
                }
            }
        }
        _ => Err(Failure::invalid(format!("{} is neither file nor directory nor link", shown(source)))),
    }
}

fn copy_tree(
    source: &Path,
    there: &There,
    destination: &Path,
    place: Place,
    depth: usize,
) -> Result<(), Failure> {
    let failed = |errno| Failure::of(destination, errno);
    if depth >= DEEPEST {
        return Err(too_deep(source));
    }
    let directory = match place {
        Place { there: Some(at), .. } if at.is_directory() => at.handle,
        Place { there: Some(_), .. } => return Err(failed(Errno::ENOTDIR)),
        Place { there: None, name: Some((above, name)) } => {
            // What is in it is put there by us, whatever its mode will be.
            make(above, &name, false).map_err(failed)?
        }
        Place { there: None, name: None } => return Err(failed(Errno::ENOENT)),
    };
    for name in all_names(there).map_err(|errno| Failure::of(source, errno))? {
        let (from, to) = (source.join(&name), destination.join(&name));
        let inside = match look(there.handle.as_fd(), &name) {
            Ok(inside) => inside,
            // It has gone since.
            Err(Errno::ENOENT) => continue,
            Err(errno) => return Err(Failure::of(from, errno)),
        };
        let start = directory.try_clone().map_err(|error| failed(errno(&error)))?;
        // No link in the copy is followed: what is below the destination is written below it.
        let place = find_from(start, Path::new(&name), Follow::Way)
            .map_err(|errno| Failure::of(to.as_path(), errno))?;
        if inside.is_directory() {
            copy_tree(&from, &inside, &to, place, depth + 1)?;
        } else {
            copy_one(&from, &inside, &to, place)?;
        }
    }
    Ok(())
}
