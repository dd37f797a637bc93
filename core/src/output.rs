//! What a command wrote, kept within a budget, and the text made of it.
//!
//! ```text
//! bytes of a stream ▶ Capture ▶ Captured ▶ StreamText ▶ text for the model
//!                     capture             truncate      format
//! ```
//!
//! - A **capture** takes a stream's bytes as they come, keeps the first and the last of them, and counts all of them.
//! - **Captured** is what it kept: bytes, untouched.
//! - A **stream text** is what a reader gets: valid UTF-8, cut where a reader would cut, with one line that says how
//!   much is missing.
//!
//! Nothing here reads, waits or writes: the caller moves the bytes.

pub mod capture;
pub mod format;
pub mod truncate;

pub use capture::{Capture, Captured};
pub use format::{CallReport, CallStreams, model_text};
pub use truncate::StreamText;

/// How much of one stream is kept.
///
/// Both numbers bound what is kept *of the stream*: the line that reports a gap comes on top, and so does what
/// U+FFFD takes more than the invalid bytes it stands for (three bytes of text for at least one of the stream).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OutputBudget {
    /// Bytes kept, the first half from the start of the stream and the second from its end.
    pub bytes: usize,
    /// Lines of the stream that the text shows, likewise. One that is shown in part counts, and counts once.
    pub lines: usize,
}

impl Default for OutputBudget {
    fn default() -> Self {
        Self { bytes: 10 * 1024, lines: 256 }
    }
}

/// `1 byte`, `2 bytes`.
fn counted(count: u64, unit: &str) -> String {
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}
