//! What a model may call: commands that go on beyond one call, patches, and the text that it gets of both.
//!
//! ```text
//! arguments ▶ call ▶ (the caller says what it may do) ▶ Engine ▶ codex_core::exec ▶ Answer: text, and what is known
//!                                                         └────▶ patch: this program, in the sandbox
//! ```
//!
//! Whoever talks to a model (the agent of `codex exec`, the MCP face of `codex exec-server`) has the same tools with the same
//! arguments and the same text. Nothing here decides what is allowed: the caller hands a sandbox in with each call.

pub mod arguments;
mod command;
mod engine;
pub mod intercept;
pub mod patch;
mod patching;
mod session;
mod spec;
mod text;

pub use arguments::Arguments;
pub use command::{Asks, ExecCommand, Shell, quoted};
pub use engine::{Answer, Bench, Call, Engine, Held, Observer, Running, Started};
pub use patching::patch_of;
pub use session::{WriteStdin, no_directory};
pub use spec::{Spec, specs};
pub use text::shown_output;
