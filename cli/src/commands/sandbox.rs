//! `codex sandbox`: one command under the policy in effect.

use std::ffi::OsString;
use std::os::fd::AsFd as _;
use std::time::Duration;

use codex_arg0::AliasDirectory;
use codex_core::config::Explain;
use codex_core::denial::{Denial, Operation};
use codex_core::exec::{
    Control, ExecError, ExecRequest, ExecResult, Outcome, Overheard, Sandbox, Signals as SignalsFor, Stdio,
    process_exec_tool_call, watch,
};
use codex_core::output::OutputBudget;
use nix::sys::signal::Signal;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

use super::explain::outside;
use crate::args::SandboxArgs;
use crate::exit_code;
use crate::meaning::{Meaning, MeaningError};
use crate::render;
use crate::render::screen::Passage;
use crate::signals::{Shares, Signals};
use crate::{last_failed, terminal, world};
use again::Again;
pub(crate) use begun::Begun;

mod again;
mod begun;
mod session;

/// How long a standard error that takes nothing is waited for, where we have something to say.
const PATIENCE: Duration = Duration::from_secs(2);

/// `typed` is all that was, the program's name first.
pub(crate) fn sandbox(args: &SandboxArgs, begun: Option<Begun>, typed: &[OsString]) -> i32 {
    if args.learn.learn {
        return super::learn::learn(args, typed);
    }
    if args.print_plan {
        return match prepare(args) {
            Ok(Prepared { sandbox, request }) => match sandbox.command_line(&request) {
                Ok(line) => render::command_line(&line),
                Err(error) => render::refusal(&error.to_string(), exit_code::REFUSED),
            },
            Err(error) => render::refusal(&error.to_string(), error.exit_code()),
        };
    }
    let shares = match (args.pty, args.json) {
        (false, false) => Shares::streams(),
        (true, false) => Shares::Display,
        (_, true) => Shares::Nothing,
    };
    let begun = match begun.map_or_else(|| Begun::begin(shares), Ok) {
        Ok(begun) => begun,
        Err(errno) => {
            return render::refusal(&format!("the run can't be prepared: {errno}"), exit_code::REFUSED);
        }
    };
    match prepare(args) {
        Ok(prepared) => run(args, prepared, begun, typed),
        Err(error) => {
            drop(begun);
            render::refusal(&error.to_string(), error.exit_code())
        }
    }
}

/// A call, ready to be made.
struct Prepared {
    sandbox: Sandbox,
    request: ExecRequest,
}

fn prepare(args: &SandboxArgs) -> Result<Prepared, MeaningError> {
    let meaning = Meaning::of(&args.policy)?;
    // What is only printed is no call.
    let options = if args.print_plan { meaning.sandbox_options() } else { meaning.running_options()? };
    let sandbox = meaning.sandbox_with(options)?;
    let mut request = match args.print_plan {
        true => plain_request(&meaning, args.command.clone())?,
        false => request(&meaning, args.command.clone(), "sandbox")?,
    };
    let (term, kind) = world::terminal_kind();
    if args.pty && !request.env.iter().any(|(name, _)| *name == term) {
        request.env.push((term, kind));
    }
    request.limits = args.limits();
    request.stdio = match (args.pty, args.json) {
        (true, _) => Stdio::Terminal(terminal::size()),
        (false, true) => Stdio::Capture,
        (false, false) => Stdio::Inherit,
    };
    // What a terminal of its own shows is read afterwards, for what was refused.
    if !args.json && !args.pty {
        request.budget = OutputBudget { bytes: 0, lines: 0 };
    }
    Ok(Prepared { sandbox, request })
}

/// A command as everything around it has it, with the binary's other names on its `PATH`. `by`: who asks, for the audit log.
pub(super) fn request(
    meaning: &Meaning,
    command: Vec<OsString>,
    by: &'static str,
) -> Result<ExecRequest, MeaningError> {
    let mut request = plain_request(meaning, command)?;
    if let Some(aliases) = &aliases(meaning) {
        put_first(aliases, &mut request.env);
    }
    request.labels.by = Some(by);
    Ok(request)
}

fn plain_request(meaning: &Meaning, command: Vec<OsString>) -> Result<ExecRequest, MeaningError> {
    let mut request = ExecRequest::new(command, "/".into(), meaning.environment()?);
    request.cwd = meaning.directory.clone();
    Ok(request)
}

/// The binary's other names, for the command's `PATH`. Going without is no reason not to run.
pub(super) fn aliases(meaning: &Meaning) -> Option<AliasDirectory> {
    let codex_home = meaning.world.codex_home.as_deref().filter(|home| home.is_dir())?;
    match AliasDirectory::provide(codex_home) {
        Ok(aliases) => Some(aliases),
        Err(error) => {
            tracing::warn!("commands go without codex's other names: {error}");
            None
        }
    }
}

