//! A session's streams, and what goes of them where something has to.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use rmcp::model::{ErrorCode, ErrorData, ProgressToken, RequestId, ServerJsonRpcMessage};
use tokio::sync::watch;
use tokio::time::Instant;

use super::StreamId;

/// How many messages of progress a stream keeps. Only the newest ones say anything.
pub(super) const PROGRESS: usize = 16;

/// What may be done with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// How far a request is. The next one says it better.
    Progress,
    /// Something that has to be known.
    Message,
    /// The answer, behind which nothing comes.
    Answer,
}

#[derive(Debug)]
pub(super) struct Event {
    pub(super) number: u64,
    /// Its place among the events of all sessions.
    pub(super) order: u64,
    pub(super) bytes: usize,
    pub(super) kind: Kind,
    pub(super) message: Arc<ServerJsonRpcMessage>,
}

/// A stream.
#[derive(Debug)]
pub(super) struct Told {
    /// Whose answer ends it. The session's own has none.
    pub(super) request: Option<RequestId>,
    pub(super) token: Option<ProgressToken>,
    pub(super) events: VecDeque<Event>,
    /// The number of the next event. That of the first is 1: 0 is the stream's beginning.
    pub(super) next: u64,
    /// The last one that a connection was given.
    pub(super) given: u64,
    /// How many connections have begun to read it. The newest is told, while there is one.
    pub(super) readers: u64,
    pub(super) is_read: bool,
    pub(super) ended: Option<Instant>,
    pub(super) changed: watch::Sender<()>,
}

impl Told {
    pub(super) fn new(request: Option<RequestId>, token: Option<ProgressToken>) -> Self {
        let changed = watch::Sender::new(());
        let (events, next, given, readers, is_read, ended) = (VecDeque::new(), 1, 0, 0, false, None);
        Self { request, token, events, next, given, readers, is_read, ended, changed }
    }

    pub(super) fn read(&mut self) -> (u64, watch::Receiver<()>) {
        self.readers += 1;
        self.is_read = true;
        let changed = self.changed.subscribe();
        // Whoever read it before learns that it does no more.
        self.changed.send_replace(());
        (self.readers, changed)
    }

    /// Makes room for one more message of progress. Says how many bytes that has freed.
    pub(super) fn drop_progress(&mut self) -> usize {
        let is_progress = |event: &Event| event.kind == Kind::Progress;
        if self.events.iter().filter(|event| is_progress(event)).count() < PROGRESS {
            return 0;
        }
        let oldest = self.events.iter().position(is_progress);
        oldest.and_then(|oldest| self.events.remove(oldest)).map_or(0, |event| event.bytes)
    }

    /// Whether a connection has still to be given something.
    pub(super) fn is_awaited(&self) -> bool {
        self.is_read && self.given + 1 < self.next
    }

    pub(super) fn bytes(&self) -> usize {
        self.events.iter().map(|event| event.bytes).sum()
    }
}

/// A session.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) streams: HashMap<StreamId, Told>,
    pub(super) common: StreamId,
    /// Those that have ended, the oldest first.
    pub(super) ended: VecDeque<StreamId>,
    pub(super) requests: HashMap<RequestId, StreamId>,
    pub(super) tokens: HashMap<ProgressToken, StreamId>,
    /// Requests of ours.
    pub(super) questions: HashMap<RequestId, StreamId>,
    pub(super) bytes: usize,
    /// When a message was last, in either direction.
    pub(super) active: Instant,
    /// Whether it is there only for the connections that still read it.
    pub(super) over: bool,
}

impl Log {
    pub(super) fn finish(&mut self, stream: StreamId) {
        let Some(told) = self.streams.get_mut(&stream) else { return };
        told.ended = Some(Instant::now());
        told.changed.send_replace(());
        self.ended.push_back(stream);
        if let Some(token) = &told.token
            && self.tokens.get(token) == Some(&stream)
        {
            self.tokens.remove(token);
        }
        self.questions.retain(|_, asked| *asked != stream);
    }

    /// Forgets so many of the streams that have ended, the oldest first, where they may go. Says how many answers nobody had.
    pub(super) fn forget(&mut self, most: usize, may_go: impl Fn(&Told) -> bool) -> u64 {
        let (mut forgotten, mut lost) = (0, 0);
        let (streams, bytes) = (&mut self.streams, &mut self.bytes);
        self.ended.retain(|stream| {
            let Some(told) = streams.get(stream) else { return false };
            if forgotten >= most || !may_go(told) {
                return true;
            }
            lost += told.unheard();
            *bytes -= told.bytes();
            streams.remove(stream);
            forgotten += 1;
            false
        });
        lost
    }

    /// Drops the event that can be missed first. Says whether there is one.
    pub(super) fn drop_oldest(&mut self, lost: &mut u64) -> bool {
        let first = self
            .streams
            .iter()
            .filter(|(_, told)| !told.is_awaited())
            .flat_map(|(stream, told)| told.events.iter().map(move |event| (stream, told, event)))
            .filter(|(.., event)| event.bytes > 0)
            .map(|(stream, told, event)| ((event.number > told.given, event.order), *stream, event.number))
            .min_by_key(|(order, ..)| *order);
        let Some((_, stream, number)) = first else { return false };
        let Some(told) = self.streams.get_mut(&stream) else { return false };
        let Some(place) = told.events.iter().position(|event| event.number == number) else { return false };
        if let Some(event) = told.events.get_mut(place) {
            self.bytes -= event.bytes;
            match event.kind {
                Kind::Answer => {
                    *lost += u64::from(number > told.given);
                    let text = format!(
                        "the answer is lost: it had {} bytes, and more than is kept was waiting for connections that had broken off",
                        event.bytes
                    );
                    let error = ErrorData::new(ErrorCode::INTERNAL_ERROR, text, None);
                    event.message = Arc::new(ServerJsonRpcMessage::error(error, told.request.clone()));
                    event.kind = Kind::Message;
                    // What stands in for it is bounded by the number of streams.
                    event.bytes = 0;
                }
                Kind::Progress | Kind::Message => drop(told.events.remove(place)),
            }
        }
        true
    }
}

impl Told {
    /// Whether it has an answer that nobody was given: 1, or 0.
    pub(super) fn unheard(&self) -> u64 {
        let is_unheard = |event: &&Event| event.kind == Kind::Answer && event.number > self.given;
        u64::from(self.events.back().as_ref().is_some_and(is_unheard))
    }
}
