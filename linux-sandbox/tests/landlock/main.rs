//! The sandbox as commands meet it, on the whole way: policy, plan, argument list, helper, kernel.
//!
//! Every act that is refused is first shown to succeed without the sandbox, by the same command on the same way.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by a panic, and says so"
)]

/// The level that this suite is about.
const ISOLATION: codex_core::config::Isolation = codex_core::config::Isolation::Landlock;

mod capabilities;
mod deadline;
#[path = "../harness/fifo.rs"]
mod fifo;
mod files;
mod listeners;
mod network;
mod network_tools;
#[path = "../harness/runs.rs"]
mod runs;
#[path = "../harness/tools.rs"]
mod tools;
