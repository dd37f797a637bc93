use std::io::{BufRead as _, BufReader};
use std::num::NonZeroU64;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio as Stream};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{Exceeded, LONG, Meter, Root, SHORTEST};
use crate::exec::Stdio;
use crate::limits::{Limit, ResourceLimits};

const STDIO: Stdio = Stdio::Capture;

/// A shell with what it has started, ended with the test. It has said a line.
struct Tree(Child);

impl Tree {
    fn grow(script: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stream::null())
            .stdout(Stream::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.0.id()).unwrap())
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        killpg(self.pid(), Signal::SIGKILL).unwrap();
        self.0.wait().unwrap();
    }
}

fn only(limit: Limit, amount: u64) -> ResourceLimits {
    ResourceLimits::NONE.with(limit, NonZeroU64::new(amount).unwrap())
}

fn next(meter: &mut Meter) -> Exceeded {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let patience = std::time::Duration::from_secs(60);
    runtime.block_on(async { tokio::time::timeout(patience, meter.next()).await.unwrap() })
}

#[test]
fn processes_are_counted_with_the_root_or_without() {
    let tree = Tree::grow("for i in 1 2 3 4; do sleep 1000 & done; echo ready; wait");
    let meter = |root| Meter::new(root, &only(Limit::Processes, 4), None, STDIO).unwrap();
    assert_eq!(meter(Root::Command(tree.pid())).sample().processes, 5);
    assert_eq!(meter(Root::Keeper(tree.pid())).sample().processes, 4);
    let mut exceeding = meter(Root::Command(tree.pid()));
    assert_eq!(next(&mut exceeding), Exceeded { limit: Limit::Processes, allowed: 4, seen: 5 });
    assert_eq!(exceeding.peak().processes, 5);
}

#[test]
fn below_a_relay_are_the_grandchildren() {
    // The second shell stands for the first process of a namespace.
    let tree = Tree::grow("sh -c 'sleep 1000 & sleep 1000 & echo ready; wait' & wait");
    let meter = Meter::new(Root::Relay(tree.pid()), &only(Limit::Processes, 4), None, STDIO).unwrap();
    assert_eq!(meter.sample().processes, 2);
}

#[test]
fn processor_time_of_the_living_and_of_those_they_waited_for_counts() {
    let burn = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
    let tree = Tree::grow(&format!("sh -c '{burn}'; echo ready; sleep 1000 & wait"));
    let meter = |root| Meter::new(root, &only(Limit::CpuTime, 10), None, STDIO).unwrap();
    // Its child has ended, and used it all.
    let used = meter(Root::Command(tree.pid())).sample().cpu_time;
    assert!(used >= 2 * SHORTEST, "{used:?}");
    assert_eq!(meter(Root::Keeper(tree.pid())).sample().cpu_time, used);
    let exceeded = next(&mut meter(Root::Command(tree.pid())));
    assert_eq!((exceeded.limit, exceeded.allowed), (Limit::CpuTime, 10));
    assert!(exceeded.seen > 10);
}

#[test]
fn memory_that_is_shared_counts_once() {
    // Two copies of one shell share nearly all of it, so that the sum of their sizes is twice what they use.
    let tree = Tree::grow("x=$(head -c 8388608 /dev/zero | tr '\\0' x); (echo ready; sleep 1000; :) & wait");
    let at = |most| Meter::new(Root::Command(tree.pid()), &only(Limit::Memory, most), None, STDIO).unwrap();
    let (sum, exact) = (at(u64::MAX).sample().memory, at(1).sample().memory);
    assert!(exact >= 8 << 20, "{exact}");
    assert!(exact < sum, "{exact} of {sum}");
    let mut meter = at(4 << 20);
    let exceeded = next(&mut meter);
    assert_eq!((exceeded.limit, exceeded.allowed), (Limit::Memory, 4 << 20));
    assert!(meter.peak().memory >= 8 << 20);
}

#[test]
fn who_is_gone_uses_nothing_and_what_is_held_elsewhere_is_not_sampled() {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    child.wait().unwrap();
    let meter = Meter::new(Root::Command(pid), &only(Limit::Processes, 1), None, STDIO).unwrap();
    assert_eq!(meter.sample().processes, 0);
    for limit in [Limit::OpenFiles, Limit::FileSize, Limit::Shm] {
        assert!(Meter::new(Root::Command(pid), &only(limit, 1), None, STDIO).is_none());
    }
}

#[test]
fn a_sample_that_takes_long_is_waited_for_by_whoever_calls_next() {
    let tree = Tree::grow("sleep 1000 & echo ready; wait");
    let mut meter = Meter::new(Root::Command(tree.pid()), &only(Limit::Processes, 1), None, STDIO).unwrap();
    meter.cost = LONG;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::sleep_until(meter.due).await;
        let mut dropped = Box::pin(meter.next());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let first = std::future::Future::poll(dropped.as_mut(), &mut context);
        drop(dropped);
        assert!(first.is_pending() && meter.taken.is_some());
    });
    assert_eq!(runtime.block_on(meter.next()), Exceeded { limit: Limit::Processes, allowed: 1, seen: 2 });
    assert!(meter.taken.is_none());
}
