//! The restrictions, in the only order in which they can be applied.

mod device;
mod landlock;
mod mounts;
pub(crate) mod namespaces;
mod privileges;
pub(crate) mod seccomp;
mod walk;

use crate::error::SetupError;
use crate::plan::{Footing, Plan};
use crate::report::{Capabilities, Enforced};
use crate::support::Support;
use landlock::Handled;
pub(crate) use mounts::Ground;

/// Takes possession of the namespaces that this process is the first one in: what every plan has on this footing.
pub(crate) fn enter_namespaces(footing: Footing) -> Result<Ground, SetupError> {
    namespaces::furnish(footing)?;
    mounts::prepare(footing)
}

/// Applies the plan to this process and tells what holds. Irreversible: a failure leaves the process half confined, and
/// its only way on is to end.
pub(crate) fn enforce(plan: &Plan) -> Result<Enforced, SetupError> {
    if plan.is_unrestricted() {
        return Ok(Enforced::NOTHING);
    }
    // no_new_privs first: without it an unprivileged process may install neither of the other two.
    // Then capabilities: what is given up here can't help to undo what follows.
    let capabilities = privileges::give_up()?;
    // Landlock before seccomp: the filter has no reason to let Landlock's own calls through for us.
    let abi = Support::probe().landlock_abi(plan.landlock_abi_at_most);
    let handled = landlock::restrict(plan, abi)?;
    // seccomp last, so that no step before it has to get past it.
    let seccomp_calls = seccomp::install(plan)?;
    Ok(enforced(namespaces::of(plan), abi, &handled, seccomp_calls, capabilities))
}

/// What a plan would hold on a kernel with this Landlock ABI, for whoever wants to know before it is applied.
pub(crate) fn expected(plan: &Plan, abi: u8) -> Enforced {
    if plan.is_unrestricted() {
        return Enforced::NOTHING;
    }
    let handled = Handled::by(plan, abi);
    enforced(namespaces::of(plan), abi, &handled, seccomp::answered_by(plan), privileges::kept())
}

fn enforced(
    namespaces: u64,
    landlock_abi: u8,
    handled: &Handled,
    seccomp_calls: u32,
    capabilities: Capabilities,
) -> Enforced {
    Enforced {
        namespaces,
        landlock_abi,
        landlock_fs: handled.fs.bits(),
        landlock_net: handled.net.bits(),
        landlock_scopes: handled.scopes.bits(),
        seccomp_calls,
        capabilities,
    }
}
