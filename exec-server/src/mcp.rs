//! The other face: tools and resources for agents that speak the Model Context Protocol.
//!
//! ```text
//! lines, HTTP ▶ codex_mcp ▶ Session ▶ permissions ▶ ceiling, a person ▶ codex_tools::Engine ▶ codex_core::exec
//!                              └▶ outputs: what is too long for an answer
//! ```
//!
//! A call runs under the policy that the server's configuration names (`sandbox_mode`). One that asks for more gets it where the
//! ceiling allows that much and a person says yes. Commands end with their session.

mod asking;
mod face;
mod outputs;
mod permissions;
mod progress;
mod result;
mod room;
mod session;
mod spec;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use codex_core::exec::Sandbox;
use codex_core::output::SpillDirectory;
use codex_mcp::{Face, Http, HttpOptions, Incoming};
use codex_tools::Bench;
use tokio::sync::mpsc;

use crate::ceiling::{Ceiling, Refusal};
use crate::framing::check_structure;
use crate::limits::ServerLimits;
use crate::server::Shared;
use crate::transport::{Reader, Received, Writer};
pub(crate) use room::Place;
use room::Room;
use session::Session;

/// The longest call, which a session without a message outlives.
const LONGEST_CALL: Duration = Duration::from_secs(3600);
/// How many messages wait for a connection to take them.
const WAITING: usize = 16;

/// What a server needs for it.
#[derive(Clone, Debug)]
pub struct McpOptions {
    /// This program, which applies patches when it is started as `apply_patch`.
    pub program: PathBuf,
    /// Where output is kept that is too long for an answer.
    pub spill: Option<Arc<SpillDirectory>>,
    /// The environment of commands, with `apply_patch` on its `PATH`.
    pub environment: Vec<(OsString, OsString)>,
    /// Whether it is spoken over standard streams, in place of the other protocol.
    pub stdio: bool,
}

/// What all sessions share.
#[derive(Debug)]
pub(crate) struct Desk {
    /// What a call runs under that asks for nothing else.
    sandbox: Sandbox,
    /// The widest that one may ask for. For hints alone: what is asked for is compared anew.
    widest: Sandbox,
    bench: Bench,
    pub(crate) stdio: bool,
    http: OnceLock<Http>,
    /// Those over HTTP, whose end nobody else waits for.
    sessions: Mutex<Vec<Weak<Session>>>,
    /// What requests over HTTP may be under way, of all sessions.
    room: Room,
}

impl Desk {
    /// Waits for the disk.
    pub(crate) fn new(
        options: McpOptions,
        ceiling: &Ceiling,
        limits: &ServerLimits,
    ) -> Result<Self, Refusal> {
        let McpOptions { program, spill, environment, stdio } = options;
        let sandbox = ceiling.grant_mode(ceiling.settings().sandbox_mode.value, false)?;
        let server = &ceiling.settings().exec_server;
        let most = server.max_policy.value;
        let widest =
            ceiling.grant_mode(most, server.network_access.value).unwrap_or_else(|_no| sandbox.clone());
        let workspace = ceiling.workspace();
        // One that is gone is told of by the first call.
        let workspace = workspace.canonicalize().unwrap_or_else(|_gone| workspace.to_owned());
        Ok(Self {
            sandbox,
            widest,
            bench: Bench { workspace, environment, program, spill },
            stdio,
            http: OnceLock::new(),
            sessions: Mutex::default(),
            room: Room::new(limits.concurrent_requests, limits.in_flight_bytes),
        })
    }

