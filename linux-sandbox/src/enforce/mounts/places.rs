//! Rules about single places: what is writable, what is kept as it is, what can't be seen. Deeper ones go on top of
//! shallower ones.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::geteuid;

use super::covers::{Covers, READ};
use super::memory::{EVERYBODY, Memory};
use super::put;
use super::view::View;
use crate::enforce::walk::Walk;
use crate::error::{SetupError, Step};
use crate::plain_path::{PlainPath, is_within};
use crate::plan::{Kept, Plan, PlanPath, Protected};
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
    rules: BTreeMap<PlainPath, Rule>,
}

impl Arrangement {
    /// Looks up every place, and takes hold of those that are shown as they are now.
    pub(super) fn plan(
        plan: &Plan,
        trees: &[PlanPath],
        mut view: Option<View>,
        devices: &OwnedFd,
    ) -> Result<Self, SetupError> {
        let places = &plan.places;
        let mut arrangement = Self { private_tmp: places.private_tmp, rules: BTreeMap::new() };
        // Another `/dev` lies on the host's already.
        let mut walk = Walk::knowing(Step::Places, "/dev", devices);
        for tree in trees {
            let place = walk.directory(tree)?;
            let mount = match &mut view {
                Some(view) => view.over(place, tree.path())?,
                None => clone_of(place, tree.path())?,
            };
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
        for Protected { path, kept } in &places.protected {
            let rule = match kept {
                Kept::ReadOnly => Rule::ReadOnly,
                Kept::Pinned => Rule::Pinned,
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
        for tree in trees.iter().map(PlanPath::path).filter(|tree| is_within(path, tree)) {
            let above = path.ancestors().skip(1).take_while(|above| *above != tree && is_within(above, tree));
            above.for_each(|above| self.add(above, Rule::Pinned));
        }
        self.add(path, rule);
    }

    fn add(&mut self, path: &Path, rule: Rule) {
        match self.rules.entry(PlainPath::new(path.to_owned())) {
            Entry::Vacant(place) => drop(place.insert(rule)),
            Entry::Occupied(present) if present.get().strength() >= rule.strength() => {}
            Entry::Occupied(mut present) => drop(present.insert(rule)),
        }
    }

    /// Puts every rule in place.
    pub(super) fn apply(self, memory: &Memory) -> Result<(), SetupError> {
        if self.private_tmp {
            put("/tmp", &memory.directory("tmp", EVERYBODY)?)?;
        }
        let mut walk = Walk::new(Step::Places);
        let mut covers = Covers::of(memory);
        let mut rules = self.rules.into_iter().peekable();
        while let Some((path, rule)) = rules.next() {
            let attach = |walk: &mut Walk<'_>, mount: &OwnedFd| {
                sys::attach_mount(mount.as_fd(), walk.place(&path)?)
                    .map_err(|errno| SetupError::call(Step::Places, "move_mount", errno).on(&*path))
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
                    let deeper = rules.peek().is_some_and(|(next, _)| is_within(next, &path));
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

fn clone_of(place: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, SetupError> {
    sys::clone_mount(place, true).map_err(|errno| SetupError::call(Step::Places, "open_tree", errno).on(path))
}

fn restrict(mount: &OwnedFd, attributes: MountAttributes, path: &Path) -> Result<(), SetupError> {
    sys::set_mount_attributes(mount.as_fd(), attributes, true)
        .map_err(|errno| SetupError::call(Step::Places, "mount_setattr", errno).on(path))
}
