//! What is asked at the socket inside a sandbox, answered: `CONNECT` and plain HTTP requests (RFC 9110, RFC 9112).
//!
//! ```text
//! connection ▶ request ▶ host and port ▶ gate ▶ dial ▶ a tunnel, or the request and its response
//! ```
//!
//! Whatever goes through a tunnel is between the command and that host.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use codex_core::exec::{HostRefused, Mediator, Refusals};
use codex_core::policy::{Host, HostGrant};
use codex_linux_sandbox::shown;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION, TRANSFER_ENCODING,
};
use hyper::http::uri::Uri;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::asked::Asked;
use crate::dial::dial;
use crate::gate::{Gate, GateError, Resolver};
use crate::room::Room;
use crate::upstream::{Proxy, Upstream};

/// How long a command may take for the head of a request.
const HEAD: Duration = Duration::from_secs(60);
/// How long a request's head may be, in bytes.
const LONGEST_HEAD: usize = 64 * 1024;
/// How long it may take to have a connection with a host, its name looked up.
const REACHED: Duration = Duration::from_secs(60);
/// How long to wait with the next connection where the machine has no room for one.
const NO_ROOM: Duration = Duration::from_millis(100);
/// What is about one connection, and not about the request (RFC 9110, 7.6.1).
const OF_ONE_CONNECTION: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

type Body = Either<Incoming, Full<Bytes>>;

/// The proxy. A clone has what the other has learnt of name servers, and shares its room for connections. Where this process was
/// given a proxy itself (`HTTPS_PROXY` and its kin), hosts are reached through that one.
#[derive(Clone, Debug, Default)]
pub struct HostProxy {
    resolver: Resolver,
    room: Room,
    upstream: Upstream,
}

impl Mediator for HostProxy {
    fn mediate(
        &self,
        listener: TcpListener,
        hosts: Arc<[HostGrant]>,
        refusals: Refusals,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let gate = Gate::with(false, hosts, self.resolver.clone());
        let (resolver, upstream) = (self.resolver.clone(), self.upstream.clone());
        let door = Arc::new(Door { gate, resolver, upstream, refusals, ended: CancellationToken::new() });
        let room = self.room.clone();
        Box::pin(async move {
            let listening =
                listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
            match listening {
                Ok(listener) => serve(listener, door, &room).await,
                Err(error) => tracing::warn!(%error, "what the command asks of hosts can't be answered"),
            }
        })
    }
}

/// What all connections of a call share.
#[derive(Debug)]
struct Door {
    gate: Gate,
    resolver: Resolver,
    upstream: Upstream,
    refusals: Refusals,
    /// Ends everything that goes through it.
    ended: CancellationToken,
}

async fn serve(listener: tokio::net::TcpListener, door: Arc<Door>, room: &Room) {
    let _ends_with_us = door.ended.clone().drop_guard();
    let own = Arc::new(Semaphore::new(room.of_a_call()));
    loop {
        // Neither is ever closed.
        let Ok(place) = Arc::clone(&own).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let Ok(among_all) = room.take().await else { return };
                let door = Arc::clone(&door);
                let ended = door.ended.clone();
                tokio::spawn(async move {
                    ended.run_until_cancelled(connection(stream, door)).await;
                    drop::<[OwnedSemaphorePermit; 2]>([place, among_all]);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection of the command's could not be taken");
                tokio::time::sleep(NO_ROOM).await;
            }
        }
    }
}

