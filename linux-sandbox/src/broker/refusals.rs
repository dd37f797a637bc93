//! What could not be connected to, remembered for whoever asks why. It costs nothing where nothing fails.

use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use nix::errno::Errno;

use super::caller::Caller;
use crate::observe::{Act, Attempt, address_named};

/// How many different ones are kept. What a pipe has no room for is left out when they are told.
const MOST: usize = 48;

/// What could not be connected to so far.
#[derive(Debug)]
pub(super) struct Refusals {
    started: Instant,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    known: HashMap<(OsString, i32), Attempt>,
    untold: u64,
}

/// What there is to tell of them.
#[derive(Debug)]
pub(crate) struct Refused {
    /// In the order in which they were first seen.
    pub(crate) attempts: Vec<Attempt>,
    /// How often something was refused that is none of them.
    pub(crate) untold: u64,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { started: Instant::now(), kept: Mutex::default() }
    }
}

impl Refusals {
    /// Counts one, where the sandbox may be the reason. Its caller still waits.
    pub(super) fn add(&self, caller: Caller, address: &[u8], errno: Errno) {
        if !matches!(errno, Errno::EACCES | Errno::EPERM | Errno::ENETUNREACH | Errno::ECONNREFUSED) {
            return;
        }
        let Some((act, target)) = address_named(Act::Connect, address, caller.0) else { return };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { known, untold } = &mut *kept;
        if let Some(attempt) = known.get_mut(&(target.clone(), errno as i32)) {
            attempt.count += 1;
        } else if known.len() < MOST {
            let first = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
            // Its number in here means another process out there.
            let (process, program) = (0, caller.program());
            let attempt = Attempt {
                act,
                target: target.clone(),
                second: None,
                places: [None, None],
                errno,
                process,
                program,
                count: 1,
                first,
            };
            known.insert((target, errno as i32), attempt);
        } else {
            *untold += 1;
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> Refused {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut attempts: Vec<Attempt> = kept.known.values().cloned().collect();
        attempts.sort_by_key(|attempt| attempt.first);
        Refused { attempts, untold: kept.untold }
    }
}
