//! Protected metadata: what the host runs or trusts later, in and below the writable roots.
//!
//! ```text
//! roots ─▶ search (cache, walk) ─▶ repositories ─┐
//! table (names) ─────────────────────────────────┴▶ collect (git_directory, git_config) ─▶ Protection
//! ```

mod absent;
pub(crate) mod below;
pub(crate) mod cache;
mod collect;
pub mod git_config;
pub(crate) mod git_directory;
mod note;
pub(crate) mod search;
pub(crate) mod seen;
mod table;
pub(crate) mod walk;

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

pub use absent::AbsentNames;
pub use note::ProtectionNote;
pub use table::{NAMES, ProtectedName};

use super::WritableRoot;
use cache::Cache;
use collect::Collector;
use seen::Seen;
use walk::Top;

/// How far a repository's git directory is protected: the value of `sandbox.git`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum GitProtection {
    /// All of it: nothing can be committed.
    ReadOnly,
    /// What git runs or follows (hooks, configuration, pointers). Commits work.
    #[default]
    Commit,
    /// Nothing of it.
    Open,
}

impl GitProtection {
    /// Every choice, the tightest first.
    pub const ALL: [Self; 3] = [Self::ReadOnly, Self::Commit, Self::Open];

    /// The name used in configuration and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::Commit => "commit",
            Self::Open => "open",
        }
    }
}

/// What the user says about protected metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProtectionSettings {
    /// How far git directories are protected.
    pub git: GitProtection,
    /// Names beside the built-in ones. Relative, without `.` and `..`. They hold whatever `unprotect` says.
    pub protect: Vec<PathBuf>,
    /// Paths of [`NAMES`] that stay writable.
    pub unprotect: Vec<String>,
    /// Directories in the roots that are looked after as the roots themselves are. Absolute, without links.
    pub tops: Vec<PathBuf>,
}

impl ProtectionSettings {
    /// The relative paths that are protected, each once.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let built_in = NAMES.iter().map(|name| name.path);
        let kept = built_in.filter(|path| !self.unprotect.iter().any(|out| out == path)).map(PathBuf::from);
        let mut paths: Vec<PathBuf> = kept.collect();
        for path in &self.protect {
            if !paths.contains(path) {
                // Without what a path may be written with and does not mean.
                paths.push(path.components().collect());
            }
        }
        paths
    }
}

/// A symbolic link where something is protected. Nothing can be mounted over a link, so that it is compared after a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedLink {
    /// The link.
    pub path: PathBuf,
    /// What it says.
    pub target: PathBuf,
}

/// What has to be protected below the writable roots, as it stands now.
///
/// Every path is absolute and goes through no symbolic link, and parents come before what they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protection {
    /// How far git directories are protected.
    pub git: GitProtection,
    /// The writable roots that were looked at.
    pub roots: Vec<PathBuf>,
    /// What exists and must not change, nor anything below it.
    pub read_only: Vec<PathBuf>,
    /// What exists and must keep its name: the directories on the way to what is protected, which stay writable inside.
    pub pinned: Vec<PathBuf>,
    /// What does not exist and must not come to be.
    pub absent: Vec<AbsentNames>,
    /// Links that must be the same afterwards.
    pub links: Vec<WatchedLink>,
    /// Every `.git` and every git directory that was found, sorted. What is not among them afterwards is new.
    pub repositories: Vec<PathBuf>,
    /// Where the protection has limits.
    pub notes: Vec<ProtectionNote>,
    /// What the look after a call need not look at again.
    pub(crate) seen: Seen,
}

/// Finds out what has to be protected below `roots`.
///
/// `codex_home` holds the list of repositories of earlier calls; without it, or where it can't be written, each call
/// walks the trees. Never fails: what can't be looked at is noted.
#[must_use]
pub fn protect(
    roots: &[WritableRoot],
    settings: &ProtectionSettings,
    codex_home: Option<&Path>,
) -> Protection {
    protect_and_see(roots, settings, codex_home, Seen::default())
}

/// The same, with what is seen noted in a place of choice.
pub(crate) fn protect_and_see(
    roots: &[WritableRoot],
    settings: &ProtectionSettings,
    codex_home: Option<&Path>,
    seen: Seen,
) -> Protection {
    let cache = codex_home.map(Cache::new);
    let mut collector = Collector::new(settings, roots.iter().map(|root| root.path.as_path()), seen);
    for index in 0..collector.roots.len() {
        let Some(root) = collector.roots.get(index) else { continue };
        let root = Rc::clone(root);
        let mut notes = Vec::new();
        collector.see_root(&root);
        let top = Top::read(&root.place);
        let places = search::find(&root.path, root.place.as_fd(), &top, cache.as_ref(), &mut notes);
        collector.notes.extend(notes);
        collector.root(index, &top, &places);
    }
    collector.finish()
}

#[cfg(test)]
mod tests;
