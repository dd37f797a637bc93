//! What the running kernel offers. Asking changes nothing and takes microseconds.

use nix::errno::Errno;

use crate::sys;

/// The kernel's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support {
    /// The Landlock ABI, or why there is none: `ENOSYS` where the kernel was built without it, `EOPNOTSUPP` where it
    /// was disabled at boot, `EPERM` and others where something around us refuses the call.
    pub landlock: Result<u8, Errno>,
    /// Whether seccomp filters can be installed, or why not.
    pub seccomp: Result<(), Errno>,
}

impl Support {
    /// The newest Landlock ABI that we know what to do with. A newer kernel is used as if it had this one.
    pub const NEWEST_KNOWN_LANDLOCK_ABI: u8 = 10;

    /// Asks the kernel.
    #[must_use]
    pub fn probe() -> Self {
        let landlock = sys::landlock_abi().map(|abi| u8::try_from(abi).unwrap_or(u8::MAX));
        Self { landlock, seccomp: sys::seccomp_errno_available() }
    }

    /// The Landlock ABI to use: the kernel's, at most the newest one known, at most `limit`. 0 where there is none.
    #[must_use]
    pub fn landlock_abi(&self, limit: Option<u8>) -> u8 {
        let kernel = self.landlock.unwrap_or(0);
        kernel.min(Self::NEWEST_KNOWN_LANDLOCK_ABI).min(limit.unwrap_or(u8::MAX))
    }
}
