//! Why a policy can't be made ready.

use std::path::PathBuf;

use codex_linux_sandbox::{PlanError, shown};
use nix::errno::Errno;

use crate::enforcement::{Guarantee, Hold};
use crate::policy::{PolicyError, SandboxMode, SpecialMount};

/// Why no sandbox can be had for a policy. Nothing runs without one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SandboxError {
    /// The policy's paths can't be what it says.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A path that the helper can't take.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Commands can't be started under a sandbox on this platform. The Seatbelt policy exists ([`crate::seatbelt`]);
    /// what would start `sandbox-exec` with it does not.
    #[error("the policy {mode} can't be enforced on {platform} yet: only Linux is supported")]
    Platform {
        /// The policy's mode.
        mode: SandboxMode,
        /// The platform.
        platform: &'static str,
    },
    /// This machine gives no namespaces, and the user wants nothing less.
    #[error(
        "this machine gives no namespaces ({why}), so that the policy {mode} can't be enforced as asked for"
    )]
    NoNamespaces {
        /// The policy's mode.
        mode: SandboxMode,
        /// What failed.
        why: String,
    },
    /// A rule that would not hold must not look as if it did.
    #[error(
        "sandbox.deny_read, sandbox.private_tmp, sandbox.allow_unix_sockets and sandbox.allow_hosts need namespaces, which are not to be \
         had: {why}"
    )]
    PlacesNeedNamespaces {
        /// Why there are none.
        why: String,
    },
    /// A rule on a writable root would hold for the kernel's settings as well.
    #[error(
        "{place} lies in a writable root, and is the kernel's own ({kind}): it can only be kept out with namespaces, which \
         are not to be had here; unmount it, or choose deeper roots", place = shown(.0.place.as_path()), kind = .0.kind
    )]
    SpecialMount(SpecialMount),
    /// The list of mounts can't be read, so that nobody knows what lies in a writable root.
    #[error("/proc/self/mountinfo can't be read ({why}), so that nobody knows what is mounted in the writable roots", why = .0.desc())]
    Mounts(Errno),
    /// Everything can be written, and everywhere.
    #[error(
        "the policy {mode} lets everything be written: there is nothing of it to show in a view, and nothing is run on what is \
         there"
    )]
    NoView {
        /// The policy's mode.
        mode: crate::policy::SandboxMode,
    },
    /// This kernel has no Landlock for us.
    #[error(
        "this machine does not offer the Landlock that it takes ({why}), so that the policy {mode} can't be enforced; \
         Linux 5.13 and later have it (6.7 for external-sandbox) when `landlock` is in the list of the boot parameter lsm="
    )]
    NoLandlock {
        /// The policy's mode.
        mode: SandboxMode,
        /// The kernel's answer.
        why: String,
    },
    /// This kernel has no seccomp filters for us.
    #[error("this machine refuses seccomp filters ({why}), so that the policy {mode} can't be enforced")]
    NoSeccomp {
        /// The policy's mode.
        mode: SandboxMode,
        /// The kernel's answer.
        why: String,
    },
    /// A command could change what is said of it.
    #[error(
        "the audit log {path} lies where a command may write: `audit.file` has to name a place outside of the writable roots",
        path = shown(.0)
    )]
    AuditLogWritable(PathBuf),
    /// Nobody knows whether a command could.
    #[error("the audit log {path} can't be looked at: {why} ({errno:?})", path = shown(.path), why = .errno.desc())]
    AuditLog {
        /// The log.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
    },
    /// A guarantee in `sandbox.require` that this machine can't keep.
    #[error(
        "sandbox.require names `{guarantee}` ({promise}), which is {hold} here: {why}",
        guarantee = .guarantee.name(), promise = .guarantee.promise(), hold = hold_name(*.hold)
    )]
    Unmet {
        /// The guarantee.
        guarantee: Guarantee,
        /// How far it holds.
        hold: Hold,
        /// Why no further.
        why: String,
    },
}

const fn hold_name(hold: Hold) -> &'static str {
    match hold {
        Hold::Enforced => "enforced",
        Hold::Partial => "only partly enforced",
        Hold::Absent => "not enforced",
        Hold::NotRequested => "not asked for by the policy",
    }
}
