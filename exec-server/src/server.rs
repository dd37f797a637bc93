//! A server: what all connections share, and how it begins and ends.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use codex_core::output::SpillDirectory;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::auth::Credential;
use crate::ceiling::{Ceiling, CeilingOptions, Refusal};
use crate::connection;
use crate::environment;
use crate::files::Crew;
use crate::http::Gate;
use crate::limits::ServerLimits;
use crate::mcp::{self, Desk, McpOptions};
use crate::metrics::Metrics;
use crate::protocol::EnvironmentInfo;
use crate::session::Sessions;
use crate::spill::SpillRoom;
use crate::telemetry::{TelemetryOptions, exporter};
use crate::transport::{
    Bound, ListenAddress, ListenError, Listener, Port, Stranger, adopt, bind, lines, same_user, serve_http,
    unix_peer,
};
use crate::turns::Turns;

/// What a server is made of.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// What clients may ask for at most.
    pub ceiling: CeilingOptions,
    /// The variables that commands' environments start from.
    pub variables: Vec<(OsString, OsString)>,
    /// What a connection over TCP has to show.
    pub token: Option<Credential>,
    /// This program as a command under any policy finds it: it is started for `fs/*` under the name
    /// [`PROGRAM`](crate::files::PROGRAM).
    pub program: PathBuf,
    /// The bounds.
    pub limits: ServerLimits,
    /// Where the whole output of processes is kept, for clients that ask for that. No command may be able to write there.
    pub spill: Option<Arc<SpillDirectory>>,
    /// What MCP needs, where that is spoken as well.
    pub mcp: Option<McpOptions>,
    /// Where each request is told of, where it is.
    pub telemetry: Option<TelemetryOptions>,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// What calls over MCP would run under by default.
    #[error("`sandbox_mode` is the policy of calls over MCP, and is refused: {0}")]
    Mcp(#[from] Refusal),
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) ceiling: Ceiling,
    pub(crate) variables: Vec<(OsString, OsString)>,
    pub(crate) token: Option<Credential>,
    pub(crate) limits: ServerLimits,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) info: EnvironmentInfo,
    pub(crate) spill: Option<SpillRoom>,
    pub(crate) mcp: Option<Arc<Desk>>,
    pub(crate) shutdown: CancellationToken,
    connections: Arc<Semaphore>,
    pub(crate) crew: Arc<Crew>,
    pub(crate) gate: Gate,
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    listeners: Vec<Listener>,
    telemetry: Option<TelemetryOptions>,
}

impl Server {
    /// Prepares a server.
    ///
    /// # Errors
    ///
    /// [`PrepareError`].
    pub fn new(options: ServerOptions) -> Result<Self, PrepareError> {
        let ServerOptions { ceiling, variables, token, program, limits, spill, mcp, telemetry } = options;
        let gate = Gate::new(&ceiling.settings);
        let ceiling = Ceiling::new(ceiling);
        let mcp = mcp.map(|options| Desk::new(options, &ceiling, &limits)).transpose()?.map(Arc::new);
        let metrics = Arc::new(Metrics::default());
        let turns = Turns::new(limits.starts, Arc::clone(&metrics));
        let crew = Crew::new(program, limits, Arc::clone(&metrics), turns.of_another());
        let shared = Shared {
            info: environment::info(&variables, &ceiling),
            spill: spill.map(|directory| SpillRoom::new(directory, &limits)),
            mcp,
            ceiling,
            variables,
            token,
            limits,
            sessions: Arc::new(Sessions::new(limits, Arc::clone(&metrics), turns)),
            metrics,
            shutdown: CancellationToken::new(),
            connections: Arc::new(Semaphore::new(limits.connections.max(1))),
            crew: Arc::new(crew),
            gate,
        };
        Ok(Self { shared: Arc::new(shared), listeners: Vec::new(), telemetry })
    }

    /// Listens at an address as well, and says where that is.
    ///
    /// # Errors
    ///
    /// [`ListenError`].
    pub async fn listen(&mut self, address: &ListenAddress) -> Result<Bound, ListenError> {
        if *address == ListenAddress::Stdio && self.listeners.iter().any(|one| matches!(one, Listener::Stdio))
        {
            return Err(ListenError::StdioTwice);
        }
        let (listener, bound) = bind(address, self.shared.token.is_some()).await?;
        self.listeners.push(listener);
        Ok(bound)
    }

    /// Serves a socket as well at which somebody else listens for this program, and says where that is: MCP where it is one of TCP
    /// and has the name [`MCP`](crate::MCP), the other protocol else.
    ///
    /// # Errors
    ///
    /// [`ListenError`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O enabled.
    pub fn adopt(&mut self, name: &str, socket: OwnedFd) -> Result<Bound, ListenError> {
        let (listener, bound) = adopt(name, socket, self.shared.token.is_some())?;
        self.listeners.push(listener);
        Ok(bound)
    }

    /// Ends the server where it is cancelled: answers what was asked for, ends what runs.
    #[must_use]
    pub fn shutdown(&self) -> CancellationToken {
        self.shared.shutdown.clone()
    }

