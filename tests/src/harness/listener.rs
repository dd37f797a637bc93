//! Listeners outside of every sandbox, of each kind that a process could reach on this machine.

use std::fs::File;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept, bind, listen, recv, socket,
};
use nix::sys::stat::Mode;
use nix::unistd::{close, mkfifo, read};

use super::Scene;

/// How long a client that is expected may take.
const PATIENCE_MS: u16 = 20_000;

/// Somebody to reach, and how.
#[derive(Debug)]
pub struct Listener {
    /// The probe that reaches it.
    pub probe: &'static str,
    /// Its address, as the probe takes it.
    pub address: String,
    /// Whether it is a unix socket.
    pub unix: bool,
    socket: OwnedFd,
    kind: Kind,
}

/// How what comes is taken.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Connections,
    Messages,
    Bytes,
}

impl Listener {
    /// One of each kind.
    ///
    /// # Panics
    ///
    /// Where one can't be made, as by every function here that makes some.
    #[must_use]
    pub fn all(scene: &Scene) -> Vec<Self> {
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
            Self::abstract_seqpacket(scene),
        ]
    }

    /// A TCP listener on an address of this machine.
    ///
    /// # Panics
    ///
    /// Where it can't be made.
    #[must_use]
    pub fn tcp(host: &str) -> Self {
        let socket = TcpListener::bind(format!("{host}:0")).expect("listen on loopback");
        socket.set_nonblocking(true).expect("make the listener nonblocking");
        let address = socket.local_addr().expect("the listener's address").to_string();
        Self { probe: "tcp", address, unix: false, socket: socket.into(), kind: Kind::Connections }
    }

    /// A UDP socket on an address of this machine.
    ///
    /// # Panics
    ///
    /// Where it can't be made.
    #[must_use]
    pub fn udp(host: &str) -> Self {
        let socket = UdpSocket::bind(format!("{host}:0")).expect("bind a loopback address");
        let address = socket.local_addr().expect("the socket's address").to_string();
        Self { probe: "udp", address, unix: false, socket: socket.into(), kind: Kind::Messages }
    }

    /// A unix stream listener with a path outside of the workspace.
    ///
    /// # Panics
    ///
    /// Where it can't be made.
    #[must_use]
    pub fn unix_stream(scene: &Scene) -> Self {
        Self::unix_stream_at(scene, &scene.outside().join("stream.socket"))
    }

    /// A unix stream listener at this path.
    ///
    /// # Panics
    ///
    /// Where it can't be made.
    #[must_use]
    pub fn unix_stream_at(scene: &Scene, path: &Path) -> Self {
        let socket = UnixListener::bind(path).expect("listen on a path");
        socket.set_nonblocking(true).expect("make the listener nonblocking");
        scene.give_away(path);
        Self::unix("unix-stream", path.to_string_lossy().into_owned(), socket.into(), Kind::Connections)
    }

    /// A unix datagram socket with a path outside of the workspace.
    ///
    /// # Panics
    ///
    /// Where it can't be made.
    #[must_use]
    pub fn unix_datagram(scene: &Scene) -> Self {
        Self::unix_datagram_at(scene, &scene.outside().join("datagram.socket"))
    }

    /// A unix datagram socket at this path.
    ///
    /// # Panics
    ///
    /// Where it can't be made.
    #[must_use]
    pub fn unix_datagram_at(scene: &Scene, path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("bind a path");
        scene.give_away(path);
        Self::unix("unix-datagram", path.to_string_lossy().into_owned(), socket.into(), Kind::Messages)
    }

    fn unix_seqpacket(scene: &Scene) -> Self {
        let path = scene.outside().join("seqpacket.socket");
        let socket = seqpacket(&UnixAddr::new(&path).expect("a short path"));
        scene.give_away(&path);
        Self::unix("unix-seqpacket", path.to_string_lossy().into_owned(), socket, Kind::Connections)
    }

    /// Somebody who reads a fifo outside of the workspace.
    ///
    /// # Panics
    ///
    /// Where it can't be made.
    #[must_use]
    pub fn fifo(scene: &Scene) -> Self {
        let path = scene.outside().join("fifo");
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).expect("make a fifo");
        scene.give_away(&path);
        let reader =
            File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path).expect("read the fifo");
        Self {
            probe: "write",
            address: path.to_string_lossy().into_owned(),
            unix: false,
            socket: reader.into(),
            kind: Kind::Bytes,
        }
    }

    fn abstract_stream(scene: &Scene) -> Self {
        let (name, address) = abstract_name(scene, "stream");
        let socket = UnixListener::bind_addr(&address).expect("listen on an abstract name");
        socket.set_nonblocking(true).expect("make the listener nonblocking");
        Self::unix("abstract-stream", name, socket.into(), Kind::Connections)
    }

    fn abstract_datagram(scene: &Scene) -> Self {
        let (name, address) = abstract_name(scene, "datagram");
        let socket = UnixDatagram::bind_addr(&address).expect("bind an abstract name");
        Self::unix("abstract-datagram", name, socket.into(), Kind::Messages)
    }

    fn abstract_seqpacket(scene: &Scene) -> Self {
        let (name, _) = abstract_name(scene, "seqpacket");
        let address = UnixAddr::new_abstract(name.as_bytes()).expect("a short name");
        Self::unix("abstract-seqpacket", name, seqpacket(&address), Kind::Connections)
    }

    fn unix(probe: &'static str, address: String, socket: OwnedFd, kind: Kind) -> Self {
        Self { probe, address, unix: true, socket, kind }
    }

    /// The port of a TCP or UDP listener.
    #[must_use]
    pub fn port(&self) -> &str {
        self.address.rsplit(':').next().unwrap_or_default()
    }

    /// Whether anything came since the last question: a connection alone is something.
    #[must_use]
    pub fn heard(&self) -> bool {
        let mut anything = false;
        while self.take() {
            anything = true;
        }
        anything
    }

    /// Whether something comes, given time.
    #[must_use]
    pub fn hears(&self) -> bool {
        let mut waiting = [PollFd::new(self.descriptor(), PollFlags::POLLIN)];
        poll(&mut waiting, PollTimeout::from(PATIENCE_MS)).is_ok_and(|ready| ready > 0) && self.heard()
    }

    fn take(&self) -> bool {
        let descriptor = self.descriptor();
        match self.kind {
            Kind::Connections => {
                accept(descriptor.as_raw_fd()).is_ok_and(|connection| close(connection).is_ok())
            }
            Kind::Messages => recv(descriptor.as_raw_fd(), &mut [0; 64], MsgFlags::MSG_DONTWAIT).is_ok(),
            Kind::Bytes => read(descriptor, &mut [0; 64]).is_ok_and(|count| count > 0),
        }
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn seqpacket(address: &UnixAddr) -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket: OwnedFd =
        socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).expect("make a seqpacket socket");
    bind(socket.as_raw_fd(), address).expect("bind the address");
    listen(&socket, Backlog::MAXCONN).expect("listen on the address");
    socket
}

fn abstract_name(scene: &Scene, kind: &str) -> (String, SocketAddr) {
    let name = format!("{}-{:?}-{kind}", scene.root().display(), scene.identity());
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    (name, address)
}
