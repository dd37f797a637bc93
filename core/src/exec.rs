//! Running a command under a policy, and telling the truth about how it ended.
//!
//! ```text
//! request ─┐
//!          ├▶ spawn (helper, pipes) ▶ supervise (streams, deadline, end) ▶ outcome ▶ result
//! sandbox ─┘
//! ```

mod accounting;
mod bounds;
mod cgroup;
mod child;
mod denied;
mod ended;
mod error;
mod input;
mod kernel_log;
mod left_behind;
mod level;
mod limit_hit;
mod mediation;
mod noted;
mod observer;
mod offload;
mod options;
mod outcome;
mod overheard;
mod process;
mod quarantine;
mod replay;
mod request;
mod sandbox;
mod spawn;
mod spawner;
mod standby;
mod streams;
mod supervise;
mod sys;
mod terminal;
mod told;
mod warden;

use std::ffi::OsStr;
use std::sync::Arc;

use codex_linux_sandbox::{Invocation, Plan, Step};
use nix::errno::Errno;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

pub use accounting::{Exceeded, Meter, Root, Sample};
pub use cgroup::{Cgroup, CgroupError, CgroupUsage, Delegation, NoCgroup};
pub use codex_linux_sandbox::{CallersSignals, EarlyInit, Ending};
pub use error::ExecError;
pub use left_behind::{LeftBehind, MOST_LEFT_BEHIND};
pub use level::{LEVEL_VARIABLE, NETWORK_DISABLED_VARIABLE, PlanFailure, begin_early, try_namespaces};
pub use limit_hit::{Evidence, LimitHit, limit_hit};
pub use mediation::{HostRefused, Mediator, Refusals};
pub use noted::{Labels, NotedCommand, NotedRefusal};
pub use options::{Helper, SandboxOptions, SandboxType};
pub use outcome::{EXIT_CANCELLED, EXIT_TIMED_OUT, ExecResult, Outcome, ResourceUsage};
pub use overheard::Overheard;
pub use process::{InputError, Process, SignalError};
pub use quarantine::{Quarantined, Why};
pub use replay::{MOST_ONLY_HERE, OnlyHere, Replay};
pub use request::{
    CallLimits, Control, DEFAULT_DEADLINE, DEFAULT_DRAIN, DEFAULT_GRACE, Detach, ExecRequest, Signals, Stdio,
};
pub use sandbox::{Sandbox, SandboxError};
pub use sys::{SigchldDisposition, set_sigchld, watch};
pub use terminal::TerminalSize;

use crate::config::Explain;
use crate::enforcement::Level;
use crate::output::Feed;
use bounds::Bounds;
use denied::Tried;
use ended::{nothing_ran, result, setup_failed, too_large};
use input::Input;
use kernel_log::KernelLog;
use level::Rung;
use mediation::Mediation;
use noted::NotedCall;
use offload::off_the_runtime;
use overheard::{Hearing, WayIn};
use process::State;
use spawn::{Spawn, Spawned};
use supervise::{Orders, Run};
use warden::Warden;

/// Runs one command under a sandbox, to its end.
///
/// Dropping the future ends the command as a cancellation does, by a task of its own. An `Err` means that nothing was
/// started; everything that happens from then on is an [`Outcome`].
///
/// # Errors
///
/// [`ExecError`] for a request that can't be started: an empty command, a NUL byte, a directory that can't be entered,
/// a helper that is not there, no descriptors left.
pub async fn process_exec_tool_call(
    request: ExecRequest,
    sandbox: &Sandbox,
) -> Result<ExecResult, ExecError> {
    let process = Process::start(request, sandbox);
    let answer = process.wait().await;
    // What is to go on goes on.
    process.let_go();
    Arc::unwrap_or_clone(answer)
}

/// What connects a call with whoever holds its handle.
struct CallEnds {
    input: Option<Input>,
    feed: Option<Arc<Feed>>,
    /// Told when a signal has stopped the command.
    stops: Arc<Notify>,
}

/// Runs a call, and answers it when it has ended. Notes both in the audit log, where there is one.
async fn call(request: ExecRequest, sandbox: &Sandbox, ends: CallEnds, answer: &watch::Sender<State>) {
    let Some(log) = sandbox.audit().cloned() else {
        if let Some(result) = run(request, sandbox, ends, answer).await {
            give(answer, result);
        }
        return;
    };
    let stdio = request.stdio;
    let confined = sandbox.clone();
    let noted = off_the_runtime(stdio, move || (NotedCall::start(&log, &request, &confined), request)).await;
    let (noted, request) = match noted {
        Ok((Ok(noted), request)) => (noted, request),
        Ok((Err(error), _)) => return give(answer, Err(error.into())),
        Err(errno) => {
            return give(answer, Err(ExecError::Prepare { call: "a thread to write the audit log", errno }));
        }
    };
    let result = run(request, sandbox, ends, answer).await.map(Arc::new);
    let ended = match (&result, &*answer.borrow()) {
        (Some(result), _) | (None, State::Answered(result)) => Some(Arc::clone(result)),
        (None, _) => None,
    };
    if let Some(ended) = ended {
        // The command has run: that its end is not in the log is all that can be said.
        match off_the_runtime(stdio, move || noted.end(&ended)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("the end of a call is not in the log: {error}"),
            Err(errno) => tracing::warn!("the end of a call is not in the audit log: {errno}"),
        }
    }
    if let Some(result) = result {
        answer.send_replace(State::Answered(result));
    }
}

