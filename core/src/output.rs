//! What a command wrote, kept within a budget, and the text made of it.
//!
//! ```text
//!                  ┌▶ Capture ──────────▶ Captured ▶ StreamText ▶ text for the model, JSON
//!                  │  capture                        truncate      format
//! bytes of a stream┼▶ Collapse ▶ Capture ▶ Captured ▶ …           the model's view
//!                  │  collapse
//!                  ├▶ Spill ▶ file ▶ SpillReader ▶ Page           all of it, to be looked up
//!                  │  spill          page
//!                  └▶ Feed ▶ FeedReader ▶ chunks ▶ Display         what is new, as it comes, for a terminal
//!                     feed                  display
//! ```
//!
//! - A **capture** takes a stream's bytes as they come, keeps the first and the last of them, and counts all of them.
//! - **Captured** is what it kept: bytes, untouched.
//! - **Collapsing** leaves out what a terminal would not show in the end.
//! - A **stream text** is what a reader gets: valid UTF-8, cut where a reader would cut, with one line that says how
//!   much is missing.
//! - A **spill** is the whole stream in a file, and a **page** a piece of it.
//! - A **feed** hands chunks to whoever follows a command while it runs, and says what they missed.
//! - A **display** filters what a user's terminal is given.
//!
//! Bytes stay bytes until the last step. But for the spill, which has a file to write, nothing here reads, waits or
//! writes: the caller moves the bytes.

mod budget;
pub mod capture;
pub mod collapse;
pub mod display;
pub mod feed;
pub mod format;
pub mod page;
pub mod spill;
mod stall;
mod stream;
pub mod truncate;

pub use budget::{OutputBudget, TextBudget, estimated_tokens};
pub use capture::{Capture, Captured};
pub use collapse::{Collapse, Collapsed, CollapsedCapture};
pub use display::Display;
pub use feed::{Feed, FeedReader};
pub use format::{CallReport, CallStreams, model_text};
pub use page::{Page, SpillReader};
pub use spill::{Spill, SpillDirectory, SpillOptions, SpillReport, SpillTap};
pub use stream::{OutputStream, StreamCounts};
pub use truncate::StreamText;

/// `1 byte`, `2 bytes`.
fn counted(count: u64, unit: &str) -> String {
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}
