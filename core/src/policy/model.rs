//! The policy as the user states it: four modes, the roots, the network.

use std::path::PathBuf;

/// Which of the four policies applies, without its details. The value of `sandbox_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SandboxMode {
    /// Commands read everything and write nothing but the usual devices.
    ReadOnly,
    /// Commands write below the writable roots as well.
    WorkspaceWrite,
    /// Somebody else confines the file system (a container, a virtual machine); the network rule still holds.
    ExternalSandbox,
    /// No restriction at all.
    DangerFullAccess,
}

impl SandboxMode {
    /// Every mode, the tightest first.
    pub const ALL: [Self; 4] =
        [Self::ReadOnly, Self::WorkspaceWrite, Self::ExternalSandbox, Self::DangerFullAccess];

    /// The name used in configuration, flags and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::WorkspaceWrite => "workspace-write",
            Self::ExternalSandbox => "external-sandbox",
            Self::DangerFullAccess => "danger-full-access",
        }
    }
}

impl std::fmt::Display for SandboxMode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Whether commands may reach the network.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkAccess {
    /// Nothing leaves the sandbox, and nothing enters it.
    #[default]
    Restricted,
    /// Internet protocols work as they do outside.
    Enabled,
}

/// What the user allows, as asked for: paths are not yet resolved, and nothing was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SandboxPolicy {
    /// Everything can be read, nothing written but the usual devices.
    ReadOnly {
        /// Whether commands may reach the network.
        network: NetworkAccess,
    },
    /// Everything can be read; the policy cwd, the roots named here, `/tmp` and `$TMPDIR` can be written.
    WorkspaceWrite {
        /// Roots beside the policy cwd. Absolute.
        writable_roots: Vec<PathBuf>,
        /// Whether commands may reach the network.
        network: NetworkAccess,
        /// Leaves `$TMPDIR` out of the writable roots.
        exclude_tmpdir_env_var: bool,
        /// Leaves `/tmp` and `/dev/shm` out of the writable roots.
        exclude_slash_tmp: bool,
    },
    /// The file system is confined by somebody else.
    ExternalSandbox {
        /// Whether commands may reach the network.
        network: NetworkAccess,
    },
    /// No restriction at all.
    DangerFullAccess,
}

impl SandboxPolicy {
    /// The mode that this policy is an instance of.
    #[must_use]
    pub const fn mode(&self) -> SandboxMode {
        match self {
            Self::ReadOnly { .. } => SandboxMode::ReadOnly,
            Self::WorkspaceWrite { .. } => SandboxMode::WorkspaceWrite,
            Self::ExternalSandbox { .. } => SandboxMode::ExternalSandbox,
            Self::DangerFullAccess => SandboxMode::DangerFullAccess,
        }
    }

    /// Whether every file can be read, as far as the user's own permissions go. So it is in every mode of today.
    #[must_use]
    pub const fn has_full_disk_read_access(&self) -> bool {
        match self {
            Self::ReadOnly { .. }
            | Self::WorkspaceWrite { .. }
            | Self::ExternalSandbox { .. }
            | Self::DangerFullAccess => true,
        }
    }

    /// Whether we set no limit on what can be written.
    #[must_use]
    pub const fn has_full_disk_write_access(&self) -> bool {
        match self {
            Self::ReadOnly { .. } | Self::WorkspaceWrite { .. } => false,
            Self::ExternalSandbox { .. } | Self::DangerFullAccess => true,
        }
    }

    /// Whether we set no limit on the network.
    #[must_use]
    pub const fn has_full_network_access(&self) -> bool {
        match self {
            Self::ReadOnly { network }
            | Self::WorkspaceWrite { network, .. }
            | Self::ExternalSandbox { network } => matches!(network, NetworkAccess::Enabled),
            Self::DangerFullAccess => true,
        }
    }
}
