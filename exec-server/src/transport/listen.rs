//! Addresses to listen at.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use codex_linux_sandbox::shown;
use nix::errno::Errno;
use nix::sys::socket::SockType::Stream;
use nix::sys::socket::sockopt::{AcceptConn, SockType};
use nix::sys::socket::{SockaddrStorage, getsockname, getsockopt};
use nix::sys::stat::{Mode, umask};
use tokio::net::{TcpListener, UnixListener};

/// The name of a socket that is passed for MCP.
pub const MCP: &str = "mcp";

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// Standard input and output.
    Stdio,
    /// A WebSocket.
    WebSocket(SocketAddr),
    /// MCP over HTTP.
    Http(SocketAddr),
    /// A unix socket. Absolute.
    Unix(PathBuf),
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an address to listen at: there are stdio, ws://IP:PORT (port 0 for any), http://IP:PORT for MCP, \
     unix:///ABSOLUTE/PATH, and systemd for sockets that it passes; a host has to be given as an IP address"
)]
pub struct AddressError;

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if matches!(text, "stdio" | "stdio://") {
            return Ok(Self::Stdio);
        }
        for (scheme, of) in [("ws://", Self::WebSocket as fn(SocketAddr) -> Self), ("http://", Self::Http)] {
            if let Some(address) = text.strip_prefix(scheme) {
                let address = address.strip_suffix('/').unwrap_or(address);
                return address.parse().map(of).map_err(|_other| AddressError);
            }
        }
        match text.strip_prefix("unix://") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            _ => Err(AddressError),
        }
    }
}

/// Why it can't be listened at an address.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Anybody could connect.
    #[error(
        "{0} can be reached from other machines: --ws-token-file, --ws-token-sha256, --ws-shared-secret-file or \
         --ws-public-key-file has to say who may connect; ws://127.0.0.1:0 is for this machine only"
    )]
    OffLoopback(SocketAddr),
    /// The kernel says no.
    #[error("can't listen at {address}: {error}")]
    Bind {
        /// The address.
        address: String,
        /// What the kernel says.
        error: std::io::Error,
    },
    /// There is something else.
    #[error("can't listen at {path}: there is something that is no socket", path = shown(.0))]
    Occupied(PathBuf),
    /// A server is there.
    #[error("can't listen at {path}: another server does", path = shown(.0))]
    InUse(PathBuf),
    /// What somebody else listens at for us is none of what we serve.
    #[error("a socket that was passed can't be served: {0}")]
    Passed(std::io::Error),
    /// It has one of these only.
    #[error("standard input can be listened at once only")]
    StdioTwice,
}

/// Where it is listened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Standard input and output.
    Stdio,
    /// A WebSocket, with the port that it has got.
    WebSocket(SocketAddr),
    /// MCP over HTTP, with the port that it has got.
    Http(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Bound {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdio => formatter.write_str("stdio"),
            Self::WebSocket(address) => write!(formatter, "ws://{address}"),
            Self::Http(address) => write!(formatter, "http://{address}/mcp"),
            Self::Unix(path) => write!(formatter, "unix://{}", shown(path)),
        }
    }
}

/// Takes connections.
#[derive(Debug)]
pub(crate) enum Listener {
    Stdio,
    WebSocket(TcpListener),
    Http(TcpListener),
    /// With its file, where that is ours to remove.
    Unix(UnixListener, Option<SocketFile>),
}

/// The file of a unix socket, gone with the listener.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!("the socket {} stays: {error}", shown(&self.0));
        }
    }
}

/// Listens. Before that, it is checked that not everybody can connect.
pub(crate) async fn bind(address: &ListenAddress, has_token: bool) -> Result<(Listener, Bound), ListenError> {
    match address {
        ListenAddress::Stdio => Ok((Listener::Stdio, Bound::Stdio)),
        ListenAddress::WebSocket(socket) | ListenAddress::Http(socket) => {
            let is_http = matches!(address, ListenAddress::Http(_));
            let address = socket;
            if !address.ip().is_loopback() && !has_token {
                return Err(ListenError::OffLoopback(*address));
            }
            let failed = |error| ListenError::Bind { address: address.to_string(), error };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            let bound = listener.local_addr().map_err(failed)?;
            Ok(match is_http {
                true => (Listener::Http(listener), Bound::Http(bound)),
                false => (Listener::WebSocket(listener), Bound::WebSocket(bound)),
            })
        }
        ListenAddress::Unix(path) => {
            let listener = bind_unix(path)?;
            Ok((Listener::Unix(listener, Some(SocketFile(path.clone()))), Bound::Unix(path.clone())))
        }
    }
}

