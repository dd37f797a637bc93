//! Real programs that write much, write nothing, leave something behind or multiply: each call ends, and tells the truth.

use std::time::Duration;

use codex_core::exec::{ExecRequest, ExecResult, Outcome, Sandbox};

use crate::runs::{read_only, run, shell, unrestricted, with_longer_limits};
use crate::tools::tool;

fn each(test: impl Fn(&Sandbox)) {
    for sandbox in [read_only(), unrestricted()] {
        test(&sandbox);
    }
}

fn ended(request: ExecRequest, sandbox: &Sandbox) -> ExecResult {
    let result = run(request, sandbox);
    let streams = result.stdout.bytes_total + result.stderr.bytes_total;
    assert_eq!(result.output.bytes_total, streams, "every byte is counted once");
    result
}

#[test]
fn nothing_of_what_is_written_is_lost() {
    each(|sandbox| {
        let zeros = ended(shell("dd if=/dev/zero bs=1048576 count=20 2> /dev/null"), sandbox);
        assert_eq!((zeros.outcome, zeros.stdout.bytes_total), (Outcome::Exited { code: 0 }, 20 << 20));
        let lines =
            ended(shell("i=0; while [ $i -lt 3000 ]; do echo $i; echo $i >&2; i=$((i + 1)); done"), sandbox);
        assert_eq!((lines.stdout.lines_total, lines.stderr.lines_total), (3000, 3000));
        let found = ended(shell("find /usr/bin /usr/lib 2> /dev/null; true"), sandbox);
        assert_eq!(found.outcome, Outcome::Exited { code: 0 });
        assert!(found.stdout.lines_total > 100, "{}", found.stdout.lines_total);
        let binary = std::fs::metadata("/usr/bin/env").unwrap().len();
        assert_eq!(ended(shell("cat /usr/bin/env"), sandbox).stdout.bytes_total, binary);
    });
}

#[test]
fn what_writes_without_end_is_ended() {
    each(|sandbox| {
        for line in ["yes", "cat /dev/zero", "(yes & yes >&2 & wait)"] {
            let mut request = shell(line);
            request.limits.output = Some(1 << 20);
            assert_eq!(ended(request, sandbox).outcome, Outcome::OutputExceeded { limit: 1 << 20 }, "{line}");
        }
    });
}

#[test]
fn what_is_left_in_the_background_holds_nobody_up() {
    each(|sandbox| {
        for line in [
            "sleep 300 & echo done",
            "nohup sleep 300 > /dev/null 2>&1 & echo done",
            "setsid sleep 300 > /dev/null 2>&1 & echo done",
            "(sleep 300 &) ; (sleep 300 > /dev/null 2>&1 &) ; echo done",
        ] {
            let mut request = shell(line);
            request.limits.drain = Duration::from_millis(50);
            let result = ended(request, sandbox);
            assert_eq!(result.outcome, Outcome::Exited { code: 0 }, "{line}");
            assert_eq!(result.stdout.head, b"done\n", "{line}");
            for left in &result.left_behind {
                assert!(!std::path::Path::new(&format!("/proc/{}", left.pid)).exists(), "{line}: {left:?}");
            }
        }
    });
}

#[test]
fn what_multiplies_is_ended() {
    each(|sandbox| {
        let line =
            "f() { [ $1 -gt 0 ] && { f $(($1 - 1)) & f $(($1 - 1)) & }; echo x; exec sleep 300; }; f 5";
        let mut request = shell(line);
        request.limits.deadline = Some(Duration::from_millis(700));
        request.limits.grace = Duration::from_millis(100);
        let result = ended(request, sandbox);
        assert!(matches!(result.outcome, Outcome::TimedOut { .. }), "{:?}", result.outcome);
        assert!(!result.streams_left_open, "a process of the tree lives on");
    });
}

#[test]
fn an_interpreter_that_keeps_its_output_to_itself_ends_as_well() {
    let Some(python) = tool("python3") else { return };
    each(|sandbox| {
        with_longer_limits(Duration::from_millis(1500), |idle| {
            let mut request = shell("");
            let script =
                "import time; print('kept'); print('said', flush=True); print('kept too'); time.sleep(300)";
            request.command = vec![python.clone().into(), "-c".into(), script.into()];
            request.limits.idle = Some(idle);
            let result = ended(request, sandbox);
            assert!(matches!(result.outcome, Outcome::IdleTimedOut { .. }), "{:?}", result.outcome);
            (!result.stdout.head.is_empty())
                .then(|| assert_eq!(result.stdout.head, b"kept\nsaid\n", "what it gave away is there"))
        });
    });
}
