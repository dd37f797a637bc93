//! Errors as they are told.

use serde::{Deserialize, Serialize};

/// What kind of error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The message or its time is wrong: not a request, no session yet, an id that is taken, something refused.
    InvalidRequest,
    /// There is no such method.
    MethodNotFound,
    /// The parameters are wrong.
    InvalidParams,
    /// What was asked for failed: it could not be started, the kernel said no.
    Internal,
    /// The file, directory or file handle is not there.
    NotFound,
    /// The session belongs to another connection, which is alive.
    SessionAttached,
    /// The request was cancelled by `request/cancel`.
    Cancelled,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 7] = [
        Self::InvalidRequest,
        Self::MethodNotFound,
        Self::InvalidParams,
        Self::Internal,
        Self::NotFound,
        Self::SessionAttached,
        Self::Cancelled,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::InvalidRequest => -32600,
            Self::MethodNotFound => -32601,
            Self::InvalidParams => -32602,
            Self::Internal => -32603,
            Self::NotFound => -32004,
            Self::SessionAttached => -32010,
            Self::Cancelled => -32800,
        }
    }

    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::MethodNotFound => "method_not_found",
            Self::InvalidParams => "invalid_params",
            Self::Internal => "internal",
            Self::NotFound => "not_found",
            Self::SessionAttached => "session_attached",
            Self::Cancelled => "cancelled",
        }
    }
}

/// An error as the answer to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} ({code})")]
pub struct RpcError {
    /// The number of an [`ErrorCode`]; a peer may send others.
    pub code: i64,
    /// One line.
    pub message: String,
    /// More, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
}

impl RpcError {
    /// An error of a kind.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code: code.number(), message: message.into(), data: None }
    }

    /// [`ErrorCode::InvalidRequest`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// [`ErrorCode::InvalidParams`].
    pub fn params(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidParams, message)
    }

    /// [`ErrorCode::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Internal, message)
    }

    /// The kind, for errors of our own.
    #[must_use]
    pub fn kind(&self) -> ErrorCode {
        ErrorCode::ALL.into_iter().find(|code| code.number() == self.code).unwrap_or(ErrorCode::Internal)
    }
}
