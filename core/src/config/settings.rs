//! The settings that a run goes by, each with the place it came from.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::PathBuf;

use super::provider::ProviderSettings;
use super::sourced::{Origin, Sourced, SourcedList};
use crate::audit::DEFAULT_AUDIT_BYTES;
use crate::enforcement::Guarantee;
use crate::limits::{Limit, ResourceLimits};
use crate::policy::{
    GitProtection, HostGrant, NetworkAccess, ProtectionSettings, SandboxMode, SandboxPolicy,
};

/// How a level of isolation is chosen: the value of `sandbox.isolation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// The best level that this machine offers.
    #[default]
    Auto,
    /// Namespaces, with Landlock and seccomp inside, or nothing runs.
    Namespaces,
    /// Landlock and seccomp only.
    Landlock,
}

impl Isolation {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Namespaces, Self::Landlock];

    /// The name used in configuration, flags and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Namespaces => "namespaces",
            Self::Landlock => "landlock",
        }
    }
}

/// How it is found out what was refused to a command: the value of `sandbox.explain`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Explain {
    /// Only what our own code decided is told.
    Never,
    /// From what a failed command said. A command that succeeds costs nothing.
    #[default]
    OnFailure,
    /// Each command is observed, and what the kernel refuses is seen.
    Always,
}

impl Explain {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Never, Self::OnFailure, Self::Always];

    /// The name used in configuration and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
        }
    }
}

/// When a person is asked before a tool call runs: the value of `approval_policy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApprovalPolicy {
    /// Never: what the sandbox refuses stays refused.
    #[default]
    Never,
    /// Where the model asks for more than the policy gives.
    OnRequest,
    /// Where a command failed, and the sandbox refused it something that can be granted. And where the model asks.
    OnFailure,
    /// Before everything that is not known to be harmless. And where the model asks.
    Untrusted,
}

impl ApprovalPolicy {
    /// Every choice.
    pub const ALL: [Self; 4] = [Self::Never, Self::OnRequest, Self::OnFailure, Self::Untrusted];

    /// The name used in configuration and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::OnRequest => "on-request",
            Self::OnFailure => "on-failure",
            Self::Untrusted => "untrusted",
        }
    }
}

/// The `[approvals]` table: what the user has said about calls before anybody asks. Commands are named by their first words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovalSettings {
    /// What runs without a question, in the sandbox as ever.
    pub allow: SourcedList<Vec<String>>,
    /// What is asked about each time.
    pub prompt: SourcedList<Vec<String>>,
    /// What does not run.
    pub forbid: SourcedList<Vec<String>>,
    /// What may run without a sandbox, where the model asks for that.
    pub unsandboxed: SourcedList<Vec<String>>,
    /// Directories that a call may write below, where the model asks for that. Absolute.
    pub write: SourcedList<PathBuf>,
    /// What a call may read although `sandbox.deny_read` hides it, where the model asks for that. Absolute.
    pub read: SourcedList<PathBuf>,
    /// Whether a call may reach the network, where the model asks for that.
    pub network: Sourced<bool>,
    /// Single hosts that a call may reach, where the model asks for that.
    pub hosts: SourcedList<HostGrant>,
}

/// The `[sandbox_workspace_write]` table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkspaceWriteSettings {
    /// Roots beside the policy cwd that commands may write below. Absolute.
    pub writable_roots: SourcedList<PathBuf>,
    /// Whether commands may reach the network, in this mode only.
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

impl EnvironmentInherit {
    /// Every choice, the tightest first.
    pub const ALL: [Self; 3] = [Self::None, Self::Core, Self::All];

    /// The name used in configuration and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Core => "core",
            Self::None => "none",
        }
    }
}

/// The `[shell_environment_policy]` table, in the order in which its parts apply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentPolicy {
    /// What to start from.
    pub inherit: Sourced<EnvironmentInherit>,
    /// Keeps variables whose names look like secrets (`*KEY*`, `*SECRET*`, `*TOKEN*`, `*PASSWORD*`, `*CREDENTIAL*`).
    pub ignore_default_excludes: Sourced<bool>,
    /// Drops variables whose names match one of these globs, letter case ignored.
    pub exclude: SourcedList<String>,
    /// Sets these variables.
    pub set: BTreeMap<String, Sourced<String>>,
    /// Where not empty, keeps only variables whose names match one of these globs, letter case ignored.
    pub include_only: SourcedList<String>,
}

/// The `[sandbox]` table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxSettings {
    /// How the level of isolation is chosen.
    pub isolation: Sourced<Isolation>,
    /// Promises that must be kept on this machine, or nothing runs.
    pub require: SourcedList<Guarantee>,
    /// How far git directories are protected.
    pub git: Sourced<GitProtection>,
    /// Protected names beside the built-in ones, relative to the top of each root and of each repository.
    pub protect: SourcedList<PathBuf>,
    /// Built-in protected names that stay writable.
    pub unprotect: SourcedList<String>,
    /// Files and directories that commands can't read. Absolute.
    pub deny_read: SourcedList<PathBuf>,
    /// What can be read although it lies below one of `deny_read`. Absolute.
    pub allow_read: SourcedList<PathBuf>,
    /// Gives each command an empty `/tmp` of its own.
    pub private_tmp: Sourced<bool>,
    /// Unix sockets of the host that commands may connect to. Absolute.
    pub allow_unix_sockets: SourcedList<PathBuf>,
    /// Hosts that commands may reach where the network is off.
    pub allow_hosts: SourcedList<HostGrant>,
    /// How it is found out what was refused.
    pub explain: Sourced<Explain>,
    /// What commands may use, in the unit of each limit.
    pub limits: BTreeMap<Limit, Sourced<NonZeroU64>>,
}

