//! Limits of the command's own process, which all that it starts inherits: `setrlimit(2)`.
//!
//! They are set in the process that becomes the command, after every other step: nothing that we do ourselves is held
//! to them, and no process that stays (PID 1, the broker) either. The seccomp filter lets a process limit itself.

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

use crate::error::{SetupError, Step};
use crate::plan::{LimitKind, Limits};

/// Seconds from `SIGXCPU` to `SIGKILL`: with both at once the kernel sends the latter only.
const CPU_GRACE: rlim_t = 1;
/// The first process of the PID namespace is the command's user's as well, and counts.
const FIRST_PROCESS: rlim_t = 1;

/// In this order: how many descriptors may be open comes last, since what reports a failure may need one.
const ORDER: [(LimitKind, Resource, rlim_t, rlim_t); 5] = [
    (LimitKind::FileSize, Resource::RLIMIT_FSIZE, 0, 0),
    (LimitKind::CpuTime, Resource::RLIMIT_CPU, 0, CPU_GRACE),
    (LimitKind::Memory, Resource::RLIMIT_DATA, 0, 0),
    (LimitKind::Processes, Resource::RLIMIT_NPROC, FIRST_PROCESS, FIRST_PROCESS),
    (LimitKind::OpenFiles, Resource::RLIMIT_NOFILE, 0, 0),
];

/// Limits this process and what it will start. What the caller is held to already is never loosened.
pub(super) fn apply(limits: &Limits) -> Result<(), SetupError> {
    for (kind, resource, soft_more, hard_more) in ORDER {
        let Some(limit) = limits.get(kind) else { continue };
        let limit = limit.get();
        let failed =
            |call: &'static str| move |errno| SetupError::call(Step::Limits, call, errno).on(name(kind));
        let (soft, hard) = getrlimit(resource).map_err(failed("getrlimit"))?;
        let hard = hard.min(limit.saturating_add(hard_more));
        let soft = soft.min(limit.saturating_add(soft_more)).min(hard);
        setrlimit(resource, soft, hard).map_err(failed("setrlimit"))?;
        // Believed only once seen, as everything that is given up.
        if getrlimit(resource).map_err(failed("getrlimit"))? != (soft, hard) {
            return Err(SetupError::condition(
                Step::Limits,
                "setrlimit",
                "the limit is not what it was set to",
            )
            .on(name(kind)));
        }
    }
    Ok(())
}

/// The name by which the kernel's manual knows what holds a limit.
const fn name(kind: LimitKind) -> &'static str {
    match kind {
        LimitKind::Memory => "RLIMIT_DATA",
        LimitKind::Processes => "RLIMIT_NPROC",
        LimitKind::CpuTime => "RLIMIT_CPU",
        LimitKind::OpenFiles => "RLIMIT_NOFILE",
        LimitKind::FileSize => "RLIMIT_FSIZE",
        LimitKind::Shm => "tmpfs",
    }
}
