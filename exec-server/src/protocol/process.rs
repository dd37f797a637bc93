//! `process/*` as every client knows it: parameters and results.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Base64, FileUri, GapParams, Limits, NamedPolicy, SandboxContext, Size};

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
    pub env_policy: Option<EnvPolicy>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// Whether its input can be written to.
    pub pipe_stdin: Option<bool>,
    /// Its `argv[0]`.
    pub arg0: Option<String>,
    /// Whose command it is.
    pub metadata: Option<Metadata>,
    /// The sandbox; none for null.
    pub sandbox: Option<SandboxContext>,
    /// Whether the network is to be reached by a proxy only.
    pub enforce_managed_network: Option<bool>,
    /// The proxy, which this server does not have.
    pub network_proxy: Option<Box<RawValue>>,
    /// A snapshot of a shell, which this server does not make.
    pub shell_snapshot: Option<Box<RawValue>>,
    /// Ours: a policy by name or value, in place of `sandbox`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<NamedPolicy>,
    /// Ours: when it is ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Ours: whether what it leaves behind goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detach: Option<bool>,
    /// Ours: the size of its terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Ours: whether all of its output is kept, in a file that `process/readSpill` reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spill: Option<bool>,
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
            spill: None,
        }
    }
}

/// Whose command it is.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The thread.
    pub thread_id: Option<uuid::Uuid>,
    /// The tool call.
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

/// The answer to `process/start`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartResult {
    /// As it was asked for.
    pub process_id: String,
    /// By what it is confined.
    #[serde(skip_serializing_if = "Option::is_none")]
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
    pub after_seq: Option<u64>,
    /// Chunks of these bytes together, and at least one.
    pub max_bytes: Option<usize>,
    /// How long to wait where there is nothing.
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
    #[serde(skip_serializing_if = "Option::is_none")]
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
