//! Why a model gave no answer.

use std::time::Duration;

use codex_linux_sandbox::shown;
use serde_json::Value;

use super::trust::Distrust;

/// Why a model gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The server could not be reached, or did not answer.
    #[error("{url} can't be reached: {why}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        why: String,
    },
    /// The server's certificate is not trusted, and nothing was said to it.
    #[error("{url} is not trusted: {why}; {}", .distrust.advice())]
    Untrusted {
        /// Where.
        url: String,
        /// Why, in the words of TLS.
        why: String,
        /// What is wrong with it.
        distrust: Distrust,
    },
    /// The server refused.
    #[error("the server answered {status}{}", told(.message))]
    Status {
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// Too many requests or tokens.
    #[error("the rate limit of the server is reached{}", told(.message))]
    RateLimit {
        /// What it said.
        message: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The conversation is longer than the model can take.
    #[error("the conversation is longer than what the model can read at once{}", told(.message))]
    ContextOverflow {
        /// What the server said.
        message: String,
    },
    /// The answer broke off, or makes no sense.
    #[error("the answer broke off: {0}")]
    Stream(String),
    /// The answer paused for too long.
    #[error("the server sent nothing for {} s", .0.as_secs_f64())]
    Idle(Duration),
    /// The model failed.
    #[error("the model failed{}", told(.message))]
    Failed {
        /// What the server said.
        message: String,
        /// Whether it is worth another try.
        passing: bool,
    },
    /// The answer is cut.
    #[error("the answer is not whole: {0}")]
    Incomplete(String),
    /// The request can't be made.
    #[error("the request can't be made: {0}")]
    Request(String),
}

fn told(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

/// How much of what a server says is passed on.
const LONGEST: usize = 600;

/// A server's words, on one line.
pub(super) fn words(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = text.floor_char_boundary(LONGEST);
    let cut = text.get(..end).unwrap_or_default();
    shown(cut) + if end < text.len() { "…" } else { "" }
}

/// The code and the message of an error as servers write them: `{"error": {…}}`, `{"error": "…"}`, `{"message": …}`.
pub(super) fn code_and_message(value: &Value) -> (String, String) {
    let error = value.get("error").filter(|error| !error.is_null()).unwrap_or(value);
    let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let code = match text("code") {
        code if code.is_empty() => text("type"),
        code => code,
    };
    let message = error.as_str().map_or_else(|| text("message"), str::to_owned);
    (code, words(&message))
}

/// Whether a server says that the conversation is too long. There is no common word for it.
fn is_overflow(code: &str, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    code == "context_length_exceeded"
        || code == "exceed_context_size_error"
        || ["context length", "context window", "context size", "maximum context", "prompt is too long"]
            .iter()
            .any(|words| message.contains(words))
}

impl ModelError {
    /// What an answer that is no stream means.
    pub(super) fn of_status(status: u16, body: &str, retry_after: Option<Duration>) -> Self {
        let (code, message) = match serde_json::from_str::<Value>(body) {
            Ok(value) => code_and_message(&value),
            Err(_) => (String::new(), words(body)),
        };
        if matches!(status, 400 | 413 | 422 | 500) && is_overflow(&code, &message) {
            return Self::ContextOverflow { message };
        }
        // What is used up does not come back by waiting.
        if status == 429 && code != "insufficient_quota" {
            return Self::RateLimit { message, retry_after };
        }
        Self::Status { status, message, retry_after }
    }

    /// What an error within a stream means.
    pub(super) fn of_event(value: &Value) -> Self {
        let (code, message) = code_and_message(value);
        if is_overflow(&code, &message) {
            return Self::ContextOverflow { message };
        }
        if code.contains("rate_limit") {
            return Self::RateLimit { retry_after: wait_in(&message), message };
        }
        let passing = code.is_empty()
            || ["server_error", "overloaded", "unavailable", "timeout"]
                .iter()
                .any(|word| code.contains(word));
        Self::Failed { message, passing }
    }

    /// Whether another try may succeed.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::RateLimit { .. } | Self::Stream(_) | Self::Idle(_) => true,
            Self::Status { status, .. } => matches!(status, 408 | 409 | 425 | 500..=599),
            Self::Failed { passing, .. } => *passing,
            // Who is no one to be trusted is none a moment later.
            Self::Untrusted { .. } => false,
            Self::ContextOverflow { .. } | Self::Incomplete(_) | Self::Request(_) => false,
        }
    }

    /// Whether the request was answered, and the answer broke off: such tries are counted apart.
    pub(super) const fn is_of_stream(&self) -> bool {
        matches!(self, Self::Stream(_) | Self::Idle(_) | Self::Failed { .. })
    }

    /// When the server wants to be asked again.
    pub(super) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } | Self::RateLimit { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// `Please try again in 1.5s`, or in `250ms`.
fn wait_in(message: &str) -> Option<Duration> {
    let (_, after) = message.split_once("try again in ")?;
    let end = after.find(|character: char| !(character.is_ascii_digit() || character == '.'))?;
    let (number, unit) = after.split_at_checked(end)?;
    let number: f64 = number.parse().ok()?;
    let seconds = if unit.starts_with("ms") { number / 1e3 } else { number };
    Duration::try_from_secs_f64(seconds).ok()
}