    /// What answers requests over HTTP.
    pub(crate) fn http(self: &Arc<Self>, server: &Arc<Shared>) -> &Http {
        self.http.get_or_init(|| {
            let options = HttpOptions {
                idle: LONGEST_CALL + server.limits.mcp_session_for,
                bytes: server.limits.mcp_message_bytes,
                events: server.limits.mcp_events,
            };
            let metrics = Arc::clone(&server.metrics);
            let lost = Arc::new(move |answers| metrics.limits_hit.add("mcp_events", answers));
            // The server holds the desk, and not the other way round.
            let (desk, of_server) = (Arc::downgrade(self), Arc::downgrade(server));
            let open = move || {
                let (Some(desk), Some(server)) = (desk.upgrade(), of_server.upgrade()) else {
                    return Err("the server ends".to_owned());
                };
                let session = Session::new(server, Arc::clone(&desk), "http".into());
                let session = Arc::new(session.map_err(|error| error.to_string())?);
                let mut sessions = desk.sessions.lock().unwrap_or_else(PoisonError::into_inner);
                sessions.retain(|session| session.strong_count() > 0);
                sessions.push(Arc::downgrade(&session));
                Ok(session as Arc<dyn Face>)
            };
            Http::new(open, &options, lost, &server.shutdown)
        })
    }

    /// A place for a request. Nothing where there is none.
    pub(crate) fn place(&self) -> Option<Place> {
        self.room.place()
    }

    /// Ends what sessions over HTTP have started, and waits until it has.
    pub(crate) async fn end(&self) {
        let sessions = std::mem::take(&mut *self.sessions.lock().unwrap_or_else(PoisonError::into_inner));
        for session in sessions.iter().filter_map(Weak::upgrade) {
            session.end().await;
        }
    }
}

/// Serves a connection whose messages are lines, to its end. Nothing that it has started is left then.
pub(crate) async fn serve(
    server: Arc<Shared>,
    desk: Arc<Desk>,
    mut reader: Reader,
    mut writer: Writer,
    peer: Arc<str>,
) {
    let stop = server.shutdown.clone();
    let limits = server.limits;
    let session = match Session::new(Arc::clone(&server), desk, Arc::clone(&peer)) {
        Ok(session) => Arc::new(session),
        Err(error) => {
            tracing::warn!(peer = &*peer, "refused: {error}");
            return;
        }
    };
    server.metrics.connections.up();
    server.metrics.connections_total.add(1);
    tracing::info!(peer = &*peer, "connected, for MCP");
    let (arrived, incoming) = mpsc::channel(1);
    let (out, mut outgoing) = mpsc::channel::<String>(WAITING);
    let metrics = Arc::clone(&server.metrics);
    let reading = tokio::spawn(async move {
        while let Some(received) = reader.next().await {
            let message = match received {
                Received::Message(message) => match check_structure(&message) {
                    Ok(()) => Incoming::Message(message.to_vec()),
                    Err(error) => {
                        metrics.limits_hit.add("message_structure", 1);
                        Incoming::Malformed(error.to_string())
                    }
                },
                // Only where messages are not lines.
                Received::Sign | Received::Broken(_) => continue,
                Received::TooLong(bytes) => {
                    metrics.limits_hit.add("message_bytes", 1);
                    let most = limits.mcp_message_bytes;
                    Incoming::Malformed(format!("a message of {bytes} bytes, where {most} are the most"))
                }
            };
            if matches!(message, Incoming::Malformed(_)) {
                metrics.malformed.add(1);
            }
            if arrived.send(message).await.is_err() {
                return;
            }
        }
    });
    let writing = tokio::spawn(async move {
        while let Some(message) = outgoing.recv().await {
            let written = async {
                writer.put(message).await?;
                writer.flush().await
            };
            if let Err(error) = written.await {
                tracing::debug!("the connection can't be written to: {error}");
                return;
            }
        }
    });
    let bounds = codex_mcp::Bounds {
        requests: limits.mcp_requests.min(limits.concurrent_requests),
        bytes: limits.mcp_in_flight_bytes,
    };
    codex_mcp::serve(Arc::clone(&session) as Arc<_>, incoming, out, bounds, stop).await;
    session.end().await;
    reading.abort();
    // A peer that takes nothing is not waited for.
    if tokio::time::timeout(limits.drain, writing).await.is_err() {
        tracing::debug!(peer = &*peer, "the last messages were not taken");
    }
    server.metrics.connections.down();
    tracing::info!(peer = &*peer, "disconnected");
}
