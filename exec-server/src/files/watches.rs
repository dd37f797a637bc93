//! What a connection waits for: that something comes to be which is not there.

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::crew::Crew;
use super::order::Order;
use super::talk::Worker;
use crate::ceiling::FilesGrant;
use crate::protocol::{FileUri, RpcError, WatchResult};
use crate::room::SMALL;

/// How many ids of watches are remembered.
const REMEMBERED: usize = 1024;

/// The watch of a connection, and the ids that it had.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: VecDeque<u64>,
    current: CancellationToken,
}

/// A worker that watches.
pub(crate) struct Watcher(Worker);

impl Watches {
    /// Begins another watch in the place of the one before. What it gives says when it has been replaced in turn. Nothing where the
    /// id was used.
    pub(crate) fn begin(&self, id: u64) -> Option<CancellationToken> {
        // Nothing that is done under the lock can leave half of it done.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.known.contains(&id) {
            return None;
        }
        if state.known.len() == REMEMBERED {
            state.known.pop_front();
        }
        state.known.push_back(id);
        let next = CancellationToken::new();
        std::mem::replace(&mut state.current, next.clone()).cancel();
        Some(next)
    }
}

impl Watcher {
    /// Has a worker watch. Nothing where there is nothing to wait for, or no worker to wait with.
    pub(super) async fn start(
        crew: &Arc<Crew>,
        own: &Arc<AtomicUsize>,
        grant: &FilesGrant,
        missing: Vec<FileUri>,
        present: Option<FileUri>,
    ) -> Result<Option<Self>, RpcError> {
        let held = match crew.hold(own) {
            Ok(held) => held,
            Err(error) => {
                tracing::info!("nothing is watched: {error}");
                return Ok(None);
            }
        };
        let mut worker = crew.start(grant, Some(held)).await?;
        let order = Order::Watch { missing, present };
        match worker.converse(&order, &[], SMALL, crew.deadline()).await {
            Ok(Ok(said)) => {
                let WatchResult { watching } = serde_json::from_slice(&said.whole())
                    .map_err(|error| RpcError::internal(format!("a worker's words: {error}")))?;
                Ok(watching.then_some(Self(worker)))
            }
            Ok(Err(failure)) => Err(failure.into()),
            Err(broken) => Err(worker.failure(&broken).await),
        }
    }

    /// Waits until something is not as it was. That is also said where nobody can know any more: who hears it looks again.
    pub(crate) async fn changed(mut self) {
        if let Err(broken) = self.0.converse(&Order::Await, &[], SMALL, Duration::MAX).await {
            tracing::info!("what is watched may have changed: the worker that watched: {broken}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{REMEMBERED, Watches};

    #[test]
    fn a_watch_replaces_the_one_before_unless_its_id_was_used() {
        let watches = Watches::default();
        let first = watches.begin(1).unwrap();
        assert!(watches.begin(1).is_none() && !first.is_cancelled());
        let second = watches.begin(2).unwrap();
        assert!(first.is_cancelled() && !second.is_cancelled());
        assert!(watches.begin(1).is_none());
        for id in 0..REMEMBERED as u64 {
            watches.begin(id + 3);
        }
        assert!(watches.begin(1).is_some());
    }
}
