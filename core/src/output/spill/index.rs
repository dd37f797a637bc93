//! Where lines are in a file, and which stream its pieces came from.

use crate::output::OutputStream;

/// How far apart the places are that a [`LineIndex`] knows.
pub(in crate::output) const STEP: u64 = 256 * 1024;
/// How many changes from one stream to another are remembered.
const RUNS: usize = 8192;

/// How many newlines come before some places of a stream: 32 KiB for one of 1 GiB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineIndex {
    /// Newlines before each multiple of [`STEP`] but the first.
    before: Vec<u64>,
    bytes: u64,
    newlines: u64,
    last: Option<u8>,
}

impl LineIndex {
    /// Takes the next bytes of the stream.
    pub(in crate::output) fn add(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let to_step = usize::try_from(STEP - self.bytes % STEP).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(rest.len().min(to_step));
            self.newlines += memchr::memchr_iter(b'\n', now).count() as u64;
            self.bytes += now.len() as u64;
            if self.bytes.is_multiple_of(STEP) {
                self.before.push(self.newlines);
            }
            rest = later;
        }
        self.last = bytes.last().copied().or(self.last);
    }

    /// How many bytes it has seen.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many lines these are. A last line without a newline is one too.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.newlines + u64::from(self.last.is_some_and(|last| last != b'\n'))
    }

    /// The last known place with fewer than `newlines` before it, and how many these are.
    pub(in crate::output) fn before_newline(&self, newlines: u64) -> (u64, u64) {
        let known = self.before.partition_point(|before| *before < newlines);
        self.place(known)
    }

    fn place(&self, known: usize) -> (u64, u64) {
        let newlines = known.checked_sub(1).and_then(|last| self.before.get(last)).copied().unwrap_or(0);
        (known as u64 * STEP, newlines)
    }
}

/// A piece of a file that came from one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamRun {
    /// The stream.
    pub stream: OutputStream,
    /// The byte after its last one.
    pub end: u64,
}

/// Which pieces of a file came from which stream, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamRuns {
    runs: Vec<StreamRun>,
    /// Whether there were more than could be remembered.
    full: bool,
}

impl StreamRuns {
    pub(super) fn add(&mut self, stream: OutputStream, bytes: u64) {
        if self.full {
            return;
        }
        let end = self.known() + bytes;
        let many = self.runs.len() >= RUNS;
        match self.runs.last_mut() {
            Some(last) if last.stream == stream => last.end = end,
            _ if many => self.full = true,
            _ => self.runs.push(StreamRun { stream, end }),
        }
    }

    /// The pieces.
    #[must_use]
    pub fn runs(&self) -> &[StreamRun] {
        &self.runs
    }

    /// Up to which byte they are known: all of the file, but for one whose streams took turns more than 8192 times.
    #[must_use]
    pub fn known(&self) -> u64 {
        self.runs.last().map_or(0, |last| last.end)
    }
}
