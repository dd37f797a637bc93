//! The Model Context Protocol, as far as it has nothing to do with commands: sessions, requests under way, and what a client
//! can be asked. The only room that knows the crate that speaks it.
//!
//! ```text
//! messages ▶ Wire ▶ rmcp ▶ Face: tools and resources, by whoever has some
//!     ◀───────────────────── Client: progress, questions, cancellation
//! ```
//!
//! A [`Face`] is a trait object, so that the protocol is compiled once, and compiled to be small: who calls tools waits for
//! processes, and not for this.
//!
//! Versions of the protocol from 2026-07-28 on have no sessions, and the commands that go on belong to one. They are not
//! spoken: a client that knows them asks for an older one then.

mod adapter;
mod face;
mod http;
mod wire;

pub use face::{Approval, Client, Face, Pending};
pub use http::{EventBounds, Http, HttpOptions, Lost};
pub use rmcp::ErrorData;
pub use rmcp::model;
pub use wire::{Bounds, Closed, Incoming, Wire, serve};
