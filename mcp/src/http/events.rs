//! What sessions are told, kept for whoever's connection broke off before it heard of it.
//!
//! Each request has a stream of events: how far it is, what a person is asked, and its answer, which ends it. A session has one more,
//! for what belongs to no request. A connection reads a stream from the event on that it names, and the newest one to do so is the
//! one that is told. An event is known by its stream, which is 122 bits of chance, and its number, and only to its own session.
//!
//! What is kept is bounded. What has to go goes in this order: what a connection was told already, then what nobody is there to be
//! told, the oldest first. An answer that goes leaves an error in its place, so that who comes for it learns that it is lost. What a
//! connection is about to be told never goes: there are no more of these than connections.

mod log;

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{ProgressToken, RequestId, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_server::SessionId;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use log::{Event, Kind, Log, Told};

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventBounds {
    /// Of one session, in bytes of JSON.
    pub session_bytes: usize,
    /// Of all sessions, in bytes of JSON. The session that has most goes first.
    pub bytes: usize,
    /// Streams of a session that have ended.
    pub ended: usize,
    /// How long one is kept that has ended.
    pub kept_for: Duration,
}

/// A stream's name.
pub(super) type StreamId = Uuid;

/// Where a message goes.
#[derive(Clone, Debug)]
pub(super) enum Route {
    /// The stream of a request of the client's, which it ends.
    Answer(RequestId),
    /// The stream of the request that has this token.
    Progress(ProgressToken),
    /// That of the request that led to this one of ours.
    Question(Option<RequestId>, RequestId),
    /// That of a request of ours.
    Withdrawn(RequestId),
    /// The session's own.
    Common,
}

/// What a reader is to do.
#[derive(Debug)]
pub(super) enum Next {
    /// Hand on an event.
    Event(u64, Arc<ServerJsonRpcMessage>),
    /// Wait for a change.
    Wait,
    /// Nothing comes any more.
    End,
}

/// A place in a stream.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) stream: StreamId,
    pub(super) reader: u64,
    /// The event that it has come to.
    pub(super) behind: u64,
    pub(super) changed: watch::Receiver<()>,
}

/// A request of the same id is under way.
#[derive(Debug)]
pub(super) struct Taken;

/// Those of all sessions.
#[derive(Debug)]
pub(super) struct Events {
    sessions: HashMap<SessionId, Log>,
    bounds: EventBounds,
    bytes: usize,
    order: u64,
    /// Answers that nobody can have any more, and that nobody was given. For whoever counts.
    lost: u64,
}

impl Events {
    pub(super) fn new(bounds: EventBounds) -> Self {
        Self { sessions: HashMap::new(), bounds, bytes: 0, order: 0, lost: 0 }
    }

    /// Begins a session.
    pub(super) fn begin(&mut self, session: SessionId) {
        let common = Uuid::new_v4();
        let log = Log {
            streams: HashMap::from([(common, Told::new(None, None))]),
            common,
            ended: VecDeque::new(),
            requests: HashMap::new(),
            tokens: HashMap::new(),
            questions: HashMap::new(),
            bytes: 0,
            active: Instant::now(),
            over: false,
        };
        self.sessions.insert(session, log);
    }

    /// Ends a session. Who reads it has what is there already; nobody begins to.
    pub(super) fn end(&mut self, session: &SessionId) {
        let Some(log) = self.sessions.get_mut(session) else { return };
        log.over = true;
        for told in log.streams.values() {
            told.changed.send_replace(());
        }
        self.leave_if_over(session);
    }

    fn leave_if_over(&mut self, session: &SessionId) {
        let is_unread =
            |log: &Log| log.over && log.streams.values().all(|told| !told.is_read || !told.is_awaited());
        if self.sessions.get(session).is_some_and(is_unread)
            && let Some(log) = self.sessions.remove(session)
        {
            self.bytes -= log.bytes;
        }
    }

    /// A session that goes on.
    fn log(&mut self, session: &SessionId) -> Option<&mut Log> {
        self.sessions.get_mut(session).filter(|log| !log.over)
    }

    pub(super) fn has(&self, session: &SessionId) -> bool {
        self.sessions.get(session).is_some_and(|log| !log.over)
    }

    /// When a session had its last message. Nothing for one that is over.
    pub(super) fn active(&self, session: &SessionId) -> Option<Instant> {
        self.sessions.get(session).filter(|log| !log.over).map(|log| log.active)
    }

    /// Notes that a session has a message.
    pub(super) fn touch(&mut self, session: &SessionId) {
        if let Some(log) = self.log(session) {
            log.active = Instant::now();
        }
    }

    /// How many answers were lost since it was asked last.
    pub(super) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Begins a request's stream, and reads it. Nothing where the session is over.
    pub(super) fn open(
        &mut self,
        session: &SessionId,
        request: RequestId,
        token: Option<ProgressToken>,
    ) -> Option<Result<Reading, Taken>> {
        self.sweep();
        let log = self.log(session)?;
        log.active = Instant::now();
        if log.requests.contains_key(&request) {
            return Some(Err(Taken));
        }
        let stream = Uuid::new_v4();
        log.requests.insert(request.clone(), stream);
        if let Some(token) = &token {
            log.tokens.insert(token.clone(), stream);
        }
        let mut told = Told::new(Some(request), token);
        let (reader, changed) = told.read();
        log.streams.insert(stream, told);
        Some(Ok(Reading { stream, reader, behind: 0, changed }))
    }

    /// Reads a session's own stream, from what nobody was given on.
    pub(super) fn open_common(&mut self, session: &SessionId) -> Option<Reading> {
        let log = self.log(session)?;
        let stream = log.common;
        let told = log.streams.get_mut(&stream)?;
        let (reader, changed) = told.read();
        Some(Reading { stream, reader, behind: told.given, changed })
    }

