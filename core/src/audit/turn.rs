//! Something that one thread at a time has, for which the others wait as long as each of them may.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What they take turns with. A [`Mutex`] alone has no wait that ends.
#[derive(Debug)]
pub(super) struct Turn<T> {
    taken: Mutex<bool>,
    given_back: Condvar,
    /// Locked by whoever has taken it.
    value: Mutex<T>,
}

impl<T> Turn<T> {
    pub(super) fn new(value: T) -> Self {
        Self { taken: Mutex::new(false), given_back: Condvar::new(), value: Mutex::new(value) }
    }

    /// Takes it. Nothing where others still have it at that time.
    pub(super) fn take_until(&self, deadline: Instant) -> Option<Taken<'_, T>> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.given_back.wait_timeout_while(taken, left, |taken| *taken);
        let (mut taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *taken, true) {
            return None;
        }
        drop(taken);
        Some(Taken { value: self.value.lock().unwrap_or_else(PoisonError::into_inner), turn: self })
    }

    /// Whether somebody has it.
    #[cfg(test)]
    pub(super) fn is_taken(&self) -> bool {
        *self.taken.lock().unwrap()
    }
}

/// What was taken, until it is given back.
pub(super) struct Taken<'t, T> {
    value: MutexGuard<'t, T>,
    turn: &'t Turn<T>,
}

impl<T> Deref for Taken<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Taken<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        *self.turn.taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.turn.given_back.notify_one();
    }
}
