//! Limits of a call, each an ending of its own, and the steps in which a call is ended.

use std::time::{Duration, Instant};

use codex_core::exec::{Detach, ExecRequest, Outcome, Process, Sandbox};
use codex_core::policy::SandboxPolicy;

use crate::fifo::Fifo;
use crate::runs::{
    read_only, run, runtime, sandbox, shell, unrestricted, with_longer_limits, workspace_write,
};

fn both() -> [Sandbox; 2] {
    [read_only(), unrestricted()]
}

/// Long enough that nothing but what is asked for ends it.
const LONG: Duration = Duration::from_secs(50);

#[test]
fn silence_is_an_ending_of_its_own() {
    for sandbox in both() {
        with_longer_limits(Duration::from_millis(100), |idle| {
            let mut request = shell("echo first; exec sleep 1000");
            request.limits.idle = Some(idle);
            let result = run(request, &sandbox);
            assert_eq!(result.outcome, Outcome::IdleTimedOut { idle });
            assert_eq!(result.outcome.exit_code(), 124);
            (!result.stdout.head.is_empty())
                .then(|| assert_eq!(result.stdout.head, b"first\n", "what came before is kept"))
        });
    }
}

#[test]
fn who_goes_on_writing_is_not_idle() {
    for sandbox in both() {
        with_longer_limits(Duration::from_millis(900), |idle| {
            // All of it takes longer than nothing may come for.
            let pause = idle.as_secs_f64() / 18.0;
            let line =
                format!("i=0; while [ $i -lt 20 ]; do echo $i; sleep {pause}; i=$((i + 1)); done; exit 3");
            let mut request = shell(&line);
            request.limits.idle = Some(idle);
            let result = run(request, &sandbox);
            // The machine may have stood still for longer.
            (result.outcome != Outcome::IdleTimedOut { idle }).then(|| {
                assert_eq!(result.outcome, Outcome::Exited { code: 3 });
                assert_eq!(result.stdout.lines_total, 20);
            })
        });
    }
}

#[test]
fn too_much_output_is_an_ending_of_its_own() {
    let limit = 300_000;
    for sandbox in both() {
        for line in ["exec yes", "exec yes >&2"] {
            let mut request = shell(line);
            request.limits.output = Some(limit);
            let result = run(request, &sandbox);
            assert_eq!(result.outcome, Outcome::OutputExceeded { limit });
            let total = result.output.bytes_total;
            assert!(total > limit, "{total}");
            assert_eq!(total, result.stdout.bytes_total + result.stderr.bytes_total, "all is counted");
        }
        let mut request = shell("head -c 300000 /dev/zero; exit 4");
        request.limits.output = Some(limit);
        assert_eq!(run(request, &sandbox).outcome, Outcome::Exited { code: 4 }, "as much as is allowed");
    }
}

/// Everything gets SIGTERM and the time to act on it, in whatever session it is; what it writes then is kept.
#[test]
fn a_limit_asks_before_it_kills() {
    let line = "(setsid sh -c 'trap \"echo child; exit\" TERM; echo up; while :; do sleep 0.01; done' &); \
                trap 'echo parent; exit 9' TERM; echo up; while :; do sleep 0.01; done";
    for sandbox in both() {
        with_longer_limits(Duration::from_millis(400), |deadline| {
            let mut request = shell(line);
            request.limits.deadline = Some(deadline);
            request.limits.grace = LONG;
            let started = Instant::now();
            let result = run(request, &sandbox);
            assert!(started.elapsed() < deadline + LONG, "nobody waits for the grace when all have ended");
            assert!(matches!(result.outcome, Outcome::TimedOut { .. }), "{:?}", result.outcome);
            assert!(!result.streams_left_open);
            let text = String::from_utf8(result.stdout.head).unwrap();
            // Both were ready for it.
            (text.matches("up\n").count() == 2)
                .then(|| assert!(text.contains("child\n") && text.contains("parent\n"), "{text}"))
        });
    }
}

/// What ignores SIGTERM, and what was stopped, is killed when the grace is over.
#[test]
fn what_does_not_end_is_killed() {
    for policy in [workspace_write(), SandboxPolicy::DangerFullAccess] {
        let workspace = tempfile::tempdir().unwrap();
        let sandbox = sandbox(&policy, workspace.path());
        let mut fifo = Fifo::create(workspace.path());
        let line = format!(
            "exec 9> {}; trap '' TERM; (setsid sh -c 'kill -STOP $$; sleep 1000' &); sleep 1000 & \
             echo here >&9; while :; do sleep 1000; done",
            fifo.path()
        );
        let mut request = shell(&line);
        let token = request.cancellation.clone();
        let canceller = std::thread::spawn(move || {
            assert_eq!(fifo.said(), "here\n");
            token.cancel();
            fifo
        });
        request.limits.grace = Duration::from_millis(100);
        assert_eq!(run(request, &sandbox).outcome, Outcome::Cancelled);
        canceller.join().unwrap().ended();
    }
}

