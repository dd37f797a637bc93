//! The way to a process's standard input: pieces in the order in which they came, each once.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use codex_core::exec::Process;
use tokio::sync::{mpsc, oneshot};

use crate::protocol::WriteStatus;

/// How many ids of writes are remembered.
const REMEMBERED: usize = 4096;

/// What a process is to be given.
#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>, oneshot::Sender<()>),
    /// The end of its input.
    End,
}

/// The end that is written to.
#[derive(Debug)]
pub(crate) struct InputLane {
    state: Mutex<State>,
    /// Bytes that wait.
    waiting: Arc<AtomicUsize>,
    /// How many may wait before who writes more has to, and how many before no more are taken.
    most: usize,
    full: usize,
}

#[derive(Debug)]
struct State {
    /// Nothing once it is closed.
    pieces: Option<mpsc::UnboundedSender<Piece>>,
    written: HashSet<String>,
    order: VecDeque<String>,
}

/// The other end, for who writes.
#[derive(Debug)]
pub(crate) struct Pieces {
    pieces: mpsc::UnboundedReceiver<Piece>,
    waiting: Arc<AtomicUsize>,
}

/// What became of a piece.
#[derive(Debug)]
pub(crate) enum Put {
    /// It is known.
    Now(WriteStatus),
    /// It waits for the process to read what came before; then it is accepted.
    Later(oneshot::Receiver<()>),
    /// So many bytes wait that it is not taken. It is as if it had never come.
    Full(usize),
}

impl InputLane {
    /// A lane in which so many bytes may wait while nobody does, and in which so many more may be of requests that wait for them.
    /// A request that is lost with its connection leaves its bytes: that there are more is no request's to wait for.
    pub(crate) fn new(most: usize, requested: usize) -> (Self, Pieces) {
        let (sender, pieces) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let state = State { pieces: Some(sender), written: HashSet::new(), order: VecDeque::new() };
        let lane = Self {
            state: Mutex::new(state),
            waiting: Arc::clone(&waiting),
            most,
            full: most.saturating_add(requested),
        };
        (lane, Pieces { pieces, waiting })
    }

    /// Puts bytes behind what was put before, unless a piece of that id was.
    pub(crate) fn put(&self, id: String, bytes: Vec<u8>) -> Put {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.written.contains(&id) {
            return Put::Now(WriteStatus::Accepted);
        }
        let Some(pieces) = &state.pieces else { return Put::Now(WriteStatus::StdinClosed) };
        let before = self.waiting.load(Ordering::Relaxed);
        if before >= self.full && !pieces.is_closed() {
            return Put::Full(before);
        }
        let count = bytes.len();
        let (done, written) = oneshot::channel();
        // Nobody takes it where the process has ended; that is no fault of whoever writes.
        let waiting = self.waiting.fetch_add(count, Ordering::Relaxed) + count;
        let taken = pieces.send(Piece::Bytes(bytes, done)).is_ok();
        state.written.insert(id.clone());
        state.order.push_back(id);
        if state.order.len() > REMEMBERED
            && let Some(oldest) = state.order.pop_front()
        {
            state.written.remove(&oldest);
        }
        if taken && waiting > self.most { Put::Later(written) } else { Put::Now(WriteStatus::Accepted) }
    }

    /// Ends the input behind what was put. Says whether it was open.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Where nobody takes it the process has ended.
        state.pieces.take().is_some_and(|pieces| pieces.send(Piece::End).is_ok())
    }
}

impl Pieces {
    /// Hands over what was put, as the process reads. Ends with its input.
    pub(crate) async fn write_to(mut self, process: Arc<Process>) {
        loop {
            let piece = tokio::select! {
                piece = self.pieces.recv() => piece,
                _answer = process.wait() => return,
            };
            match piece {
                Some(Piece::Bytes(bytes, done)) => {
                    let written = process.write(&bytes).await;
                    self.waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
                    // Nobody waits for most of them.
                    done.send(()).ok();
                    if let Err(error) = written {
                        tracing::debug!("input that nobody reads: {error}");
                        return;
                    }
                }
                Some(Piece::End) | None => return process.close_input(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{InputLane, Put};
    use crate::protocol::WriteStatus;

    #[test]
    fn requests_that_are_lost_leave_no_more_than_there_is_room_for() {
        let (lane, pieces) = InputLane::new(8, 16);
        let put = |id: usize| lane.put(id.to_string(), vec![0; 4]);
        for id in 0..2 {
            assert!(matches!(put(id), Put::Now(WriteStatus::Accepted)), "{id}");
        }
        // Each of them is given up by whoever waited for it, and is written all the same.
        for id in 2..6 {
            assert!(matches!(put(id), Put::Later(_)), "{id}");
        }
        assert!(matches!(put(6), Put::Full(24)));
        // What was put is known, and what was not taken is not.
        assert!(matches!(put(5), Put::Now(WriteStatus::Accepted)));
        assert!(matches!(put(6), Put::Full(24)));
        // After the end of the process nothing waits.
        drop(pieces);
        assert!(matches!(put(6), Put::Now(WriteStatus::Accepted)));
    }
}