    /// Serves until it is told to end or, where it listens at standard input, until that ends. Nothing that it has started
    /// is left then.
    pub async fn run(self) {
        let Self { shared, listeners, telemetry } = self;
        let telling = CancellationToken::new();
        let exporting = telemetry.map(|options| {
            let (spans, exporting) = exporter(options, telling.clone());
            if shared.metrics.spans.set(spans).is_err() {
                tracing::warn!("spans are sent twice");
            }
            tokio::spawn(exporting)
        });
        let mut serving = JoinSet::new();
        for listener in listeners {
            let shared = Arc::clone(&shared);
            serving.spawn(async move {
                match listener {
                    Listener::Stdio => serve_stdio(shared).await,
                    Listener::WebSocket(listener) => accept_tcp(shared, listener, Port::WebSocket).await,
                    Listener::Http(listener) => accept_tcp(shared, listener, Port::Mcp).await,
                    Listener::Unix(listener, _file) => accept_unix(shared, listener).await,
                }
            });
        }
        shared.shutdown.cancelled().await;
        let drained =
            timeout(shared.limits.drain, async { while serving.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            tracing::warn!("some connections did not end in time");
        }
        // All connections, those that no task of ours waits for included.
        let most = u32::try_from(shared.limits.connections.max(1)).unwrap_or(u32::MAX);
        drop(timeout(shared.limits.drain, shared.connections.acquire_many(most)).await);
        shared.crew.dismiss();
        for session in shared.sessions.all() {
            shared.sessions.forget(&session);
        }
        if let Some(desk) = &shared.mcp
            && timeout(shared.limits.drain * 2, desk.end()).await.is_err()
        {
            tracing::warn!("some commands over MCP can't be ended");
        }
        // Those of sessions that are gone as well, and of calls that nobody waits for any more.
        if timeout(shared.limits.drain * 2, shared.metrics.no_process()).await.is_err() {
            tracing::warn!("some processes can't be ended");
        }
        telling.cancel();
        if let Some(exporting) = exporting
            && timeout(shared.limits.drain, exporting).await.is_err()
        {
            tracing::warn!("the last spans were not taken in time");
        }
    }
}

/// Serves standard streams. With their end, the server's has come.
async fn serve_stdio(shared: Arc<Shared>) {
    let ended = shared.shutdown.clone();
    let streams = |longest| lines(tokio::io::stdin(), tokio::io::stdout(), longest);
    match shared.mcp.clone().filter(|desk| desk.stdio) {
        Some(desk) => {
            let (reader, writer) = streams(shared.limits.mcp_message_bytes);
            mcp::serve(shared, desk, reader, writer, "stdio".into()).await;
        }
        None => {
            let (reader, writer) = streams(shared.limits.message_bytes);
            connection::serve(shared, reader, writer, "stdio".into()).await;
        }
    }
    ended.cancel();
}

/// What accepting failed with is waited out: at the bound of descriptors it would fail again at once.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// At how many connections over TCP it is looked at a time whose they are. The next one waits to be accepted.
const LOOKED_AT: usize = 16;

async fn accept_tcp(shared: Arc<Shared>, listener: TcpListener, port: Port) {
    let looks = Arc::new(Semaphore::new(LOOKED_AT));
    loop {
        let accepted = async {
            // It is never closed.
            let look = Arc::clone(&looks).acquire_owned().await.ok();
            listener.accept().await.map(|(stream, peer)| (stream, peer, look))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            () = shared.shutdown.cancelled() => return,
        };
        let (stream, peer, look) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a connection can't be accepted: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Small answers would wait for the peer's delayed acknowledgement.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, "TCP_NODELAY: {error}");
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            if shared.token.is_none()
                && let Err(stranger) = is_ours(&stream, peer).await
            {
                shared.metrics.connections_refused.add(1);
                tracing::warn!(%peer, "refused: {stranger}");
                return;
            }
            drop(look);
            let Ok(permit) = Arc::clone(&shared.connections).try_acquire_owned() else {
                shared.metrics.connections_refused.add(1);
                shared.metrics.limits_hit.add("connections", 1);
                tracing::warn!(%peer, "refused: there are as many connections as are allowed");
                return;
            };
            serve_http(shared, stream, peer, permit, port).await;
        });
    }
}

/// Whether a connection over loopback is our own user's or root's. The kernel's list of connections may be long: it is read where
/// that holds up nobody.
async fn is_ours(stream: &TcpStream, peer: SocketAddr) -> Result<(), Stranger> {
    let local = stream.local_addr().map_err(|_closed| Stranger::Unknown)?;
    let looked = tokio::task::spawn_blocking(move || same_user(local, peer)).await;
    looked.unwrap_or(Err(Stranger::Unknown))
}

async fn accept_unix(shared: Arc<Shared>, listener: UnixListener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.shutdown.cancelled() => return,
        };
        let stream = match accepted {
            Ok((stream, _unnamed)) => stream,
            Err(error) => {
                tracing::warn!("a connection can't be accepted: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let user = match unix_peer(&stream) {
            Ok(user) => user,
            Err(user) => {
                shared.metrics.connections_refused.add(1);
                tracing::warn!(?user, "refused: the connection belongs to another user");
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&shared.connections).try_acquire_owned() else {
            shared.metrics.connections_refused.add(1);
            shared.metrics.limits_hit.add("connections", 1);
            tracing::warn!("refused: there are as many connections as are allowed");
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let (source, sink) = stream.into_split();
            let (reader, writer) = lines(source, sink, shared.limits.message_bytes);
            connection::serve(shared, reader, writer, format!("unix uid {user}").into()).await;
            drop(permit);
        });
    }
}
