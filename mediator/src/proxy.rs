//! What is asked at the socket inside a sandbox, answered: `CONNECT` and plain HTTP requests (RFC 9110, RFC 9112).
//!
//! ```text
//! connection ▶ request ▶ host and port ▶ gate ▶ dial ▶ a tunnel, or the request and its response
//! ```
//!
//! Whatever goes through a tunnel is between the command and that host.

use std::convert::Infallible;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use codex_core::exec::{HostRefused, Mediator, Refusals};
use codex_core::policy::{Host, HostGrant};
use codex_linux_sandbox::shown;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::{Authority, Scheme, Uri};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::dial::dial;
use crate::gate::{Gate, GateError, Resolver};

/// How many connections a call may have at a time. Others wait until one has ended.
const MOST_CONNECTIONS: usize = 256;
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

/// The proxy. A clone has what the other has learnt of name servers.
#[derive(Clone, Debug, Default)]
pub struct HostProxy {
    resolver: Resolver,
}

impl Mediator for HostProxy {
    fn mediate(
        &self,
        listener: TcpListener,
        hosts: Arc<[HostGrant]>,
        refusals: Refusals,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let gate = Gate::with(false, hosts, self.resolver.clone());
        let door = Arc::new(Door { gate, refusals, ended: CancellationToken::new() });
        Box::pin(async move {
            let listening =
                listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
            match listening {
                Ok(listener) => serve(listener, door).await,
                Err(error) => tracing::warn!(%error, "what the command asks of hosts can't be answered"),
            }
        })
    }
}

/// What all connections of a call share.
#[derive(Debug)]
struct Door {
    gate: Gate,
    refusals: Refusals,
    /// Ends everything that goes through it.
    ended: CancellationToken,
}

async fn serve(listener: tokio::net::TcpListener, door: Arc<Door>) {
    let _ends_with_us = door.ended.clone().drop_guard();
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        // Never closed.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let door = Arc::clone(&door);
                let ended = door.ended.clone();
                tokio::spawn(async move {
                    ended.run_until_cancelled(connection(stream, door)).await;
                    drop(place);
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
    host: TcpStream,
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
    let host = match door.reach(&asked).await {
        Ok(host) => host,
        Err(refusal) => return refusal,
    };
    if request.method() == Method::CONNECT {
        let tunnel = Tunnel { command: hyper::upgrade::on(&mut request), host };
        // There is room for one, and nothing comes over a connection after that.
        return match tunnels.try_send(tunnel) {
            Ok(()) => Response::new(Either::Right(Full::default())),
            Err(_full) => told(StatusCode::BAD_REQUEST, "this connection is a tunnel already"),
        };
    }
    match forward(request, &asked, host, &door.ended).await {
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
    host: TcpStream,
    ended: &CancellationToken,
) -> Result<Response<Body>, hyper::Error> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    // A path of a URI is one of a request.
    let path = path.parse::<Uri>().unwrap_or_else(|_invalid| Uri::from_static("/"));
    *request.uri_mut() = path;
    without_the_connections(request.headers_mut());
    // What the URL says counts, whatever the head says (RFC 9112, 3.2.2).
    request.headers_mut().insert(HOST, asked.host_header.clone());
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
    Ok(response.map(Either::Left))
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

/// Where a request wants to go.
#[derive(Debug)]
struct Asked {
    /// Without the brackets of an address.
    host: String,
    port: u16,
    host_header: HeaderValue,
}

impl Asked {
    fn of(method: &Method, uri: &Uri) -> Result<Self, &'static str> {
        const NO_PROXY_REQUEST: &str =
            "this is the sandbox's proxy: it takes CONNECT HOST:PORT and http:// URLs";
        let authority = uri.authority().ok_or(NO_PROXY_REQUEST)?;
        let port = match (method, uri.scheme()) {
            (&Method::CONNECT, _) => authority.port_u16().ok_or("CONNECT takes HOST:PORT")?,
            (_, Some(scheme)) if *scheme == Scheme::HTTP => match authority.port() {
                None => 80,
                Some(port) => port.as_u16(),
            },
            _ => return Err(NO_PROXY_REQUEST),
        };
        let host_header = without_user(authority)
            .parse()
            .map_err(|_invalid| "the host's name has characters that no name has")?;
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Ok(Self { host: host.to_owned(), port, host_header })
    }
}

/// `user:password@` is for the client to say in a header of its own.
fn without_user(authority: &Authority) -> &str {
    let text = authority.as_str();
    text.rsplit_once('@').map_or(text, |(_, rest)| rest)
}

impl Door {
    /// A connection with a host, or what the command is told in its place.
    async fn reach(&self, asked: &Asked) -> Result<TcpStream, Response<Body>> {
        let Asked { host, port, .. } = asked;
        let (name, port) = (shown(host), *port);
        let reached = timeout(REACHED, async {
            let addresses = self.gate.addresses(host, port).await;
            match addresses {
                Ok(addresses) => Ok(dial(addresses).await),
                Err(error) => Err(error),
            }
        });
        let error = match reached.await {
            Ok(Ok(Ok(stream))) => return Ok(stream),
            Ok(Ok(Err(error))) => {
                let text = format!("{name}:{port} can't be reached: {error}");
                return Err(told(StatusCode::BAD_GATEWAY, &text));
            }
            Err(_late) => {
                let text = format!("{name}:{port} does not answer");
                return Err(told(StatusCode::GATEWAY_TIMEOUT, &text));
            }
            Ok(Err(error)) => error,
        };
        let is_address = matches!(Host::named(host), Some(Host::Address(_)));
        let why = match error {
            GateError::Unresolved(_) => {
                return Err(told(StatusCode::BAD_GATEWAY, &format!("{name}:{port}: {error}")));
            }
            GateError::Credentials => HostRefused::Credentials,
            GateError::Address(address) if !is_address => HostRefused::Address(address),
            GateError::Address(_) | GateError::Network => HostRefused::NotGranted,
        };
        self.refusals.tell(host, port, why);
        let text = format!(
            "the sandbox keeps {name}:{port} closed: {error}; sandbox.allow_hosts in the user's configuration, or --allow-host, \
             would have to name it"
        );
        Err(told(StatusCode::FORBIDDEN, &text))
    }
}

/// An answer of our own.
fn told(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Either::Right(Full::from(format!("codex: {text}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
