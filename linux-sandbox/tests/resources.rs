//! Nothing is left behind: no descriptor, no process, no thread, however many calls there are and however they end.
//!
//! These tests count what the whole process has, so that they are in a program of their own and take turns.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, and says so")]

#[path = "harness/runs.rs"]
mod runs;

/// The level that more is made at, and so more could be left of.
const ISOLATION: codex_core::config::Isolation = codex_core::config::Isolation::Namespaces;

use std::collections::BTreeSet;
use std::fs;
use std::future::Future as _;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use codex_core::exec::{
    ExecError, ExecRequest, Outcome, SandboxOptions, Stdio, TerminalSize, process_exec_tool_call,
};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::task::JoinSet;

use runs::{PATIENCE, READ_ONLY, attempt, prepare, read_only, run, runtime, shell};

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // That another test has failed is no reason for this one to.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What every open descriptor of this process leads to.
fn descriptors() -> Vec<String> {
    let entries = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    // The directory that is being read is gone by the time its link is.
    entries.filter_map(|path| fs::read_link(path).ok()).map(|path| path.display().to_string()).collect()
}

/// The children of this process, zombies too.
fn children() -> BTreeSet<String> {
    let threads =
        fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path().join("children"));
    threads
        .filter_map(|list| fs::read_to_string(list).ok())
        .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// What the process has at a time.
struct Held {
    descriptors: usize,
    children: BTreeSet<String>,
}

impl Held {
    fn now() -> Self {
        Self { descriptors: descriptors().len(), children: children() }
    }

    /// Waits until the process has no more than it had. The last of a call is let go of by another thread, a moment
    /// after its caller knows the result; what is kept is kept for ever.
    fn is_all(&self) {
        let end = Instant::now() + PATIENCE;
        loop {
            let now = Self::now();
            if now.descriptors <= self.descriptors && now.children.is_subset(&self.children) {
                return;
            }
            assert!(
                Instant::now() < end,
                "{} before; {:?}, children {:?}",
                self.descriptors,
                descriptors(),
                now.children
            );
            std::thread::yield_now();
        }
    }
}

/// Every way for a call to end, once.
fn every_ending() {
    let sandbox = read_only();
    assert_eq!(run(shell("echo out; echo err >&2; exit 3"), &sandbox).outcome, Outcome::Exited { code: 3 });
    assert!(matches!(run(shell("kill -9 $$"), &sandbox).outcome, Outcome::Signalled { .. }));
    assert!(matches!(run(runs::request(["no-such-program"]), &sandbox).outcome, Outcome::NotExecuted { .. }));
    let with = |change: fn(&mut ExecRequest)| {
        let mut request = shell("sleep 1000 & wait");
        change(&mut request);
        run(request, &sandbox).outcome
    };
    let deadline = Duration::from_millis(5);
    assert_eq!(
        with(|request| request.limits.deadline = Some(Duration::from_millis(5))),
        Outcome::TimedOut { deadline }
    );
    assert_eq!(with(|request| request.cancellation.cancel()), Outcome::Cancelled);
    let mut left_open = shell("sleep 1000 & exit 0");
    left_open.limits.drain = Duration::from_millis(5);
    assert!(run(left_open, &sandbox).streams_left_open);
    for helper in ["/bin/true", "/no/such/helper"] {
        let sandbox = prepare(&READ_ONLY, "/".as_ref(), SandboxOptions::new(helper)).unwrap();
        assert_ne!(attempt(shell("exit 0"), &sandbox).ok().map(|result| result.outcome.exit_code()), Some(0));
    }
    assert!(attempt(shell("\0"), &sandbox).is_err());
}

#[test]
fn no_descriptor_and_no_process_is_left() {
    let _turn = turn();
    // What is made once and kept, is made.
    every_ending();
    let before = Held::now();
    for _ in 0..20 {
        every_ending();
    }
    before.is_all();
}

#[test]
fn two_hundred_calls_in_a_row_leave_nothing() {
    let _turn = turn();
    let (runtime, sandbox) = (runtime(), read_only());
    let call = || {
        let result = runtime.block_on(process_exec_tool_call(shell("exit 0"), &sandbox));
        assert_eq!(result.unwrap().outcome, Outcome::Exited { code: 0 });
    };
    call();
    let before = Held::now();
    (0..200).for_each(|_| call());
    before.is_all();
}

