//! The other face: tools and resources for agents that speak the Model Context Protocol.
//!
//! ```text
//! lines, HTTP ▶ codex_mcp ▶ Session ▶ permissions ▶ ceiling, a person ▶ codex_tools::Engine ▶ codex_core::exec
//!                              └▶ outputs: what is too long for an answer
//! ```
//!
//! A call runs under the policy that the server's configuration names (`sandbox_mode`). One that asks for more gets it where the
//! ceiling allows that much and a person says yes. Commands end with their session.

mod face;
mod outputs;
mod permissions;
mod progress;
mod result;
mod session;
mod spec;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use codex_core::exec::Sandbox;
use codex_core::output::SpillDirectory;
use codex_mcp::Incoming;
use codex_tools::Bench;
use tokio::sync::mpsc;

use crate::ceiling::{Ceiling, Refusal};
use crate::framing::check_structure;
use crate::server::Shared;
use crate::transport::{Reader, Received, Writer};
use session::Session;

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
}

impl Desk {
    /// Waits for the disk.
    pub(crate) fn new(options: McpOptions, ceiling: &Ceiling) -> Result<Self, Refusal> {
        let McpOptions { program, spill, environment, stdio } = options;
        let sandbox = ceiling.grant_mode(ceiling.settings().sandbox_mode.value, false)?;
        let server = &ceiling.settings().exec_server;
        let most = server.max_policy.value;
        let widest =
            ceiling.grant_mode(most, server.network_access.value).unwrap_or_else(|_no| sandbox.clone());
        let workspace = ceiling.workspace();
        // One that is gone is told of by the first call.
        let workspace = workspace.canonicalize().unwrap_or_else(|_gone| workspace.to_owned());
        Ok(Self { sandbox, widest, bench: Bench { workspace, environment, program, spill }, stdio })
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
                    Err(error) => Incoming::Malformed(error.to_string()),
                },
                Received::TooLong(bytes) => {
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
    let bounds =
        codex_mcp::Bounds { requests: limits.concurrent_requests, bytes: limits.mcp_in_flight_bytes };
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
