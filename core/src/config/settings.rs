//! The settings that a run goes by, each with the place it came from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::policy::SandboxMode;

/// Where a setting's value came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    #[default]
    Default,
    /// The user's `config.toml`.
    File {
        /// The file.
        path: PathBuf,
        /// The line of the value, counted from 1.
        line: usize,
    },
    /// A `[profiles.NAME]` table of the user's `config.toml`.
    Profile {
        /// The profile.
        name: String,
        /// The file.
        path: PathBuf,
        /// The line of the value, counted from 1.
        line: usize,
    },
    /// The workspace's own `.codex/config.toml`, which may only tighten.
    Project {
        /// The file.
        path: PathBuf,
        /// The line of the value, counted from 1.
        line: usize,
    },
    /// A `-c key=value` override, as typed.
    Override(String),
    /// A flag of the command line, by its name.
    Flag(&'static str),
}

/// A value and where it came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub origin: Origin,
}

/// How a level of isolation is chosen: the value of `sandbox.isolation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// The best level that this machine offers.
    #[default]
    Auto,
    /// Landlock and seccomp only.
    Landlock,
}

/// The `[sandbox_workspace_write]` table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkspaceWriteSettings {
    /// Roots beside the policy cwd that commands may write below.
    pub writable_roots: Sourced<Vec<PathBuf>>,
    /// Whether commands may reach the network.
    pub network_access: Sourced<bool>,
    /// Leaves `$TMPDIR` out of the writable roots.
    pub exclude_tmpdir_env_var: Sourced<bool>,
    /// Leaves `/tmp` and `/dev/shm` out of the writable roots.
    pub exclude_slash_tmp: Sourced<bool>,
}

/// Which variables a command's environment starts from: the value of `shell_environment_policy.inherit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnvironmentInherit {
    /// Every variable of the caller.
    #[default]
    All,
    /// The few that programs can't do without: home, user, path, shell, locale, temporary directory.
    Core,
    /// None.
    None,
}

/// The `[shell_environment_policy]` table, in the order in which its parts apply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentPolicy {
    /// What to start from.
    pub inherit: Sourced<EnvironmentInherit>,
    /// Keeps variables whose names look like secrets (`*KEY*`, `*SECRET*`, `*TOKEN*`, `*PASSWORD*`, `*CREDENTIAL*`).
    pub ignore_default_excludes: Sourced<bool>,
    /// Drops variables whose names match one of these globs, letter case ignored.
    pub exclude: Sourced<Vec<String>>,
    /// Sets these variables.
    pub set: BTreeMap<String, Sourced<String>>,
    /// Where not empty, keeps only variables whose names match one of these globs, letter case ignored.
    pub include_only: Sourced<Vec<String>>,
}

/// The `[sandbox]` table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxSettings {
    /// How the level of isolation is chosen.
    pub isolation: Sourced<Isolation>,
    /// Promises that must be kept on this machine, or nothing runs.
    pub require: Sourced<Vec<crate::enforcement::Guarantee>>,
}

/// Everything that configuration says, resolved to one value a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which policy applies. `read-only` where nobody says otherwise.
    pub sandbox_mode: Sourced<SandboxMode>,
    /// Details of `workspace-write`.
    pub workspace_write: WorkspaceWriteSettings,
    /// How a command's environment is built.
    pub shell_environment_policy: EnvironmentPolicy,
    /// The helper program, where it is not this very binary.
    pub codex_linux_sandbox_exe: Sourced<Option<PathBuf>>,
    /// How the sandbox is built.
    pub sandbox: SandboxSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sandbox_mode: Sourced { value: SandboxMode::ReadOnly, origin: Origin::Default },
            workspace_write: WorkspaceWriteSettings::default(),
            shell_environment_policy: EnvironmentPolicy::default(),
            codex_linux_sandbox_exe: Sourced::default(),
            sandbox: SandboxSettings::default(),
        }
    }
}
