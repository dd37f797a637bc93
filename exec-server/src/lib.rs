//! Sandboxed commands for agents elsewhere: JSON-RPC over standard streams, WebSocket and unix sockets.
//!
//! ```text
//! transport ─▶ framing ─▶ connection ─▶ handlers ─▶ session ─▶ process ─▶ codex_core::exec
//!     ▲                       │             │                     │
//!     └────── outgoing ◀──────┴─────────────┼──── follow ◀────────┘
//!                                        ceiling: what clients may ask for at most
//! ```
//!
//! A client speaks the protocol of Codex CLI 0.169 (`docs/exec-server.md`), and gets for each command the same sandbox as
//! the command line gives. What it asks for is compared with the server's own configuration, and refused where it is
//! wider.

mod auth;
mod ceiling;
pub mod client;
mod connection;
mod environment;
pub mod files;
pub mod framing;
mod handlers;
mod http;
mod limits;
mod mcp;
mod metrics;
mod noted;
mod outgoing;
mod process;
pub mod protocol;
mod room;
mod server;
mod session;
mod spill;
mod telemetry;
mod transport;
mod turns;

pub use auth::{
    AuthError, Credential, DEFAULT_SKEW, LONGEST_SKEW, Refused, SignedTokens, TokenDigest, token_of_file,
};
pub use ceiling::{CeilingOptions, Refusal};
pub use limits::ServerLimits;
pub use mcp::McpOptions;
pub use server::{PrepareError, Server, ServerOptions};
pub use telemetry::{SECRET_VARIABLES, TelemetryError, TelemetryOptions};
pub use transport::{AddressError, Bound, ListenAddress, ListenError, MCP};
