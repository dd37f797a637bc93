//! One connection: messages in, messages out, and requests under way in between.

mod requests;

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::files::Handles;
use crate::framing::check_structure;
use crate::handlers::{self, Context, Params};
use crate::outgoing::{Gone, Outgoing, Queued, queue};
use crate::process::{Following, follow};
use crate::protocol::{
    CancelParams, EXTENSIONS_VERSION, ErrorCode, Extensions, Id, Incoming, InitializeParams,
    InitializeResult, Malformed, Reply, RpcError, encode_reply,
};
use crate::room::Room;
use crate::server::Shared;
use crate::session::Session;
use crate::transport::{Reader, Received, Writer};
use requests::Requests;

/// How often it is asked whether the peer is there.
const PING: Duration = Duration::from_secs(30);

/// Serves a connection to its end.
pub(crate) async fn serve(server: Arc<Shared>, mut reader: Reader, writer: Writer, peer: Arc<str>) {
    server.metrics.connections.up();
    server.metrics.connections_total.add(1);
    tracing::info!(peer = &*peer, "connected");
    let (out, queued) = queue(server.limits.outgoing_bytes);
    let pings = writer.pings();
    let writing = tokio::spawn(write(writer, queued, out.clone()));
    let requests = Requests::new(&server.limits);
    let mut connection = Connection { server, peer, out, pings, requests, phase: Phase::New };
    let ending = connection.read(&mut reader).await;
    let Connection { server, peer, out, requests, phase, .. } = connection;
    out.close();
    // What was asked for before the end is answered, where that takes no time to speak of.
    requests.finish(server.limits.drain).await;
    if let Phase::Ready(context) | Phase::Opened(context) = phase {
        // The session outlives the connection.
        server.sessions.detach(&context.session);
    }
    out.finish(ending);
    // A peer that takes nothing is not waited for.
    if timeout(server.limits.drain, writing).await.is_err() {
        tracing::debug!(peer = &*peer, "the last messages were not taken");
    }
    out.give_up();
    server.metrics.connections.down();
    tracing::info!(peer = &*peer, "disconnected");
}

pub(crate) use crate::outgoing::Ending;

/// How far the handshake has come.
enum Phase {
    New,
    /// Its session is there, and the client has to say that it knows.
    Opened(Context),
    Ready(Context),
}

struct Connection {
    server: Arc<Shared>,
    peer: Arc<str>,
    out: Outgoing,
    /// Whether the peer answers by itself where it is asked for a sign.
    pings: bool,
    requests: Requests,
    phase: Phase,
}

impl Connection {
    /// Takes messages until there are no more. Says how the connection is to end.
    async fn read(&mut self, reader: &mut Reader) -> Ending {
        loop {
            let received = tokio::select! {
                received = reader.next() => received,
                () = self.server.shutdown.cancelled() => return Ending::Usual,
                () = self.out.gone() => return Ending::Usual,
            };
            self.out.heard();
            let taken = match received {
                None => return Ending::Usual,
                Some(Received::Sign) => continue,
                Some(Received::Broken(ending)) => {
                    self.server.metrics.malformed.add(1);
                    return ending;
                }
                Some(Received::TooLong(bytes)) => {
                    let most = self.server.limits.message_bytes;
                    self.server.metrics.limits_hit.add("message_bytes", 1);
                    let words = format!("a message of {bytes} bytes, where {most} are the most");
                    let taken = self.malformed(&Malformed(words)).await;
                    if !reader.goes_on() {
                        return Ending::TooLong;
                    }
                    taken
                }
                Some(Received::Message(message)) => self.take(&message).await,
            };
            if taken.is_err() {
                return Ending::Usual;
            }
        }
    }