impl SandboxSettings {
    /// What commands may use.
    #[must_use]
    pub fn limits(&self) -> ResourceLimits {
        let mut limits = ResourceLimits::NONE;
        for (limit, amount) in &self.limits {
            limits.set(*limit, amount.value);
        }
        limits
    }

    /// What is said about protected metadata.
    #[must_use]
    pub fn protection(&self) -> ProtectionSettings {
        ProtectionSettings {
            git: self.git.value,
            protect: self.protect.values().cloned().collect(),
            unprotect: self.unprotect.values().cloned().collect(),
            tops: Vec::new(),
        }
    }
}

/// The `[exec_server]` table: what clients of a server may ask for at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecServerSettings {
    /// The widest policy. `workspace-write` where nobody says otherwise.
    pub max_policy: Sourced<SandboxMode>,
    /// Directories beside the server's workspace below which writable roots may lie. Absolute.
    pub writable_roots: SourcedList<PathBuf>,
    /// Whether a policy may reach the network.
    pub network_access: Sourced<bool>,
    /// Who may be asked over HTTP, whatever else is closed.
    pub http_allow: SourcedList<HostGrant>,
}

impl Default for ExecServerSettings {
    fn default() -> Self {
        Self {
            max_policy: Sourced { value: SandboxMode::WorkspaceWrite, origin: Origin::Default },
            writable_roots: SourcedList::default(),
            network_access: Sourced::default(),
            http_allow: SourcedList::default(),
        }
    }
}

/// The `[audit]` table: who ran what, what came of it, what was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// The file. Absolute.
    pub file: Sourced<Option<PathBuf>>,
    /// How large it becomes before it is put aside, in bytes.
    pub max_bytes: Sourced<u64>,
}

impl Default for AuditSettings {
    fn default() -> Self {
        let max_bytes = Sourced { value: DEFAULT_AUDIT_BYTES, origin: Origin::Default };
        Self { file: Sourced::default(), max_bytes }
    }
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
    /// What a server lets its clients ask for.
    pub exec_server: ExecServerSettings,
    /// Where calls are noted.
    pub audit: AuditSettings,
    /// Lets commands reach the network whatever the mode. No key of a file says so, only a flag.
    pub network: Sourced<bool>,
    /// The model that an agent asks.
    pub model: Sourced<Option<String>>,
    /// The server that has it, by its name in [`Settings::model_providers`].
    pub model_provider: Sourced<Option<String>>,
    /// Servers of models.
    pub model_providers: BTreeMap<String, ProviderSettings>,
    /// Who is asked before something runs.
    pub approval_policy: Sourced<ApprovalPolicy>,
    /// What the answers are.
    pub approvals: ApprovalSettings,
    /// How many tokens the model can read at once.
    pub model_context_window: Sourced<Option<u64>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sandbox_mode: Sourced { value: SandboxMode::ReadOnly, origin: Origin::Default },
            workspace_write: WorkspaceWriteSettings::default(),
            shell_environment_policy: EnvironmentPolicy::default(),
            codex_linux_sandbox_exe: Sourced::default(),
            sandbox: SandboxSettings::default(),
            exec_server: ExecServerSettings::default(),
            audit: AuditSettings::default(),
            network: Sourced::default(),
            model: Sourced::default(),
            model_provider: Sourced::default(),
            model_providers: BTreeMap::new(),
            approval_policy: Sourced::default(),
            approvals: ApprovalSettings::default(),
            model_context_window: Sourced::default(),
        }
    }
}

impl Settings {
    /// Closes all that leads to the outside and is no file: the network, hosts, sockets of the host.
    pub fn close_outside(&mut self) {
        self.network.value = false;
        self.workspace_write.network_access.value = false;
        self.sandbox.allow_hosts = SourcedList::default();
        self.sandbox.allow_unix_sockets = SourcedList::default();
    }

    /// The policy that these settings ask for.
    ///
    /// `network_access` belongs to `workspace-write`, as its table says: a user who allowed the network there and then
    /// asks for `read-only` did not allow it for that mode.
    #[must_use]
    pub fn policy(&self) -> SandboxPolicy {
        let network = |allowed: bool| {
            if allowed || self.network.value { NetworkAccess::Enabled } else { NetworkAccess::Restricted }
        };
        match self.sandbox_mode.value {
            SandboxMode::ReadOnly => SandboxPolicy::ReadOnly { network: network(false) },
            SandboxMode::WorkspaceWrite => SandboxPolicy::WorkspaceWrite {
                writable_roots: self.workspace_write.writable_roots.values().cloned().collect(),
                network: network(self.workspace_write.network_access.value),
                exclude_tmpdir_env_var: self.workspace_write.exclude_tmpdir_env_var.value,
                exclude_slash_tmp: self.workspace_write.exclude_slash_tmp.value,
            },
            SandboxMode::ExternalSandbox => SandboxPolicy::ExternalSandbox { network: network(false) },
            SandboxMode::DangerFullAccess => SandboxPolicy::DangerFullAccess,
        }
    }
}
