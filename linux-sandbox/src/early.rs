//! The first process of new namespaces, begun before anybody knows what it will run.
//!
//! Making namespaces takes longer than reading a configuration and working out what it means. Begun first, both go on at
//! the same time. The process is a fork of this one, and learns the rest over the pipe by which it was let in.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::{Pid, pipe2};

use crate::enforce::namespaces::{ForkedInit, abandon, fork_init, tell};
use crate::error::{Failure, SetupError, Step};
use crate::handoff::EnvironmentBlock;
use crate::keeper::CallersSignals;
use crate::orders;
use crate::plan::{Footing, Invocation};

/// The process, waiting for its orders. Dropped, it ends without having run anything.
#[derive(Debug)]
pub struct EarlyInit {
    footing: Footing,
    /// Nothing once it has its orders.
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    pid: Pid,
    orders: OwnedFd,
    status: OwnedFd,
}

impl EarlyInit {
    /// Makes the namespaces and forks the first process in them. To be called while this process has one thread.
    ///
    /// # Errors
    ///
    /// [`SetupError`] where the kernel, or what runs us, refuses the namespaces.
    pub fn begin(footing: Footing, signals: CallersSignals) -> Result<Self, SetupError> {
        let (status, status_end) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| failed("pipe2", errno))?;
        match fork_init(footing)? {
            ForkedInit::Inside(gate) => {
                drop(status);
                crate::run::run_early(footing, gate, signals, status_end)
            }
            ForkedInit::Outside(pid, orders) => {
                Ok(Self { footing, waiting: Some(Waiting { pid, orders, status }) })
            }
        }
    }

    /// Its number, by which it can be put into a cgroup before it has its orders: it has started nothing yet.
    #[must_use]
    pub fn pid(&self) -> Option<Pid> {
        self.waiting.as_ref().map(|waiting| waiting.pid)
    }

    /// Whether the namespaces are what a plan takes.
    #[must_use]
    pub fn fits(&self, invocation: &Invocation) -> bool {
        invocation.plan.uses_namespaces() && self.footing == Footing::of(&invocation.plan)
    }

    /// Tells it what to run. Yields its number, the pipe over which it reports, and the socket by which it has its orders: there
    /// comes what it [gives away](crate::Proxy::OverOrders).
    ///
    /// # Errors
    ///
    /// [`SetupError`] where the orders can't be given. Nothing runs then. That it failed by itself is in its report.
    pub fn order(
        mut self,
        invocation: &Invocation,
        environment: &EnvironmentBlock,
    ) -> Result<(Pid, OwnedFd, OwnedFd), SetupError> {
        let Some(waiting) = &self.waiting else { return Err(failed("write", Errno::ESRCH)) };
        // A descriptor of ours is none of its own.
        if invocation.cgroup.is_some() {
            let hint = "a process that waits for its orders is put into a cgroup by its number";
            return Err(SetupError::condition(Step::Cgroup, "write", hint));
        }
        let message = orders::encode(invocation, environment);
        tell(&waiting.orders, &message).map_err(|errno| failed("send", errno))?;
        match shutdown(waiting.orders.as_raw_fd(), Shutdown::Write) {
            // It has ended: that is in its report.
            Ok(()) | Err(Errno::ENOTCONN) => {}
            Err(errno) => return Err(failed("shutdown", errno)),
        }
        match self.waiting.take() {
            Some(Waiting { pid, status, orders }) => Ok((pid, status, orders)),
            None => Err(failed("write", Errno::ESRCH)),
        }
    }
}

impl Drop for EarlyInit {
    fn drop(&mut self) {
        if let Some(Waiting { pid, .. }) = &self.waiting {
            abandon(*pid);
        }
    }
}

/// Reads the orders, on the other side.
pub(crate) fn receive(pipe: &mut File) -> Result<(Invocation, EnvironmentBlock), Failure> {
    let mut length = [0; orders::HEAD];
    pipe.read_exact(&mut length).map_err(|_closed| {
        SetupError::condition(
            Step::ParentDeath,
            "read",
            "the process outside has ended, or has no use for this one",
        )
    })?;
    let mut message = Vec::new();
    pipe.read_to_end(&mut message).map_err(|error| failed("read", errno(&error)))?;
    orders::decode(length, &message)
}

fn failed(call: &'static str, errno: Errno) -> SetupError {
    SetupError::call(Step::Namespaces, call, errno)
}

fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
