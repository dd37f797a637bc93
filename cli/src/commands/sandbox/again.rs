//! A command that a person typed and that failed at once, once more: in views of what it may write, observed.
//!
//! What it writes to a terminal is read by nobody but the person, so that there is nothing to judge. Where one more run changes nothing
//! and is over before somebody has read the first one's last line, it is the short way to tell what was refused, or that nothing was.

use std::time::Duration;

use codex_core::enforcement::{ExplanationKind, Level};
use codex_core::exec::{CallLimits, ExecResult, Outcome, Signals as SignalsFor};
use tokio::runtime::Runtime;

use super::{Route, call};
use crate::args::SandboxArgs;
use crate::commands::explain::{InViews, VIEW};
use crate::signals::Signals;

/// What took longer is run again where somebody asks for it.
const QUICK: Duration = Duration::from_secs(1);
/// How long nobody notices that they wait, by and large. Observed, and with other work beside it, it takes longer than before.
const LONGEST: Duration = Duration::from_secs(2);

/// Runs it once more. Nothing where that could change something or take long, and where it says nothing of the first run.
pub(super) fn again(
    args: &SandboxArgs,
    first: &ExecResult,
    signals: &Signals,
    runtime: &Runtime,
) -> Option<ExecResult> {
    let enforcement = &first.enforcement;
    let is_worth_it = first.duration <= QUICK
        && ended_by_itself(&first.outcome)
        && enforcement.level == Level::Namespaces
        && enforcement.explanation.kind == ExplanationKind::Likely;
    if !is_worth_it {
        return None;
    }
    let prepared = InViews::prepare(&args.policy, args.command.clone(), VIEW, false);
    let InViews { sandbox, mut request, .. } =
        prepared.inspect_err(|error| tracing::debug!("it is not run again: {error}")).ok()?;
    request.limits = CallLimits { deadline: Some(LONGEST), ..args.limits() };
    request.signals = SignalsFor::Inherit(signals.callers);
    // Whoever sends a signal has waited for long enough.
    let route = Route::Cancel(request.cancellation.clone());
    let (again, _) = runtime.block_on(call(request, &sandbox, signals, &route));
    again.ok().filter(|again| says_something(first, again))
}

const fn ended_by_itself(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Exited { .. } | Outcome::Signalled { .. })
}

/// Whether a second run tells something of the first one. What it finds is not the same: what the first one has made, and no input.
fn says_something(first: &ExecResult, again: &ExecResult) -> bool {
    if !again.denials.is_empty() || again.denials_untold > 0 {
        return ended_by_itself(&again.outcome);
    }
    let as_without_a_view =
        again.replay.as_ref().is_some_and(|replay| !replay.full && replay.only_here.is_empty());
    again.outcome == first.outcome && as_without_a_view
}
