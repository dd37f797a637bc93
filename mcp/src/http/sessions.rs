//! Sessions over HTTP, as the crate wants to see them: what comes goes to the session's handler, and what that says to
//! [`Events`], where connections read it.

use std::collections::HashMap;
use std::future::Future;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt as _};
use rmcp::RoleServer;
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ErrorCode, ErrorData, GetExtensions as _, GetMeta as _,
    JsonRpcMessage, ServerJsonRpcMessage, ServerNotification,
};
use rmcp::service::OriginatingRequestId;
use rmcp::transport::Transport;
use rmcp::transport::streamable_http_server::session::ServerSseMessage;
use rmcp::transport::streamable_http_server::{SessionId, SessionManager};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::events::{EventBounds, Events, Next, Reading, Route, StreamId};

/// How many messages of a client wait for its session to take them.
const WAITING: usize = 16;
/// How long a client may take from its first message to the next.
const FIRST: Duration = Duration::from_secs(60);
/// When a client whose connection broke off shall come back.
const RETRY: Duration = Duration::from_secs(1);

/// Counts answers that were lost.
pub type Lost = Arc<dyn Fn(u64) + Send + Sync>;

/// Why something can't be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SessionError {
    /// It was never there, or is over.
    #[error("there is no such session")]
    NoSession,
    /// It is not there any more, or another session's.
    #[error("this session has no such event")]
    NoEvent,
}

/// A session, for who sends to it.
struct Handle {
    incoming: mpsc::Sender<ClientJsonRpcMessage>,
    /// What it says first.
    greeting: Option<oneshot::Receiver<ServerJsonRpcMessage>>,
}

/// What all sessions share.
struct Shared {
    handles: Mutex<HashMap<SessionId, Handle>>,
    events: Mutex<Events>,
    idle: Duration,
    lost: Lost,
}

/// All of them.
#[derive(Clone)]
pub(super) struct Sessions(Arc<Shared>);

/// The handler's end of a session.
pub(super) struct Line {
    session: SessionId,
    incoming: mpsc::Receiver<ClientJsonRpcMessage>,
    greeting: Option<oneshot::Sender<ServerJsonRpcMessage>>,
    messages: u64,
    sessions: Sessions,
}

/// A connection that reads a stream.
struct Reader {
    session: SessionId,
    reading: Reading,
    begun: bool,
    sessions: Sessions,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is done under these locks can leave half of it done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An event's id. Whoever resumes behind it names it.
fn event_id(stream: StreamId, number: u64) -> String {
    format!("{}-{number}", stream.simple())
}

fn parse_event_id(id: &str) -> Option<(StreamId, u64)> {
    let (stream, number) = id.split_once('-')?;
    let is_plain = stream.len() == 32 && number.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then_some((Uuid::try_parse(stream).ok()?, number.parse().ok()?))
}

/// Counts what it is given.
struct Counter(usize);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn size(message: &ServerJsonRpcMessage) -> usize {
    let mut counter = Counter(0);
    match serde_json::to_writer(&mut counter, message) {
        Ok(()) => counter.0.max(1),
        Err(_no_json) => 1,
    }
}

/// Where a message of the handler's goes.
fn route(message: &ServerJsonRpcMessage) -> Route {
    match message {
        JsonRpcMessage::Response(response) => Route::Answer(response.id.clone()),
        JsonRpcMessage::Error(error) => error.id.clone().map_or(Route::Common, Route::Answer),
        JsonRpcMessage::Request(request) => {
            let origin = request.request.extensions().get::<OriginatingRequestId>();
            Route::Question(origin.map(|origin| origin.0.clone()), request.id.clone())
        }
        JsonRpcMessage::Notification(notification) => match &notification.notification {
            ServerNotification::ProgressNotification(progress) => {
                Route::Progress(progress.params.progress_token.clone())
            }
            ServerNotification::CancelledNotification(cancelled) => {
                cancelled.params.request_id.clone().map_or(Route::Common, Route::Withdrawn)
            }
            _ => Route::Common,
        },
    }
}

impl Sessions {
    pub(super) fn new(idle: Duration, bounds: EventBounds, lost: Lost) -> Self {
        let events = Mutex::new(Events::new(bounds));
        Self(Arc::new(Shared { handles: Mutex::default(), events, idle, lost }))
    }

    /// Does something with events.
    fn with<T>(&self, act: impl FnOnce(&mut Events) -> T) -> T {
        let mut events = lock(&self.0.events);
        let done = act(&mut events);
        let lost = events.take_lost();
        drop(events);
        if lost > 0 {
            (self.0.lost)(lost);
        }
        done
    }

    fn reader(&self, session: &SessionId, reading: Reading, begun: bool) -> Reader {
        Reader { session: Arc::clone(session), reading, begun, sessions: self.clone() }
    }

    fn end(&self, session: &SessionId) {
        lock(&self.0.handles).remove(session);
        self.with(|events| events.end(session));
    }

    /// A way to a session's handler.
    async fn room(
        &self,
        session: &SessionId,
    ) -> Result<mpsc::OwnedPermit<ClientJsonRpcMessage>, SessionError> {
        let incoming = lock(&self.0.handles).get(session).map(|handle| handle.incoming.clone());
        let incoming = incoming.ok_or(SessionError::NoSession)?;
        incoming.reserve_owned().await.map_err(|_gone| SessionError::NoSession)
    }
}

impl Reader {
    async fn next(&mut self) -> Option<ServerSseMessage> {
        let stream = self.reading.stream;
        if !std::mem::replace(&mut self.begun, true) {
            return Some(ServerSseMessage::priming(event_id(stream, self.reading.behind), RETRY));
        }
        loop {
            match self.sessions.with(|events| events.next(&self.session, &mut self.reading)) {
                Next::Event(number, message) => {
                    let mut event = ServerSseMessage::default();
                    event.event_id = Some(event_id(stream, number));
                    event.message = Some(message);
                    return Some(event);
                }
                Next::Wait => self.reading.changed.changed().await.ok()?,
                Next::End => return None,
            }
        }
    }

