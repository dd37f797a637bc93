//! What a person would look up by hand. Reading it changes nothing, walks no directory and waits for nothing.

use std::path::PathBuf;

use super::Support;
use super::cgroup::Cgroup;
use super::container::Container;
use super::mounts::{mounts, proc_covers};
use super::tree::Tree;
use crate::sys;

/// The namespaces that the sandbox can use, by their names in `/proc/self/ns` and in `user.max_*_namespaces`.
const KINDS: [&str; 7] = ["user", "mnt", "pid", "ipc", "uts", "cgroup", "net"];

/// What the system's settings say about user namespaces and those within them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserNamespaces {
    /// The kinds of namespaces that this kernel knows, of those that the sandbox can use.
    pub kinds: Vec<&'static str>,
    /// How many of each kind the user may have in the present user namespace: `user.max_*_namespaces`. An outer one may
    /// allow less.
    pub limits: Vec<(&'static str, u64)>,
    /// `kernel.unprivileged_userns_clone`, which Debian's older kernels have: whether users without privileges may.
    pub unprivileged_clone: Option<bool>,
}

impl UserNamespaces {
    fn read(tree: &Tree) -> Self {
        let limit = |kind| Some((kind, tree.number(&format!("/proc/sys/user/max_{kind}_namespaces"))?));
        Self {
            kinds: KINDS.into_iter().filter(|kind| tree.exists(&format!("/proc/self/ns/{kind}"))).collect(),
            limits: KINDS.into_iter().filter_map(limit).collect(),
            unprivileged_clone: tree
                .number("/proc/sys/kernel/unprivileged_userns_clone")
                .map(|value| value != 0),
        }
    }

    /// The kinds that this kernel was built without.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        KINDS.into_iter().filter(|kind| !self.kinds.contains(kind)).collect()
    }

    /// The kinds of which nobody may have any.
    #[must_use]
    pub fn forbidden(&self) -> Vec<&'static str> {
        self.limits.iter().filter(|(_, limit)| *limit == 0).map(|(kind, _)| *kind).collect()
    }
}

/// What AppArmor says about us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppArmor {
    /// The profile that we run under, with its mode: `unconfined`, `docker-default (enforce)`. `None` without AppArmor.
    pub label: Option<String>,
    /// `kernel.apparmor_restrict_unprivileged_userns`: whether a program without a profile that allows it can use user
    /// namespaces. `None` where this kernel has no such setting.
    pub restricts_user_namespaces: Option<bool>,
}

impl AppArmor {
    /// Whether a profile limits what we may do.
    #[must_use]
    pub fn confines(&self) -> bool {
        // A profile in the mode `unconfined` grants everything; it only gives the program a name.
        self.label.as_ref().is_some_and(|label| label != "unconfined" && !label.ends_with(" (unconfined)"))
    }
}

/// What this process was started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Privileges {
    /// The effective capabilities, a bit each.
    pub capabilities: Option<u64>,
    /// Whether executing a program can't give us privileges.
    pub no_new_privs: Option<bool>,
    /// How many seccomp filters are on us already. Before Linux 5.9 the kernel only tells whether there are any: 1 then.
    pub seccomp_filters: Option<u64>,
}

impl Privileges {
    fn read(tree: &Tree) -> Self {
        let status = tree.text("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
        };
        let filtered = field("Seccomp").map(|mode| u64::from(mode != "0"));
        Self {
            capabilities: field("CapEff").and_then(|bits| u64::from_str_radix(bits, 16).ok()),
            no_new_privs: field("NoNewPrivs").map(|flag| flag != "0"),
            seccomp_filters: field("Seccomp_filters").and_then(|count| count.parse().ok()).or(filtered),
        }
    }

    /// Whether we may do what only root of the present user namespace may.
    #[must_use]
    pub fn administrator(&self) -> bool {
        const CAP_SYS_ADMIN: u64 = 21;
        self.capabilities.is_some_and(|bits| bits >> CAP_SYS_ADMIN & 1 == 1)
    }

    /// Whether system calls of ours are filtered already.
    #[must_use]
    pub fn filtered(&self) -> bool {
        self.seccomp_filters.is_some_and(|count| count > 0)
    }
}

/// Everything that there is to know about this machine without trying anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The kernel's release: `6.8.0-45-generic`.
    pub release: Option<String>,
    /// What the kernel answers about Landlock and seccomp.
    pub support: Support,
    /// Whether seccomp can hand a call to another process for a decision (Linux 5.0).
    pub seccomp_user_notification: bool,
    /// The security modules in use, in their order. `None` where `securityfs` is not mounted.
    pub security_modules: Option<Vec<String>>,
    /// Settings about namespaces.
    pub user_namespaces: UserNamespaces,
    /// AppArmor and this process.
    pub apparmor: AppArmor,
    /// The SELinux context of this process, where that module labels it.
    pub selinux: Option<String>,
    /// What this process was started with.
    pub privileges: Privileges,
    /// `kernel.yama.ptrace_scope`: 0 lets a process trace others of its user, 1 only its descendants.
    pub ptrace_scope: Option<u64>,
    /// The container around us.
    pub container: Option<Container>,
    /// Mounts that hide parts of `/proc`.
    pub proc_covers: Vec<PathBuf>,
    /// Whether `/` is no mount point: the process was put into a directory with `chroot(2)`.
    pub chroot: bool,
    /// Control groups.
    pub cgroup: Cgroup,
    /// Whether a sandbox of this very program is around us. Only the caller can know.
    pub nested: bool,
}

impl Facts {
    /// Looks everything up.
    #[must_use]
    pub fn read(nested: bool) -> Self {
        Self::below(&Tree::new("/"), Support::probe(), nested)
    }

    pub(super) fn below(tree: &Tree, support: Support, nested: bool) -> Self {
        let mounts = mounts(tree);
        let proc_covers = proc_covers(&mounts);
        let list = |text: String| text.split(',').map(|name| name.trim().to_owned()).collect();
        // Before Linux 5.8 AppArmor has no file of its own: a context of SELinux is told by its colons.
        let shared = tree.text("/proc/self/attr/current");
        let (selinux, shared) = match shared {
            Some(label) if label.split(':').count() >= 3 => (Some(label), None),
            other => (None, other),
        };
        Self {
            release: tree.text("/proc/sys/kernel/osrelease"),
            support,
            seccomp_user_notification: sys::seccomp_action_available(libc::SECCOMP_RET_USER_NOTIF).is_ok(),
            security_modules: tree.text("/sys/kernel/security/lsm").map(list),
            user_namespaces: UserNamespaces::read(tree),
            apparmor: AppArmor {
                label: tree.text("/proc/self/attr/apparmor/current").or(shared),
                restricts_user_namespaces: tree
                    .number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
                    .map(|value| value != 0),
            },
            selinux,
            privileges: Privileges::read(tree),
            ptrace_scope: tree.number("/proc/sys/kernel/yama/ptrace_scope"),
            container: Container::read(tree, !proc_covers.is_empty()),
            chroot: !mounts.is_empty() && !mounts.iter().any(|mount| mount.point.as_os_str() == "/"),
            cgroup: Cgroup::read(tree, &mounts, nested),
            proc_covers,
            nested,
        }
    }

    /// The kernel's version as two numbers, for comparison.
    #[must_use]
    pub fn version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.release.as_deref()?.split(|end: char| !end.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}
