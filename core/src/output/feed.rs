//! What a command writes, handed on while it runs.
//!
//! A feed keeps the newest chunks within a bound. Any number of readers follow it, each at its own pace. Whoever is
//! too slow misses the oldest chunks, and is told exactly how many bytes of which stream. Nobody's pace costs memory.
//!
//! - **Numbers.** Each chunk has the next number, from 1 on without a gap; so have the command's exit and the end of its
//!   streams. The end has the highest one.
//! - **Order.** Chunks come in the order in which they were pushed, across streams.
//! - **Backpressure.** Pushing never waits. Whoever pushes may wait *before* reading on, until every reader has room:
//!   [`Feed::ready`], for a time that is bounded for the whole feed. By default it is none.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout_at;

use super::stall::Stall;
use super::{OutputStream, StreamCounts};

#[cfg(test)]
mod tests;

/// What an event takes beside its bytes, about.
const OVERHEAD: usize = 64;

/// The bounds of a [`Feed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedOptions {
    /// How much memory the chunks take that are kept, 64 bytes for each beside its own included.
    pub retain: usize,
    /// The longest chunk: what is pushed at once is split.
    pub chunk: usize,
    /// For how long, in the whole life of the feed, whoever pushes waits for slow readers.
    pub stall: Duration,
}

impl Default for FeedOptions {
    /// 1 MiB, chunks of 8 KiB, and no waiting.
    fn default() -> Self {
        Self { retain: 1024 * 1024, chunk: 8 * 1024, stall: Duration::ZERO }
    }
}

/// A piece of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedChunk {
    /// Its number.
    pub seq: u64,
    /// The stream.
    pub stream: OutputStream,
    /// How many bytes of the same stream came before it.
    pub offset: u64,
    /// The bytes, shared with the feed and its other readers.
    pub bytes: Arc<[u8]>,
}

/// What a reader missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Missed {
    /// How many events, whose numbers follow the reader's last one.
    pub events: u64,
    /// How many bytes of each stream. Unknown only to a reader that began at a number that was gone by then.
    pub bytes: Option<StreamCounts>,
    /// How many bytes of all streams come before what follows: the place in a [spilled file](super::spill) where what was missed ends.
    pub end: u64,
}

/// What one reading gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedRead {
    /// What came before the chunks and is gone.
    pub missed: Option<Missed>,
    /// What has come, in order.
    pub chunks: Vec<FeedChunk>,
    /// The number that follows: that of the newest event and one, or that of the last chunk and one where there was no
    /// room for more.
    pub next_seq: u64,
    /// The number of the command's exit, where it is below `next_seq`.
    pub exited: Option<u64>,
    /// The number of the streams' end, where it is below `next_seq`. Nothing follows.
    pub closed: Option<u64>,
}

/// Takes chunks, and keeps the newest. Dropping it closes it.
///
/// ```
/// use codex_core::output::{Feed, OutputStream};
///
/// let feed = Feed::new(Default::default());
/// let mut reader = feed.reader();
/// feed.push(OutputStream::Stdout, b"hello");
/// feed.exited();
/// feed.close();
/// let read = reader.read(usize::MAX);
/// assert_eq!((&*read.chunks[0].bytes, read.chunks[0].seq), (b"hello".as_slice(), 1));
/// assert_eq!((read.missed, read.exited, read.closed, read.next_seq), (None, Some(2), Some(3), 4));
/// ```
#[derive(Debug)]
pub struct Feed {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    options: FeedOptions,
    /// The number of the next event, for those who wait for it.
    next: watch::Sender<u64>,
    /// A reader has moved on, or is gone.
    moved: Notify,
}

#[derive(Debug)]
struct State {
    /// The newest events. The last one's number is one below `next`.
    events: VecDeque<Event>,
    next: u64,
    /// What the kept events take.
    retained: usize,
    /// What all events have taken.
    taken: u64,
    /// The bytes before the first event that is kept, and all of them.
    gone: StreamCounts,
    pushed: StreamCounts,
    exited: Option<u64>,
    closed: Option<u64>,
    /// What each reader has taken, of `taken`.
    readers: BTreeMap<u64, u64>,
    reader: u64,
    stall: Stall,
}

