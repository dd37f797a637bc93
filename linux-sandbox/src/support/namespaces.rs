//! Whether namespaces can be had here. Only trying tells: a dozen settings, modules and filters have a say in it.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getegid, geteuid, pipe2, read, write};

use super::sys;
use crate::error::{SetupError, Step};

/// How long the attempt may take. It takes a few milliseconds where nothing is wrong.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long to wait for a process that was killed.
const PATIENCE_FOR_THE_DEAD: Duration = Duration::from_millis(50);

/// The parts of the attempt, in order. A failed one is told by its number.
const PARTS: [(&str, Option<&str>); 7] = [
    ("unshare", None),
    ("write", Some("/proc/self/setgroups")),
    ("write", Some("/proc/self/uid_map")),
    ("write", Some("/proc/self/gid_map")),
    ("mount_setattr", Some("/")),
    ("fork", None),
    ("mount", Some("/proc")),
];

/// What a part came to, as it is written to the pipe: its number and its errno; after the last part, one more and 0.
type Message = [u8; 8];

fn message(part: usize, errno: i32) -> Message {
    let mut message = Message::default();
    let (number, code) = message.split_at_mut(4);
    number.copy_from_slice(&u32::try_from(part).unwrap_or(u32::MAX).to_ne_bytes());
    code.copy_from_slice(&errno.to_ne_bytes());
    message
}

/// Tries to enter new user, mount, pid, ipc, uts, cgroup and net namespaces, to make every mount read-only in there and
/// to mount a new `/proc`, in a process of its own that ends with it. Nothing is left behind.
///
/// # Errors
///
/// The call that was refused. `ETIME` where there was no answer within 200 ms; no errno where the process that tried was
/// killed.
pub fn probe_namespaces() -> Result<(), SetupError> {
    let failed = |call, errno| SetupError::call(Step::Privileges, call, errno);
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| failed("pipe2", errno))?;
    let maps = [geteuid().as_raw(), getegid().as_raw()].map(|id| format!("{id} {id} 1"));
    let child = sys::fork_for(|| {
        if let Err(part) = attempt(&maps, writer.as_fd()) {
            tell(writer.as_fd(), &part);
        }
    })
    .map_err(|errno| failed("fork", errno))?;
    drop(writer);
    let answer = receive(&reader, PATIENCE);
    end(child, &reader);
    match answer {
        Err(errno) => Err(failed("unshare", errno)),
        Ok(None) => Err(SetupError::condition(
            Step::Privileges,
            "unshare",
            "the process that tried was killed, as a seccomp filter does",
        )),
        Ok(Some((part, errno))) => match PARTS.get(part) {
            None => Ok(()),
            Some((call, target)) => {
                let error = failed(call, Errno::from_raw(errno));
                Err(target.map_or_else(|| error.clone(), |target| error.clone().on(target)))
            }
        },
    }
}

/// The parts, in a process that is free to change: up to the fork in this one, the rest in a process that is the first
/// of its pid namespace. That one writes its answer itself.
fn attempt(maps: &[String; 2], answer: BorrowedFd<'_>) -> Result<(), Message> {
    let part =
        |number: usize, result: Result<(), Errno>| result.map_err(|errno| message(number, errno as i32));
    part(0, set_pdeathsig(Signal::SIGKILL))?;
    let all = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP
        | CloneFlags::CLONE_NEWNET;
    part(0, unshare(all))?;
    part(1, put(c"/proc/self/setgroups", b"deny"))?;
    part(2, put(c"/proc/self/uid_map", maps[0].as_bytes()))?;
    part(3, put(c"/proc/self/gid_map", maps[1].as_bytes()))?;
    part(4, sys::close_mounts())?;
    let first = sys::fork_for(|| {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let mounted = set_pdeathsig(Signal::SIGKILL)
            .and_then(|()| mount(Some(c"proc"), c"/proc", Some(c"proc"), flags, None::<&CStr>));
        let told = mounted.map_or_else(|errno| message(6, errno as i32), |()| message(PARTS.len(), 0));
        tell(answer, &told);
    });
    let first = first.map_err(|errno| message(5, errno as i32))?;
    while waitpid(first, None) == Err(Errno::EINTR) {}
    Ok(())
}

/// Writes an answer. Where nobody reads it, nobody waits for it either.
fn tell(answer: BorrowedFd<'_>, message: &Message) {
    if let Err(_unheard) = write(answer, message) {}
}

fn put(path: &CStr, content: &[u8]) -> Result<(), Errno> {
    let file = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    write(&file, content).map(drop)
}

/// The number and the errno of the part that ended the attempt; `None` where the pipe was closed without an answer.
fn receive(pipe: &OwnedFd, patience: Duration) -> Result<Option<(usize, i32)>, Errno> {
    wait(pipe, PollFlags::POLLIN, patience)?;
    let mut bytes = Message::default();
    if read(pipe, &mut bytes)? < bytes.len() {
        return Ok(None);
    }
    let [a, b, c, d, e, f, g, h] = bytes;
    let part = usize::try_from(u32::from_ne_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    Ok(Some((part, i32::from_ne_bytes([e, f, g, h]))))
}

fn wait(pipe: &OwnedFd, events: PollFlags, patience: Duration) -> Result<(), Errno> {
    let until = Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(pipe.as_fd(), events)], timeout) {
            Ok(0) => return Err(Errno::ETIME),
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// Waits for the processes of the attempt to be gone, and ends them where they are not. One that the kernel does not let
/// go of is left to it.
fn end(child: Pid, pipe: &OwnedFd) {
    // The pipe is closed when the last of them has ended.
    let gone = || wait(pipe, PollFlags::empty(), PATIENCE_FOR_THE_DEAD).is_ok();
    // Not waited for yet, the number is no stranger's.
    if gone() || (kill(child, Signal::SIGKILL).is_ok() && gone()) {
        while waitpid(child, None) == Err(Errno::EINTR) {}
    }
}

#[cfg(test)]
mod tests {
    use super::{Errno, PATIENCE, message, pipe2, probe_namespaces, receive, write};
    use std::time::Duration;

    #[test]
    fn an_answer_is_read_back() {
        let (reader, writer) = pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        write(&writer, &message(4, Errno::EPERM as i32)).unwrap();
        assert_eq!(receive(&reader, PATIENCE), Ok(Some((4, Errno::EPERM as i32))));
        assert_eq!(receive(&reader, Duration::ZERO), Err(Errno::ETIME));
        drop(writer);
        assert_eq!(receive(&reader, PATIENCE), Ok(None));
    }

    #[test]
    fn the_attempt_ends_and_leaves_no_process() {
        // Its answer is the machine's; that there is one, and that nothing is left to wait for, is ours.
        let outcome = probe_namespaces();
        assert!(outcome.as_ref().is_err_and(|error| error.errno.is_some()) || outcome.is_ok(), "{outcome:?}");
    }
}
