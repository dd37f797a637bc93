//! What a table is made a filter for.

use super::program::denied;
use super::table::Answer;
use crate::observe::MARK;

/// What becomes of the calls in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// They are refused.
    Refuse,
    /// Those that are refused as not permitted raise a trap in the place of the error, which the [observer] turns into it.
    /// The kernel makes none of them either way.
    ///
    /// [observer]: crate::observe
    Trap,
    /// They go on, and the observer sees them.
    Trace,
}

impl Purpose {
    /// What the filter answers, as `SECCOMP_RET_*` and what goes with it. Nothing where it lets the call be.
    pub(super) const fn action(self, how: Answer) -> Option<u32> {
        match (self, how) {
            (Self::Refuse, how) => Some(denied(how)),
            (Self::Trap, Answer::NotPermitted) => Some(libc::SECCOMP_RET_TRAP | MARK as u32),
            // Its callers do without, and nothing is to be told.
            (Self::Trap, Answer::NotImplemented) => None,
            (Self::Trace, _) => Some(libc::SECCOMP_RET_TRACE | MARK as u32),
        }
    }

    /// Whether a call that the tables don't know is refused as well.
    pub(super) const fn refuses(self) -> bool {
        matches!(self, Self::Refuse)
    }
}
