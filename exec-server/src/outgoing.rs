//! What waits for a connection to take it: a queue bounded by its bytes.
//!
//! Who has more to send than there is room for waits, first come first served, so that one process that writes without
//! end can't keep others from being heard.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::protocol::encode_notification;

/// What room is counted in. A message takes one at least.
const UNIT: usize = 1024;

/// The connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// The end that is sent to.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    queue: mpsc::UnboundedSender<Queued>,
    room: Arc<Semaphore>,
    whole: u32,
    gone: CancellationToken,
    closing: CancellationToken,
    signs: Arc<Signs>,
}

/// What was heard of the peer, whatever it was.
#[derive(Debug, Default)]
struct Signs {
    count: AtomicU64,
    /// Whether one is waited for, and that one be asked for.
    is_awaited: AtomicBool,
    asks: Notify,
}

/// What waits.
#[derive(Debug)]
pub(crate) enum Queued {
    /// A message, and the room that it takes.
    Message { text: String, room: OwnedSemaphorePermit },
    /// Nothing follows.
    End(Ending),
}

/// How a connection is ended by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Usual,
    /// A message was too long to find the next one.
    TooLong,
    /// What came is none of the transport's, and nobody knows where the next message begins.
    Broken,
    /// A message that calls itself text is none.
    NoText,
}

/// A queue with room for so many bytes, and its other end.
pub(crate) fn queue(bytes: usize) -> (Outgoing, mpsc::UnboundedReceiver<Queued>) {
    let whole = u32::try_from((bytes / UNIT).max(1)).unwrap_or(u32::MAX).min(u32::MAX >> 4);
    let (sender, receiver) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(whole as usize));
    let (gone, closing, signs) = Default::default();
    (Outgoing { queue: sender, room, whole, gone, closing, signs }, receiver)
}

impl Outgoing {
    /// Queues a message once there is room. One that is larger than all of it waits until the queue is empty.
    pub(crate) async fn send(&self, text: String) -> Result<(), Gone> {
        let units = u32::try_from(text.len() / UNIT + 1).unwrap_or(u32::MAX).min(self.whole);
        let room = tokio::select! {
            room = Arc::clone(&self.room).acquire_many_owned(units) => room.map_err(|_closed| Gone)?,
            () = self.gone.cancelled() => return Err(Gone),
        };
        self.queue.send(Queued::Message { text, room }).map_err(|_closed| Gone)
    }

    /// Queues a notification. One that has no form in JSON is a mistake of ours, which ends nothing.
    pub(crate) async fn tell(&self, method: &str, params: impl Serialize) -> Result<(), Gone> {
        match encode_notification(method, params) {
            Ok(text) => self.send(text).await,
            Err(error) => {
                tracing::error!(%error, method, "a notification has no form in JSON");
                Ok(())
            }
        }
    }

    /// Ends the connection behind what is queued.
    pub(crate) fn finish(&self, ending: Ending) {
        // Nobody takes it where the connection is gone already.
        drop(self.queue.send(Queued::End(ending)));
    }

    /// Waits until nothing more is asked for over the connection: answers that wait for something are due.
    pub(crate) async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Whether nothing more is.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Says that nothing more is.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    /// Notes that something has come from the peer.
    pub(crate) fn heard(&self) {
        self.signs.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until the peer is to be asked for a sign.
    pub(crate) async fn asked(&self) {
        self.signs.asks.notified().await;
    }

    /// Asks the peer for a sign, and gives the connection up where nothing comes in time. Only for transports on which a peer answers
    /// by itself.
    pub(crate) fn ask_for_a_sign(&self, patience: Duration) {
        if self.signs.is_awaited.swap(true, Ordering::Relaxed) {
            return;
        }
        let before = self.signs.count.load(Ordering::Relaxed);
        self.signs.asks.notify_one();
        let out = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = sleep(patience) => {}
                () = out.gone() => return,
            }
            out.signs.is_awaited.store(false, Ordering::Relaxed);
            if out.signs.count.load(Ordering::Relaxed) == before {
                tracing::info!(
                    "a connection is given up: nobody answers over it, and its session is asked for"
                );
                out.give_up();
            }
        });
    }

    /// Waits until the connection is gone.
    pub(crate) async fn gone(&self) {
        self.gone.cancelled().await;
    }

    /// Says that it is.
    pub(crate) fn give_up(&self) {
        self.gone.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc::UnboundedReceiver;
    use tokio::time::timeout;

    use super::{Gone, Queued, queue};

    async fn next(queued: &mut UnboundedReceiver<Queued>) -> (String, impl Sized) {
        match queued.recv().await {
            Some(Queued::Message { text, room }) => (text, room),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_no_sign_is_given_up() {
        const PATIENCE: Duration = Duration::from_secs(5);
        let (out, _queued) = queue(4096);
        out.heard();
        out.ask_for_a_sign(PATIENCE);
        // It is asked once, whoever wants to know meanwhile.
        out.ask_for_a_sign(PATIENCE);
        out.asked().await;
        assert!(timeout(PATIENCE / 2, out.asked()).await.is_err());
        out.heard();
        assert!(timeout(PATIENCE * 2, out.gone()).await.is_err(), "it has answered");
        // Another time it does not.
        out.ask_for_a_sign(PATIENCE);
        assert!(timeout(PATIENCE * 2, out.gone()).await.is_ok());
    }

    #[tokio::test]
    async fn who_has_no_room_waits_and_a_giant_waits_for_all_of_it() {
        let (out, mut queued) = queue(4096);
        for _ in 0..4 {
            out.send("x".to_owned()).await.unwrap();
        }
        let giant = {
            let out = out.clone();
            tokio::spawn(async move { out.send("y".repeat(1 << 20)).await })
        };
        let later = {
            let out = out.clone();
            tokio::spawn(async move { out.send("z".to_owned()).await })
        };
        for _ in 0..4 {
            assert!(!giant.is_finished());
            assert_eq!(next(&mut queued).await.0, "x");
        }
        let (text, room) = next(&mut queued).await;
        assert_eq!(text.len(), 1 << 20);
        assert!(!later.is_finished());
        drop(room);
        assert_eq!(next(&mut queued).await.0, "z");
        assert_eq!((giant.await.unwrap(), later.await.unwrap()), (Ok(()), Ok(())));
        out.give_up();
        // Whatever room there is.
        for _ in 0..4096 {
            if out.send("x".repeat(2048)).await == Err(Gone) {
                return;
            }
        }
        panic!("a queue that is gone has room without end");
    }
}