    async fn take(&mut self, message: &[u8]) -> Result<(), Gone> {
        let parsed = match check_structure(message) {
            Ok(()) => Incoming::parse(message),
            Err(error) => {
                self.server.metrics.limits_hit.add("message_structure", 1);
                Err(Malformed(error.to_string()))
            }
        };
        match parsed {
            Ok(Incoming::Request { id, method, params }) => {
                self.request(id, &method, params, message.len()).await
            }
            Ok(Incoming::Notification { method, params }) => {
                self.notification(&method, params);
                Ok(())
            }
            Ok(Incoming::Answer { id, .. }) => {
                self.ignored();
                tracing::debug!(%id, "an answer to nothing");
                Ok(())
            }
            Err(malformed) => self.malformed(&malformed).await,
        }
    }

    async fn malformed(&self, malformed: &Malformed) -> Result<(), Gone> {
        self.server.metrics.malformed.add(1);
        self.reply(&Id::UNKNOWN, &Err(RpcError::invalid(malformed.to_string()))).await
    }

    fn ignored(&self) {
        self.server.metrics.ignored.add(1);
    }

    fn notification(&mut self, method: &str, params: Option<Box<RawValue>>) {
        match (method, std::mem::replace(&mut self.phase, Phase::New)) {
            ("initialized", Phase::Opened(context)) => self.phase = Phase::Ready(context),
            ("request/cancel", phase) => {
                self.phase = phase;
                let params = params.as_ref().and_then(|params| serde_json::from_str(params.get()).ok());
                if let Some(CancelParams { id }) = params {
                    self.requests.cancel(&id);
                }
            }
            (_, phase) => {
                self.phase = phase;
                self.ignored();
                tracing::debug!("a notification that means nothing: {}", codex_linux_sandbox::shown(method));
            }
        }
    }

    async fn reply(&self, id: &Id, reply: &Reply) -> Result<(), Gone> {
        send_reply(&self.out, id, reply).await
    }

    async fn request(
        &mut self,
        id: Id,
        method: &str,
        params: Option<Box<RawValue>>,
        size: usize,
    ) -> Result<(), Gone> {
        if self.requests.is_full(size) {
            self.server.metrics.limits_hit.add("concurrent_requests", 1);
        }
        let room = tokio::select! {
            room = self.requests.room(size) => room,
            () = self.out.gone() => return Err(Gone),
        };
        if method == "initialize" {
            return self.initialize(&id, &Params(params)).await;
        }
        let begun = match &self.phase {
            Phase::Ready(context) => handlers::begin(context, method, Params(params)),
            _ if !handlers::is_known(method) => Err(handlers::unknown_method(method)),
            Phase::New => Err(RpcError::invalid(format!(
                "client must call initialize before using {} methods",
                family(method)
            ))),
            Phase::Opened(_) => Err(RpcError::invalid(format!(
                "client must send initialized before using {} methods",
                family(method)
            ))),
        };
        let (server, out) = (Arc::clone(&self.server), self.out.clone());
        let name = handlers::name(method);
        self.requests.run(id, room, move |id, cancelled| async move {
            let started = tokio::time::Instant::now();
            let answered = match begun {
                Ok(rest) => tokio::select! {
                    answered = rest => answered,
                    () = cancelled.cancelled() => {
                        Err(RpcError::new(ErrorCode::Cancelled, "the request was cancelled"))
                    }
                },
                Err(error) => Err(error),
            };
            let (reply, then, later, _room) = match answered {
                Ok(answer) => (Ok(answer.result), answer.then, answer.later, answer.room),
                Err(error) => (Err(error), None, None, None),
            };
            let result = reply.as_ref().map_or_else(|error| error.kind().name(), |_result| "ok");
            server.metrics.answered(name, result, started.elapsed());
            if send_reply(&out, &id, &reply).await.is_err() {
                return None;
            }
            if let Some(following) = then {
                tokio::spawn(follow(following, out, Arc::clone(&server.metrics)));
            }
            later
        });
        Ok(())
    }

