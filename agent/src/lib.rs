//! A non-interactive agent: a model asks for commands and changes to files, and they run in the sandbox.
//!
//! ```text
//! prompt ▶ turn ──▶ provider ──▶ answer ──▶ tools ──▶ core::exec ──▶ output ──▶ turn …
//!           │                                  └────▶ patch (in the sandbox)
//!           └────▶ events, rollout
//! ```
//!
//! The crate neither prints nor reads the process's environment: the caller hands in what it knows, and gets events.

pub mod approval;
pub mod context;
pub mod conversation;
pub mod event;
pub mod instructions;
pub mod provider;
pub mod redact;
pub mod rollout;
pub mod shell;
pub mod tools;
pub mod turn;
