//! The whole output of processes, in files without names, for clients that ask for that.

use std::sync::{Arc, Mutex, PoisonError};

use codex_core::output::{SpillDirectory, SpillOptions, SpillTap};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::ServerLimits;

/// Where there is room for them.
#[derive(Debug)]
pub(crate) struct SpillRoom {
    pub(crate) directory: Arc<SpillDirectory>,
    pub(crate) options: SpillOptions,
    places: Arc<Semaphore>,
}

/// That of one process. It goes with the process.
#[derive(Debug)]
pub(crate) struct Spilled {
    pub(crate) tap: Arc<SpillTap>,
    /// Given back at the end of a process that wrote too little for a file.
    place: Mutex<Option<OwnedSemaphorePermit>>,
}

impl SpillRoom {
    pub(crate) fn new(directory: Arc<SpillDirectory>, limits: &ServerLimits) -> Self {
        let options = SpillOptions { max_bytes: limits.spill_bytes, ..SpillOptions::default() };
        let places = Arc::new(Semaphore::new(limits.spills.min(Semaphore::MAX_PERMITS)));
        Self { directory, options, places }
    }

    /// Room for one more. Nothing where there is none.
    pub(crate) fn take(&self) -> Option<Spilled> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Spilled { tap: Arc::default(), place: Mutex::new(Some(place)) })
    }
}

impl Spilled {
    /// Notes that nothing more is written.
    pub(crate) fn is_over(&self) {
        if !self.tap.has_file() {
            self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }
}
