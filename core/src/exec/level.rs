//! The ladder of levels: which ones a policy may run at, the best first, and what was learned of this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use codex_linux_sandbox::{
    CallersSignals, EarlyInit, Enforced, Footing, Isolation, Network, Plan, PlanError, PlanPath, SetupError,
    Step, Support, UnixSockets, Writes, probe_namespaces, shown,
};
use nix::errno::Errno;

use super::options::SandboxOptions;
use super::sandbox::SandboxError;
use super::warden::Post;
use super::{bounds, mediation};
use crate::config;
use crate::enforcement::{Enforcement, Hold, Level};
use crate::lower::{lower, lower_limits, lower_protection, roots};
use crate::policy::{
    Protection, ProtectionSettings, ResolvedPlaces, ResolvedPolicy, SpecialMount, WritableRoot, mount_below,
    special_mounts,
};

/// Names the level that a command runs at. Unset where nothing is restricted.
pub const LEVEL_VARIABLE: &str = "CODEX_SANDBOX";
/// Set to 1 exactly where the policy keeps the network off.
pub const NETWORK_DISABLED_VARIABLE: &str = "CODEX_SANDBOX_NETWORK_DISABLED";

/// A level that a policy may run at.
#[derive(Clone, Debug)]
pub(super) struct Rung {
    pub(super) plan: Plan,
    pub(super) expected: Enforcement,
    pub(super) unix_sockets: UnixSockets,
    /// What has to be looked after at this level. Nothing where nothing of the host's is writable.
    pub(super) post: Option<Post>,
    /// Whether what commands ask of hosts is answered.
    pub(super) mediated: bool,
}

impl Rung {
    /// The plan with what is protected at the time of a call, as far as the level can hold it.
    pub(super) fn plan_with(&self, protection: Option<&Protection>) -> Result<Plan, PlanFailure> {
        let mut plan = self.plan.clone();
        if let Some(post) = &self.post {
            // Looked up at each call: something may have been mounted since.
            let roots = post.roots.iter().map(|root| root.path.as_path());
            for mount in special_mounts(roots).map_err(PlanFailure::Mounts)? {
                if !plan.uses_namespaces() {
                    return Err(PlanFailure::SpecialMount(mount));
                }
                plan.places.denied.push(PlanPath::new(mount.place)?);
            }
        }
        if !plan.uses_namespaces() {
            return Ok(plan);
        }
        if let (Some(_), Writes::Beneath(trees)) = (plan.view, &plan.writes)
            && let Some(place) = mount_below(trees.iter().map(PlanPath::path)).map_err(PlanFailure::Mounts)?
        {
            return Err(PlanFailure::MountInView(place));
        }
        if let Some(protection) = protection {
            plan.places.protected = lower_protection(protection)?;
        }
        Ok(plan)
    }

    /// A command's environment: what the caller built, the two variables by which commands know where they are, and those by which
    /// they find the proxy, where there is one.
    pub(super) fn environment(&self, mut base: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
        base.retain(|(name, _)| name != LEVEL_VARIABLE && name != NETWORK_DISABLED_VARIABLE);
        if self.expected.level != Level::None {
            base.push((LEVEL_VARIABLE.into(), self.expected.level.name().into()));
        }
        if self.plan.network == Network::Off {
            base.push((NETWORK_DISABLED_VARIABLE.into(), "1".into()));
        }
        if self.mediated {
            mediation::tell_environment(&mut base);
        }
        base
    }
}

/// Why there is no plan for a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanFailure {
    /// A place that the helper can't take.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The list of mounts can't be read.
    #[error("/proc/self/mountinfo can't be read ({why}), so that nobody knows what is mounted in the writable roots", why = .0.desc())]
    Mounts(Errno),
    /// Something of the kernel's was mounted in a writable root since the sandbox was prepared, and nothing less than namespaces
    /// keeps it out.
    #[error(
        "{place} lies in a writable root, and is the kernel's own ({kind}): it can only be kept out with namespaces, which \
         are not to be had here; unmount it, or choose deeper roots", place = shown(.0.place.as_path()), kind = .0.kind
    )]
    SpecialMount(SpecialMount),
    /// A view shows one file system, and what is mounted in a tree can't be taken from it.
    #[error(
        "{place} is a mount in a writable root, of which no view can be had: unmount it, or choose roots that hold none \
         (sandbox_workspace_write.exclude_slash_tmp leaves /tmp out)", place = shown(.0)
    )]
    MountInView(PathBuf),
}

/// What was learned. It does not change while a process lives.
static REFUSED: OnceLock<String> = OnceLock::new();

/// Why there are no namespaces on this machine, as far as this process has learned, in one line.
pub(super) fn namespaces_refused() -> Option<&'static str> {
    REFUSED.get().map(String::as_str)
}

/// Finds out whether there are namespaces on this machine, by making some, and remembers it. For reports: a run finds out
/// by itself. To be called while this process has one thread.
///
/// # Errors
///
/// The step that failed.
pub fn try_namespaces() -> Result<(), SetupError> {
    probe_namespaces().inspect_err(|error| {
        note_refusal(error.step, error.errno, &error.to_string());
    })
}

/// Begins to make namespaces before it is known what will run in them. Where this machine refuses them, that is remembered,
/// and a run does not try again. To be called while this process has one thread.
#[must_use]
pub fn begin_early(footing: Footing, signals: CallersSignals) -> Option<EarlyInit> {
    EarlyInit::begin(footing, signals)
        .inspect_err(|error| {
            note_refusal(error.step, error.errno, &error.to_string());
        })
        .ok()
}

