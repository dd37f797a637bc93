//! MCP over HTTP: what stands in front of it.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::AUTHORIZATION;
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

use super::http::{Body, status};
use crate::framing::check_structure;
use crate::server::Shared;

/// How long a client may take to send a request's body.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers a request of somebody who may ask.
pub(super) async fn answer(server: &Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let Some(desk) = &server.mcp else { return status(StatusCode::NOT_FOUND) };
    let http = desk.http(server);
    let is_post = request.method() == Method::POST;
    let (mut head, body) = request.into_parts();
    // What the protocol's rooms have no need to see they can't show.
    head.headers.remove(AUTHORIZATION);
    let most = server.limits.mcp_message_bytes;
    if body.size_hint().lower() > most as u64 {
        server.metrics.malformed.add(1);
        return status(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let body = match timeout(PATIENCE, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            server.metrics.malformed.add(1);
            return status(StatusCode::PAYLOAD_TOO_LARGE);
        }
        Ok(Err(_broken)) => return status(StatusCode::BAD_REQUEST),
        Err(_elapsed) => return status(StatusCode::REQUEST_TIMEOUT),
    };
    if check_structure(&body).is_err() {
        server.metrics.malformed.add(1);
        return status(StatusCode::BAD_REQUEST);
    }
    if is_post {
        // Held until the handler is done: the head goes with the request.
        let Some(place) = desk.place(body.len()) else { return status(StatusCode::SERVICE_UNAVAILABLE) };
        head.extensions.insert(Arc::new(place));
    }
    http.answer(Request::from_parts(head, Full::new(body))).await
}
