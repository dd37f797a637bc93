//! What a patch would do, worked out before anything is written.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use codex_linux_sandbox::shown;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};

use super::parse::{Change, Hunk, Line, Patch};
use super::place::{Bounds, Parent, Place, PlaceError};
use hunks::{HunkError, update};

mod hunks;

/// What is larger was not written by a model, and is not changed by one.
const LARGEST: u64 = 64 * 1024 * 1024;
/// The mode of a file that comes to be; the process's mask takes from it.
const NEW_MODE: u32 = 0o666;

/// Why a patch can't be applied. Nothing was written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A path.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A file that should be there is not.
    #[error("{path}: no such file to {verb}", path = shown(.path))]
    Missing {
        /// The path.
        path: PathBuf,
        /// What should be done with it.
        verb: &'static str,
    },
    /// A file that should not be there is.
    #[error("{path} exists already: update it, or delete it first", path = shown(.0))]
    Exists(PathBuf),
    /// A name that no patch can have, or one that nobody means.
    #[error(
        "{path}: there is no such file; U+FFFD stands for bytes of a name that are not UTF-8, and a patch can't name these: run a command",
        path = shown(.0)
    )]
    Unnamable(PathBuf),
    /// Neither file nor nothing.
    #[error("{path} is no regular file but {kind}", path = shown(.path))]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// Too large.
    #[error("{path} has {size} bytes, more than the {LARGEST} that a patch may change", path = shown(.path))]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// Its size.
        size: u64,
    },
    /// A hunk has no place in its file.
    #[error("{path}: hunk {index} of {count} (line {at} of the patch): {why}", path = shown(.path))]
    Hunk {
        /// The path.
        path: PathBuf,
        /// Which one, counted from 1.
        index: usize,
        /// How many there are.
        count: usize,
        /// The line of the patch, counted from 1.
        at: usize,
        /// Why.
        why: String,
    },
}

/// Which file it was, and in which state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, i64),
}

impl Identity {
    pub(super) const fn of(status: &nix::sys::stat::FileStat) -> Self {
        Self {
            device: status.st_dev,
            inode: status.st_ino,
            size: status.st_size,
            modified: (status.st_mtime, status.st_mtime_nsec),
        }
    }
}

/// A file as it was read.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) identity: Identity,
}

/// A file as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct After {
    pub(super) bytes: Vec<u8>,
    /// Nothing for a file that comes to be.
    pub(super) mode: Option<u32>,
    /// The owner and group of the file that it comes from.
    pub(super) owner: Option<(u32, u32)>,
}

/// One name, before and after.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) parent: Parent,
    pub(super) before: Option<Before>,
    pub(super) after: Option<After>,
    /// Whether what is there is to become something else.
    pub(super) changed: bool,
}

/// All that a patch does, ready to be done.
#[derive(Debug)]
pub struct Plan {
    pub(super) entries: Vec<Entry>,
    /// What is told of it: a letter and the path as written.
    pub(super) told: Vec<(char, String)>,
    /// What whoever wrote it should know.
    pub(super) notes: Vec<String>,
}

/// Works out what a patch does. Reads, and writes nothing.
///
/// # Errors
///
/// [`PlanError`] for the first change that can't be made.
pub fn plan(patch: &Patch, bounds: &Bounds) -> Result<Plan, PlanError> {
    let mut files = Files { bounds, entries: BTreeMap::new(), notes: Vec::new() };
    let mut told = Vec::new();
    for change in &patch.changes {
        let (letter, path) = match change {
            Change::Add { path, lines } => (files.add(path, lines)?, path),
            Change::Delete { path } => (files.delete(path)?, path),
            Change::Update { path, move_to, hunks } => {
                (files.update(path, move_to.as_deref(), hunks)?, move_to.as_ref().unwrap_or(path))
            }
        };
        told.push((letter, path.clone()));
    }
    let Files { entries, notes, .. } = files;
    Ok(Plan { entries: entries.into_values().filter(|entry| entry.changed).collect(), told, notes })
}

/// The files as they would be after the changes so far.
struct Files<'b> {
    bounds: &'b Bounds,
    entries: BTreeMap<PathBuf, Entry>,
    notes: Vec<String>,
}

