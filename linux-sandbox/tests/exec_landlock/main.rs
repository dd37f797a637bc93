//! The suite `exec` once more, at level landlock.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by a panic, and says so"
)]

/// The level that this suite runs at.
const ISOLATION: codex_core::config::Isolation = codex_core::config::Isolation::Landlock;

#[path = "../exec/call_limits.rs"]
mod call_limits;
#[path = "../exec/endings.rs"]
mod endings;
#[path = "../exec/environment.rs"]
mod environment;
#[path = "../harness/fifo.rs"]
mod fifo;
#[path = "../exec/handles.rs"]
mod handles;
#[path = "../exec/helpers.rs"]
mod helpers;
#[path = "../exec/lasting_thread.rs"]
mod lasting_thread;
#[path = "../exec/limits.rs"]
mod limits;
#[path = "../exec/refused.rs"]
mod refused;
#[path = "../harness/runs.rs"]
mod runs;
#[path = "../exec/streams.rs"]
mod streams;
#[path = "../exec/stress.rs"]
mod stress;
#[path = "../harness/tools.rs"]
mod tools;
