//! How long somebody may be held up, all in all.

use std::time::Duration;

use tokio::time::Instant;

/// An allowance of time. What is waited for after it was used up is given up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stall {
    left: Duration,
    /// Since when it is being used. A wait that is dropped halfway goes on counting.
    since: Option<Instant>,
}

impl Stall {
    pub(super) const fn of(allowance: Duration) -> Self {
        Self { left: allowance, since: None }
    }

    pub(super) const fn is_used_up(&self) -> bool {
        self.left.is_zero()
    }

    /// Begins to wait, or goes on, and says until when.
    pub(super) fn begin(&mut self) -> Instant {
        let since = *self.since.get_or_insert_with(Instant::now);
        // What is too far away to be said is never.
        since.checked_add(self.left).unwrap_or_else(|| since + Duration::from_secs(u32::MAX.into()))
    }

    /// The wait is over.
    pub(super) fn end(&mut self) {
        if let Some(since) = self.since.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
    }
}
