//! A deadline ends the whole of a command.

use std::time::Duration;

use codex_core::exec::Outcome;

use crate::fifo::Fifo;
use crate::runs::{run, sandbox, shell, workspace_write};
use crate::tools::tool;

/// Long enough for a command to start, on a machine that is busy as well.
const DEADLINE: Duration = Duration::from_secs(2);

/// Runs a command whose grandchild says `here` and then waits for ever, until its deadline, and sees the grandchild end.
fn runs_into_its_deadline(start: &str) {
    let workspace = tempfile::tempdir().unwrap();
    let mut fifo = Fifo::create(workspace.path());
    let line =
        format!("echo begun; {start} sh -c 'exec 9> {}; echo here >&9; sleep 1000' & wait", fifo.path());
    let mut request = shell(&line);
    request.limits.deadline = Some(DEADLINE);
    let result = run(request, &sandbox(&workspace_write(), workspace.path()));
    assert_eq!(result.outcome, Outcome::TimedOut { deadline: DEADLINE });
    assert_eq!(result.outcome.exit_code(), 124);
    assert_eq!(result.stdout.head, b"begun\n", "what was written before is kept");
    assert!(result.duration >= DEADLINE, "{:?}", result.duration);
    assert!(!result.streams_left_open);
    assert_eq!(fifo.said(), "here\n");
    fifo.ended();
}

#[test]
fn p5_a_deadline_ends_the_grandchildren() {
    runs_into_its_deadline("");
}

#[test]
fn p5_a_deadline_ends_those_that_left_the_process_group() {
    if tool("setsid").is_some() {
        runs_into_its_deadline("setsid");
    }
}

#[test]
fn p5_a_deadline_ends_those_that_ignore_what_can_be_ignored() {
    runs_into_its_deadline("trap '' HUP INT QUIT TERM; ");
}

#[test]
fn a_command_that_ends_in_time_is_not_timed_out() {
    let mut request = shell("exit 3");
    request.limits.deadline = Some(crate::runs::PATIENCE);
    let workspace = tempfile::tempdir().unwrap();
    let result = run(request, &sandbox(&workspace_write(), workspace.path()));
    assert_eq!(result.outcome, Outcome::Exited { code: 3 });
}
