//! The control groups that the command sees: where it is said to be, there it finds its limits.
//!
//! A program that looks for its limits joins where it is (`/proc/self/cgroup`) with where the hierarchy is mounted
//! (`/proc/self/mountinfo`, or the usual places). In a cgroup namespace it is at the top, while what is mounted was mounted
//! for others:
//!
//! | our group is not the top one of | the command has |
//! |---|---|
//! | no hierarchy | a cgroup namespace, and what is mounted as it is |
//! | the unified one (version 2) | a cgroup namespace, and its own group over what is mounted |
//! | one of version 1 | no cgroup namespace, and what is mounted as it is |
//!
//! A mount that was inherited can be covered, and can't be taken away. For version 2 that does: it has one place, whichever
//! line of the table is read. For version 1 programs go by the first line of each controller, which is the one that is
//! covered: its root is above the top of the namespace (`/..`), and a JDK 17 ends with an exception over that.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};

use crate::enforce::namespaces;
use crate::enforce::walk::Walk;
use crate::error::{SetupError, Step};
use crate::plain_path::is_within;
use crate::plan::{Plan, PlanPath, Protected, Writes};
use crate::sys;

/// Where the hierarchies are mounted, one or several.
const PLACE: &str = "/sys/fs/cgroup";
/// Where the unified one is: alone, or beside those of version 1.
const UNIFIED: [&str; 2] = [PLACE, "/sys/fs/cgroup/unified"];

/// Where this process is among the groups that it sees.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// At the top of each hierarchy, or where nothing is to be seen of it.
    Top,
    /// Below the top of the unified hierarchy alone, there.
    Unified(PathBuf),
    /// Below the top of a hierarchy of version 1.
    Legacy,
}

impl Group {
    /// Where this process is now.
    pub(super) fn own() -> Self {
        // A kernel without them has no such file.
        std::fs::read("/proc/self/cgroup").map_or(Self::Top, |text| Self::of(&text))
    }

    /// `proc_pid_cgroup(5)`: `number:controllers:path`, the unified one without controllers and with the number 0.
    fn of(text: &[u8]) -> Self {
        let mut own = Self::Top;
        for line in text.split(|byte| *byte == b'\n') {
            let mut fields = line.splitn(3, |byte| *byte == b':');
            let (Some(number), Some(_), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            match (number, path) {
                (_, b"/") => {}
                (b"0", path) => own = Self::Unified(PathBuf::from(OsStr::from_bytes(path))),
                _ => return Self::Legacy,
            }
        }
        own
    }

    /// The namespace that is left out, as `CLONE_NEW*` bit.
    pub(super) const fn left_out(&self) -> u64 {
        match self {
            Self::Legacy => namespaces::NEW_CGROUP,
            Self::Top | Self::Unified(_) => 0,
        }
    }

    /// Makes it the top one for this process and those that it starts, where that is not left out.
    pub(super) fn become_top(&self) -> Result<(), SetupError> {
        if self.left_out() == 0 { namespaces::enter(namespaces::NEW_CGROUP) } else { Ok(()) }
    }

    /// Puts the group over the hierarchy that it belongs to. To be called when all else is in place: what is kept, hidden or
    /// read-only in the group is so in what is seen of it.
    ///
    /// Where a path below the hierarchy has a meaning for the plan or the command, it keeps that. A group that is not to be
    /// found, or not to be mounted, is not shown: nothing is weaker for it.
    pub(super) fn show(&self, plan: &Plan, directory: Option<&Path>) {
        let Self::Unified(group) = self else { return };
        let Ok(group) = group.strip_prefix("/") else { return };
        let is_below = group.components().all(|part| matches!(part, Component::Normal(_)));
        if !is_below || names_places(plan, directory) {
            return;
        }
        for top in UNIFIED.map(Path::new) {
            let mut walk = Walk::new(Step::Mounts);
            if let Some(mount) = group_at(&mut walk, &top.join(group))
                && let Ok(place) = walk.place(top)
                && sys::attach_mount(mount.as_fd(), place).is_ok()
            {
                return;
            }
        }
    }
}

/// A second mount of a group, with everything on it.
fn group_at(walk: &mut Walk<'_>, path: &Path) -> Option<OwnedFd> {
    let group = walk.place(path).ok()?;
    let kind = fstatfs(group).ok()?.filesystem_type();
    (kind == CGROUP2_SUPER_MAGIC).then(|| sys::clone_mount(group, true).ok()).flatten()
}

/// Whether paths below the hierarchies are to lead where they lead. One that is hidden is hidden wherever it is seen.
fn names_places(plan: &Plan, directory: Option<&Path>) -> bool {
    let trees: &[PlanPath] = match &plan.writes {
        Writes::Beneath(trees) => trees,
        Writes::Everywhere => &[],
    };
    let protected = plan.places.protected.iter().map(|Protected { path, .. }| path);
    let places = trees.iter().chain(protected).chain(&plan.places.reopened).map(PlanPath::path);
    let place = Path::new(PLACE);
    places.chain(directory).any(|path| is_within(path, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_process_is_is_read_from_each_line() {
        let unified = |path: &str| Group::Unified(path.into());
        for (text, group) in [
            ("", Group::Top),
            ("0::/\n", Group::Top),
            ("9:name=systemd:/\n2:cpu,cpuacct:/\n0::/\n", Group::Top),
            ("0::/user.slice/a:b.scope\n", unified("/user.slice/a:b.scope")),
            ("3:memory:/\n0::/../x\n", unified("/../x")),
            ("0::/a\n3:memory:/m\n", Group::Legacy),
            ("4:cpu,cpuacct:/docker/7\n1:name=systemd:/\n0::/\n", Group::Legacy),
            // One of version 1 may have no controllers either, but for its name.
            ("1:name=systemd:/user.slice\n0::/\n", Group::Legacy),
            ("nothing of the kind\n:\n", Group::Top),
        ] {
            assert_eq!(Group::of(text.as_bytes()), group, "{text}");
        }
    }
}
