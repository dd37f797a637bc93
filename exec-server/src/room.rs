//! Room for answers: how many bytes of them a connection may have under way.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What room is counted in, in bytes of base64.
const UNIT: usize = 1024;
/// Up to how many bytes an answer is small. Most are.
pub(crate) const SMALL: usize = 1 << 20;

/// The room of a connection. Small answers have some of their own, so that they never wait behind large ones.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    large: Lane,
    small: Lane,
}

#[derive(Clone, Debug)]
struct Lane {
    left: Arc<Semaphore>,
    whole: u32,
}

/// A part of it, until it is dropped.
#[derive(Debug)]
pub(crate) struct Taken(Option<OwnedSemaphorePermit>);

/// What so many bytes take as base64.
fn units(bytes: usize) -> u32 {
    u32::try_from(bytes / 3 * 4 / UNIT + 1).unwrap_or(u32::MAX)
}

impl Room {
    /// Room for so many bytes of base64, and for an eighth of it in small answers.
    pub(crate) fn new(bytes: usize) -> Self {
        let lane = |bytes: usize| {
            let whole = u32::try_from((bytes / UNIT).max(1)).unwrap_or(u32::MAX).min(u32::MAX >> 4);
            Lane { left: Arc::new(Semaphore::new(whole as usize)), whole }
        };
        Self { large: lane(bytes), small: lane(bytes / 8) }
    }

    /// Waits until there is room for so many bytes, first come first served. What is larger than all of it takes all of it.
    pub(crate) async fn take(&self, bytes: usize) -> Taken {
        let Lane { left, whole } = if bytes <= SMALL { &self.small } else { &self.large };
        // It is never closed.
        Taken(Arc::clone(left).acquire_many_owned(units(bytes).min(*whole)).await.ok())
    }
}

impl Taken {
    /// Gives back what so many bytes do not take.
    pub(crate) fn fit(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.0 {
            let unused = permit.num_permits().saturating_sub(units(bytes) as usize);
            drop(permit.split(unused));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::{Room, SMALL};

    #[tokio::test]
    async fn what_is_not_needed_is_for_others_and_small_answers_wait_for_no_large_ones() {
        let room = Room::new(32 << 20);
        let take = |bytes: usize| room.take(bytes).now_or_never();
        let mut large = take(24 << 20).unwrap();
        assert!(take(SMALL + 1).is_none());
        large.fit(12 << 20);
        let rest = take(11 << 20).unwrap();
        assert!(take(SMALL + 1).is_none());
        let small = [take(SMALL), take(SMALL)];
        assert!(small.iter().all(Option::is_some));
        drop((large, rest, small));
        // As large as it is, it has all of it.
        let whole = take(1 << 30).unwrap();
        assert!(take(SMALL + 1).is_none());
        drop(whole);
        assert!(take(SMALL + 1).is_some());
    }
}
