//! Lowering a resolved policy into the helper's plan.

use std::path::PathBuf;

use codex_linux_sandbox::{Isolation, Kept, Network, Places, Plan, PlanError, PlanPath, Protected, Writes};

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
