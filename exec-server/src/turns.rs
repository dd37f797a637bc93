//! Turns at what takes the processors: setting up a process.
//!
//! As many as there are processors at a time, and the sessions in turn: one that asks for a thousand processes waits for its own
//! thousand, and others wait for as many of them as one session may have at the head of the queue. Nobody keeps a turn for long: a
//! set-up that hangs (a file system that does not answer) goes on without, and holds up nobody.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::metrics::Metrics;

/// For how long a set-up has its turn. One takes milliseconds, on a machine that is busy some dozens.
const LONGEST: Duration = Duration::from_millis(250);

/// What one session has of them.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
    count: usize,
    metrics: Arc<Metrics>,
}

/// A turn of what begins here and ends elsewhere.
#[derive(Debug)]
pub(crate) struct Turn {
    _given_up_with: DropGuard,
}

impl Turns {
    /// So many at a time.
    pub(crate) fn new(count: usize, metrics: Arc<Metrics>) -> Self {
        let count = count.max(1);
        let all = Arc::new(Semaphore::new(count));
        Self { all, own: Arc::new(Semaphore::new(count)), count, metrics }
    }

    /// The same for another session, or for other work that is to wait for itself.
    pub(crate) fn of_another(&self) -> Self {
        let own = Arc::new(Semaphore::new(self.count));
        Self { all: Arc::clone(&self.all), own, count: self.count, metrics: Arc::clone(&self.metrics) }
    }

    /// Waits for a turn, which is given up when it is dropped, or has lasted long enough.
    pub(crate) async fn begin(&self) -> Turn {
        // They are never closed.
        let own = Arc::clone(&self.own).acquire_owned().await.ok();
        let all = Arc::clone(&self.all).acquire_owned().await.ok();
        self.metrics.turns.add(1);
        let given_up = CancellationToken::new();
        let guard = given_up.clone().drop_guard();
        tokio::spawn(async move {
            // Whichever comes first.
            drop(timeout(LONGEST, given_up.cancelled()).await);
            drop((own, all));
        });
        Turn { _given_up_with: guard }
    }

    /// Does the work once it is its turn.
    pub(crate) async fn take<T>(&self, work: impl Future<Output = T>) -> T {
        // They are never closed. First its own session's: what waits for all waits in one queue.
        let own = self.own.acquire().await.ok();
        let all = self.all.acquire().await.ok();
        self.metrics.turns.add(1);
        let mut work = std::pin::pin!(work);
        match timeout(LONGEST, &mut work).await {
            Ok(done) => done,
            Err(_long) => {
                drop((all, own));
                work.await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::{JoinSet, yield_now};

    use super::*;

    fn turns_of(count: usize) -> Turns {
        Turns::new(count, Arc::default())
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_have_a_turn_at_a_time() {
        let (turns, now, most) = (turns_of(2), AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || {
            turns.take(async {
                most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                tokio::time::sleep(LONGEST / 2).await;
                now.fetch_sub(1, Ordering::Relaxed);
            })
        };
        futures_util::future::join_all((0..9).map(|_| work())).await;
        assert_eq!(most.into_inner(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_holds_up_nobody() {
        let turns = turns_of(2);
        let mut hanging = JoinSet::new();
        for _ in 0..2 {
            let turns = turns.of_another();
            hanging.spawn(async move { turns.take(std::future::pending::<()>()).await });
        }
        yield_now().await;
        assert!(timeout(LONGEST / 2, turns.take(async {})).await.is_err(), "they have no turn");
        assert!(timeout(LONGEST, turns.take(async {})).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_ends_when_it_is_given_up_or_has_lasted() {
        let turns = turns_of(1);
        let first = turns.begin().await;
        assert!(timeout(LONGEST / 2, turns.begin()).await.is_err());
        drop(first);
        let second = timeout(LONGEST / 2, turns.begin()).await.unwrap();
        // It is kept, and ends all the same.
        let third = timeout(LONGEST * 2, turns.of_another().begin()).await.unwrap();
        drop((second, third));
        turns.take(async {}).await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_session_waits_for_itself() {
        let many = turns_of(2);
        let one = many.of_another();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut all = JoinSet::new();
        let mut ask = |turns: &Turns, name: usize| {
            let (turns, order) = (turns.clone(), Arc::clone(&order));
            all.spawn(async move {
                turns
                    .take(async {
                        tokio::time::sleep(LONGEST / 4).await;
                        order.lock().unwrap().push(name);
                    })
                    .await;
            });
        };
        for name in 0..100 {
            ask(&many, name);
        }
        yield_now().await;
        ask(&one, 1000);
        while all.join_next().await.is_some() {}
        let place = order.lock().unwrap().iter().position(|name| *name == 1000);
        assert!(place.is_some_and(|place| place <= 4), "{place:?}");
    }
}
