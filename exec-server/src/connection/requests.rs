//! Requests under way: how many, how large, and how to be rid of one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::limits::ServerLimits;
use crate::protocol::{ErrorCode, Id, RpcError};

/// What room is counted in.
const UNIT: usize = 1024;

/// The requests of a connection.
pub(super) struct Requests {
    tasks: JoinSet<()>,
    count: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    all_bytes: u32,
    running: Arc<Mutex<HashMap<Id, CancellationToken>>>,
    /// The connection ends: what only waits is not waited for.
    ending: CancellationToken,
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
            ending: CancellationToken::new(),
        }
    }

    /// Waits until there is room for one more of this size.
    pub(super) async fn room(&mut self, size: usize) -> Room {
        while self.tasks.try_join_next().is_some() {}
        let units = u32::try_from(size / UNIT + 1).unwrap_or(u32::MAX).min(self.all_bytes);
        // They are never closed.
        let one = Arc::clone(&self.count).acquire_owned().await.ok();
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(units).await.ok();
        Room { _one: one, _bytes: bytes }
    }

    /// Runs a request. What it is given is ready when the request is to be given up.
    pub(super) fn run<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        id: Id,
        room: Room,
        request: impl FnOnce(Id, std::pin::Pin<Box<dyn Future<Output = RpcError> + Send>>) -> F,
    ) {
        let token = self.ending.child_token();
        let lock =
            |running: &Mutex<HashMap<Id, CancellationToken>>, id: &Id, token: Option<CancellationToken>| {
                let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
                match token {
                    Some(token) => running.insert(id.clone(), token),
                    None => running.remove(id),
                }
            };
        drop(lock(&self.running, &id, Some(token.clone())));
        let cancelled = Box::pin(async move {
            token.cancelled().await;
            RpcError::new(ErrorCode::Cancelled, "the request was cancelled")
        });
        let running = Arc::clone(&self.running);
        let request = request(id.clone(), cancelled);
        self.tasks.spawn(async move {
            request.await;
            drop(lock(&running, &id, None));
            drop(room);
        });
    }

    /// Gives up a request, if it is under way.
    pub(super) fn cancel(&self, id: &Id) {
        if let Some(token) = self.running.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
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