pub(super) fn put_first(aliases: &AliasDirectory, env: &mut [(OsString, OsString)]) {
    // Without a PATH, a command looks in the system's default places; one with only the aliases would hide these.
    if let Some((_, path)) = env.iter_mut().find(|(name, _)| name == "PATH") {
        *path = aliases.first_in(Some(std::mem::take(path)));
    }
}

fn run(args: &SandboxArgs, prepared: Prepared, begun: Begun, typed: &[OsString]) -> i32 {
    let Prepared { sandbox, mut request } = prepared;
    let sandbox = &sandbox;
    let Begun { signals, as_a_job, early, mut overheard } = begun;
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let explainable = |result: &ExecResult| {
        render::explainable(&result.enforcement, outside(sandbox.settings()).is_none());
    };
    request.stops_with_the_command = as_a_job;
    request.signals = SignalsFor::Inherit(signals.callers);
    if args.pty {
        return in_a_terminal(args, sandbox, request, &signals, &runtime, typed, explainable);
    }
    if request.stdio == Stdio::Inherit && early.is_none() {
        let is_asked = sandbox.is_restricted() && sandbox.explain() != Explain::Never;
        overheard = overheard.or_else(Overheard::begin).filter(|_| is_asked);
    }
    request.early = early;
    request.overheard = overheard;
    let cancellation = request.cancellation.clone();
    let (forward, forwarded) = unbounded_channel();
    request.control = Some(forwarded);
    let route = if args.json { Route::Cancel(cancellation) } else { Route::Forward(forward) };

    let (result, ended_by) = runtime.block_on(call(request, sandbox, &signals, &route));
    let remembered =
        result.as_ref().is_ok_and(|result| last_failed::note(typed, &args.command, result, ended_by));
    let code = tell(args, &result, ended_by, |first| {
        let replay = || again::again(args, first, &signals, &runtime);
        let is_asked = as_a_job && last_failed::is_failure(&first.outcome, ended_by);
        match is_asked.then(replay).flatten() {
            Some(Again { denials, untold, without }) => render::replayed(&denials, untold, without),
            None if remembered => explainable(first),
            None => {}
        }
    });
    // What is given back piece by piece is written to, and each page of it would be copied first: the helper, a fork, had
    // the same ones. The end of the process gives back all of them together.
    std::process::exit(code)
}

/// What calls run on. Says why where there is none.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, i32> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| render::refusal(&format!("the run can't be prepared: {error}"), exit_code::REFUSED))
}

/// Runs a call to its end, and takes signals meanwhile. Tells the one as well that ended it, or was handed on last.
pub(super) async fn call(
    request: ExecRequest,
    sandbox: &Sandbox,
    signals: &Signals,
    route: &Route,
) -> (Result<ExecResult, ExecError>, Option<Signal>) {
    let mut ended_by = None;
    let call = process_exec_tool_call(request, sandbox);
    tokio::pin!(call);
    let listening = listen(signals, route, &mut ended_by);
    let result = tokio::select! {
        result = &mut call => Some(result),
        () = listening => None,
    };
    match result {
        Some(result) => (result, ended_by),
        None => (call.await, ended_by),
    }
}

/// Runs the command in a terminal of its own.
fn in_a_terminal(
    args: &SandboxArgs,
    sandbox: &Sandbox,
    request: ExecRequest,
    signals: &Signals,
    runtime: &tokio::runtime::Runtime,
    typed: &[OsString],
    explainable: impl FnOnce(&ExecResult),
) -> i32 {
    let passage = match (args.json, args.passthrough) {
        (true, _) => None,
        (false, false) => Some(Passage::Filtered),
        (false, true) => Some(Passage::Unfiltered),
    };
    match runtime.block_on(session::run(request, sandbox, signals, passage)) {
        // Whoever takes no output takes no complaint: nobody would read it, and it would wait for ever.
        Ok(session) if session.stuck && !terminal::takes_complaints(Duration::ZERO) => {
            match session.answer.as_ref() {
                Ok(result) => exit_code(result, session.ended_by),
                Err(error) => exit_code::of_request(error),
            }
        }
        Ok(session) => {
            let ended_by = session.ended_by;
            let answer = session.answer.as_ref();
            let failed = |result: &ExecResult| last_failed::note(typed, &args.command, result, ended_by);
            let remembered = answer.as_ref().is_ok_and(failed);
            let code = tell(args, &session.answer, ended_by, |result| {
                if remembered {
                    explainable(result);
                }
            });
            match session.unwritten {
                Some(why) => render::refusal(&why, exit_code::OUTPUT),
                None => code,
            }
        }
        Err(error) => render::refusal(&format!("the run can't be prepared: {error}"), exit_code::REFUSED),
    }
}

