//! Rules about single places: what is writable, what is kept as it is, what can't be seen. Deeper ones go on top of
//! shallower ones.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use nix::unistd::geteuid;

use super::{memory, put};
use crate::enforce::walk::Walk;
use crate::error::{SetupError, Step};
use crate::plan::{Plan, PlanPath, Protected, Protection};
use crate::sys::{self, MountAttributes};

/// What root could read there tells of the whole host, and some of it is gone once it was read.
const KERNEL_DEBUGGING: [&str; 2] = ["/sys/kernel/debug", "/sys/kernel/tracing"];

/// What is done at a place. The later ones win where two rules name the same place.
#[derive(Debug)]
enum Rule {
    /// It is shown as it was, inside of what is hidden.
    Shown(OwnedFd),
    /// It can be written.
    Writable(OwnedFd),
    /// It stays where it is.
    Pinned,
    /// Nothing in it changes.
    ReadOnly,
    /// It can't be seen.
    Hidden,
}

impl Rule {
    const fn strength(&self) -> u8 {
        match self {
            Self::Shown(_) => 0,
            Self::Writable(_) => 1,
            Self::Pinned => 2,
            Self::ReadOnly => 3,
            Self::Hidden => 4,
        }
    }
}

/// The rules in the order in which they apply: paths are compared by component, so that a directory comes before what
/// is in it.
#[derive(Debug)]
pub(super) struct Arrangement {
    private_tmp: bool,
    rules: BTreeMap<PathBuf, Rule>,
}