    fn events(self) -> impl Stream<Item = ServerSseMessage> + Send + Sync + 'static {
        stream::unfold(self, async |mut reader| reader.next().await.map(|event| (event, reader)))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.sessions.with(|events| events.leave(&self.session, &self.reading));
    }
}

impl SessionManager for Sessions {
    type Error = SessionError;
    type Transport = Line;

    async fn create_session(&self) -> Result<(SessionId, Line), SessionError> {
        let session: SessionId = Uuid::new_v4().to_string().into();
        let (to_handler, incoming) = mpsc::channel(WAITING);
        let (greeting, greeted) = oneshot::channel();
        self.with(|events| events.begin(Arc::clone(&session)));
        let handle = Handle { incoming: to_handler, greeting: Some(greeted) };
        lock(&self.0.handles).insert(Arc::clone(&session), handle);
        let (greeting, sessions) = (Some(greeting), self.clone());
        Ok((Arc::clone(&session), Line { session, incoming, greeting, messages: 0, sessions }))
    }

    async fn initialize_session(
        &self,
        session: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, SessionError> {
        let greeting = lock(&self.0.handles).get_mut(session).and_then(|handle| handle.greeting.take());
        let greeting = greeting.ok_or(SessionError::NoSession)?;
        self.room(session).await?.send(message);
        greeting.await.map_err(|_gone| SessionError::NoSession)
    }

    async fn has_session(&self, session: &SessionId) -> Result<bool, SessionError> {
        Ok(self.with(|events| events.has(session)))
    }

    async fn close_session(&self, session: &SessionId) -> Result<(), SessionError> {
        self.end(session);
        Ok(())
    }

    async fn create_stream(
        &self,
        session: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionError> {
        let JsonRpcMessage::Request(request) = &message else { return Err(SessionError::NoEvent) };
        let (id, token) = (request.id.clone(), request.request.get_meta().get_progress_token());
        // First: between the two nothing waits, and no stream is left whose request nobody has.
        let room = self.room(session).await?;
        let opened = self.with(|events| events.open(session, id.clone(), token));
        match opened.ok_or(SessionError::NoSession)? {
            Ok(reading) => {
                room.send(message);
                Ok(self.reader(session, reading, false).events().left_stream())
            }
            Err(_taken) => {
                let why = "a request of this id is under way";
                let error = ErrorData::new(ErrorCode::INVALID_REQUEST, why, None);
                let answer = ServerSseMessage::from_message(ServerJsonRpcMessage::error(error, Some(id)));
                Ok(stream::iter([answer]).right_stream())
            }
        }
    }

    async fn accept_message(
        &self,
        session: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<(), SessionError> {
        let room = self.room(session).await?;
        self.with(|events| {
            events.touch(session);
            match &message {
                JsonRpcMessage::Notification(notification) => {
                    if let ClientNotification::CancelledNotification(cancelled) = &notification.notification
                        && let Some(request) = &cancelled.params.request_id
                    {
                        events.cancel(session, request);
                    }
                }
                JsonRpcMessage::Response(response) => events.answered(session, &response.id),
                JsonRpcMessage::Error(error) => {
                    if let Some(question) = &error.id {
                        events.answered(session, question);
                    }
                }
                JsonRpcMessage::Request(_) => {}
            }
        });
        room.send(message);
        Ok(())
    }

    async fn create_standalone_stream(
        &self,
        session: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionError> {
        let reading = self.with(|events| events.open_common(session)).ok_or(SessionError::NoSession)?;
        Ok(self.reader(session, reading, false).events())
    }

    async fn resume(
        &self,
        session: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionError> {
        let (stream, behind) = parse_event_id(&last_event_id).ok_or(SessionError::NoEvent)?;
        let reading = self.with(|events| events.resume(session, stream, behind));
        let reading = reading.ok_or(SessionError::NoEvent)?;
        Ok(self.reader(session, reading, true).events())
    }
}

impl Transport<RoleServer> for Line {
    type Error = SessionError;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = Result<(), SessionError>> + Send + 'static {
        let is_taken = match self.greeting.take() {
            // Who has begun a session and is gone can't know its name.
            Some(greeting) => greeting.send(message).is_ok(),
            None => {
                let (route, bytes) = (route(&message), size(&message));
                self.sessions.with(|events| events.tell(&self.session, route, message, bytes))
            }
        };
        std::future::ready(if is_taken { Ok(()) } else { Err(SessionError::NoSession) })
    }

    /// May be dropped halfway: what was taken is kept.
    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            let active = self.sessions.with(|events| events.active(&self.session))?;
            let patience = if self.messages == 1 { FIRST } else { self.sessions.0.idle };
            let end = active.checked_add(patience)?;
            tokio::select! {
                message = self.incoming.recv() => {
                    self.messages += 1;
                    return message;
                }
                () = sleep_until(end) => {
                    // Something may have come meanwhile.
                    let active = self.sessions.with(|events| events.active(&self.session))?;
                    if active.checked_add(patience).is_none_or(|end| end <= Instant::now()) {
                        tracing::debug!("an MCP session had no message for {patience:?}");
                        return None;
                    }
                }
            }
        }
    }

    async fn close(&mut self) -> Result<(), SessionError> {
        self.incoming.close();
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.sessions.end(&self.session);
    }
}

#[cfg(test)]
mod tests;
