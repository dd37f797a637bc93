//! What a look before a call has seen, for the one after it: a directory that nothing has come to since needs no second.
//!
//! Whatever changes the entries of a directory changes the time of its change (`ctime`), which no command can set. The
//! kernel's clock for it goes in steps, and those of file systems in larger ones, up to two seconds. So a time counts only
//! where it was well past when the directory was looked at; what was changed just before is looked at again.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::stat::FileStat;
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FsType, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs,
};

/// File systems of which it is known that the time changes with every entry. Others may be a server's, or a program's.
const KNOWN: [FsType; 5] =
    [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC, OVERLAYFS_SUPER_MAGIC];
/// How long before the look a change has to be.
const SETTLED: Duration = Duration::from_secs(3);

/// A directory at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

impl State {
    pub(crate) fn of(status: &FileStat) -> Self {
        Self { device: status.st_dev, inode: status.st_ino, changed: (status.st_ctime, status.st_ctime_nsec) }
    }
}

/// What was seen before a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// When the first look was taken, in seconds.
    at: i64,
    /// Devices of known file systems.
    devices: HashSet<u64>,
    /// By their paths: as a path, each would be taken apart to be found.
    directories: HashMap<OsString, State>,
    /// Git directories with neither submodules nor linked work trees.
    plain: HashSet<PathBuf>,
    /// What git's configurations said.
    configurations: HashMap<PathBuf, Vec<u8>>,
}

impl Default for Seen {
    fn default() -> Self {
        let now =
            SystemTime::now().checked_sub(SETTLED).and_then(|then| then.duration_since(UNIX_EPOCH).ok());
        Self {
            at: now.and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0),
            devices: HashSet::new(),
            directories: HashMap::new(),
            plain: HashSet::new(),
            configurations: HashMap::new(),
        }
    }
}

impl Seen {
    /// Trusts times however late they are: for tests, whose directories are all new. They see to it that the clock goes on
    /// before the next change.
    #[cfg(test)]
    pub(crate) fn trusting() -> Self {
        Self { at: i64::MAX, ..Self::default() }
    }

    /// Takes note of a root, whose file system is one that times can be trusted of, or is not.
    pub(crate) fn root(&mut self, place: impl AsFd, status: &FileStat) {
        if fstatfs(place).is_ok_and(|file_system| KNOWN.contains(&file_system.filesystem_type())) {
            self.devices.insert(status.st_dev);
        }
    }

    /// Takes note of a directory before anything is looked up in it.
    pub(crate) fn directory(&mut self, path: &Path, status: &FileStat) {
        let state = State::of(status);
        if self.devices.contains(&state.device)
            && state.changed.0 < self.at
            && !self.directories.contains_key(path.as_os_str())
        {
            self.directories.insert(path.as_os_str().to_owned(), state);
        }
    }

    pub(crate) fn plain(&mut self, git: &Path) {
        self.plain.insert(git.to_owned());
    }

    pub(crate) fn configuration(&mut self, path: PathBuf, text: &[u8]) {
        self.configurations.insert(path, text.to_owned());
    }

    /// What a configuration said, if it was read.
    pub(crate) fn take_configuration(&mut self, path: &Path) -> Option<Vec<u8>> {
        self.configurations.remove(path)
    }

    /// The directories that are as they were, by what they are now.
    pub(crate) fn unchanged(self, now: impl Fn(&Path) -> Option<State>) -> Unchanged {
        let mut directories = HashSet::new();
        for (path, state) in self.directories {
            if now(Path::new(&path)) == Some(state) {
                directories.insert(path);
            }
        }
        Unchanged { directories, plain: self.plain }
    }
}

/// Where nothing has come to be, or gone, since the look before a call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unchanged {
    directories: HashSet<OsString>,
    plain: HashSet<PathBuf>,
}

impl Unchanged {
    /// Whether a directory has the entries that it had.
    pub(crate) fn holds(&self, directory: &Path) -> bool {
        self.directories.contains(directory.as_os_str())
    }

    /// Whether a git directory had no submodules and no linked work trees, and has none.
    pub(crate) fn is_plain(&self, git: &Path) -> bool {
        self.holds(git) && self.plain.contains(git)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::MetadataExt as _;
    use std::path::Path;

    use nix::sys::stat::stat;

    use super::{Seen, State};

    /// Sees a directory as if it had been made long before, if times can be trusted there.
    fn seen(path: &Path) -> Option<Seen> {
        let status = stat(path).unwrap();
        let mut seen = Seen::trusting();
        seen.root(File::open(path).unwrap(), &status);
        seen.directory(path, &status);
        (!seen.directories.is_empty()).then_some(seen)
    }

    fn is_unchanged(seen: &Seen, path: &Path) -> bool {
        seen.clone().unchanged(|path| stat(path).ok().map(|status| State::of(&status))).holds(path)
    }

    #[test]
    fn whatever_comes_or_goes_is_a_change() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("directory");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("one"), "").unwrap();
        fs::write(scratch.path().join("outside"), "").unwrap();
        // Makes the next change fall into another step of the clock.
        let step = |path: &Path| {
            let was = fs::metadata(path).unwrap().ctime_nsec();
            let probe = scratch.path().join("probe");
            while fs::write(&probe, "").is_ok() && fs::metadata(&probe).unwrap().ctime_nsec() == was {
                fs::remove_file(&probe).unwrap();
            }
        };
        let inside = |name: &str| directory.join(name);
        let changes: [&dyn Fn(); 7] = [
            &|| fs::write(inside("two"), "").unwrap(),
            &|| fs::rename(inside("two"), inside("three")).unwrap(),
            &|| fs::rename(scratch.path().join("outside"), inside("one")).unwrap(),
            &|| fs::hard_link(inside("one"), inside("link")).unwrap(),
            &|| std::os::unix::fs::symlink("one", inside("symlink")).unwrap(),
            &|| fs::create_dir(inside("deeper")).unwrap(),
            &|| fs::remove_file(inside("one")).unwrap(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let Some(before) = seen(&directory) else {
                eprintln!("SKIPPED: a file system that is not known");
                return;
            };
            assert!(is_unchanged(&before, &directory), "{number}");
            step(&directory);
            change();
            assert!(!is_unchanged(&before, &directory), "{number}");
        }
        let before = seen(&directory).unwrap();
        step(&directory);
        fs::write(inside("three"), "other").unwrap();
        fs::write(inside("deeper/one"), "").unwrap();
        assert!(is_unchanged(&before, &directory), "neither is an entry of it");
    }

    #[test]
    fn what_was_changed_just_before_is_not_trusted() {
        let scratch = tempfile::tempdir().unwrap();
        let status = stat(scratch.path()).unwrap();
        let mut seen = Seen::default();
        seen.root(File::open(scratch.path()).unwrap(), &status);
        seen.directory(scratch.path(), &status);
        assert!(seen.directories.is_empty());
    }
}
