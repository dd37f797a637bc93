//! Who has to know how the command ended, and over what they are told.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Unfinished;
use crate::broker::Refused;
use crate::error::{Failure, SetupError, Step};
use crate::report::Record;
use crate::sys;

/// How many bytes of refusals are told. With all other records that makes less than a pipe holds (64 KiB, in pages of which
/// each may be left half empty by a record that did not fit), so that none of it depends on how fast it is read.
const MOST_REFUSED: usize = 20 * 1024;

/// The status pipe. A parent that went away is no reason to fail: the parent-death signal takes care of that.
pub(super) struct Status(File);

/// Who has to know how the command ended: who started the helper, and who stands for the command.
pub(crate) struct Reports {
    pub(super) status: Option<Status>,
    /// It reads what there is only when this process has ended, so that nothing is told but the end.
    pub(super) relay: Option<Status>,
}

impl Reports {
    pub(crate) fn tell(&mut self, record: &Record) -> Result<(), SetupError> {
        let relay = self.relay.as_mut().filter(|_| matches!(record, Record::Ended { .. }));
        [self.status.as_mut(), relay].into_iter().flatten().try_for_each(|reader| reader.tell(record))
    }

    /// Tells whoever started the helper what the broker refused, as far as there is room for it, and how often more. Waits for
    /// nobody: the command has ended, and its end is to be told.
    pub(crate) fn tell_refused(&mut self, refused: Refused) {
        let Some(status) = &mut self.status else { return };
        let Refused { attempts, mut untold } = refused;
        let mut room = MOST_REFUSED;
        for attempt in attempts {
            let count = attempt.count;
            let record = Record::Refused(attempt);
            let line = record.to_line();
            // Without its target, which a line has no room for where it is too long, it is no record.
            let is_whole = line.strip_suffix(b"\n").and_then(Record::parse).as_ref() == Some(&record);
            if is_whole && line.len() <= room && status.has_room() && status.tell(&record).is_ok() {
                room -= line.len();
            } else {
                untold = untold.saturating_add(count);
            }
        }
        if untold > 0 && status.has_room() {
            // Whoever is not there to read it has no use for it.
            drop(status.tell(&Record::Untold { count: untold }));
        }
    }

    /// Whether whoever started the helper reads what is told.
    pub(crate) const fn are_read(&self) -> bool {
        self.status.is_some()
    }

    /// Tells what kept the command from running.
    pub(super) fn unfinished(&mut self, failure: Failure) -> Unfinished {
        match Record::of(&failure).map(|record| self.tell(&record)) {
            Some(Ok(())) => Unfinished { failure, told: self.status.is_some() },
            Some(Err(untold)) => untold.into(),
            None => failure.into(),
        }
    }

    /// The numbers of the descriptors.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        [&self.status, &self.relay].into_iter().flatten().map(|reader| reader.0.as_raw_fd())
    }
}

impl Status {
    pub(super) fn to(pipe: OwnedFd) -> Self {
        Self(File::from(pipe))
    }

    pub(super) fn take(number: RawFd) -> Result<Self, SetupError> {
        let descriptor = sys::take_descriptor(number).map_err(|errno| {
            SetupError::call(Step::Report, "fcntl", errno).hint("--status-fd names no open descriptor")
        })?;
        Ok(Self(File::from(descriptor)))
    }

    fn tell(&mut self, record: &Record) -> Result<(), SetupError> {
        self.0.write_all(&record.to_line()).map_err(|error| {
            let errno = error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw);
            SetupError::call(Step::Report, "write", errno)
        })
    }

    /// Whether a record can be written without waiting. A pipe says so where it has a page for it, and no record is longer.
    fn has_room(&self) -> bool {
        let mut pipe = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
        poll(&mut pipe, PollTimeout::ZERO).is_ok()
            && pipe[0].revents().is_some_and(|seen| seen.contains(PollFlags::POLLOUT))
    }
}
