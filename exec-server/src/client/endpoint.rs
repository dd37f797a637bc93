//! Where a server is, and how it is reached.

use std::ffi::OsString;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;

use super::writing::Writing;
use crate::limits::ServerLimits;
use crate::transport::{Pipe, Reader, Writer, lines, web_socket, web_socket_config};

/// Where a server is.
#[derive(Clone)]
pub enum Endpoint {
    /// A program that serves over its standard streams, started for this client.
    Command {
        /// The program and its arguments.
        command: Vec<OsString>,
    },
    /// A WebSocket.
    WebSocket {
        /// `HOST:PORT`.
        host: String,
        /// What is shown, where the server asks.
        token: Option<String>,
    },
    /// A unix socket.
    Unix(PathBuf),
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Command { command } => formatter.debug_tuple("Command").field(command).finish(),
            // Without the token.
            Self::WebSocket { host, .. } => formatter.debug_tuple("WebSocket").field(host).finish(),
            Self::Unix(path) => formatter.debug_tuple("Unix").field(path).finish(),
        }
    }
}

/// Why a text names no server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the address of a server: there are ws://HOST:PORT and unix:///ABSOLUTE/PATH")]
pub struct EndpointError;

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if let Some(host) = text.strip_prefix("ws://") {
            let host = host.strip_suffix('/').unwrap_or(host);
            let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            let is_plain = !host.contains(['/', '@', '?', '#']);
            return if has_port && is_plain {
                Ok(Self::WebSocket { host: host.to_owned(), token: None })
            } else {
                Err(EndpointError)
            };
        }
        match text.strip_prefix("unix://") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            _ => Err(EndpointError),
        }
    }
}

/// A connection that was made.
pub(super) struct Connection {
    pub(super) reader: Reader,
    pub(super) writing: Writing,
    /// The server itself, where it was started for this client.
    pub(super) _child: Option<Child>,
    /// Whether anything has come, where a server is asked for a sign that it is there: to be taken back by who asks.
    pub(super) heard: Arc<AtomicBool>,
}

impl Connection {
    /// One that nobody is at the other end of.
    pub(super) fn none() -> Self {
        Self::of(lines(tokio::io::empty(), tokio::io::sink(), 1), None)
    }

    fn of((reader, writer): (Reader, Writer), child: Option<Child>) -> Self {
        Self::new(reader, writer, child, Arc::default())
    }

    pub(super) fn new(reader: Reader, writer: Writer, child: Option<Child>, heard: Arc<AtomicBool>) -> Self {
        Self { reader, writing: Writing::new(writer), _child: child, heard }
    }

    /// Lets go of it, and waits until it has.
    pub(super) async fn abandon(self) {
        let Self { reader, writing, .. } = self;
        drop(reader);
        writing.abandon().await;
    }
}

/// A stream that notes that something has come: a long message is a sign well before its end.
pub(super) struct Listening<T> {
    stream: T,
    heard: Arc<AtomicBool>,
}

impl<T> Listening<T> {
    pub(super) fn new(stream: T, heard: &Arc<AtomicBool>) -> Self {
        Self { stream, heard: Arc::clone(heard) }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Listening<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.heard.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Listening<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Endpoint {
    /// Whether another connection finds the same server.
    pub(super) const fn lasts(&self) -> bool {
        !matches!(self, Self::Command { .. })
    }

    pub(super) async fn connect(&self) -> std::io::Result<Connection> {
        // A server's own bound: what it sends has none.
        let longest = ServerLimits::default().message_bytes * 16;
        match self {
            Self::Command { command } => {
                let (program, arguments) =
                    command.split_first().ok_or_else(|| std::io::Error::other("no program is named"))?;
                let mut command = Command::new(program);
                command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
                let mut child = command.spawn()?;
                let taken = || std::io::Error::other("the program's streams are taken");
                let (stdin, stdout) =
                    (child.stdin.take().ok_or_else(taken)?, child.stdout.take().ok_or_else(taken)?);
                Ok(Connection::of(lines(stdout, stdin, longest), Some(child)))
            }
            Self::Unix(path) => {
                let (source, sink) = UnixStream::connect(path).await?.into_split();
                Ok(Connection::of(lines(source, sink, longest), None))
            }
            Self::WebSocket { host, token } => {
                let stream = TcpStream::connect(host).await?;
                stream.set_nodelay(true)?;
                let heard = Arc::default();
                let stream: Box<dyn Pipe> = Box::new(Listening::new(stream, &heard));
                let mut request =
                    format!("ws://{host}/").into_client_request().map_err(std::io::Error::other)?;
                if let Some(token) = token {
                    let value = HeaderValue::from_str(&format!("Bearer {token}"));
                    let mut value =
                        value.map_err(|_odd| std::io::Error::other("the token has odd characters"))?;
                    value.set_sensitive(true);
                    request.headers_mut().insert(AUTHORIZATION, value);
                }
                let config = web_socket_config(longest);
                let (socket, _) = client_async_with_config(request, stream, Some(config))
                    .await
                    .map_err(std::io::Error::other)?;
                let (reader, writer) = web_socket(socket);
                Ok(Connection::new(reader, writer, None, heard))
            }
        }
    }
}