/// Takes over a socket that listens already: of a unix socket, or of TCP, for MCP where it has that name. Not everybody can connect to
/// it either.
pub(crate) fn adopt(name: &str, socket: OwnedFd, has_token: bool) -> Result<(Listener, Bound), ListenError> {
    let no_stream = || std::io::Error::other("it has no stream of bytes");
    let errno = |errno: Errno| ListenError::Passed(errno.into());
    if getsockopt(&socket, SockType).map_err(errno)? != Stream
        || !getsockopt(&socket, AcceptConn).map_err(errno)?
    {
        return Err(ListenError::Passed(no_stream()));
    }
    let address: SockaddrStorage = getsockname(socket.as_raw_fd()).map_err(errno)?;
    if let Some(address) = address.as_unix_addr() {
        let path = address.path().unwrap_or(Path::new("")).to_owned();
        let listener = std::os::unix::net::UnixListener::from(socket);
        listener.set_nonblocking(true).map_err(ListenError::Passed)?;
        let listener = UnixListener::from_std(listener).map_err(ListenError::Passed)?;
        return Ok((Listener::Unix(listener, None), Bound::Unix(path)));
    }
    let listener = std::net::TcpListener::from(socket);
    let bound = listener.local_addr().map_err(ListenError::Passed)?;
    if !bound.ip().is_loopback() && !has_token {
        return Err(ListenError::OffLoopback(bound));
    }
    listener.set_nonblocking(true).map_err(ListenError::Passed)?;
    let listener = TcpListener::from_std(listener).map_err(ListenError::Passed)?;
    Ok(match name == MCP {
        true => (Listener::Http(listener), Bound::Http(bound)),
        false => (Listener::WebSocket(listener), Bound::WebSocket(bound)),
    })
}

fn bind_unix(path: &Path) -> Result<UnixListener, ListenError> {
    let failed = |error| ListenError::Bind { address: shown(path), error };
    if let Ok(status) = path.symlink_metadata() {
        if !status.file_type().is_socket() {
            return Err(ListenError::Occupied(path.to_owned()));
        }
        // One that nobody listens at is left over from a server that was killed.
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_listening) => return Err(ListenError::InUse(path.to_owned())),
            Err(_nobody) => std::fs::remove_file(path).map_err(failed)?,
        }
    }
    // Nobody else's from the first moment on: `bind` makes the file with what the mask leaves.
    let before = umask(Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    umask(before);
    let listener = listener.map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::{Bound, ListenAddress, ListenError, bind};

    #[test]
    fn addresses_are_read() {
        let parse = |text: &str| text.parse::<ListenAddress>();
        assert_eq!(parse("stdio"), Ok(ListenAddress::Stdio));
        assert_eq!(parse("stdio://"), Ok(ListenAddress::Stdio));
        assert_eq!(parse("ws://127.0.0.1:0"), Ok(ListenAddress::WebSocket("127.0.0.1:0".parse().unwrap())));
        assert_eq!(parse("ws://[::1]:80/"), Ok(ListenAddress::WebSocket("[::1]:80".parse().unwrap())));
        assert_eq!(parse("http://127.0.0.1:0"), Ok(ListenAddress::Http("127.0.0.1:0".parse().unwrap())));
        assert_eq!(parse("unix:///run/x"), Ok(ListenAddress::Unix("/run/x".into())));
        for text in [
            "",
            "ws://localhost:1",
            "ws://1.2.3.4",
            "wss://1.2.3.4:1",
            "https://1.2.3.4:1",
            "unix://run/x",
            "tcp://1.2.3.4:1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn who_can_be_reached_needs_a_token() {
        let everywhere = ListenAddress::WebSocket("0.0.0.0:0".parse().unwrap());
        assert!(matches!(bind(&everywhere, false).await, Err(ListenError::OffLoopback(_))));
        let everywhere_too = ListenAddress::Http("[::]:0".parse().unwrap());
        assert!(matches!(bind(&everywhere_too, false).await, Err(ListenError::OffLoopback(_))));
        assert!(
            matches!(bind(&everywhere, true).await, Ok((_, Bound::WebSocket(address))) if address.port() != 0)
        );
    }

    #[tokio::test]
    async fn a_socket_is_its_owners_and_what_is_left_over_is_replaced() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let address = ListenAddress::Unix(path.clone());
        let listening = bind(&address, false).await.unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(bind(&address, false).await, Err(ListenError::InUse(_))));
        drop(listening);
        assert!(!path.exists());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(bind(&address, false).await.is_ok());
        std::fs::write(&path, "").unwrap();
        assert!(matches!(bind(&address, false).await, Err(ListenError::Occupied(_))));
    }
}
