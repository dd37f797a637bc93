//! Listening to the kernel's audit log while a call runs, for what Landlock refuses to it.
//!
//! At level landlock, where auditing is on and this process may read the log. Nothing that is read decides about a command,
//! and nobody waits for it but who explains a failure.
//!
//! The kernel writes that somebody begins to listen, and that they leave. Who causes a record waits where the kernel's
//! queue is full, for a minute by default (`audit_backlog_wait_time`): so nobody begins while it is half full, and who
//! leaves does so when it is not.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use codex_linux_sandbox::{Attempt, Support, has_capability};
use nix::errno::Errno;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::level::Rung;
use super::offload;
use super::options::Helper;
use super::sys;
use crate::config::Explain;
use crate::denial::kernel_log::LoggedCall;
use crate::enforcement::Level;
use netlink::{Message, STATUS, Status, ask, listening, receive};

mod netlink;

/// The first Landlock ABI that writes to the log.
const LOGS_SINCE: u8 = 7;
/// To ask how auditing is set up: `capabilities(7)`.
const CAP_AUDIT_CONTROL: u32 = 30;
/// To listen.
const CAP_AUDIT_READ: u32 = 37;

/// How many records are read before anything else has its turn.
const AT_A_TIME: usize = 64;
/// How many records are read when all is over: more than wait.
const MOST_AT_THE_END: usize = 100_000;
/// How long the answer, and the kernel's queue, are waited for when a call has ended.
const PATIENCE_AT_THE_END: Duration = Duration::from_millis(500);
/// How long it takes the kernel to hand on the record that it has just taken out of its queue.
const ON_ITS_WAY: Duration = Duration::from_millis(1);

/// The log, and what it tells of one call.
#[derive(Debug)]
pub(super) struct KernelLog {
    socket: AsyncFd<OwnedFd>,
    call: LoggedCall,
    /// When the call began: since 1970, and by the clock of this process.
    began: (Duration, Instant),
    /// The process that took on the call's domain, once it is known.
    process: Arc<OnceLock<i32>>,
    /// How many records the kernel had lost when the call began.
    lost: u32,
    /// How long is waited when the call has ended.
    patience: Duration,
}

impl KernelLog {
    /// Begins to listen, where there is something to be heard: at level landlock, with the capabilities for it, in the
    /// first namespaces (the log has the numbers of these), and where auditing is on. For a call that started at this time.
    pub(super) fn begin(explain: Explain, rung: &Rung, helper: &Helper, started: Instant) -> Option<Self> {
        let abi = || Support::probe().landlock_abi(rung.plan.landlock_abi_at_most);
        if explain == Explain::Never
            || rung.expected.level != Level::Landlock
            || ![CAP_AUDIT_CONTROL, CAP_AUDIT_READ].into_iter().all(has_capability)
            || abi() < LOGS_SINCE
        {
            return None;
        }
        let began = SystemTime::now().checked_sub(started.elapsed())?;
        let began = began.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let socket = listening()
            .inspect_err(|errno| tracing::debug!(%errno, "the kernel's audit log can't be read"))
            .ok()
            .flatten()?;
        let (socket, Status { lost, .. }) = socket;
        let program = confining(helper)?;
        Self::over(socket, program, (began, started), lost)
            .inspect_err(|error| tracing::warn!(%error, "the kernel's audit log can't be waited for"))
            .ok()
    }

    /// The same over a socket at which somebody writes records as the kernel does.
    fn over(
        socket: OwnedFd,
        program: OsString,
        began: (Duration, Instant),
        lost: u32,
    ) -> std::io::Result<Self> {
        let socket = sys::watch(socket)?;
        Ok(Self {
            socket,
            call: LoggedCall::new(program, began.0),
            began,
            process: Arc::default(),
            lost,
            patience: PATIENCE_AT_THE_END,
        })
    }

    /// Learns from somebody else which process has taken on the domain of the call.
    pub(super) fn follow(&mut self, process: Arc<OnceLock<i32>>) {
        self.process = process;
    }

    /// Listens for as long as the future is polled.
    pub(super) async fn listen(&mut self) -> Infallible {
        let Self { socket, call, process, .. } = self;
        loop {
            let Ok(mut ready) = socket.readable().await else { return std::future::pending().await };
            match read(socket.get_ref(), call, process, AT_A_TIME).0 {
                Left::Nothing => ready.clear_ready(),
                Left::More => {}
                Left::Broken => return std::future::pending().await,
            }
            drop(ready);
            // A flood is read when nothing else is to be done.
            tokio::task::yield_now().await;
        }
    }

