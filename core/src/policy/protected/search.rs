//! Which repositories there are below a root, without walking the tree at every call.
//!
//! The first call of all walks, within bounds. Later ones take the list that was kept, and look at the top of the tree
//! for what came since; the rest is found by a walk at leisure, which runs beside a command or after it.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::cache::{Cache, Record};
use super::note::ProtectionNote;
use super::walk::{Bounds, Place, Top, Walked, walk};

/// The walk that a call waits for, once.
const FIRST: Bounds = Bounds { directories: 100_000, least: 0, time: Duration::from_secs(2) };
/// The walk that nobody waits for.
const AT_LEISURE: Bounds = Bounds { directories: 2_000_000, least: 0, time: Duration::from_secs(120) };
/// A tree is walked again at leisure after this time, or after so many times the time that it took, whichever is longer.
const REST: Duration = Duration::from_secs(10);
const REST_FACTOR: u32 = 20;
/// The same where there is something to find.
const URGENT_FACTOR: u32 = 4;

/// Finds the repositories below a root, as far as a call can wait for it.
pub(super) fn find(
    root: &Path,
    place: BorrowedFd<'_>,
    top: &Top,
    cache: Option<&Cache>,
    notes: &mut Vec<ProtectionNote>,
) -> Vec<Place> {
    let kept = cache.and_then(|cache| cache.load(root));
    let (mut places, complete, directories) = match kept {
        Some(record) => {
            let Record { mut places, complete, directories, .. } = record;
            places.extend(top.repositories(place));
            (places, complete, directories)
        }
        None => {
            let walked = walk(place, FIRST, &mut || false);
            if let Some(cache) = cache {
                // Without it, the next call walks as this one did.
                drop(cache.save(&record(root, &walked, walked.places.clone())));
            }
            (walked.places, walked.complete, walked.directories)
        }
    };
    places.sort();
    places.dedup();
    if !complete {
        notes.push(ProtectionNote::Bounded { root: root.to_owned(), directories });
    }
    places
}

/// Whether it is time to walk a root's tree again: sooner where it is known that there is something to find.
pub(crate) fn is_due(record: Option<&Record>, now: SystemTime, urgent: bool) -> bool {
    record.is_none_or(|record| {
        let rest = if urgent { record.cost * URGENT_FACTOR } else { REST.max(record.cost * REST_FACTOR) };
        // A clock that was turned back makes it due.
        now.duration_since(record.walked_at).map_or(true, |since| since > rest)
    })
}

/// Walks a root's tree at leisure, until `stop` says so.
pub(crate) fn at_leisure(place: BorrowedFd<'_>, stop: &mut dyn FnMut() -> bool) -> Walked {
    walk(place, AT_LEISURE, stop)
}

/// What to keep of a walk.
pub(crate) fn record(root: &Path, walked: &Walked, places: Vec<Place>) -> Record {
    Record {
        root: root.to_owned(),
        walked_at: SystemTime::now(),
        cost: walked.cost,
        directories: walked.directories,
        complete: walked.complete,
        places,
    }
}