/// Runs a call to its end. Nothing where it was answered before.
async fn run(
    mut request: ExecRequest,
    sandbox: &Sandbox,
    ends: CallEnds,
    answer: &watch::Sender<State>,
) -> Option<Result<ExecResult, ExecError>> {
    let CallEnds { input, feed, stops } = ends;
    let program = match request.program() {
        Ok(program) => program.to_owned(),
        Err(error) => return Some(Err(error)),
    };
    let mut rung = sandbox.rung();
    let hearing = match request.overheard.take().map(Overheard::hear).transpose() {
        Ok(hearing) => hearing,
        Err(error) => return Some(Err(error)),
    };
    let mut orders = Orders {
        // What a set-up takes counts: the deadline is the call's, not the last attempt's.
        started: Instant::now(),
        limits: request.limits,
        detach: request.detach,
        cancellation: request.cancellation.clone(),
        control: request.control.take(),
        input,
        feed,
        stops_with_the_command: request.stops_with_the_command,
        stops,
        state: answer.clone(),
        hearing,
    };
    let mut changed = 0;
    // What an attempt moved away stays moved away, and is told with whatever comes of the call.
    let mut quarantined = Vec::new();
    loop {
        let mut result = match attempt(&mut request, sandbox, rung, &program, &mut orders).await {
            Ok(Some(result)) => result,
            // It was answered before.
            Ok(None) => return None,
            Err(error) => return Some(Err(error)),
        };
        quarantined.append(&mut result.quarantined);
        result.quarantined = std::mem::take(&mut quarantined);
        let Outcome::SetupFailed { step: Some(step), errno, message, .. } = &result.outcome else {
            return Some(Ok(result));
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
            return Some(Ok(result));
        }
        quarantined = result.quarantined;
    }
}

fn give(answer: &watch::Sender<State>, result: Result<ExecResult, ExecError>) {
    answer.send_replace(State::Answered(Arc::new(result)));
}

/// How often a set-up begins anew because something it found is gone when it comes to it.
const PATIENCE_WITH_CHANGES: u32 = 5;

/// Whether a place of the plan was not what it was when it was looked up.
const fn is_elsewhere(step: Step, errno: Option<Errno>) -> bool {
    matches!(step, Step::Places) && matches!(errno, Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP))
}

