//! What could not be connected to, remembered for whoever asks why. It costs nothing where nothing fails.

use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use nix::errno::Errno;

use super::caller::Caller;
use crate::observe::{Act, Attempt, address_named};

/// How many different ones are kept: all of them have to fit into the pipe to whoever reads them after the command's end.
const MOST: usize = 48;

/// An address in the kernel's own form.
pub(super) struct Tried {
    pub(super) address: Vec<u8>,
}

/// What could not be connected to so far.
#[derive(Debug)]
pub(super) struct Refusals {
    started: Instant,
    known: Mutex<HashMap<(OsString, i32), Attempt>>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { started: Instant::now(), known: Mutex::default() }
    }
}

impl Refusals {
    /// Counts one, where the sandbox may be the reason. Its caller still waits.
    pub(super) fn add(&self, caller: Caller, tried: Tried, errno: Errno) {
        if !matches!(errno, Errno::EACCES | Errno::EPERM | Errno::ENETUNREACH | Errno::ECONNREFUSED) {
            return;
        }
        let Some((act, target)) = address_named(Act::Connect, &tried.address, caller.0) else { return };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
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
                errno,
                process,
                program,
                count: 1,
                first,
            };
            known.insert((target, errno as i32), attempt);
        }
    }

    /// All of them, in the order in which they were first seen.
    pub(super) fn all(&self) -> Vec<Attempt> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Attempt> = known.values().cloned().collect();
        all.sort_by_key(|attempt| attempt.first);
        all
    }
}
