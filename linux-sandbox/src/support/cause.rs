//! Why this machine gives less than it could.

use std::fmt;

use super::container::ContainerKind;

/// One reason. Its text is a clause: what is so, without what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A sandbox of this very program is around us.
    Nested,
    /// The seccomp profile of the container around us.
    ContainerSeccomp(ContainerKind),
    /// A seccomp filter that whoever started us had put on.
    SeccompFilter,
    /// A limit on the number of namespaces. The kinds that nobody may have any of; none of them where the limit is used
    /// up, or lower in an outer user namespace.
    NamespaceLimit(Vec<&'static str>),
    /// `kernel.unprivileged_userns_clone` is 0.
    UnprivilegedClone,
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1, and no profile allows this program more.
    AppArmorRestriction,
    /// The AppArmor profile that we run under.
    AppArmorProfile(String),
    /// The SELinux context that we run in.
    Selinux(String),
    /// Parts of `/proc` are covered, so that a new one can't be mounted.
    CoveredProc,
    /// The process was put into a directory with `chroot(2)`, where the kernel gives no user namespace.
    Chroot,
    /// The kernel was built without these kinds of namespaces.
    KernelWithoutNamespaces(Vec<&'static str>),
    /// The kernel is older than the first that has what is needed: its version, and for what.
    KernelTooOld(&'static str, &'static str),
    /// Landlock was built in and not enabled at boot. The value of `lsm=` that enables it, where the present one is known.
    LandlockOffAtBoot(Option<String>),
    /// The kernel was built without Landlock.
    LandlockNotBuilt,
    /// An older Landlock: its ABI.
    LandlockOld(u8),
    /// The kernel was built without seccomp filters.
    SeccompNotBuilt,
    /// The attempt took too long.
    TimedOut,
    /// Nothing that we know explains it.
    Unknown,
}

impl Cause {
    /// The name used in reports.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Nested => "nested",
            Self::ContainerSeccomp(_) => "container_seccomp",
            Self::SeccompFilter => "seccomp_filter",
            Self::NamespaceLimit(_) => "namespace_limit",
            Self::UnprivilegedClone => "unprivileged_userns_clone",
            Self::AppArmorRestriction => "apparmor_restriction",
            Self::AppArmorProfile(_) => "apparmor_profile",
            Self::Selinux(_) => "selinux",
            Self::CoveredProc => "covered_proc",
            Self::Chroot => "chroot",
            Self::KernelWithoutNamespaces(_) => "kernel_without_namespaces",
            Self::KernelTooOld(..) => "kernel_too_old",
            Self::LandlockOffAtBoot(_) => "landlock_off_at_boot",
            Self::LandlockNotBuilt => "landlock_not_built",
            Self::LandlockOld(_) => "landlock_old",
            Self::SeccompNotBuilt => "seccomp_not_built",
            Self::TimedOut => "timed_out",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nested => write!(out, "codex runs in its own sandbox, which gives no further namespaces"),
            Self::ContainerSeccomp(kind) => {
                write!(out, "the seccomp profile of the container ({}) refuses it", kind.name())
            }
            Self::SeccompFilter => write!(out, "a seccomp filter of whoever started codex refuses it"),
            Self::NamespaceLimit(kinds) if kinds.is_empty() => {
                write!(out, "the limit on user namespaces is used up, or lower in an outer user namespace")
            }
            Self::NamespaceLimit(kinds) => {
                write!(out, "the limit is 0: ")?;
                list(out, kinds, |kind| format!("user.max_{kind}_namespaces"))
            }
            Self::UnprivilegedClone => write!(out, "kernel.unprivileged_userns_clone is 0"),
            Self::AppArmorRestriction => {
                write!(out, "AppArmor gives user namespaces only to programs with a profile for it")
            }
            Self::AppArmorProfile(label) => {
                write!(out, "codex runs under the AppArmor profile {}", crate::shown(label))
            }
            Self::Selinux(context) => {
                write!(out, "codex runs in the SELinux context {}", crate::shown(context))
            }
            Self::CoveredProc => {
                write!(out, "parts of /proc are covered, and a new one would show what they hide")
            }
            Self::Chroot => {
                write!(out, "codex runs in a chroot, where the kernel refuses user namespaces")
            }
            Self::KernelWithoutNamespaces(kinds) if kinds.is_empty() => {
                write!(out, "the kernel was built without one of the namespaces")
            }
            Self::KernelWithoutNamespaces(kinds) => {
                write!(out, "the kernel was built without namespaces of the kind ")?;
                list(out, kinds, |kind| (*kind).to_owned())
            }
            Self::KernelTooOld(version, what) => {
                write!(out, "the kernel is older than {version}, the first with {what}")
            }
            Self::LandlockOffAtBoot(_) => {
                write!(out, "Landlock is built into the kernel, and was not enabled at boot")
            }
            Self::LandlockNotBuilt => write!(out, "the kernel was built without Landlock"),
            Self::LandlockOld(abi) => {
                write!(out, "Landlock of ABI {abi} can't refuse what newer ones can")
            }
            Self::SeccompNotBuilt => write!(out, "the kernel was built without seccomp filters"),
            Self::TimedOut => write!(out, "it took longer than 200 ms, which a loaded machine may cause"),
            Self::Unknown => write!(out, "no setting that codex knows explains it"),
        }
    }
}

fn list<T>(out: &mut fmt::Formatter<'_>, items: &[T], text: impl Fn(&T) -> String) -> fmt::Result {
    write!(out, "{}", items.iter().map(text).collect::<Vec<_>>().join(", "))
}
