//! The text of a stream: where to cut, what to say about the gap, and how to make it shorter still.

use std::borrow::Cow;
use std::path::PathBuf;

use super::budget::{Cost, TextBudget, is_mid_line, lines};
use super::capture::Captured;
use super::collapse::Collapsed;
use super::spill::SpillReport;
use marker::{Marker, Rest};
use parts::Parts;

pub(super) mod boundary;
mod marker;
mod parts;
#[cfg(test)]
mod tests;

/// A stream as text, at most one piece of it missing.
///
/// Where something is missing, one line stands in its place and says how much, and where the rest is:
///
/// ```text
/// [… 12345 bytes and 678 lines omitted …]
/// [… 12345 bytes and 678 lines omitted: from byte 5120 on in /run/user/1000/codex/1.out …]
/// ```
///
/// - The counts add up: `bytes_total` is `bytes_omitted` and the bytes of the stream that the text shows. Of a
///   [collapsed](super::collapse) stream, what was collapsed is neither: there, [`Collapsed::bytes`] is that sum, and
///   what the line counts is the collapsed text.
/// - The cuts are at ends of lines where that costs less than half of what was kept on that side, else between
///   characters (and, within reach, between those that a reader sees as one) and outside escape sequences. What a cut
///   trims counts as omitted.
/// - Lines of which nothing is shown count as omitted; a line shown in part doesn't. Where every line is shown at
///   least in part, only bytes are named.
/// - The line stands alone: if the cut is inside a line, a line break is added before it.
/// - A command can print such a line too. The counts beside the text are what to rely on.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct StreamText {
    /// The text. Bytes that are not UTF-8 appear as U+FFFD.
    pub text: String,
    /// How many bytes the stream had.
    pub bytes_total: u64,
    /// How many of them the text does not show.
    pub bytes_omitted: u64,
    /// How many lines the stream had. A last line without a newline is one too.
    pub lines_total: u64,
    /// Of how many lines the text shows nothing.
    pub lines_omitted: u64,
    /// Whether U+FFFD stands for bytes that were not UTF-8.
    pub lossy_utf8: bool,
    /// What was collapsed, where the text was.
    pub collapsed: Option<Collapsed>,
    /// The file that has the stream, as far as it was written.
    pub spill_path: Option<PathBuf>,
    /// The text's parts, so that it can be cut again.
    #[serde(skip)]
    shown: Shown,
}

/// What a text shows of its stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shown {
    /// How many bytes of the text come from before the gap, and at which byte what comes from after it starts.
    first: usize,
    last: usize,
    /// Both parts as they were in the stream, where the text has them otherwise.
    raw: Option<(Vec<u8>, Vec<u8>)>,
    rest: Option<Rest>,
}

impl StreamText {
    /// The text of a stream that is here as a whole.
    #[must_use]
    pub fn whole(stream: &[u8]) -> Self {
        let source =
            Self { bytes_total: stream.len() as u64, lines_total: lines(stream) as u64, ..Self::default() };
        source.showing(Parts { first: stream, last: &[] }, &Marker::LONG)
    }

    /// Makes the text of a captured stream.
    pub(super) fn of(captured: &Captured) -> Self {
        let source = Self {
            bytes_total: captured.bytes_total,
            lines_total: captured.lines_total,
            collapsed: captured.collapsed,
            ..Self::default()
        };
        source.showing(Parts::of(captured), &Marker::LONG)
    }

