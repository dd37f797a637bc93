//! Ending everything below a process.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::sys;

/// A process that was found below another one.
pub(super) struct Descendant {
    pub(super) pid: Pid,
    pidfd: OwnedFd,
}

impl Descendant {
    /// Readable once the process has ended.
    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Stops, then kills everything that descends from a process; the process itself is left alone, and so are those that
/// are spared, with all below them.
///
/// Each descendant is stopped before its children are looked up, so that none can start another one behind the back of
/// the search; the search goes on until it finds nobody new. A descendant whose parent has ended belongs to somebody
/// else by then (the nearest subreaper), and is only found below that one.
pub(super) fn kill_below(of: Pid, spared: &BTreeSet<Pid>) -> Vec<Descendant> {
    let mut stopped: Vec<Descendant> = Vec::new();
    let mut seen = spared.clone();
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
        match sys::pidfd_send_signal(descendant.pidfd(), Signal::SIGKILL) {
            // It ended before we came: what was wanted.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => tracing::warn!(%errno, pid = %descendant.pid, "a descendant could not be killed"),
        }
    }
    stopped
}

/// Kills the children of a process of ours. Says whether there were any.
pub(super) fn kill_children(of: Pid) -> bool {
    let mut any = false;
    for pid in children(of) {
        let Ok(pidfd) = sys::pidfd_open(pid) else { continue };
        // As above: seen to be its child while the descriptor was held.
        if children(of).contains(&pid) {
            any |= sys::pidfd_send_signal(pidfd.as_fd(), Signal::SIGKILL).is_ok();
        }
    }
    any
}

/// The children of every thread of a process, as `/proc` lists them (`proc_tid_children(5)`, Linux 3.5).
pub(super) fn children(parent: Pid) -> Vec<Pid> {
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
