//! `process/*` as every client knows it.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use codex_core::exec::{
    CallLimits, Detach, ExecRequest, NotedCommand, NotedRefusal, Outcome, Process, SignalError, Stdio,
    TerminalSize,
};
use codex_core::output::feed::FeedOptions;
use codex_core::output::{FeedReader, OutputBudget};
use nix::sys::signal::Signal;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    Answer, Answered, Context, Params, Rest, answer, granted, joined, labels, now, refused, short_id,
};
use crate::ceiling::Refusal;
use crate::environment;
use crate::noted;
use crate::outgoing::Outgoing;
use crate::process::{Entry, Following, InputLane, Put};
use crate::protocol::{
    ProcessParams, ReadParams, RpcError, SandboxKind, SignalName, SignalParams, StartParams, StartResult,
    TerminateResult, WriteParams, WriteResult, WriteStatus,
};
use crate::session::Reservation;
use crate::spill::Spilled;

pub(super) fn unknown_process(id: &str) -> RpcError {
    RpcError::invalid(format!("unknown process id {}", codex_linux_sandbox::shown(id)))
}

/// How much of each stream a failed command's denials are read from.
const SAID: OutputBudget = OutputBudget { bytes: 8 * 1024, lines: 200 };

/// `process/start`: takes the id at once, so that what follows for it finds it.
pub(super) fn start(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let mut params: StartParams = params.read()?;
    short_id("processId", &params.process_id)?;
    if params.argv.is_empty() {
        return Err(RpcError::params("argv must not be empty"));
    }
    if params.network_proxy.is_some() {
        return Err(RpcError::invalid("this server has no network proxy: nothing is started without it"));
    }
    if params.shell_snapshot.is_some() {
        return Err(RpcError::invalid("this server makes no snapshots of shells"));
    }
    if !context.extended {
        // To a client that has not asked for it, these members mean nothing.
        (params.policy, params.limits, params.detach, params.size) = (None, None, None, None);
        params.spill = None;
    }
    if let Some(grace) = params.limits.and_then(|limits| limits.grace_ms)
        && Duration::from_millis(grace) > context.server.limits.grace
    {
        // It would outlive its session for as long.
        let most = context.server.limits.grace.as_millis();
        return Err(RpcError::params(format!("limits.graceMs is {grace}, where {most} are the most")));
    }
    let has_input = params.tty || params.pipe_stdin == Some(true);
    let limits = &context.server.limits;
    let lane = has_input.then(|| InputLane::new(limits.input_bytes, limits.in_flight_bytes));
    let (lane, pieces) = match lane {
        Some((lane, pieces)) => (Some(lane), Some(pieces)),
        None => (None, None),
    };
    let spill = (params.spill == Some(true)).then(|| spill_place(context)).transpose()?;
    let entry = Entry::new(params.process_id.clone(), &params.argv, params.tty, lane, spill);
    let reservation = context.session.reserve(entry)?;
    let unheard = Unheard { end: Some(reservation.entry.end.clone()), out: context.out.clone() };
    let extended = context.extended;
    let context = context.clone();
    // To its end: where the connection is lost meanwhile, the session has the process all the same, and who asks again does not start a
    // second one.
    let started = tokio::spawn(async move {
        let (process, kind, reader) =
            context.session.turns.take(launch(&context, &params, &reservation)).await?;
        if let Some(pieces) = pieces {
            tokio::spawn(pieces.write_to(Arc::clone(&process)));
        }
        let entry = Arc::clone(&reservation.entry);
        reservation.keep(process);
        let result = StartResult { process_id: params.process_id, sandbox_type: Some(kind) };
        Ok::<_, RpcError>((result, entry, reader))
    });
    Ok(Box::pin(async move {
        let started = joined(started).await?;
        unheard.heard();
        let (result, entry, reader) = started?;
        let following = Following { entry, after: Some(0), extended, session: None, reader };
        Ok(Answer { then: Some(following), ..answer(result)? })
    }))
}

/// Room for all that a process writes.
fn spill_place(context: &Context) -> Result<Spilled, RpcError> {
    let Some(room) = &context.server.spill else {
        return Err(RpcError::invalid("`spill`: this server has no directory of its own to keep output in"));
    };
    room.take().ok_or_else(|| {
        context.server.metrics.limits_hit.add("spills", 1);
        let most = context.server.limits.spills;
        RpcError::invalid(format!(
            "`spill`: the output of {most} processes is kept already, as much as this server allows"
        ))
    })
}