#[test]
fn fifty_calls_at_once_keep_their_output_apart() {
    let _turn = turn();
    every_ending();
    let before = Held::now();
    let runtime = runtime();
    runtime.block_on(async {
        let mut calls = JoinSet::new();
        for number in 0..50 {
            calls.spawn(async move {
                let line =
                    format!("for i in 1 2 3 4 5; do echo {number}; echo {number} >&2; done; exit {number}");
                (number, process_exec_tool_call(shell(&line), &read_only()).await.unwrap())
            });
        }
        for (number, result) in calls.join_all().await {
            assert_eq!(result.outcome, Outcome::Exited { code: number });
            let expected = format!("{number}\n").repeat(5).into_bytes();
            assert_eq!((result.stdout.head, result.stderr.head), (expected.clone(), expected));
        }
    });
    drop(runtime);
    before.is_all();
}

/// However many descriptors are left: a call runs, or says what it lacks; and nothing of it stays.
#[test]
fn running_out_of_descriptors_is_told_and_leaves_nothing() {
    let _turn = turn();
    every_ending();
    let runtime = runtime();
    let sandbox = read_only();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    for stdio in [Stdio::Capture, Stdio::Piped, Stdio::Terminal(TerminalSize::default())] {
        let before = Held::now();
        let mut refused = 0;
        for more in 0..60 {
            let mut request = shell("echo out; exit 3");
            request.stdio = stdio;
            setrlimit(Resource::RLIMIT_NOFILE, before.descriptors as u64 + more, hard).unwrap();
            let result = runtime.block_on(process_exec_tool_call(request, &sandbox));
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
            match result {
                Ok(result) => match result.outcome {
                    Outcome::Exited { code: 3 } => assert_eq!(result.stdout.lines_total, 1),
                    Outcome::SetupFailed { errno, message, .. } => {
                        assert_eq!(errno, Some(Errno::EMFILE), "{message}");
                        refused += 1;
                    }
                    other => panic!("{more} more, {stdio:?}: {other:?}"),
                },
                Err(
                    ExecError::Prepare { errno: Errno::EMFILE, .. }
                    | ExecError::Helper { errno: Errno::EMFILE, .. },
                ) => {
                    refused += 1;
                }
                Err(other) => panic!("{more} more, {stdio:?}: {other}"),
            }
        }
        assert!((1..60).contains(&refused), "{stdio:?}: {refused} of 60 were refused");
        before.is_all();
    }
}

/// What a command has written when it ends belongs to the result, however short the drain is and however late we look.
#[test]
fn what_is_in_the_pipes_at_the_end_is_read_without_any_drain() {
    let _turn = turn();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // More than is read at once, in a pipe that was made large enough to hold it: F_SETPIPE_SZ is 1031.
    let line =
        "import fcntl, os; fcntl.fcntl(1, 1031, 1 << 20); os.write(1, bytes(1 << 19)); os.write(2, b'err')";
    let mut request = runs::request(["python3", "-c", line]);
    request.limits.drain = Duration::ZERO;
    let sandbox = read_only();
    let result = runtime.block_on(async {
        let call = process_exec_tool_call(request, &sandbox);
        // Keeps the runtime's only thread until the command has ended, so that its end and its output are seen at once.
        let late = async {
            use nix::sys::wait::{Id, WaitPidFlag, waitid};
            while waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).is_err() {
                // Not started yet: another thread does that.
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(call, late).0.unwrap()
    });
    assert_eq!(result.outcome, Outcome::Exited { code: 0 });
    assert_eq!((result.stdout.bytes_total, result.stderr.head.as_slice()), (1 << 19, &b"err"[..]));
}

#[test]
fn calls_that_are_dropped_leave_nothing() {
    let _turn = turn();
    every_ending();
    let before = Held::now();
    let runtime = runtime();
    runtime.block_on(async {
        let mut calls = JoinSet::new();
        for _ in 0..20 {
            calls.spawn(async move {
                process_exec_tool_call(shell("sleep 1000 & wait"), &read_only()).await.is_ok()
            });
        }
        // One that ends by itself, so that the others have been begun.
        assert!(process_exec_tool_call(shell("exit 0"), &read_only()).await.is_ok());
        calls.shutdown().await;
        // And some that have only just been asked for.
        for _ in 0..20 {
            let sandbox = read_only();
            let mut call = pin!(process_exec_tool_call(shell("sleep 1000 & wait"), &sandbox));
            assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
    });
    drop(runtime);
    before.is_all();
}