#[test]
fn without_a_grace_nobody_is_asked() {
    for sandbox in both() {
        with_longer_limits(Duration::from_millis(300), |deadline| {
            let mut request = shell("trap 'echo asked; exit' TERM; echo up; while :; do sleep 0.01; done");
            request.limits.deadline = Some(deadline);
            request.limits.grace = Duration::ZERO;
            let output = run(request, &sandbox).stdout.head;
            (!output.is_empty()).then(|| assert_eq!(output, b"up\n"))
        });
    }
}

#[test]
fn what_is_left_behind_is_named_and_ended() {
    for sandbox in both() {
        let mut request = shell("(setsid sleep 987 &); echo done");
        request.limits.drain = Duration::from_millis(50);
        let result = run(request, &sandbox);
        assert_eq!(result.outcome, Outcome::Exited { code: 0 });
        assert!(result.streams_left_open);
        let names: Vec<_> = result.left_behind.iter().map(|one| one.command.as_str()).collect();
        assert_eq!(names, ["sleep 987"]);
        assert!(ended(result.left_behind[0].pid), "it lives on");
        // Without a stream it is not waited for, and is named all the same.
        let silent = run(shell("(setsid sleep 987 > /dev/null 2>&1 &); sleep 0.2"), &sandbox);
        assert_eq!(silent.left_behind.len(), 1, "{:?}", silent.left_behind);
        assert!(!silent.streams_left_open);
        assert_eq!(run(shell("true"), &sandbox).left_behind, []);
    }
}

fn ended(pid: i32) -> bool {
    !std::path::Path::new(&format!("/proc/{pid}")).exists()
}

fn keep(line: &str) -> ExecRequest {
    let mut request = shell(line);
    request.detach = Detach::Keep;
    request.limits.drain = Duration::from_millis(50);
    request
}

/// Intentional background work goes on, and ends with the handle.
#[test]
fn what_is_to_be_kept_goes_on_until_it_is_terminated() {
    for policy in [workspace_write(), SandboxPolicy::DangerFullAccess] {
        let workspace = tempfile::tempdir().unwrap();
        let sandbox = sandbox(&policy, workspace.path());
        let mut fifo = Fifo::create(workspace.path());
        // It writes to the stream that nobody waits for, and to the fifo.
        let line = format!(
            "(setsid sh -c 'exec 9> {}; read -r word; echo still here; echo here >&9; exec sleep 986' < {} &); exit 3",
            fifo.path(),
            gate(workspace.path())
        );
        runtime().block_on(async {
            let process = Process::start(keep(&line), &sandbox);
            let answer = process.wait().await;
            let result = answer.as_ref().as_ref().unwrap();
            assert_eq!(result.outcome, Outcome::Exited { code: 3 });
            assert_eq!(result.left_behind.len(), 1, "{:?}", result.left_behind);
            open_gate(workspace.path());
            let fifo = tokio::task::spawn_blocking(move || {
                assert_eq!(fifo.said(), "here\n");
                fifo
            });
            let mut fifo = fifo.await.unwrap();
            process.terminate();
            process.is_over().await;
            fifo.ended();
        });
    }
}

/// A fifo that holds a command until it is opened.
fn gate(directory: &std::path::Path) -> String {
    let gate = directory.join("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    gate.display().to_string()
}

fn open_gate(directory: &std::path::Path) {
    std::fs::write(directory.join("gate"), "open\n").unwrap();
}

#[test]
fn what_ends_by_itself_need_not_be_terminated() {
    for sandbox in both() {
        runtime().block_on(async {
            let process = Process::start(keep("(setsid sleep 0.3 &); exit 3"), &sandbox);
            let answer = process.wait().await;
            assert_eq!(answer.as_ref().as_ref().unwrap().left_behind.len(), 1);
            process.is_over().await;
        });
    }
}

#[test]
fn streams_of_the_callers_own_can_not_be_kept() {
    let mut request = keep("true");
    request.stdio = codex_core::exec::Stdio::Inherit;
    let error = crate::runs::attempt(request, &read_only()).unwrap_err();
    assert_eq!(error, codex_core::exec::ExecError::DetachWithStreams);
}
