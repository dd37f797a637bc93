//! From nothing to a command that has ended.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Instant;

use codex_core::config::Isolation;
use codex_core::exec::{ExecRequest, Outcome as RunOutcome, Sandbox, SandboxOptions, process_exec_tool_call};
use codex_core::policy::{NetworkAccess, SandboxPolicy, Surroundings};
use tokio::runtime::{Builder, Runtime};

use crate::Outcome;
use crate::measure::{Case, in_turn, rounds};
use crate::programs::{BWRAP_LEAST, BWRAP_NAMESPACES, Programs, quiet};
use crate::table::Table;

const NAMESPACES: &str = "--isolation=namespaces";
const LANDLOCK: &str = "--isolation=landlock";

/// The helper's words for a policy that lets nothing be written and nothing be reached.
const READ_ONLY: [&str; 2] = ["-s", "disk-full-read-access"];

pub(crate) fn measure(programs: &Programs) -> Outcome<Table> {
    let runtime = runtime()?;
    let mut cases = vec![
        Case::command("bare `true`", programs.bare()),
        Case::command("`codex --version`", programs.codex([OsStr::new("--version")])),
        Case::command("`codex sandbox -- true`, level namespaces", programs.sandbox(&[NAMESPACES])),
        Case::command("… `--network`", programs.sandbox(&[NAMESPACES, "--network"])),
        Case::command("… standard error a pipe", overheard(programs)),
        Case::command("… `--full-auto`", in_workspace(programs, NAMESPACES)),
        called("… called from a running agent", Isolation::Namespaces, false, programs, &runtime)?,
        called("… which keeps one ready", Isolation::Namespaces, true, programs, &runtime)?,
        Case::command("`codex sandbox -- true`, level landlock", programs.sandbox(&[LANDLOCK])),
        Case::command("… without a `$CODEX_HOME`", without_home(programs)),
        Case::command("… `--full-auto`", in_workspace(programs, LANDLOCK)),
        called("… called from a running agent", Isolation::Landlock, false, programs, &runtime)?,
        Case::command("`-s danger-full-access`", programs.sandbox(&["-s", "danger-full-access"])),
    ];
    let permissions = READ_ONLY.map(OsString::from);
    let mut helper = programs.helper(&programs.codex, &permissions);
    std::os::unix::process::CommandExt::arg0(&mut helper, codex_linux_sandbox::PROGRAM);
    cases.push(Case::command("`codex` as the helper", helper));
    if let Some(helper) = &programs.helper {
        cases.push(Case::command("`codex-linux-sandbox`", programs.helper(helper, &permissions)));
    }
    let references =
        [("`bwrap`, a mount namespace", BWRAP_LEAST), ("`bwrap --unshare-all`", BWRAP_NAMESPACES)];
    for (name, options) in references {
        if let Some(bwrap) = &programs.bwrap {
            let mut command = quiet(bwrap, options.iter().map(|option| OsStr::new(*option)));
            command.arg(&programs.idle);
            cases.push(Case::command(name, command));
        }
    }

    let count = rounds();
    let timings = in_turn(count, cases)?;
    let reference = programs.bwrap.as_ref().and(timings.last());
    let note = format!(
        "Of {count} rounds. × is the middle ratio of a round. Budgets: level namespaces 0.6 × bwrap and 5 × bare, called from an agent 0.5 × bwrap; level landlock 3 × bare, `--version` 2 × bare.{}",
        if reference.is_some() { "" } else { " `bwrap` is not installed or does not work here." }
    );
    let mut table = Table::new(["", "median ms", "minimum ms", "× bare", "× bwrap"], note);
    for timing in &timings {
        table.row([
            timing.name.clone(),
            format!("{:.3}", timing.median() * 1e3),
            format!("{:.3}", timing.minimum() * 1e3),
            format!("{:.2}", timing.ratio(&timings[0])),
            reference.map_or_else(|| "–".to_owned(), |bwrap| format!("{:.2}", timing.ratio(bwrap))),
        ]);
    }
    Ok(table)
}

/// Passes through `codex` what the command says.
fn overheard(programs: &Programs) -> std::process::Command {
    let mut command = programs.sandbox(&[NAMESPACES]);
    command.stderr(std::process::Stdio::piped());
    command
}

fn without_home(programs: &Programs) -> std::process::Command {
    let mut command = programs.sandbox(&[LANDLOCK]);
    command.env("CODEX_HOME", programs.scratch().join("absent"));
    command
}

fn in_workspace(programs: &Programs, level: &str) -> std::process::Command {
    let mut command = programs.sandbox(&["--full-auto", level]);
    command.current_dir(programs.workspace());
    command
}

/// The runtime that the calls of an agent are made from.
pub(crate) fn runtime() -> Outcome<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// A call of the library, its sandbox prepared before: what each further command costs an agent.
fn called<'a>(
    name: &str,
    isolation: Isolation,
    standby: bool,
    programs: &Programs,
    runtime: &'a Runtime,
) -> Outcome<Case<'a>> {
    let sandbox = read_only(&programs.codex, &programs.workspace(), isolation, standby)?;
    let (idle, environment): (PathBuf, Vec<_>) = (programs.idle.clone(), std::env::vars_os().collect());
    Ok(Case::new(name, move || {
        let start = Instant::now();
        let request = ExecRequest::new(vec![idle.clone().into()], "/".into(), environment.clone());
        let result = runtime.block_on(process_exec_tool_call(request, &sandbox))?;
        let taken = start.elapsed();
        match result.outcome {
            RunOutcome::Exited { code: 0 } => Ok(taken),
            other => Err(other.sentence().into()),
        }
    }))
}

/// The tightest policy, enforced by this binary.
pub(crate) fn read_only(
    codex: &Path,
    workspace: &Path,
    isolation: Isolation,
    standby: bool,
) -> Outcome<Sandbox> {
    let policy = SandboxPolicy::ReadOnly { network: NetworkAccess::Restricted };
    let surroundings =
        Surroundings { policy_cwd: workspace, tmpdir: None, codex_home: None, named_in_files: &[] };
    let mut options = SandboxOptions::new(codex.to_owned());
    options.isolation = isolation;
    options.standby = standby;
    Ok(Sandbox::prepare(&policy, surroundings, options)?)
}
