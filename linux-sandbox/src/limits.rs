//! Limits on what a command may use, as a plan holds them.

use std::num::NonZeroU64;

use crate::plan::{Plan, Writes};

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitKind {
    /// Memory, in bytes.
    Memory,
    /// Processes and threads.
    Processes,
    /// Processor time, in seconds.
    CpuTime,
    /// Open descriptors of one process.
    OpenFiles,
    /// The size of a file that is written, in bytes.
    FileSize,
    /// What `/dev/shm` and a private `/tmp` hold together, in bytes.
    Shm,
}

impl LimitKind {
    /// Every kind, in the order in which they are reported.
    pub const ALL: [Self; 6] =
        [Self::Memory, Self::Processes, Self::CpuTime, Self::OpenFiles, Self::FileSize, Self::Shm];

    /// Its bit in [`Enforced::limits`](crate::Enforced::limits).
    #[must_use]
    pub const fn bit(self) -> u64 {
        1 << self as u64
    }
}

/// What the helper limits, by what the kernel holds for one process or one file system. None is ever raised above what
/// the caller has itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Bytes of writable private memory of each process: `RLIMIT_DATA` (`getrlimit(2)`). Address space that is only
    /// reserved does not count.
    pub memory: Option<NonZeroU64>,
    /// Processes and threads of the sandbox, its first process not counted: `RLIMIT_NPROC`, which counts them by user
    /// namespace from Linux 5.14 on. Only with [`Isolation::Namespaces`](crate::Isolation::Namespaces): elsewhere it would
    /// count what the user runs outside. The kernel does not hold the machine's root to it; see
    /// [`Limits::PROCESS_NUMBERS`].
    pub processes: Option<NonZeroU64>,
    /// Seconds of processor time of each process: `RLIMIT_CPU`. At the limit it gets `SIGXCPU`, a second later `SIGKILL`.
    pub cpu_time: Option<NonZeroU64>,
    /// Open descriptors of each process: `RLIMIT_NOFILE`.
    pub open_files: Option<NonZeroU64>,
    /// Bytes of each file that is written: `RLIMIT_FSIZE`. Beyond it a process gets `SIGXFSZ`, or `EFBIG`.
    pub file_size: Option<NonZeroU64>,
    /// Bytes in the sandbox's own file system in memory, `/dev/shm` and a private `/tmp` together. Only with
    /// [`Isolation::Namespaces`](crate::Isolation::Namespaces).
    pub shm: Option<NonZeroU64>,
}

impl Limits {
    /// None.
    pub const NONE: Self =
        Self { memory: None, processes: None, cpu_time: None, open_files: None, file_size: None, shm: None };

    /// Beside the [bits](LimitKind::bit) of the kinds: the numbers of processes are bounded (`kernel.pid_max` of the PID
    /// namespace, Linux 6.14), for root, whom `RLIMIT_NPROC` does not hold. There are at least as many as there may be
    /// processes, and at most 299 more.
    pub const PROCESS_NUMBERS: u64 = 1 << 8;

    /// The limit of a kind.
    #[must_use]
    pub const fn get(&self, kind: LimitKind) -> Option<NonZeroU64> {
        match kind {
            LimitKind::Memory => self.memory,
            LimitKind::Processes => self.processes,
            LimitKind::CpuTime => self.cpu_time,
            LimitKind::OpenFiles => self.open_files,
            LimitKind::FileSize => self.file_size,
            LimitKind::Shm => self.shm,
        }
    }

    /// Where the limit of a kind stands.
    pub const fn slot(&mut self, kind: LimitKind) -> &mut Option<NonZeroU64> {
        match kind {
            LimitKind::Memory => &mut self.memory,
            LimitKind::Processes => &mut self.processes,
            LimitKind::CpuTime => &mut self.cpu_time,
            LimitKind::OpenFiles => &mut self.open_files,
            LimitKind::FileSize => &mut self.file_size,
            LimitKind::Shm => &mut self.shm,
        }
    }

    /// Those that can be held under a plan: processes are counted by namespace, and memory that is a file system's is
    /// limited where that is the sandbox's own.
    #[must_use]
    pub fn that_hold(self, plan: &Plan) -> Self {
        let (counted, own) = (plan.uses_namespaces(), matches!(plan.writes, Writes::Beneath(_)));
        Self {
            processes: self.processes.filter(|_| counted),
            shm: self.shm.filter(|_| counted && own),
            ..self
        }
    }

    /// The kinds that are limited, as bits.
    #[must_use]
    pub fn bits(&self) -> u64 {
        LimitKind::ALL.into_iter().filter(|kind| self.get(*kind).is_some()).map(LimitKind::bit).sum()
    }
}
