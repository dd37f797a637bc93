//! What a model may ask for, and what it gets.
//!
//! Nothing here decides what is allowed: every command and every patch runs in the sandbox that the user's policy makes, and
//! no argument of a call changes that policy.

mod forbidden;
mod planning;
mod script;
mod spec;
mod telling;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use codex_core::exec::{Labels, Sandbox};
use codex_core::output::SpillDirectory;
use codex_tools::{Arguments, Asks, Bench, Engine, ExecCommand, Shell, Started, WriteStdin, quoted};
use tokio_util::sync::CancellationToken;

use crate::conversation::Call;
use crate::event::{Events, Todo};
use telling::Telling;

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
    /// Who asks for calls, for the audit log.
    pub labels: Labels,
    /// Ends every command. The tools' own: [`Tools::stop`] cancels it.
    pub cancellation: CancellationToken,
}

/// The tools of one run.
#[derive(Debug)]
pub struct Tools {
    sandbox: Sandbox,
    forbid: Vec<Vec<String>>,
    labels: Labels,
    cancellation: CancellationToken,
    engine: Engine,
    telling: Arc<Telling>,
    events: Arc<Events>,
    todo: Mutex<Option<(String, Vec<Todo>)>>,
}

impl Tools {
    /// Tools with nothing under way.
    #[must_use]
    pub fn new(context: ToolContext, events: Arc<Events>) -> Self {
        let ToolContext { sandbox, workspace, environment, program, spill, forbid, labels, cancellation } =
            context;
        let telling = Arc::new(Telling::new(Arc::clone(&events), sandbox.expected().level.name().to_owned()));
        let bench = Bench { workspace, environment, program, spill };
        let engine = Engine::new(bench, Arc::clone(&telling) as Arc<_>);
        Self { sandbox, forbid, labels, cancellation, engine, telling, events, todo: Mutex::new(None) }
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

    async fn exec_command(&self, text: &str) -> Result<String, String> {
        let arguments = Arguments::read("exec_command", text, ExecCommand::KNOWN)?;
        let asked = ExecCommand::read(&arguments, &self.engine)?;
        if asked.patch.is_none() {
            self.no_more_than_the_policy(&asked.asks, &asked.command, &asked.directory)?;
        }
        Ok(self.engine.exec_command(asked, self.allowed()).await?.text)
    }

    async fn shell(&self, text: &str) -> Result<String, String> {
        let arguments = Arguments::read("shell", text, Shell::KNOWN)?;
        let asked = Shell::read(&arguments, &self.engine)?;
        if asked.patch.is_none() {
            self.no_more_than_the_policy(&asked.asks, &asked.command, &asked.directory)?;
        }
        Ok(self.engine.shell(asked, self.allowed()).await?.text)
    }

    async fn write_stdin(&self, text: &str) -> Result<String, String> {
        let arguments = Arguments::read("write_stdin", text, WriteStdin::KNOWN)?;
        Ok(self.engine.write_stdin(WriteStdin::read(&arguments)?).await?.text)
    }

    async fn apply_patch(&self, call: &Call) -> Result<String, String> {
        let patch = match call.custom {
            true => call.arguments.clone(),
            false => codex_tools::patch_of(&call.arguments)?,
        };
        Ok(self.engine.apply_patch(&patch, &self.engine.directory(None), &self.allowed()).await.text)
    }

    /// What every call may do.
    fn allowed(&self) -> codex_tools::Call<'_> {
        codex_tools::Call::new(&self.sandbox, self.cancellation.child_token(), self.labels.clone())
    }

    /// Refuses what the user does not want, and what only the user can give.
    fn no_more_than_the_policy(
        &self,
        asks: &Asks,
        command: &[String],
        directory: &Path,
    ) -> Result<(), String> {
        let why = match forbidden::why_not(command, &self.forbid) {
            Some(why) => format!("{why}. Nothing was run."),
            None if asks.more() => "the approval policy is never: nobody can give a command more than the sandbox does. Nothing \
                                    was run; run it without asking for more, or do what is possible inside the sandbox."
                .to_owned(),
            None => return Ok(()),
        };
        self.telling.declined(&Started { command: quoted(command), cwd: directory.to_owned() });
        Err(why)
    }

    /// Whether the last command went well. Nothing where there was none.
    #[must_use]
    pub fn last_command_went_well(&self) -> Option<bool> {
        self.telling.last_command_went_well()
    }

    /// Ends every command, as soon as it can be.
    pub fn stop(&self) {
        self.cancellation.cancel();
    }

    /// Ends everything that goes on, and waits until it has.
    pub async fn finish(&self) {
        self.engine.end_all().await;
        self.finish_plan();
    }
}

fn is_patch(call: &Call) -> bool {
    call.name == "apply_patch"
}
