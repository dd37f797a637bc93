//! A client: commands on a server as handles.
//!
//! One task holds the connection. Where that is lost, it is made anew and the session resumed; what processes have written
//! meanwhile is read, and nothing is written twice.

mod endpoint;
mod link;
mod watched;
mod writing;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};

use crate::protocol::{
    Base64, EnvironmentInfo, GapParams, ProcessParams, ResizeParams, RpcError, SignalName, SignalParams,
    Size, StartParams, StartResult, Stream, TerminateResult, WriteParams, WriteResult, WriteStatus,
};
pub use endpoint::{Endpoint, EndpointError};
use link::{Ask, Call, Link};
use watched::{Consumer, watch};

/// Why a call to a server has no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no way to the server.
    #[error("the server can't be reached: {0}")]
    Unreachable(std::io::Error),
    /// The connection was lost, and the session with it, or with what was asked for.
    #[error("the connection to the server is lost")]
    Lost,
    /// The server says no.
    #[error("the server says: {0}")]
    Refused(#[from] RpcError),
    /// What one side sent means nothing to the other.
    #[error("a message has not the form that it should have: {0}")]
    Form(#[from] serde_json::Error),
}

/// A connection to a server, which lasts as long as any clone of it or any process.
#[derive(Clone, Debug)]
pub struct ExecServerClient {
    asks: mpsc::UnboundedSender<Ask>,
    session: std::sync::Arc<str>,
    info: std::sync::Arc<Option<EnvironmentInfo>>,
}

/// What a process does.
#[derive(Debug)]
pub enum Event {
    /// It has written.
    Output {
        /// The stream.
        stream: Stream,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Some of what it has written is gone: this side was too slow, or away for too long.
    Gap(GapParams),
    /// It has exited.
    Exited {
        /// With this code; 128 and the number of the signal that ended it.
        code: i32,
    },
    /// Its streams have ended. Nothing follows.
    Closed {
        /// How it ended, and what the sandbox held, as far as the server has told.
        result: Option<Box<RawValue>>,
    },
}

impl ExecServerClient {
    /// Connects, and opens a session.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn connect(endpoint: Endpoint, name: &str) -> Result<Self, ClientError> {
        let (asks, asked) = mpsc::unbounded_channel();
        let (link, opened) = Link::open(endpoint, name.to_owned(), asked).await?;
        tokio::spawn(link.run());
        Ok(Self { asks, session: opened.session_id.into(), info: opened.environment_info.into() })
    }

    /// The session, by which another connection can [attach](crate::protocol::AttachParams) to its processes.
    #[must_use]
    pub fn session(&self) -> &str {
        &self.session
    }

    /// What the server says of its machine.
    #[must_use]
    pub fn environment(&self) -> Option<&EnvironmentInfo> {
        self.info.as_ref().as_ref()
    }

    /// Calls a method.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn call<R: DeserializeOwned>(
        &self,
        method: &'static str,
        params: &impl Serialize,
    ) -> Result<R, ClientError> {
        self.ask(method, params, None).await
    }

    async fn ask<R: DeserializeOwned>(
        &self,
        method: &'static str,
        params: &impl Serialize,
        watched: Option<(String, watched::Producer)>,
    ) -> Result<R, ClientError> {
        let params = serde_json::value::to_raw_value(params)?;
        let (reply, answer) = oneshot::channel();
        self.asks
            .send(Ask::Call(Call { method, params, reply, watched }))
            .map_err(|_gone| ClientError::Lost)?;
        let result = answer.await.map_err(|_gone| ClientError::Lost)??;
        Ok(serde_json::from_str(result.get())?)
    }

    /// Starts a process.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn start(&self, params: &StartParams) -> Result<RemoteProcess, ClientError> {
        let id = params.process_id.clone();
        let (producer, events) = watch();
        let StartResult { .. } = self.ask("process/start", params, Some((id.clone(), producer))).await?;
        let writes = std::sync::atomic::AtomicU64::new(0);
        Ok(RemoteProcess { input: RemoteInput { client: self.clone(), id, writes }, events })
    }
}

/// A process on a server.
#[derive(Debug)]
pub struct RemoteProcess {
    input: RemoteInput,
    events: Consumer,
}

/// The side of a process that is told things.
#[derive(Debug)]
pub struct RemoteInput {
    client: ExecServerClient,
    id: String,
    writes: std::sync::atomic::AtomicU64,
}

impl RemoteProcess {
    /// What it does next. Nothing after its end, or once the session is lost.
    pub async fn next(&mut self) -> Option<Event> {
        let (asks, id) = (&self.input.client.asks, &self.input.id);
        // Where the connection is gone, the queue ends.
        self.events.next(|| drop(asks.send(Ask::CatchUp(id.clone())))).await
    }

    /// The side that is told things, and the one that tells.
    pub fn split(&mut self) -> (&RemoteInput, RemoteEvents<'_>) {
        (&self.input, RemoteEvents { input: &self.input, events: &mut self.events })
    }

    /// The side that is told things.
    #[must_use]
    pub const fn input(&self) -> &RemoteInput {
        &self.input
    }
}

/// What a process does, for who tells it things at the same time.
#[derive(Debug)]
pub struct RemoteEvents<'p> {
    input: &'p RemoteInput,
    events: &'p mut Consumer,
}

impl RemoteEvents<'_> {
    /// As [`RemoteProcess::next`].
    pub async fn next(&mut self) -> Option<Event> {
        let (asks, id) = (&self.input.client.asks, &self.input.id);
        self.events.next(|| drop(asks.send(Ask::CatchUp(id.clone())))).await
    }
}

impl RemoteInput {
    /// Writes to its input. Returns when the server has taken it.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn write(&self, bytes: Vec<u8>) -> Result<WriteStatus, ClientError> {
        let number = self.writes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let params =
            WriteParams { process_id: self.id.clone(), chunk: Base64(bytes), write_id: number.to_string() };
        let WriteResult { status } = self.client.call("process/write", &params).await?;
        Ok(status)
    }

    /// Ends its input behind what was written.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn close(&self) -> Result<WriteStatus, ClientError> {
        let WriteResult { status } = self.client.call("process/closeStdin", &self.named()).await?;
        Ok(status)
    }

    /// Sends it a signal, by name or number.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn signal(&self, signal: SignalName) -> Result<(), ClientError> {
        let params = SignalParams { process_id: self.id.clone(), signal };
        self.client.call::<serde::de::IgnoredAny>("process/signal", &params).await.map(|_nothing| ())
    }

    /// Changes the size of its terminal.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn resize(&self, size: Size) -> Result<(), ClientError> {
        let params = ResizeParams { process_id: self.id.clone(), size };
        self.client.call::<serde::de::IgnoredAny>("process/resize", &params).await.map(|_nothing| ())
    }

    /// Ends it. Says whether it was running.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn terminate(&self) -> Result<bool, ClientError> {
        let TerminateResult { running } = self.client.call("process/terminate", &self.named()).await?;
        Ok(running)
    }

    fn named(&self) -> ProcessParams {
        ProcessParams { process_id: self.id.clone() }
    }
}
