//! The HTTP side of a WebSocket's port: the upgrade, and what orchestrators ask for.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN,
    SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE,
};
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Bytes;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;

use super::patience::{Impatient, Trust};
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
    let (permit, stop, trust) = (Arc::new(permit), server.shutdown.clone(), Trust::default());
    let stream = Impatient::new(stream, trust.clone());
    let service = service_fn(move |request| {
        let (server, permit, trust) = (Arc::clone(&server), Arc::clone(&permit), trust.clone());
        async move { Ok::<_, Infallible>(answer(&server, request, peer, permit, port, &trust).await) }
    });
    if let Err(error) = converse(stream, service, stop).await {
        tracing::debug!(%peer, "HTTP: {error}");
    }
}

/// Answers requests until the peer goes. Told to stop, it answers what was asked, and takes no more.
async fn converse<S>(stream: impl Pipe + 'static, service: S, stop: CancellationToken) -> hyper::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        // First: what is to stop begins nothing more, whatever has come.
        biased;
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        ended = &mut connection => return ended,
    }
    connection.await
}

type Permit = Arc<OwnedSemaphorePermit>;

async fn answer(
    server: &Arc<Shared>,
    request: Request<Incoming>,
    peer: SocketAddr,
    permit: Permit,
    port: Port,
    trust: &Trust,
) -> Response<Body> {
    let headers = request.headers();
    // Only browsers send it, and a page that one shows has no business here.
    if headers.contains_key(ORIGIN) {
        return status(StatusCode::FORBIDDEN);
    }
    let is_read = *request.method() == Method::GET || *request.method() == Method::HEAD;
    let path = request.uri().path();
    // A page whose own name leads here sends no `Origin` where it only reads, but that name.
    if matches!(path, "/metrics" | "/mcp") && server.token.is_none() && !names_loopback(headers) {
        return status(StatusCode::FORBIDDEN);
    }
    match path {
        "/healthz" | "/readyz" if is_read => status(StatusCode::OK),
        "/metrics" if is_read => match is_admitted(server, headers) {
            true => text(server.metrics.text()),
            false => unauthorized(),
        },
        "/mcp" if port == Port::Mcp => match is_admitted(server, headers) {
            true => {
                trust.give();
                super::mcp::answer(server, request).await
            }
            false => unauthorized(),
        },
        "/" if port == Port::Mcp => status(StatusCode::NOT_FOUND),
        "/" if is_read => upgrade(server, request, peer, permit, trust),
        "/" | "/healthz" | "/readyz" | "/metrics" => status(StatusCode::METHOD_NOT_ALLOWED),
        _ => status(StatusCode::NOT_FOUND),
    }
}

/// Whether a request is addressed to this machine's loopback, and not to a name that leads there by somebody else's word.
fn names_loopback(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let host = authority.host();
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_loopback = address.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    // The host, with a port at most: no user, and nothing that is no port.
    let is_plain = authority.port_u16().is_some() || authority.as_str() == host;
    is_plain && !authority.as_str().contains('@') && (is_loopback || host.eq_ignore_ascii_case("localhost"))
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
    trust: &Trust,
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
    trust.give();
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::sync::Notify;

    use super::*;

    #[test]
    fn names_of_loopback_are_told_from_others() {
        let is_ours = |hosts: &[&str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, HeaderValue::from_str(host).unwrap());
            }
            names_loopback(&headers)
        };
        for host in
            ["localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.1:1", "127.3.2.1:80", "[::1]", "[::1]:80"]
        {
            assert!(is_ours(&[host]), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "evil.example@127.0.0.1",
            "localhost@localhost",
            "10.0.0.1",
            "0.0.0.0",
            "[::]",
            "[::ffff:10.0.0.1]",
            "127.1",
            "localhost:x",
            "a b",
        ] {
            assert!(!is_ours(&[host]), "{host}");
        }
        assert!(!is_ours(&[]));
        assert!(!is_ours(&["localhost", "evil.example"]));
    }

    #[tokio::test]
    async fn told_to_stop_it_answers_what_was_asked_and_no_more() {
        const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        // One that waits for nothing ends at once.
        let (stop, stops) = (CancellationToken::new(), CancellationToken::new());
        let at_once = || service_fn(|_| async { Ok(status(StatusCode::OK)) });
        let (mut idle, theirs) = duplex(1024);
        let serving = tokio::spawn(converse(theirs, at_once(), stop.clone()));
        idle.write_all(ASK).await.unwrap();
        let mut answer = [0; 12];
        idle.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        stop.cancel();
        serving.await.unwrap().unwrap();

        let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (was_asked, may_go) = (Arc::clone(&asked), Arc::clone(&go));
        let service = service_fn(move |_| {
            let (asked, go) = (Arc::clone(&was_asked), Arc::clone(&may_go));
            async move {
                asked.notify_one();
                go.notified().await;
                Ok(status(StatusCode::OK))
            }
        });
        let (mut client, theirs) = duplex(1024);
        let serving = tokio::spawn(converse(theirs, service, stops.clone()));
        // Twice: the second one comes behind the first.
        client.write_all(&[ASK, ASK].concat()).await.unwrap();
        asked.notified().await;
        stops.cancel();
        go.notify_one();
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.unwrap();
        assert_eq!(answers.matches("HTTP/1.1 200").count(), 1, "{answers}");
        assert!(answers.to_ascii_lowercase().contains("connection: close"), "{answers}");
        serving.await.unwrap().unwrap();
    }
}
