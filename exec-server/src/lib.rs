//! Sandboxed commands for agents elsewhere: JSON-RPC over standard streams, WebSocket and unix sockets.

pub mod framing;
pub mod protocol;
