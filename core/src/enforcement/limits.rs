//! How far each limit holds, and by what.

use std::borrow::Cow;

use codex_linux_sandbox::{Enforced, LimitKind, Limits};
use serde::Serialize;

use super::Hold;
use crate::limits::{Limit, ResourceLimits};

/// How far one limit holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LimitHolding {
    /// What is limited.
    pub limit: Limit,
    /// What is allowed of it, in its [unit](Limit::unit).
    pub amount: u64,
    /// How far the limit holds.
    pub hold: Hold,
    /// By what, or why not.
    pub why: Cow<'static, str>,
}

/// What holds limits beside the helper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Means {
    /// The call has a cgroup that holds memory.
    pub cgroup_memory: bool,
    /// The call has a cgroup that holds processes.
    pub cgroup_processes: bool,
    /// What the call uses is sampled, and it is ended above a limit. A cgroup of the call counts processor time for that.
    pub metered: bool,
}

/// What a run is like, as far as limits go.
pub(super) struct Held<'a> {
    pub(super) enforced: &'a Enforced,
    pub(super) means: Means,
    /// Whether the kernel holds this user to a number of processes: not the machine's root.
    pub(super) root: bool,
}

impl Held<'_> {
    pub(super) fn holdings(&self, limits: &ResourceLimits) -> Vec<LimitHolding> {
        let each = limits.iter().map(|(limit, amount)| {
            let (hold, why) = self.holding(limit);
            LimitHolding { limit, amount: amount.get(), hold, why: Cow::Borrowed(why) }
        });
        each.collect()
    }

    fn holding(&self, limit: Limit) -> (Hold, &'static str) {
        let Means { cgroup_memory, cgroup_processes, metered } = self.means;
        let cgroup = cgroup_memory || cgroup_processes;
        match (limit, self.is_set(limit)) {
            (Limit::Memory, _) if cgroup_memory => {
                (Hold::Enforced, "memory.max of a cgroup, for all processes together")
            }
            (Limit::Memory, true) if metered => (
                Hold::Partial,
                "RLIMIT_DATA for each process; all together are sampled, and ended above it: no cgroup holds them",
            ),
            (Limit::Memory, true) => {
                (Hold::Partial, "RLIMIT_DATA, for each process alone: no cgroup holds all together")
            }
            (Limit::Processes, _) if cgroup_processes => (Hold::Enforced, "pids.max of a cgroup"),
            (Limit::Processes, true) if !self.root => {
                (Hold::Enforced, "RLIMIT_NPROC, counted in the user namespace")
            }
            (Limit::Processes, _) if self.numbers_are_bounded() && metered => (
                Hold::Partial,
                "kernel.pid_max of the PID namespace, which has up to 299 more; sampled, and ended above it: RLIMIT_NPROC does \
                 not hold root",
            ),
            (Limit::Processes, _) if self.numbers_are_bounded() => (
                Hold::Partial,
                "kernel.pid_max of the PID namespace, which has up to 299 more: RLIMIT_NPROC does not hold root",
            ),
            (Limit::Processes, _) if metered => (
                Hold::Partial,
                "sampled, and ended above it: no cgroup holds them, and RLIMIT_NPROC holds neither root nor, without a user \
                 namespace, the command alone",
            ),
            (Limit::Processes, _) => (
                Hold::Absent,
                "no cgroup holds them, and RLIMIT_NPROC holds neither root nor, without a user namespace, the command alone",
            ),
            (Limit::CpuTime, true) if metered && cgroup => (
                Hold::Enforced,
                "RLIMIT_CPU for each process; what the cgroup counted is sampled, and ended above it",
            ),
            (Limit::CpuTime, true) if metered => (
                Hold::Partial,
                "RLIMIT_CPU for each process; all together are sampled, and ended above it; what is not waited for is not \
                 counted after its end",
            ),
            (Limit::CpuTime, true) => (Hold::Partial, "RLIMIT_CPU, for each process alone"),
            (Limit::OpenFiles, true) => (Hold::Enforced, "RLIMIT_NOFILE, for each process"),
            (Limit::FileSize, true) => (Hold::Enforced, "RLIMIT_FSIZE, for each file"),
            (Limit::Shm, true) => (Hold::Enforced, "the size of the sandbox's own file system in memory"),
            (Limit::Shm, false) => (
                Hold::Absent,
                "needs a /dev/shm of the command's own: level namespaces, and a policy that confines writes",
            ),
            (Limit::Memory | Limit::CpuTime | Limit::OpenFiles | Limit::FileSize, false) => {
                (Hold::Absent, "the helper did not set it")
            }
        }
    }

    fn numbers_are_bounded(&self) -> bool {
        self.enforced.limits & Limits::PROCESS_NUMBERS != 0
    }

    /// Whether the helper has set a limit.
    fn is_set(&self, limit: Limit) -> bool {
        let kind = match limit {
            Limit::Memory => LimitKind::Memory,
            Limit::Processes => LimitKind::Processes,
            Limit::CpuTime => LimitKind::CpuTime,
            Limit::OpenFiles => LimitKind::OpenFiles,
            Limit::FileSize => LimitKind::FileSize,
            Limit::Shm => LimitKind::Shm,
        };
        self.enforced.limits & kind.bit() != 0
    }
}
