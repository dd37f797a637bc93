//! Under what an act runs.

use std::ffi::OsString;

/// A policy of `codex debug sandbox`, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Without `codex`: the control.
    Bare,
    /// `read-only`.
    ReadOnly,
    /// `workspace-write`, the workspace being the policy cwd.
    WorkspaceWrite,
    /// `workspace-write` with the network on.
    WorkspaceWriteNetwork,
    /// `external-sandbox`: files are somebody else's business, the network is ours.
    ExternalSandbox,
    /// `danger-full-access`.
    DangerFullAccess,
}

impl Policy {
    /// The policies that close the surface of P3 and P6.
    pub const RESTRICTED: [Self; 3] = [Self::ReadOnly, Self::WorkspaceWrite, Self::WorkspaceWriteNetwork];

    /// The policies under which the network is off.
    pub const OFFLINE: [Self; 3] = [Self::ReadOnly, Self::WorkspaceWrite, Self::ExternalSandbox];

    /// Whether anything is restricted.
    #[must_use]
    pub const fn is_restricted(self) -> bool {
        !matches!(self, Self::Bare | Self::DangerFullAccess)
    }

    /// The options that select this policy.
    pub(super) fn options(self) -> Vec<OsString> {
        let words: &[&str] = match self {
            Self::Bare => &[],
            Self::ReadOnly => &["-s", "read-only"],
            Self::WorkspaceWrite => &["-s", "workspace-write"],
            Self::WorkspaceWriteNetwork => &["-s", "workspace-write", "--network"],
            Self::ExternalSandbox => &["-s", "external-sandbox"],
            Self::DangerFullAccess => &["-s", "danger-full-access"],
        };
        words.iter().map(OsString::from).collect()
    }
}
