//! The control groups that this process is in.

use std::path::{Path, PathBuf};

use super::mounts::Mount;
use super::tree::Tree;

/// Which hierarchies there are, and whether this process could make a group of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// Whether there is a unified hierarchy (version 2).
    pub unified: bool,
    /// Whether there are hierarchies of version 1, which then have the controllers.
    pub legacy: bool,
    /// The directory of our group in the unified hierarchy, where that is mounted and shows it.
    pub directory: Option<PathBuf>,
    /// Whether groups can be made there: it was delegated to us.
    pub delegated: bool,
}

impl Cgroup {
    /// `nested` is whether a sandbox is around us: its Landlock is not asked where rights are looked up.
    pub(super) fn read(tree: &Tree, mounts: &[Mount], nested: bool) -> Self {
        let text = tree.text("/proc/self/cgroup").unwrap_or_default();
        let unified = text.lines().find_map(|line| line.strip_prefix("0::"));
        let legacy = text.lines().any(|line| !line.starts_with("0::"));
        let directory = unified.and_then(|group| directory(Path::new(group), mounts));
        let delegated = !nested
            && directory
                .as_ref()
                .is_some_and(|group| tree.writable(group) && tree.writable(&group.join("cgroup.procs")));
        Self { unified: unified.is_some(), legacy, directory, delegated }
    }
}

/// Where a group of the unified hierarchy is found: below the mount that shows its part of the hierarchy.
fn directory(group: &Path, mounts: &[Mount]) -> Option<PathBuf> {
    let mut shown = mounts.iter().filter(|mount| mount.kind == "cgroup2");
    shown
        .find_map(|mount| Some(mount.point.join(group.strip_prefix(&mount.root).ok()?)))
        // Joined to an empty rest, a path ends with a slash.
        .map(|directory| directory.components().collect())
}
