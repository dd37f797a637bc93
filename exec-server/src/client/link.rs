//! The task that holds a connection: answers to whom they belong, events in their queues, and a new connection where the
//! old one is lost.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::endpoint::Connection;
use super::watched::Producer;
use super::{ClientError, Endpoint, Event};
use crate::protocol::{
    ClosedParams, EXTENSIONS_VERSION, ErrorCode, ExitedParams, Extensions, GapParams, Id, Incoming,
    InitializeParams, InitializeResult, OutputParams, ReadParams, ReadResult, Reply, encode_notification,
    encode_request,
};
use crate::transport::Received;

#[cfg(test)]
mod tests;

/// How long it is tried to resume a session, how often, and how long each attempt may take.
const PATIENCE: Duration = Duration::from_secs(45);
const PAUSE: Duration = Duration::from_millis(100);
const ATTEMPT: Duration = Duration::from_secs(10);
/// How long a server may take for a sign that it is there, where the transport has one. Ours gives one every 30 s by itself.
const SIGN: Duration = Duration::from_secs(45);
/// How much is asked for at a time after a gap.
const AT_A_TIME: usize = 256 * 1024;

/// What the holder of a connection is asked.
#[derive(Debug)]
pub(super) enum Ask {
    Call(Call),
    /// What has come of a process since its queue was full.
    CatchUp(String),
}

/// A request of the user's.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: &'static str,
    pub(super) params: Box<RawValue>,
    pub(super) reply: oneshot::Sender<Result<Box<RawValue>, ClientError>>,
    pub(super) watched: Option<(String, Producer)>,
}

/// A request that waits for its answer.
enum Pending {
    User {
        method: &'static str,
        params: Box<RawValue>,
        reply: oneshot::Sender<Result<Box<RawValue>, ClientError>>,
        starts: Option<String>,
    },
    CatchUp(String),
}

/// A connection and what belongs to it.
pub(super) struct Link {
    endpoint: Endpoint,
    name: String,
    session: String,
    connection: Connection,
    asked: mpsc::UnboundedReceiver<Ask>,
    pending: HashMap<i64, Pending>,
    next: i64,
    processes: HashMap<String, Producer>,
    /// Those that have to be asked for again: something has come while it was answered.
    again: Vec<String>,
}

impl Link {
    pub(super) async fn open(
        endpoint: Endpoint,
        name: String,
        asked: mpsc::UnboundedReceiver<Ask>,
    ) -> Result<(Self, InitializeResult), ClientError> {
        let opening = async {
            let mut connection = endpoint.connect().await.map_err(ClientError::Unreachable)?;
            let opened = handshake(&mut connection, &name, None).await?;
            Ok((connection, opened))
        };
        // A program may take its time to begin; a network that takes longer takes for ever.
        let late = |_elapsed| Err(ClientError::Unreachable(std::io::ErrorKind::TimedOut.into()));
        let (connection, opened) = match endpoint.lasts() {
            true => timeout(PATIENCE, opening).await.unwrap_or_else(late)?,
            false => opening.await?,
        };
        Ok((Self::new(endpoint, name, opened.session_id.clone(), connection, asked), opened))
    }

    fn new(
        endpoint: Endpoint,
        name: String,
        session: String,
        connection: Connection,
        asked: mpsc::UnboundedReceiver<Ask>,
    ) -> Self {
        Self {
            endpoint,
            name,
            session,
            connection,
            asked,
            pending: HashMap::new(),
            next: 2,
            processes: HashMap::new(),
            again: Vec::new(),
        }
    }

    /// Serves until nobody asks any more, or the session is lost.
    pub(super) async fn run(mut self) {
        let mut ticks = interval(SIGN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let served = tokio::select! {
                // A sign that has come counts, however late it is looked at.
                biased;
                ask = self.asked.recv() => match ask {
                    Some(ask) => {
                        self.ask(ask);
                        Ok(())
                    }
                    // Nobody is left. What was asked for last is still said.
                    None => return self.connection.writing.finish().await,
                },
                received = self.connection.reader.next() => match received {
                    Some(Received::Message(message)) => {
                        self.take(&message);
                        self.ask_again();
                        Ok(())
                    }
                    Some(Received::Sign) => Ok(()),
                    Some(Received::TooLong(_) | Received::Broken(_)) | None => {
                        Err(std::io::ErrorKind::ConnectionReset.into())
                    }
                },
                error = self.connection.writing.failed() => Err(error),
                // The network may be gone without a word, also while something is written that nobody takes. A server that takes
                // nothing because it has enough to do still gives signs.
                _ = ticks.tick(), if self.connection.writing.pings() => {
                    // Since it was asked last, or has answered the handshake.
                    match self.connection.heard.swap(false, Ordering::Relaxed) {
                        true => {
                            self.connection.writing.ping();
                            Ok(())
                        }
                        false => Err(std::io::ErrorKind::TimedOut.into()),
                    }
                }
            };
            if let Err(error) = served {
                tracing::debug!("the connection is lost: {error}");
                if self.resume().await.is_err() {
                    // Queues and answers end with us.
                    return;
                }
            }
        }
    }

    fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::Call(Call { method, params, reply, watched }) => {
                let starts = watched.map(|(id, producer)| {
                    self.processes.insert(id.clone(), producer);
                    id
                });
                self.request(Pending::User { method, params, reply, starts });
            }
            Ask::CatchUp(id) => self.catch_up(id),
        }
    }

    fn ask_again(&mut self) {
        for process in std::mem::take(&mut self.again) {
            self.catch_up(process);
        }
    }

    fn catch_up(&mut self, id: String) {
        let waits =
            self.pending.values().any(|pending| matches!(pending, Pending::CatchUp(other) if *other == id));
        if !waits && self.processes.contains_key(&id) {
            self.request(Pending::CatchUp(id));
        }
    }

    fn request(&mut self, pending: Pending) {
        let id = self.next;
        self.next += 1;
        let text = match &pending {
            Pending::User { method, params, .. } => encode_request(&Id::Number(id), method, params),
            Pending::CatchUp(process) => {
                let after = self.processes.get(process).map(|watched| watched.last);
                let params = ReadParams {
                    process_id: process.clone(),
                    after_seq: after,
                    max_bytes: Some(AT_A_TIME),
                    wait_ms: None,
                };
                encode_request(&Id::Number(id), "process/read", params)
            }
        };
        match (text, pending) {
            (Ok(text), pending) => {
                self.pending.insert(id, pending);
                self.connection.writing.put(text);
            }
            (Err(error), Pending::User { reply, .. }) => drop(reply.send(Err(ClientError::Form(error)))),
            (Err(error), Pending::CatchUp(_)) => tracing::error!("a request has no form in JSON: {error}"),
        }
    }

    fn take(&mut self, message: &[u8]) {
        match Incoming::parse(message) {
            Ok(Incoming::Answer { id: Id::Number(id), reply }) => self.answered(id, reply),
            Ok(Incoming::Notification { method, params: Some(params) }) => {
                if let Err(error) = self.event(&method, &params) {
                    tracing::debug!("a notification that can't be read: {error}");
                }
            }
            Ok(_) => {}
            Err(malformed) => tracing::debug!("{malformed}"),
        }
    }

    fn answered(&mut self, id: i64, reply: Reply) {
        match self.pending.remove(&id) {
            Some(Pending::User { reply: user, starts, .. }) => {
                if let (Err(_), Some(process)) = (&reply, starts) {
                    self.processes.remove(&process);
                }
                // Whoever does not wait any more has no use for it.
                drop(user.send(reply.map_err(ClientError::Refused)));
            }
            Some(Pending::CatchUp(process)) => match reply {
                Ok(read) => match serde_json::from_str(read.get()) {
                    Ok(read) => self.caught_up(&process, read),
                    Err(error) => tracing::debug!("an answer that can't be read: {error}"),
                },
                // It is forgotten: its queue ends.
                Err(_unknown) => drop(self.processes.remove(&process)),
            },
            None => {}
        }
    }

    fn caught_up(&mut self, process: &str, read: ReadResult) {
        let Some(watched) = self.processes.get_mut(process) else { return };
        if let Some(gap) = read.missed {
            watched.put(gap.to_seq, Event::Gap(gap), None);
        }
        let is_empty = read.chunks.is_empty();
        let was_cut = read.chunks.last().is_some_and(|chunk| chunk.seq + 1 == read.next_seq);
        for chunk in read.chunks {
            if chunk.seq > watched.last {
                watched.put(chunk.seq, Event::Output { stream: chunk.stream, bytes: chunk.chunk.0 }, None);
            }
        }
        watched.last = watched.last.max(read.next_seq.saturating_sub(1));
        if let (Some(code), false, false) = (read.exit_code, watched.exited, was_cut && !read.closed) {
            watched.put(watched.last, Event::Exited { code }, None);
        }
        if read.closed && !was_cut {
            watched.put(watched.last, Event::Closed { result: None }, None);
            self.processes.remove(process);
        } else if watched.last >= watched.newest {
            watched.set_behind(false);
        } else if is_empty {
            self.again.push(process.to_owned());
        }
    }

    fn event(&mut self, method: &str, params: &RawValue) -> serde_json::Result<()> {
        let (process, seq, event) = match method {
            "process/output" => {
                let OutputParams { process_id, seq, stream, chunk, .. } = serde_json::from_str(params.get())?;
                (process_id, seq, Event::Output { stream, bytes: chunk.0 })
            }
            "process/exited" => {
                let ExitedParams { process_id, seq, exit_code, .. } = serde_json::from_str(params.get())?;
                (process_id, seq, Event::Exited { code: exit_code })
            }
            "process/closed" => {
                let ClosedParams { process_id, seq, result, .. } = serde_json::from_str(params.get())?;
                (process_id, seq, Event::Closed { result })
            }
            "process/gap" => {
                let gap: GapParams = serde_json::from_str(params.get())?;
                (gap.process_id.clone(), gap.to_seq, Event::Gap(gap))
            }
            _ => return Ok(()),
        };
        let Some(watched) = self.processes.get_mut(&process) else { return Ok(()) };
        let is_last = matches!(event, Event::Closed { .. });
        watched.tell(seq, event);
        if is_last && watched.last == seq {
            self.processes.remove(&process);
        }
        Ok(())
    }

    /// Makes a new connection, and goes on with the session.
    async fn resume(&mut self) -> Result<(), ClientError> {
        if !self.endpoint.lasts() {
            return Err(ClientError::Lost);
        }
        // As long as we held it, the server would take the session for attached.
        std::mem::replace(&mut self.connection, Connection::none()).abandon().await;
        let until = Instant::now() + PATIENCE;
        loop {
            let attempt = async {
                let mut connection = self.endpoint.connect().await.map_err(ClientError::Unreachable)?;
                handshake(&mut connection, &self.name, Some(&self.session)).await?;
                Ok(connection)
            };
            // A network that swallows everything says nothing to the first one either.
            let late = |_elapsed| Err(ClientError::Unreachable(std::io::ErrorKind::TimedOut.into()));
            match timeout(ATTEMPT, attempt).await.unwrap_or_else(late) {
                Ok(connection) => {
                    self.connection = connection;
                    self.go_on();
                    return Ok(());
                }
                // The server has not seen yet that the old connection is gone.
                Err(ClientError::Refused(error)) if error.kind() != ErrorCode::SessionAttached => {
                    return Err(ClientError::Refused(error));
                }
                Err(_) if Instant::now() >= until => return Err(ClientError::Lost),
                Err(_) => {}
            }
            sleep(PAUSE).await;
        }
    }

    /// Asks again what was not answered and may be asked twice, and for what has come of each process.
    fn go_on(&mut self) {
        let mut before: Vec<_> = std::mem::take(&mut self.pending).into_iter().collect();
        // In the order in which they were asked for.
        before.sort_by_key(|(id, _)| *id);
        for (_, pending) in before {
            match pending {
                Pending::User {
                    method: "process/write" | "process/read" | "process/readSpill" | "process/terminate",
                    ..
                } => {
                    self.request(pending);
                }
                // Whether it was done nobody knows; the answer's end says so.
                Pending::User { .. } | Pending::CatchUp(_) => {}
            }
        }
        let processes: Vec<String> = self.processes.keys().cloned().collect();
        for process in processes {
            if let Some(watched) = self.processes.get(&process) {
                watched.set_behind(true);
            }
            self.catch_up(process);
        }
    }
}

async fn handshake(
    Connection { reader, writing, .. }: &mut Connection,
    name: &str,
    session: Option<&str>,
) -> Result<InitializeResult, ClientError> {
    let params = InitializeParams {
        client_name: name.to_owned(),
        resume_session_id: session.map(str::to_owned),
        extensions: Some(Extensions { version: EXTENSIONS_VERSION }),
    };
    writing.put(encode_request(&Id::Number(1), "initialize", params)?);
    loop {
        let received = tokio::select! {
            // What it has said counts, also where it takes no more.
            biased;
            received = reader.next() => received,
            error = writing.failed() => return Err(ClientError::Unreachable(error)),
        };
        let message = match received {
            Some(Received::Message(message)) => message,
            Some(Received::Sign) => continue,
            Some(Received::TooLong(_) | Received::Broken(_)) | None => return Err(ClientError::Lost),
        };
        if let Ok(Incoming::Answer { id: Id::Number(1), reply }) = Incoming::parse(&message) {
            let result = serde_json::from_str(reply?.get())?;
            writing.put(encode_notification("initialized", serde_json::Map::new())?);
            return Ok(result);
        }
    }
}
