//! A command that a person typed and that failed at once, once more: in views of what it may write, observed.
//!
//! What it writes to a terminal is read by nobody but the person, so that there is nothing to judge. Where one more run changes nothing
//! and is over before somebody has read the first one's last line, it is the short way to tell what was refused, or that nothing was.

use std::time::Duration;

use codex_core::denial::{Denial, Operation};
use codex_core::enforcement::{ExplanationKind, Level};
use codex_core::exec::{CallLimits, ExecResult, Outcome, Signals as SignalsFor};
use tokio::runtime::Runtime;

use super::{Route, call};
use crate::args::SandboxArgs;
use crate::commands::explain::{InViews, Outside, VIEW};
use crate::signals::Signals;

/// What took longer is run again where somebody asks for it.
const QUICK: Duration = Duration::from_secs(1);
/// How long nobody notices that they wait, by and large. Observed, and with other work beside it, it takes longer than before.
const LONGEST: Duration = Duration::from_secs(2);

/// What a second run has shown.
pub(super) struct Again {
    pub(super) denials: Vec<Denial>,
    pub(super) untold: u64,
    /// What was closed to it that the policy opens, so that it speaks of files alone.
    pub(super) without: Option<&'static str>,
}

/// Runs it once more. Nothing where that could change something or take long, and where it says nothing of the first run.
pub(super) fn again(
    args: &SandboxArgs,
    first: &ExecResult,
    signals: &Signals,
    runtime: &Runtime,
) -> Option<Again> {
    let enforcement = &first.enforcement;
    let is_worth_it = first.duration <= QUICK
        && ended_by_itself(&first.outcome)
        && enforcement.level == Level::Namespaces
        && enforcement.explanation.kind == ExplanationKind::Likely;
    if !is_worth_it {
        return None;
    }
    let prepared = InViews::prepare(&args.policy, args.command.clone(), VIEW, Outside::Closed);
    let InViews { sandbox, mut request, outside: without } =
        prepared.inspect_err(|error| tracing::debug!("it is not run again: {error}")).ok()?;
    // What is left in a view is nothing to clean up, and nobody waits for the last words of what it has started.
    let none = Duration::ZERO;
    request.limits = CallLimits { deadline: Some(LONGEST), grace: none, drain: none, ..args.limits() };
    request.signals = SignalsFor::Inherit(signals.callers);
    // Whoever sends a signal has waited for long enough.
    let route = Route::Cancel(request.cancellation.clone());
    let (again, _) = runtime.block_on(call(request, &sandbox, signals, &route));
    let again = again.ok().filter(|again| ended_by_itself(&again.outcome))?;
    let is_like_the_first = says_what_the_first_would(first, &again);
    let ExecResult { mut denials, denials_untold: untold, .. } = again;
    if without.is_some() {
        denials.retain(is_of_a_file);
    }
    let says_something = !denials.is_empty() || without.is_none() && (untold > 0 || is_like_the_first);
    says_something.then_some(Again { denials, untold, without })
}

const fn ended_by_itself(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Exited { .. } | Outcome::Signalled { .. })
}

/// Whether a second run that was refused nothing tells that the first was not. What it finds is not the same: what the
/// first one has made, and no input.
fn says_what_the_first_would(first: &ExecResult, again: &ExecResult) -> bool {
    let as_without_a_view =
        again.replay.as_ref().is_some_and(|replay| !replay.full && replay.only_here.is_empty());
    again.outcome == first.outcome && as_without_a_view
}

/// Whether it is refused whatever the network is.
const fn is_of_a_file(denial: &Denial) -> bool {
    match denial.operation {
        Operation::Write
        | Operation::Create
        | Operation::Remove
        | Operation::Rename
        | Operation::Metadata
        | Operation::Read => true,
        Operation::Connect | Operation::Unix | Operation::Signal | Operation::Call | Operation::Use => false,
    }
}
