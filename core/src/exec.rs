//! Running a command under a policy, and telling the truth about how it ended.
//!
//! ```text
//! request ─┐
//!          ├▶ spawn (helper, pipes) ▶ supervise (streams, deadline, end) ▶ outcome ▶ result
//! sandbox ─┘
//! ```

mod level;
mod outcome;
mod quarantine;
mod request;
mod sandbox;
mod spawn;
mod spawner;
mod standby;
mod subreaper;
mod supervise;
mod sys;
mod tree;
mod warden;

use std::ffi::OsStr;
use std::time::Duration;

use codex_linux_sandbox::{Ending, Plan, Record, SetupError, Step};
use nix::errno::Errno;
use tokio::time::Instant;

pub use codex_linux_sandbox::{CallersSignals, EarlyInit};
pub use level::{LEVEL_VARIABLE, NETWORK_DISABLED_VARIABLE, PlanFailure, begin_early, try_namespaces};
pub use outcome::{EXIT_CANCELLED, EXIT_TIMED_OUT, ExecError, ExecResult, Outcome, ResourceUsage};
pub use quarantine::{Quarantined, Why};
pub use request::{DEFAULT_DEADLINE, DEFAULT_DRAIN, ExecRequest, Signals, Stdio};
pub use sandbox::{Helper, Sandbox, SandboxError, SandboxOptions, SandboxType};
pub use subreaper::Subreaper;
pub use sys::{SigchldDisposition, set_sigchld, watch};

use crate::output::{Capture, OutputBudget};
use level::Rung;
use spawn::{Spawn, Spawned};
use supervise::{Killed, Limits, Seen};
use warden::{Warden, off_the_runtime};

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
    mut request: ExecRequest,
    sandbox: &Sandbox,
) -> Result<ExecResult, ExecError> {
    let program = request.program()?.to_owned();
    let mut rung = sandbox.rung();
    // What a set-up takes counts: the deadline is the call's, not the last attempt's.
    let started = Instant::now();
    let mut changed = 0;
    // What an attempt moved away stays moved away, and is told with whatever comes of the call.
    let mut quarantined = Vec::new();
    loop {
        let mut result = attempt(&mut request, sandbox, rung, &program, started).await?;
        quarantined.append(&mut result.quarantined);
        result.quarantined = std::mem::take(&mut quarantined);
        let Outcome::SetupFailed { step: Some(step), errno, message, .. } = &result.outcome else {
            return Ok(result);
        };
        if level::note_refusal(*step, *errno, message)
            && let Some(below) = sandbox.below(rung)
        {
            // Nothing has run, and nothing of this machine will make it run at this level.
            tracing::info!(outcome = %result.outcome.sentence(), "no namespaces here: going on without");
            rung = below;
        } else if is_elsewhere(*step, *errno) && changed < PATIENCE_WITH_CHANGES {
            // Somebody outside has moved what was to be protected. Nothing has run; what is there now is looked up.
            changed += 1;
        } else {
            return Ok(result);
        }
        quarantined = result.quarantined;
    }
}

/// How often a set-up begins anew because something it found is gone when it comes to it.
const PATIENCE_WITH_CHANGES: u32 = 5;

/// Whether a place of the plan was not what it was when it was looked up.
const fn is_elsewhere(step: Step, errno: Option<Errno>) -> bool {
    matches!(step, Step::Places) && matches!(errno, Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP))
}

/// Runs the command at one level.
async fn attempt(
    request: &mut ExecRequest,
    sandbox: &Sandbox,
    rung: &Rung,
    program: &OsStr,
    started: Instant,
) -> Result<ExecResult, ExecError> {
    let waiting = |errno| ExecError::Prepare { call: "a thread to wait for the disk on", errno };
    let stdio = request.stdio;
    let guarded = match rung.post.clone() {
        Some(post) => Some(off_the_runtime(stdio, move || Warden::begin(&post)).await.map_err(waiting)?),
        None => None,
    };
    let plan = rung.plan_with(guarded.as_ref().map(|(_, protection)| protection))?;
    let (mut warden, notes) = match guarded {
        Some((warden, protection)) => (Some(warden), protection.notes),
        None => (None, Vec::new()),
    };
    let mut result = run(request, sandbox, rung, plan, program, started, &mut warden).await?;
    if let Some(warden) = warden {
        result.quarantined = off_the_runtime(stdio, move || warden.finish()).await.map_err(waiting)?;
    }
    result.notes = notes;
    sandbox.stand_by();
    Ok(result)
}

