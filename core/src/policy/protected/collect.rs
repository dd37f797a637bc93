//! From roots and repositories to what has to be protected: existing things, their places, and what does not exist yet.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use codex_linux_sandbox::{PlainPath, by_component, is_within};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, readlinkat};
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat};

use super::absent::{AbsentNames, Names};
use super::below::{open_place, open_root};
use super::note::ProtectionNote;
use super::seen::Seen;
use super::walk::{Kind, Place, Top};
use super::{GitProtection, Protection, ProtectionSettings, WatchedLink};
use crate::policy::trace::{Known, trace};

/// A writable root, opened.
pub(super) struct Root {
    pub(super) path: PathBuf,
    pub(super) place: OwnedFd,
}

/// Gathers a [`Protection`].
pub(super) struct Collector<'s> {
    pub(super) settings: &'s ProtectionSettings,
    names: Names,
    pub(super) roots: Vec<Rc<Root>>,
    known: Known,
    git_directories: HashSet<PathBuf>,
    read_only: BTreeSet<PlainPath>,
    pinned: BTreeSet<PlainPath>,
    absent: Vec<AbsentNames>,
    /// Beside those, what was found missing one by one.
    missing: BTreeMap<PathBuf, Vec<PathBuf>>,
    pub(super) seen: Seen,
    links: Vec<WatchedLink>,
    repositories: BTreeSet<PlainPath>,
    pub(super) notes: Vec<ProtectionNote>,
}

