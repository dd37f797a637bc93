//! Ending a process and everything below it.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};

use super::sys;

/// A process that was found below another one.
struct Descendant {
    pid: Pid,
    pidfd: OwnedFd,
}

/// Ends everything that descends from the calling process, and collects what has become its child.
///
/// For a program that stands for one command and is a child subreaper (`PR_SET_CHILD_SUBREAPER`), so that whatever the
/// command left behind, in a session of its own or not, is below it. Where processes were left, waits up to `patience`
/// for them to be gone, which takes longer only where the kernel holds one in a device or on a network mount.
///
/// Returns how many were killed.
pub fn end_descendants(patience: Duration) -> usize {
    let end = Instant::now() + patience;
    let mut killed = BTreeSet::new();
    loop {
        // Collects what has ended already; without any child there is nobody below us.
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::EINTR) => {}
                Ok(WaitStatus::StillAlive) => break,
                Ok(_) => {}
                Err(_no_child) => return killed.len(),
            }
        }
        let descendants = kill_below(getpid());
        killed.extend(descendants.iter().map(|descendant| descendant.pid));
        for descendant in &descendants {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut ended = [PollFd::new(descendant.pidfd.as_fd(), PollFlags::POLLIN)];
            if let Err(errno) = poll(&mut ended, timeout) {
                tracing::warn!(%errno, "the end of a killed process can't be waited for");
            }
        }
        if Instant::now() >= end {
            return killed.len();
        }
    }
}

/// Stops, then kills everything that descends from a process, the process itself left alone.
pub(super) fn kill_descendants(of: Pid) {
    drop(kill_below(of));
}

/// Each descendant is stopped before its children are looked up, so that none can start another one behind the back of
/// the search; the search goes on until it finds nobody new. A descendant whose parent has ended belongs to somebody
/// else by then (the nearest subreaper), and is only found below that one.
fn kill_below(of: Pid) -> Vec<Descendant> {
    let mut stopped: Vec<Descendant> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut waiting = vec![of];
    while let Some(parent) = waiting.pop() {
        for pid in children(parent) {
            if !seen.insert(pid) {
                continue;
            }
            // The number may belong to another process by now; a descriptor can't. It is only used once its process
            // was seen to be a child of this parent while the descriptor was held.
            let Ok(pidfd) = sys::pidfd_open(pid) else { continue };
            if !children(parent).contains(&pid) {
                continue;
            }
            if sys::pidfd_send_signal(pidfd.as_fd(), Signal::SIGSTOP).is_ok() {
                stopped.push(Descendant { pid, pidfd });
                waiting.extend([pid, parent]);
            }
        }
    }
    for descendant in &stopped {
        match sys::pidfd_send_signal(descendant.pidfd.as_fd(), Signal::SIGKILL) {
            // It ended before we came: what was wanted.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => tracing::warn!(%errno, pid = %descendant.pid, "a descendant could not be killed"),
        }
    }
    stopped
}

/// The children of every thread of a process, as `/proc` lists them (`proc_tid_children(5)`, Linux 3.5).
fn children(parent: Pid) -> Vec<Pid> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{parent}/task")) else { return Vec::new() };
    let mut children = Vec::new();
    for thread in threads.flatten() {
        if let Ok(list) = std::fs::read_to_string(thread.path().join("children")) {
            let numbers = list.split_ascii_whitespace().filter_map(|number| number.parse().ok());
            children.extend(numbers.map(Pid::from_raw));
        }
    }
    children
}
