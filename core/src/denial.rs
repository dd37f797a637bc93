//! What a sandbox refused, why, and what would allow it.
//!
//! ```text
//! settings, resolved policy, level ─▶ judge ──────────────┐
//! what a failed command said ─▶ oracle/message ─▶ oracle ─┼▶ fold ─▶ denials
//! what an observer, the broker or kernel_log saw ─▶ seen ─┘   ▲
//! what our own code decided (quarantine, limits) ─────────────┘
//! ```
//!
//! The kernel enforces; nothing here decides about a command. [`Judge`] answers from the policy what the kernel would answer,
//! for whoever asks; [`explain`] compares what a failed command said with that, and [`confirm`] what was seen of it. [`Learner`]
//! finds from one run to the next what a configuration has to say for a command to pass.

mod across;
mod dwelling;
mod fold;
mod grant;
pub mod judge;
pub mod kernel_log;
mod last_failed;
mod learn;
pub mod oracle;
mod record;
mod registry;
mod secret;
mod seen;
mod tools;

pub use dwelling::{Dwelling, NOWHERE};
pub use fold::{Fold, MOST_TARGETS};
pub use judge::{Judge, Operation, Refusal, Verdict, is_kept_from_grants};
pub use last_failed::LastFailed;
pub use learn::{Learned, Learner, MOST_LEARNING_RUNS, Next, Round, Stopped, Words};
pub use oracle::{Ended, THE_NETWORK, explain};
pub use record::{Allow, Certainty, Denial, Opens, Rule, lines};
pub use registry::at_a_registry;
pub(crate) use registry::is_of_a_name_server;
pub use seen::{Seen, confirm};
pub use tools::{TOOLS, ToolPlace};
