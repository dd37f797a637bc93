//! Acts on sockets: each way to reach somebody, and what processes say to each other within.

use std::ffi::OsString;
use std::io::{IoSlice, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};

use nix::fcntl::{OFlag, open};
use nix::sys::socket::{
    AddressFamily, MsgFlags, MultiHeaders, SockFlag, SockType, SockaddrStorage, UnixAddr, connect, send,
    sendmmsg, sendmsg, sendto, setsockopt, socket, socketpair, sockopt,
};
use nix::sys::stat::Mode;

use crate::{Failure, Outcome, conversation};

/// What a listener gets to hear.
const GREETING: &[u8] = b"hello from a probe\n";

pub(crate) fn act(name: &str, arguments: &[OsString]) -> Option<Outcome> {
    let target = arguments.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    Some(match name {
        "tcp" => tcp(&target),
        "udp" => udp(&target),
        "unix-stream" => unix_stream(&target),
        "tcp-fast-open" => tcp_fast_open(&target),
        "tcp-fast-open-connect" => tcp_fast_open_connect(&target),
        "udp-connected" => udp_connected(&target),
        "udp-many" => udp_many(&target),
        "unix-stream-held" => unix_stream_held(&target),
        "unix-datagram-connected" => unix_datagram_connected(&target),
        "unix-datagram-message" => unix_datagram_message(&target),
        "abstract-seqpacket" => abstract_seqpacket(&target),
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

fn internet(address: &str) -> Result<SockaddrStorage, Failure> {
    let address: std::net::SocketAddr = address.parse().map_err(|_| format!("no address: {address}"))?;
    Ok(address.into())
}

fn tcp_socket(address: &SockaddrStorage) -> Result<OwnedFd, Failure> {
    let family = if address.as_sockaddr_in6().is_some() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    Ok(socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?)
}

/// Data with the first packet: a connection without `connect`.
fn tcp_fast_open(address: &str) -> Outcome {
    let address = internet(address)?;
    let end = tcp_socket(&address)?;
    sendto(end.as_raw_fd(), GREETING, &address, MsgFlags::from_bits_retain(libc::MSG_FASTOPEN))?;
    Ok(String::new())
}

/// A connection that `connect` only promises, and the first write makes.
fn tcp_fast_open_connect(address: &str) -> Outcome {
    let address = internet(address)?;
    let end = tcp_socket(&address)?;
    setsockopt(&end, sockopt::TcpFastOpenConnect, &true)?;
    connect(end.as_raw_fd(), &address)?;
    send(end.as_raw_fd(), GREETING, MsgFlags::empty())?;
    Ok(String::new())
}

fn udp_connected(address: &str) -> Outcome {
    let any = if address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let end = UdpSocket::bind(any)?;
    end.connect(address)?;
    end.send(GREETING)?;
    Ok(String::new())
}

/// Several messages in one call, each with an address of its own.
fn udp_many(address: &str) -> Outcome {
    let address = internet(address)?;
    let family = if address.as_sockaddr_in6().is_some() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let end = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut headers = MultiHeaders::preallocate(2, None);
    let slices = [[IoSlice::new(GREETING)], [IoSlice::new(GREETING)]];
    let addresses = [Some(address), Some(address)];
    sendmmsg(end.as_raw_fd(), &mut headers, &slices, addresses, [], MsgFlags::empty())?.for_each(drop);
    Ok(String::new())
}

/// Connects to a name among the descriptors instead of the socket's own.
fn unix_stream_held(path: &str) -> Outcome {
    let held = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    unix_stream(&format!("/proc/self/fd/{}", held.as_raw_fd()))
}

fn unix_datagram_connected(path: &str) -> Outcome {
    let end = UnixDatagram::unbound()?;
    end.connect(path)?;
    end.send(GREETING)?;
    Ok(String::new())
}

fn unix_datagram_message(path: &str) -> Outcome {
    let end = UnixDatagram::unbound()?;
    let address = UnixAddr::new(path)?;
    sendmsg(end.as_raw_fd(), &[IoSlice::new(GREETING)], &[], MsgFlags::empty(), Some(&address))?;
    Ok(String::new())
}

fn abstract_seqpacket(name: &str) -> Outcome {
    let end = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    connect(end.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
    send(end.as_raw_fd(), GREETING, MsgFlags::empty())?;
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
