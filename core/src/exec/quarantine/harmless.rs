//! Making a repository that a command has made harmless: it stays a repository, and git runs nothing because of it.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use codex_linux_sandbox::is_within;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat};

use super::journal::Interval;
use super::keeper::{Keeper, Taken, names};
use super::{Quarantined, Why};
use crate::policy::protected::below::{open_below, open_place};
use crate::policy::protected::git_config::{Disarmed, disarm_since};
use crate::policy::protected::git_directory::{
    MOST_CONFIGURATION, NAMES, directories, path_of_line, pointer_target, read_below,
};
use crate::policy::protected::walk::{Kind, Place};

const MOST_POINTER: usize = 8 * 1024;
/// Submodules within submodules.
const DEEPEST: usize = 16;
const MOST_INNER: usize = 10_000;

/// A writable root, opened.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) path: PathBuf,
    pub(super) place: OwnedFd,
}

impl Root {
    /// Something in it, as a place, or it itself: a directory that can't be searched has no way to itself.
    pub(super) fn entry(&self, relative: &Path) -> Result<OwnedFd, Errno> {
        if relative.as_os_str().is_empty() {
            return self.place.try_clone().map_err(|_full| Errno::EMFILE);
        }
        open_below(&self.place, relative, OFlag::O_PATH)
    }
}

/// Goes through repositories, and takes out of them what would run.
pub(super) struct Disarmer<'a> {
    pub(super) keeper: &'a mut Keeper,
    pub(super) roots: &'a [Root],
    /// What was there before the call, and protected in it.
    pub(super) known: &'a HashSet<PathBuf>,
    /// When what is new came to be.
    pub(super) intervals: &'a [Interval],
    pub(super) found: Vec<Quarantined>,
    /// Git directories gone through.
    seen: HashSet<PathBuf>,
}

impl<'a> Disarmer<'a> {
    pub(super) fn new(
        keeper: &'a mut Keeper,
        roots: &'a [Root],
        known: &'a HashSet<PathBuf>,
        intervals: &'a [Interval],
    ) -> Self {
        Self { keeper, roots, known, intervals, found: Vec::new(), seen: HashSet::new() }
    }

    /// Whether something is of the time in question: made, moved there or changed.
    pub(super) fn is_recent(&self, root: &Root, relative: &Path) -> bool {
        is_recent(root, relative, self.intervals)
    }

    /// Goes through a repository that the search has found, unless it is known or of another time.
    pub(super) fn repository(&mut self, root: &Root, Place { relative, kind }: &Place) {
        match kind {
            Kind::Bare => {
                if self.is_new(root, relative) {
                    self.git_directory(root, relative, DEEPEST);
                }
            }
            Kind::WorkTree => {
                let git = relative.join(".git");
                if !self.is_new(root, &git) {
                    return;
                }
                match fstatat(&root.place, &git, AtFlags::AT_SYMLINK_NOFOLLOW)
                    .map(|status| kind_of(status.st_mode))
                {
                    Ok(SFlag::S_IFDIR) => self.git_directory(root, &git, DEEPEST),
                    Ok(SFlag::S_IFREG) => self.pointer(root, &git),
                    Ok(_) => self.take(root, &git, Why::RepositoryLink),
                    Err(_) => {}
                }
            }
        }
    }

    /// The submodules and linked work trees that came to a repository which was there before.
    pub(super) fn inside_known(&mut self, root: &Root, git: &Path) {
        if let Ok(place) = open_place(&root.place, git) {
            self.inner(root, &place, git, DEEPEST);
        }
    }

