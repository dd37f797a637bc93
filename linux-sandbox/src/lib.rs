//! Applies a sandbox plan to the current process, then becomes the command.
//!
//! The vocabulary, from the outside in:
//!
//! - A [`Plan`] says what is allowed in the mechanism's own terms: which trees can be written, whether the network can
//!   be reached. It knows nothing of policies, configuration or terminals; a caller lowers those into it.
//! - An [`Invocation`] is a plan and the command to run under it, with the descriptors and the directory to hand over.
//!   It travels as the helper's argument list ([`wire`]), flat enough to be read and pasted.
//! - [`run_main`] is the helper: it reads an invocation, starts the command, which is confined in a fixed order before its
//!   first instruction, and stays until nothing is left of it. It is single-threaded and never returns. [`run_forked`] is
//!   the same in a forked child.
//! - An observer is a process beside the helper that sees what a command is refused ([`observer_arguments`]).
//! - A [`Record`] is what the helper tells its parent over the status pipe: what it enforced, or which step failed.
//!
//! The order of enforcement stands on one page, in `run.rs`. The `unsafe` of the crate stands in `sys.rs`
//! and, for questions about the machine, in `support/sys.rs`.

#[cfg(not(target_os = "linux"))]
compile_error!("codex-linux-sandbox enforces with Landlock and seccomp: it can only be built for Linux");

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!(
    "codex-linux-sandbox knows the system call tables of x86-64 and aarch64 only: add this architecture's denials to \
     enforce/seccomp before building for it"
);

mod broker;
mod early;
mod enforce;
mod error;
mod handoff;
mod keeper;
mod limits;
mod observe;
mod orders;
mod plain_path;
mod plan;
mod probe;
mod proxy;
mod relay;
mod report;
mod run;
mod shown;
mod standby;
mod support;
mod sys;
pub mod tree;
pub mod wire;

pub use broker::UnixSockets;
pub use early::EarlyInit;
pub use enforce::seccomp::{Answer, Denial, denials, refused_call};
pub use error::{Failure, SetupError, Step};
pub use handoff::{EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, EnvironmentBlock, ExecError};
pub use keeper::{CallersSignals, ORDER_END, ORDER_INTERRUPT, ORDER_SIGNAL, ORDER_TERMINATE};
pub use observe::{Act, Attempt, MOST_ATTEMPTS, observer_arguments, observer_sockets};
pub use plain_path::{PlainPath, by_component, is_within};
pub use plan::{
    Command, Descriptors, Environment, Footing, Invocation, Isolation, Kept, LimitKind, Limits, Network,
    Places, Plan, PlanError, PlanPath, Protected, Proxy, Stay, Terminal, Writes,
};
pub use probe::probe_namespaces;
pub use proxy::{PROXY_ADDRESS, take_proxy_socket};
pub use report::{Capabilities, Enforced, MAX_RECORD, Observation, Record};
pub use run::{EXIT_SETUP_FAILED, run_forked, run_main};
pub use shown::shown;
pub use standby::StandbyOrders;
pub use support::{
    AppArmor, Cause, Cgroup, Container, ContainerKind, Facts, Finding, Mechanism, Privileges, Remedy,
    Support, UserNamespaces, findings, has_capability, kernel_is_at_least,
};
pub use sys::{Ending, PidFd, share_arenas, take_listeners};

/// The name under which the program acts as the helper, and the `argv[0]` that a parent gives it.
pub const PROGRAM: &str = "codex-linux-sandbox";
