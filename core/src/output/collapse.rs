//! What a terminal would show in the end, as text: the view of a stream that is made for a model.
//!
//! ```text
//! bytes ▶ control functions ▶ rows, which can be drawn over ▶ lines, alike ones folded ▶ Capture
//!         escape              screen, row                     fold
//! ```
//!
//! - **Redrawn lines** appear as they were last: a progress bar (`\r`, backspaces, erasing, the cursor moved within its
//!   line or up and down) becomes its final state. Rows can be drawn over as long as they are among the last 64;
//!   what scrolled further up stays as it is. Clearing the screen and moving to a place on it
//!   end a drawing instead: nothing that was shown is lost by it.
//! - **Colours** and all other escape sequences go: control sequences, strings (titles, hyperlinks but for their text,
//!   images), character sets. A string that nobody ends goes to the end of its line.
//! - **Other control characters** are made visible (`^@`), or go where they have no meaning in text: BEL, SO, SI, DEL and
//!   those of C1. A run of more than 16 alike is written once, with how many there are more.
//! - **Repeated lines** are folded, where that saves something: `[… repeated 41 more times …]` stands for 41 lines like
//!   the one above it. A command can print such a line too.
//! - **Data** that is no text is left out, but for its first and its last 16 KiB or so: `[… 1048576 bytes of data
//!   omitted …]` stands on a line of its own. Data is what has more than one control character without a meaning in text
//!   in 16 bytes; it is judged in windows of 16 KiB. Nobody reads it, and reading all of it would hold up the command.
//! - Everything else stays, bytes that are not UTF-8 as well (in lines that were drawn over, as the byte 0xff). A carriage return before a line feed goes.
//!
//! The width of a terminal is not known, so that lines don't wrap; a tab is as wide as a letter. A line of more than
//! 4096 columns can be drawn over behind the last multiple of these.
//!
//! It works *before* anything is cut, so that a progress bar of megabytes does not push out what matters, and so that
//! a gap never falls into an escape sequence or a progress bar. What it takes: memory of at most 0.5 MiB beside the
//! captured text, typically some KiB. How the stream was cut into chunks makes no difference.

use serde::Serialize;

use super::{Capture, Captured, OutputBudget, OutputStream};
use escape::Parser;
use screen::Screen;

mod binary;
mod cells;
mod escape;
mod fold;
mod row;
mod screen;
#[cfg(test)]
mod tests;

/// What a collapsed text is, beside the counts of its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Collapsed {
    /// How many bytes were left of the stream, those included that were omitted later.
    pub bytes: u64,
    /// How many lines.
    pub lines: u64,
    /// Escape sequences that went.
    pub escapes: u64,
    /// How many times the cursor was moved back to something shown.
    pub redraws: u64,
    /// Lines that stand folded into one that says how many they are.
    pub lines_folded: u64,
    /// Bytes of data that were left out.
    pub data_omitted: u64,
}

/// Turns streams into the text that a terminal would show in the end.
///
/// Streams that are pushed into one `Collapse` share a screen, as they do in a terminal; a sequence that one of them
/// has begun doesn't swallow what the other writes.
///
/// ```
/// use codex_core::output::{Collapse, OutputStream};
///
/// let mut text: Vec<u8> = Vec::new();
/// let mut collapse = Collapse::new();
/// collapse.push(OutputStream::Stdout, b"\x1b[32m 10 %\r 50 %\r100 %\x1b[0m\ndone", &mut |bytes| text.extend(bytes));
/// collapse.finish(&mut |bytes| text.extend(bytes));
/// assert_eq!(text, b"100 %\ndone");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Collapse {
    parsers: [Parser; 3],
    screen: Screen,
}

impl Collapse {
    /// One that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of a stream, and gives what can't change any more to `sink`.
    pub fn push(&mut self, stream: OutputStream, chunk: &[u8], sink: &mut dyn FnMut(&[u8])) {
        let [stdout, stderr, pty] = &mut self.parsers;
        let parser = match stream {
            OutputStream::Stdout => stdout,
            OutputStream::Stderr => stderr,
            OutputStream::Pty => pty,
        };
        parser.push(chunk, &mut self.screen, sink);
        self.screen.write_waiting(sink);
    }

    /// Gives the rest to `sink`, since the streams have ended, and says what was collapsed. The counts of bytes and
    /// lines are the sink's to make.
    pub fn finish(mut self, sink: &mut dyn FnMut(&[u8])) -> Collapsed {
        let (mut escapes, mut data_omitted) = (0, 0);
        for parser in &mut self.parsers {
            parser.finish(&mut self.screen, sink);
            escapes += parser.escapes();
            data_omitted += parser.skipped();
        }
        let redraws = self.screen.redraws();
        let lines_folded = self.screen.finish(sink);
        Collapsed { bytes: 0, lines: 0, escapes, redraws, lines_folded, data_omitted }
    }
}

/// A [`Capture`] of what is left after collapsing.
///
/// It stands beside the capture of the same bytes as they are, which counts them:
///
/// ```
/// use codex_core::output::{Capture, CollapsedCapture, OutputBudget, OutputStream};
///
/// let budget = OutputBudget::default();
/// let (mut raw, mut view) = (Capture::new(budget), CollapsedCapture::new(budget));
/// for chunk in [b"\r1 %".as_slice(), b"\r2 %"] {
///     raw.push(chunk);
///     view.push(OutputStream::Stderr, chunk);
/// }
/// let raw = raw.finish();
/// let text = view.finish(&raw).text();
/// assert_eq!((text.text.as_str(), text.bytes_total), ("2 %", 8));
/// ```
#[derive(Clone, Debug)]
pub struct CollapsedCapture {
    collapse: Collapse,
    capture: Capture,
}

impl CollapsedCapture {
    /// A capture that has seen nothing yet. The budget is for what is left.
    #[must_use]
    pub fn new(budget: OutputBudget) -> Self {
        Self { collapse: Collapse::new(), capture: Capture::new(budget) }
    }

    /// Takes the next bytes of a stream.
    pub fn push(&mut self, stream: OutputStream, chunk: &[u8]) {
        let Self { collapse, capture } = self;
        collapse.push(stream, chunk, &mut |bytes| capture.push(bytes));
    }

    /// What is left up to now, while the streams go on.
    #[must_use]
    pub fn snapshot(&self, raw: &Captured) -> Captured {
        self.clone().finish(raw)
    }

    /// What is left of the streams, which have ended. `raw` is what was captured of the same bytes as they are: its counts
    /// are taken over.
    #[must_use]
    pub fn finish(self, raw: &Captured) -> Captured {
        let Self { collapse, mut capture } = self;
        let collapsed = collapse.finish(&mut |bytes| capture.push(bytes));
        let view = capture.finish();
        Captured {
            bytes_total: raw.bytes_total,
            lines_total: raw.lines_total,
            collapsed: Some(Collapsed { bytes: view.bytes_total, lines: view.lines_total, ..collapsed }),
            ..view
        }
    }
}
