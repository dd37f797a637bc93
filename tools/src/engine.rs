//! What calls run with, who is told of them, and what comes of one.

use std::any::Any;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use codex_core::enforcement::Level;
use codex_core::exec::{ExecError, ExecResult, Labels, Sandbox};
use codex_core::output::{FeedReader, SpillDirectory, StreamText};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::patch::Patch;
use crate::session::Sessions;

/// What every call runs with.
#[derive(Clone, Debug)]
pub struct Bench {
    /// Where calls run that name no place. Absolute, without links.
    pub workspace: PathBuf,
    /// The environment of commands, without what is set for every call.
    pub environment: Vec<(OsString, OsString)>,
    /// This program, which applies patches when it is started as `apply_patch`.
    pub program: PathBuf,
    /// Where long output is kept.
    pub spill: Option<Arc<SpillDirectory>>,
}

/// What one call may do, and how it can be ended and followed.
#[derive(Debug)]
pub struct Call<'c> {
    /// The policy, made ready.
    pub sandbox: &'c Sandbox,
    /// Ends the command, also where it goes on beyond the call.
    pub cancellation: CancellationToken,
    /// Gets what reads the command's output as it comes, where somebody wants to.
    pub follow: Option<oneshot::Sender<FeedReader>>,
    /// Dropped when the command has ended and is no session any more: a place among those that may run.
    pub held: Option<Held>,
    /// Held until nothing of its command is left, whoever still waits for that.
    pub until_over: Option<Held>,
    /// Dropped when the command runs or could not be started; where the call is a patch, with the call: a turn at setting up
    /// processes.
    pub turn: Option<Held>,
    /// Who asks for it, for the audit log.
    pub labels: Labels,
    /// What it has beyond what every call gets, a line each: told with the command.
    pub granted: Vec<String>,
    /// What is set in its environment, in the place of what every call has.
    pub environment: Vec<(OsString, OsString)>,
}

/// Something that lives as long as a command.
pub struct Held(pub Box<dyn Any + Send + Sync>);

impl fmt::Debug for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Held")
    }
}

impl<'c> Call<'c> {
    /// A call that nobody follows.
    #[must_use]
    pub fn new(sandbox: &'c Sandbox, cancellation: CancellationToken, labels: Labels) -> Self {
        Self {
            sandbox,
            cancellation,
            follow: None,
            held: None,
            until_over: None,
            turn: None,
            labels,
            granted: Vec::new(),
            environment: Vec::new(),
        }
    }
}

/// What is about to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The command, as a shell would take it.
    pub command: String,
    /// Where it runs.
    pub cwd: PathBuf,
    /// The level of its sandbox, by what is known before it runs.
    pub level: Level,
    /// What it has beyond what every call gets, a line each.
    pub granted: Vec<String>,
}

/// A command that was started, for those who are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// What whoever was told of its start has called it.
    pub name: String,
    /// What it is.
    pub started: Started,
    /// By what the model knows it, where it goes on beyond one call.
    pub session_id: Option<u64>,
}

/// Is told what happens, in the order in which it does.
pub trait Observer: fmt::Debug + Send + Sync {
    /// A command starts. What is given back names it from then on.
    fn command_started(&self, started: &Started) -> String;
    /// A command has ended, or could not be started.
    fn command_ended(&self, running: &Running, result: &Result<ExecResult, ExecError>);
    /// A patch is about to be applied in a directory. What is given back names it.
    fn patch_started(&self, patch: &Patch, directory: &Path) -> String;
    /// A patch was applied, or was not.
    fn patch_ended(&self, name: String, patch: &Patch, directory: &Path, applied: bool);
}

/// What came of a call.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What a model is told.
    pub text: String,
    /// How the command ended. Nothing while it goes on, and where there was none.
    pub end: Option<Arc<Result<ExecResult, ExecError>>>,
    /// What it wrote: all of it or, of a session, what is new.
    pub output: Option<StreamText>,
    /// By what a command that goes on is known.
    pub session_id: Option<u64>,
    /// Whether a patch was applied, where the call was one.
    pub applied: Option<bool>,
    /// The command that it is about, as it was started: whatever call that was. Nothing where the call was a patch.
    pub of: Option<Started>,
}

/// Commands and patches of one model.
#[derive(Debug)]
pub struct Engine {
    pub(crate) bench: Bench,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) sessions: Sessions,
}

impl Engine {
    /// With nothing under way.
    #[must_use]
    pub fn new(bench: Bench, observer: Arc<dyn Observer>) -> Self {
        Self { bench, observer, sessions: Sessions::default() }
    }

    /// What calls run with.
    #[must_use]
    pub const fn bench(&self) -> &Bench {
        &self.bench
    }

    /// Where a call runs: the workspace, or what the call names, from there. What it may write is no matter of that.
    #[must_use]
    pub fn directory(&self, named: Option<&str>) -> PathBuf {
        named.map_or_else(|| self.bench.workspace.clone(), |named| self.bench.workspace.join(named))
    }

    /// Ends every command that goes on, and waits until it has.
    pub async fn end_all(&self) {
        self.sessions.end_all(&*self.observer).await;
    }
}

/// A patch's answer.
pub(crate) const fn patched(text: String, applied: bool) -> Answer {
    Answer { text, end: None, output: None, session_id: None, applied: Some(applied), of: None }
}