/// Prints what there is to say of a call that has ended. `explain` tells a person of one about which nothing is known.
fn tell(
    args: &SandboxArgs,
    result: &Result<ExecResult, ExecError>,
    ended_by: Option<Signal>,
    explain: impl FnOnce(&ExecResult),
) -> i32 {
    match result {
        Ok(result) if args.json => {
            let printed = render::json(result);
            if !args.quiet {
                render::denials(&result.denials, result.denials_untold);
            }
            if printed == exit_code::SUCCESS { exit_code(result, ended_by) } else { printed }
        }
        // Whoever takes nothing would let us wait for ever.
        Ok(result) if has_words(result) && !terminal::takes_complaints(PATIENCE) => {
            exit_code(result, ended_by)
        }
        Ok(result) => {
            if let Some(line) = unsaid(result) {
                render::complaint(&line);
            }
            for moved in &result.quarantined {
                render::complaint(&moved.to_string());
            }
            // What was moved away, and a limit that we ended it for, has been said.
            let unsaid = |denial: &&Denial| match denial.operation {
                Operation::Use => !matches!(result.outcome, Outcome::LimitExceeded { .. }),
                Operation::Create => {
                    !result.quarantined.iter().any(|moved| moved.path.to_string_lossy() == denial.target)
                }
                _ => true,
            };
            if !args.quiet {
                let unsaid: Vec<Denial> = result.denials.iter().filter(unsaid).cloned().collect();
                render::denials(&unsaid, result.denials_untold);
                // A script reads what it knows; a person may wonder whether it was the sandbox.
                if unsaid.is_empty() && terminal::is_read() {
                    explain(result);
                }
            }
            exit_code(result, ended_by)
        }
        Err(error) => render::refusal(&error.to_string(), exit_code::of_request(error)),
    }
}

/// Whether there may be something to say of a call.
fn has_words(result: &ExecResult) -> bool {
    result.outcome.exit_code() != 0 || !result.quarantined.is_empty() || !result.denials.is_empty()
}

/// What becomes of signals that we get.
pub(super) enum Route {
    /// The command shares our terminal: it gets what it did not get from there already, and decides.
    Forward(UnboundedSender<Control>),
    /// The command is in a session of its own, and the call is ours to end.
    Cancel(CancellationToken),
}

/// Takes signals as they come. Ends only where they can't be waited for.
async fn listen(signals: &Signals, route: &Route, ended_by: &mut Option<Signal>) {
    let Ok(watched) = signals.descriptor().as_fd().try_clone_to_owned().and_then(watch) else { return };
    loop {
        let Ok(mut ready) = watched.readable().await else { return };
        while let Some(received) = signals.take() {
            match route {
                Route::Forward(forward) => {
                    // Of what is handed on, the last one may end the command.
                    *ended_by = Some(received.signal);
                    // A signal of the terminal has reached the command already or, where it left our process group, the process
                    // beside it, which passes it on.
                    let signal = received.signal as i32;
                    let control =
                        if received.from_terminal { Control::Seen(signal) } else { Control::Signal(signal) };
                    if forward.send(control).is_err() {
                        return;
                    }
                }
                Route::Cancel(token) => {
                    // The first one ends a call.
                    *ended_by = ended_by.or(Some(received.signal));
                    token.cancel();
                }
            }
        }
        ready.clear_ready();
    }
}

pub(super) fn exit_code(result: &ExecResult, ended_by: Option<Signal>) -> i32 {
    match (&result.outcome, ended_by) {
        (Outcome::Cancelled, Some(signal)) => exit_code::SIGNAL_BASE + signal as i32,
        (outcome, _) => outcome.exit_code(),
    }
}

/// What a person has to be told and would not see otherwise.
fn unsaid(result: &ExecResult) -> Option<String> {
    match &result.outcome {
        outcome @ (Outcome::TimedOut { .. }
        | Outcome::IdleTimedOut { .. }
        | Outcome::OutputExceeded { .. }
        | Outcome::LimitExceeded { .. }
        | Outcome::ObserverEnded
        | Outcome::SetupFailed { .. }
        | Outcome::NotExecuted { .. }) => Some(outcome.sentence()),
        Outcome::Exited { .. } | Outcome::Signalled { .. } | Outcome::Cancelled => None,
    }
}
