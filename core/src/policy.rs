//! What the user allows: the policy as it was asked for, and its paths made real.

mod model;

pub use model::{NetworkAccess, SandboxMode, SandboxPolicy};
