//! Limits of the command's own process, which all that it starts inherits: `setrlimit(2)`.
//!
//! They are set in the process that becomes the command, after every other step: nothing that we do ourselves is held
//! to them, and no process that stays (PID 1, the broker) either. The seccomp filter lets a process limit itself.

use std::num::NonZeroU64;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, read, write};

use crate::error::{SetupError, Step};
use crate::plan::{LimitKind, Limits, Plan};
use crate::support::kernel_is_at_least;
use crate::sys::{self, MountAttributes};

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

/// What is set for a plan, as [`Enforced::limits`](crate::Enforced::limits) has it.
pub(super) fn held(plan: &Plan) -> u64 {
    plan.limits.bits() | if bounds_numbers(plan) { Limits::PROCESS_NUMBERS } else { 0 }
}

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

/// The numbers of processes below this one are used first, and never again once they have all been given (`RESERVED_PIDS`,
/// `kernel/pid.c`).
const RESERVED_NUMBERS: u64 = 300;

/// Whether the numbers of processes are bounded: for root, whom the kernel holds to no `RLIMIT_NPROC`.
///
/// Before Linux 6.14 there is one `kernel.pid_max` for the whole machine, and root could write it from in here.
pub(super) fn bounds_numbers(plan: &Plan) -> bool {
    plan.limits.processes.is_some()
        && plan.uses_namespaces()
        && geteuid().is_root()
        && kernel_is_at_least(6, 14)
}

/// Leaves the PID namespace no more numbers than it may have processes, but for those that are reserved.
pub(super) fn bound_numbers(limit: NonZeroU64) -> Result<(), SetupError> {
    const FILE: &str = "sys/kernel/pid_max";
    let failed =
        |call| move |errno| SetupError::call(Step::Limits, call, errno).on("/proc/sys/kernel/pid_max");
    // The one that the command sees is read-only.
    let attributes =
        MountAttributes::NO_SET_USER_ID.and(MountAttributes::NO_DEVICES).and(MountAttributes::NO_PROGRAMS);
    let processes =
        sys::new_file_system(c"proc", &[], attributes).map_err(|(call, errno)| failed(call)(errno))?;
    let open =
        |flags| openat(&processes, FILE, flags | OFlag::O_CLOEXEC, Mode::empty()).map_err(failed("openat"));
    let most = || {
        let mut text = [0; 32];
        let length = read(open(OFlag::O_RDONLY)?, &mut text).map_err(failed("read"))?;
        let number =
            text.get(..length).and_then(|text| std::str::from_utf8(text).ok()?.trim().parse::<u64>().ok());
        number.ok_or_else(|| failed("read")(Errno::EINVAL))
    };
    let wanted = limit.get().saturating_add(RESERVED_NUMBERS);
    // Never loosened, and there are no more numbers than this anywhere.
    if wanted < most()? {
        write(open(OFlag::O_WRONLY)?, wanted.to_string().as_bytes()).map_err(failed("write"))?;
        // The kernel takes what it does not like without a word (`proc_sys(5)`, `sysctl_writes_strict`).
        if most()? != wanted {
            let hint = "the limit is not what it was set to";
            return Err(SetupError::condition(Step::Limits, "write", hint).on("/proc/sys/kernel/pid_max"));
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
