//! Finding repositories in a tree that nobody vouches for.

use std::collections::{HashSet, VecDeque};
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::dir::{Dir, Type};
use nix::fcntl::AtFlags;
use nix::sys::stat::{SFlag, fstatat};

use super::below::open_listing;

/// How a repository shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// There is a `.git` in the directory, whatever it is.
    WorkTree,
    /// The directory itself is what git takes for a git directory: it has `HEAD`, and `objects` and `refs` or a
    /// `commondir` that says where these are.
    Bare,
}

/// A directory that git would take for a repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// Where, from the root. Empty for the root itself.
    pub(crate) relative: PathBuf,
    pub(crate) kind: Kind,
}

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Directories to read, and to remember for reading.
    pub(crate) directories: usize,
    /// Directories that are read whatever the time is: a clock goes on while others have the processor.
    pub(crate) least: usize,
    pub(crate) time: Duration,
}

/// What a walk has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Walked {
    pub(crate) places: Vec<Place>,
    /// How many directories were read.
    pub(crate) directories: usize,
    /// Which could not be.
    pub(crate) unreadable: Vec<PathBuf>,
    /// Whether nothing was left for want of time or room.
    pub(crate) complete: bool,
    pub(crate) cost: Duration,
}

/// Entries between two looks at the clock: a directory may have millions.
const ENTRIES_A_LOOK: usize = 1024;

/// Walks a tree breadth first, so that what a bound cuts off is deep down. Links are not followed, and nothing is opened
/// but directories. `stop` is asked now and then.
pub(crate) fn walk(root: BorrowedFd<'_>, bounds: Bounds, stop: &mut dyn FnMut() -> bool) -> Walked {
    let started = Instant::now();
    let mut walked = Walked { complete: true, ..Walked::default() };
    let mut queue = VecDeque::from([PathBuf::new()]);
    let mut ends = |in_time: bool| stop() || !in_time && started.elapsed() > bounds.time;
    while let Some(relative) = queue.pop_front() {
        if walked.directories >= bounds.directories || ends(walked.directories < bounds.least) {
            walked.complete = false;
            break;
        }
        walked.directories += 1;
        let mut directory = match open_listing(root, &relative) {
            Ok(Some(directory)) => directory,
            Ok(None) => continue,
            Err(_) => {
                walked.unreadable.push(relative);
                continue;
            }
        };
        let listing = list(&mut directory, &mut || ends(false));
        walked.complete &= listing.complete;
        if listing.git {
            walked.places.push(Place { relative: relative.clone(), kind: Kind::WorkTree });
        }
        // Gone into all the same: three names make a directory one, and `modules` or `logs` in it may be anything.
        if listing.is_bare() {
            walked.places.push(Place { relative: relative.clone(), kind: Kind::Bare });
        }
        let room = bounds.directories.saturating_sub(walked.directories + queue.len());
        walked.complete &= listing.below.len() <= room;
        for name in listing.below.into_iter().take(room) {
            queue.push_back(relative.join(name));
        }
    }
    walked.cost = started.elapsed();
    walked
}

/// What matters of a directory's entries.
#[derive(Default)]
struct Listing {
    git: bool,
    head: bool,
    objects: bool,
    refs: bool,
    common: bool,
    below: Vec<PathBuf>,
    complete: bool,
}

impl Listing {
    const fn is_bare(&self) -> bool {
        self.head && (self.common || self.objects && self.refs)
    }
}

fn list(directory: &mut Dir, late: &mut dyn FnMut() -> bool) -> Listing {
    let mut listing = Listing { complete: true, ..Listing::default() };
    let mut unsure: Vec<PathBuf> = Vec::new();
    for (number, entry) in directory.iter().enumerate() {
        let Ok(entry) = entry else { break };
        if number % ENTRIES_A_LOOK == ENTRIES_A_LOOK - 1 && late() {
            listing.complete = false;
            break;
        }
        let name = bytes(entry.file_name());
        // A file system may take `.GIT` for the same; where it does not, looking at it costs little.
        match name {
            b"." | b".." => continue,
            _ if name.eq_ignore_ascii_case(b".git") => listing.git = true,
            _ if name.eq_ignore_ascii_case(b"HEAD") => listing.head = true,
            _ => {
                listing.objects |= name.eq_ignore_ascii_case(b"objects");
                listing.refs |= name.eq_ignore_ascii_case(b"refs");
                listing.common |= name.eq_ignore_ascii_case(b"commondir");
                match entry.file_type() {
                    Some(Type::Directory) => listing.below.push(Path::new(OsStr::from_bytes(name)).into()),
                    None => unsure.push(Path::new(OsStr::from_bytes(name)).into()),
                    Some(_) => {}
                }
            }
        }
    }
    unsure.retain(|name| is_directory(&*directory, name));
    listing.below.append(&mut unsure);
    listing
}

