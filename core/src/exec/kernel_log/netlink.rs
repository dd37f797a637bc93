//! The kernel's end of the audit log, by `netlink(7)`: how auditing is set up, and the records.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname, recvfrom,
    send, setsockopt, socket, sockopt,
};

/// `AUDIT_GET` of `linux/audit.h`: a question, and the answer to it.
pub(super) const STATUS: u16 = 1000;
/// `NLMSG_ERROR` and `NLM_F_REQUEST` of `linux/netlink.h`, and the length of a header.
const ERROR: u16 = 2;
const REQUEST: u16 = 1;
pub(super) const HEADER: usize = 16;
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
/// How long an answer is waited for before a command is started. It comes from a thread that the kernel makes for it.
const PATIENCE: Duration = Duration::from_millis(50);
/// For how long a log that could not be used is not asked about again: each time takes a thread of the kernel's, and a server
/// would ask for each of its calls.
const KEPT: Duration = Duration::from_secs(1);

/// How auditing is set up: the beginning of `struct audit_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    enabled: u32,
    failure: u32,
    backlog_limit: u32,
    pub(super) lost: u32,
    pub(super) backlog: u32,
}

impl Status {
    pub(super) fn parse(answer: &[u8]) -> Option<Self> {
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
    pub(super) const fn can_be_used(self) -> bool {
        self.enabled != 0 && self.failure != PANIC && self.backlog_limit != 0 && !self.is_behind()
    }

    pub(super) const fn is_behind(self) -> bool {
        self.backlog > self.backlog_limit / 2
    }
}

/// What the kernel says.
pub(super) struct Message {
    pub(super) kind: u16,
    pub(super) text: Vec<u8>,
}

/// Takes one message. Nothing where it is not of the kernel's, or none at all.
pub(super) fn receive(socket: &OwnedFd) -> Result<Option<Message>, Errno> {
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

pub(super) fn ask(socket: &OwnedFd) -> Result<(), Errno> {
    let mut question = [0; HEADER];
    let length = u32::try_from(HEADER).unwrap_or_default();
    question[..4].copy_from_slice(&length.to_ne_bytes());
    question[4..6].copy_from_slice(&STATUS.to_ne_bytes());
    question[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
    send(socket.as_raw_fd(), &question, MsgFlags::MSG_DONTWAIT).map(drop)
}

/// A socket that hears the log. Nothing where there is nothing to hear, or nobody may, or that was so a moment ago.
pub(super) fn listening() -> Result<Option<(OwnedFd, Status)>, Errno> {
    static NOTHING_TO_HEAR: Mutex<Option<Instant>> = Mutex::new(None);

    let noted = || NOTHING_TO_HEAR.lock().unwrap_or_else(PoisonError::into_inner);
    if noted().is_some_and(|then| then.elapsed() < KEPT) {
        return Ok(None);
    }
    let socket = try_to_listen();
    *noted() = (!matches!(socket, Ok(Some(_)))).then(Instant::now);
    socket
}

fn try_to_listen() -> Result<Option<(OwnedFd, Status)>, Errno> {
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
