//! Ending a process and everything below it.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::sys;

/// Stops, then kills everything that descends from a process, the process itself left alone.
///
/// Each descendant is stopped before its children are looked up, so that none can start another one behind the back
/// of the search; the search goes on until it finds nobody new. A descendant whose parent has ended belongs to
/// somebody else by then (the nearest subreaper), and is only found below that one.
///
/// Returns how many were killed.
pub fn kill_descendants(of: Pid) -> usize {
    let mut stopped: Vec<OwnedFd> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut waiting = vec![of];
    while let Some(parent) = waiting.pop() {
        for child in children(parent) {
            if !seen.insert(child) {
                continue;
            }
            // The number may belong to another process by now; a descriptor can't. It is only used once its process
            // was seen to be a child of this parent while the descriptor was held.
            let Ok(process) = sys::pidfd_open(Pid::from_raw(child)) else { continue };
            if !children(parent).contains(&child) {
                continue;
            }
            if sys::pidfd_send_signal(process.as_fd(), Signal::SIGSTOP).is_ok() {
                stopped.push(process);
                waiting.extend([Pid::from_raw(child), parent]);
            }
        }
    }
    let killed = |process: &OwnedFd| match sys::pidfd_send_signal(process.as_fd(), Signal::SIGKILL) {
        Ok(()) => true,
        // It ended before we came: what was wanted.
        Err(Errno::ESRCH) => false,
        Err(errno) => {
            tracing::warn!(%errno, "a descendant could not be killed");
            false
        }
    };
    stopped.iter().filter(|process| killed(process)).count()
}

/// The children of every thread of a process, as `/proc` lists them (`proc_tid_children(5)`, Linux 3.5).
fn children(parent: Pid) -> Vec<i32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{parent}/task")) else { return Vec::new() };
    let mut children = Vec::new();
    for thread in threads.flatten() {
        if let Ok(list) = std::fs::read_to_string(thread.path().join("children")) {
            children.extend(list.split_ascii_whitespace().filter_map(|number| number.parse::<i32>().ok()));
        }
    }
    children
}
