//! The HTTP side of a WebSocket's port: the upgrade, and what orchestrators ask for.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, ORIGIN,
    SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Bytes;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Pipe, web_socket, web_socket_config};
use crate::connection;
use crate::server::Shared;

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);
/// How large what it says may be.
const LARGEST_HEAD: usize = 16 * 1024;

pub(super) type Body = BoxBody<Bytes, Infallible>;

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// An upgrade at `/`.
    WebSocket,
    /// MCP at `/mcp`.
    Mcp,
}

/// Serves one connection over TCP: plain requests, or a WebSocket.
/// The permit is held as long as the connection lasts.
pub(crate) async fn serve_http(
    server: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
    port: Port,
) {
    let permit = Arc::new(permit);
    let service = service_fn(move |request| {
        let (server, permit) = (Arc::clone(&server), Arc::clone(&permit));
        async move { Ok::<_, Infallible>(answer(&server, request, peer, permit, port).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%peer, "HTTP: {error}");
    }
}

type Permit = Arc<OwnedSemaphorePermit>;

async fn answer(
    server: &Arc<Shared>,
    request: Request<Incoming>,
    peer: SocketAddr,
    permit: Permit,
    port: Port,
) -> Response<Body> {
    let headers = request.headers();
    // Only browsers send it, and a page that one shows has no business here.
    if headers.contains_key(ORIGIN) {
        return status(StatusCode::FORBIDDEN);
    }
    let is_read = *request.method() == Method::GET || *request.method() == Method::HEAD;
    match request.uri().path() {
        "/healthz" | "/readyz" if is_read => status(StatusCode::OK),
        "/metrics" if is_read => match is_admitted(server, headers) {
            true => text(server.metrics.text()),
            false => unauthorized(),
        },
        "/mcp" if port == Port::Mcp => match is_admitted(server, headers) {
            true => super::mcp::answer(server, request).await,
            false => unauthorized(),
        },
        "/" if port == Port::Mcp => status(StatusCode::NOT_FOUND),
        "/" if is_read => upgrade(server, request, peer, permit),
        "/" | "/healthz" | "/readyz" | "/metrics" => status(StatusCode::METHOD_NOT_ALLOWED),
        _ => status(StatusCode::NOT_FOUND),
    }
}

fn is_admitted(server: &Shared, headers: &HeaderMap) -> bool {
    let shown = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    server.token.as_ref().is_none_or(|token| token.admits(shown))
}

fn upgrade(
    server: &Arc<Shared>,
    mut request: Request<Incoming>,
    peer: SocketAddr,
    permit: Permit,
) -> Response<Body> {
    let headers = request.headers();
    if !has_word(headers, &UPGRADE, "websocket") || !has_word(headers, &CONNECTION, "upgrade") {
        return with_header(StatusCode::UPGRADE_REQUIRED, UPGRADE, HeaderValue::from_static("websocket"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let version = HeaderValue::from_static("13");
        return with_header(StatusCode::BAD_REQUEST, SEC_WEBSOCKET_VERSION, version);
    }
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY) else { return status(StatusCode::BAD_REQUEST) };
    if !is_admitted(server, headers) {
        return unauthorized();
    }
    let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) else {
        return status(StatusCode::BAD_REQUEST);
    };
    let upgraded = hyper::upgrade::on(&mut request);
    let server = Arc::clone(server);
    tokio::spawn(async move {
        match upgraded.await {
            Ok(stream) => {
                let stream: Box<dyn Pipe> = Box::new(TokioIo::new(stream));
                let config = web_socket_config(server.limits.message_bytes);
                let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
                let (reader, writer) = web_socket(socket);
                connection::serve(server, reader, writer, format!("ws {peer}").into()).await;
            }
            Err(error) => tracing::debug!(%peer, "the connection was not upgraded: {error}"),
        }
        drop(permit);
    });
    let mut response = with_header(StatusCode::SWITCHING_PROTOCOLS, SEC_WEBSOCKET_ACCEPT, accept);
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response
}

/// Whether a header of lists has a word, in any letter case.
fn has_word(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|found| found.trim().eq_ignore_ascii_case(word))
}

pub(super) fn status(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Full::default().boxed());
    *response.status_mut() = code;
    response
}

fn with_header(code: StatusCode, name: HeaderName, value: HeaderValue) -> Response<Body> {
    let mut response = status(code);
    response.headers_mut().insert(name, value);
    response
}

fn unauthorized() -> Response<Body> {
    with_header(StatusCode::UNAUTHORIZED, WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

fn text(text: String) -> Response<Body> {
    let mut response = Response::new(Full::from(text).boxed());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"));
    response
}