impl Files<'_> {
    fn entry(&mut self, written: &str) -> Result<&mut Entry, PlanError> {
        let place = self.bounds.place(written)?;
        let is_lost = |name: &OsString| name.to_string_lossy().contains(char::REPLACEMENT_CHARACTER);
        match self.entries.entry(place.path.clone()) {
            std::collections::btree_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::btree_map::Entry::Vacant(free) => {
                let entry = read(place)?;
                let is_there = entry.after.is_some();
                if !is_there && entry.parent.missing.iter().chain([&entry.place.name]).any(is_lost) {
                    return Err(PlanError::Unnamable(entry.place.path));
                }
                Ok(free.insert(entry))
            }
        }
    }

    fn add(&mut self, path: &str, lines: &[String]) -> Result<char, PlanError> {
        let entry = self.entry(path)?;
        if entry.after.is_some() {
            return Err(PlanError::Exists(entry.place.path.clone()));
        }
        let mut bytes = Vec::new();
        for line in lines {
            bytes.extend_from_slice(line.as_bytes());
            bytes.push(b'\n');
        }
        entry.after = Some(After { bytes, mode: None, owner: None });
        entry.changed = true;
        Ok('A')
    }

    fn delete(&mut self, path: &str) -> Result<char, PlanError> {
        let entry = self.entry(path)?;
        if entry.after.take().is_none() {
            return Err(PlanError::Missing { path: entry.place.path.clone(), verb: "delete" });
        }
        entry.changed = true;
        Ok('D')
    }

    fn update(&mut self, path: &str, move_to: Option<&str>, hunks: &[Hunk]) -> Result<char, PlanError> {
        let entry = self.entry(path)?;
        let place = entry.place.path.clone();
        let Some(after) = &mut entry.after else {
            return Err(PlanError::Missing { path: place, verb: "update" });
        };
        let mixes = inserts_beyond_ascii(hunks) && std::str::from_utf8(&after.bytes).is_err();
        after.bytes = update(&after.bytes, hunks).map_err(|HunkError { index, why }| PlanError::Hunk {
            path: place,
            index: index + 1,
            count: hunks.len(),
            at: hunks.get(index).map_or(0, |hunk| hunk.at),
            why,
        })?;
        entry.changed = true;
        let moved = move_to.and_then(|_| entry.after.take());
        if mixes {
            self.notes.push(format!("{}: what was put in is UTF-8, and not all of the file is", shown(path)));
        }
        let Some(target) = move_to else { return Ok('M') };
        let target = self.entry(target)?;
        if target.after.is_some() {
            return Err(PlanError::Exists(target.place.path.clone()));
        }
        target.after = moved;
        target.changed = true;
        Ok('M')
    }
}

/// Whether what comes to be in a file reads differently by its encoding.
fn inserts_beyond_ascii(hunks: &[Hunk]) -> bool {
    hunks
        .iter()
        .flat_map(|hunk| &hunk.lines)
        .any(|line| matches!(line, Line::Insert(text) if !text.is_ascii()))
}

/// Reads what is at a place.
fn read(place: Place) -> Result<Entry, PlanError> {
    let parent = place.parent()?;
    let nothing = |place, parent| Entry { place, parent, before: None, after: None, changed: false };
    if !parent.missing.is_empty() {
        return Ok(nothing(place, parent));
    }
    let directory = parent.deepest.as_fd();
    let status = match fstatat(directory, place.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(status) => status,
        Err(Errno::ENOENT) => return Ok(nothing(place, parent)),
        Err(errno) => return Err(place.refused("fstatat")(errno).into()),
    };
    if let Some(kind) = kind(status.st_mode) {
        return Err(match kind {
            "a symbolic link" => PlaceError::Link(place.path).into(),
            kind => PlanError::NotAFile { path: place.path, kind },
        });
    }
    // Should it have become something else meanwhile, opening it neither follows nor waits.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let opened = openat(directory, place.name.as_os_str(), flags, Mode::empty());
    let mut file = File::from(opened.map_err(|errno| place.refused("openat")(errno))?);
    let failed = |error: &std::io::Error| {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        PlanError::from(place.refused("read")(errno))
    };
    let metadata = file.metadata().map_err(|error| failed(&error))?;
    if metadata.len() > LARGEST {
        return Err(PlanError::TooLarge { path: place.path, size: metadata.len() });
    }
    let mut bytes = Vec::new();
    file.by_ref().take(LARGEST).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    let status = nix::sys::stat::fstat(file.as_fd()).map_err(|errno| place.refused("fstat")(errno))?;
    let owner = (metadata.uid(), metadata.gid());
    let before = Before { identity: Identity::of(&status) };
    let after = After { bytes, mode: Some(metadata.mode() & 0o7777), owner: Some(owner) };
    Ok(Entry { place, parent, before: Some(before), after: Some(after), changed: false })
}

/// What a mode says a file is, unless it is a regular one.
fn kind(mode: u32) -> Option<&'static str> {
    match SFlag::from_bits_truncate(mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => None,
        SFlag::S_IFDIR => Some("a directory"),
        SFlag::S_IFLNK => Some("a symbolic link"),
        SFlag::S_IFIFO => Some("a FIFO"),
        SFlag::S_IFSOCK => Some("a socket"),
        _ => Some("a device"),
    }
}

impl After {
    /// The mode for the file that is written.
    pub(super) fn mode(&self) -> Mode {
        Mode::from_bits_truncate(self.mode.unwrap_or(NEW_MODE))
    }
}