    async fn initialize(&mut self, id: &Id, params: &Params) -> Result<(), Gone> {
        let opened = self.open(params);
        let (reply, live) = match opened {
            Ok((context, result)) => {
                let live = following(&context.session, context.extended);
                self.phase = Phase::Opened(context);
                (result, live)
            }
            Err(error) => (Err(error), Vec::new()),
        };
        let name = reply.as_ref().map_or_else(|error| error.kind().name(), |_result| "ok");
        self.server.metrics.answered("initialize", name, Duration::ZERO);
        self.reply(id, &reply).await?;
        for following in live {
            tokio::spawn(follow(following, self.out.clone(), Arc::clone(&self.server.metrics)));
        }
        Ok(())
    }

    fn open(&self, params: &Params) -> Result<(Context, Reply), RpcError> {
        if !matches!(self.phase, Phase::New) {
            return Err(RpcError::invalid("initialize may only be called once"));
        }
        let InitializeParams { client_name, resume_session_id, extensions } = params.read()?;
        let holder = self.pings.then(|| self.out.clone());
        let session = match resume_session_id {
            Some(id) => self.server.sessions.resume(&id, holder)?,
            None => self.server.sessions.create(holder)?,
        };
        let extended = extensions.is_some_and(|extensions| extensions.version > 0);
        let result = InitializeResult {
            session_id: session.id.clone(),
            environment_info: Some(self.server.info.clone()),
            extensions: extended.then_some(Extensions { version: EXTENSIONS_VERSION }),
        };
        let result = serde_json::value::to_raw_value(&result)
            .map_err(|error| RpcError::internal(format!("the answer has no form in JSON: {error}")));
        let context = Context {
            server: Arc::clone(&self.server),
            session,
            out: self.out.clone(),
            http: Arc::new(Semaphore::new(self.server.limits.http_requests.max(1))),
            bodies: Room::new(self.server.limits.http_answers),
            files: Arc::new(Handles::new(Arc::clone(&self.server.crew), self.server.limits)),
            client: client_name.into(),
            peer: Arc::clone(&self.peer),
            extended,
        };
        Ok((context, result))
    }
}

/// Those of a session's processes that something can still come from.
fn following(session: &Session, extended: bool) -> Vec<Following> {
    let live = session.processes().into_iter().filter(|entry| !entry.is_over());
    live.map(|entry| Following { entry, after: None, extended, session: None, reader: None }).collect()
}

fn family(method: &str) -> &'static str {
    match method.split_once('/') {
        Some(("fs", _)) => "filesystem",
        Some(("http", _)) => "http",
        Some(("environment", _)) => "environment",
        _ => "exec",
    }
}

async fn send_reply(out: &Outgoing, id: &Id, reply: &Reply) -> Result<(), Gone> {
    match encode_reply(id, reply) {
        Ok(text) => out.send(text).await,
        Err(error) => {
            tracing::error!(%error, "an answer has no form in JSON");
            Ok(())
        }
    }
}

/// Writes what is queued, several messages at a time where they are there.
async fn write(mut writer: Writer, mut queued: UnboundedReceiver<Queued>, out: Outgoing) {
    let mut ticks = interval(PING);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first one is at once.
    ticks.tick().await;
    let written = async {
        loop {
            tokio::select! {
                message = queued.recv() => {
                    let Some(mut message) = message else { return Ok(()) };
                    loop {
                        match message {
                            Queued::Message { text, room } => {
                                writer.put(text).await?;
                                drop(room);
                            }
                            Queued::End(ending) => {
                                writer.flush().await?;
                                return writer.close(ending).await;
                            }
                        }
                        match queued.try_recv() {
                            Ok(next) => message = next,
                            Err(_empty) => break,
                        }
                    }
                    writer.flush().await?;
                }
                _ = ticks.tick() => writer.ping().await?,
                () = out.asked() => writer.ping().await?,
            }
        }
    };
    let ended: std::io::Result<()> = tokio::select! {
        ended = written => ended,
        () = out.gone() => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!("the connection can't be written to: {error}");
    }
    out.give_up();
}
