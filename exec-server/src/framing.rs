//! Where a message begins and ends, and how large it may be in every respect.
//!
//! - `lines`: newline-delimited messages, for standard streams and unix sockets
//! - `structure`: how deep and how rich in values a message is, before anybody builds anything of it

mod lines;
mod structure;

pub use lines::{Line, LineReader};
pub use structure::{MOST_LEVELS, MOST_VALUES, StructureError, check as check_structure};
