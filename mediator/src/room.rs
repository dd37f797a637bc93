//! How many connections there may be at a time.
//!
//! Each has descriptors of this process, which has other calls to serve: no command may take all of them.

use std::sync::{Arc, OnceLock};

use nix::sys::resource::{Resource, getrlimit};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// How many connections a call may have at a time. Others wait until one has ended.
const MOST_OF_A_CALL: usize = 256;
/// How many of a process's descriptors there are for each connection: it has one to the command and one to the host, and for a
/// while another beside that.
const DESCRIPTORS: u64 = 4;
/// How many there are at least.
const LEAST: usize = 16;
/// How many there are at most, whatever the limit.
const MOST: usize = 4096;

/// The room of a process for connections. A clone stands for the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room(Arc<OnceLock<Places>>);

#[derive(Debug)]
struct Places {
    among_all: Arc<Semaphore>,
    of_a_call: usize,
}

impl Room {
    fn places(&self) -> &Places {
        self.0.get_or_init(|| {
            // Whoever can't tell has the least.
            let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
            let all = usize::try_from(descriptors / DESCRIPTORS).unwrap_or(MOST).clamp(LEAST, MOST);
            // Where there is little room, no call has all of it.
            Places { among_all: Arc::new(Semaphore::new(all)), of_a_call: (all / 2).min(MOST_OF_A_CALL) }
        })
    }

    /// How many a call may have of them.
    pub(crate) fn of_a_call(&self) -> usize {
        self.places().of_a_call
    }

    /// Waits until there is room for one more.
    pub(crate) async fn take(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        Arc::clone(&self.places().among_all).acquire_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::Room;

    #[tokio::test]
    async fn no_call_has_all_of_it_and_clones_share_it() {
        let room = Room::default();
        let all = room.places().among_all.available_permits();
        assert!(all >= 2 * room.of_a_call() && room.of_a_call() > 0);
        let taken = room.clone().take().await.unwrap();
        assert_eq!(room.places().among_all.available_permits(), all - 1);
        drop(taken);
        assert_eq!(room.places().among_all.available_permits(), all);
    }
}
