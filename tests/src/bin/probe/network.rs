//! Acts on sockets: each way to reach somebody, and what processes say to each other within.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, sendto, socket, socketpair,
};

use crate::{Failure, Outcome, conversation};

/// What a listener gets to hear.
const GREETING: &[u8] = b"hello from a probe\n";

pub(crate) fn act(name: &str, arguments: &[OsString]) -> Option<Outcome> {
    let target = arguments.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    Some(match name {
        "tcp" => tcp(&target),
        "udp" => udp(&target),
        "unix-stream" => unix_stream(&target),
        "unix-datagram" => unix_datagram(&target),
        "unix-seqpacket" => unix_seqpacket(&target),
        "abstract-stream" => abstract_stream(&target),
        "abstract-datagram" => abstract_datagram(&target),
        "pair" => conversation::between_ends(&target),
        "pair-to-path" => pair_to_path(&target),
        "pair-to-listener" => pair_to_listener(&target),
        "loopback" => loopback(&target),
        _ => return None,
    })
}

fn tcp(address: &str) -> Outcome {
    TcpStream::connect(address)?.write_all(GREETING)?;
    Ok(String::new())
}

fn udp(address: &str) -> Outcome {
    let any = if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    UdpSocket::bind(any)?.send_to(GREETING, address)?;
    Ok(String::new())
}

fn unix_stream(path: &str) -> Outcome {
    UnixStream::connect(path)?.write_all(GREETING)?;
    Ok(String::new())
}

fn unix_datagram(path: &str) -> Outcome {
    UnixDatagram::unbound()?.send_to(GREETING, path)?;
    Ok(String::new())
}

fn unix_seqpacket(path: &str) -> Outcome {
    let end = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    connect(end.as_raw_fd(), &UnixAddr::new(path)?)?;
    send(end.as_raw_fd(), GREETING, MsgFlags::empty())?;
    Ok(String::new())
}

fn abstract_stream(name: &str) -> Outcome {
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?.write_all(GREETING)?;
    Ok(String::new())
}

fn abstract_datagram(name: &str) -> Outcome {
    UnixDatagram::unbound()?.send_to_addr(GREETING, &SocketAddr::from_abstract_name(name)?)?;
    Ok(String::new())
}

/// Points one end of a datagram pair at somebody else. A filter that lets every pair pass is open here.
fn pair_to_path(path: &str) -> Outcome {
    let (end, _other) = socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC)?;
    sendto(end.as_raw_fd(), GREETING, &UnixAddr::new(path)?, MsgFlags::empty())?;
    Ok(String::new())
}

/// Connects one end of a stream pair to somebody else. The kernel itself refuses that.
fn pair_to_listener(path: &str) -> Outcome {
    let (end, _other) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
    connect(end.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(String::new())
}

/// Listens on a loopback address, and talks to itself.
fn loopback(host: &str) -> Outcome {
    let listener = TcpListener::bind(format!("{host}:0"))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    client.write_all(GREETING)?;
    drop(client);
    let mut heard = Vec::new();
    server.read_to_end(&mut heard)?;
    if heard != GREETING {
        return Err(Failure::Usage("the loopback said something else".into()));
    }
    Ok(String::new())
}
