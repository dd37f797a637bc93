//! A non-interactive agent: a model asks for commands and changes to files, and they run in the sandbox.
//!
//! ```text
//! prompt ▶ turn ──▶ provider ──▶ answer ──▶ tools ──▶ core::exec ──▶ output ──▶ turn …
//!           │                                  └────▶ patch (in the sandbox)
//!           └────▶ events, rollout
//! ```

pub mod conversation;
pub mod patch;
pub mod provider;
