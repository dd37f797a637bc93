//! Directories that a command has closed to the very user it runs as.
//!
//! A search can't list them, and git can work in them all the same: to find `.git` takes no more than the right to search.
//! Opened again by a later call, they would hold what nobody has looked at. So they are opened now.

use std::fs::{File, Permissions, set_permissions};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::geteuid;

use super::harmless::{Root, is_recent};
use super::journal::Interval;
use crate::policy::protected::below::open_place;
use crate::policy::protected::walk::Walked;

/// To list and to search, for the owner.
const OPEN: u32 = 0o500;
/// Directories closed within closed ones: more than a path has components that anybody would type.
const DEEPEST: usize = 64;

/// Walks a root, and again for as long as something was closed in the time in question and could be opened.
pub(super) fn walk_closed(
    root: &Root,
    intervals: &[Interval],
    mut walk: impl FnMut(&Root) -> Walked,
) -> Walked {
    let mut walked = walk(root);
    for _ in 0..DEEPEST {
        let opened = walked.unreadable.iter().filter(|closed| open_up(root, closed, intervals)).count();
        if opened == 0 {
            break;
        }
        let before = walked.cost;
        walked = walk(root);
        walked.cost += before;
    }
    walked
}

/// Opens a directory as a place, its way opened first where it was closed in the time in question. Closed before, it is as
/// good as not there: who runs as the same user could put nothing into it.
pub(super) fn open_way(root: &Root, relative: &Path, intervals: &[Interval]) -> Result<OwnedFd, Errno> {
    for _ in 0..DEEPEST {
        match open_place(&root.place, relative) {
            Err(Errno::EACCES) if open_up(root, relative, intervals) => {}
            Err(Errno::EACCES) if !way_is_recent(root, relative, intervals) => return Err(Errno::ENOENT),
            answer => return answer,
        }
    }
    Err(Errno::EACCES)
}

/// Whether a directory on a way that can be looked at is of the time in question.
fn way_is_recent(root: &Root, relative: &Path, intervals: &[Interval]) -> bool {
    let seen = |way: &&Path| root.entry(way).is_ok();
    relative.ancestors().filter(seen).any(|way| is_recent(root, way, intervals))
}

/// Gives the owner the rights back on the first directory of a way that lacks them. Says whether there was one.
fn open_up(root: &Root, closed: &Path, intervals: &[Interval]) -> bool {
    let mut ways: Vec<PathBuf> = closed.ancestors().map(Path::to_owned).collect();
    ways.reverse();
    ways.iter().any(|way| {
        let Ok(place) = root.entry(way) else { return false };
        let place = File::from(place);
        let Ok(status) = place.metadata() else { return false };
        if !status.is_dir()
            || status.mode() & OPEN == OPEN
            || status.uid() != geteuid().as_raw()
            || !is_recent(root, way, intervals)
        {
            return false;
        }
        // By its descriptor, so that it is the directory that was looked at.
        let itself = format!("/proc/self/fd/{}", place.as_raw_fd());
        set_permissions(itself, Permissions::from_mode((status.mode() | OPEN) & 0o7777)).is_ok()
    })
}