impl<'s> Collector<'s> {
    pub(super) fn new<'r>(
        settings: &'s ProtectionSettings,
        roots: impl Iterator<Item = &'r Path>,
        seen: Seen,
    ) -> Self {
        let mut notes = Vec::new();
        let mut opened = Vec::new();
        for path in roots {
            match open_root(path) {
                Ok(place) => opened.push(Rc::new(Root { path: path.to_owned(), place })),
                Err(errno) => notes.push(ProtectionNote::Unreadable { path: path.to_owned(), errno }),
            }
        }
        Self {
            settings,
            names: Names::new(settings.paths()),
            roots: opened,
            known: Known::default(),
            git_directories: HashSet::new(),
            read_only: BTreeSet::new(),
            pinned: BTreeSet::new(),
            absent: Vec::new(),
            missing: BTreeMap::new(),
            seen,
            links: Vec::new(),
            repositories: BTreeSet::new(),
            notes,
        }
    }

    /// The names at the top of a root, and the repositories found below it.
    pub(super) fn root(&mut self, index: usize, top: &Top, places: &[Place]) {
        let Some(root) = self.roots.get(index).cloned() else { return };
        let Root { path, place } = &*root;
        self.names_at_top(place, top, path.clone());
        // A root in a root, where it is no repository, which has all of that by itself.
        let tops: Vec<PathBuf> =
            self.settings.tops.iter().filter(|top| top.starts_with(path)).cloned().collect();
        for directory in tops {
            let Ok(relative) = directory.strip_prefix(path) else { continue };
            let is_known = places.iter().any(|place| place.relative == relative);
            if relative.as_os_str().is_empty() || is_known {
                continue;
            }
            match open_place(place, relative) {
                Ok(top) => {
                    self.see(&top, &directory);
                    self.names_at_top(&top, &Top::read(&top), directory.clone());
                    // It is no more to be replaced than a root that is a mount.
                    self.pin(directory);
                }
                Err(errno) => self.notes.push(ProtectionNote::Unreadable { path: directory, errno }),
            }
        }
        for Place { relative, kind } in places {
            let directory = path.join(relative);
            match open_place(place, relative) {
                Ok(top) if relative.as_os_str().is_empty() => self.repository(&top, path.clone(), *kind),
                Ok(top) => {
                    self.see(&top, &directory);
                    self.names_at_top(&top, &Top::read(&top), directory.clone());
                    self.repository(&top, directory, *kind);
                }
                // It is gone since it was found.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
                Err(errno) => self.notes.push(ProtectionNote::Unreadable { path: directory, errno }),
            }
        }
    }

    fn repository(&mut self, top: &OwnedFd, directory: PathBuf, kind: Kind) {
        if self.settings.git == GitProtection::Open {
            return;
        }
        match kind {
            Kind::Bare => self.git_directory(directory, None),
            Kind::WorkTree => {
                let git = directory.join(".git");
                match fstatat(top, ".git", AtFlags::AT_SYMLINK_NOFOLLOW) {
                    Ok(status) => self.git_entry(git, &status, directory),
                    Err(Errno::ENOENT) => {}
                    Err(errno) => self.notes.push(ProtectionNote::Unreadable { path: git, errno }),
                }
            }
        }
    }

    /// What stands at a `.git`: the directory, a file that points to it, or a link.
    fn git_entry(&mut self, git: PathBuf, status: &FileStat, work_tree: PathBuf) {
        self.repositories.insert(PlainPath::new(git.clone()));
        match kind(status) {
            SFlag::S_IFDIR => self.git_directory(git, Some(work_tree)),
            SFlag::S_IFLNK => {
                if let Some(target) = self.link(git) {
                    self.git_directory(target, Some(work_tree));
                }
            }
            _ => {
                let target = self.pointer(&git);
                self.existing(git, status);
                if let Some(target) = target.and_then(|target| self.resolve(&target)) {
                    self.git_directory(target, Some(work_tree));
                }
            }
        }
    }

    /// Notes a git directory that exists.
    pub(super) fn found(&mut self, path: &Path) {
        self.repositories.insert(PlainPath::new(path.to_owned()));
    }

    /// Marks a git directory as met. False where it was before, or where no command can write it anyway.
    pub(super) fn enter_git_directory(&mut self, path: &Path) -> bool {
        if self.root_of(path).is_none() || !self.git_directories.insert(path.to_owned()) {
            return false;
        }
        true
    }

    /// Keeps a git directory's place, unless it is a root, which has one.
    pub(super) fn pin(&mut self, path: PathBuf) {
        if self.roots.iter().any(|root| root.path == path) {
            return;
        }
        self.pin_ancestors(&path);
        self.pinned.insert(PlainPath::new(path));
    }

    /// Takes note of a root before it is looked into.
    pub(super) fn see_root(&mut self, root: &Root) {
        if let Ok(status) = fstat(&root.place) {
            self.seen.root(&root.place, &status);
            self.seen.directory(&root.path, &status);
        }
    }

    /// Takes note of a directory before it is looked into.
    pub(super) fn see(&mut self, place: impl AsFd, path: &Path) {
        if let Ok(status) = fstat(place) {
            self.seen.directory(path, &status);
        }
    }

    fn names_at_top(&mut self, place: impl AsFd, top: &Top, directory: PathBuf) {
        let (absent, there) = self.names.split(|first| top.may_have(first));
        for name in &there {
            self.name(place.as_fd(), &directory, name);
        }
        self.absent.push(AbsentNames { directory, names: absent });
    }

    /// Protects names in a directory, whether they exist or not.
    pub(super) fn names<N: AsRef<Path>>(&mut self, place: impl AsFd, directory: &Path, names: &[N]) {
        for name in names {
            self.name(place.as_fd(), directory, name.as_ref());
        }
    }

    fn name(&mut self, place: impl AsFd, directory: &Path, name: &Path) {
        let mut so_far = PathBuf::new();
        let mut rest = name.components();
        let mut missing = name;
        while let Some(component) = rest.next() {
            so_far.push(component);
            match fstatat(place.as_fd(), &so_far, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(status) if kind(&status) == SFlag::S_IFLNK => {
                    if let Some(target) = self.link(directory.join(&so_far)) {
                        self.protect(&target.join(rest.as_path()));
                    }
                    return;
                }
                Ok(status) if rest.as_path().as_os_str().is_empty() => {
                    return self.existing(directory.join(name), &status);
                }
                Ok(status) => {
                    self.seen.directory(&directory.join(&so_far), &status);
                    missing = rest.as_path();
                }
                Err(Errno::ENOENT | Errno::ENOTDIR) => break,
                Err(errno) => {
                    self.notes.push(ProtectionNote::Unreadable { path: directory.to_owned(), errno });
                    break;
                }
            }
        }
        let whole = directory.join(name);
        let above = missing.iter().count();
        let directory = whole.ancestors().nth(above).unwrap_or(directory).to_owned();
        self.missing.entry(directory).or_default().push(missing.to_owned());
    }

    /// Protects a path that something in the tree names, where commands could write it.
    pub(super) fn protect(&mut self, path: &Path) {
        let Some(resolved) = self.resolve(path) else { return };
        if let Some((root, relative)) = self.root_of(&resolved)
            && !relative.as_os_str().is_empty()
        {
            self.name(&root.place, &root.path, &relative);
        }
    }

    fn existing(&mut self, path: PathBuf, status: &FileStat) {
        if kind(status) == SFlag::S_IFREG && status.st_nlink > 1 {
            let names = status.st_nlink;
            self.notes.push(ProtectionNote::OtherNames { path: path.clone(), names });
        }
        self.pin_ancestors(&path);
        self.read_only.insert(PlainPath::new(path));
    }

    /// A link where something is protected: no mount can hold it, so that it is compared after the call. Its target, where
    /// a command could write that.
    fn link(&mut self, path: PathBuf) -> Option<PathBuf> {
        let (root, relative) = self.root_of(&path)?;
        let target = PathBuf::from(readlinkat(&root.place, &relative).ok()?);
        self.pin_ancestors(&path);
        self.notes.push(ProtectionNote::Link { path: path.clone() });
        self.links.push(WatchedLink { path: path.clone(), target });
        self.resolve(&path).filter(|target| *target != path)
    }

    /// Where a path leads in the end, the links on its way watched too.
    fn resolve(&mut self, path: &Path) -> Option<PathBuf> {
        let way = trace(path, &mut self.known).ok()?;
        for link in way.links {
            if link != path
                && !self.links.iter().any(|known| known.path == link)
                && let Some((root, relative)) = self.root_of(&link)
                && let Ok(target) = readlinkat(&root.place, &relative)
            {
                self.pin_ancestors(&link);
                self.links.push(WatchedLink { path: link, target: PathBuf::from(target) });
            }
        }
        Some(way.resolved)
    }

    /// The root that a path lies in, and the way from there.
    pub(super) fn root_of(&self, path: &Path) -> Option<(Rc<Root>, PathBuf)> {
        let root = self.roots.iter().find(|root| is_within(path, &root.path))?;
        Some((Rc::clone(root), path.strip_prefix(&root.path).ok()?.to_owned()))
    }

    /// Pins the directories between a root and a path, both left out: who could rename one of them, could put another
    /// tree in its place.
    fn pin_ancestors(&mut self, path: &Path) {
        let Some(root) = self.roots.iter().find(|root| is_within(path, &root.path)) else { return };
        for ancestor in path.ancestors().skip(1) {
            if ancestor.as_os_str() == root.path.as_os_str()
                || !self.pinned.insert(PlainPath::new(ancestor.to_owned()))
            {
                break;
            }
        }
    }

    pub(super) fn finish(self) -> Protection {
        // What lies in something read-only is so by it.
        let mut read_only: Vec<PathBuf> = Vec::new();
        for path in self.read_only {
            if !read_only.last().is_some_and(|above| is_within(&path, above)) {
                read_only.push(path.into_inner());
            }
        }
        // In this order, what holds a path stands right before where the path would stand.
        let covered = |path: &Path| {
            let after = read_only.partition_point(|above| by_component(above, path).is_le());
            after.checked_sub(1).and_then(|at| read_only.get(at)).is_some_and(|above| is_within(path, above))
        };
        let pinned =
            self.pinned.into_iter().filter(|path| !covered(path)).map(PlainPath::into_inner).collect();
        let mut absent = self.absent;
        let missing = self.missing.into_iter();
        absent.extend(missing.map(|(directory, names)| AbsentNames { directory, names: names.into() }));
        absent.retain_mut(|AbsentNames { directory, names }| {
            if covered(directory) {
                return false;
            }
            // What is read-only below the directory stands right behind it.
            let from = read_only.partition_point(|path| path <= &*directory);
            let below: Vec<&Path> =
                read_only.iter().skip(from).map_while(|path| path.strip_prefix(&*directory).ok()).collect();
            if names.iter().any(|name| below.iter().any(|below| is_within(name, below))) {
                let free = names.iter().filter(|name| !below.iter().any(|below| is_within(name, below)));
                *names = free.cloned().collect();
            }
            !names.is_empty()
        });
        Protection {
            git: self.settings.git,
            roots: self.roots.iter().map(|root| root.path.clone()).collect(),
            read_only,
            pinned,
            absent,
            links: self.links,
            repositories: self.repositories.into_iter().map(PlainPath::into_inner).collect(),
            notes: self.notes,
            seen: self.seen,
        }
    }
}

fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits())
}
