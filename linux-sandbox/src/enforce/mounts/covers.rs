//! What lies on top of hidden places.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};

use super::memory::Memory;
use crate::enforce::walk::Walk;
use crate::error::{SetupError, Step};
use crate::sys::{self, MountAttributes};

/// What a mount that is only read has.
pub(super) const READ: MountAttributes =
    MountAttributes::READ_ONLY.and(MountAttributes::NO_SET_USER_ID).and(MountAttributes::NO_DEVICES);

/// Nothing can be listed, and what is shown in it can be reached.
const WAY: Mode = Mode::S_IXUSR.union(Mode::S_IXGRP).union(Mode::S_IXOTH);

/// What was made so far.
pub(super) struct Covers<'m> {
    memory: &'m Memory,
    /// Whether there is a directory that nobody may open.
    directory: bool,
    /// Whether there is such a file.
    file: bool,
    /// Directories with something shown in them.
    deep: Vec<OwnedFd>,
}

impl<'m> Covers<'m> {
    pub(super) const fn of(memory: &'m Memory) -> Self {
        Self { memory, directory: false, file: false, deep: Vec::new() }
    }

    /// Something without content to put over a place.
    pub(super) fn over(
        &mut self,
        place: BorrowedFd<'_>,
        deeper: bool,
        path: &Path,
    ) -> Result<OwnedFd, SetupError> {
        let call = |call| move |errno| SetupError::call(Step::Places, call, errno).on(path);
        let directory = is_directory(place).map_err(call("fstat"))?;
        if directory && deeper {
            let cover = self.memory.directory(&format!("cover-{}", self.deep.len()), WAY)?;
            self.deep.push(cover.try_clone().map_err(|_full| call("fcntl")(Errno::EMFILE))?);
            return Ok(cover);
        }
        let (made, name) =
            if directory { (&mut self.directory, "cover") } else { (&mut self.file, "cover-file") };
        let cover = match (std::mem::replace(made, true), directory) {
            (true, _) => self.memory.again(name)?,
            (false, true) => self.memory.directory(name, Mode::empty())?,
            (false, false) => self.memory.file(name)?,
        };
        sys::set_mount_attributes(cover.as_fd(), READ, false).map_err(call("mount_setattr"))?;
        Ok(cover)
    }

    /// Makes a place for a mount where an empty directory lies on top of the one that had it.
    pub(super) fn make_way(
        &self,
        walk: &mut Walk<'_>,
        path: &Path,
        mount: &OwnedFd,
    ) -> Result<(), SetupError> {
        let call = |call| move |errno| SetupError::call(Step::Places, call, errno).on(path);
        match walk.place(path) {
            Ok(_) => return Ok(()),
            Err(error) if error.errno == Some(Errno::ENOENT) => {}
            Err(error) => return Err(error),
        }
        let missing: Vec<&Path> = path.ancestors().take_while(|above| walk.place(above).is_err()).collect();
        for place in missing.into_iter().rev() {
            let (Some(above), Some(name)) = (place.parent(), place.file_name()) else { continue };
            let above = walk.place(above)?;
            if place != path || is_directory(mount.as_fd()).map_err(call("fstat"))? {
                mkdirat(above, name, WAY).map_err(call("mkdirat"))?;
            } else {
                let file = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
                drop(openat(above, name, file, Mode::empty()).map_err(call("openat"))?);
            }
        }
        Ok(())
    }

    /// Nothing is put into a cover from here on.
    pub(super) fn close(self) -> Result<(), SetupError> {
        self.deep.iter().try_for_each(|cover| {
            sys::set_mount_attributes(cover.as_fd(), READ, false)
                .map_err(|errno| SetupError::call(Step::Places, "mount_setattr", errno))
        })
    }
}

fn is_directory(place: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mode = fstat(place)?.st_mode;
    Ok(SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR)
}
