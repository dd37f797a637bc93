//! Lowering a resolved policy into the helper's plan.

use codex_linux_sandbox::{
    Isolation, Network, Places, Plan, PlanError, PlanPath, Protected, Protection, Writes,
};

use crate::policy::{NetworkAccess, ResolvedPlaces, ResolvedPolicy, ResolvedWrites, RootOrigin};

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
    let own = |origin: RootOrigin| match isolation {
        // What is the command's own there needs no root.
        Isolation::Namespaces => {
            origin == RootOrigin::DevShm || (origin == RootOrigin::SlashTmp && places.private_tmp)
        }
        Isolation::Landlock => false,
    };
    let writes = match &policy.writes {
        ResolvedWrites::Everywhere => Writes::Everywhere,
        ResolvedWrites::Beneath(roots) => {
            let roots = roots.iter().filter(|root| !own(root.origin));
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
    let paths = |paths: &[std::path::PathBuf]| paths.iter().map(PlanPath::new).collect::<Result<Vec<_>, _>>();
    let kept =
        |paths: Vec<PlanPath>, protection| paths.into_iter().map(move |path| Protected { path, protection });
    let pinned = kept(paths(&places.pinned)?, Protection::Pinned);
    let read_only = kept(paths(&places.read_only)?, Protection::ReadOnly);
    Ok(Places {
        protected: pinned.chain(read_only).collect(),
        denied: paths(&places.denied)?,
        reopened: paths(&places.reopened)?,
        private_tmp: places.private_tmp,
        unix_sockets: paths(&places.unix_sockets)?,
    })
}
