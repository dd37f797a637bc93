//! What a model may ask for, and what it gets.
//!
//! Nothing here decides what is allowed: every command and every patch runs in the sandbox that the user's policy makes, and
//! no argument of a call changes that policy.

mod arguments;
mod command;
mod forbidden;
mod intercept;
mod patching;
mod planning;
mod script;
mod session;
mod spec;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use codex_core::exec::Sandbox;
use codex_core::output::SpillDirectory;
use tokio_util::sync::CancellationToken;

use crate::conversation::Call;
use crate::event::{Events, Todo};

pub use spec::specs;

/// What tool calls run with.
#[derive(Debug)]
pub struct ToolContext {
    /// The policy, made ready.
    pub sandbox: Sandbox,
    /// Where calls run that name no place. Absolute, without links.
    pub workspace: PathBuf,
    /// The environment of commands, without what is set for every tool call.
    pub environment: Vec<(OsString, OsString)>,
    /// This program, which applies patches when it is started as `apply_patch`.
    pub program: PathBuf,
    /// Where long output is kept.
    pub spill: Option<Arc<SpillDirectory>>,
    /// What is not to be run, by the first words of commands.
    pub forbid: Vec<Vec<String>>,
    /// Ends every command. The tools' own: [`Tools::stop`] cancels it.
    pub cancellation: CancellationToken,
}

/// The tools of one run.
#[derive(Debug)]
pub struct Tools {
    context: ToolContext,
    events: Arc<Events>,
    sessions: session::Sessions,
    todo: Mutex<Option<(String, Vec<Todo>)>>,
    /// How the last command ended: whether it went well.
    last_command: Mutex<Option<bool>>,
}

impl Tools {
    /// Tools with nothing under way.
    #[must_use]
    pub fn new(context: ToolContext, events: Arc<Events>) -> Self {
        Self {
            context,
            events,
            sessions: session::Sessions::default(),
            todo: Mutex::new(None),
            last_command: Mutex::new(None),
        }
    }

    /// Answers calls, in their order. Those that stand next to one another run at the same time, but for patches: what a
    /// patch changes, the calls before it have not seen, and those after it do.
    pub async fn answer(&self, calls: &[Call]) -> Vec<String> {
        let mut answers = Vec::with_capacity(calls.len());
        for group in calls.chunk_by(|one, other| !is_patch(one) && !is_patch(other)) {
            answers.extend(futures_util::future::join_all(group.iter().map(|call| self.call(call))).await);
        }
        answers
    }

    async fn call(&self, call: &Call) -> String {
        let answer = match call.name.as_str() {
            "exec_command" => self.exec_command(&call.arguments).await,
            "write_stdin" => self.write_stdin(&call.arguments).await,
            "shell" => self.shell(&call.arguments).await,
            "apply_patch" => self.apply_patch(call).await,
            "update_plan" => self.update_plan(&call.arguments),
            other => Err(format!(
                "there is no tool `{}`; there are {}",
                codex_linux_sandbox::shown(other),
                specs().iter().map(|tool| format!("`{}`", tool.name)).collect::<Vec<_>>().join(", ")
            )),
        };
        answer.unwrap_or_else(|message| message)
    }

    /// Where a call runs: the workspace, or what the call names, from there. What it may write is no matter of that.
    fn directory(&self, named: Option<&str>) -> PathBuf {
        named.map_or_else(|| self.context.workspace.clone(), |named| self.context.workspace.join(named))
    }

    /// Whether the last command went well. Nothing where there was none.
    #[must_use]
    pub fn last_command_went_well(&self) -> Option<bool> {
        *self.last_command.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_command(&self, went_well: bool) {
        *self.last_command.lock().unwrap_or_else(PoisonError::into_inner) = Some(went_well);
    }

    /// Ends every command, as soon as it can be.
    pub fn stop(&self) {
        self.context.cancellation.cancel();
    }

    /// Ends everything that goes on, and waits until it has.
    pub async fn finish(&self) {
        self.sessions.end_all(self).await;
        self.finish_plan();
    }
}

fn is_patch(call: &Call) -> bool {
    call.name == "apply_patch"
}

fn shown_directory(directory: &Path) -> String {
    directory.to_string_lossy().into_owned()
}
