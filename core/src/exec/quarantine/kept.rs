//! What was protected before the call and has been replaced during it.
//!
//! A mount holds against everybody inside, and not against the outside: where somebody there renames something over the
//! protected file, or away, the kernel drops the mount in every sandbox, and what stands there afterwards is writable.
//! Editors and `git config` save that way, and so does this program when the end of another call finds something to move.
//! What came to stand there is as little to be trusted as what came to a name that was free.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::harmless::{Disarmer, Root, root_of};
use super::journal::micros;
use crate::policy::protected::below::{open_below, open_place};
use crate::policy::protected::git_directory::{MOST_CONFIGURATION, read_below};
use crate::policy::protected::seen::{Seen, Unchanged};

/// Names of git's configuration, which is cut down instead of taken away.
const CONFIGURATION: [&str; 2] = ["config", "config.worktree"];

/// Something as it stood before the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) path: PathBuf,
    pub(super) device: u64,
    pub(super) inode: u64,
    /// When it was made, in microseconds, where the file system tells: numbers of inodes are used again.
    pub(super) born: Option<u64>,
}

impl Kept {
    /// What stands at a path now. `None` where there is nothing, or where it can't be looked at.
    pub(super) fn at(path: &Path, roots: &[Root]) -> Option<Self> {
        let (root, relative) = root_of(roots, path)?;
        let status = File::from(open_below(&root.place, relative, OFlag::O_PATH).ok()?).metadata().ok()?;
        let born = status.created().ok().and_then(|born| u64::try_from(micros(born)).ok());
        Some(Self { path: path.to_owned(), device: status.dev(), inode: status.ino(), born })
    }

    /// Whether the directory that it stands in has the entries that it had.
    pub(super) fn is_still_there(&self, unchanged: &Unchanged) -> bool {
        self.path.parent().is_some_and(|parent| unchanged.holds(parent))
    }

    /// Whether something else stands there.
    pub(super) fn is_replaced(&self, roots: &[Root]) -> bool {
        Self::at(&self.path, roots).is_some_and(|now| now != *self)
    }
}

/// What the configurations of judged repositories said before the call.
#[derive(Debug, Default)]
pub(super) struct Configurations(HashMap<PathBuf, Vec<u8>>);

impl Configurations {
    /// Reads those among the protected paths that belong to one of the git directories.
    pub(super) fn read(kept: &[Kept], judged: &HashSet<PathBuf>, roots: &[Root], seen: &mut Seen) -> Self {
        let mut text = |kept: &Kept| {
            let (parent, name) = (kept.path.parent()?, kept.path.file_name()?);
            if !is_configuration(name) || !judged.contains(parent) {
                return None;
            }
            let text = seen.take_configuration(&kept.path).or_else(|| {
                let (root, relative) = root_of(roots, &kept.path)?;
                read_below(&root.place, relative, MOST_CONFIGURATION)
            })?;
            Some((kept.path.clone(), text))
        };
        Self(kept.iter().filter_map(&mut text).collect())
    }

    fn before(&self, path: &Path) -> &[u8] {
        self.0.get(path).map_or(&[], Vec::as_slice)
    }
}

/// Takes away what was replaced, and out of a configuration what neither stood in it before nor is known to run nothing.
/// What lies in an `unchanged` directory was not replaced.
pub(super) fn check_kept(
    kept: &[Kept],
    configurations: &Configurations,
    unchanged: &Unchanged,
    disarmer: &mut Disarmer<'_>,
) {
    let roots = disarmer.roots;
    for one in kept.iter().filter(|one| !one.is_still_there(unchanged) && one.is_replaced(roots)) {
        let Some((root, relative)) = root_of(roots, &one.path) else { continue };
        let (Some(parent), Some(name)) = (relative.parent(), relative.file_name()) else { continue };
        match (name.to_str().filter(|_| is_configuration(name)), open_place(&root.place, parent)) {
            (Some(name), Ok(place)) => {
                disarmer.configuration(root, &place, parent, name, configurations.before(&one.path));
            }
            _ => disarmer.take(root, relative, super::Why::Replaced),
        }
    }
}

fn is_configuration(name: &OsStr) -> bool {
    CONFIGURATION.iter().any(|one| name == *one)
}
