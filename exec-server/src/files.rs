//! `fs/*`: files of a policy, touched by nobody but a program that runs under it.
//!
//! ```text
//! request ▶ handlers/files ▶ crew ─ order, bytes ─▶ worker: this program under the name `codex-files`,
//!                              ◀─ bytes, result ──  in the sandbox that a command of the same policy would get
//! ```
//!
//! The server opens no path that a client names. What may be read and written is what the kernel lets the worker read and
//! write, so that a link that is swapped during a call leads to what the policy allows, or to an error.
//!
//! - `wire`: frames between the two, and the reader of them, for both sides
//! - `order`: what a worker is asked for, and how it fails
//! - `worker`: the program; its `place` opens places by descriptors, one name after the other
//! - `crew`: workers that are started, kept for the next request, and bounded
//! - `talk`: one of them, as it is spoken with
//! - `handles`: files that a connection keeps open
//! - `watches`: what a connection waits for to come to be

mod crew;
mod handles;
mod order;
mod talk;
mod watches;
mod wire;
mod worker;

pub(crate) use crew::{Crew, Errand};
pub(crate) use handles::Handles;
pub use order::{Changed, Failure, FailureKind, Order, WalkOptions};
pub(crate) use talk::Undone;
pub use wire::{Decoder, Frame, FrameKind, LONGEST, WireError};
pub use worker::run;

/// The name that the worker is started under.
pub const PROGRAM: &str = "codex-files";
