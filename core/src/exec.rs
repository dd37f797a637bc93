//! Running a command under a policy, and telling the truth about how it ended.
//!
//! ```text
//! request ─┐
//!          ├▶ spawn (helper, pipes) ▶ supervise (streams, deadline, end) ▶ outcome ▶ result
//! sandbox ─┘
//! ```

mod outcome;
mod quarantine;
mod request;
mod sandbox;
mod spawn;
mod spawner;
mod subreaper;
mod supervise;
mod sys;
mod tree;

use std::ffi::OsStr;
use std::time::Duration;

use codex_linux_sandbox::Record;
use nix::errno::Errno;
use tokio::time::Instant;

pub use outcome::{EXIT_CANCELLED, EXIT_TIMED_OUT, ExecError, ExecResult, Outcome, ResourceUsage};
pub use quarantine::{Guard, Quarantined, Why, recover, refresh};
pub use request::{CallersSignals, DEFAULT_DEADLINE, DEFAULT_DRAIN, ExecRequest, Signals, Stdio};
pub use sandbox::{
    Helper, LEVEL_VARIABLE, NETWORK_DISABLED_VARIABLE, Sandbox, SandboxError, SandboxOptions, SandboxType,
};
pub use subreaper::Subreaper;
pub use sys::{SigchldDisposition, set_sigchld, watch};

use crate::output::{Capture, OutputBudget};
use spawn::Spawn;
use supervise::{Killed, Limits, Seen};
use sys::WaitStatus;

/// Runs one command under a sandbox, to its end.
///
/// Dropping the future ends the command. An `Err` means that nothing was started; everything that happens from then on
/// is an [`Outcome`].
///
/// # Errors
///
/// [`ExecError`] for a request that can't be started: an empty command, a NUL byte, a directory that can't be entered,
/// a helper that is not there, no descriptors left.
pub async fn process_exec_tool_call(
    request: ExecRequest,
    sandbox: &Sandbox,
) -> Result<ExecResult, ExecError> {
    let program = request.program()?.to_owned();
    let invocation = sandbox.invocation(&request, &program);
    let ExecRequest {
        env, stdio, signals, deadline, drain, cancellation, budget, forward, subreaper, ..
    } = request;
    let spawn =
        Spawn { helper: sandbox.helper().clone(), invocation, env: sandbox.environment(env), stdio, signals };

    let started = Instant::now();
    let spawned = spawner::on_lasting_thread(move || spawn::spawn(spawn))
        .await
        .map_err(|errno| ExecError::Prepare { call: "a thread to start processes from", errno })?;
    let (child, pipes) = match spawned {
        // What is too much for the helper is too much for the command, and a shell would say so of the command.
        Err(ExecError::Helper { errno: Errno::E2BIG, .. }) => {
            return Ok(too_large(&program, sandbox, budget));
        }
        spawned => spawned?,
    };
    if let Some(subreaper) = &subreaper {
        subreaper.started(child.pid());
    }
    let limits = Limits { started, deadline, drain, cancellation, forward, subreaper };
    let seen = supervise::supervise(child, pipes, limits, budget).await?;

    let enforced = seen.records.iter().find_map(|record| match record {
        Record::Enforced(enforced) => Some(enforced.clone()),
        Record::Failed { .. } | Record::Exec { .. } => None,
    });
    Ok(ExecResult {
        outcome: outcome(&seen),
        duration: seen.ended - started,
        stdout: seen.stdout,
        stderr: seen.stderr,
        output: seen.output,
        streams_left_open: seen.streams_left_open,
        enforcement: enforced
            .map_or_else(|| sandbox.expected().clone(), |enforced| sandbox.enforcement(&enforced)),
        rusage: seen.status.map(|(_, usage)| usage),
    })
}

/// Arguments and environment that no program can be given.
fn too_large(program: &OsStr, sandbox: &Sandbox, budget: OutputBudget) -> ExecResult {
    let error =
        codex_linux_sandbox::ExecError::NotExecutable { program: program.to_owned(), errno: Errno::E2BIG };
    let nothing = || Capture::new(budget).finish();
    ExecResult {
        outcome: Outcome::NotExecuted {
            exit_code: error.exit_code(),
            errno: Some(Errno::E2BIG),
            message: error.to_string(),
        },
        duration: Duration::ZERO,
        stdout: nothing(),
        stderr: nothing(),
        output: nothing(),
        streams_left_open: false,
        enforcement: sandbox.expected().clone(),
        rusage: None,
    }
}

/// What happened, by what the helper said and how the process ended.
fn outcome(seen: &Seen) -> Outcome {
    let mut enforced = false;
    for record in &seen.records {
        match record {
            Record::Enforced(_) => enforced = true,
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
    match seen.killed {
        Some(Killed::Deadline(deadline)) => return Outcome::TimedOut { deadline },
        Some(Killed::Cancelled) => return Outcome::Cancelled,
        None => {}
    }
    if !enforced {
        // Whatever it was that ran, it never said that the sandbox stood: it can't be called the command.
        let message = match seen.status {
            Some((WaitStatus::Signalled { signal, .. }, _)) => {
                format!("the helper was ended by signal {signal} before it reported")
            }
            _ => "the helper ended without a report; is codex_linux_sandbox_exe the helper?".to_owned(),
        };
        return Outcome::SetupFailed { step: None, call: None, target: None, errno: None, message };
    }
    match seen.status {
        Some((WaitStatus::Exited(code), _)) => Outcome::Exited { code },
        Some((WaitStatus::Signalled { signal, core_dumped }, _)) => {
            Outcome::Signalled { signal, core_dumped }
        }
        None => Outcome::SetupFailed {
            step: None,
            call: Some("wait4".to_owned()),
            target: None,
            errno: None,
            message: "the command ended, but its status was collected by somebody else".to_owned(),
        },
    }
}