    /// Reads a stream of this session behind its event of this number. Nothing where it has none of that name, or no such event.
    pub(super) fn resume(&mut self, session: &SessionId, stream: StreamId, behind: u64) -> Option<Reading> {
        self.sweep();
        let log = self.log(session)?;
        log.active = Instant::now();
        let told = log.streams.get_mut(&stream).filter(|told| behind < told.next)?;
        let (reader, changed) = told.read();
        // It says itself what it was given.
        told.given = behind;
        Some(Reading { stream, reader, behind, changed })
    }

    /// What a reader gets next.
    pub(super) fn next(&mut self, session: &SessionId, reading: &mut Reading) -> Next {
        let Some(log) = self.sessions.get_mut(session) else { return Next::End };
        let (over, common) = (log.over, log.common);
        let Some(told) = log.streams.get_mut(&reading.stream) else { return Next::End };
        if told.readers != reading.reader {
            // A client that has opened the session's own stream twice would only come again, and again.
            return if reading.stream == common && !over { Next::Wait } else { Next::End };
        }
        match told.events.iter().find(|event| event.number > reading.behind) {
            Some(event) => {
                told.given = event.number;
                reading.behind = event.number;
                Next::Event(event.number, Arc::clone(&event.message))
            }
            None if over || told.ended.is_some() => Next::End,
            None => Next::Wait,
        }
    }

    /// A connection reads no more.
    pub(super) fn leave(&mut self, session: &SessionId, reading: &Reading) {
        let Some(log) = self.sessions.get_mut(session) else { return };
        if let Some(told) = log.streams.get_mut(&reading.stream)
            && told.readers == reading.reader
        {
            told.is_read = false;
        }
        self.leave_if_over(session);
        self.shrink(session);
    }

    /// The client gives up a request: it gets no answer.
    pub(super) fn cancel(&mut self, session: &SessionId, request: &RequestId) {
        let Some(log) = self.log(session) else { return };
        if let Some(stream) = log.requests.remove(request) {
            log.finish(stream);
        }
        self.shrink(session);
    }

    /// Tells a session something. Says whether there is such a session.
    pub(super) fn tell(
        &mut self,
        session: &SessionId,
        route: Route,
        message: ServerJsonRpcMessage,
        bytes: usize,
    ) -> bool {
        self.sweep();
        let order = self.order;
        let Some(log) = self.log(session) else { return false };
        log.active = Instant::now();
        let kind = match &route {
            Route::Answer(_) => Kind::Answer,
            Route::Progress(_) => Kind::Progress,
            Route::Question(..) | Route::Withdrawn(_) | Route::Common => Kind::Message,
        };
        let stream = match route {
            // Of a request that was given up, nobody wants to know.
            Route::Answer(request) => log.requests.remove(&request),
            Route::Progress(token) => log.tokens.get(&token).copied(),
            Route::Question(of, id) => {
                let stream = of.and_then(|of| log.requests.get(&of).copied()).unwrap_or(log.common);
                log.questions.insert(id, stream);
                Some(stream)
            }
            Route::Withdrawn(id) => Some(log.questions.remove(&id).unwrap_or(log.common)),
            Route::Common => Some(log.common),
        };
        let stream = stream.and_then(|stream| Some((stream, log.streams.get_mut(&stream)?)));
        let Some((stream, told)) = stream else {
            tracing::debug!("an MCP message belongs to nothing that is under way");
            return true;
        };
        let mut freed = 0;
        if kind == Kind::Progress {
            freed = told.drop_progress();
        }
        told.events.push_back(Event { number: told.next, order, bytes, kind, message: Arc::new(message) });
        told.next += 1;
        told.changed.send_replace(());
        log.bytes = log.bytes + bytes - freed;
        if kind == Kind::Answer {
            log.finish(stream);
        }
        self.bytes = self.bytes + bytes - freed;
        self.order += 1;
        self.shrink(session);
        true
    }

    /// An answered question is known no more.
    pub(super) fn answered(&mut self, session: &SessionId, question: &RequestId) {
        if let Some(log) = self.log(session) {
            log.questions.remove(question);
        }
    }

    /// Drops what has ended long ago.
    fn sweep(&mut self) {
        let kept_for = self.bounds.kept_for;
        for log in self.sessions.values_mut() {
            let before = log.bytes;
            let is_old = |told: &Told| {
                told.ended.is_some_and(|ended| ended.elapsed() >= kept_for) && !told.is_awaited()
            };
            self.lost += log.forget(usize::MAX, is_old);
            self.bytes -= before - log.bytes;
        }
    }

    /// Drops what is too much.
    fn shrink(&mut self, session: &SessionId) {
        let bounds = self.bounds;
        if let Some(log) = self.sessions.get_mut(session) {
            let before = log.bytes;
            let over = log.ended.len().saturating_sub(bounds.ended);
            self.lost += log.forget(over, |told| !told.is_awaited());
            while log.bytes > bounds.session_bytes && log.drop_oldest(&mut self.lost) {}
            self.bytes -= before - log.bytes;
        }
        while self.bytes > bounds.bytes {
            // Who has most pays, so that nobody can take the room of all the others.
            let mut logs: Vec<&mut Log> = self.sessions.values_mut().collect();
            logs.sort_unstable_by_key(|log| Reverse(log.bytes));
            let mut freed = 0;
            for log in logs {
                let before = log.bytes;
                if log.drop_oldest(&mut self.lost) {
                    freed = before - log.bytes;
                    break;
                }
            }
            self.bytes -= freed;
            if freed == 0 {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
