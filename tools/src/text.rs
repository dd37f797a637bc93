//! What a model is told of a command.

use std::time::Duration;

use codex_core::denial::lines;
use codex_core::exec::{ExecError, ExecResult, Outcome};
use codex_core::output::{CallReport, CallStreams, StreamText, TextBudget, model_text};

/// What a model is told of a command that has ended: of all that it wrote, or of what is new.
pub(crate) fn ended_text(
    result: &Result<ExecResult, ExecError>,
    new: Option<&StreamText>,
    budget: &TextBudget,
) -> String {
    let result = match result {
        Ok(result) => result,
        Err(error) => return format!("nothing was run: {error}"),
    };
    let whole;
    let stream = match new {
        Some(new) => new,
        None => {
            whole = shown_output(result);
            &whole
        }
    };
    let ending = ending(result);
    let limit = match result.outcome {
        Outcome::TimedOut { .. }
        | Outcome::IdleTimedOut { .. }
        | Outcome::OutputExceeded { .. }
        | Outcome::LimitExceeded { .. }
        | Outcome::ObserverEnded => Some(result.outcome.sentence()),
        _ => None,
    };
    let denials = lines(&result.denials);
    let report = CallReport {
        ending: &ending,
        exit_code: match result.outcome {
            Outcome::Exited { code } => Some(code),
            _ => None,
        },
        limit: limit.as_deref(),
        duration: result.duration,
        denials: &denials,
        still_running: &[],
        streams_left_open: result.streams_left_open,
        spill: result.spill.as_ref(),
        streams: CallStreams::Combined(stream),
    };
    let mut text = model_text(&report, budget);
    for moved in &result.quarantined {
        text.push_str(&format!("protected: {moved}\n"));
    }
    text
}

/// What a model is told of a command that goes on.
pub(crate) fn running_text(id: u64, waited: Duration, output: &StreamText, budget: &TextBudget) -> String {
    let head = format!(
        "Process running with session ID {id}\nWall time: {:.4} seconds\nOutput:\n",
        waited.as_secs_f64()
    );
    head + &output.within(budget).text
}

/// What a command wrote, as a terminal would show it in the end.
#[must_use]
pub fn shown_output(result: &ExecResult) -> StreamText {
    let view = result.view.as_ref().unwrap_or(&result.output).text();
    result.spill.as_ref().map_or_else(|| view.clone(), |spill| view.spilled(spill, false))
}

/// How a command ended, in one line.
fn ending(result: &ExecResult) -> String {
    let mut ending = match result.outcome {
        Outcome::Exited { code } => format!("Process exited with code {code}"),
        ref other => format!("Process {}", other.sentence()),
    };
    if matches!(result.outcome, Outcome::SetupFailed { .. } | Outcome::NotExecuted { .. }) {
        ending = result.outcome.sentence();
    }
    match result.left_behind.as_slice() {
        [] => {}
        left => {
            let commands: Vec<&str> = left.iter().map(|process| process.command.as_str()).collect();
            ending.push_str(&format!(
                "; what it had left in the background was ended ({}): run it in the foreground, and it goes on as a session",
                commands.join("; ")
            ));
        }
    }
    ending
}
