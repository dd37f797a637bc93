//! What is protected inside of a git directory.
//!
//! Left out on purpose: `objects`, `refs`, `HEAD`, `index` and `logs`, which every commit writes and which name no program;
//! `objects/info/alternates`, which adds objects that are checked by their names; `info/exclude` and `info/sparse-checkout`;
//! and the state of a rebase or a merge, which lists commands at times, and runs them only when somebody continues it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::fstatat;

use super::GitProtection;
use super::below::{open_below, open_listing, open_place};
use super::collect::Collector;
use super::git_config::{Entry, parse};
use super::note::ProtectionNote;

/// In a repository's git directory, and in a submodule's.
pub(crate) const NAMES: [&str; 5] = ["hooks", "config", "config.worktree", "info/attributes", "commondir"];
/// In the git directory of a linked work tree, which takes the rest from the common one.
pub(crate) const LINKED_NAMES: [&str; 3] = ["config.worktree", "commondir", "gitdir"];

/// More than any configuration of git's.
pub(crate) const MOST_CONFIGURATION: usize = 1 << 20;
/// A path, and a word before it.
const MOST_POINTER: usize = 8 * 1024;
/// Submodules and linked work trees of one repository that are looked for.
const MOST_INNER: usize = 1000;
/// Names of submodules hold slashes, but not that many.
const DEEPEST_MODULE: usize = 16;
/// Files that include one another.
const DEEPEST_INCLUDE: usize = 8;

impl Collector<'_> {
    /// Protects a git directory, where commands could write it, and those that belong to it.
    pub(super) fn git_directory(&mut self, path: PathBuf, work_tree: Option<PathBuf>) {
        if !self.enter_git_directory(&path) {
            return;
        }
        let Some((root, relative)) = self.root_of(&path) else { return };
        let place = match open_place(&root.place, &relative) {
            Ok(place) => place,
            // A pointer that dangles: what is put there would be trusted at once.
            Err(Errno::ENOENT) => return self.protect(&path),
            Err(errno) => return self.notes.push(ProtectionNote::Unreadable { path, errno }),
        };
        self.found(&path);
        self.see(&place, &path);
        let common = self.pointed_to(&place, &path, "commondir");
        if self.settings.git == GitProtection::ReadOnly {
            self.protect(&path);
        } else {
            self.pin(path.clone());
            if common.is_some() {
                self.names(&place, &path, &LINKED_NAMES);
            } else {
                self.names(&place, &path, &NAMES);
                let hooks_base = work_tree.unwrap_or_else(|| path.clone());
                for name in ["config", "config.worktree"] {
                    self.named_in(&place, Path::new(name), &path, &hooks_base, 0);
                }
                self.inner(&place, &path);
            }
        }
        if let Some(common) = common {
            self.git_directory(common, None);
        }
    }

    /// Protects the git directories inside of one.
    fn inner(&mut self, place: &OwnedFd, path: &Path) {
        let exists = |name| fstatat(place, name, AtFlags::AT_SYMLINK_NOFOLLOW) != Err(Errno::ENOENT);
        let (modules, linked) = (exists("modules"), exists("worktrees"));
        if !modules && !linked {
            return self.seen.plain(path);
        }
        let mut left = MOST_INNER;
        self.modules(place, path, Path::new("modules"), DEEPEST_MODULE, &mut left);
        self.linked(place, path, &mut left);
        if left == 0 {
            self.notes.push(ProtectionNote::TooMany { path: path.to_owned() });
        }
    }

    /// Where the file `.git` of a work tree points to.
    pub(super) fn pointer(&self, git: &Path) -> Option<PathBuf> {
        let (root, relative) = self.root_of(git)?;
        let text = read_below(&root.place, &relative, MOST_POINTER)?;
        Some(git.parent()?.join(pointer_target(&text)?))
    }

    fn pointed_to(&mut self, place: &OwnedFd, directory: &Path, name: &str) -> Option<PathBuf> {
        let text = read_below(place, Path::new(name), MOST_POINTER)?;
        std::fs::canonicalize(directory.join(path_of_line(&text)?)).ok()
    }

    /// Protects the files that a configuration includes, and the hooks that it names.
    fn named_in(&mut self, place: &OwnedFd, name: &Path, directory: &Path, hooks_base: &Path, depth: usize) {
        let Some(text) = read_below(place, name, MOST_CONFIGURATION) else { return };
        if depth == 0 {
            self.seen.configuration(directory.join(name), &text);
        }
        let Ok(entries) = parse(&text) else { return };
        let path =
            |entry: &Entry| entry.value.as_deref().map(|value| PathBuf::from(OsStr::from_bytes(value)));
        for entry in entries {
            if entry.is("core", "hookspath") {
                if let Some(hooks) = path(&entry) {
                    self.protect(&hooks_base.join(hooks));
                }
            } else if (entry.is("include", "path") || entry.is("includeif", "path"))
                && let Some(included) = path(&entry)
            {
                let file = directory.join(name).parent().unwrap_or(directory).join(included);
                self.protect(&file);
                if depth < DEEPEST_INCLUDE
                    && let Ok(file) = std::fs::canonicalize(&file)
                    && let Some((root, relative)) = self.root_of(&file)
                {
                    self.named_in(&root.place, &relative, &root.path, hooks_base, depth + 1);
                }
            }
        }
    }

    /// The git directories of submodules, at any depth below `modules`.
    fn modules(&mut self, place: &OwnedFd, git: &Path, below: &Path, depth: usize, left: &mut usize) {
        for name in directories(place, below, left) {
            let relative = below.join(name);
            let head = relative.join("HEAD");
            if fstatat(place, &head, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() {
                self.git_directory(git.join(&relative), None);
            } else if depth > 0 {
                self.modules(place, git, &relative, depth - 1, left);
            }
        }
    }

    fn linked(&mut self, place: &OwnedFd, git: &Path, left: &mut usize) {
        for name in directories(place, Path::new("worktrees"), left) {
            self.git_directory(git.join("worktrees").join(name), None);
        }
    }
}

