//! The text of a captured stream: where to cut, and what to say about the gap.

use std::borrow::Cow;
use std::path::PathBuf;

use super::{capture::Captured, counted};

mod boundary;
#[cfg(test)]
mod tests;

/// A stream as text, at most one piece of it missing.
///
/// Where something is missing, one line stands in its place and says how much:
///
/// ```text
/// [… 12345 bytes and 678 lines omitted …]
/// ```
///
/// - The counts add up: `bytes_total` is `bytes_omitted` and the bytes of the stream that the text shows.
/// - The cuts are at ends of lines where that costs less than half of what was kept on that side, else between
///   characters and, within reach, outside escape sequences. What a cut trims counts as omitted.
/// - Lines of which nothing is shown count as omitted; a line shown in part doesn't. Where every line is shown at
///   least in part, only bytes are named.
/// - The line stands alone: if the cut is inside a line, a line break is added before it.
/// - A command can print such a line too. The counts beside the text are what to rely on.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct StreamText {
    /// The text. Bytes that are not UTF-8 appear as U+FFFD.
    pub text: String,
    /// How many bytes the stream had.
    pub bytes_total: u64,
    /// How many of them the text does not show.
    pub bytes_omitted: u64,
    /// How many lines the stream had. A last line without a newline is one too.
    pub lines_total: u64,
    /// Whether U+FFFD stands for bytes that were not UTF-8.
    pub lossy_utf8: bool,
    /// The file that has the whole stream. Nothing is spilled to files yet: always `None`.
    pub spill_path: Option<PathBuf>,
}

/// Makes the text of a captured stream.
pub(super) fn render(captured: &Captured) -> StreamText {
    let shown = Shown::select(captured);
    let bytes_shown = (shown.first.len() + shown.last.len()) as u64;
    let bytes_omitted = captured.bytes_total - bytes_shown;

    let first = String::from_utf8_lossy(shown.first);
    let last = String::from_utf8_lossy(shown.last);
    let lossy_utf8 = matches!(first, Cow::Owned(_)) || matches!(last, Cow::Owned(_));

    let mut text = first.into_owned();
    if bytes_omitted > 0 {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&marker(bytes_omitted, shown.lines_omitted(captured.lines_total)));
        text.push('\n');
        text.push_str(&last);
    }
    StreamText {
        text,
        bytes_total: captured.bytes_total,
        bytes_omitted,
        lines_total: captured.lines_total,
        lossy_utf8,
        spill_path: None,
    }
}

fn marker(bytes: u64, lines: u64) -> String {
    match lines {
        0 => format!("[… {} omitted …]", counted(bytes, "byte")),
        lines => format!("[… {} and {} omitted …]", counted(bytes, "byte"), counted(lines, "line")),
    }
}

/// The parts of a stream that its text shows: what comes before the gap and what comes after it.
struct Shown<'a> {
    first: &'a [u8],
    last: &'a [u8],
}

impl<'a> Shown<'a> {
    fn select(captured: &'a Captured) -> Self {
        let lines_fit = captured.lines_total <= captured.line_budget as u64;
        if captured.bytes_omitted == 0 && lines_fit {
            return Self { first: &captured.head, last: &[] };
        }
        let (first, last) = if captured.bytes_omitted == 0 {
            // Only lines are too many, so both parts come from the whole stream, and can't meet.
            (captured.head.as_slice(), captured.head.as_slice())
        } else {
            (
                &captured.head[..boundary::end_of_first_part(&captured.head)],
                &captured.tail[boundary::start_of_last_part(&captured.lead, &captured.tail)..],
            )
        };
        if lines_fit {
            return Self { first, last };
        }
        // Half of the lines for each part; what one part has no use for goes to the other.
        let half = captured.line_budget.div_ceil(2);
        let spare_of_last = captured.line_budget.saturating_sub(lines(last));
        let first_lines = half.max(spare_of_last).min(lines(first));
        Self {
            first: first_n_lines(first, first_lines),
            last: last_n_lines(last, captured.line_budget - first_lines),
        }
    }

    /// How many lines of the stream have no byte in either part.
    fn lines_omitted(&self, lines_total: u64) -> u64 {
        // A line with a piece in both parts is counted twice, but then no line is omitted.
        lines_total.saturating_sub((lines(self.first) + lines(self.last)) as u64)
    }
}

fn is_mid_line(bytes: &[u8]) -> bool {
    bytes.last().is_some_and(|last| *last != b'\n')
}

/// How many lines have at least one byte here.
fn lines(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes).count() + usize::from(is_mid_line(bytes))
}

fn first_n_lines(bytes: &[u8], n: usize) -> &[u8] {
    let Some(nth) = n.checked_sub(1) else { return &[] };
    match memchr::memchr_iter(b'\n', bytes).nth(nth) {
        Some(newline) => &bytes[..=newline],
        None => bytes,
    }
}

fn last_n_lines(bytes: &[u8], n: usize) -> &[u8] {
    if n == 0 {
        return &[];
    }
    // The newline that ends the last line starts none.
    let nth = if is_mid_line(bytes) { n - 1 } else { n };
    match memchr::memrchr_iter(b'\n', bytes).nth(nth) {
        Some(newline) => &bytes[newline + 1..],
        None => bytes,
    }
}