/// One connection of a command's, to its end, and to that of the tunnel that it becomes.
async fn connection(stream: TcpStream, door: Arc<Door>) {
    // Small packets go as they come: whoever speaks through us has the say about that.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "small packets to the command may be late");
    }
    let (tunnels, mut tunnel) = tokio::sync::mpsc::channel(1);
    let service = service_fn(|request| {
        let (door, tunnels) = (Arc::clone(&door), tunnels.clone());
        async move { Ok::<_, Infallible>(answer(request, &door, &tunnels).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(LONGEST_HEAD)
        .preserve_header_case(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection of the command's has ended early");
    }
    if let Ok(Tunnel { command, mut host }) = tunnel.try_recv() {
        match command.await {
            Ok(command) => {
                let copied = tokio::io::copy_bidirectional(&mut TokioIo::new(command), &mut host).await;
                if let Err(error) = copied {
                    tracing::debug!(%error, "a tunnel has ended early");
                }
            }
            Err(error) => tracing::debug!(%error, "a tunnel has not begun"),
        }
    }
}

/// A connection of a command's that becomes one with a host.
struct Tunnel {
    command: hyper::upgrade::OnUpgrade,
    host: Box<dyn Stream>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection by which a host is reached.
enum Way {
    /// With the host.
    Direct(TcpStream),
    /// The same, through a proxy of this machine's.
    Through(Upgraded),
    /// With that proxy, which takes requests for others, and what it wants to hear.
    Beside(TcpStream, Option<HeaderValue>),
}

impl Way {
    fn into_stream(self) -> Box<dyn Stream> {
        match self {
            Self::Direct(stream) | Self::Beside(stream, _) => Box::new(stream),
            Self::Through(stream) => Box::new(TokioIo::new(stream)),
        }
    }
}

async fn answer(
    mut request: Request<Incoming>,
    door: &Door,
    tunnels: &tokio::sync::mpsc::Sender<Tunnel>,
) -> Response<Body> {
    let asked = match Asked::of(request.method(), request.uri()) {
        Ok(asked) => asked,
        Err(why) => return told(StatusCode::BAD_REQUEST, why),
    };
    let is_chunked = match is_chunked(request.headers()) {
        Some(is_chunked) => is_chunked,
        None => return told(StatusCode::NOT_IMPLEMENTED, "no Transfer-Encoding but chunked is known here"),
    };
    let is_tunnel = request.method() == Method::CONNECT;
    let way = match door.reach(&asked, is_tunnel).await {
        Ok(way) => way,
        Err(refusal) => return refusal,
    };
    if is_tunnel {
        let tunnel = Tunnel { command: hyper::upgrade::on(&mut request), host: way.into_stream() };
        // There is room for one, and nothing comes over a connection after that.
        return match tunnels.try_send(tunnel) {
            Ok(()) => Response::new(Either::Right(Full::default())),
            Err(_full) => told(StatusCode::BAD_REQUEST, "this connection is a tunnel already"),
        };
    }
    match forward(request, &asked, is_chunked, way, &door.ended).await {
        Ok(response) => response,
        Err(error) => told(
            StatusCode::BAD_GATEWAY,
            &format!("{}:{} did not answer: {}", shown(&asked.host), asked.port, shown(error.to_string())),
        ),
    }
}

/// Sends a request on, and its response back.
async fn forward(
    mut request: Request<Incoming>,
    asked: &Asked,
    is_chunked: bool,
    way: Way,
    ended: &CancellationToken,
) -> Result<Response<Body>, hyper::Error> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let (host, uri, authorization) = match way {
        Way::Beside(stream, authorization) => {
            let authority = String::from_utf8_lossy(asked.host_header.as_bytes());
            (Box::new(stream) as Box<dyn Stream>, format!("http://{authority}{path}"), authorization)
        }
        way => (way.into_stream(), path.to_owned(), None),
    };
    // A path of a URI is one of a request, and so is a URI made of its own parts.
    *request.uri_mut() = uri.parse::<Uri>().unwrap_or_else(|_invalid| Uri::from_static("/"));
    // Each connection has its own (RFC 9112, 2.3).
    *request.version_mut() = Version::HTTP_11;
    without_the_connections(request.headers_mut());
    // Otherwise a GET is taken to have no body.
    if is_chunked {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    // What the URL says counts, whatever the head says (RFC 9112, 3.2.2).
    request.headers_mut().insert(HOST, asked.host_header.clone());
    if let Some(authorization) = authorization {
        request.headers_mut().insert(PROXY_AUTHORIZATION, authorization);
    }
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .preserve_header_case(true)
        .max_buf_size(LONGEST_HEAD)
        .handshake(TokioIo::new(host))
        .await?;
    // It goes on until the response has been read, by the command or nobody.
    let ended = ended.clone();
    let driven = tokio::spawn(async move {
        if let Some(Err(error)) = ended.run_until_cancelled(connection).await {
            tracing::debug!(%error, "a connection with a host has ended early");
        }
    });
    let response = sender.send_request(request).await;
    let mut response = response.inspect_err(|_| driven.abort())?;
    without_the_connections(response.headers_mut());
    *response.version_mut() = Version::HTTP_11;
    Ok(response.map(Either::Left))
}

/// Whether a body comes in chunks. Nothing where it comes in a form that nobody here takes apart, so that it could not be sent on
/// as what it is.
fn is_chunked(headers: &HeaderMap) -> Option<bool> {
    let mut values = headers.get_all(TRANSFER_ENCODING).iter();
    match (values.next(), values.next()) {
        (None, _) => Some(false),
        (Some(value), None) => value.as_bytes().eq_ignore_ascii_case(b"chunked").then_some(true),
        _ => None,
    }
}

/// Takes away what is about one connection: the fields of RFC 9110, and those that `Connection` names.
fn without_the_connections(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in OF_ONE_CONNECTION {
        headers.remove(name);
    }
}

impl Door {
    /// A connection with a host, or what the command is told in its place.
    async fn reach(&self, asked: &Asked, is_tunnel: bool) -> Result<Way, Response<Body>> {
        let Asked { host, port, .. } = asked;
        let (name, port) = (shown(host), *port);
        let reached = timeout(REACHED, async {
            let scheme = if is_tunnel { "https" } else { "http" };
            match self.upstream.proxy(scheme, host, port) {
                Ok(None) => {
                    let addresses = self.gate.addresses(host, port).await?;
                    Ok(dial(addresses).await.map(Way::Direct))
                }
                Ok(Some(proxy)) => {
                    self.gate.permits(host, port)?;
                    Ok(self.through(&proxy, host, port, is_tunnel).await)
                }
                Err(error) => {
                    self.gate.permits(host, port)?;
                    Ok(Err(io::Error::other(error)))
                }
            }
        });
        let error = match reached.await {
            Ok(Ok(Ok(way))) => return Ok(way),
            Ok(Ok(Err(error))) => {
                let text = format!("{name}:{port} can't be reached: {}", shown(error.to_string()));
                return Err(told(StatusCode::BAD_GATEWAY, &text));
            }
            Err(_late) => {
                let text = format!("{name}:{port} does not answer");
                return Err(told(StatusCode::GATEWAY_TIMEOUT, &text));
            }
            Ok(Err(error)) => error,
        };
        // However it is written, it is the same host.
        let (is_address, plain) = match Host::named(host) {
            Some(Host::Address(address)) => (true, address.to_string()),
            Some(Host::Name(name)) => (false, name),
            Some(Host::Below(_)) | None => (false, host.clone()),
        };
        let why = match error {
            GateError::Unresolved(_) => {
                return Err(told(StatusCode::BAD_GATEWAY, &format!("{name}:{port}: {error}")));
            }
            GateError::Credentials => HostRefused::Credentials,
            GateError::Address(address) if !is_address => HostRefused::Address(address),
            GateError::Address(_) | GateError::Network => HostRefused::NotGranted,
        };
        self.refusals.tell(&plain, port, why);
        let text = format!(
            "the sandbox keeps {name}:{port} closed: {error}; sandbox.allow_hosts in the user's configuration, or --allow-host, \
             would have to name it"
        );
        Err(told(StatusCode::FORBIDDEN, &text))
    }
}

impl Door {
    /// The same by the proxy that this machine has. It is the user's choice, and looked up as any name.
    async fn through(&self, proxy: &Proxy, host: &str, port: u16, is_tunnel: bool) -> io::Result<Way> {
        let addresses = match proxy.host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_name) => self.resolver.resolve(&proxy.host).await.map_err(io::Error::other)?,
        };
        let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, proxy.port)).collect();
        let stream = dial(addresses).await?;
        if is_tunnel {
            let tunnel = proxy.tunnel(stream, host, port, &self.ended).await;
            tunnel.map(Way::Through).map_err(io::Error::other)
        } else {
            Ok(Way::Beside(stream, proxy.authorization.clone()))
        }
    }
}

/// An answer of our own.
fn told(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Either::Right(Full::from(format!("codex: {text}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests;
