//! What a process tells by itself.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Base64, Stream};

/// `process/output`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputParams {
    /// The process.
    pub process_id: String,
    /// Its number.
    pub seq: u64,
    /// The stream.
    pub stream: Stream,
    /// The bytes.
    pub chunk: Base64,
    /// Ours: the session, where it is not the connection's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}

/// `process/exited`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExitedParams {
    /// The process.
    pub process_id: String,
    /// Its number.
    pub seq: u64,
    /// Its code; 128 and the number of the signal that ended it.
    pub exit_code: i32,
    /// Whether the sandbox has refused it something.
    pub sandbox_denied: bool,
    /// Ours: the session, where it is not the connection's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}

/// `process/closed`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClosedParams {
    /// The process.
    pub process_id: String,
    /// Its number.
    pub seq: u64,
    /// Ours: how it ended, what the sandbox held and refused; the fields of the JSON result without the streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Box<RawValue>>,
    /// Ours: the session, where it is not the connection's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}

/// Ours: `process/gap`. Events that the reader was too slow for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GapParams {
    /// The process.
    pub process_id: String,
    /// The first number that is missing.
    pub from_seq: u64,
    /// The last one.
    pub to_seq: u64,
    /// How many bytes of each stream. Unknown only where the reader began in the middle of what was gone.
    pub bytes: Option<MissedBytes>,
    /// Where they are in what `process/readSpill` reads, where the process was started with `spill`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spill: Option<SpillCursor>,
    /// Ours: the session, where it is not the connection's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}

/// A piece of what all streams of a process wrote, in the order in which it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SpillCursor {
    /// How many bytes come before it. Unknown where the number of its bytes is.
    pub offset: Option<u64>,
    /// How many bytes come before what follows. The file may have fewer.
    pub end: u64,
}

/// Bytes of each stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct MissedBytes {
    /// Of standard output.
    pub stdout: u64,
    /// Of standard error.
    pub stderr: u64,
    /// Of the terminal.
    pub pty: u64,
}
