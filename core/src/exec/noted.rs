//! A call in the audit log: one before anything is started, one when all of it has ended.

use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::{ExecError, ExecRequest, ExecResult, Outcome, Sandbox};
use crate::audit::{AuditError, AuditLog, now_ms};
use crate::denial::Denial;
use crate::enforcement::Level;
use crate::policy::{HostGrant, NetworkAccess, ResolvedWrites};

/// How much of a command line is told, in bytes.
const MOST_COMMAND_LINE: usize = 16 << 10;

/// A command line as the audit log has it: whoever asks for it chooses how long it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotedCommand {
    /// The words, as many as fit.
    pub argv: Vec<String>,
    /// How many do not.
    pub argv_omitted: usize,
}

impl NotedCommand {
    /// Of the words of a command.
    #[must_use]
    pub fn of<W: AsRef<OsStr>>(command: &[W]) -> Self {
        let mut room = MOST_COMMAND_LINE;
        let mut argv = Vec::new();
        for word in command.iter().map(AsRef::as_ref) {
            // An empty word takes room as well.
            let Some(left) = room.checked_sub(word.len() + 1) else { break };
            room = left;
            argv.push(word.to_string_lossy().into_owned());
        }
        let argv_omitted = command.len() - argv.len();
        Self { argv, argv_omitted }
    }
}

/// What a caller has to say of a call beside what everybody can see: who asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Labels {
    /// Which program of ours runs the call (`sandbox`, `exec`, `exec-server`).
    pub by: Option<&'static str>,
    /// The session that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Its name within the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Who is at the other end of the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The name that this one gives itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// A call that is asked for and comes to nothing, as the audit log has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotedRefusal {
    /// Who asks for it.
    #[serde(flatten)]
    pub labels: Labels,
    /// The command, or the method and what it is about.
    #[serde(flatten)]
    pub command: NotedCommand,
    /// Where it would have run.
    pub cwd: String,
    /// Why it does not run.
    pub refused: String,
}

impl NotedRefusal {
    /// The event of its line.
    pub const EVENT: &str = "refused";
}

/// A call whose beginning is in the log.
#[derive(Debug)]
pub(super) struct NotedCall {
    log: Arc<AuditLog>,
    call: String,
}

#[derive(Serialize)]
struct Start<'r> {
    call: &'r str,
    #[serde(flatten)]
    labels: &'r Labels,
    #[serde(flatten)]
    command: NotedCommand,
    cwd: Option<String>,
    mode: &'static str,
    network: bool,
    /// Single hosts that can be reached where it is off.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    hosts: &'r [HostGrant],
    writable_roots: Option<Vec<String>>,
    level: Level,
}

#[derive(Serialize)]
struct End<'r> {
    call: &'r str,
    #[serde(flatten)]
    outcome: &'r Outcome,
    duration_ms: f64,
    level: Level,
    stdout_bytes: u64,
    stderr_bytes: u64,
    denials: &'r [Denial],
}

#[derive(Serialize)]
struct NotStarted<'r> {
    call: &'r str,
    error: String,
}

impl NotedCall {
    /// Notes what is about to be started. Where that fails, nothing may be.
    pub(super) fn start(
        log: &Arc<AuditLog>,
        request: &ExecRequest,
        sandbox: &Sandbox,
    ) -> Result<Self, AuditError> {
        let call = name();
        let policy = sandbox.policy();
        log.append(
            "start",
            &Start {
                call: &call,
                labels: &request.labels,
                command: NotedCommand::of(&request.command),
                cwd: request.cwd.as_ref().map(|path| path.to_string_lossy().into_owned()),
                mode: policy.mode.name(),
                network: policy.network == NetworkAccess::Enabled,
                hosts: if policy.network == NetworkAccess::Enabled { &[] } else { &sandbox.places().hosts },
                writable_roots: match &policy.writes {
                    ResolvedWrites::Everywhere => None,
                    ResolvedWrites::Beneath(roots) => {
                        Some(roots.iter().map(|root| root.path.to_string_lossy().into_owned()).collect())
                    }
                },
                level: sandbox.expected().level,
            },
        )?;
        Ok(Self { log: Arc::clone(log), call })
    }

    /// Notes what came of it.
    pub(super) fn end(&self, answer: &Result<ExecResult, ExecError>) -> Result<(), AuditError> {
        match answer {
            Ok(result) => self.log.append(
                "end",
                &End {
                    call: &self.call,
                    outcome: &result.outcome,
                    duration_ms: result.duration.as_secs_f64() * 1000.0,
                    level: result.enforcement.level,
                    stdout_bytes: result.stdout.bytes_total,
                    stderr_bytes: result.stderr.bytes_total,
                    denials: &result.denials,
                },
            ),
            Err(error) => {
                self.log.append("not_started", &NotStarted { call: &self.call, error: error.to_string() })
            }
        }
    }
}

/// A name that no other call has that this machine runs at the time.
fn name() -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let number = CALLS.fetch_add(1, Ordering::Relaxed);
    format!("{}-{}-{number}", now_ms(), std::process::id())
}

#[cfg(test)]
mod tests {
    use super::NotedCommand;

    #[test]
    fn a_command_line_is_told_as_far_as_it_fits() {
        assert_eq!(
            NotedCommand::of(&["a", "", "b"]),
            NotedCommand { argv: ["a", "", "b"].map(Into::into).into(), argv_omitted: 0 }
        );
        // What is empty is not for nothing.
        let noted = NotedCommand::of(&vec![""; 100_000]);
        assert_eq!((noted.argv.len(), noted.argv_omitted), (16 << 10, 100_000 - (16 << 10)));
        // A word is told whole, or not.
        let noted = NotedCommand::of(&["sh", "-c", &"x".repeat(16 << 10), "after"]);
        assert_eq!((noted.argv, noted.argv_omitted), (vec!["sh".to_owned(), "-c".to_owned()], 2));
    }
}
