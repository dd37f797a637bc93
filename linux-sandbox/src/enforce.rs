//! The restrictions, in the only order in which they can be applied.

mod device;
mod landlock;
mod limits;
mod mounts;
pub(crate) mod namespaces;
pub(crate) mod privileges;
pub(crate) mod seccomp;
pub(crate) mod walk;

use std::os::fd::OwnedFd;

use nix::unistd::getpid;

use crate::broker::UnixSockets;
use crate::error::SetupError;
use crate::plan::{Footing, Limits, Plan};
use crate::report::{Capabilities, Enforced, Observation};
use crate::support::Support;
use landlock::Handled;
pub(crate) use mounts::Ground;

/// Takes possession of the namespaces that this process is the first one in: what every plan has on this footing.
pub(crate) fn enter_namespaces(footing: Footing) -> Result<Ground, SetupError> {
    let ground = mounts::prepare(footing)?;
    // Last, since it waits for a lock of the whole machine's, which the end of another call's network holds for up to a
    // millisecond.
    namespaces::furnish(footing)?;
    Ok(ground)
}

/// Applies the plan to this process and tells what holds. Where asked to, what Landlock refuses is logged by the kernel.
/// Irreversible: a failure leaves the process half confined, and its only way on is to end.
pub(crate) fn enforce(plan: &Plan, log_refusals: bool) -> Result<Enforced, SetupError> {
    if plan.is_unrestricted() {
        return Ok(Enforced { limits: limits::held(plan), ..Enforced::NOTHING });
    }
    // no_new_privs first: without it an unprivileged process may install neither of the other two.
    // Then capabilities: what is given up here can't help to undo what follows.
    let abi = Support::probe().landlock_abi(plan.landlock_abi_at_most);
    let unix_sockets = UnixSockets::of(plan, abi);
    let capabilities = privileges::give_up(unix_sockets == UnixSockets::Broker)?;
    // Landlock before seccomp: the filter has no reason to let Landlock's own calls through for us.
    let log_refusals = log_refusals && abi >= landlock::LOGS_SINCE;
    let handled = landlock::restrict(plan, abi, log_refusals)?;
    // seccomp last, so that no step before it has to get past it.
    seccomp::install(plan, unix_sockets)?;
    let logged = (log_refusals && !handled.is_empty()).then(|| getpid().as_raw());
    Ok(Enforced { logged, ..enforced(plan, abi, &handled, unix_sockets, capabilities) })
}

/// What is left to do in the command's own process where there is a broker, which has to be confined less: to be called
/// just before the command is executed. Corrects the report, and returns what the broker listens to.
pub(crate) fn finish(plan: &Plan, enforced: &mut Enforced) -> Result<Option<OwnedFd>, SetupError> {
    if enforced.unix_sockets != UnixSockets::Broker {
        return Ok(None);
    }
    privileges::leave_the_broker()?;
    let (unix_sockets, listener) = seccomp::finish(plan.network)?;
    enforced.unix_sockets = unix_sockets;
    enforced.seccomp_calls = seccomp::answered_by(plan, unix_sockets);
    Ok(listener)
}

/// Limits what the command may use, in its own process and after all else.
pub(crate) fn limit(limits: &Limits) -> Result<(), SetupError> {
    limits::apply(limits)
}

/// What a plan would hold on a kernel with this Landlock ABI, in the cgroup that this process is in, for whoever wants to know
/// before it is applied.
pub(crate) fn expected(plan: &Plan, abi: u8) -> Enforced {
    if plan.is_unrestricted() {
        return Enforced { limits: limits::held(plan), ..Enforced::NOTHING };
    }
    let handled = Handled::by(plan, abi);
    let mut expected = enforced(plan, abi, &handled, UnixSockets::of(plan, abi), privileges::kept());
    if plan.uses_namespaces() {
        expected.namespaces &= !mounts::left_out();
    }
    expected
}

fn enforced(
    plan: &Plan,
    landlock_abi: u8,
    handled: &Handled,
    unix_sockets: UnixSockets,
    capabilities: Capabilities,
) -> Enforced {
    Enforced {
        namespaces: namespaces::of(plan),
        landlock_abi,
        landlock_fs: handled.fs.bits(),
        landlock_net: handled.net.bits(),
        landlock_scopes: handled.scopes.bits(),
        seccomp_calls: seccomp::answered_by(plan, unix_sockets),
        unix_sockets,
        capabilities,
        limits: limits::held(plan),
        observation: Observation::NotAsked,
        logged: None,
    }
}