impl Arrangement {
    /// Looks up every place, and takes hold of those that are shown as they are now.
    pub(super) fn plan(plan: &Plan, trees: &[PlanPath]) -> Result<Self, SetupError> {
        let places = &plan.places;
        let mut arrangement = Self { private_tmp: places.private_tmp, rules: BTreeMap::new() };
        let mut walk = Walk::new(Step::Places);
        for tree in trees {
            let mount = clone_of(walk.directory(tree)?, tree.path())?;
            arrangement.add(tree.path(), Rule::Writable(mount));
        }
        for place in &places.reopened {
            match walk.place(place.path()) {
                Ok(found) => {
                    let mount = clone_of(found, place.path())?;
                    arrangement.add(place.path(), Rule::Shown(mount));
                }
                Err(error) if error.errno == Some(Errno::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
        for Protected { path, protection } in &places.protected {
            let rule = match protection {
                Protection::ReadOnly => Rule::ReadOnly,
                Protection::Pinned => Rule::Pinned,
            };
            arrangement.keep(trees, path.path(), rule);
        }
        let debugging =
            KERNEL_DEBUGGING.iter().map(Path::new).filter(|_| !trees.is_empty() || geteuid().is_root());
        for path in places.denied.iter().map(PlanPath::path).chain(debugging) {
            match walk.place(path) {
                Ok(_) => arrangement.keep(trees, path, Rule::Hidden),
                // What is not there has nothing to be read. What the command puts there it knows.
                Err(error) if error.errno == Some(Errno::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(arrangement)
    }

    /// A rule that must not be got round by moving a directory above it away, in this call or for the next one: the
    /// directories between it and the writable tree stay where they are.
    fn keep(&mut self, trees: &[PlanPath], path: &Path, rule: Rule) {
        for tree in trees.iter().map(PlanPath::path) {
            let above =
                path.ancestors().skip(1).take_while(|above| *above != tree && above.starts_with(tree));
            above.for_each(|above| self.add(above, Rule::Pinned));
        }
        self.add(path, rule);
    }

    fn add(&mut self, path: &Path, rule: Rule) {
        match self.rules.get(path) {
            Some(present) if present.strength() >= rule.strength() => {}
            _ => drop(self.rules.insert(path.to_owned(), rule)),
        }
    }

    /// Puts every rule in place.
    pub(super) fn apply(self) -> Result<(), SetupError> {
        if self.private_tmp {
            put("/tmp", &memory(c"1777", MountAttributes::NO_DEVICES, "/tmp")?)?;
        }
        let paths: Vec<PathBuf> = self.rules.keys().cloned().collect();
        let mut walk = Walk::new(Step::Places);
        let mut covers = Covers::default();
        for (index, (path, rule)) in self.rules.into_iter().enumerate() {
            let attach = |walk: &mut Walk, mount: &OwnedFd| {
                sys::attach_mount(mount.as_fd(), walk.place(&path)?)
                    .map_err(|errno| SetupError::call(Step::Places, "move_mount", errno).on(&path))
            };
            match rule {
                Rule::Writable(mount) => {
                    let attributes = MountAttributes::NO_SET_USER_ID.and(MountAttributes::NO_DEVICES);
                    restrict(&mount, attributes, &path)?;
                    covers.make_way(&mut walk, &path, &mount)?;
                    attach(&mut walk, &mount)?;
                }
                Rule::Shown(mount) => {
                    restrict(&mount, READ, &path)?;
                    covers.make_way(&mut walk, &path, &mount)?;
                    attach(&mut walk, &mount)?;
                }
                Rule::Pinned => {
                    let mount = clone_of(walk.place(&path)?, &path)?;
                    attach(&mut walk, &mount)?;
                }
                Rule::ReadOnly => {
                    let mount = clone_of(walk.place(&path)?, &path)?;
                    restrict(&mount, READ, &path)?;
                    attach(&mut walk, &mount)?;
                }
                Rule::Hidden => {
                    let deeper = paths.get(index + 1).is_some_and(|next| next.starts_with(&path));
                    let mount = covers.over(walk.place(&path)?, deeper, &path)?;
                    attach(&mut walk, &mount)?;
                }
            }
            // What is mounted there now is something else.
            walk.forget_last();
        }
        covers.close()
    }
}

/// What a mount that is only read has.
const READ: MountAttributes =
    MountAttributes::READ_ONLY.and(MountAttributes::NO_SET_USER_ID).and(MountAttributes::NO_DEVICES);

fn clone_of(place: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, SetupError> {
    sys::clone_mount(place, true).map_err(|errno| SetupError::call(Step::Places, "open_tree", errno).on(path))
}

fn failed<'p>(call: &'static str, place: &'p str) -> impl Fn(Errno) -> SetupError + 'p {
    move |errno| SetupError::call(Step::Places, call, errno).on(place)
}

fn restrict(mount: &OwnedFd, attributes: MountAttributes, path: &Path) -> Result<(), SetupError> {
    sys::set_mount_attributes(mount.as_fd(), attributes, true)
        .map_err(|errno| SetupError::call(Step::Places, "mount_setattr", errno).on(path))
}

/// What lies on top of hidden places.
#[derive(Default)]
struct Covers {
    /// A file system with one directory and one file that nobody may open.
    plain: Option<OwnedFd>,
    /// Covers with something shown in them.
    deep: Vec<OwnedFd>,
}

const DIRECTORY: &str = "directory";
const FILE: &str = "file";
/// Nothing can be listed, and what is shown in it can be reached.
const WAY: Mode = Mode::S_IXUSR.union(Mode::S_IXGRP).union(Mode::S_IXOTH);

impl Covers {
    /// Something without content to put over a place.
    fn over(&mut self, place: BorrowedFd<'_>, deeper: bool, path: &Path) -> Result<OwnedFd, SetupError> {
        let call = |call| move |errno| SetupError::call(Step::Places, call, errno).on(path);
        let directory = is_directory(place).map_err(call("fstat"))?;
        if directory && deeper {
            let cover = memory(c"0111", MountAttributes::NO_DEVICES.and(MountAttributes::NO_PROGRAMS), "/")?;
            self.deep.push(cover.try_clone().map_err(|_full| call("fcntl")(Errno::EMFILE))?);
            return Ok(cover);
        }
        if self.plain.is_none() {
            let plain = memory(c"0700", READ_LATER, "/proc")?;
            let file = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            drop(openat(&plain, FILE, file, Mode::empty()).map_err(failed("openat", "/proc"))?);
            mkdirat(&plain, DIRECTORY, Mode::empty()).map_err(failed("mkdirat", "/proc"))?;
            // Only what is mounted can be mounted a second time. A new /proc will lie on top of it.
            put("/proc", &plain)?;
            sys::set_mount_attributes(plain.as_fd(), READ, false)
                .map_err(failed("mount_setattr", "/proc"))?;
            self.plain = Some(plain);
        }
        let Some(plain) = &self.plain else { return Err(call("fsmount")(Errno::ENOENT)) };
        let name = if directory { DIRECTORY } else { FILE };
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let cover = openat(plain, name, flags, Mode::empty()).map_err(call("openat"))?;
        clone_of(cover.as_fd(), path)
    }

    /// Makes a place for a mount where an empty file system lies on top of the one that had it.
    fn make_way(&self, walk: &mut Walk, path: &Path, mount: &OwnedFd) -> Result<(), SetupError> {
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
    fn close(self) -> Result<(), SetupError> {
        self.deep.iter().try_for_each(|cover| {
            sys::set_mount_attributes(cover.as_fd(), READ, false).map_err(failed("mount_setattr", "/"))
        })
    }
}

/// Before it becomes read-only.
const READ_LATER: MountAttributes = MountAttributes::NO_DEVICES.and(MountAttributes::NO_PROGRAMS);

fn is_directory(place: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mode = fstat(place)?.st_mode;
    Ok(SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR)
}
