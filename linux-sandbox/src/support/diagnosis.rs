//! From what failed, and the facts, to the cause.

use std::path::Path;

use nix::errno::Errno;

use super::cause::Cause;
use super::facts::Facts;
use super::remedy::{Remedy, remedies};
use crate::error::SetupError;

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// Namespaces.
    Namespaces,
    /// Landlock.
    Landlock,
    /// Seccomp.
    Seccomp,
}

impl Mechanism {
    /// The name used in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
        }
    }
}

/// Something that this machine gives less of than it could.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub mechanism: Mechanism,
    /// Why.
    pub cause: Cause,
    /// What would lift it. More than one where a person has a choice.
    pub remedies: Vec<Remedy>,
}

/// What limits the sandbox on this machine, by the facts and by what became of the attempt to use namespaces.
///
/// `program` is the helper's path: a profile of AppArmor belongs to a path.
#[must_use]
pub fn findings(facts: &Facts, namespaces: &Result<(), SetupError>, program: &Path) -> Vec<Finding> {
    let landlock = match facts.support.landlock {
        Err(errno) => Some(landlock_cause(errno, facts)),
        Ok(abi) if abi < NEWEST_LANDLOCK_THAT_MATTERS => Some(Cause::LandlockOld(abi)),
        Ok(_) => None,
    };
    let causes = [
        (Mechanism::Namespaces, namespaces.as_ref().err().map(|error| namespaces_cause(error, facts))),
        (Mechanism::Landlock, landlock),
        (Mechanism::Seccomp, facts.support.seccomp.err().map(|errno| seccomp_cause(errno, facts))),
    ];
    let finding = |(mechanism, cause): (_, Option<Cause>)| {
        let cause = cause?;
        Some(Finding { mechanism, remedies: remedies(&cause, facts, program), cause })
    };
    causes.into_iter().filter_map(finding).collect()
}

/// The first ABI with every right whose absence is a gap in a guarantee: its scopes keep signals inside (Linux 6.12).
const NEWEST_LANDLOCK_THAT_MATTERS: u8 = 6;

/// What a call was for: the same errno means another thing for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// Making the namespaces.
    Create,
    /// Mapping users and groups.
    Map,
    /// Changing mounts.
    Mount,
    /// Mounting a new `/proc`.
    MountProc,
    /// Something that every program may do.
    Other,
}

impl Act {
    fn of(error: &SetupError) -> Self {
        let target = error.target.as_deref();
        let named = |names: &[&str]| {
            let name = target.and_then(Path::file_name).and_then(|name| name.to_str());
            name.is_some_and(|name| names.contains(&name))
        };
        if named(&["uid_map", "gid_map", "setgroups"]) {
            return Self::Map;
        }
        let mounts = ["mount", "umount", "open_tree", "fsopen", "fsconfig", "pivot_root"];
        if mounts.iter().any(|call| error.call.starts_with(call)) || MOUNT_API.contains(&&*error.call) {
            return if named(&["proc"]) { Self::MountProc } else { Self::Mount };
        }
        if ["clone", "unshare", "setns"].iter().any(|call| error.call.starts_with(call)) {
            return Self::Create;
        }
        Self::Other
    }
}

/// Calls about mounts whose names don't begin like the others'.
const MOUNT_API: [&str; 2] = ["move_mount", "fsmount"];

