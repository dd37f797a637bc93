//! Room for requests over HTTP: how many there may be under way, and how much of them.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What bytes are counted in.
const KIB: usize = 1024;

/// All of it.
#[derive(Debug)]
pub(crate) struct Room {
    requests: Arc<Semaphore>,
    kibibytes: Arc<Semaphore>,
}

/// A request's place. Given back with the request.
#[derive(Debug)]
pub(crate) struct Place {
    _request: OwnedSemaphorePermit,
    kibibytes: OwnedSemaphorePermit,
    bytes: usize,
}

impl Room {
    /// Room for so many requests, and so many bytes of them.
    pub(crate) fn new(requests: usize, bytes: usize) -> Self {
        let room = |most: usize| Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)));
        Self { requests: room(requests), kibibytes: room(bytes.div_ceil(KIB)) }
    }

    /// A place for a request of which nothing has come yet. Nothing where there is none.
    pub(crate) fn place(&self) -> Option<Place> {
        let request = Arc::clone(&self.requests).try_acquire_owned().ok()?;
        let kibibytes = Arc::clone(&self.kibibytes).try_acquire_many_owned(0).ok()?;
        Some(Place { _request: request, kibibytes, bytes: 0 })
    }
}

impl Place {
    /// Takes room for so many bytes more. Says whether there is as much.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let bytes = self.bytes.saturating_add(bytes);
        let more = bytes.div_ceil(KIB).saturating_sub(self.kibibytes.num_permits());
        let Ok(more) = u32::try_from(more) else { return false };
        match Arc::clone(self.kibibytes.semaphore()).try_acquire_many_owned(more) {
            Ok(more) => {
                self.kibibytes.merge(more);
                self.bytes = bytes;
                true
            }
            Err(_full) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{KIB, Room};

    #[test]
    fn there_is_so_much_room_and_it_comes_back() {
        let room = Room::new(2, 8 * KIB);
        let (mut one, mut two) = (room.place().unwrap(), room.place().unwrap());
        assert!(room.place().is_none());
        // Byte by byte, a KiB is one.
        for _ in 0..KIB {
            assert!(one.grow(1));
        }
        assert!(two.grow(7 * KIB));
        assert!(!one.grow(1));
        drop(one);
        assert!(two.grow(KIB) && !two.grow(1) && !two.grow(usize::MAX));
        drop(two);
        assert!(room.place().unwrap().grow(8 * KIB));
    }
}
