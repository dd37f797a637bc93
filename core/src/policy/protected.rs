//! Protected metadata: what the host runs or trusts later, in and below the writable roots.

pub mod git_config;
mod table;

use std::path::PathBuf;

pub use table::{NAMES, ProtectedName};

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
                paths.push(path.clone());
            }
        }
        paths
    }
}
