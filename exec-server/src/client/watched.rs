//! The events of a process between the connection and whoever takes them.
//!
//! The queue is bounded. When it is full, the connection goes on without it and notes that it is behind; whoever has
//! taken what is queued then asks for the rest, which the server keeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::Event;

/// How many events may wait.
const MOST: usize = 1024;

/// The connection's end.
#[derive(Debug)]
pub(super) struct Producer {
    events: mpsc::UnboundedSender<(Event, Option<OwnedSemaphorePermit>)>,
    room: Arc<Semaphore>,
    behind: Arc<AtomicBool>,
    /// The last number that was queued, and the highest one that was heard of.
    pub(super) last: u64,
    pub(super) newest: u64,
    pub(super) exited: bool,
}

/// The other end.
#[derive(Debug)]
pub(super) struct Consumer {
    events: mpsc::UnboundedReceiver<(Event, Option<OwnedSemaphorePermit>)>,
    behind: Arc<AtomicBool>,
}

pub(super) fn watch() -> (Producer, Consumer) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let behind = Arc::new(AtomicBool::new(false));
    let room = Arc::new(Semaphore::new(MOST));
    let producer =
        Producer { events: sender, room, behind: Arc::clone(&behind), last: 0, newest: 0, exited: false };
    (producer, Consumer { events: receiver, behind })
}

impl Producer {
    /// Queues the event of a number, where there is room and nothing before it is missing.
    pub(super) fn tell(&mut self, seq: u64, event: Event) {
        self.newest = self.newest.max(seq);
        if seq <= self.last || self.is_behind() {
            return;
        }
        let room = Arc::clone(&self.room).try_acquire_owned();
        match room {
            Ok(room) if seq == self.last + 1 => self.put(seq, event, Some(room)),
            // Only a gap that was told may leave numbers out.
            Ok(room) if matches!(event, Event::Gap(_)) => self.put(seq, event, Some(room)),
            _ => {
                self.set_behind(true);
                // Who waits is woken, and asks.
                drop(self.events.send((
                    Event::Output { stream: crate::protocol::Stream::Stdout, bytes: Vec::new() },
                    None,
                )));
            }
        }
    }

    /// Queues what was asked for, whatever the room.
    pub(super) fn put(&mut self, seq: u64, event: Event, room: Option<OwnedSemaphorePermit>) {
        self.exited |= matches!(event, Event::Exited { .. });
        self.last = seq;
        // Whoever does not take them any more has no use for them.
        drop(self.events.send((event, room)));
    }

    pub(super) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Acquire)
    }

    pub(super) fn set_behind(&self, behind: bool) {
        self.behind.store(behind, Ordering::Release);
    }
}

impl Consumer {
    /// The next event. `catch_up` is called where the rest has to be asked for.
    pub(super) async fn next(&mut self, catch_up: impl Fn()) -> Option<Event> {
        loop {
            let event = match self.events.try_recv() {
                Ok((event, _room)) => event,
                Err(_empty) => {
                    if self.behind.load(Ordering::Acquire) {
                        catch_up();
                    }
                    self.events.recv().await?.0
                }
            };
            // What only wakes.
            if !matches!(&event, Event::Output { bytes, .. } if bytes.is_empty()) {
                return Some(event);
            }
        }
    }
}
