//! Who runs a case.

use nix::unistd::{Uid, geteuid};

/// The user that a case runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The superuser, for whom file permissions stop nothing and only the sandbox can.
    Root,
    /// A user without privileges: `nobody` where the tests run as root, else whoever runs them.
    User,
}

impl Identity {
    /// The uid and gid of `nobody`, the one unprivileged user that has a name on every system.
    const NOBODY: u32 = 65534;

    /// Whether this process can run cases as this identity.
    #[must_use]
    pub fn available(self) -> bool {
        match self {
            Self::Root => geteuid().is_root(),
            Self::User => true,
        }
    }

    /// The uid that a run must switch to, where it is not the caller's own.
    pub(super) fn switch_to(self) -> Option<u32> {
        (self == Self::User && geteuid().is_root()).then_some(Self::NOBODY)
    }

    /// The uid that runs have.
    #[must_use]
    pub fn uid(self) -> Uid {
        self.switch_to().map_or_else(geteuid, Uid::from_raw)
    }
}
