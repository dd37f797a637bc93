//! Ways in: standard streams, WebSocket, unix sockets. Behind them, messages are messages.

mod http;
mod listen;
mod mcp;
mod patience;
mod peer;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error as WebSocketError, Message};

use crate::framing::{Line, LineReader};
use crate::outgoing::Ending;

pub(crate) use http::{Port, serve_http};
pub use listen::{AddressError, Bound, ListenAddress, ListenError, MCP};
pub(crate) use listen::{Listener, adopt, bind};
pub(crate) use peer::{Stranger, same_user, unix_peer};

/// A stream of bytes in both directions.
pub(crate) trait Pipe: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Pipe for T {}

/// How much is read at once.
const BUFFER: usize = 64 * 1024;
/// How much of what is written may wait for more.
const WRITE_BUFFER: usize = 128 * 1024;

/// What came.
#[derive(Debug)]
pub(crate) enum Received {
    Message(Bytes),
    /// So many bytes, or more, where they are not counted.
    TooLong(u64),
    /// Nothing but that the peer is there.
    Sign,
    /// What the transport does not know, and how the connection has to end.
    Broken(Ending),
}

/// The end that is read.
pub(crate) enum Reader {
    Lines(LineReader<BufReader<Box<dyn AsyncRead + Send + Unpin>>>),
    WebSocket(SplitStream<WebSocketStream<Box<dyn Pipe>>>),
}

/// The end that is written.
pub(crate) enum Writer {
    Lines { sink: Box<dyn AsyncWrite + Send + Unpin>, waiting: Vec<u8> },
    WebSocket(SplitSink<WebSocketStream<Box<dyn Pipe>>, Message>),
}

/// Newline-delimited messages over two streams.
pub(crate) fn lines(
    source: impl AsyncRead + Send + Unpin + 'static,
    sink: impl AsyncWrite + Send + Unpin + 'static,
    longest: usize,
) -> (Reader, Writer) {
    let source: Box<dyn AsyncRead + Send + Unpin> = Box::new(source);
    let reader = LineReader::new(BufReader::with_capacity(BUFFER, source), longest);
    (Reader::Lines(reader), Writer::Lines { sink: Box::new(sink), waiting: Vec::new() })
}

/// How WebSockets are set up.
pub(crate) fn web_socket_config(longest: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(longest))
        .max_frame_size(Some(longest))
}

/// The two ends of a WebSocket.
pub(crate) fn web_socket(socket: WebSocketStream<Box<dyn Pipe>>) -> (Reader, Writer) {
    let (sink, stream) = socket.split();
    (Reader::WebSocket(stream), Writer::WebSocket(sink))
}

impl Reader {
    /// The next message. Nothing at the end, whatever that is. May be dropped halfway.
    pub(crate) async fn next(&mut self) -> Option<Received> {
        match self {
            Self::Lines(lines) => match lines.next().await {
                Ok(Some(Line::Message(line))) => Some(Received::Message(line.into())),
                Ok(Some(Line::TooLong(bytes))) => Some(Received::TooLong(bytes)),
                Ok(None) => None,
                Err(error) => {
                    tracing::debug!("the connection can't be read on: {error}");
                    None
                }
            },
            Self::WebSocket(stream) => {
                match stream.next().await? {
                    Ok(Message::Text(text)) => Some(Received::Message(text.into())),
                    Ok(Message::Binary(bytes)) => Some(Received::Message(bytes)),
                    // The first is answered by the library.
                    Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Some(Received::Sign),
                    Ok(Message::Close(_)) => None,
                    Err(WebSocketError::Capacity(CapacityError::MessageTooLong { size, .. })) => {
                        Some(Received::TooLong(size as u64))
                    }
                    Err(error) => {
                        tracing::debug!("the connection can't be read on: {error}");
                        match error {
                            WebSocketError::Utf8(_) => Some(Received::Broken(Ending::NoText)),
                            WebSocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
                            WebSocketError::Protocol(_) => Some(Received::Broken(Ending::Broken)),
                            _ => None,
                        }
                    }
                }
            }
        }
    }

    /// Whether messages can be read after one that was too long.
    pub(crate) const fn goes_on(&self) -> bool {
        matches!(self, Self::Lines(_))
    }
}

impl Writer {
    /// Writes a message, or keeps it for [`Writer::flush`].
    pub(crate) async fn put(&mut self, text: String) -> std::io::Result<()> {
        match self {
            Self::Lines { sink, waiting } => {
                waiting.extend_from_slice(text.as_bytes());
                waiting.push(b'\n');
                if waiting.len() >= WRITE_BUFFER {
                    sink.write_all(waiting).await?;
                    waiting.clear();
                    waiting.shrink_to(2 * WRITE_BUFFER);
                }
                Ok(())
            }
            Self::WebSocket(sink) => sink.feed(Message::text(text)).await.map_err(std::io::Error::other),
        }
    }

    pub(crate) async fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Lines { sink, waiting } => {
                sink.write_all(waiting).await?;
                waiting.clear();
                sink.flush().await
            }
            Self::WebSocket(sink) => sink.flush().await.map_err(std::io::Error::other),
        }
    }

    /// Whether a peer that is asked whether it is there answers by itself.
    pub(crate) const fn pings(&self) -> bool {
        matches!(self, Self::WebSocket(_))
    }

    /// Asks whether the peer is there.
    pub(crate) async fn ping(&mut self) -> std::io::Result<()> {
        match self {
            Self::Lines { .. } => Ok(()),
            Self::WebSocket(sink) => {
                sink.send(Message::Ping(Bytes::new())).await.map_err(std::io::Error::other)
            }
        }
    }

    /// Ends the connection, with words where the transport has some.
    pub(crate) async fn close(&mut self, ending: Ending) -> std::io::Result<()> {
        match self {
            Self::Lines { sink, .. } => sink.shutdown().await,
            Self::WebSocket(sink) => {
                let (code, reason) = match ending {
                    Ending::Usual => (CloseCode::Away, ""),
                    Ending::TooLong => (CloseCode::Size, "a message is too long"),
                    Ending::Broken => (CloseCode::Protocol, "this is no WebSocket any more (RFC 6455)"),
                    Ending::NoText => (CloseCode::Invalid, "a text that is no UTF-8"),
                };
                let frame = CloseFrame { code, reason: reason.into() };
                sink.send(Message::Close(Some(frame))).await.map_err(std::io::Error::other)
            }
        }
    }
}
