//! Nothing of a replay outlives it.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use codex_tests::harness::Scene;
use nix::sys::signal::Signal;

use super::{explain, furnish, json, trees};

/// How long a command may take to come as far as it should.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn nothing_is_left_and_an_interrupt_ends_it(scene: &Scene) {
    furnish(scene);
    let mounts = || fs::read_to_string("/proc/self/mountinfo").expect("read the mounts");
    let of_ours = |list: String| list.lines().filter(|line| line.contains(" overlay ")).count();
    let (before, overlays) = (trees(scene), of_ours(mounts()));
    let script = "echo x > file; (sleep 1000 & ) ; sleep 1000";
    let running = explain(scene, &[], &["sh", "-c", script]).start();
    let inside = wait_for_sleepers(running.pid().as_raw());
    running.signal(Signal::SIGINT);
    let run = running.finish();
    assert_eq!(run.code(), Some(130), "{}", run.describe());
    assert_eq!(json(&run)["outcome"], "cancelled", "{}", run.describe());
    for process in inside {
        assert!(!is_sleeping(process), "{process} is left: {}", run.describe());
    }
    assert_eq!(of_ours(mounts()), overlays);
    let after = trees(scene);
    assert_eq!(before, after, "{}", before[0].difference(&after[0]));
}

/// Waits until both sleepers of a call are there, wherever below a process, and says their numbers.
fn wait_for_sleepers(top: i32) -> Vec<i32> {
    let end = Instant::now() + PATIENCE;
    loop {
        let found: Vec<i32> = below(top).into_iter().filter(|pid| is_sleeping(*pid)).collect();
        if found.len() >= 2 {
            return found;
        }
        assert!(Instant::now() < end, "nobody sleeps below {top}: {found:?}");
        std::thread::yield_now();
    }
}

fn is_sleeping(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"sleep\0"))
}

fn below(top: i32) -> Vec<i32> {
    let list = |task: PathBuf| fs::read_to_string(task.join("children")).unwrap_or_default();
    let tasks = fs::read_dir(format!("/proc/{top}/task")).into_iter().flatten().flatten();
    let children: Vec<i32> = tasks
        .flat_map(|task| list(task.path()).split_whitespace().flat_map(str::parse).collect::<Vec<i32>>())
        .collect();
    children.iter().flat_map(|child| below(*child)).chain(children.iter().copied()).collect()
}