/// A start that nobody has heard of. Where it is given up, and not lost with its connection, nothing is to come of it.
struct Unheard {
    end: Option<CancellationToken>,
    out: Outgoing,
}

impl Unheard {
    /// Somebody has.
    fn heard(mut self) {
        self.end = None;
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        if let Some(end) = self.end.take().filter(|_| !self.out.is_closing()) {
            end.cancel();
        }
    }
}

async fn launch(
    context: &Context,
    params: &StartParams,
    reservation: &Reservation,
) -> Result<(Arc<Process>, SandboxKind, Option<FeedReader>), RpcError> {
    let without_network = params.enforce_managed_network == Some(true);
    let granted = granted(context, params.sandbox.clone(), params.policy.clone(), without_network).await?;
    if let Err(refusal) = &granted {
        note_refusal(context, params, refusal).await?;
    }
    let sandbox = granted.map_err(|refusal| refused(&refusal))?;
    let kind = if sandbox.is_restricted() { SandboxKind::LinuxSeccomp } else { SandboxKind::None };
    let request = request(context, params, &reservation.entry)?;
    let process = Arc::new(Process::start(request, &sandbox));
    // Before it can write anything.
    let reader = process.reader(0);
    if process.started().await {
        // Others may follow before this one ends.
        sandbox.stand_by();
        return Ok((process, kind, reader));
    }
    let answer = process.wait().await;
    match &*answer {
        // It ran, and has ended by now.
        Ok(result) if result.has_run() && result.outcome != Outcome::Cancelled => Ok((process, kind, reader)),
        Ok(result) => Err(RpcError::internal(result.outcome.sentence())),
        Err(error) => Err(RpcError::internal(error.to_string())),
    }
}

fn request(context: &Context, params: &StartParams, entry: &Entry) -> Result<ExecRequest, RpcError> {
    let server = &context.server;
    let cwd = params.cwd.path().to_owned();
    let env = environment::for_command(&server.variables, params.env_policy.as_ref(), &params.env, &cwd)
        .map_err(|error| RpcError::params(error.to_string()))?;
    let command = params.argv.iter().map(OsString::from).collect();
    let mut request = ExecRequest::new(command, cwd, env);
    request.arg0 = params.arg0.as_ref().map(OsString::from);
    let limits = params.limits.unwrap_or_default();
    let milliseconds = |time: Option<u64>| time.map(Duration::from_millis);
    request.limits = CallLimits {
        deadline: milliseconds(limits.deadline_ms),
        idle: milliseconds(limits.idle_ms),
        output: limits.output_bytes,
        // `process/terminate` kills at once, unless the client says otherwise.
        grace: milliseconds(limits.grace_ms).unwrap_or(Duration::ZERO),
        ..CallLimits::default()
    };
    request.detach = if params.detach == Some(true) { Detach::Keep } else { Detach::Kill };
    request.stdio = match (params.tty, params.pipe_stdin) {
        (true, _) => {
            let size = params.size.map(|size| TerminalSize { rows: size.rows, columns: size.columns });
            Stdio::Terminal(size.unwrap_or_default())
        }
        (false, Some(true)) => Stdio::Piped,
        (false, _) => Stdio::Capture,
    };
    // What a client gets is the feed. What the command has said at its beginning and its end is kept to tell what it was refused.
    request.budget = SAID;
    request.feed = Some(FeedOptions {
        retain: server.limits.retained_bytes,
        stall: server.limits.stall,
        ..FeedOptions::default()
    });
    if let (Some(spill), Some(room)) = (&entry.spill, &server.spill) {
        request.spill = Some((Arc::clone(&room.directory), room.options));
        request.tap = Some(Arc::clone(&spill.tap));
    }
    request.cancellation = entry.end.clone();
    request.labels = labels(context, Some(&params.process_id));
    Ok(request)
}

