//! Lowering a resolved policy into the helper's plan.

use codex_linux_sandbox::{Network, Plan, PlanError, PlanPath, Writes};

use crate::policy::{NetworkAccess, ResolvedPolicy, ResolvedWrites};

/// Says a resolved policy in the mechanism's own terms.
///
/// # Errors
///
/// A path that the mechanism can't take. Resolution yields none.
pub fn lower(policy: &ResolvedPolicy) -> Result<Plan, PlanError> {
    let writes = match &policy.writes {
        ResolvedWrites::Everywhere => Writes::Everywhere,
        ResolvedWrites::Beneath(roots) => {
            Writes::Beneath(roots.iter().map(|root| PlanPath::new(&root.path)).collect::<Result<_, _>>()?)
        }
    };
    let network = match policy.network {
        NetworkAccess::Enabled => Network::Full,
        NetworkAccess::Restricted => Network::Off,
    };
    Ok(Plan::new(isolation, writes, network))
}
