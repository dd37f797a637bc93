//! Which ending it was, by what the helper said and the kernel, and what there is to say of it.

use std::ffi::OsStr;
use std::time::Duration;

use codex_linux_sandbox::{Ending, Record, SetupError};
use nix::errno::Errno;
use tokio::time::Instant;

use super::bounds::Bounds;
use super::cgroup::CgroupUsage;
use super::level::Rung;
use super::outcome::{ExecResult, Outcome};
use super::sandbox::Sandbox;
use super::supervise::Seen;
use crate::output::{Capture, OutputBudget};

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

/// What there is to say of a run.
pub(super) fn result(
    sandbox: &Sandbox,
    rung: &Rung,
    bounds: &Bounds,
    started: Instant,
    seen: Seen,
    usage: Option<&CgroupUsage>,
) -> ExecResult {
    let enforced = seen.records.iter().find_map(|record| match record {
        Record::Enforced(enforced) => Some(enforced),
        Record::Failed { .. }
        | Record::Exec { .. }
        | Record::Executed
        | Record::Refused(_)
        | Record::Untold { .. }
        | Record::Ended { .. }
        | Record::Full
        | Record::Stopped
        | Record::Continued => None,
    });
    let outcome = outcome(&seen);
    let rusage = seen.status.map(|(_, usage)| usage);
    let limit = bounds.hit(enforced, &outcome, seen.stopped, rusage.as_ref(), usage);
    ExecResult {
        outcome,
        limit,
        duration: seen.ended - started,
        enforcement: enforced
            .map_or_else(|| rung.expected.clone(), |enforced| sandbox.enforcement(rung, bounds, enforced)),
        rusage,
        memory_peak: usage.and_then(|usage| usage.memory_peak),
        replay: None,
        stdout: seen.kept.stdout,
        stderr: seen.kept.stderr,
        output: seen.kept.output,
        view: seen.kept.view,
        spill: seen.spill,
        streams_left_open: seen.streams_left_open,
        left_behind: seen.left_behind,
        quarantined: Vec::new(),
        notes: Vec::new(),
        denials: Vec::new(),
        denials_untold: 0,
    }
}

/// Arguments and environment that no program can be given.
pub(super) fn too_large(program: &OsStr) -> Outcome {
    let error =
        codex_linux_sandbox::ExecError::NotExecutable { program: program.to_owned(), errno: Errno::E2BIG };
    Outcome::NotExecuted {
        exit_code: error.exit_code(),
        errno: Some(Errno::E2BIG),
        message: error.to_string(),
    }
}

/// The result of a call that did not come as far as a process.
pub(super) fn nothing_ran(outcome: Outcome, rung: &Rung, budget: OutputBudget) -> ExecResult {
    let nothing = || Capture::new(budget).finish();
    ExecResult {
        outcome,
        duration: Duration::ZERO,
        stdout: nothing(),
        stderr: nothing(),
        output: nothing(),
        view: None,
        spill: None,
        streams_left_open: false,
        left_behind: Vec::new(),
        enforcement: rung.expected.clone(),
        limit: None,
        rusage: None,
        memory_peak: None,
        replay: None,
        quarantined: Vec::new(),
        notes: Vec::new(),
        denials: Vec::new(),
        denials_untold: 0,
    }
}
