//! `http/request`.

use std::sync::Arc;
use std::time::Duration;

use codex_core::exec::Labels;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response, Url};
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Answer, Context, Later, Params, Rest, answer, labels};
use crate::http::{HttpError, Request, shown};
use crate::noted;
use crate::outgoing::{Gone, Outgoing};
use crate::protocol::{
    Base64, BodyDeltaParams, HttpHeader, HttpParams, HttpResult, Id, RedirectPolicy, RpcError,
};

/// How long an answer may take where the client does not say.
const USUALLY: Duration = Duration::from_secs(60);
/// How many headers a request may have, and how many bytes they may have together.
const MOST_HEADERS: (usize, usize) = (128, 64 * 1024);
/// How much of a streamed body is told at once.
const PIECE: usize = 64 * 1024;

pub(super) fn request(context: &Context, params: Params) -> Result<Rest, RpcError> {
    let HttpParams {
        method,
        url,
        request_id,
        headers,
        body_base64,
        timeout_ms,
        redirect_policy,
        stream_response,
    } = params.read()?;
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| {
        RpcError::params(format!("{} is no method of HTTP", codex_linux_sandbox::shown(&method)))
    })?;
    let headers = read_headers(headers.unwrap_or_default())?;
    let follow = redirect_policy != Some(RedirectPolicy::Stop);
    let body = body_base64.unwrap_or_default().0.into();
    let mut request = Request::new(method, read_url(&url)?, headers, body, follow);
    let longest = context.server.limits.longest_wait;
    let patience = timeout_ms.map_or(USUALLY, Duration::from_millis).min(longest);
    let streamed = stream_response == Some(true);
    let context = context.clone();
    Ok(Box::pin(async move {
        let place = Arc::clone(&context.http).try_acquire_owned().map_err(|_full| {
            context.server.metrics.limits_hit.add("http_requests", 1);
            RpcError::invalid("as many HTTP requests are under way as a connection may have; wait for one")
        })?;
        let slow = || RpcError::internal(format!("no answer within {} ms", patience.as_millis()));
        if streamed {
            let response = timeout(patience, send(&context, &mut request)).await.map_err(|_| slow())??;
            let result = HttpResult {
                status: response.status().as_u16(),
                headers: headers_of(&response),
                body_base64: Base64(Vec::new()),
            };
            let stream =
                Stream { request_id, seq: 0, out: context.out.clone(), idle: longest, _place: place };
            let later = Later(Box::new(move |cancelled| Box::pin(stream.tell(response, cancelled))));
            return Ok(Answer { later: Some(later), ..answer(result)? });
        }
        let most = context.server.limits.file_bytes;
        let whole = async {
            let response = send(&context, &mut request).await?;
            let (status, headers) = (response.status().as_u16(), headers_of(&response));
            // What has not said how large it is may be as large as any.
            let length = response.content_length().and_then(|length| usize::try_from(length).ok());
            let mut room = context.bodies.take(length.unwrap_or(most).min(most)).await;
            let body = whole_body(response, most, &shown(&request.url)).await?;
            room.fit(body.len());
            Ok::<_, RpcError>((status, headers, body, room))
        };
        let (status, headers, body, room) = timeout(patience, whole).await.map_err(|_| slow())??;
        drop(place);
        let answered = answer(HttpResult { status, headers, body_base64: Base64(body) })?;
        Ok(Answer { room: Some(room), ..answered })
    }))
}