/// Runs the command under a plan.
async fn run(
    request: &mut ExecRequest,
    sandbox: &Sandbox,
    rung: &Rung,
    plan: Plan,
    program: &OsStr,
    started: Instant,
    warden: &mut Option<Warden>,
) -> Result<ExecResult, ExecError> {
    let spawn = Spawn {
        helper: sandbox.helper().clone(),
        invocation: sandbox.invocation(plan, request, program),
        env: rung.environment(request.env.clone()),
        stdio: request.stdio,
        signals: request.signals,
        early: request.early.take(),
        standby: sandbox.standby().cloned(),
        may_stand_still: request.subreaper.is_some() && request.deadline.is_none(),
    };
    let spawned = spawner::on_lasting_thread(move || spawn::spawn(spawn))
        .await
        .map_err(|errno| ExecError::Prepare { call: "a thread to start processes from", errno })?;
    let (child, pipes) = match spawned {
        // What is too much for the helper is too much for the command, and a shell would say so of the command.
        Err(ExecError::Helper { errno: Errno::E2BIG, .. }) => {
            return Ok(nothing_ran(too_large(program), rung, request.budget));
        }
        Ok(Spawned::Failed(error)) => {
            return Ok(nothing_ran(setup_failed(error), rung, request.budget));
        }
        Ok(Spawned::Started(child, pipes)) => (child, pipes),
        Err(error) => return Err(error),
    };
    if let Some(subreaper) = &request.subreaper {
        subreaper.started(child.pid());
    }
    let limits = Limits {
        started,
        deadline: request.deadline,
        drain: request.drain,
        cancellation: request.cancellation.clone(),
        forward: &mut request.forward,
        subreaper: request.subreaper.clone(),
    };
    let seen = supervise::supervise(child, pipes, limits, request.budget, warden).await?;

    let enforced = seen.records.iter().find_map(|record| match record {
        Record::Enforced(enforced) => Some(enforced.clone()),
        Record::Failed { .. } | Record::Exec { .. } | Record::Ended(_) => None,
    });
    Ok(ExecResult {
        outcome: outcome(&seen),
        duration: seen.ended - started,
        stdout: seen.stdout,
        stderr: seen.stderr,
        output: seen.output,
        streams_left_open: seen.streams_left_open,
        enforcement: enforced
            .map_or_else(|| rung.expected.clone(), |enforced| sandbox.enforcement(rung, &enforced)),
        rusage: seen.status.map(|(_, usage)| usage),
        quarantined: Vec::new(),
        notes: Vec::new(),
    })
}

/// Arguments and environment that no program can be given.
fn too_large(program: &OsStr) -> Outcome {
    let error =
        codex_linux_sandbox::ExecError::NotExecutable { program: program.to_owned(), errno: Errno::E2BIG };
    Outcome::NotExecuted {
        exit_code: error.exit_code(),
        errno: Some(Errno::E2BIG),
        message: error.to_string(),
    }
}

/// The result of a call that did not come as far as a process.
fn nothing_ran(outcome: Outcome, rung: &Rung, budget: OutputBudget) -> ExecResult {
    let nothing = || Capture::new(budget).finish();
    ExecResult {
        outcome,
        duration: Duration::ZERO,
        stdout: nothing(),
        stderr: nothing(),
        output: nothing(),
        streams_left_open: false,
        enforcement: rung.expected.clone(),
        rusage: None,
        quarantined: Vec::new(),
        notes: Vec::new(),
    }
}

/// What happened, by what the helper said and how the process ended.
fn outcome(seen: &Seen) -> Outcome {
    let mut enforced = false;
    let mut ending = None;
    for record in &seen.records {
        match record {
            Record::Enforced(_) => enforced = true,
            Record::Ended(end) => ending = Some(*end),
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
fn setup_failed(error: SetupError) -> Outcome {
    let message = error.to_string();
    let SetupError { step, call, target, errno, .. } = error;
    Outcome::SetupFailed { step: Some(step), call: Some(call.into_owned()), target, errno, message }
}