    fn is_new(&self, root: &Root, git: &Path) -> bool {
        !self.known.contains(&root.path.join(git))
            && (self.is_recent(root, git)
                || NAMES.iter().any(|name| {
                    let inner = git.join(name);
                    fstatat(&root.place, &inner, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
                        && self.is_recent(root, &inner)
                })
                || self.has_recent_hook(root, git))
    }

    /// Whether a hook was written that stood there before: that changes neither the directory nor what it is in.
    fn has_recent_hook(&self, root: &Root, git: &Path) -> bool {
        let hooks = git.join("hooks");
        let Ok(place) = open_place(&root.place, git) else { return false };
        names(place.as_fd(), OsStr::new("hooks"))
            .is_ok_and(|inner| inner.iter().any(|name| self.is_recent(root, &hooks.join(name))))
    }

    /// A `.git` file may lead to a git directory that is known or harmless by now, and nowhere else.
    fn pointer(&mut self, root: &Root, git: &Path) {
        let text = read_below(&root.place, git, MOST_POINTER);
        let base = root.path.join(git.parent().unwrap_or(Path::new("")));
        let target = text.as_deref().and_then(pointer_target).map(|target| base.join(target));
        let target = target.and_then(|target| std::fs::canonicalize(target).ok());
        let inside = target.as_deref().and_then(|target| root_of(self.roots, target));
        match (inside, &target) {
            (Some((root, relative)), Some(target)) => {
                if !self.known.contains(target) {
                    self.git_directory(root, relative, DEEPEST);
                }
            }
            _ => self.take(root, git, Why::Pointer),
        }
    }

    fn git_directory(&mut self, root: &Root, git: &Path, depth: usize) {
        let path = root.path.join(git);
        if depth == 0 || self.known.contains(&path) || !self.seen.insert(path.clone()) {
            return;
        }
        let Ok(place) = open_place(&root.place, git) else {
            // It can't be looked into, and whoever may can't be protected from it.
            return self.take(root, git, Why::RepositoryLink);
        };
        self.common_directory(root, &place, git);
        self.hooks(root, &place, git);
        for name in ["config", "config.worktree"] {
            self.configuration(root, &place, git, name, b"");
        }
        if fstatat(&place, "info/attributes", AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() {
            self.take(root, &git.join("info/attributes"), Why::Attributes);
        }
        self.inner(root, &place, git, depth);
    }

    fn inner(&mut self, root: &Root, place: &OwnedFd, git: &Path, depth: usize) {
        let mut left = MOST_INNER;
        for name in directories(place, Path::new("worktrees"), &mut left) {
            let relative = git.join("worktrees").join(name);
            if self.is_new(root, &relative) {
                self.git_directory(root, &relative, depth.saturating_sub(1));
            }
        }
        let mut queue = vec![(PathBuf::from("modules"), depth)];
        while let Some((below, depth)) = queue.pop() {
            for name in directories(place, &below, &mut left) {
                let module = below.join(name);
                if fstatat(place, &module.join("HEAD"), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() {
                    let relative = git.join(&module);
                    if self.is_new(root, &relative) {
                        self.git_directory(root, &relative, depth.saturating_sub(1));
                    }
                } else if depth > 0 {
                    queue.push((module, depth - 1));
                }
            }
        }
    }

    /// `commondir` makes git take configuration and hooks from elsewhere; a linked work tree's leads two levels up.
    fn common_directory(&mut self, root: &Root, place: &OwnedFd, git: &Path) {
        if fstatat(place, "commondir", AtFlags::AT_SYMLINK_NOFOLLOW).is_err() {
            return;
        }
        let path = root.path.join(git);
        let text = read_below(place, Path::new("commondir"), MOST_POINTER);
        let target =
            text.as_deref().and_then(path_of_line).and_then(|to| std::fs::canonicalize(path.join(to)).ok());
        let worktrees = path.parent().filter(|parent| parent.ends_with("worktrees"));
        let expected = worktrees.and_then(Path::parent);
        if target.is_none() || target.as_deref() != expected {
            self.take(root, &git.join("commondir"), Why::Pointer);
        }
    }

    fn hooks(&mut self, root: &Root, place: &OwnedFd, git: &Path) {
        let hooks = git.join("hooks");
        match fstatat(place, "hooks", AtFlags::AT_SYMLINK_NOFOLLOW).map(|status| kind_of(status.st_mode)) {
            Ok(SFlag::S_IFDIR) => {
                let Ok(inner) = names(place.as_fd(), OsStr::new("hooks")) else {
                    return self.take(root, &hooks, Why::Hook);
                };
                for name in inner.iter().filter(|name| !name.as_bytes().ends_with(b".sample")) {
                    self.take(root, &hooks.join(name), Why::Hook);
                }
            }
            Ok(_) => self.take(root, &hooks, Why::Hook),
            Err(_) => {}
        }
    }

    /// Cuts a configuration down to what runs nothing, and to what stood in it `before`.
    pub(super) fn configuration(
        &mut self,
        root: &Root,
        place: &OwnedFd,
        git: &Path,
        name: &str,
        before: &[u8],
    ) {
        let path = git.join(name);
        let Ok(status) = fstatat(place, name, AtFlags::AT_SYMLINK_NOFOLLOW) else { return };
        let text = match kind_of(status.st_mode) {
            SFlag::S_IFREG => read_below(place, Path::new(name), MOST_CONFIGURATION),
            _ => None,
        };
        let Some(text) = text else {
            self.take(root, &path, Why::Configuration { removed: Vec::new() });
            return self.write(place, name, before);
        };
        match disarm_since(before, &text, |way| self.is_own_work_tree(root, git, way)) {
            Disarmed::Harmless if status.st_nlink <= 1 => {}
            // By its other name the file could be changed again.
            Disarmed::Harmless => {
                self.take(root, &path, Why::Configuration { removed: Vec::new() });
                self.write(place, name, &text);
            }
            Disarmed::Replace { text, removed } => {
                let removed = removed.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
                self.take(root, &path, Why::Configuration { removed });
                self.write(place, name, &text);
            }
        }
    }

    /// Whether a submodule's git directory leads to a work tree whose `.git` leads back to it, as git makes them.
    fn is_own_work_tree(&self, root: &Root, git: &Path, way: &[u8]) -> bool {
        let git_directory = root.path.join(git);
        let Ok(tree) = std::fs::canonicalize(git_directory.join(OsStr::from_bytes(way))) else {
            return false;
        };
        let Some((holder, relative)) = root_of(self.roots, &tree) else { return false };
        let text = read_below(&holder.place, &relative.join(".git"), MOST_POINTER);
        let back = text.as_deref().and_then(pointer_target).map(|target| tree.join(target));
        back.and_then(|back| std::fs::canonicalize(back).ok()).is_some_and(|back| back == git_directory)
    }

    /// Writes what is left of a configuration. Without it, git takes the repository for one with the defaults.
    fn write(&mut self, place: &OwnedFd, name: &str, text: &[u8]) {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR | Mode::S_IRGRP | Mode::S_IROTH;
        drop(openat(place, name, flags, mode).map(|file| File::from(file).write_all(text)));
    }

    pub(super) fn take(&mut self, root: &Root, relative: &Path, why: Why) {
        let path = root.path.join(relative);
        let (Some(name), Some(parent)) = (relative.file_name(), relative.parent()) else { return };
        let taken = match open_place(&root.place, parent) {
            Ok(place) => self.keeper.take(place.as_fd(), path.parent().unwrap_or(&root.path), name),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Taken::Gone,
            Err(errno) => Taken::Stuck(errno),
        };
        self.found.extend(Quarantined::of(path, taken, why));
    }
}

/// The root that a path lies in, and the way from there.
pub(super) fn root_of<'r, 'p>(roots: &'r [Root], path: &'p Path) -> Option<(&'r Root, &'p Path)> {
    let root = roots.iter().find(|root| is_within(path, &root.path))?;
    Some((root, path.strip_prefix(&root.path).ok()?))
}

/// Whether something was made, moved to its place or changed in one of the intervals.
pub(super) fn is_recent(root: &Root, relative: &Path, intervals: &[Interval]) -> bool {
    let Ok(entry) = root.entry(relative) else { return true };
    let Ok(status) = File::from(entry).metadata() else { return true };
    let changed = u64::try_from(status.ctime()).ok().and_then(|seconds| {
        let nanos = u64::try_from(status.ctime_nsec()).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::new(seconds, u32::try_from(nanos).ok()?))
    });
    let times = [changed, status.created().ok()];
    times.into_iter().flatten().any(|time| intervals.iter().any(|interval| interval.holds(time)))
}

pub(super) fn kind_of(mode: u32) -> SFlag {
    SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits())
}