/// Runs the command at one level. Nothing where the call was answered before all of it had ended.
async fn attempt(
    request: &mut ExecRequest,
    sandbox: &Sandbox,
    rung: &Rung,
    program: &OsStr,
    orders: &mut Orders,
) -> Result<Option<ExecResult>, ExecError> {
    let waiting = |errno| ExecError::Prepare { call: "a thread to wait for the disk on", errno };
    let stdio = request.stdio;
    let (mut warden, mut protection) = match rung.post.clone() {
        // Nothing can come to be at the host's protected names.
        Some(post) if rung.plan.view.is_some() => {
            (None, Some(off_the_runtime(stdio, move || post.protection()).await.map_err(waiting)?))
        }
        Some(post) => {
            let begun = off_the_runtime(stdio, move || Warden::begin(&post)).await.map_err(waiting)?;
            (Some(begun.0), Some(begun.1))
        }
        None => (None, None),
    };
    let plan = rung.plan_with(protection.as_ref())?;
    let replayed = plan.view.is_some().then(|| plan.clone());
    let notes =
        protection.as_mut().map(|protection| std::mem::take(&mut protection.notes)).unwrap_or_default();
    let limits = sandbox.limits(request);
    let beside = processes_beside(&plan, stdio);
    let bounds = if limits.is_empty() {
        Bounds::begin(limits, beside)
    } else {
        off_the_runtime(stdio, move || Bounds::begin(limits, beside)).await.map_err(waiting)?
    };
    let budget = request.budget;
    let mut tried = Tried::default();
    let mut log = KernelLog::begin(sandbox.explain(), rung, sandbox.helper(), orders.started);
    let listeners =
        Listeners { way_in: orders.hearing.as_ref().and_then(Hearing::way_in), log_refusals: log.is_some() };
    let ran = match start(request, sandbox, rung, plan, program, &bounds, listeners).await? {
        Spawned::Started(child, mut ends, observer) => {
            let started = orders.started;
            let reached = ends.proxy.take().zip(sandbox.reach(rung));
            let mediation = reached.map(|(socket, reach)| Mediation::begin(reach, socket));
            let mut sinks = request.sinks();
            sinks.feed.clone_from(&orders.feed);
            let meter = bounds.meter(child.root(), stdio);
            let mut run = Run::new(child, ends, sinks, orders, &mut warden, meter)?;
            if let Some(log) = &mut log {
                log.follow(run.logged());
            }
            watch_and_listen(&mut run, &mut log).await;
            let mut answered = None;
            if run.goes_on() {
                let seen = run.seen_so_far();
                let result = result(sandbox, rung, &bounds, started, seen, None);
                let result = ExecResult { notes: notes.clone(), ..result };
                answered = Some(run.state().clone());
                give(run.state(), Ok(result));
                watch_and_listen(&mut run, &mut log).await;
            }
            let seen = run.finish().await;
            tried = Tried::of(&seen.records, observer.as_ref(), started);
            if let Some(mediation) = mediation {
                tried.add(&mediation, started);
            }
            let usage = bounds.usage();
            let replay = replayed.map(|plan| Replay::of(&plan, &seen.records, tried.seen()));
            let mut result = result(sandbox, rung, &bounds, started, seen, usage.as_ref());
            if observer.as_ref().is_some_and(|observer| observer.took_along(&result.outcome)) {
                result.outcome = Outcome::ObserverEnded;
            }
            if let Some(log) = log {
                let wanted = answered.is_none() && tried.lacks(sandbox.explain(), &result.outcome);
                tried.add_logged(log.finish(started + result.duration, wanted).await);
            }
            result.replay = replay;
            bounds.end().await;
            answered.is_none().then_some(result)
        }
        Spawned::Failed(error) => Some(nothing_ran(setup_failed(error), rung, budget)),
        Spawned::TooLarge => Some(nothing_ran(too_large(program), rung, budget)),
    };
    let found = match warden {
        Some(warden) => off_the_runtime(stdio, move || warden.finish()).await.map_err(waiting)?,
        None => Vec::new(),
    };
    sandbox.stand_by();
    let Some(ran) = ran else { return Ok(None) };
    let mut result = ExecResult { quarantined: found, notes, ..ran };
    (result.denials, result.denials_untold) =
        denied::denials(&result, request, sandbox, rung, protection, tried, orders.hearing.as_ref()).await;
    Ok(Some(result))
}

/// Waits for the run to end, and listens to the kernel's log meanwhile.
async fn watch_and_listen(run: &mut Run<'_>, log: &mut Option<KernelLog>) {
    match log {
        Some(log) => tokio::select! {
            biased;
            () = run.watch() => {}
            never = log.listen() => match never {},
        },
        None => run.watch().await,
    }
}

/// Who hears of the command besides its streams.
struct Listeners {
    /// By which what it writes to standard error comes by, where it is overheard.
    way_in: Option<Arc<WayIn>>,
    /// Whether the kernel's log is listened to.
    log_refusals: bool,
}

/// Starts the command under a plan.
async fn start(
    request: &mut ExecRequest,
    sandbox: &Sandbox,
    rung: &Rung,
    plan: Plan,
    program: &OsStr,
    bounds: &Bounds,
    Listeners { way_in, log_refusals }: Listeners,
) -> Result<Spawned, ExecError> {
    let invocation = sandbox.invocation(plan, request, program, bounds.means());
    let spawn = Spawn {
        helper: sandbox.helper().clone(),
        invocation: Invocation { log_refusals, ..invocation },
        env: rung.environment(request.env.clone()),
        stdio: request.stdio,
        signals: request.signals,
        early: request.early.take(),
        group: bounds.group.clone(),
        standby: sandbox.standby().cloned(),
        observe: sandbox.explain() == Explain::Always && rung.expected.level != Level::None,
        proxied: rung.mediated,
        way_in: way_in.filter(|_| rung.expected.level != Level::None),
    };
    let spawned = spawner::on_lasting_thread(move || spawn::spawn(spawn))
        .await
        .map_err(|errno| ExecError::Prepare { call: "a thread to start processes from", errno })?;
    match spawned {
        // What is too much for the helper is too much for the command, and a shell would say so of the command.
        Err(ExecError::Helper { errno: Errno::E2BIG, .. }) => Ok(Spawned::TooLarge),
        spawned => spawned,
    }
}

/// How many processes of ours are in the cgroup of a call with the command's.
const fn processes_beside(plan: &Plan, stdio: Stdio) -> u64 {
    match stdio {
        // The command's process enters by itself.
        _ if !plan.uses_namespaces() => 0,
        // The first process of the namespaces is put there.
        Stdio::Inherit => 1,
        // The relay enters, and takes it along.
        Stdio::Capture | Stdio::Piped | Stdio::Terminal(_) => 2,
    }
}