fn namespaces_cause(error: &SetupError, facts: &Facts) -> Cause {
    let act = Act::of(error);
    match (act, error.errno) {
        // A filter may kill instead of refusing.
        (_, None) => filter(facts),
        (_, Some(Errno::ETIME)) => Cause::TimedOut,
        // Before Linux 4.9 it was EUSERS.
        (Act::Create, Some(Errno::ENOSPC | Errno::EUSERS)) => {
            Cause::NamespaceLimit(facts.user_namespaces.forbidden())
        }
        (Act::Create, Some(Errno::EINVAL)) => Cause::KernelWithoutNamespaces(facts.user_namespaces.missing()),
        // A container's profile answers so for calls that it does not know.
        (Act::Create | Act::Mount | Act::MountProc, Some(Errno::ENOSYS)) if facts.privileges.filtered() => {
            filter(facts)
        }
        (Act::Create, Some(Errno::ENOSYS)) => Cause::KernelWithoutNamespaces(facts.user_namespaces.missing()),
        (Act::Mount | Act::MountProc, Some(Errno::ENOSYS)) => {
            Cause::KernelTooOld("5.12", "read-only mounts of a whole tree")
        }
        (Act::Create, Some(Errno::EPERM)) => creation_cause(facts),
        (Act::MountProc, Some(Errno::EPERM)) if !facts.proc_covers.is_empty() => Cause::CoveredProc,
        // Security modules answer with EACCES, and filters hardly ever do.
        (Act::Create | Act::Map | Act::Mount | Act::MountProc, Some(Errno::EACCES | Errno::EPERM)) => {
            module_cause(facts).unwrap_or_else(|| filter(facts))
        }
        (..) => Cause::Unknown,
    }
}

/// `EPERM` where namespaces are made.
fn creation_cause(facts: &Facts) -> Cause {
    let unprivileged = !facts.privileges.administrator();
    if facts.nested {
        Cause::Nested
    } else if unprivileged && facts.user_namespaces.unprivileged_clone == Some(false) {
        Cause::UnprivilegedClone
    } else if facts.privileges.filtered() {
        filter(facts)
    } else if facts.chroot {
        Cause::Chroot
    } else {
        module_cause(facts).unwrap_or(Cause::Unknown)
    }
}

/// What a security module has against it.
fn module_cause(facts: &Facts) -> Option<Cause> {
    if facts.nested {
        return Some(Cause::Nested);
    }
    let label = facts.apparmor.label.as_ref();
    // The profile that Ubuntu puts a program under when it makes a user namespace without a profile of its own.
    let restricted = |label: &&String| label.starts_with("unprivileged_userns");
    if let Some(label) = label.filter(|label| facts.apparmor.confines() && !restricted(label)) {
        return Some(Cause::AppArmorProfile(label.clone()));
    }
    if facts.apparmor.restricts_user_namespaces == Some(true) && !facts.privileges.administrator() {
        return Some(Cause::AppArmorRestriction);
    }
    facts.selinux.as_ref().filter(|context| !context.contains(":unconfined_t:")).cloned().map(Cause::Selinux)
}

/// Whose filter refuses a call.
fn filter(facts: &Facts) -> Cause {
    match &facts.container {
        _ if facts.nested => Cause::Nested,
        _ if !facts.privileges.filtered() => Cause::Unknown,
        Some(container) => Cause::ContainerSeccomp(container.kind),
        None => Cause::SeccompFilter,
    }
}

fn landlock_cause(errno: Errno, facts: &Facts) -> Cause {
    let listed = facts.security_modules.as_ref().map(|names| names.iter().any(|name| name == "landlock"));
    match (errno, listed) {
        (Errno::EOPNOTSUPP, _) => {
            Cause::LandlockOffAtBoot(facts.security_modules.as_deref().map(boot_parameter))
        }
        (Errno::ENOSYS, _) if facts.version().is_some_and(|version| version < (5, 13)) => {
            Cause::KernelTooOld("5.13", "Landlock")
        }
        (Errno::ENOSYS, Some(false)) => Cause::LandlockNotBuilt,
        (Errno::ENOSYS, None) if !facts.privileges.filtered() => Cause::LandlockNotBuilt,
        _ => filter(facts),
    }
}

/// The value of `lsm=` with Landlock in it: what is there now, in its order.
fn boot_parameter(present: &[String]) -> String {
    // The kernel puts these at their places by itself, and does not take them from the list.
    let fixed = ["capability", "ima", "evm", "landlock"];
    let others = present.iter().map(String::as_str).filter(|name| !fixed.contains(name));
    ["landlock"].into_iter().chain(others).collect::<Vec<_>>().join(",")
}

fn seccomp_cause(errno: Errno, facts: &Facts) -> Cause {
    match errno {
        Errno::ENOSYS | Errno::EINVAL | Errno::EOPNOTSUPP if !facts.privileges.filtered() => {
            Cause::SeccompNotBuilt
        }
        _ => filter(facts),
    }
}
