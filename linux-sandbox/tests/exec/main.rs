//! Running a command, as the callers of the library see it: what is refused, how runs end, what is kept of their output,
//! what the command finds.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by a panic, and says so"
)]

/// The level that this suite runs at. Whatever it is, a call ends and answers in the same way.
const ISOLATION: codex_core::config::Isolation = codex_core::config::Isolation::Namespaces;

mod call_limits;
mod endings;
mod environment;
#[path = "../harness/fifo.rs"]
mod fifo;
mod handles;
mod helpers;
mod landlock_abi;
mod lasting_thread;
mod limits;
mod refused;
#[path = "../harness/runs.rs"]
mod runs;
mod streams;
mod stress;
#[path = "../harness/tools.rs"]
mod tools;