fn read_url(text: &str) -> Result<Url, RpcError> {
    let url =
        Url::parse(text).map_err(|error| RpcError::params(format!("the URL can't be read: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        let scheme = codex_linux_sandbox::shown(url.scheme());
        return Err(RpcError::params(format!(
            "a URL of the scheme {scheme}, where http and https are known"
        )));
    }
    Ok(url)
}

fn read_headers(headers: Vec<HttpHeader>) -> Result<HeaderMap, RpcError> {
    let (most, most_bytes) = MOST_HEADERS;
    let bytes: usize = headers.iter().map(|header| header.name.len() + header.value.len()).sum();
    if headers.len() > most || bytes > most_bytes {
        return Err(RpcError::invalid(format!(
            "{} headers of {bytes} bytes, where {most} of {most_bytes} are the most",
            headers.len()
        )));
    }
    let mut map = HeaderMap::new();
    for HttpHeader { name, value } in headers {
        let wrong =
            || RpcError::params(format!("the header {} can't be sent", codex_linux_sandbox::shown(&name)));
        let known = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        map.append(known, HeaderValue::from_str(&value).map_err(|_| wrong())?);
    }
    Ok(map)
}

/// Sends a request to where it leads in the end. Each hop is noted before anything of it leaves.
async fn send(context: &Context, request: &mut Request) -> Result<Response, RpcError> {
    loop {
        note(context, request, None).await.map_err(RpcError::internal)?;
        let answered = match request.hop(&context.server.gate).await {
            Ok(response) => request.goes_on(&response).map(|goes_on| (!goes_on).then_some(response)),
            Err(error) => Err(error),
        };
        match answered {
            Ok(Some(response)) => return Ok(response),
            Ok(None) => {}
            Err(error @ HttpError::Gated(_)) => {
                tracing::info!(peer = &*context.peer, "refused: {error}");
                note(context, request, Some(error.to_string())).await.map_err(RpcError::internal)?;
                return Err(RpcError::invalid(error.to_string()));
            }
            Err(error) => return Err(RpcError::internal(error.to_string())),
        }
    }
}

fn headers_of(response: &Response) -> Vec<HttpHeader> {
    let headers = response.headers().iter();
    headers
        .map(|(name, value)| HttpHeader {
            name: name.as_str().to_owned(),
            value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
        })
        .collect()
}

async fn whole_body(mut response: Response, most: usize, url: &str) -> Result<Vec<u8>, RpcError> {
    let mut body = Vec::new();
    let broken = |error: reqwest::Error| RpcError::internal(format!("{url}: the answer breaks off: {error}"));
    while let Some(piece) = response.chunk().await.map_err(broken)? {
        if body.len() + piece.len() > most {
            return Err(RpcError::invalid(format!(
                "{url}: an answer of more than {most} bytes; with streamResponse it comes in pieces"
            )));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// What is said of a hop in the audit log.
#[derive(Debug, Serialize)]
struct Record {
    #[serde(flatten)]
    labels: Labels,
    method: String,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
}

/// Notes a hop, or why there is none. The error is a sentence.
async fn note(context: &Context, request: &Request, refused: Option<String>) -> Result<(), String> {
    let event = if refused.is_some() { "refused" } else { "http" };
    let record = Record {
        labels: labels(context, None),
        method: request.method.to_string(),
        url: shown(&request.url),
        refused,
    };
    noted::note(&context.server.ceiling, event, record).await
}

/// A body on its way to the client.
struct Stream {
    request_id: Id,
    seq: u64,
    out: Outgoing,
    idle: Duration,
    _place: OwnedSemaphorePermit,
}

impl Stream {
    /// Tells all of it, as fast as the client takes it: the other side waits meanwhile. Where the request is cancelled, that is the
    /// end.
    async fn tell(mut self, response: Response, cancelled: CancellationToken) {
        let out = self.out.clone();
        let told = tokio::select! {
            told = self.pieces(response) => Some(told),
            () = cancelled.cancelled() => None,
            () = out.gone() => Some(Err(Gone)),
        };
        let told = match told {
            Some(told) => told,
            None => self.piece(&[], true, Some("the request was cancelled".to_owned())).await,
        };
        if told.is_err() {
            tracing::debug!("a client that is gone does not hear the end of an HTTP answer");
        }
    }

    async fn pieces(&mut self, mut response: Response) -> Result<(), Gone> {
        loop {
            match timeout(self.idle, response.chunk()).await {
                Ok(Ok(Some(bytes))) => {
                    for piece in bytes.chunks(PIECE) {
                        self.piece(piece, false, None).await?;
                    }
                }
                Ok(Ok(None)) => return self.piece(&[], true, None).await,
                Ok(Err(error)) => {
                    return self.piece(&[], true, Some(format!("the answer breaks off: {error}"))).await;
                }
                Err(_slow) => {
                    return self.piece(&[], true, Some("nothing has come for long".to_owned())).await;
                }
            }
        }
    }

    async fn piece(&mut self, bytes: &[u8], done: bool, error: Option<String>) -> Result<(), Gone> {
        let delta = BodyDeltaParams {
            request_id: self.request_id.clone(),
            seq: self.seq + 1,
            delta_base64: Base64(bytes.to_vec()),
            done,
            error,
        };
        self.out.tell("http/request/bodyDelta", delta).await?;
        // One that was given up while it waited to be sent has no number.
        self.seq += 1;
        Ok(())
    }
}
