//! The first process of the next call's namespaces, kept ready between calls.
//!
//! ```text
//! a call ends ─▶ replenish (on the thread that lasts) ─▶ one process waits ─▶ take ─▶ the next call
//! ```
//!
//! There is one for each sandbox, never more. It is used only while it is what a fresh one would be: with nothing mounted or
//! unmounted since it was made, for the same user. See [`StandbyOrders`] for the process itself.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use codex_linux_sandbox::{EnvironmentBlock, Footing, Invocation, StandbyOrders};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, getegid, geteuid, getpid};

use super::child::Child;
use super::error::ExecError;
use super::options::Helper;
use super::spawn;
use super::spawner;

/// The descriptor at which the helper finds its end of the socket.
const ORDERS: i32 = 3;

/// At most one process that waits for a call.
#[derive(Debug, Default)]
pub(super) struct Standby(Mutex<Slot>);

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Empty,
    /// Somebody is at it.
    Making,
    Ready(Box<Ready>),
}

/// The process. Dropped, it ends without having run anything.
#[derive(Debug)]
struct Ready {
    orders: StandbyOrders,
    child: Child,
    footing: Footing,
    user: (Uid, Gid),
    /// Tells of mounts and unmounts since it was opened.
    mounts: File,
}

impl Standby {
    /// Begins to make a process ready, where there is none. Waits for nothing.
    pub(super) fn replenish(self: &Arc<Self>, helper: &Helper, footing: Footing) {
        if !StandbyOrders::are_for(footing) {
            return;
        }
        let mut slot = self.slot();
        if !matches!(*slot, Slot::Empty) {
            return;
        }
        let (standby, helper) = (Arc::clone(self), helper.clone());
        let begun = spawner::in_background(move || {
            let made = Ready::make(&helper, footing)
                .inspect_err(|error| tracing::warn!(%error, "nothing could be made ready for the next call"));
            *standby.slot() = made.map_or(Slot::Empty, |ready| Slot::Ready(Box::new(ready)));
        });
        if begun.is_ok() {
            *slot = Slot::Making;
        }
    }

    /// Starts a call in the process that waits, with these standard streams, and yields the socket by which it has its orders. Nothing where there is none that is still what a
    /// fresh one would be, or it can't be told what to run: then nothing has run.
    pub(super) fn start(
        &self,
        footing: Footing,
        invocation: &Invocation,
        environment: &EnvironmentBlock,
        streams: &[OwnedFd; 3],
        status: &OwnedFd,
    ) -> Option<(Child, OwnedFd)> {
        let Ready { orders, child, .. } = *self.take(footing)?;
        let streams = streams.each_ref().map(AsFd::as_fd);
        // An error: it has waited long enough, or something was mounted.
        orders
            .give(invocation, environment, streams, status.as_fd())
            .inspect_err(|errno| tracing::debug!(%errno, "what was ready for this call is no longer there"))
            .ok()
            .map(|orders| (child, orders))
    }

    fn take(&self, footing: Footing) -> Option<Box<Ready>> {
        let mut slot = self.slot();
        match std::mem::take(&mut *slot) {
            Slot::Ready(mut ready) => match ready.orders.are_understood() {
                Ok(true) if ready.is_fresh(footing) => Some(ready),
                // It is still on its way.
                Ok(false) if ready.is_fresh(footing) => {
                    *slot = Slot::Ready(ready);
                    None
                }
                Ok(_) | Err(_) => None,
            },
            other => {
                *slot = other;
                None
            }
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ready {
    fn make(helper: &Helper, footing: Footing) -> Result<Self, ExecError> {
        // Of this thread, which the process is started by: others may live among other mounts.
        let opened = open("/proc/thread-self/mountinfo", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
        let mounts = File::from(opened.map_err(spawn::preparing("open /proc/thread-self/mountinfo"))?);
        let (orders, helpers) = StandbyOrders::pair().map_err(spawn::preparing("socketpair"))?;
        let arguments = StandbyOrders::arguments(footing, ORDERS, getpid().as_raw());
        let child = spawn::stand_by(helper, helpers, ORDERS, arguments)?;
        Ok(Self { orders, child, footing, user: (geteuid(), getegid()), mounts })
    }

    /// Whether a process that is made now would be the same.
    fn is_fresh(&self, footing: Footing) -> bool {
        let mut mounts = [PollFd::new(self.mounts.as_fd(), PollFlags::POLLPRI)];
        self.footing == footing
            && self.user == (geteuid(), getegid())
            && poll(&mut mounts, PollTimeout::ZERO) == Ok::<_, Errno>(0)
    }
}