    /// The same text within a budget: cut in the middle, what was missing already included in the one line that says
    /// so.
    ///
    /// A text within the budget stays as it is, so that doing it twice changes nothing. Where not even the line fits, it
    /// leaves out where the rest is; then it is `[…]`; then the text is empty. The counts beside it are exact in each
    /// case.
    ///
    /// ```
    /// use codex_core::output::{StreamText, TextBudget};
    ///
    /// let text = StreamText::whole(b"one\ntwo\nthree\nfour\nfive\nsix\n");
    /// let lines = |lines| TextBudget { lines, ..TextBudget::UNBOUNDED };
    /// let shorter = text.within(&lines(5));
    /// assert_eq!(shorter.text, "one\ntwo\n[… 11 bytes and 2 lines omitted …]\nfive\nsix\n");
    /// assert_eq!(shorter.within(&lines(3)).text, "one\n[… 20 bytes and 4 lines omitted …]\nsix\n");
    /// ```
    #[must_use]
    pub fn within(&self, budget: &TextBudget) -> Self {
        if budget.holds(&self.text) {
            return self.clone();
        }
        let limit = Cost::limit(*budget);
        for marker in Marker::FORMS {
            let longest = marker.line(self.bytes(), self.lines(), u64::MAX, self.shown.rest.as_ref());
            // A line break may be added before it.
            let taken = Cost::of(format!("{longest}\n").as_bytes());
            let taken = Cost { bytes: taken.bytes + 1, quarters: taken.quarters + 1, ..taken };
            if let Some(room) = taken.left_of(limit) {
                return self.source().showing(self.parts().within(room, self.bytes_omitted > 0), marker);
            }
        }
        self.source().showing(Parts { first: &[], last: &[] }, &Marker::NONE)
    }

    /// The same text, which also says where the rest is.
    ///
    /// `offset` is whether the spilled file has this very stream, byte for byte, so that a place in the one is a place in
    /// the other.
    #[must_use]
    pub fn spilled(&self, spill: &SpillReport, offset: bool) -> Self {
        let mut source = self.source();
        source.spill_path.clone_from(&spill.path);
        source.shown.rest = spill.path.as_ref().map(|path| Rest {
            path: path.clone(),
            bytes: spill.bytes,
            complete: spill.complete,
            offset: offset && self.collapsed.is_none(),
        });
        source.showing(self.parts(), &Marker::LONG)
    }

    /// What is known of the stream, without any text of it.
    fn source(&self) -> Self {
        Self {
            text: String::new(),
            shown: Shown { rest: self.shown.rest.clone(), ..Shown::default() },
            spill_path: self.spill_path.clone(),
            ..*self
        }
    }

    /// How many bytes text and gap are together.
    fn bytes(&self) -> u64 {
        self.collapsed.map_or(self.bytes_total, |collapsed| collapsed.bytes)
    }

    fn lines(&self) -> u64 {
        self.collapsed.map_or(self.lines_total, |collapsed| collapsed.lines)
    }

    fn parts(&self) -> Parts<'_> {
        let text = self.text.as_bytes();
        match &self.shown.raw {
            Some((first, last)) => Parts { first, last },
            None => Parts {
                first: text.get(..self.shown.first).unwrap_or_default(),
                last: text.get(self.shown.last..).unwrap_or_default(),
            },
        }
    }

    /// The text that shows these parts.
    fn showing(mut self, parts: Parts<'_>, marker: &Marker) -> Self {
        let (first, last) = (String::from_utf8_lossy(parts.first), String::from_utf8_lossy(parts.last));
        self.lossy_utf8 = matches!(first, Cow::Owned(_)) || matches!(last, Cow::Owned(_));
        self.bytes_omitted = self.bytes() - (parts.first.len() + parts.last.len()) as u64;
        self.lines_omitted = 0;
        if self.lossy_utf8 {
            self.shown.raw = Some((parts.first.to_vec(), parts.last.to_vec()));
        }
        self.shown.first = first.len();
        self.text = first.into_owned();
        if self.bytes_omitted > 0 {
            // A line with a piece in both parts is counted twice, but then no line is omitted.
            let lines_shown = (lines(parts.first) + lines(parts.last)) as u64;
            self.lines_omitted = self.lines().saturating_sub(lines_shown);
            let from = parts.first.len() as u64;
            let line = marker.line(self.bytes_omitted, self.lines_omitted, from, self.shown.rest.as_ref());
            if !line.is_empty() {
                if is_mid_line(self.text.as_bytes()) {
                    self.text.push('\n');
                }
                self.text.push_str(&line);
                self.text.push('\n');
            }
        }
        self.shown.last = self.text.len();
        self.text.push_str(&last);
        self
    }
}
