//! Policy, configuration, execution and output of sandboxed commands.
//!
//! What a user allows travels through this crate in one direction:
//!
//! ```text
//! config.toml, overrides ▶ settings ▶ policy ▶ resolved policy ▶ plan ▶ helper ▶ outcome ▶ result
//!           config            │        policy       │        lower        exec        output
//! ```
//!
//! The crate neither prints nor reads the process's environment: the caller hands in what it knows (the home of the
//! configuration, `$TMPDIR`, the environment to start from) and gets values back.

pub mod audit;
pub mod config;
pub mod denial;
pub mod enforcement;
pub mod environment;
pub mod exec;
pub mod limits;
pub mod lower;
pub mod output;
pub mod policy;
pub mod seatbelt;
