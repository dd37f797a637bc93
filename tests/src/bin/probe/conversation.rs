//! What two ends of a socket pair do with each other, all of which works without reaching anybody else.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};

use nix::cmsg_space;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, Shutdown, SockFlag, SockType, UnixAddr,
    getpeername, getsockname, getsockopt, recv, recvfrom, recvmsg, send, sendmsg, setsockopt, shutdown,
    socketpair, sockopt,
};
use nix::unistd::{read, write};

use crate::{Failure, Outcome};

/// Makes a pair of the type named and lets its ends talk in every way that programs use.
pub(crate) fn between_ends(kind: &str) -> Outcome {
    let (kind, flags) = match kind {
        "stream" => (SockType::Stream, SockFlag::empty()),
        "stream-cloexec-nonblock" => (SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK),
        "seqpacket" => (SockType::SeqPacket, SockFlag::SOCK_CLOEXEC),
        "datagram" => (SockType::Datagram, SockFlag::SOCK_CLOEXEC),
        "raw" => (SockType::Raw, SockFlag::SOCK_CLOEXEC),
        other => return Err(Failure::Usage(format!("no pair is called {other}"))),
    };
    let (one, other) = socketpair(AddressFamily::Unix, kind, None, flags)?;
    let (near, far) = (one.as_raw_fd(), other.as_raw_fd());
    let mut buffer = [0; 8];

    heard(write(&one, b"1")?, 1)?;
    heard(read(&other, &mut buffer)?, 1)?;
    heard(send(far, b"22", MsgFlags::empty())?, 2)?;
    heard(recv(near, &mut buffer, MsgFlags::empty())?, 2)?;
    heard(send(near, b"333", MsgFlags::MSG_NOSIGNAL)?, 3)?;
    heard(recvfrom::<UnixAddr>(far, &mut buffer)?.0, 3)?;
    pass_descriptor(near, far)?;

    getsockname::<UnixAddr>(near)?;
    getpeername::<UnixAddr>(near)?;
    getsockopt(&one.as_fd(), sockopt::PeerCredentials)?;
    getsockopt(&one.as_fd(), sockopt::SockType)?;
    setsockopt(&one.as_fd(), sockopt::SndBuf, &65536)?;
    shutdown(near, Shutdown::Both)?;
    Ok(String::new())
}

/// Sends a pipe's end across the pair, and uses it there.
fn pass_descriptor(near: RawFd, far: RawFd) -> Result<(), Failure> {
    let (reader, writer) = nix::unistd::pipe()?;
    let passed = [writer.as_raw_fd()];
    sendmsg::<UnixAddr>(
        near,
        &[IoSlice::new(b"x")],
        &[ControlMessage::ScmRights(&passed)],
        MsgFlags::empty(),
        None,
    )?;
    let mut byte = [0; 1];
    let mut slices = [IoSliceMut::new(&mut byte)];
    let mut space = cmsg_space!(RawFd);
    let message = recvmsg::<UnixAddr>(far, &mut slices, Some(&mut space), MsgFlags::empty())?;
    let received = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
        _ => None,
    });
    let received = received.ok_or_else(|| "no descriptor came across".to_owned())?;
    let held = std::fs::OpenOptions::new().write(true).open(format!("/proc/self/fd/{received}"))?;
    write(&held, b"y")?;
    heard(read(&reader, &mut [0; 8])?, 1)
}

fn heard(count: usize, expected: usize) -> Result<(), Failure> {
    if count == expected {
        Ok(())
    } else {
        Err(Failure::Usage(format!("{count} bytes instead of {expected}")))
    }
}
