//! Methods: one line each, and what they take.
//!
//! A handler is called in the order in which requests came, and says what is left to be done: what has to keep that order
//! (taking an id, queueing input) is done by then, what may take time is not.

mod environment;
mod extensions;
mod files;
mod http;
mod process;
mod watches;

use std::pin::Pin;
use std::sync::Arc;

use codex_core::exec::{Labels, Sandbox};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::ceiling::Refusal;
use crate::files::Handles;
use crate::outgoing::Outgoing;
use crate::process::Following;
use crate::protocol::{ErrorCode, NamedPolicy, RpcError, SandboxContext};
use crate::room::{Room, Taken};
use crate::server::Shared;
use crate::session::Session;

/// What a handler works with.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) server: Arc<Shared>,
    pub(crate) session: Arc<Session>,
    /// Where notifications go; tells when the connection is gone.
    pub(crate) out: Outgoing,
    /// The connection's open files.
    pub(crate) files: Arc<Handles>,
    /// Places for its HTTP requests.
    pub(crate) http: Arc<Semaphore>,
    /// Room for their bodies.
    pub(crate) bodies: Room,
    pub(crate) client: Arc<str>,
    pub(crate) peer: Arc<str>,
    /// Whether the client has asked for what is ours.
    pub(crate) extended: bool,
}

/// What is answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) result: Box<RawValue>,
    /// Whom the connection follows once the answer is on its way.
    pub(crate) then: Option<Following>,
    /// What its memory counts against, until it is on its way.
    pub(crate) room: Option<Taken>,
    /// What goes on once the answer is on its way.
    pub(crate) later: Option<Later>,
}

/// Something that goes on by itself, with the connection at most, and until the request is cancelled.
pub(crate) struct Later(pub(crate) Box<dyn FnOnce(CancellationToken) -> Ongoing + Send>);

/// It, under way.
type Ongoing = Pin<Box<dyn Future<Output = ()> + Send>>;

impl std::fmt::Debug for Later {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Later")
    }
}

pub(crate) type Answered = Result<Answer, RpcError>;

/// What is left to be done for an answer.
pub(crate) type Rest = Pin<Box<dyn Future<Output = Answered> + Send>>;

/// Who the methods are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Every client.
    All,
    /// Those that have asked for what is ours.
    Extended,
}

type Handler = fn(&Context, Params) -> Result<Rest, RpcError>;

/// Every method but `initialize`.
const METHODS: &[(&str, Known, Handler)] = &[
    ("environment/info", Known::All, environment::info),
    ("environment/status", Known::All, environment::status),
    ("process/start", Known::All, process::start),
    ("process/read", Known::All, process::read),
    ("process/write", Known::All, process::write),
    ("process/signal", Known::All, process::signal),
    ("process/terminate", Known::All, process::terminate),
    ("fs/readFile", Known::All, files::read_file),
    ("fs/writeFile", Known::All, files::write_file),
    ("fs/createDirectory", Known::All, files::create_directory),
    ("fs/getMetadata", Known::All, files::metadata),
    ("fs/canonicalize", Known::All, files::canonicalize),
    ("fs/readDirectory", Known::All, files::read_directory),
    ("fs/walk", Known::All, files::walk),
    ("fs/remove", Known::All, files::remove),
    ("fs/copy", Known::All, files::copy),
    ("fs/open", Known::All, files::open),
    ("fs/readBlock", Known::All, files::read_block),
    ("fs/writeBlock", Known::All, files::write_block),
    ("fs/close", Known::All, files::close),
    ("fs/watchMissing", Known::All, watches::watch_missing),
    ("http/request", Known::All, http::request),
    ("process/resize", Known::Extended, extensions::resize),
    ("process/closeStdin", Known::Extended, extensions::close_stdin),
    ("process/list", Known::Extended, extensions::list),
    ("process/attach", Known::Extended, extensions::attach),
    ("process/readSpill", Known::Extended, extensions::read_spill),
    ("policy/explain", Known::Extended, extensions::explain),
];

/// Parameters as they came.
pub(crate) struct Params(pub(crate) Option<Box<RawValue>>);

impl Params {
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, RpcError> {
        let text = self.0.as_deref().ok_or_else(|| RpcError::params("the member `params` is missing"))?;
        serde_json::from_str(text.get()).map_err(|error| RpcError::params(format!("invalid params: {error}")))
    }
}

/// The longest id that a client may give to something that is kept, in bytes.
const LONGEST_ID: usize = 1024;

/// Refuses an id that would be kept and is longer than anybody needs.
fn short_id(member: &str, id: &str) -> Result<(), RpcError> {
    if id.len() <= LONGEST_ID {
        return Ok(());
    }
    Err(RpcError::params(format!("{member} has {} bytes, where {LONGEST_ID} are the most", id.len())))
}

/// The method by its name, as metrics have it.
pub(crate) fn name(method: &str) -> &'static str {
    METHODS.iter().map(|(name, _, _)| *name).find(|name| *name == method).unwrap_or("unknown")
}

/// Whether there is such a method for anybody.
pub(crate) fn is_known(method: &str) -> bool {
    METHODS.iter().any(|(name, known, _)| *name == method && *known == Known::All)
}

/// Begins what a request asks for.
pub(crate) fn begin(context: &Context, method: &str, params: Params) -> Result<Rest, RpcError> {
    let found =
        METHODS.iter().find(|(name, known, _)| *name == method && (*known == Known::All || context.extended));
    let (_, _, handler) = found.ok_or_else(|| unknown_method(method))?;
    handler(context, params)
}

pub(crate) fn unknown_method(method: &str) -> RpcError {
    let method = codex_linux_sandbox::shown(method);
    RpcError::new(ErrorCode::MethodNotFound, format!("there is no method `{method}`"))
}

/// Who asks, for the audit log.
fn labels(context: &Context, process: Option<&str>) -> Labels {
    Labels {
        by: Some("exec-server"),
        session: Some(context.session.id.get(..8).unwrap_or_default().to_owned()),
        process: process.map(str::to_owned),
        peer: Some(context.peer.to_string()),
        client: Some(context.client.to_string()),
    }
}

/// A refusal as it is answered.
fn refused(refusal: &Refusal) -> RpcError {
    match refusal {
        Refusal::Sandbox(_) => RpcError::internal(refusal.to_string()),
        _ => RpcError::invalid(refusal.to_string()),
    }
}

/// The sandbox that a process is asked for with, where it is granted. Waits for the disk, where that holds up nobody.
async fn granted(
    context: &Context,
    sandbox: Option<SandboxContext>,
    policy: Option<NamedPolicy>,
    without_network: bool,
) -> Result<Result<Sandbox, Refusal>, RpcError> {
    let server = Arc::clone(&context.server);
    let granted = tokio::task::spawn_blocking(move || {
        server.ceiling.grant(sandbox.as_ref(), policy.as_ref(), without_network)
    });
    joined(granted).await
}

/// What came of a task of its own.
async fn joined<T>(task: JoinHandle<T>) -> Result<T, RpcError> {
    task.await.map_err(|error| RpcError::internal(error.to_string()))
}

/// An answer that is there.
fn answer(result: impl Serialize) -> Answered {
    let result = serde_json::value::to_raw_value(&result)
        .map_err(|error| RpcError::internal(format!("the answer has no form in JSON: {error}")))?;
    Ok(Answer { result, then: None, room: None, later: None })
}

/// An answer that is there, where one may be waited for.
fn now(result: impl Serialize) -> Result<Rest, RpcError> {
    let answer = answer(result)?;
    Ok(Box::pin(async move { Ok(answer) }))
}
