//! Ours: what clients have that ask for it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Base64, FileUri, Id, SandboxContext, Stream};

/// A policy in our own words.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum NamedPolicy {
    /// By the name of its mode, with the details that the server's configuration gives it.
    Name(String),
    /// By value.
    Value(PolicyValue),
}

/// A policy by value.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyValue {
    /// The name of the mode.
    pub mode: String,
    /// Under `workspace-write`, what can be written. The first is the workspace.
    #[serde(default)]
    pub writable_roots: Vec<FileUri>,
    /// Whether the network can be reached.
    #[serde(default)]
    pub network: bool,
    /// Leaves `/tmp` and `$TMPDIR` out.
    #[serde(default)]
    pub exclude_tmp: bool,
    /// Single hosts that can be reached, the network being off otherwise. Left out, those of the server's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
}

/// When a command is ended. Each is an ending of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// After this many milliseconds.
    pub deadline_ms: Option<u64>,
    /// When it has written nothing for this many.
    pub idle_ms: Option<u64>,
    /// When it has written more than these bytes.
    pub output_bytes: Option<u64>,
    /// How long it has to end after it was asked to.
    pub grace_ms: Option<u64>,
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// Ours: `process/resize`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResizeParams {
    /// The process.
    pub process_id: String,
    /// The new size.
    pub size: Size,
}

/// Ours: `process/attach`, from another connection.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachParams {
    /// The session that the process belongs to.
    pub session_id: String,
    /// The process.
    pub process_id: String,
    /// Events above this number.
    pub after_seq: Option<u64>,
}

/// Ours: the answer to `process/list`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ListResult {
    /// The session's processes, those included that have ended and are kept.
    pub processes: Vec<Listed>,
}

/// Ours: a process in a list.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// What the client calls it.
    pub process_id: String,
    /// The program and its arguments; of a long command line the first 4 KiB, with `…` at the end.
    pub argv: Vec<String>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether it runs.
    pub running: bool,
    /// Its exit code, once it has one.
    pub exit_code: Option<i32>,
    /// Since when, in milliseconds since 1970.
    pub started_at_ms: u64,
}

/// Ours: `process/readSpill`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadSpillParams {
    /// The process.
    pub process_id: String,
    /// Its session, where it is another's.
    pub session_id: Option<String>,
    /// How many bytes of its output come before what is asked for.
    pub offset: u64,
    /// How many bytes at most; 256 KiB where nothing is said, and never more than 1 MiB.
    pub max_bytes: Option<usize>,
}

/// Ours: the answer to `process/readSpill`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadSpillResult {
    /// What was asked for, in the order in which it came.
    pub chunks: Vec<SpillChunk>,
    /// Where the next piece begins.
    pub next_offset: u64,
    /// How many bytes the file has.
    pub written: u64,
    /// Whether it gets no more.
    pub ended: bool,
    /// Why it does not have all that the process wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

/// Ours: a piece of a file with a process's output.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SpillChunk {
    /// The stream. Unknown where streams took turns more than 8192 times before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<Stream>,
    /// The bytes.
    pub chunk: Base64,
}

/// Ours: `request/cancel`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct CancelParams {
    /// The request.
    pub id: Id,
}

/// Ours: `policy/explain`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainParams {
    /// As in `process/start`.
    pub sandbox: Option<SandboxContext>,
    /// As in `process/start`.
    pub policy: Option<NamedPolicy>,
}

/// Ours: the answer to `policy/explain`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainResult {
    /// Whether a command would run under it.
    pub allowed: bool,
    /// Why not.
    pub reason: Option<String>,
    /// The mode that it comes to.
    pub mode: Option<String>,
    /// What could be written; nothing where everything could.
    pub writable_roots: Option<Vec<FileUri>>,
    /// Whether the network could be reached.
    pub network: Option<bool>,
    /// What would hold.
    pub enforcement: Option<Box<RawValue>>,
}
