//! Which ending it was, by what the helper said and the kernel.

use codex_linux_sandbox::{Ending, Record, SetupError};

use super::outcome::Outcome;
use super::supervise::Seen;

/// What happened, by what the helper said and how the process ended.
pub(super) fn outcome(seen: &Seen) -> Outcome {
    let mut enforced = false;
    let mut ending = None;
    for record in &seen.records {
        match record {
            Record::Enforced(_) => enforced = true,
            Record::Ended { ending: end, .. } => ending = Some(*end),
            Record::Executed
            | Record::Refused(_)
            | Record::Untold { .. }
            | Record::Stopped
            | Record::Full
            | Record::Continued => {}
            Record::Failed { step, call, target, errno, message } => {
                return Outcome::SetupFailed {
                    step: Some(*step),
                    call: Some(call.clone()),
                    target: target.clone(),
                    errno: *errno,
                    message: message.clone(),
                };
            }
            Record::Exec { errno, exit_code, message } => {
                return Outcome::NotExecuted {
                    exit_code: *exit_code,
                    errno: *errno,
                    message: message.clone(),
                };
            }
        }
    }
    if let Some(stop) = seen.stopped {
        return stop.into();
    }
    if !enforced {
        // Whatever it was that ran, it never said that the sandbox stood: it can't be called the command.
        let message = match seen.status {
            Some((Ending::Signalled { signal, .. }, _)) => {
                format!("the helper was ended by signal {signal} before it reported")
            }
            _ => "the helper ended without a report; is codex_linux_sandbox_exe the helper?".to_owned(),
        };
        return Outcome::SetupFailed { step: None, call: None, target: None, errno: None, message };
    }
    // Who stands for the command can't end as it did, and says how that was.
    match ending.or(seen.status.map(|(status, _)| status)) {
        Some(Ending::Exited { code }) => Outcome::Exited { code },
        Some(Ending::Signalled { signal, core_dumped }) => Outcome::Signalled { signal, core_dumped },
        None => Outcome::SetupFailed {
            step: None,
            call: Some("wait4".to_owned()),
            target: None,
            errno: None,
            message: "the command ended, but its status was collected by somebody else".to_owned(),
        },
    }
}

/// A step of the set-up that failed before there was a process to tell of it.
pub(super) fn setup_failed(error: SetupError) -> Outcome {
    let message = error.to_string();
    let SetupError { step, call, target, errno, .. } = error;
    Outcome::SetupFailed { step: Some(step), call: Some(call.into_owned()), target, errno, message }
}
