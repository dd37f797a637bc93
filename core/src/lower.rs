//! Lowering a resolved policy into the helper's plan.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use codex_linux_sandbox::{
    Isolation, Kept, Limits, Network, Places, Plan, PlanError, PlanPath, Protected, Writes,
    kernel_is_at_least,
};

use crate::enforcement::Means;
use crate::limits::{Limit, ResourceLimits};
use crate::policy::{
    NetworkAccess, Protection, ResolvedPlaces, ResolvedPolicy, ResolvedWrites, RootOrigin, WritableRoot,
};

/// Says a resolved policy in the mechanism's own terms, without rules about single places.
///
/// # Errors
///
/// A path that the mechanism can't take. Resolution yields none.
pub fn lower(
    policy: &ResolvedPolicy,
    places: &ResolvedPlaces,
    isolation: Isolation,
) -> Result<Plan, PlanError> {
    let writes = match &policy.writes {
        ResolvedWrites::Everywhere => Writes::Everywhere,
        ResolvedWrites::Beneath(_) => {
            let roots = roots(policy, places, isolation).into_iter();
            Writes::Beneath(roots.map(|root| PlanPath::new(&root.path)).collect::<Result<_, _>>()?)
        }
    };
    let network = match policy.network {
        NetworkAccess::Enabled => Network::Full,
        NetworkAccess::Restricted => Network::Off,
    };
    let mut plan = Plan::new(isolation, writes, network);
    if isolation == Isolation::Namespaces {
        plan.places = lower_places(places)?;
    }
    Ok(plan)
}

fn lower_places(places: &ResolvedPlaces) -> Result<Places, PlanError> {
    Ok(Places {
        protected: Vec::new(),
        denied: paths(&places.denied)?,
        reopened: paths(&places.reopened)?,
        private_tmp: places.private_tmp,
        unix_sockets: paths(&places.unix_sockets)?,
    })
}

/// Says limits in the mechanism's own terms, as far as the helper can hold them under a plan; what a cgroup holds needs
/// nothing of it.
#[must_use]
pub fn lower_limits(limits: &ResourceLimits, plan: &Plan, means: Means) -> Limits {
    let seconds =
        |time: Duration| NonZeroU64::new(time.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX));
    let lowered = Limits {
        memory: limits.get(Limit::Memory).filter(|_| !means.cgroup_memory),
        processes: limits
            .get(Limit::Processes)
            .filter(|_| !means.cgroup_processes && counts_by_user_namespace()),
        cpu_time: limits.cpu_time().and_then(seconds),
        open_files: limits.get(Limit::OpenFiles),
        file_size: limits.get(Limit::FileSize),
        shm: limits.get(Limit::Shm),
    };
    lowered.that_hold(plan)
}

/// Whether `RLIMIT_NPROC` counts the processes of a user namespace (Linux 5.14). Before that it counts all that the user
/// has, and a number that is ample for a command would let nothing start.
fn counts_by_user_namespace() -> bool {
    kernel_is_at_least(5, 14)
}

/// Says what is protected at the time of a call.
///
/// # Errors
///
/// A path that the mechanism can't take. The search yields none.
pub fn lower_protection(protection: &Protection) -> Result<Vec<Protected>, PlanError> {
    let kept = |paths: Vec<PlanPath>, kept| paths.into_iter().map(move |path| Protected { path, kept });
    let pinned = kept(paths(&protection.pinned)?, Kept::Pinned);
    Ok(pinned.chain(kept(paths(&protection.read_only)?, Kept::ReadOnly)).collect())
}

fn paths(paths: &[PathBuf]) -> Result<Vec<PlanPath>, PlanError> {
    paths.iter().map(PlanPath::new).collect()
}

/// The roots that a level leaves to the host: what is the command's own there needs no root.
pub fn roots<'p>(
    policy: &'p ResolvedPolicy,
    places: &ResolvedPlaces,
    isolation: Isolation,
) -> Vec<&'p WritableRoot> {
    let own = |origin: RootOrigin| match isolation {
        Isolation::Namespaces => {
            origin == RootOrigin::DevShm || (origin == RootOrigin::SlashTmp && places.private_tmp)
        }
        Isolation::Landlock => false,
    };
    match &policy.writes {
        ResolvedWrites::Everywhere => Vec::new(),
        ResolvedWrites::Beneath(roots) => roots.iter().filter(|root| !own(root.origin)).collect(),
    }
}
