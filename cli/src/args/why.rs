//! `codex debug why`.

use std::ffi::OsString;

use clap::Args;

use super::PolicyOptions;

pub(super) const EXAMPLES: &str = "\
Examples:
  codex debug why write ~/.cargo/registry/index
  codex debug why --full-auto remove .git/hooks
  codex debug why connect crates.io:443
  codex debug why unix /var/run/docker.sock

What is allowed here can still fail by ordinary permissions, or because it is not there.

Exit codes:
      0 allowed; 1 denied; 125 the policy is refused; 2 usage or configuration";

/// `codex debug why`.
#[derive(Args, Debug)]
pub(crate) struct WhyArgs {
    #[command(flatten)]
    pub(crate) policy: PolicyOptions,
    /// Print it as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// What would be tried.
    #[arg(value_name = "OPERATION")]
    pub(crate) operation: WhyOperation,
    /// On what: a path, HOST:PORT for connect, the number of a process outside for signal.
    #[arg(value_name = "OBJECT")]
    pub(crate) object: OsString,
}

/// Operations that can be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum WhyOperation {
    /// Write to a file, or make it where it does not exist.
    Write,
    /// Make a name.
    Create,
    /// Remove a name.
    Remove,
    /// Rename it.
    Rename,
    /// Change mode, owner, times or attributes.
    Metadata,
    /// Read a file, or list a directory.
    Read,
    /// Connect to a port of a host.
    Connect,
    /// Connect to a unix socket.
    Unix,
    /// Send a signal to a process outside.
    Signal,
}