/// The directories in a directory of a git directory. Mostly there is none.
pub(crate) fn directories(place: impl AsFd, below: &Path, left: &mut usize) -> Vec<PathBuf> {
    let Ok(Some(mut listing)) = open_listing(place, below) else { return Vec::new() };
    let mut names = Vec::new();
    for entry in listing.iter().flatten() {
        let name = entry.file_name().to_bytes();
        let file = entry.file_type().is_some_and(|kind| kind != nix::dir::Type::Directory);
        if !matches!(name, b"." | b"..") && !file {
            if *left == 0 {
                break;
            }
            *left -= 1;
            names.push(PathBuf::from(OsStr::from_bytes(name)));
        }
    }
    names
}

/// A small file below a place, if it is a regular one.
pub(crate) fn read_below(place: impl AsFd, relative: &Path, most: usize) -> Option<Vec<u8>> {
    let descriptor = open_below(place, relative, OFlag::O_RDONLY | OFlag::O_NONBLOCK).ok()?;
    let file = File::from(descriptor);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = vec![0; 4096];
    let length = file.read_at(&mut text, 0).ok()?;
    if length < text.len() {
        text.truncate(length);
        return Some(text);
    }
    text.clear();
    let most = u64::try_from(most).ok()?;
    file.take(most + 1).read_to_end(&mut text).ok()?;
    (u64::try_from(text.len()).ok()? <= most).then_some(text)
}

/// The path in `gitdir: PATH`.
pub(crate) fn pointer_target(text: &[u8]) -> Option<&Path> {
    path_of_line(text.strip_prefix(b"gitdir: ")?)
}

/// The path that a file consists of.
pub(crate) fn path_of_line(text: &[u8]) -> Option<&Path> {
    let end = text.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    let path = text.get(..end)?;
    (!path.is_empty() && !path.contains(&0)).then(|| Path::new(OsStr::from_bytes(path)))
}
