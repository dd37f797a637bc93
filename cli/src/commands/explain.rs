//! `codex debug explain`: a command once more, in views of what it may write, observed.

use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use codex_core::config::{Explain, Isolation, Settings};
use codex_core::denial::LastFailed;
use codex_core::exec::{ExecRequest, ExecResult, Outcome, Sandbox};
use codex_linux_sandbox::shown;

use super::sandbox::{Route, call, exit_code as code_of_run, request, runtime};
use crate::args::{ExplainArgs, PolicyOptions, policy_typed};
use crate::exit_code;
use crate::last_failed::{self, LastFailedError};
use crate::meaning::{Meaning, MeaningError};
use crate::render;
use crate::render::explain::Report;
use crate::signals::{Shares, Signals};
use crate::world::{World, WorldError};

/// How much a command may write unless somebody says otherwise.
pub(super) const VIEW: NonZeroU64 = match NonZeroU64::new(1024 * 1024 * 1024) {
    Some(bytes) => bytes,
    None => NonZeroU64::MIN,
};

/// How long a run that nobody has asked for waits for the audit log, which any command can lock.
const UNASKED: Duration = Duration::from_millis(500);

pub(crate) fn explain(args: ExplainArgs) -> i32 {
    let signals = match Signals::block(Shares::Nothing) {
        Ok(signals) => signals,
        Err(errno) => {
            return render::refusal(&format!("the run can't be prepared: {errno}"), exit_code::REFUSED);
        }
    };
    match Replay::prepare(args) {
        Ok(replay) => replay.run(&signals),
        Err(error) => render::refusal(&error.to_string(), error.exit_code()),
    }
}

/// Why nothing is run.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExplainError {
    #[error(transparent)]
    Meaning(#[from] MeaningError),
    #[error(transparent)]
    World(#[from] WorldError),
    #[error(transparent)]
    LastFailed(#[from] LastFailedError),
    #[error("what was typed before the last command that failed is not understood: {0}")]
    Typed(String),
    #[error("{directory}, where the last command that failed was typed, can't be entered: {why}", directory = shown(.0), why = .1)]
    Directory(PathBuf, std::io::Error),
    #[error(
        "the policy opens {what}, and what a command sends there is not undone: nothing is run without --effects-outside"
    )]
    Effects { what: &'static str },
    #[error("nothing is run but in views, which need namespaces: {setting} asks for level landlock", setting = .0)]
    Landlock(String),
}

impl ExplainError {
    const fn exit_code(&self) -> i32 {
        match self {
            Self::Meaning(error) => error.exit_code(),
            Self::World(_) => exit_code::USAGE,
            Self::LastFailed(_)
            | Self::Typed(_)
            | Self::Directory(..)
            | Self::Effects { .. }
            | Self::Landlock(_) => exit_code::REFUSED,
        }
    }
}

/// A run in views that is ready.
pub(super) struct InViews {
    pub(super) sandbox: Sandbox,
    pub(super) request: ExecRequest,
    /// What the policy opens that is no file.
    pub(super) outside: Option<&'static str>,
}

/// What becomes of what a command can reach that is not undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outside {
    /// Where there is anything, nothing is run.
    Refused,
    /// It is reached.
    Reached,
    /// It is closed, whatever the policy says: nobody has asked for the run, or waits for it.
    Closed,
}

impl InViews {
    /// `bytes`: how much the command may write.
    pub(super) fn prepare(
        policy: &PolicyOptions,
        command: Vec<OsString>,
        bytes: NonZeroU64,
        what_is_outside: Outside,
    ) -> Result<Self, ExplainError> {
        let mut meaning = Meaning::of(policy)?;
        let isolation = &meaning.config.settings.sandbox.isolation;
        if isolation.value == Isolation::Landlock {
            return Err(ExplainError::Landlock(format!("sandbox.isolation ({})", isolation.origin)));
        }
        let outside = outside(&meaning.config.settings);
        if what_is_outside == Outside::Closed {
            meaning.config.settings.close_outside();
        }
        let mut options = match what_is_outside {
            Outside::Closed => meaning.running_options_within(UNASKED)?,
            Outside::Refused | Outside::Reached => meaning.running_options()?,
        };
        options.explain = Explain::Always;
        options.view = Some(bytes);
        let sandbox = meaning.sandbox_with(options)?;
        // Where there can be no view at all, that is what is said.
        if let Some(what) = outside.filter(|_| what_is_outside == Outside::Refused) {
            return Err(ExplainError::Effects { what });
        }
        let request = request(&meaning, command, "explain")?;
        Ok(Self { sandbox, request, outside })
    }
}

