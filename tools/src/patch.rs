//! Changes to files as a model writes them: the `apply_patch` envelope.
//!
//! ```text
//! text ▶ parse ▶ Patch ▶ plan (reads, matches; writes nothing) ▶ Plan ▶ apply (all or nothing) ▶ Summary
//! ```
//!
//! - **Parsing** is pure: text in, [`Patch`] out, or the line that is wrong.
//! - **Matching** finds the lines that a hunk names, exactly or, failing that, with less and less regard to whitespace. What
//!   is kept stays as the file has it.
//! - **Planning** reads every file by descriptors below the roots, follows no link, and works out every new content. Whatever
//!   is wrong with a patch is found here, before anything is written.
//! - **Applying** writes each new content beside its file, puts all of them in place by renames, and takes back what it did
//!   where one of them fails.

pub mod apply;
pub mod matching;
pub mod parse;
pub mod place;
pub mod plan;
pub mod program;

#[cfg(test)]
mod tests;

pub use apply::{Summary, apply};
pub use parse::{Change, Hunk, Line, ParseError, Patch};
pub use place::{Bounds, PlaceError};
pub use plan::{Plan, PlanError, plan};
