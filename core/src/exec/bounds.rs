//! What bounds all processes of a call together: a cgroup where one is to be had, and a meter for what no cgroup holds.

use std::sync::{Arc, OnceLock};

use codex_linux_sandbox::{Ending, Enforced};

use super::accounting::{Meter, Root};
use super::cgroup::{Cgroup, CgroupUsage, Delegation};
use super::limit_hit::{Evidence, LimitHit, limit_hit};
use super::outcome::{Outcome, ResourceUsage, Stop};
use super::request::Stdio;
use crate::enforcement::Means;
use crate::limits::{Limit, ResourceLimits};

/// The bounds of one call.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) limits: ResourceLimits,
    pub(super) group: Option<Arc<Cgroup>>,
}

/// Where cgroups may be made. That does not change while a process lives. What killed calls of others have left there is
/// removed when it is looked for.
fn delegation() -> Option<&'static Delegation> {
    static DELEGATION: OnceLock<Option<Delegation>> = OnceLock::new();
    DELEGATION
        .get_or_init(|| {
            let found =
                Delegation::find().inspect_err(|why| tracing::debug!(%why, "no cgroup bounds calls")).ok()?;
            let swept = found.sweep();
            if swept > 0 {
                tracing::info!(swept, "removed cgroups that killed calls have left");
            }
            Some(found)
        })
        .as_ref()
}

/// Whether a cgroup can hold any of the limits: nothing is looked for where there is none of these.
fn wants_group(limits: &ResourceLimits) -> bool {
    limits.get(Limit::Memory).is_some() || limits.get(Limit::Processes).is_some()
}

/// What will hold limits, by what is delegated to us. What did hold is in a run's result.
pub(super) fn expected(limits: &ResourceLimits) -> Means {
    let holds = wants_group(limits).then(delegation).flatten().map(Delegation::holds).unwrap_or_default();
    means(&holds)
}

fn means(holds: &[Limit]) -> Means {
    Means {
        cgroup_memory: holds.contains(&Limit::Memory),
        cgroup_processes: holds.contains(&Limit::Processes),
        metered: true,
    }
}

impl Bounds {
    /// Makes a cgroup where one helps, for a call beside whose command so many processes of ours are in it. Waits for the
    /// kernel. Where it can't be made, the meter is what is left, and the report says so.
    pub(super) fn begin(limits: ResourceLimits, beside: u64) -> Self {
        let delegation = wants_group(&limits).then(delegation).flatten();
        let group = delegation.filter(|delegation| !delegation.holds().is_empty()).and_then(|delegation| {
            let made = delegation.create(&limits, beside);
            made.inspect_err(|error| tracing::warn!(%error, "a call goes without a cgroup")).ok()
        });
        Self { limits, group: group.map(Arc::new) }
    }

    pub(super) fn means(&self) -> Means {
        means(&self.group.as_ref().map(|group| group.holds()).unwrap_or_default())
    }

    /// What samples the use of a call, where something has to be sampled.
    pub(super) fn meter(&self, root: Root, stdio: Stdio) -> Option<Meter> {
        Meter::new(root, &self.limits, self.group.clone(), stdio)
    }

    /// Which limit ended the command, by the evidence. What ended for another reason of ours was ended by none.
    pub(super) fn hit(
        &self,
        enforced: Option<&Enforced>,
        outcome: &Outcome,
        stopped: Option<Stop>,
        rusage: Option<&ResourceUsage>,
        usage: Option<&CgroupUsage>,
    ) -> Option<LimitHit> {
        let exceeded = match stopped {
            Some(Stop::Resource(exceeded)) => Some(exceeded),
            Some(Stop::Deadline(_) | Stop::Idle(_) | Stop::Output(_) | Stop::Cancelled) => return None,
            None => None,
        };
        let ending = match *outcome {
            Outcome::Exited { code } => Some(Ending::Exited { code }),
            Outcome::Signalled { signal, core_dumped } => Some(Ending::Signalled { signal, core_dumped }),
            _ => None,
        };
        limit_hit(&Evidence {
            limits: &self.limits,
            set: enforced.map_or(0, |enforced| enforced.limits),
            exceeded,
            ending,
            cpu_time: rusage.map(ResourceUsage::cpu_time),
            cgroup: usage,
        })
    }

    /// What the kernel has counted.
    pub(super) fn usage(&self) -> Option<CgroupUsage> {
        self.group.as_ref().map(|group| group.usage())
    }

    /// Takes down what was made for the call. What is still in it is killed.
    pub(super) async fn end(self) {
        // Where somebody else still holds it, it is removed when they let go.
        if let Some(group) = self.group.and_then(Arc::into_inner)
            && let Err(error) = group.remove().await
        {
            tracing::warn!(%error, "a cgroup is left for the next process to sweep");
        }
    }
}
