//! The restrictions, in the only order in which they can be applied.

mod landlock;
mod privileges;
pub(crate) mod seccomp;

use crate::error::SetupError;
use crate::plan::Plan;
use crate::report::Enforced;
use crate::support::Support;

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
    let landlock = landlock::restrict(plan, Support::probe().landlock_abi(plan.landlock_abi_at_most))?;
    // seccomp last, so that no step before it has to get past it.
    let seccomp_calls = seccomp::install(plan)?;
    Ok(Enforced {
        landlock_abi: landlock.abi,
        landlock_fs: landlock.fs,
        landlock_net: landlock.net,
        landlock_scopes: landlock.scopes,
        seccomp_calls,
        capabilities,
    })
}
