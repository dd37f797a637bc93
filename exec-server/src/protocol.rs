//! The messages, by the names that they have on the wire.
//!
//! JSON-RPC without the `jsonrpc` member, as clients of Codex CLI 0.169 speak it: `docs/exec-server.md` says what each
//! method does. Types here hold what a message says and nothing more; what comes of it is decided in `handlers`.
//!
//! - `message`: the envelope, and what is wrong with one
//! - `error`: error codes
//! - `handshake`, `process`, `files`, `http`, `sandbox`: parameters and results
//! - `events`: what a process tells by itself
//! - `extensions`: what is ours
//! - `uri`, `bytes`: paths as `file:` URIs, bytes as base64

mod bytes;
mod error;
mod events;
mod extensions;
mod files;
mod handshake;
mod http;
mod message;
mod process;
mod sandbox;
mod uri;

pub use bytes::Base64;
pub use error::{ErrorCode, RpcError};
pub use events::{ClosedParams, ExitedParams, GapParams, MissedBytes, OutputParams, SpillCursor};
pub use extensions::{
    AttachParams, CancelParams, ExplainParams, ExplainResult, Limits, ListResult, Listed, NamedPolicy,
    PolicyValue, ReadSpillParams, ReadSpillResult, ResizeParams, Size, SpillChunk,
};
pub use files::{
    CanonicalizeResult, ChangeParams, CopyParams, DirectoryEntry, HandleParams, MetadataResult,
    MissingChangedParams, OpenMode, OpenParams, PathParams, ReadBlockParams, ReadDirectoryResult, WalkEntry,
    WalkError, WalkKind, WalkParams, WalkResult, WatchParams, WatchResult, WriteBlockParams, WriteFileParams,
};
pub use handshake::{
    EXTENSIONS_VERSION, EnvironmentInfo, Extensions, InitializeParams, InitializeResult, Shell, Status,
};
pub use http::{BodyDeltaParams, HttpHeader, HttpParams, HttpResult, RedirectPolicy};
pub use message::{Id, Incoming, Malformed, Reply, encode_notification, encode_reply, encode_request};
pub use process::{
    Chunk, EnvInherit, EnvPolicy, ProcessParams, ReadParams, ReadResult, SandboxKind, SignalName,
    SignalParams, StartParams, StartResult, Stream, TerminateResult, WriteParams, WriteResult, WriteStatus,
};
pub use sandbox::{
    Access, Entry, EntryPath, FileSystem, MissingPath, Network, Permissions, SandboxContext, Special,
};
pub use uri::{FileUri, UriError};
