//! What the running kernel offers, what around us takes away from it, and what would give it back.
//!
//! - [`Support`] is what every run asks: Landlock and seccomp. It changes nothing and takes microseconds.
//! - [`crate::probe_namespaces`] tries the namespaces in a process of its own: only an attempt can tell.
//! - [`Facts`] are what a person would look up by hand: limits, security modules, the container around us.
//! - [`findings`] makes causes and remedies of failed attempts and facts. It is a table without a system call.

mod cause;
mod cgroup;
mod container;
mod diagnosis;
mod facts;
mod mounts;
mod remedy;
mod tree;

#[cfg(test)]
mod tests;

use nix::errno::Errno;

pub use cause::Cause;
pub use cgroup::Cgroup;
pub use container::{Container, ContainerKind};
pub use diagnosis::{Finding, Mechanism, findings};
pub use facts::{AppArmor, Facts, Privileges, UserNamespaces};
pub use remedy::Remedy;

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
        let landlock = crate::sys::landlock_abi().map(|abi| u8::try_from(abi).unwrap_or(u8::MAX));
        Self { landlock, seccomp: crate::sys::seccomp_action_available(libc::SECCOMP_RET_ERRNO) }
    }

    /// The Landlock ABI to use: the kernel's, at most the newest one known, at most `limit`. 0 where there is none.
    #[must_use]
    pub fn landlock_abi(&self, limit: Option<u8>) -> u8 {
        let kernel = self.landlock.unwrap_or(0);
        kernel.min(Self::NEWEST_KNOWN_LANDLOCK_ABI).min(limit.unwrap_or(u8::MAX))
    }
}

/// Whether this thread has a capability in effect, by its number in `capabilities(7)`. In which user namespace that counts, it
/// does not say.
#[must_use]
pub fn has_capability(number: u32) -> bool {
    crate::sys::capabilities()
        .is_ok_and(|held| held.effective.checked_shr(number).is_some_and(|bits| bits & 1 == 1))
}

/// Whether the running kernel calls itself this version or a later one. For what can't be asked for in any other way; a
/// kernel whose name is no version is taken for an old one.
#[must_use]
pub fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    let Ok(names) = nix::sys::utsname::uname() else { return false };
    version(names.release().to_str().unwrap_or_default()).is_some_and(|version| version >= (major, minor))
}

/// The first two numbers of a release such as `6.18.44-generic`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
