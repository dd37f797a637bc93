//! The helper as a child of this process: told what to do with the command, ended, collected.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use codex_linux_sandbox::tree::{children, kill_below, kill_children};
use codex_linux_sandbox::{Ending, ORDER_END, ORDER_INTERRUPT, ORDER_SIGNAL, ORDER_TERMINATE, PidFd};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::io::unix::AsyncFd;

use super::accounting::Root;
use super::error::ExecError;
use super::left_behind::{LeftBehind, MOST_LEFT_BEHIND};
use super::outcome::ResourceUsage;
use super::request::Control;
use super::sys;

/// How long, in milliseconds, a process that was told to end everything below it may take.
const KILL_PATIENCE: u16 = 2500;

/// What a child of ours stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stands {
    /// It stays beside the command, and ends everything below it.
    BesideTheCommand,
    /// It is the first process of a PID namespace: all that is in it ends with it.
    ForANamespace,
    /// It waits for the first process of a PID namespace, which is its child.
    BeforeANamespace,
}

/// The helper, which stays while the command runs: one process, ended and collected when this is dropped.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    process: Arc<PidFd>,
    stands: Stands,
    /// The terminal that is the command's own.
    pub(super) terminal: Option<Arc<AsyncFd<OwnedFd>>>,
    reaped: bool,
}

impl Child {
    /// Readable once the process has ended.
    pub(super) fn pidfd(&self) -> Arc<PidFd> {
        Arc::clone(&self.process)
    }

    /// Where what the command has started is found.
    pub(super) const fn root(&self) -> Root {
        match self.stands {
            Stands::BesideTheCommand | Stands::ForANamespace => Root::Keeper(self.pid),
            Stands::BeforeANamespace => Root::Relay(self.pid),
        }
    }

    /// Does with the command what the caller wants.
    pub(super) fn control(&self, control: Control) {
        let done = match (control, &self.terminal) {
            (Control::Signal(signal), _) => return self.signal(signal),
            (Control::Seen(_), _) => return,
            (Control::Interrupt, None) => return self.order(ORDER_INTERRUPT),
            (Control::Interrupt, Some(terminal)) => {
                sys::signal_foreground(terminal.get_ref().as_fd(), Signal::SIGINT)
            }
            (Control::Continue, None) => return self.signal(libc::SIGCONT),
            (Control::Continue, Some(terminal)) => {
                // A master tells of the group by the numbers of whoever asks.
                nix::unistd::tcgetpgrp(terminal.get_ref())
                    .and_then(|group| nix::sys::signal::killpg(group, Signal::SIGCONT))
            }
            (Control::Resize(size), Some(terminal)) => {
                sys::set_terminal_size(terminal.get_ref().as_fd(), size)
            }
            (Control::Resize(_), None) => Ok(()),
        };
        if let Err(errno) = done {
            tracing::warn!(%errno, ?control, "the command's terminal does not take it");
        }
    }

    /// Sends the command a signal, by way of who stays beside it.
    pub(super) fn signal(&self, signal: i32) {
        self.told(self.process.queue(ORDER_SIGNAL, signal));
    }

    /// Tells who stays beside the command what to do.
    fn order(&self, order: i32) {
        self.told(self.process.send(order));
    }

    fn told(&self, answer: Result<(), Errno>) {
        if let Err(errno) = answer
            && errno != Errno::ESRCH
        {
            tracing::warn!(%errno, pid = %self.pid, "a signal could not be passed on");
        }
    }

    /// Asks the command, and everything that it has started, to end.
    pub(super) fn terminate(&self) {
        self.order(ORDER_TERMINATE);
    }

    /// Ends the command and everything that it has started.
    pub(super) fn kill_tree(&self) {
        match self.stands {
            // It knows best what is below it.
            Stands::BesideTheCommand => self.order(ORDER_END),
            // It ends by itself once the namespace is empty: then nothing is left when it is gone.
            Stands::BeforeANamespace if kill_children(self.pid) => {}
            Stands::BeforeANamespace | Stands::ForANamespace => self.order(libc::SIGKILL),
        }
    }

    /// The same where the process that should have done it does not.
    pub(super) fn kill_hard(&self) {
        if self.stands == Stands::BesideTheCommand {
            // Descendants before the process: once it has ended, they are somebody else's.
            drop(kill_below(self.pid));
        }
        self.order(libc::SIGKILL);
    }

    /// What runs beside the command, or is left of it.
    pub(super) fn others(&self) -> Vec<LeftBehind> {
        let mut waiting = match self.stands {
            Stands::BesideTheCommand | Stands::ForANamespace => children(self.pid),
            Stands::BeforeANamespace => children(self.pid).into_iter().flat_map(children).collect(),
        };
        let mut others = Vec::new();
        while let Some(pid) = waiting.pop() {
            if others.len() == MOST_LEFT_BEHIND {
                break;
            }
            waiting.extend(children(pid));
            others.extend(LeftBehind::of(pid));
        }
        others
    }

    /// Collects the process, which has ended.
    pub(super) fn reap(&mut self) -> Result<(Ending, ResourceUsage), Errno> {
        let collected = sys::reap(self.pid);
        self.reaped = true;
        collected
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        self.kill_tree();
        let (pid, stands) = (self.pid, self.stands);
        // A killed process is gone within microseconds, unless the kernel holds it in a device or on a network mount;
        // nobody who drops a runtime should wait for that.
        let collect = move || {
            if stands == Stands::BesideTheCommand {
                end_hard_if_need_be(pid);
            }
            collect(pid);
        };
        if std::thread::Builder::new().name("codex-reaper".to_owned()).spawn(collect).is_err() {
            tracing::warn!(%pid, "no thread to collect a killed command: it stays a zombie until this process ends");
        }
    }
}

/// Gives a process the time to end everything below it.
fn end_hard_if_need_be(pid: Pid) {
    let Ok(process) = PidFd::open(pid) else { return };
    let mut ended = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    if poll(&mut ended, KILL_PATIENCE) == Ok(0) {
        drop(kill_below(pid));
        if let Err(errno) = process.send(libc::SIGKILL) {
            tracing::warn!(%pid, %errno, "a process that should have ended can't be killed");
        }
    }
}

/// Collects a killed process whose end nobody asks about.
fn collect(pid: Pid) {
    if let Err(errno) = sys::reap(pid) {
        tracing::warn!(%pid, %errno, "a killed command could not be collected");
    }
}

/// Takes charge of a process that was just started.
pub(super) fn child(pid: Pid, stands: Stands) -> Result<Child, ExecError> {
    let process = PidFd::open(pid).map_err(|errno| {
        // Nothing else stands for it yet, so that it has to be ended here.
        if nix::sys::signal::kill(pid, Signal::SIGKILL).is_ok() {
            collect(pid);
        }
        ExecError::Prepare { call: "pidfd_open", errno }
    })?;
    Ok(Child { pid, process: Arc::new(process), stands, terminal: None, reaped: false })
}
