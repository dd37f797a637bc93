//! Requests under way: how many, how large, and how to be rid of one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::handlers::Later;
use crate::limits::ServerLimits;
use crate::protocol::Id;

/// What room is counted in.
const UNIT: usize = 1024;

/// The requests of a connection.
pub(super) struct Requests {
    tasks: JoinSet<()>,
    count: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    all_bytes: u32,
    running: Running,
    next: u64,
    /// The connection ends: what only waits is not waited for.
    ending: CancellationToken,
}

/// What can be cancelled, each with a number of its own: a client may use an id again.
type Running = Arc<Mutex<HashMap<Id, (u64, CancellationToken)>>>;

/// A request that can be cancelled, as long as this lives.
struct Listed {
    running: Running,
    id: Id,
    number: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.get(&self.id).is_some_and(|(number, _)| *number == self.number) {
            running.remove(&self.id);
        }
    }
}

/// Room that a request has got.
pub(super) struct Room {
    _one: Option<OwnedSemaphorePermit>,
    _bytes: Option<OwnedSemaphorePermit>,
}

impl Requests {
    pub(super) fn new(limits: &ServerLimits) -> Self {
        let all_bytes = u32::try_from(limits.in_flight_bytes / UNIT).unwrap_or(u32::MAX >> 4).max(1);
        Self {
            tasks: JoinSet::new(),
            count: Arc::new(Semaphore::new(limits.concurrent_requests.max(1))),
            bytes: Arc::new(Semaphore::new(all_bytes as usize)),
            all_bytes,
            running: Arc::default(),
            next: 0,
            ending: CancellationToken::new(),
        }
    }

    /// Whether one more of this size has to wait.
    pub(super) fn is_full(&self, size: usize) -> bool {
        self.count.available_permits() == 0 || self.bytes.available_permits() < self.units(size) as usize
    }

    /// What a request of this size takes.
    fn units(&self, size: usize) -> u32 {
        u32::try_from(size / UNIT + 1).unwrap_or(u32::MAX).min(self.all_bytes)
    }

    /// Waits until there is room for one more of this size.
    pub(super) async fn room(&mut self, size: usize) -> Room {
        while self.tasks.try_join_next().is_some() {}
        let units = self.units(size);
        // They are never closed.
        let one = Arc::clone(&self.count).acquire_owned().await.ok();
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(units).await.ok();
        Room { _one: one, _bytes: bytes }
    }

    /// Runs a request, and what goes on after its answer. What it is given says when it is to be given up.
    pub(super) fn run<F: Future<Output = Option<Later>> + Send + 'static>(
        &mut self,
        id: Id,
        room: Room,
        request: impl FnOnce(Id, CancellationToken) -> F,
    ) {
        let token = self.ending.child_token();
        self.next += 1;
        let listed = Listed { running: Arc::clone(&self.running), id: id.clone(), number: self.next };
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.clone(), (listed.number, token.clone()));
        let request = request(id, token.clone());
        self.tasks.spawn(async move {
            let later = request.await;
            drop(room);
            if let Some(Later(later)) = later {
                // The end of the connection does not wait for it.
                tokio::spawn(async move {
                    later(token).await;
                    drop(listed);
                });
            }
        });
    }

    /// Gives up a request, if it is under way, or what goes on after its answer.
    pub(super) fn cancel(&self, id: &Id) {
        if let Some((_, token)) = self.running.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
            token.cancel();
        }
    }

    /// Lets what is under way end; what takes longer is given up, and then told so.
    pub(super) async fn finish(mut self, patience: Duration) {
        let all = async |tasks: &mut JoinSet<()>| while tasks.join_next().await.is_some() {};
        if timeout(patience, all(&mut self.tasks)).await.is_err() {
            self.ending.cancel();
            if timeout(patience, all(&mut self.tasks)).await.is_err() {
                self.tasks.abort_all();
            }
        }
    }
}
