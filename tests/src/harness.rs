//! Scenes, runs and verdicts.

mod dispositions;
mod failures;
mod identity;
mod invocation;
mod level;
mod listener;
mod model;
mod patience;
mod policy;
mod presence;
mod programs;
mod requirements;
mod running;
mod scene;
mod snapshot;
mod verdict;
mod victim;

pub use failures::Failures;
pub use identity::Identity;
pub use invocation::Invocation;
pub use level::Level;
pub use listener::Listener;
pub use model::{Api, Model};
pub use patience::with_longer_limits;
pub use policy::Policy;
pub use presence::Presence;
pub use programs::Programs;
pub use requirements::{announce, at_hand, landlock_abi, missing, own_rust, require_tool};
pub use running::{Run, Running};
pub use scene::{Scene, run_case};
pub use snapshot::Snapshot;
pub use verdict::{Expect, Verdict};
pub use victim::Victim;
