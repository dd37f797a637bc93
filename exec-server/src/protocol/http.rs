//! `http/request`: parameters, result, notifications.

use serde::{Deserialize, Serialize};

use super::{Base64, Id};

/// `http/request`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpParams {
    /// `GET`, `POST`, …
    pub method: String,
    /// An `http:` or `https:` URL.
    pub url: String,
    /// What the pieces of a streamed body are told with; the client's choice.
    pub request_id: Id,
    /// Headers, in order.
    pub headers: Option<Vec<HttpHeader>>,
    /// The body.
    pub body_base64: Option<Base64>,
    /// How long it may take until the answer is there: whole, or the head of one that is streamed.
    pub timeout_ms: Option<u64>,
    /// What is done about redirects; they are followed where nothing is said.
    pub redirect_policy: Option<RedirectPolicy>,
    /// Whether the body comes in notifications.
    pub stream_response: Option<bool>,
}

/// What is done about redirects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedirectPolicy {
    /// They are followed.
    Follow,
    /// They are the answer.
    Stop,
}

/// A header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpHeader {
    /// Its name.
    pub name: String,
    /// Its value; what is no UTF-8 in it is replaced.
    pub value: String,
}

/// The answer to `http/request`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpResult {
    /// The status.
    pub status: u16,
    /// Headers, in order.
    pub headers: Vec<HttpHeader>,
    /// The body; empty where it is streamed.
    pub body_base64: Base64,
}

/// `http/request/bodyDelta`: a piece of a streamed body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BodyDeltaParams {
    /// The request.
    pub request_id: Id,
    /// From 1, without a gap.
    pub seq: u64,
    /// The bytes.
    pub delta_base64: Base64,
    /// Whether nothing follows.
    pub done: bool,
    /// Why it ends early.
    pub error: Option<String>,
}