/// Remembers a failure that says something about the machine. Returns whether it was one.
pub(super) fn note_refusal(step: Step, errno: Option<Errno>, message: &str) -> bool {
    let refused = errno.is_some_and(|errno| says_no(step, errno));
    if refused {
        REFUSED.get_or_init(|| message.to_owned());
    }
    refused
}

/// Whether a failure means that this machine gives no namespaces, and not that something was wrong with this plan or at
/// this moment: a command that could make its successor's set-up fail must not choose its level by that.
const fn says_no(step: Step, errno: Errno) -> bool {
    matches!(step, Step::Namespaces | Step::Mounts)
        && matches!(
            errno,
            Errno::EPERM
                | Errno::EACCES
                | Errno::ENOSPC
                | Errno::EUSERS
                | Errno::EINVAL
                | Errno::ENOSYS
                | Errno::ENODEV
                | Errno::EOPNOTSUPP
        )
}

/// The levels at which a policy may run, the best first. At least one.
pub(super) fn ladder(
    policy: &ResolvedPolicy,
    places: &ResolvedPlaces,
    codex_home: Option<&Path>,
    options: &SandboxOptions,
) -> Result<Vec<Rung>, SandboxError> {
    let levels: &[Isolation] = match options.isolation {
        config::Isolation::Auto if options.view.is_some() => &[Isolation::Namespaces],
        config::Isolation::Auto => &[Isolation::Namespaces, Isolation::Landlock],
        config::Isolation::Namespaces => &[Isolation::Namespaces],
        config::Isolation::Landlock => &[Isolation::Landlock],
    };
    let mut rungs = Vec::new();
    let mut refusal = None;
    for isolation in levels {
        match rung(policy, places, codex_home, options, *isolation) {
            Ok(rung) => {
                let unrestricted = rung.plan.is_unrestricted();
                rungs.push(rung);
                if unrestricted {
                    break;
                }
            }
            Err(error) => refusal = refusal.or(Some(error)),
        }
    }
    match refusal {
        Some(error) if rungs.is_empty() => Err(error),
        _ => Ok(rungs),
    }
}

fn rung(
    policy: &ResolvedPolicy,
    places: &ResolvedPlaces,
    codex_home: Option<&Path>,
    options: &SandboxOptions,
    isolation: Isolation,
) -> Result<Rung, SandboxError> {
    let mut plan =
        Plan { landlock_abi_at_most: options.landlock_abi_at_most, ..lower(policy, places, isolation)? };
    if options.view.is_some() {
        plan.view = options.view;
        if !plan.can_be_viewed() {
            return Err(SandboxError::NoView { mode: policy.mode });
        }
    }
    if plan.is_unrestricted() {
        // Nothing of it needs to be said.
        plan.isolation = Isolation::default();
    }
    let mode = policy.mode;
    let mut landlock_abi = 0;
    if !plan.is_unrestricted() {
        let support = Support::probe();
        let describe = |errno: Errno| format!("{}, {errno:?}", errno.desc());
        if isolation == Isolation::Namespaces
            && let Some(why) = namespaces_refused()
        {
            return Err(SandboxError::NoNamespaces { mode, why: why.to_owned() });
        }
        let needs_namespaces =
            places.need_namespaces() || (!places.hosts.is_empty() && plan.network == Network::Off);
        if isolation == Isolation::Landlock && needs_namespaces {
            let why = namespaces_refused().unwrap_or("sandbox.isolation asks for level landlock");
            return Err(SandboxError::PlacesNeedNamespaces { why: why.to_owned() });
        }
        if let Err(errno) = support.seccomp {
            return Err(SandboxError::NoSeccomp { mode, why: describe(errno) });
        }
        landlock_abi = support.landlock_abi(plan.landlock_abi_at_most);
        let needed = plan.landlock_abi_needed();
        if landlock_abi < needed {
            let too_old = || format!("ABI {landlock_abi}, and ABI {needed} is needed");
            let why = support.landlock.err().map_or_else(too_old, describe);
            return Err(SandboxError::NoLandlock { mode, why });
        }
    }
    let means = bounds::expected(&options.limits);
    plan.limits = lower_limits(&options.limits, &plan, means);
    let enforced = Enforced::expected(&plan, landlock_abi);
    let mediated = plan.has_its_own_network()
        && options.mediator.is_some()
        && (options.always_mediated || !places.hosts.is_empty());
    let expected = Enforcement::of(&plan, &enforced, options.secrets_filtered)
        .with_hosts(mediated, &places.hosts)
        .with_limits(&options.limits, &enforced, means)
        .with_explanation(options.explain, None);
    for guarantee in &options.require {
        if let Some(holding) = expected.holding(*guarantee)
            && holding.hold != Hold::Enforced
        {
            let (guarantee, hold, why) = (*guarantee, holding.hold, holding.why.clone().into_owned());
            return Err(SandboxError::Unmet { guarantee, hold, why });
        }
    }
    let roots: Vec<WritableRoot> = roots(policy, places, isolation).into_iter().cloned().collect();
    let settings = ProtectionSettings { tops: policy.folded.clone(), ..options.protection.clone() };
    let codex_home = codex_home.map(Path::to_owned);
    let special =
        special_mounts(roots.iter().map(|root| root.path.as_path())).map_err(SandboxError::Mounts)?;
    if let (Isolation::Landlock, Some(mount)) = (isolation, special.into_iter().next()) {
        return Err(SandboxError::SpecialMount(mount));
    }
    let post = (!roots.is_empty()).then_some(Post { roots, settings, codex_home });
    Ok(Rung { plan, expected, unix_sockets: enforced.unix_sockets, post, mediated })
}
