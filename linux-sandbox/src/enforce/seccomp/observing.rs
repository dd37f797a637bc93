//! The two filters of a command that is [observed](crate::observe), on top of those that refuse: neither lets anything
//! through that they don't, because the kernel takes the strictest answer of all.

use super::assemble::assemble;
use super::purpose::Purpose;
use super::table::{groups, observed};
use super::{apply, compiled};
use crate::broker::UnixSockets;
use crate::error::SetupError;
use crate::plan::Plan;

/// Installs them in this process, which has to be followed already: what they ask is answered `ENOSYS` where nobody follows.
pub(crate) fn install_observing(plan: &Plan, unix_sockets: UnixSockets) -> Result<(), SetupError> {
    let trap = assemble(groups(plan, unix_sockets), Purpose::Trap);
    apply(&compiled(trap.written()))?;
    let trace = assemble(&observed(plan), Purpose::Trace);
    apply(&compiled(trace.written()))
}
