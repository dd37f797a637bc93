//! `codex doctor`: what this machine gives, what holds under the policy in effect, what would lift each limit.

use std::path::PathBuf;

use codex_core::config::{Explain, Isolation, Origin, Sourced, SourcedList};
use codex_core::enforcement::{Explanation, Guarantee, Hold, Holding};
use codex_core::exec::{
    Delegation, ExecRequest, NoCgroup, Outcome, Sandbox, process_exec_tool_call, try_namespaces,
};
use codex_core::policy::SandboxMode;
use codex_linux_sandbox::{Facts, Finding, SetupError, findings};

use super::sandbox::runtime;
use crate::args::DoctorArgs;
use crate::meaning::{Meaning, MeaningError};
use crate::{exit_code, render, world};

/// Everything that was found.
pub(crate) struct Examination {
    pub(crate) facts: Facts,
    /// What became of the attempt to use namespaces.
    pub(crate) namespaces: Result<(), SetupError>,
    /// Where a cgroup could hold limits.
    pub(crate) delegation: Result<Delegation, NoCgroup>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) mode: Sourced<SandboxMode>,
    pub(crate) isolation: Sourced<Isolation>,
    /// The policy made ready, without what it requires; or why it can't be.
    pub(crate) sandbox: Result<Sandbox, MeaningError>,
    /// What is required and can't be kept.
    pub(crate) unmet: Vec<Unmet>,
    /// What could be known of denials at most, by an attempt. Nothing where nothing could be run.
    pub(crate) explanation: Option<Explanation>,
}

/// A guarantee in `sandbox.require` that can't be kept.
pub(crate) struct Unmet {
    pub(crate) guarantee: Guarantee,
    pub(crate) hold: Hold,
    /// Who requires it.
    pub(crate) origin: Origin,
}

impl Examination {
    fn of(mut meaning: Meaning) -> Self {
        let settings = &mut meaning.config.settings;
        // With its requirements a policy that can't meet them is refused, and then nothing is known about it.
        let require = std::mem::take(&mut settings.sandbox.require);
        let (mode, isolation) = (settings.sandbox_mode.clone(), settings.sandbox.isolation.clone());
        let facts = Facts::read(world::nested());
        let namespaces = try_namespaces();
        let sandbox = meaning.sandbox();
        Self {
            findings: findings(&facts, &namespaces, &helper(&meaning)),
            explanation: observed(&meaning),
            unmet: sandbox.as_ref().map_or_else(|_| Vec::new(), |sandbox| unmet(require, sandbox)),
            delegation: Delegation::find(),
            facts,
            namespaces,
            mode,
            isolation,
            sandbox,
        }
    }
}

/// Runs a command that does nothing, observed, under the policy in effect.
fn observed(meaning: &Meaning) -> Option<Explanation> {
    let mut options = meaning.sandbox_options();
    options.explain = Explain::Always;
    let sandbox = meaning.sandbox_with(options).ok()?;
    // Whether there is such a program makes no difference.
    let request = ExecRequest::new(vec!["true".into()], "/".into(), meaning.environment().ok()?);
    let result = runtime().ok()?.block_on(process_exec_tool_call(request, &sandbox)).ok()?;
    let ran = !matches!(result.outcome, Outcome::SetupFailed { .. });
    ran.then_some(result.enforcement.explanation)
}

/// The program that a profile has to name.
fn helper(meaning: &Meaning) -> PathBuf {
    let configured = meaning.config.settings.codex_linux_sandbox_exe.value.clone();
    // Gone from its path, it is still where a new one will be.
    configured.or_else(|| std::env::current_exe().ok()).unwrap_or_else(|| "/usr/local/bin/codex".into())
}

fn unmet(require: SourcedList<Guarantee>, sandbox: &Sandbox) -> Vec<Unmet> {
    let hold =
        |guarantee| sandbox.expected().holding(guarantee).map_or(Hold::Absent, |Holding { hold, .. }| *hold);
    let required = require.items.into_iter().map(|Sourced { value: guarantee, origin }| Unmet {
        guarantee,
        hold: hold(guarantee),
        origin,
    });
    required.filter(|required| required.hold != Hold::Enforced).collect()
}

pub(crate) fn doctor(args: &DoctorArgs) -> i32 {
    let meaning = match Meaning::of(&args.policy) {
        Ok(meaning) => meaning,
        Err(error) => return render::refusal(&error.to_string(), error.exit_code()),
    };
    let examination = Examination::of(meaning);
    let printed =
        if args.json { render::doctor::json(&examination) } else { render::doctor::screen(&examination) };
    match &examination.sandbox {
        _ if printed != exit_code::SUCCESS => printed,
        Ok(_) if examination.unmet.is_empty() => exit_code::SUCCESS,
        Ok(_) => exit_code::UNMET,
        // What was asked for makes no sense on any machine.
        Err(error) if error.exit_code() == exit_code::USAGE => exit_code::USAGE,
        Err(_) => exit_code::UNMET,
    }
}
