//! Which limit ended a call, judged by what can't be forged by a command that merely ends badly.

use std::time::Duration;

use codex_linux_sandbox::{Ending, LimitKind};
use nix::sys::signal::Signal;
use serde::Serialize;

use super::accounting::Exceeded;
use super::cgroup::CgroupUsage;
use crate::limits::{Limit, ResourceLimits};

/// A limit that ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LimitHit {
    /// What was limited.
    pub limit: Limit,
    /// What was allowed of it, in its [unit](Limit::unit).
    pub allowed: u64,
    /// What was seen of it, where somebody counted.
    pub seen: Option<u64>,
}

/// What is known of a call that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The limits in effect.
    pub limits: &'a ResourceLimits,
    /// Those that the helper has set: [`Enforced::limits`](codex_linux_sandbox::Enforced::limits).
    pub set: u64,
    /// What we ended it for.
    pub exceeded: Option<Exceeded>,
    /// How the command ended.
    pub ending: Option<Ending>,
    /// The processor time of the command and all that it waited for.
    pub cpu_time: Option<Duration>,
    /// What its cgroup counted.
    pub cgroup: Option<&'a CgroupUsage>,
}

/// The limit that ended a call, if one did. A command that a signal ended which somebody else may have sent, or that
/// exited by itself after it was refused something, was not ended by a limit.
#[must_use]
pub fn limit_hit(evidence: &Evidence<'_>) -> Option<LimitHit> {
    let Evidence { limits, set, exceeded, ending, cpu_time, cgroup } = *evidence;
    if let Some(Exceeded { limit, allowed, seen }) = exceeded {
        return Some(LimitHit { limit, allowed, seen: Some(seen) });
    }
    let Some(Ending::Signalled { signal, .. }) = ending else { return None };
    let hit = |limit, seen| Some(LimitHit { limit, allowed: limits.get(limit)?.get(), seen });
    let was_set = |kind: LimitKind| set & kind.bit() != 0;
    match Signal::try_from(signal) {
        // With memory.oom.group, the kernel ends all processes of the cgroup or none.
        Ok(Signal::SIGKILL) => {
            let usage = cgroup.filter(|usage| usage.out_of_memory_kills.is_some_and(|kills| kills > 0))?;
            hit(Limit::Memory, usage.memory_peak)
        }
        // Nobody but the kernel has a reason to send either; for time, it has to have been used, too.
        Ok(Signal::SIGXCPU) if was_set(LimitKind::CpuTime) => {
            let (allowed, used) = (limits.cpu_time()?, cpu_time?);
            // The kernel's clock for limits is finer than the one that it reports by.
            (used + TICK >= allowed).then_some(())?;
            hit(Limit::CpuTime, u64::try_from(used.as_millis()).ok())
        }
        Ok(Signal::SIGXFSZ) if was_set(LimitKind::FileSize) => hit(Limit::FileSize, None),
        _ => None,
    }
}

/// The coarsest clock by which the kernel reports time.
const TICK: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;
    use std::time::Duration;

    use codex_linux_sandbox::{Ending, LimitKind};
    use nix::sys::signal::Signal;

    use super::{Evidence, LimitHit, limit_hit};
    use crate::exec::accounting::Exceeded;
    use crate::exec::cgroup::CgroupUsage;
    use crate::limits::{Limit, ResourceLimits};

    fn limits() -> ResourceLimits {
        let mut limits = ResourceLimits::NONE;
        for limit in Limit::ALL {
            limits.set(limit, NonZeroU64::new(1000).unwrap());
        }
        limits
    }

    fn by(signal: Signal) -> Option<Ending> {
        Some(Ending::Signalled { signal: signal as i32, core_dumped: false })
    }

    const ALL: u64 = 0x3f;

    #[test]
    fn a_signal_of_the_kernel_names_its_limit() {
        let limits = limits();
        let none = Evidence {
            limits: &limits,
            set: ALL,
            exceeded: None,
            ending: None,
            cpu_time: None,
            cgroup: None,
        };
        let hit = |limit, seen| Some(LimitHit { limit, allowed: 1000, seen });
        let sized = Evidence { ending: by(Signal::SIGXFSZ), ..none };
        assert_eq!(limit_hit(&sized), hit(Limit::FileSize, None));
        assert_eq!(limit_hit(&Evidence { set: ALL & !LimitKind::FileSize.bit(), ..sized }), None);
        let timed =
            Evidence { ending: by(Signal::SIGXCPU), cpu_time: Some(Duration::from_millis(1004)), ..none };
        assert_eq!(limit_hit(&timed), hit(Limit::CpuTime, Some(1004)));
        // Sent by somebody to a command that had used next to nothing.
        assert_eq!(limit_hit(&Evidence { cpu_time: Some(Duration::from_millis(4)), ..timed }), None);
        assert_eq!(limit_hit(&Evidence { cpu_time: None, ..timed }), None);
        let killed =
            CgroupUsage { out_of_memory_kills: Some(1), memory_peak: Some(999), ..CgroupUsage::default() };
        let killed = Evidence { ending: by(Signal::SIGKILL), cgroup: Some(&killed), ..none };
        assert_eq!(limit_hit(&killed), hit(Limit::Memory, Some(999)));
        let alive = CgroupUsage { out_of_memory_kills: Some(0), ..CgroupUsage::default() };
        assert_eq!(limit_hit(&Evidence { cgroup: Some(&alive), ..killed }), None);
        assert_eq!(limit_hit(&Evidence { cgroup: None, ..killed }), None);
    }

    #[test]
    fn what_merely_ends_badly_was_not_ended_by_a_limit() {
        let limits = limits();
        let endings = [1, 2, 126, 137, 152, 153].map(|code| Some(Ending::Exited { code }));
        let signals = [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGSEGV, Signal::SIGABRT].map(by);
        for ending in endings.into_iter().chain(signals).chain([None]) {
            let cpu_time = Some(Duration::from_secs(10));
            let evidence =
                Evidence { limits: &limits, set: ALL, exceeded: None, ending, cpu_time, cgroup: None };
            assert_eq!(limit_hit(&evidence), None, "{ending:?}");
        }
    }

    #[test]
    fn what_we_ended_it_for_counts_however_it_ended() {
        let limits = limits();
        let exceeded = Some(Exceeded { limit: Limit::Processes, allowed: 1000, seen: 1001 });
        let ending = Some(Ending::Exited { code: 0 });
        let evidence = Evidence { limits: &limits, set: 0, exceeded, ending, cpu_time: None, cgroup: None };
        let expected = LimitHit { limit: Limit::Processes, allowed: 1000, seen: Some(1001) };
        assert_eq!(limit_hit(&evidence), Some(expected));
    }
}
