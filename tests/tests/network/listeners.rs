//! Listeners outside of every sandbox, of each kind that a process could reach on this machine.

use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};

use codex_tests::harness::Scene;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept, bind, listen, recv, socket,
};
use nix::unistd::close;

/// How long a client that is expected may take.
const PATIENCE_MS: u16 = 20_000;

/// Somebody to reach, and how.
pub(crate) struct Listener {
    /// The probe that reaches it.
    pub(crate) probe: &'static str,
    /// Its address, as the probe takes it.
    pub(crate) address: String,
    /// Whether it is a unix socket.
    pub(crate) unix: bool,
    socket: Box<dyn AsFd>,
    streams: bool,
}

impl Listener {
    /// One of each kind.
    pub(crate) fn all(scene: &Scene) -> Vec<Self> {
        vec![
            Self::tcp("127.0.0.1"),
            Self::tcp("[::1]"),
            Self::udp("127.0.0.1"),
            Self::udp("[::1]"),
            Self::unix_stream(scene),
            Self::unix_datagram(scene),
            Self::unix_seqpacket(scene),
            Self::abstract_stream(scene),
            Self::abstract_datagram(scene),
        ]
    }

    /// A TCP listener on a loopback address.
    pub(crate) fn tcp(host: &str) -> Self {
        let socket = TcpListener::bind(format!("{host}:0")).expect("listen on loopback");
        socket.set_nonblocking(true).expect("make the listener nonblocking");
        let address = socket.local_addr().expect("the listener's address").to_string();
        Self { probe: "tcp", address, unix: false, socket: Box::new(socket), streams: true }
    }

    fn udp(host: &str) -> Self {
        let socket = UdpSocket::bind(format!("{host}:0")).expect("bind a loopback address");
        let address = socket.local_addr().expect("the socket's address").to_string();
        Self { probe: "udp", address, unix: false, socket: Box::new(socket), streams: false }
    }

    /// A unix stream listener with a path outside of the workspace.
    pub(crate) fn unix_stream(scene: &Scene) -> Self {
        let path = scene.outside().join("stream.socket");
        let socket = UnixListener::bind(&path).expect("listen on a path");
        socket.set_nonblocking(true).expect("make the listener nonblocking");
        scene.give_away(&path);
        Self::unix("unix-stream", path.to_string_lossy().into_owned(), Box::new(socket), true)
    }

    /// A unix datagram socket with a path outside of the workspace.
    pub(crate) fn unix_datagram(scene: &Scene) -> Self {
        let path = scene.outside().join("datagram.socket");
        let socket = UnixDatagram::bind(&path).expect("bind a path");
        scene.give_away(&path);
        Self::unix("unix-datagram", path.to_string_lossy().into_owned(), Box::new(socket), false)
    }

    fn unix_seqpacket(scene: &Scene) -> Self {
        let path = scene.outside().join("seqpacket.socket");
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket: OwnedFd =
            socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).expect("make a seqpacket socket");
        bind(socket.as_raw_fd(), &UnixAddr::new(&path).expect("a short path")).expect("bind a path");
        listen(&socket, Backlog::MAXCONN).expect("listen on a path");
        scene.give_away(&path);
        Self::unix("unix-seqpacket", path.to_string_lossy().into_owned(), Box::new(socket), true)
    }

    fn abstract_stream(scene: &Scene) -> Self {
        let (name, address) = abstract_name(scene, "stream");
        let socket = UnixListener::bind_addr(&address).expect("listen on an abstract name");
        socket.set_nonblocking(true).expect("make the listener nonblocking");
        Self::unix("abstract-stream", name, Box::new(socket), true)
    }

    fn abstract_datagram(scene: &Scene) -> Self {
        let (name, address) = abstract_name(scene, "datagram");
        let socket = UnixDatagram::bind_addr(&address).expect("bind an abstract name");
        Self::unix("abstract-datagram", name, Box::new(socket), false)
    }

    fn unix(probe: &'static str, address: String, socket: Box<dyn AsFd>, streams: bool) -> Self {
        Self { probe, address, unix: true, socket, streams }
    }

    /// The port of a TCP or UDP listener.
    pub(crate) fn port(&self) -> &str {
        self.address.rsplit(':').next().unwrap_or_default()
    }

    /// Whether anything came since the last question: a connection alone is something.
    pub(crate) fn heard(&self) -> bool {
        let mut anything = false;
        while self.take() {
            anything = true;
        }
        anything
    }

    /// Whether something comes, given time.
    pub(crate) fn hears(&self) -> bool {
        let mut waiting = [PollFd::new(self.descriptor(), PollFlags::POLLIN)];
        poll(&mut waiting, PollTimeout::from(PATIENCE_MS)).is_ok_and(|ready| ready > 0) && self.heard()
    }

    fn take(&self) -> bool {
        let descriptor = self.descriptor().as_raw_fd();
        if self.streams {
            return accept(descriptor).is_ok_and(|connection| close(connection).is_ok());
        }
        recv(descriptor, &mut [0; 64], MsgFlags::MSG_DONTWAIT).is_ok()
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn abstract_name(scene: &Scene, kind: &str) -> (String, SocketAddr) {
    let name = format!("{}-{:?}-{kind}", scene.root().display(), scene.identity());
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    (name, address)
}
