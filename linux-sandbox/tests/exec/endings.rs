//! How a run ends, and that it does.

use std::time::Duration;

use codex_core::exec::{ExecRequest, Outcome, Sandbox, process_exec_tool_call};

use crate::fifo::Fifo;
use crate::runs::{read_only, run, runtime, sandbox, shell, unrestricted, workspace_write};
use crate::tools::tool;

#[test]
fn an_exit_code_is_the_commands_own() {
    for code in [0, 1, 2, 42, 124, 125, 126, 127, 128, 130, 137, 255] {
        for sandbox in [read_only(), unrestricted()] {
            let outcome = run(shell(&format!("exit {code}")), &sandbox).outcome;
            assert_eq!((outcome.exit_code(), outcome), (code, Outcome::Exited { code }));
        }
    }
}

#[test]
fn a_signal_is_told_by_its_number() {
    // 64 is the last real-time signal, which is easily mistaken for something else.
    for signal in [1, 2, 3, 6, 9, 11, 13, 15, 34, 64] {
        let outcome = run(shell(&format!("ulimit -c 0; kill -{signal} $$")), &read_only()).outcome;
        assert_eq!(outcome.exit_code(), 128 + signal);
        assert_eq!(outcome, Outcome::Signalled { signal, core_dumped: false });
    }
}

#[test]
fn a_command_that_kills_its_own_group_is_told_as_it_was() {
    let outcome = run(shell("sleep 1000 & kill -TERM 0"), &read_only()).outcome;
    assert_eq!(outcome, Outcome::Signalled { signal: 15, core_dumped: false });
}

/// A command that waits for ever in a child and in itself, once it has said `here`.
fn waiting(fifo: &Fifo) -> ExecRequest {
    shell(&format!("exec 9> {}; sleep 1000 & echo said; echo here >&9; wait", fifo.path()))
}

#[test]
fn a_cancelled_run_ends_with_everything_below_it() {
    let workspace = tempfile::tempdir().unwrap();
    let mut fifo = Fifo::create(workspace.path());
    let request = waiting(&fifo);
    let token = request.cancellation.clone();
    let canceller = std::thread::spawn(move || {
        assert_eq!(fifo.said(), "here\n");
        token.cancel();
        fifo
    });
    let result = run(request, &sandbox(&workspace_write(), workspace.path()));
    assert_eq!(result.outcome, Outcome::Cancelled);
    assert_eq!(result.outcome.exit_code(), 130);
    assert_eq!(result.stdout.head, b"said\n", "what was written before is kept");
    canceller.join().unwrap().ended();
}

#[test]
fn a_run_that_was_cancelled_before_it_began_ends_at_once() {
    let request = shell("sleep 1000");
    request.cancellation.cancel();
    assert_eq!(run(request, &read_only()).outcome, Outcome::Cancelled);
}

#[test]
fn a_cancellation_after_the_end_changes_nothing() {
    let request = shell("exit 5");
    let token = request.cancellation.clone();
    assert_eq!(run(request, &read_only()).outcome, Outcome::Exited { code: 5 });
    token.cancel();
}

#[test]
fn a_run_whose_future_is_dropped_ends_with_everything_below_it() {
    let workspace = tempfile::tempdir().unwrap();
    let sandbox = sandbox(&workspace_write(), workspace.path());
    let mut fifo = Fifo::create(workspace.path());
    let request = waiting(&fifo);
    let (say, said) = tokio::sync::oneshot::channel();
    let listener = std::thread::spawn(move || {
        assert_eq!(fifo.said(), "here\n");
        say.send(()).unwrap();
        fifo
    });
    runtime().block_on(async {
        let call = process_exec_tool_call(request, &sandbox);
        tokio::select! {
            result = call => panic!("the run has ended by itself: {result:?}"),
            begun = said => begun.unwrap(),
        }
    });
    listener.join().unwrap().ended();
}

#[test]
fn a_grandchild_that_holds_the_streams_does_not_hold_the_call() {
    let workspace = tempfile::tempdir().unwrap();
    let mut fifo = Fifo::create(workspace.path());
    let line = format!("exec 9> {}; echo here >&9; sleep 1000 & echo done; exit 6", fifo.path());
    let mut request = shell(&line);
    request.limits.drain = Duration::from_millis(50);
    let result = run(request, &sandbox(&workspace_write(), workspace.path()));
    assert_eq!(result.outcome, Outcome::Exited { code: 6 });
    assert!(result.streams_left_open);
    assert_eq!(result.stdout.head, b"done\n", "what was written is kept");
    assert_eq!(result.output.head, b"done\n");
    // It is in the command's process group, and ends with the call.
    assert_eq!(fifo.said(), "here\n");
    fifo.ended();
}

#[test]
fn a_grandchild_that_lets_go_of_the_streams_in_time_is_waited_for() {
    let Some(_) = tool("seq") else { return };
    // The child outlives the shell, which waits for nobody; its output is complete all the same.
    let result = run(shell("{ seq 20000; echo end; } & exit 0"), &read_only());
    assert_eq!(result.outcome, Outcome::Exited { code: 0 });
    assert!(!result.streams_left_open);
    assert!(result.stdout.head.ends_with(b"20000\nend\n"));
}

#[test]
fn a_deadline_that_has_passed_already_runs_nothing_for_long() {
    let mut request = shell("sleep 1000");
    request.limits.deadline = Some(Duration::ZERO);
    assert_eq!(run(request, &read_only()).outcome, Outcome::TimedOut { deadline: Duration::ZERO });
}

#[test]
fn without_a_deadline_a_command_takes_its_time() {
    let mut request = shell("exit 0");
    request.limits.deadline = None;
    assert_eq!(run(request, &read_only()).outcome, Outcome::Exited { code: 0 });
    let mut request = shell("exit 0");
    request.limits.deadline = Some(Duration::MAX);
    assert_eq!(run(request, &read_only()).outcome, Outcome::Exited { code: 0 });
}

#[test]
fn what_a_command_used_is_told() {
    let result = run(shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"), &read_only());
    let usage = result.rusage.unwrap();
    assert!(usage.user_us + usage.system_us > 0, "{usage:?}");
    assert!(usage.max_rss_kib > 0 && result.duration > Duration::ZERO, "{usage:?}");
}

/// A sandbox is used again and again, also by calls at the same time.
#[test]
fn a_sandbox_can_be_shared() {
    fn shareable<T: Send + Sync + Clone>(_value: &T) {}
    let sandbox: Sandbox = read_only();
    shareable(&sandbox);
    for code in 0..3 {
        assert_eq!(run(shell(&format!("exit {code}")), &sandbox).outcome, Outcome::Exited { code });
    }
}