/// What was asked for.
struct Replay {
    run: InViews,
    remembered: Option<LastFailed>,
    json: bool,
}

impl Replay {
    fn prepare(args: ExplainArgs) -> Result<Self, ExplainError> {
        let ExplainArgs { policy, timeout, view_size, effects_outside, json, command } = args;
        let (policy, command, remembered) = if command.is_empty() {
            let world = World::read()?;
            let last = last_failed::read(world.codex_home.as_deref())?;
            (as_it_was_typed(policy, &last, &world)?, last.command.clone(), Some(last))
        } else {
            (policy, command, None)
        };
        let bytes = view_size.and_then(NonZeroU64::new).unwrap_or(VIEW);
        let what_is_outside = if effects_outside { Outside::Reached } else { Outside::Refused };
        let mut run = InViews::prepare(&policy, command, bytes, what_is_outside)?;
        run.request.limits.deadline = timeout;
        Ok(Self { run, remembered, json })
    }

    fn run(self, signals: &Signals) -> i32 {
        let Self { run: InViews { sandbox, request, outside }, remembered, json } = self;
        let runtime = match runtime() {
            Ok(runtime) => runtime,
            Err(code) => return code,
        };
        let command = request.command.clone();
        let route = Route::Cancel(request.cancellation.clone());
        let (result, ended_by) = runtime.block_on(call(request, &sandbox, signals, &route));
        let result = match result {
            Ok(result) => result,
            Err(error) => return render::refusal(&error.to_string(), exit_code::of_request(&error)),
        };
        if matches!(result.outcome, Outcome::SetupFailed { .. }) {
            return render::refusal(&result.outcome.sentence(), exit_code::REFUSED);
        }
        let report = Report { command: &command, remembered: remembered.as_ref(), outside, result: &result };
        let printed = if json { render::json(&report) } else { render::bytes(report.text().as_bytes()) };
        if printed == exit_code::SUCCESS { code(&result, code_of_run(&result, ended_by)) } else { printed }
    }
}

/// What the code says: whether something was refused, unless the command did not come to its own end.
const fn code(result: &ExecResult, of_run: i32) -> i32 {
    match result.outcome {
        Outcome::Exited { .. } | Outcome::Signalled { .. } | Outcome::LimitExceeded { .. } => {
            if result.denials.is_empty() && result.denials_untold == 0 {
                exit_code::SUCCESS
            } else {
                exit_code::DENIED
            }
        }
        Outcome::TimedOut { .. }
        | Outcome::ObserverEnded
        | Outcome::IdleTimedOut { .. }
        | Outcome::OutputExceeded { .. }
        | Outcome::Cancelled
        | Outcome::SetupFailed { .. }
        | Outcome::NotExecuted { .. } => of_run,
    }
}

/// What the policy opens that is no file.
pub(super) fn outside(settings: &Settings) -> Option<&'static str> {
    let sockets = !settings.sandbox.allow_unix_sockets.is_empty();
    let hosts = !settings.sandbox.allow_hosts.is_empty();
    match (settings.policy().has_full_network_access(), sockets, hosts) {
        (true, false, _) => Some("the network"),
        (true, true, _) => Some("the network and sockets of the host"),
        (false, true, true) => Some("sockets of the host and hosts on the network"),
        (false, true, false) => Some("sockets of the host"),
        (false, false, true) => Some("hosts on the network"),
        (false, false, false) => None,
    }
}

/// The policy that the last command ran under, with what was typed now on top; where it was typed then.
fn as_it_was_typed(
    typed: PolicyOptions,
    last: &LastFailed,
    world: &World,
) -> Result<PolicyOptions, ExplainError> {
    let here = |path: PathBuf| world.absolute(&path).ok_or(MeaningError::NoWorkingDirectory(path));
    let typed = PolicyOptions {
        cd: typed.cd.map(here).transpose()?,
        add_dir: typed.add_dir.into_iter().map(here).collect::<Result<_, _>>()?,
        ..typed
    };
    let before = policy_typed(&last.options).map_err(|error| {
        let text = error.to_string();
        ExplainError::Typed(text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned())
    })?;
    // There is one thread, and nothing was looked up yet.
    std::env::set_current_dir(&last.directory)
        .map_err(|error| ExplainError::Directory(last.directory.clone(), error))?;
    Ok(typed.or(before))
}