/// Whether a name is a directory, on a file system that does not say so in its listings.
fn is_directory(directory: impl AsFd, name: &Path) -> bool {
    let flags = AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_NO_AUTOMOUNT;
    fstatat(directory, name, flags)
        .is_ok_and(|status| status.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits())
}

/// What is right in a directory, as far as one look goes.
pub(crate) struct Top {
    /// The names in lower case. `None` where there are too many, or where a file system may compare them by more than
    /// ASCII letters (`K`, the sign of the unit, is a `k` to some).
    names: Option<HashSet<Vec<u8>>>,
    /// Some of the directories.
    directories: Vec<PathBuf>,
}

impl Top {
    /// How much of a directory is read.
    const ENTRIES: usize = 512;
    /// How many of the directories in it are looked into.
    const DIRECTORIES: usize = 64;

    pub(crate) fn read(place: impl AsFd) -> Self {
        let mut top = Self { names: None, directories: Vec::new() };
        let Ok(Some(mut listing)) = open_listing(place, Path::new("")) else { return top };
        let mut names = HashSet::new();
        let mut plain = true;
        for entry in listing.iter().take(Self::ENTRIES).flatten() {
            let name = bytes(entry.file_name());
            plain &= name.is_ascii();
            names.insert(name.to_ascii_lowercase());
            if entry.file_type() == Some(Type::Directory)
                && top.directories.len() < Self::DIRECTORIES
                && !matches!(name, b"." | b".." | b".git")
            {
                top.directories.push(PathBuf::from(OsStr::from_bytes(name)));
            }
        }
        top.names = (plain && names.len() < Self::ENTRIES).then_some(names);
        top
    }

    /// Whether a name is certainly not there, whatever the file system takes for the same name.
    pub(crate) fn lacks(&self, name: &OsStr) -> bool {
        let names = self.names.as_ref();
        names.is_some_and(|names| !names.contains(&*name.as_bytes().to_ascii_lowercase()))
    }

    /// Whether something by this name, in lower case, may be there.
    pub(crate) fn may_have(&self, name: &[u8]) -> bool {
        self.names.as_ref().is_none_or(|names| names.contains(name))
    }

    /// The repositories in the directory itself and in those right in it: for what was made since the last walk.
    pub(crate) fn repositories(&self, place: BorrowedFd<'_>) -> Vec<Place> {
        let inner = self.directories.iter().map(PathBuf::as_path);
        let here = (!self.lacks(OsStr::new(".git"))).then(|| Path::new(""));
        here.into_iter()
            .chain(inner)
            .filter(|relative| fstatat(place, &relative.join(".git"), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok())
            .map(|relative| Place { relative: relative.to_owned(), kind: Kind::WorkTree })
            .collect()
    }
}

fn bytes(name: &CStr) -> &[u8] {
    name.to_bytes()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{AsFd as _, Bounds, Duration, Path, walk};
    use crate::policy::protected::below::open_root;

    #[test]
    fn a_walk_ends_at_each_of_its_bounds() {
        let scratch = tempfile::tempdir().unwrap();
        for number in 0..20 {
            fs::create_dir_all(scratch.path().join(format!("d{number}/deep/repo/.git"))).unwrap();
        }
        fs::create_dir_all(scratch.path().join("d0/.git")).unwrap();
        let root = open_root(scratch.path()).unwrap();
        let go = |directories, seconds, stop: bool| {
            let bounds = Bounds { directories, least: 0, time: Duration::from_secs(seconds) };
            walk(root.as_fd(), bounds, &mut || stop)
        };
        let whole = go(1000, 60, false);
        assert!(whole.complete && whole.unreadable.is_empty());
        assert_eq!((whole.directories, whole.places.len()), (61, 21));
        assert_eq!(whole.places[0].relative, Path::new("d0"));
        let few = go(21, 60, false);
        assert!(!few.complete);
        assert_eq!((few.directories, few.places.len()), (21, 1));
        assert!(!go(1000, 60, true).complete && !go(1000, 0, false).complete);
        // What is small is walked whole, however late it is.
        let late = |least, stop: bool| {
            let bounds = Bounds { directories: 1000, least, time: Duration::ZERO };
            let walked = walk(root.as_fd(), bounds, &mut || stop);
            (walked.directories, walked.complete)
        };
        assert_eq!(late(61, false), (61, true));
        assert_eq!(late(60, false), (60, false));
        assert_eq!(late(0, false), (0, false));
        assert_eq!(late(61, true), (0, false));
    }
}
