//! Answering for everything that a command leaves behind.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_child_subreaper;
use nix::unistd::{Pid, getpgid, getpid};

use super::sys;
use super::tree::{children, kill_below};

/// For a process that stands for one command: whatever the command starts stays below this process, in a session of its
/// own or not, and is collected and ended by it (`PR_SET_CHILD_SUBREAPER`).
///
/// Children that the process had before, as a shell leaves them to the program that it becomes, are not touched.
#[derive(Debug)]
pub struct Subreaper {
    before: Mutex<BTreeSet<Pid>>,
    /// The command, which is collected by whoever waits for it. 0 where it has not been started.
    command: AtomicI32,
}

impl Subreaper {
    /// Makes this process the one that orphans below it belong to.
    ///
    /// # Errors
    ///
    /// What `prctl(2)` says.
    pub fn begin() -> Result<Arc<Self>, Errno> {
        set_child_subreaper(true)?;
        let before = if sys::has_children() { children(getpid()) } else { Vec::new() };
        Ok(Arc::new(Self { before: Mutex::new(before.into_iter().collect()), command: AtomicI32::new(0) }))
    }

    /// Names the command.
    pub(super) fn started(&self, command: Pid) {
        self.command.store(command.as_raw(), Ordering::Release);
    }

    /// Whether the command left the process group that it was started in, so that a signal of the terminal does not reach
    /// it.
    #[must_use]
    pub fn command_left_the_group(&self) -> bool {
        match self.command.load(Ordering::Acquire) {
            0 => false,
            command => getpgid(Some(Pid::from_raw(command))).is_ok_and(|group| Ok(group) != getpgid(None)),
        }
    }

    /// Collects orphans that have ended, so that whoever asks for their number is told that they are gone. To be called
    /// when SIGCHLD says that there may be one.
    pub fn collect(&self) {
        let command = Pid::from_raw(self.command.load(Ordering::Acquire));
        if sys::next_ended().is_none_or(|ended| ended == command) {
            return;
        }
        for child in children(getpid()).into_iter().filter(|child| *child != command) {
            if sys::collect(child) {
                self.before().remove(&child);
            }
        }
    }

    /// Ends all that is left below this process, but for the command itself.
    pub(super) fn kill(&self) {
        let mut spared = self.before().clone();
        spared.insert(Pid::from_raw(self.command.load(Ordering::Acquire)));
        drop(kill_below(getpid(), &spared));
    }

    /// Ends and collects all that is left, once the command has been collected. Waits up to `patience` for it to be gone,
    /// which takes longer only where the kernel holds a process in a device or on a network mount.
    pub fn end(&self, patience: Duration) {
        let end = Instant::now() + patience;
        // Without any child there is nobody below us.
        while sys::has_children() {
            for child in children(getpid()) {
                if sys::collect(child) {
                    self.before().remove(&child);
                }
            }
            let left = kill_below(getpid(), &self.before());
            for process in &left {
                let remaining = end.saturating_duration_since(Instant::now());
                let timeout = PollTimeout::try_from(remaining).unwrap_or(PollTimeout::MAX);
                let mut ended = [PollFd::new(process.pidfd(), PollFlags::POLLIN)];
                if let Err(errno) = poll(&mut ended, timeout) {
                    tracing::warn!(%errno, "the end of a killed process can't be waited for");
                }
            }
            if left.is_empty() || Instant::now() >= end {
                break;
            }
        }
    }

    fn before(&self) -> std::sync::MutexGuard<'_, BTreeSet<Pid>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
