//! Somebody outside who can be reached, and who can tell whether that happened.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::runs::PATIENCE;
use crate::tools::skip;

/// The loopback addresses of this machine.
pub(crate) fn loopbacks() -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into()];
    match UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) {
        Ok(_) => addresses.push(Ipv6Addr::LOCALHOST.into()),
        Err(error) => skip(&format!("IPv6: {error}")),
    }
    addresses
}

/// A listening socket, and what a command has to be told to find it.
pub(crate) struct Listener {
    socket: Socket,
    /// The address family, as Python names it, and the address as an expression of Python over `sys.argv[1]` (which is
    /// [`Listener::place`]).
    pub(crate) family: &'static str,
    /// `SOCK_STREAM` or `SOCK_DGRAM`.
    pub(crate) kind: &'static str,
    /// The address, as an expression of Python.
    pub(crate) address: String,
}

enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
    Stream(UnixListener),
    Datagram(UnixDatagram),
}

impl Listener {
    /// One of each kind: TCP and UDP on each loopback address, unix sockets by path in a directory and by abstract name.
    pub(crate) fn of_every_kind(directory: &Path) -> Vec<Self> {
        let mut listeners = Vec::new();
        for address in loopbacks() {
            let family = if address.is_ipv4() { "AF_INET" } else { "AF_INET6" };
            let tcp = TcpListener::bind((address, 0)).unwrap();
            let port = tcp.local_addr().unwrap().port();
            listeners.push(Self::new(
                Socket::Tcp(tcp),
                family,
                "SOCK_STREAM",
                format!("('{address}', {port})"),
            ));
            let udp = UdpSocket::bind((address, 0)).unwrap();
            let port = udp.local_addr().unwrap().port();
            listeners.push(Self::new(
                Socket::Udp(udp),
                family,
                "SOCK_DGRAM",
                format!("('{address}', {port})"),
            ));
        }
        let [stream, datagram] = ["stream", "datagram"].map(|name| directory.join(name));
        let unix = |socket, kind, address| Self::new(socket, "AF_UNIX", kind, address);
        let socket = Socket::Stream(UnixListener::bind(&stream).unwrap());
        listeners.push(unix(socket, "SOCK_STREAM", format!("'{}'", stream.display())));
        let socket = Socket::Datagram(UnixDatagram::bind(&datagram).unwrap());
        listeners.push(unix(socket, "SOCK_DGRAM", format!("'{}'", datagram.display())));
        // Unique as the directory is.
        let name = |kind: &str| format!("{}-{kind}", directory.display());
        let abstract_address = |kind| SocketAddr::from_abstract_name(name(kind)).unwrap();
        let socket = Socket::Stream(UnixListener::bind_addr(&abstract_address("stream")).unwrap());
        listeners.push(unix(socket, "SOCK_STREAM", format!("'\\0{}'", name("stream"))));
        let socket = Socket::Datagram(UnixDatagram::bind_addr(&abstract_address("datagram")).unwrap());
        listeners.push(unix(socket, "SOCK_DGRAM", format!("'\\0{}'", name("datagram"))));
        listeners
    }

    fn new(socket: Socket, family: &'static str, kind: &'static str, address: String) -> Self {
        match &socket {
            Socket::Tcp(socket) => socket.set_nonblocking(true),
            Socket::Udp(socket) => socket.set_nonblocking(true),
            Socket::Stream(socket) => socket.set_nonblocking(true),
            Socket::Datagram(socket) => socket.set_nonblocking(true),
        }
        .unwrap();
        Self { socket, family, kind, address }
    }

    /// What it is, for messages.
    pub(crate) fn name(&self) -> String {
        format!("{} {} {}", self.family, self.kind, self.address)
    }

    /// What somebody has sent, waited for.
    pub(crate) fn receives(&self) -> String {
        wait(match &self.socket {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Udp(socket) => socket.as_fd(),
            Socket::Stream(socket) => socket.as_fd(),
            Socket::Datagram(socket) => socket.as_fd(),
        });
        self.received().unwrap()
    }

    /// What somebody has sent by now.
    pub(crate) fn received(&self) -> Option<String> {
        let mut message = vec![0; 100];
        let received = match &self.socket {
            Socket::Tcp(socket) => socket.accept().and_then(|(mut stream, _)| {
                stream.set_nonblocking(false)?;
                stream.read(&mut message)
            }),
            Socket::Stream(socket) => socket.accept().and_then(|(mut stream, _)| {
                stream.set_nonblocking(false)?;
                stream.read(&mut message)
            }),
            Socket::Udp(socket) => socket.recv(&mut message),
            Socket::Datagram(socket) => socket.recv(&mut message),
        };
        match received {
            Ok(count) => Some(String::from_utf8(message[..count].to_vec()).unwrap()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Answers one web request, from a thread: the port, and what the thread has received.
pub(crate) fn web_server(address: IpAddr) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = move || {
        wait(listener.as_fd());
        let (mut stream, _) = listener.accept().unwrap();
        let (mut request, mut chunk) = (Vec::new(), [0; 1000]);
        // All of it, whatever pieces it comes in: closing a connection with something unread resets it.
        while !request.ends_with(b"\r\n\r\n") {
            let count = stream.read(&mut chunk).unwrap();
            assert_ne!(count, 0, "the request ends early");
            request.extend_from_slice(&chunk[..count]);
        }
        stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n").unwrap();
        String::from_utf8(request).unwrap()
    };
    (port, std::thread::spawn(serve))
}

fn wait(socket: BorrowedFd<'_>) {
    let mut sockets = [PollFd::new(socket, PollFlags::POLLIN)];
    let ready = poll(&mut sockets, PollTimeout::try_from(PATIENCE).unwrap()).unwrap();
    assert_eq!(ready, 1, "nobody has sent anything");
}
