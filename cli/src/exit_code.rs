//! The exit codes of the program that do not come from a command. The rest is in `codex_core::exec::Outcome`.

use codex_core::exec::ExecError;

/// Everything went well.
pub(crate) const SUCCESS: i32 = 0;
/// What was to be printed could not be.
pub(crate) const OUTPUT: i32 = 1;
/// `codex doctor`: commands would be refused.
pub(crate) const UNMET: i32 = 1;
/// `codex debug why`: denied.
pub(crate) const DENIED: i32 = 1;
/// `codex debug audit verify`: the log is not what was written.
pub(crate) const BROKEN: i32 = 1;
/// `codex exec`: the turn failed.
pub(crate) const FAILED: i32 = 1;
/// Usage or configuration.
pub(crate) const USAGE: i32 = 2;
/// `codex exec`: done, but the last message does not fit the schema.
pub(crate) const UNFIT: i32 = 3;
/// `codex exec --fail-on-command-error`: done, but the last command failed.
pub(crate) const COMMAND_FAILED: i32 = 4;
/// The sandbox could not be set up, or the policy is refused. Nothing ran.
pub(crate) const REFUSED: i32 = codex_linux_sandbox::EXIT_SETUP_FAILED;
/// A bug of ours. Nothing can be said about a command.
pub(crate) const INTERNAL: i32 = 125;
/// What shells add to the number of a signal.
pub(crate) const SIGNAL_BASE: i32 = 128;

/// The exit code for a request that was never started.
pub(crate) const fn of_request(error: &ExecError) -> i32 {
    match error {
        ExecError::EmptyCommand
        | ExecError::NulInArgument { .. }
        | ExecError::Environment { .. }
        | ExecError::DetachWithStreams => USAGE,
        ExecError::Plan(_)
        | ExecError::Audit(_)
        | ExecError::Directory { .. }
        | ExecError::Helper { .. }
        | ExecError::Prepare { .. } => REFUSED,
    }
}
