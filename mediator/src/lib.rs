//! Single hosts where the network is off: who may be reached, and the proxy by which commands reach them.
//!
//! - `gate`: which addresses a host that is asked for may be reached at
//! - `room`: how many connections there may be at a time
//! - `asked`: where a request wants to go
//! - `upstream`: the proxy that this machine has itself
//! - `dial`: from addresses to a connection
//! - `proxy`: what is asked at the socket inside a sandbox, answered ([`HostProxy`])
//!
//! Everything here runs outside of sandboxes, and what it is asked comes from inside: it is trusted in nothing.

mod asked;
mod dial;
mod gate;
mod proxy;
mod room;
mod upstream;

pub use gate::{Gate, GateError};
pub use proxy::HostProxy;
