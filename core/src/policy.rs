//! What the user allows: the policy as it was asked for, and its paths made real.

mod model;
mod resolve;
mod trace;

pub use model::{NetworkAccess, SandboxMode, SandboxPolicy};
pub use resolve::{
    PolicyError, ResolvedPolicy, ResolvedWrites, RootNote, RootOrigin, Surroundings, WritableRoot, resolve,
};
