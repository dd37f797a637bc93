//! What the meter sees of a call, at both levels: all that the command started, and nothing of ours.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::io::{BufRead as _, BufReader};
use std::num::NonZeroU64;
use std::process::{Child, Command, Stdio as Stream};
use std::time::Duration;

use codex_core::exec::{Meter, Root, Stdio};
use codex_core::limits::{Limit, ResourceLimits};
use nix::unistd::Pid;

const HELPER: &str = env!("CARGO_BIN_EXE_codex-linux-sandbox");
const NAMESPACES: &[&str] = &["--isolation", "namespaces"];

/// Started, and as far as its line "ready". Its input is its leash.
fn start(level: &[&str], script: &str) -> Child {
    let mut child = Command::new(HELPER)
        .args(["-s", "disk-full-read-access"])
        .args(level)
        .args(["--", "sh", "-c", script])
        .stdin(Stream::piped())
        .stdout(Stream::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}

fn meter(child: &Child, root: fn(Pid) -> Root, limit: Limit) -> Meter {
    let limits = ResourceLimits::NONE.with(limit, NonZeroU64::MAX);
    Meter::new(root(Pid::from_raw(i32::try_from(child.id()).unwrap())), &limits, None, Stdio::Capture)
        .unwrap()
}

fn end(mut child: Child) {
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_commands_processes_are_counted_and_none_of_ours() {
    let script = "sleep 1000 & a=$!; sleep 1000 & b=$!; echo ready; read line; kill $a $b";
    for (level, root) in [(&[][..], Root::Keeper as fn(Pid) -> Root), (NAMESPACES, Root::Relay)] {
        let child = start(level, script);
        assert_eq!(meter(&child, root, Limit::Processes).sample().processes, 3, "{level:?}");
        end(child);
    }
}

#[test]
fn time_of_orphans_is_kept_by_the_first_process_of_the_namespace() {
    // The inner shell's child is an orphan when it ends, and burns some tenths of a second before.
    let burn = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
    let script = format!("(sh -c '{burn}; echo ready' &) ; cat");
    let child = start(NAMESPACES, &script);
    let meter = meter(&child, Root::Relay, Limit::CpuTime);
    // It has said its word, and PID 1 collects it in a moment.
    while meter.sample().processes > 2 {
        std::thread::yield_now();
    }
    assert!(meter.sample().cpu_time >= Duration::from_millis(50), "{:?}", meter.sample());
    end(child);
}
