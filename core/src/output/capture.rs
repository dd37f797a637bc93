//! Bounded capture of a stream: its first bytes, its last bytes, and exact counts of all of them.

use super::{Collapsed, OutputBudget, StreamText};

#[cfg(test)]
mod tests;

/// How many of the bytes right before the tail are kept beside it. They are never shown for it: they tell whether the
/// tail starts at a line or inside an escape sequence.
pub(super) const LEAD: usize = 128;

/// Takes the bytes of a stream in chunks of any size.
///
/// Keeps the whole stream while it fits in the budget, and after that its first and its last half budget. Memory stays
/// below the budget and a small constant, however long the stream is, and grows only as far as bytes have come.
/// How the stream was cut into chunks makes no difference to the result.
///
/// ```
/// use codex_core::output::{Capture, OutputBudget};
///
/// let mut capture = Capture::new(OutputBudget { bytes: 12, lines: 10 });
/// capture.push(b"one\ntwo\nthr");
/// capture.push(b"ee\nfour\n");
/// assert_eq!(capture.finish().text().text, "one\n[… 10 bytes and 2 lines omitted …]\nfour\n");
/// ```
#[derive(Clone, Debug)]
pub struct Capture {
    budget: OutputBudget,
    head: Vec<u8>,
    recent: Ring,
    bytes_total: u64,
    newlines: u64,
    last_byte: Option<u8>,
}

impl Capture {
    /// A capture that has seen nothing yet.
    #[must_use]
    pub fn new(budget: OutputBudget) -> Self {
        let tail = budget.bytes / 2;
        Self {
            budget,
            head: Vec::new(),
            recent: Ring::new(tail.saturating_add(LEAD)),
            bytes_total: 0,
            newlines: 0,
            last_byte: None,
        }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, chunk: &[u8]) {
        let Some(last) = chunk.last() else { return };
        self.last_byte = Some(*last);
        self.bytes_total += chunk.len() as u64;
        self.newlines += memchr::memchr_iter(b'\n', chunk).count() as u64;

        let limit = self.head_limit();
        let (head, rest) = chunk.split_at(chunk.len().min(limit - self.head.len()));
        extend_within(&mut self.head, head, limit);
        self.recent.push(rest);
    }

    /// What was kept up to now, while the stream goes on.
    #[must_use]
    pub fn snapshot(&self) -> Captured {
        self.clone().finish()
    }

    /// What was kept of the stream, which has ended.
    #[must_use]
    pub fn finish(self) -> Captured {
        let tail_limit = self.budget.bytes - self.head_limit();
        let lines_total = self.newlines + u64::from(self.last_byte.is_some_and(|last| last != b'\n'));
        let mut head = self.head;
        let mut lead = self.recent.into_bytes();

        // The ring holds what came after the head, so where it fits the tail, nothing is missing in between.
        let beyond_head = self.bytes_total - head.len() as u64;
        let tail = if beyond_head <= tail_limit as u64 {
            head.reserve_exact(lead.len());
            head.append(&mut lead);
            Vec::new()
        } else {
            lead.split_off(lead.len() - tail_limit)
        };
        let bytes_omitted = self.bytes_total - head.len() as u64 - tail.len() as u64;
        if bytes_omitted > 0 {
            // A narrow gap doesn't fill the lead, and what the tail starts inside of may have begun in the head.
            let from_head = (LEAD - lead.len()).min(head.len());
            lead.splice(..0, head[head.len() - from_head..].iter().copied());
        }
        Captured {
            head,
            lead,
            tail,
            bytes_total: self.bytes_total,
            bytes_omitted,
            lines_total,
            line_budget: self.budget.lines,
            collapsed: None,
        }
    }

    /// The odd byte of a budget goes to the head.
    fn head_limit(&self) -> usize {
        self.budget.bytes - self.budget.bytes / 2
    }
}

/// What a [`Capture`] kept of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Captured {
    /// The first bytes of the stream: all of them where nothing was omitted.
    pub head: Vec<u8>,
    /// The last bytes of the stream: empty where nothing was omitted.
    pub tail: Vec<u8>,
    /// How many bytes the stream had.
    pub bytes_total: u64,
    /// How many bytes are missing between head and tail: of what was collapsed, where that was done.
    pub bytes_omitted: u64,
    /// How many lines the stream had. A last line without a newline is one too.
    pub lines_total: u64,
    /// How many lines the text may show.
    pub line_budget: usize,
    /// What was collapsed before: then head and tail are those of what is left, and the totals still the stream's.
    pub collapsed: Option<Collapsed>,
    /// The bytes of the stream right before the tail, at most [`LEAD`] of them.
    pub(super) lead: Vec<u8>,
}

impl Captured {
    /// The beginning and the end as they came. What is missing in between ends a line.
    #[must_use]
    pub fn both_ends(&self) -> Vec<u8> {
        let gap: &[u8] = if self.tail.is_empty() { b"" } else { b"\n" };
        [self.head.as_slice(), gap, self.tail.as_slice()].concat()
    }

    /// The text for a reader: see [`StreamText`].
    #[must_use]
    pub fn text(&self) -> StreamText {
        StreamText::of(self)
    }
}

/// The last bytes of a stream, up to a limit.
#[derive(Clone, Debug)]
struct Ring {
    bytes: Vec<u8>,
    limit: usize,
    /// Where the oldest byte is, once the limit is reached; 0 before.
    oldest: usize,
}

impl Ring {
    fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit, oldest: 0 }
    }

    fn push(&mut self, chunk: &[u8]) {
        // Only the last bytes of a chunk can survive it.
        let chunk = &chunk[chunk.len().saturating_sub(self.limit)..];
        let (fill, wrap) = chunk.split_at(chunk.len().min(self.limit - self.bytes.len()));
        extend_within(&mut self.bytes, fill, self.limit);
        if wrap.is_empty() {
            return;
        }
        let (before_end, from_start) = wrap.split_at(wrap.len().min(self.limit - self.oldest));
        self.bytes[self.oldest..self.oldest + before_end.len()].copy_from_slice(before_end);
        self.bytes[..from_start.len()].copy_from_slice(from_start);
        self.oldest = (self.oldest + wrap.len()) % self.limit;
    }

    fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.rotate_left(self.oldest);
        self.bytes
    }
}

/// Appends to a vector that will never be longer than `limit`, growing by doubling but not past the limit, which
/// `Vec`'s own growth would overshoot by up to its size.
fn extend_within(vec: &mut Vec<u8>, bytes: &[u8], limit: usize) {
    let needed = vec.len() + bytes.len();
    if needed > vec.capacity() {
        let capacity = needed.max(vec.capacity().saturating_mul(2)).min(limit).max(needed);
        vec.reserve_exact(capacity - vec.len());
    }
    vec.extend_from_slice(bytes);
}
