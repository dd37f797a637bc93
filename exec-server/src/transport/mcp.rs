//! MCP over HTTP: what stands in front of it.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::AUTHORIZATION;
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

use super::http::{Body, status};
use crate::framing::check_structure;
use crate::mcp::Place;
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
        too_long(server);
        return status(StatusCode::PAYLOAD_TOO_LARGE);
    }
    // Before anything of it is kept: what waits for the rest of itself is under way as well.
    let Some(mut place) = desk.place() else {
        server.metrics.limits_hit.add("concurrent_requests", 1);
        return status(StatusCode::SERVICE_UNAVAILABLE);
    };
    let collected = timeout(PATIENCE, collect(body, most, &mut place)).await;
    let body = match collected.unwrap_or(Err(StatusCode::REQUEST_TIMEOUT)) {
        Ok(body) => body,
        Err(code) => {
            match code {
                StatusCode::PAYLOAD_TOO_LARGE => too_long(server),
                // What was under way had the room that the rest of it would have taken.
                StatusCode::SERVICE_UNAVAILABLE => server.metrics.limits_hit.add("concurrent_requests", 1),
                _ => {}
            }
            return status(code);
        }
    };
    if check_structure(&body).is_err() {
        server.metrics.limits_hit.add("message_structure", 1);
        server.metrics.malformed.add(1);
        return status(StatusCode::BAD_REQUEST);
    }
    if is_post {
        // Held until the handler is done: the head goes with the request. What only listens has no place.
        head.extensions.insert(Arc::new(place));
    }
    http.answer(Request::from_parts(head, Full::new(body))).await
}

/// Counts a message that is longer than it may be.
fn too_long(server: &Shared) {
    server.metrics.limits_hit.add("message_bytes", 1);
    server.metrics.malformed.add(1);
}

/// A body within its bounds. Each piece takes its room as it comes.
async fn collect(mut body: Incoming, most: usize, place: &mut Place) -> Result<Bytes, StatusCode> {
    let mut collected = Vec::new();
    while let Some(frame) = body.frame().await {
        // Trailers mean nothing here.
        let Ok(piece) = frame.map_err(|_broken| StatusCode::BAD_REQUEST)?.into_data() else { continue };
        if collected.len() + piece.len() > most {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        if !place.grow(piece.len()) {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        collected.extend_from_slice(&piece);
    }
    Ok(collected.into())
}
