//! `process/*`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Base64, FileUri, SandboxContext};

/// `process/start`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartParams {
    /// What the client calls it. Any text that is not taken in the session.
    pub process_id: String,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Where it runs.
    pub cwd: FileUri,
    /// Variables; without `env_policy`, all of them.
    pub env: BTreeMap<String, String>,
    /// How the environment is built.
    #[serde(default)]
    pub env_policy: Option<EnvPolicy>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Whether its input can be written to.
    #[serde(default)]
    pub pipe_stdin: Option<bool>,
    /// Its `argv[0]`.
    #[serde(default)]
    pub arg0: Option<String>,
    /// Whose command it is.
    #[serde(default)]
    pub metadata: Option<Metadata>,
    /// The sandbox; none for null.
    #[serde(default)]
    pub sandbox: Option<SandboxContext>,
    /// Whether the network is to be reached by a proxy only.
    #[serde(default)]
    pub enforce_managed_network: Option<bool>,
    /// The proxy, which this server does not have.
    #[serde(default)]
    pub network_proxy: Option<Box<RawValue>>,
    /// A snapshot of a shell, which this server does not make.
    #[serde(default)]
    pub shell_snapshot: Option<Box<RawValue>>,
    /// Ours: a policy by name or value, in place of `sandbox`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<NamedPolicy>,
    /// Ours: when it is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Ours: whether what it leaves behind goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detach: Option<bool>,
    /// Ours: the size of its terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
}

impl StartParams {
    /// A command in a directory, with the server's own environment, without terminal, input and sandbox: a policy or a sandbox
    /// is to be set where the server asks for one.
    #[must_use]
    pub fn new(process_id: impl Into<String>, argv: Vec<String>, cwd: FileUri) -> Self {
        Self {
            process_id: process_id.into(),
            argv,
            cwd,
            env: BTreeMap::new(),
            env_policy: Some(EnvPolicy {
                inherit: EnvInherit::All,
                ignore_default_excludes: true,
                exclude: Vec::new(),
                set: BTreeMap::new(),
                include_only: Vec::new(),
            }),
            tty: false,
            pipe_stdin: None,
            arg0: None,
            metadata: None,
            sandbox: None,
            enforce_managed_network: None,
            network_proxy: None,
            shell_snapshot: None,
            policy: None,
            limits: None,
            detach: None,
            size: None,
        }
    }
}

/// Whose command it is.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The thread.
    #[serde(default)]
    pub thread_id: Option<uuid::Uuid>,
    /// The tool call.
    #[serde(default)]
    pub tool_call_id: Option<String>,
}

/// How an environment is built.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvPolicy {
    /// What to start from.
    pub inherit: EnvInherit,
    /// Keeps what looks like a secret.
    pub ignore_default_excludes: bool,
    /// Drops these.
    pub exclude: Vec<String>,
    /// Sets these.
    pub set: BTreeMap<String, String>,
    /// Keeps these only, where there are any.
    pub include_only: Vec<String>,
}

/// What an environment starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum EnvInherit {
    /// What programs can't do without.
    Core,
    /// The server's own.
    All,
    /// Nothing.
    None,
}

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
}

/// When a command is ended. Each is an ending of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// After this many milliseconds.
    #[serde(default)]
    pub deadline_ms: Option<u64>,
    /// When it has written nothing for this many.
    #[serde(default)]
    pub idle_ms: Option<u64>,
    /// When it has written more than these bytes.
    #[serde(default)]
    pub output_bytes: Option<u64>,
    /// How long it has to end after it was asked to.
    #[serde(default)]
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

/// The answer to `process/start`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartResult {
    /// As it was asked for.
    pub process_id: String,
    /// By what it is confined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_type: Option<SandboxKind>,
}

/// By what a command is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SandboxKind {
    /// By nothing.
    None,
    /// By Linux's own means.
    LinuxSeccomp,
}

/// Names a process.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessParams {
    /// The process.
    pub process_id: String,
}

/// `process/read`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadParams {
    /// The process.
    pub process_id: String,
    /// Events above this number.
    #[serde(default)]
    pub after_seq: Option<u64>,
    /// Chunks of these bytes together, and at least one.
    #[serde(default)]
    pub max_bytes: Option<usize>,
    /// How long to wait where there is nothing.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// The answer to `process/read`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadResult {
    /// What was written.
    pub chunks: Vec<Chunk>,
    /// One past the newest event, or past the last chunk where there was no room for more.
    pub next_seq: u64,
    /// Whether it has exited.
    pub exited: bool,
    /// With which code.
    pub exit_code: Option<i32>,
    /// Whether its streams have ended.
    pub closed: bool,
    /// What went wrong with it.
    pub failure: Option<String>,
    /// Whether the sandbox has refused it something.
    pub sandbox_denied: bool,
    /// Ours: what came before the chunks and is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<GapParams>,
}

/// A piece of a stream.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Chunk {
    /// Its number.
    pub seq: u64,
    /// The stream.
    pub stream: Stream,
    /// The bytes.
    pub chunk: Base64,
}

/// A stream of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The terminal.
    Pty,
}

/// `process/write`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WriteParams {
    /// The process.
    pub process_id: String,
    /// The bytes.
    pub chunk: Base64,
    /// What is written once only.
    pub write_id: String,
}

/// The answer to `process/write`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct WriteResult {
    /// What became of it.
    pub status: WriteStatus,
}

/// What became of bytes that were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum WriteStatus {
    /// They are written as the process reads.
    Accepted,
    /// There is no such process.
    UnknownProcess,
    /// It has no input that could be written to.
    StdinClosed,
    /// It is not there yet.
    Starting,
}

/// `process/signal`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignalParams {
    /// The process.
    pub process_id: String,
    /// The signal.
    pub signal: SignalName,
}

/// A signal: `interrupt` or, ours, a name (`SIGTERM`, `TERM`) or a number.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum SignalName {
    /// By name.
    Name(String),
    /// By number.
    Number(i32),
}

/// The answer to `process/terminate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct TerminateResult {
    /// Whether it was running.
    pub running: bool,
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
    #[serde(default)]
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
    /// The program and its arguments.
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Box<RawValue>>,
    /// Ours: the session, where it is not the connection's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    /// Ours: the session, where it is not the connection's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
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

/// Ours: `request/cancel`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct CancelParams {
    /// The request.
    pub id: super::Id,
}

/// Ours: `policy/explain`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainParams {
    /// As in `process/start`.
    #[serde(default)]
    pub sandbox: Option<SandboxContext>,
    /// As in `process/start`.
    #[serde(default)]
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