    /// Leaves, and tells what was refused to a call whose process has ended, and how often more. Where it is wanted, what
    /// was refused before then is waited for.
    pub(super) async fn finish(mut self, ended: Instant, wanted: bool) -> (Vec<Attempt>, u64) {
        let until = Instant::now() + self.patience;
        let status = loop {
            let status = self.ask().await;
            let is_empty = status.is_none_or(|status| status.backlog == 0);
            if is_empty
                || (!wanted && status.is_some_and(|status| !status.is_behind()))
                || Instant::now() >= until
            {
                break status;
            }
            tokio::time::sleep(ON_ITS_WAY).await;
        };
        if wanted {
            tokio::time::sleep(ON_ITS_WAY).await;
            let is_whole = self.read_all() && status.is_some_and(|status| status.backlog == 0);
            let lost = status.is_none_or(|status| status.lost != self.lost);
            if lost || !is_whole {
                self.call.gap();
            }
            if lost {
                self.wait_for_the_count(until).await;
            }
        }
        let Self { socket, call, began: (since_1970, began), .. } = self;
        let socket = socket.into_inner();
        if status.is_none_or(Status::is_behind) {
            // That somebody leaves is written as well, and there is no room. It is not this call that waits for some.
            if let Err(leave) = offload::begin(move || drop(socket)) {
                leave();
            }
        }
        call.finish(Some(since_1970 + ended.saturating_duration_since(began)))
    }

    /// Reads what there is. Says whether that is all.
    fn read_all(&mut self) -> bool {
        let Self { socket, call, process, .. } = self;
        read(socket.get_ref(), call, process, MOST_AT_THE_END).0 == Left::Nothing
    }

    /// Waits until the kernel has said how often the call was refused something. It does when nobody is left who could be.
    async fn wait_for_the_count(&mut self, until: Instant) {
        while self.call.waits_for_the_count() && Instant::now() < until {
            tokio::time::sleep(ON_ITS_WAY).await;
            if !self.read_all() {
                break;
            }
        }
    }

    /// Asks how auditing is set up, and reads on meanwhile. Nothing where nobody answers in time.
    async fn ask(&mut self) -> Option<Status> {
        let Self { socket, call, process, patience, .. } = self;
        ask(socket.get_ref()).ok()?;
        let answer = async {
            loop {
                let mut ready = socket.readable().await.ok()?;
                let (left, answer) = read(socket.get_ref(), call, process, AT_A_TIME);
                match left {
                    _ if answer.is_some() => return answer,
                    Left::Nothing => ready.clear_ready(),
                    Left::More => {}
                    Left::Broken => return None,
                }
                drop(ready);
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(*patience, answer).await.ok().flatten()
    }
}

/// What is left at a socket after some of it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    More,
    /// It can't be read any more.
    Broken,
}

/// Takes records that wait, and an answer among them.
fn read(
    socket: &OwnedFd,
    call: &mut LoggedCall,
    process: &OnceLock<i32>,
    at_most: usize,
) -> (Left, Option<Status>) {
    let mut answer = None;
    if let Some(process) = process.get() {
        call.belongs_to(*process);
    }
    for _ in 0..at_most {
        match receive(socket) {
            Ok(Some(Message { kind: STATUS, text })) => answer = Status::parse(&text).or(answer),
            Ok(Some(Message { kind, text })) => call.take(kind, &text),
            Ok(None) | Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return (Left::Nothing, answer),
            // There was no room, and there is again.
            Err(Errno::ENOBUFS) => call.gap(),
            Err(errno) => {
                tracing::warn!(%errno, "the kernel's audit log can't be read on");
                return (Left::Broken, answer);
            }
        }
    }
    (Left::More, answer)
}

/// The program that confines itself, as the kernel names it.
fn confining(helper: &Helper) -> Option<OsString> {
    let path = match helper {
        Helper::ThisProgram => std::fs::read_link(Path::new("/proc/self/exe")),
        Helper::Program(path) => path.canonicalize(),
    };
    path.ok().map(Into::into)
}

#[cfg(test)]
mod tests;