#[derive(Debug)]
enum Event {
    Output {
        stream: OutputStream,
        offset: u64,
        bytes: Arc<[u8]>,
    },
    /// The exit, or the end.
    Mark,
}

impl Event {
    fn size(&self) -> usize {
        match self {
            Self::Output { bytes, .. } => bytes.len() + OVERHEAD,
            Self::Mark => OVERHEAD,
        }
    }

    fn count(&self, counts: &mut StreamCounts) {
        if let Self::Output { stream, bytes, .. } = self {
            *counts.of_mut(*stream) += bytes.len() as u64;
        }
    }
}

impl State {
    fn first(&self) -> u64 {
        self.next - self.events.len() as u64
    }

    fn add(&mut self, event: Event, retain: usize) {
        self.retained += event.size();
        self.taken += event.size() as u64;
        self.events.push_back(event);
        self.next += 1;
        while self.retained > retain {
            let Some(oldest) = self.events.pop_front() else { break };
            self.retained -= oldest.size();
            oldest.count(&mut self.gone);
        }
    }
}

impl Feed {
    /// A feed to which nothing has come yet.
    #[must_use]
    pub fn new(options: FeedOptions) -> Self {
        let state = State {
            events: VecDeque::new(),
            next: 1,
            retained: 0,
            taken: 0,
            gone: StreamCounts::default(),
            pushed: StreamCounts::default(),
            exited: None,
            closed: None,
            readers: BTreeMap::new(),
            reader: 0,
            stall: Stall::of(options.stall),
        };
        let shared =
            Shared { state: Mutex::new(state), options, next: watch::channel(1).0, moved: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Adds the next bytes of a stream. Never waits. What comes after the end is left out.
    pub fn push(&self, stream: OutputStream, bytes: &[u8]) {
        let FeedOptions { retain, chunk, .. } = self.shared.options;
        let mut state = self.shared.lock();
        if state.closed.is_some() || bytes.is_empty() {
            return;
        }
        for piece in bytes.chunks(chunk.max(1)) {
            let offset = state.pushed.of(stream);
            *state.pushed.of_mut(stream) += piece.len() as u64;
            state.add(Event::Output { stream, offset, bytes: piece.into() }, retain);
        }
        self.shared.tell(state);
    }

    /// Notes that the command has exited, and returns the number of that. Output may follow.
    pub fn exited(&self) -> u64 {
        let mut state = self.shared.lock();
        let seq = state.next;
        if let Some(before) = state.exited.or(state.closed) {
            return before;
        }
        state.exited = Some(seq);
        state.add(Event::Mark, self.shared.options.retain);
        self.shared.tell(state);
        seq
    }

    /// Notes that nothing follows, and returns the number of that.
    pub fn close(&self) -> u64 {
        let mut state = self.shared.lock();
        let seq = state.next;
        if let Some(before) = state.closed {
            return before;
        }
        state.closed = Some(seq);
        state.add(Event::Mark, self.shared.options.retain);
        self.shared.tell(state);
        seq
    }

    /// A reader from the start.
    #[must_use]
    pub fn reader(&self) -> FeedReader {
        self.reader_after(0)
    }

    /// A reader of what follows a number; of what follows the newest event where that is a higher one.
    #[must_use]
    pub fn reader_after(&self, seq: u64) -> FeedReader {
        let mut state = self.shared.lock();
        let after = seq.min(state.next - 1);
        let mut taken = state.taken - state.retained as u64;
        let seen = match (after + 1).checked_sub(state.first()) {
            Some(known) => {
                let mut seen = state.gone;
                for event in state.events.iter().take(usize::try_from(known).unwrap_or(usize::MAX)) {
                    taken += event.size() as u64;
                    event.count(&mut seen);
                }
                Some(seen)
            }
            // Of what is gone, only all of it is known.
            None => (after == 0).then(StreamCounts::default),
        };
        state.reader += 1;
        let id = state.reader;
        state.readers.insert(id, taken);
        FeedReader {
            shared: Arc::clone(&self.shared),
            next: self.shared.next.subscribe(),
            id,
            after,
            seen,
            taken,
        }
    }

    /// Waits until every reader has room for `bytes` more, but no longer than [`FeedOptions::stall`] all in all.
    ///
    /// Whoever reads a command's stream calls it before reading on. It may be dropped halfway; the time counts on until
    /// there is room.
    pub async fn ready(&self, bytes: usize) {
        loop {
            let moved = self.shared.moved.notified();
            let until = {
                let mut state = self.shared.lock();
                let chunks = bytes.div_ceil(self.shared.options.chunk.max(1));
                let needed = (bytes + chunks * OVERHEAD) as u64;
                let slowest = state.readers.values().min().copied();
                let unread = slowest.map_or(0, |taken| state.taken - taken);
                // What could never fit is no reason to wait for more than a reader that has read all.
                if state.stall.is_used_up()
                    || unread == 0
                    || unread + needed <= self.shared.options.retain as u64
                {
                    state.stall.end();
                    return;
                }
                state.stall.begin()
            };
            if timeout_at(until, moved).await.is_err() {
                self.shared.lock().stall.end();
                return;
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock can leave half of it done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, state: MutexGuard<'_, State>) {
        let next = state.next;
        drop(state);
        // Two that push at once may come in any order.
        self.next.send_if_modified(|known| std::mem::replace(known, next.max(*known)) < next);
    }
}

/// Follows a [`Feed`].
#[derive(Debug)]
pub struct FeedReader {
    shared: Arc<Shared>,
    next: watch::Receiver<u64>,
    id: u64,
    /// The last number that was read.
    after: u64,
    /// The bytes up to it, and what these took.
    seen: Option<StreamCounts>,
    taken: u64,
}

impl FeedReader {
    /// Takes what has come since the last time, waiting for nothing: chunks of `max_bytes` together, and at least one
    /// where there is one.
    pub fn read(&mut self, max_bytes: usize) -> FeedRead {
        let mut state = self.shared.lock();
        let mut read = FeedRead::default();
        let first = state.first();
        if self.after + 1 < first {
            let bytes = self.seen.map(|seen| state.gone.since(&seen));
            read.missed = Some(Missed { events: first - 1 - self.after, bytes, end: state.gone.total() });
            (self.after, self.seen) = (first - 1, Some(state.gone));
            self.taken = state.taken - state.retained as u64;
        }
        let skip = usize::try_from(self.after + 1 - first).unwrap_or(usize::MAX).min(state.events.len());
        let mut room = max_bytes;
        for event in state.events.range(skip..) {
            if let Event::Output { stream, offset, bytes } = event {
                if bytes.len() > room && !read.chunks.is_empty() {
                    break;
                }
                room = room.saturating_sub(bytes.len());
                let (seq, bytes) = (self.after + 1, Arc::clone(bytes));
                read.chunks.push(FeedChunk { seq, stream: *stream, offset: *offset, bytes });
            }
            if let Some(seen) = &mut self.seen {
                event.count(seen);
            }
            self.taken += event.size() as u64;
            self.after += 1;
        }
        read.next_seq = self.after + 1;
        read.exited = state.exited.filter(|seq| *seq <= self.after);
        read.closed = state.closed.filter(|seq| *seq <= self.after);
        state.readers.insert(self.id, self.taken);
        drop(state);
        self.shared.moved.notify_one();
        read
    }

    /// Waits until there is something to read, and takes it; at the end, returns at once. Nothing is lost where it is
    /// dropped halfway.
    pub async fn next(&mut self, max_bytes: usize) -> FeedRead {
        let after = self.after;
        let ended = self.shared.lock().closed.is_some_and(|closed| closed <= after);
        // The sender is as long there as we are.
        if !ended && self.next.wait_for(|next| *next > after + 1).await.is_err() {
            tracing::debug!("a feed's sender is gone before its readers");
        }
        self.read(max_bytes)
    }
}

impl Drop for FeedReader {
    fn drop(&mut self) {
        self.shared.lock().readers.remove(&self.id);
        self.shared.moved.notify_one();
    }
}
