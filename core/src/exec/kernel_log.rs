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
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use codex_linux_sandbox::{Attempt, Support, has_capability};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname, recvfrom,
    send, setsockopt, socket, sockopt,
};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::level::Rung;
use super::offload;
use super::options::Helper;
use super::sys;
use crate::config::Explain;
use crate::denial::kernel_log::LoggedCall;
use crate::enforcement::Level;

/// The first Landlock ABI that writes to the log.
const LOGS_SINCE: u8 = 7;
/// To ask how auditing is set up: `capabilities(7)`.
const CAP_AUDIT_CONTROL: u32 = 30;
/// To listen.
const CAP_AUDIT_READ: u32 = 37;

/// `AUDIT_GET` of `linux/audit.h`: a question, and the answer to it.
const STATUS: u16 = 1000;
/// `NLMSG_ERROR` and `NLM_F_REQUEST` of `linux/netlink.h`, and the length of a header.
const ERROR: u16 = 2;
const REQUEST: u16 = 1;
const HEADER: usize = 16;
/// `AUDIT_NLGRP_READLOG` as a bit.
const READ_LOG: u32 = 1;
/// `NET_NS_INIT_INO` of `linux/nsfs.h`, as `/proc` shows it.
const FIRST_NETWORK: &str = "net:[4026531833]";
/// `AUDIT_FAIL_PANIC`: a record that is lost stops the machine.
const PANIC: u32 = 2;

/// What waits in the kernel for this process, in bytes, before records are lost.
const BUFFER: usize = 1024 * 1024;
/// Longer than any record (`MAX_AUDIT_MESSAGE_LENGTH`, and its header).
const LONGEST: usize = 16 * 1024;
/// How many records are read before anything else has its turn.
const AT_A_TIME: usize = 64;
/// How many records are read when all is over: more than wait.
const MOST_AT_THE_END: usize = 100_000;
/// How long an answer is waited for before a command is started. It comes from a thread that the kernel makes for it.
const PATIENCE: Duration = Duration::from_millis(50);
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

/// How auditing is set up: the beginning of `struct audit_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Status {
    enabled: u32,
    failure: u32,
    backlog_limit: u32,
    lost: u32,
    backlog: u32,
}

impl Status {
    fn parse(answer: &[u8]) -> Option<Self> {
        let (words, _) = answer.as_chunks::<4>();
        let mut words = words.iter().map(|word| u32::from_ne_bytes(*word));
        let mut word = |index| words.nth(index);
        // A mask comes before the first two, a process and a rate before the limit.
        Some(Self {
            enabled: word(1)?,
            failure: word(0)?,
            backlog_limit: word(2)?,
            lost: word(0)?,
            backlog: word(0)?,
        })
    }

    /// Whether the log may be filled by a command: one without a limit has no end, and one whose loss stops the machine
    /// would be a weapon.
    const fn can_be_used(self) -> bool {
        self.enabled != 0 && self.failure != PANIC && self.backlog_limit != 0 && !self.is_behind()
    }

    const fn is_behind(self) -> bool {
        self.backlog > self.backlog_limit / 2
    }
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

/// What the kernel says.
struct Message {
    kind: u16,
    text: Vec<u8>,
}

/// Takes one message. Nothing where it is not of the kernel's, or none at all.
fn receive(socket: &OwnedFd) -> Result<Option<Message>, Errno> {
    let mut bytes = [0; LONGEST];
    let (length, sender) = recvfrom::<NetlinkAddr>(socket.as_raw_fd(), &mut bytes)?;
    if length == 0 {
        return Err(Errno::EPIPE);
    }
    // Others with `CAP_NET_ADMIN` can send here.
    if sender.is_some_and(|sender| sender.pid() != 0) {
        return Ok(None);
    }
    let message = bytes.get(..length).and_then(|message| message.split_at_checked(HEADER));
    Ok(message.map(|(header, text)| {
        let [_, _, _, _, low, high, ..] = *header.first_chunk::<HEADER>().unwrap_or(&[0; HEADER]);
        Message { kind: u16::from_ne_bytes([low, high]), text: text.to_vec() }
    }))
}

fn ask(socket: &OwnedFd) -> Result<(), Errno> {
    let mut question = [0; HEADER];
    let length = u32::try_from(HEADER).unwrap_or_default();
    question[..4].copy_from_slice(&length.to_ne_bytes());
    question[4..6].copy_from_slice(&STATUS.to_ne_bytes());
    question[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
    send(socket.as_raw_fd(), &question, MsgFlags::MSG_DONTWAIT).map(drop)
}

/// A socket that hears the log. Nothing where there is nothing to hear, or nobody may.
fn listening() -> Result<Option<(OwnedFd, Status)>, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkAudit)?;
    ask(&socket)?;
    let status = loop {
        let mut answers = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        if poll(&mut answers, PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::ZERO))? == 0 {
            return Err(Errno::ETIMEDOUT);
        }
        match receive(&socket)? {
            Some(Message { kind: STATUS, text }) => break Status::parse(&text),
            // Outside of the first user or PID namespace, nobody may ask.
            Some(Message { kind: ERROR, .. }) => return Ok(None),
            Some(_) | None => {}
        }
    };
    let Some(status) = status.filter(|status| status.can_be_used() && is_in_first_network()) else {
        return Ok(None);
    };
    let own = getsockname::<NetlinkAddr>(socket.as_raw_fd())?;
    // As much as may be had.
    if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &BUFFER)?;
    }
    bind(socket.as_raw_fd(), &NetlinkAddr::new(own.pid(), READ_LOG))?;
    Ok(Some((socket, status)))
}

/// Whether this is the first network namespace: the log is told in no other one. On newer kernels, as 6.18, it has a number
/// of its own; else it is that of the first process, as far as that can be seen.
fn is_in_first_network() -> bool {
    let of = |process| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
    of("self").is_some_and(|own| own == Path::new(FIRST_NETWORK) || Some(own) == of("1"))
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
