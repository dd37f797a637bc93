//! Everything below a process: finding it, signalling it, ending it.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::sys::PidFd;

/// A process that was found below another one.
#[derive(Debug)]
pub struct Descendant {
    /// Its number at that time.
    pub pid: Pid,
    process: PidFd,
}

impl Descendant {
    /// Readable once the process has ended.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }
}

/// Stops, then kills everything that descends from a process; the process itself is left alone. Returns who was killed, and
/// may not be gone yet.
///
/// Each descendant is stopped before its children are looked up, so that none can start another one behind the back of
/// the search; the search goes on until it finds nobody new. A descendant whose parent has ended belongs to somebody
/// else by then (the nearest subreaper), and is only found below that one. One that is not ours to signal is left.
pub fn kill_below(of: Pid) -> Vec<Descendant> {
    let stopped = each_below(of, |process| process.send(libc::SIGSTOP));
    stopped.into_iter().filter(|descendant| sent(descendant.process.send(libc::SIGKILL))).collect()
}

/// Asks everything that descends from a process to end, and wakes what was stopped, so that it can.
pub fn terminate_below(of: Pid) {
    for descendant in each_below(of, |process| process.send(libc::SIGTERM)) {
        // It may have ended by now, which is what was wanted.
        if let Err(_ended) = descendant.process.send(libc::SIGCONT) {}
    }
}

/// Kills the children of a process of ours. Says whether there were any.
pub fn kill_children(of: Pid) -> bool {
    let mut any = false;
    for pid in children(of) {
        any |= child(of, pid).is_some_and(|process| process.send(libc::SIGKILL).is_ok());
    }
    any
}

/// Signals each descendant as soon as it is found, before its children are looked up.
fn each_below(of: Pid, mut signal: impl FnMut(&PidFd) -> Result<(), Errno>) -> Vec<Descendant> {
    let mut found: Vec<Descendant> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut waiting = vec![of];
    while let Some(parent) = waiting.pop() {
        for pid in children(parent) {
            if !seen.insert(pid) {
                continue;
            }
            let Some(process) = child(parent, pid) else { continue };
            if sent(signal(&process)) {
                found.push(Descendant { pid, process });
                waiting.extend([pid, parent]);
            }
        }
    }
    found
}

/// The process behind a number, if it is a child of this parent.
fn child(parent: Pid, pid: Pid) -> Option<PidFd> {
    // The number may belong to another process by now; a descriptor can't. It is only used once its process was seen to be
    // a child of this parent while the descriptor was held.
    let process = PidFd::open(pid).ok()?;
    children(parent).contains(&pid).then_some(process)
}

/// Whether a signal was sent, or its process had ended before.
const fn sent(answer: Result<(), Errno>) -> bool {
    matches!(answer, Ok(()) | Err(Errno::ESRCH))
}

/// The children of every thread of a process, as `/proc` lists them (`proc_tid_children(5)`, Linux 3.5); those of a kernel
/// without the list are looked for among all processes.
#[must_use]
pub fn children(parent: Pid) -> Vec<Pid> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{parent}/task")) else { return Vec::new() };
    let mut children = Vec::new();
    for thread in threads.flatten() {
        match std::fs::read_to_string(thread.path().join("children")) {
            Ok(list) => {
                let numbers = list.split_ascii_whitespace().filter_map(|number| number.parse().ok());
                children.extend(numbers.map(Pid::from_raw));
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) && !has_lists() => {
                return children_among_all(parent);
            }
            // The thread has ended.
            Err(_) => {}
        }
    }
    children
}

/// Whether this kernel lists children (`CONFIG_PROC_CHILDREN`).
fn has_lists() -> bool {
    Path::new("/proc/self/task/self/children").exists() || Path::new("/proc/thread-self/children").exists()
}

fn children_among_all(parent: Pid) -> Vec<Pid> {
    let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|pid| parent_of(*pid) == Some(parent.as_raw())).map(Pid::from_raw).collect()
}

/// The parent of a process, from `proc_pid_stat(5)`: the fourth field, the second after the name, which may hold anything.
fn parent_of(pid: i32) -> Option<i32> {
    let line = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let after_name = line.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(line.get(after_name + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    use nix::unistd::getpid;

    use super::*;

    #[test]
    fn both_ways_find_the_same_children() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        assert!(children(getpid()).contains(&pid));
        assert!(children_among_all(getpid()).contains(&pid));
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn what_is_below_ends_and_the_process_itself_does_not() {
        // The inner shell says that it is there; the outer one lives until its input ends.
        let line = "sh -c 'echo ready; exec sleep 1000' & read -r word; wait; echo over";
        let mut outer = Command::new("sh")
            .args(["-c", line])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = outer.stdout.take().unwrap();
        let mut ready = [0; 6];
        output.read_exact(&mut ready).unwrap();
        let killed = kill_below(Pid::from_raw(i32::try_from(outer.id()).unwrap()));
        assert_eq!(killed.len(), 1);
        drop(outer.stdin.take());
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "over\n");
        assert!(outer.wait().unwrap().success());
    }
}