/// Says in the audit log what was asked for, and why it is not granted. What is started says so itself.
async fn note_refusal(context: &Context, params: &StartParams, refusal: &Refusal) -> Result<(), RpcError> {
    tracing::info!(peer = &*context.peer, "refused: {refusal}");
    let noted = NotedRefusal {
        labels: labels(context, Some(&params.process_id)),
        command: NotedCommand::of(&params.argv),
        cwd: params.cwd.to_string(),
        refused: refusal.to_string(),
    };
    noted::note_refusal(&context.server.ceiling, noted).await.map_err(RpcError::internal)
}

pub(super) fn read(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let params: ReadParams = params.read()?;
    let entry =
        context.session.find(&params.process_id).ok_or_else(|| unknown_process(&params.process_id))?;
    let wait = Duration::from_millis(params.wait_ms.unwrap_or(0)).min(context.server.limits.longest_wait);
    let (out, extended) = (context.out.clone(), context.extended);
    Ok(Box::pin(async move {
        let until = async {
            tokio::select! {
                () = sleep(wait), if !wait.is_zero() => {}
                () = std::future::ready(()), if wait.is_zero() => {}
                () = out.closing() => {}
            }
        };
        let most = params.max_bytes.unwrap_or(usize::MAX);
        let read = entry.read(params.after_seq.unwrap_or(0), most, until, extended).await;
        answer(read.ok_or_else(|| unknown_process(&params.process_id))?)
    }))
}

pub(super) fn write(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let WriteParams { process_id, chunk, write_id } = params.read()?;
    short_id("writeId", &write_id)?;
    let Some(entry) = context.session.find(&process_id) else {
        return now(WriteResult { status: WriteStatus::UnknownProcess });
    };
    let Some(lane) = &entry.input else { return now(WriteResult { status: WriteStatus::StdinClosed }) };
    match lane.put(write_id, chunk.0) {
        Put::Now(status) => now(WriteResult { status }),
        Put::Later(written) => Ok(Box::pin(async move {
            // Where the process ends first, nobody reads it any more: as after its end.
            drop(written.await);
            answer(WriteResult { status: WriteStatus::Accepted })
        })),
        Put::Full(waiting) => {
            context.server.metrics.limits_hit.add("input_bytes", 1);
            Err(RpcError::invalid(format!(
                "{waiting} bytes wait for the process, and no more are taken; write them again when it has read"
            )))
        }
    }
}

/// Does something with a process, as soon as it is there. One that is not, or has ended, is no error.
pub(super) fn with_process(
    context: &Context,
    id: &str,
    act: impl FnOnce(&Process) -> Result<(), SignalError> + Send + 'static,
) -> Result<Rest, RpcError> {
    let entry = context.session.find(id);
    Ok(Box::pin(async move {
        if let Some(entry) = entry
            && let Some(process) = entry.process().await
        {
            match act(&process) {
                Ok(()) | Err(SignalError::Ended) => {}
                Err(error @ SignalError::Number(_)) => return Err(RpcError::params(error.to_string())),
            }
        }
        answer(serde_json::json!({})) as Answered
    }))
}

pub(super) fn signal(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let SignalParams { process_id, signal } = params.read()?;
    match signal {
        SignalName::Name(name) if name == "interrupt" => {
            with_process(context, &process_id, Process::interrupt)
        }
        SignalName::Name(name) if context.extended => {
            let number = number(&name).ok_or_else(|| {
                RpcError::params(format!("there is no signal {}", codex_linux_sandbox::shown(&name)))
            })?;
            with_process(context, &process_id, move |process| process.signal(number))
        }
        SignalName::Number(number) if context.extended => {
            with_process(context, &process_id, move |process| process.signal(number))
        }
        SignalName::Name(_) | SignalName::Number(_) => {
            Err(RpcError::params("invalid params: unknown signal, expected `interrupt`"))
        }
    }
}

/// `SIGTERM`, `TERM`, `term`.
fn number(name: &str) -> Option<i32> {
    let name = name.to_ascii_uppercase();
    let full = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    full.parse::<Signal>().ok().map(|signal| signal as i32)
}

pub(super) fn terminate(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let ProcessParams { process_id } = params.read()?;
    let entry = context.session.find(&process_id);
    let running = entry.as_ref().is_some_and(|entry| entry.is_running());
    if let Some(entry) = entry {
        // What it has left behind as well.
        entry.end.cancel();
    }
    now(TerminateResult { running })
}
