//! What a model may ask for, and what it gets.
//!
//! Nothing here decides what is allowed: every command and every patch runs in the sandbox that the user's policy makes, or
//! in one that the user has widened for it; see [`crate::approval`]. No argument of a call changes that.

mod asking;
mod clearance;
mod planning;
mod questions;
mod spec;
mod surroundings;
mod telling;
mod widening;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use codex_core::config::ApprovalPolicy;
use codex_core::denial::Dwelling;
use codex_core::exec::{Labels, Sandbox};
use codex_core::output::SpillDirectory;
use codex_tools::patch::parse;
use codex_tools::{
    Answer, Arguments, Asks, Bench, Engine, ExecCommand, Shell, Started, WriteStdin, no_directory, quoted,
};
use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;

use crate::approval::{Approvals, Grant};
use crate::conversation::Call;
use crate::event::{Events, Todo};
use crate::rollout::Journal;
use asking::Hidden;
use clearance::{Candidate, Cleared};
use telling::{Telling, changes, files};

pub use spec::specs;

/// How many calls run at the same time: a model can ask for any number.
const AT_ONCE: usize = 16;

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
    /// Who asks for calls, for the audit log.
    pub labels: Labels,
    /// Who is asked, and who gives more than the policy does.
    pub approvals: Approvals,
    /// Where decisions are written down.
    pub journal: Journal,
    /// The home directory, where secrets and the directories of tools lie.
    pub home: Option<PathBuf>,
    /// Ends the run: cancelled where the person says so when asked.
    pub abort: CancellationToken,
    /// Ends every command. The tools' own: [`Tools::stop`] cancels it.
    pub cancellation: CancellationToken,
}

/// A command that goes on, and what it was cleared for.
#[derive(Clone, Debug)]
struct Session {
    command: String,
    directory: PathBuf,
    cleared: Cleared,
}

/// The tools of one run.
#[derive(Debug)]
pub struct Tools {
    sandbox: Sandbox,
    labels: Labels,
    approvals: Approvals,
    journal: Journal,
    /// Where the user's things are.
    dwelling: Dwelling,
    abort: CancellationToken,
    cancellation: CancellationToken,
    engine: Engine,
    /// What the sessions run with.
    sessions: Mutex<BTreeMap<u64, Session>>,
    telling: Arc<Telling>,
    events: Arc<Events>,
    todo: Mutex<Option<(String, Vec<Todo>)>>,
}

impl Tools {
    /// Tools with nothing under way.
    #[must_use]
    pub fn new(context: ToolContext, events: Arc<Events>) -> Self {
        let telling = Arc::new(Telling::new(Arc::clone(&events)));
        let dwelling = context.sandbox.dwelling(context.home.as_deref(), &context.environment);
        let bench = Bench {
            workspace: context.workspace,
            environment: context.environment,
            program: context.program,
            spill: context.spill,
        };
        Self {
            sandbox: context.sandbox,
            labels: context.labels,
            approvals: context.approvals,
            journal: context.journal,
            dwelling,
            abort: context.abort,
            cancellation: context.cancellation,
            engine: Engine::new(bench, Arc::clone(&telling) as Arc<_>),
            sessions: Mutex::default(),
            telling,
            events,
            todo: Mutex::new(None),
        }
    }

    /// Answers calls, in their order. Those that stand next to one another run at the same time, but for patches: what a
    /// patch changes, the calls before it have not seen, and those after it do.
    pub async fn answer(&self, calls: &[Call]) -> Vec<String> {
        let mut answers = Vec::with_capacity(calls.len());
        for group in calls.chunk_by(|one, other| !is_patch(one) && !is_patch(other)) {
            let answering = futures_util::stream::iter(group.iter().map(|call| self.answer_one(call)));
            answers.extend(answering.buffered(AT_ONCE).collect::<Vec<_>>().await);
        }
        answers
    }

    async fn answer_one(&self, call: &Call) -> String {
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
        let arguments = Arguments::read("exec_command", text, ExecCommand::KNOWN_WITH_MORE)?;
        let asked = ExecCommand::read(&arguments, &self.engine)?;
        let shown = quoted(&asked.command);
        let candidate =
            Candidate { words: &asked.command, shown: &shown, directory: &asked.directory, tty: asked.tty };
        let cleared = self.cleared(&asked.asks, candidate).await?;
        let run = async |cleared: &Cleared| {
            let answer = self.engine.exec_command(asked.clone(), self.call(cleared)).await?;
            if let Some(id) = answer.session_id {
                let (command, directory) = (shown.clone(), asked.directory.clone());
                self.lock_sessions().insert(id, Session { command, directory, cleared: cleared.clone() });
            }
            Ok(answer)
        };
        self.with_a_retry(candidate, cleared, run).await
    }

    async fn shell(&self, text: &str) -> Result<String, String> {
        let arguments = Arguments::read("shell", text, Shell::KNOWN_WITH_MORE)?;
        let asked = Shell::read(&arguments, &self.engine)?;
        let shown = quoted(&asked.command);
        let candidate =
            Candidate { words: &asked.command, shown: &shown, directory: &asked.directory, tty: false };
        let cleared = self.cleared(&asked.asks, candidate).await?;
        // The deadline begins with the command: what a person takes to answer is no time of its.
        let run = async |cleared: &Cleared| self.engine.shell(asked.clone(), self.call(cleared)).await;
        self.with_a_retry(candidate, cleared, run).await
    }

    /// Runs a command, and once more where it failed and somebody wants that.
    async fn with_a_retry(
        &self,
        candidate: Candidate<'_>,
        cleared: Cleared,
        run: impl AsyncFn(&Cleared) -> Result<Answer, String>,
    ) -> Result<String, String> {
        let first = run(&cleared).await?;
        let result = first.end.as_ref().and_then(|end| end.as_ref().as_ref().ok());
        let wider = match result {
            Some(result) => self.clear_retry(candidate, &cleared, result).await,
            None => None,
        };
        let Some(wider) = wider else { return Ok(first.text) };
        let granted = wider.grant.lines().join("; ");
        let again = run(&wider).await?.text;
        Ok(format!(
            "{}\nThe user let it run again, with more than the policy gives ({granted}):\n{again}",
            first.text
        ))
    }

    async fn write_stdin(&self, text: &str) -> Result<String, String> {
        let arguments = Arguments::read("write_stdin", text, WriteStdin::KNOWN)?;
        let asked = WriteStdin::read(&arguments)?;
        // Waiting, interrupting and the end of input tell it nothing to do.
        if !matches!(asked.chars.as_str(), "" | "\u{3}" | "\u{4}") {
            let session = self.lock_sessions().get(&asked.session_id).cloned();
            if let Some(Session { command, directory, cleared }) = session
                && cleared.input_is_asked_about
                && let Err(why) = self.clear_input(&asked.chars, &command, &directory, &cleared.grant).await
            {
                let words = ["write_stdin".to_owned(), asked.chars];
                self.note_refusal(&words, &directory, &why).await;
                return Err(why);
            }
        }
        let id = asked.session_id;
        let answer = self.engine.write_stdin(asked).await?;
        if answer.session_id.is_none() {
            self.lock_sessions().remove(&id);
        }
        Ok(answer.text)
    }

    async fn apply_patch(&self, call: &Call) -> Result<String, String> {
        let patch = match call.custom {
            true => call.arguments.clone(),
            false => codex_tools::patch_of(&call.arguments)?,
        };
        let directory = self.engine.directory(None);
        // What is no patch is answered by who applies it.
        if let Ok(parsed) = parse::parse(&patch)
            && let Err(why) = self.clear_patch(&files(&parsed, &directory), &directory).await
        {
            self.telling.patch_declined(&parsed, &directory);
            let paths = changes(&parsed, &directory).into_iter().map(|change| change.path);
            let words: Vec<_> = ["apply_patch".to_owned()].into_iter().chain(paths).collect();
            self.note_refusal(&words, &directory, &why).await;
            return Err(why);
        }
        let cleared = self.as_the_policy_says();
        Ok(self.engine.apply_patch(&patch, &directory, &self.call(&cleared)).await.text)
    }

    /// What a call runs with.
    fn call<'c>(&self, cleared: &'c Cleared) -> codex_tools::Call<'c> {
        let mut call =
            codex_tools::Call::new(&cleared.sandbox, self.cancellation.child_token(), self.labels.clone());
        call.granted = cleared.grant.lines();
        if cleared.grant.unsandboxed {
            call.environment.extend(self.path_of_the_users().map(|path| ("PATH".into(), path)));
        }
        if cleared.careful {
            call.environment.extend(self.careful_environment());
        }
        call
    }

    /// Sees whether a command may run, and with what. One that may not is told of, and noted.
    async fn cleared(&self, asks: &Asks, candidate: Candidate<'_>) -> Result<Cleared, String> {
        let cleared = match asking::wanted(asks, candidate.directory, &|path: &Path| self.hidden(path)) {
            Ok(wanted) => {
                // What is asked for may show it.
                let asked_for = wanted.grant.unsandboxed
                    || wanted.grant.read.iter().any(|place| candidate.directory.starts_with(place));
                match no_directory(candidate.directory, self.sandbox.places()) {
                    Some(why) if !asked_for => Err(format!("{why}. Nothing was run.")),
                    Some(_) | None => self.clear(candidate, wanted).await,
                }
            }
            // Who asks for more, and is not given it, is refused, however it was asked.
            Err(why) => Err(why),
        };
        if let Err(why) = &cleared {
            self.note_refusal(candidate.words, candidate.directory, why).await;
            self.telling.declined(&Started {
                command: candidate.shown.to_owned(),
                cwd: candidate.directory.to_owned(),
                level: self.sandbox.expected().level,
                granted: Grant::default().lines(),
            });
        }
        cleared
    }

    /// From whom a place is hidden that a call asks for.
    fn hidden(&self, path: &Path) -> Hidden {
        let given = |path: &Path| self.approvals.standing.read.iter().any(|place| path.starts_with(place));
        if !self.sandbox.places().hide_the_way_to(path) {
            Hidden::No
        } else if self.approvals.policy == ApprovalPolicy::Never && !given(path) {
            Hidden::FromEverybody
        } else {
            Hidden::FromCommands
        }
    }

    fn lock_sessions(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
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

fn shown_directory(directory: &Path) -> String {
    directory.to_string_lossy().into_owned()
}

fn is_patch(call: &Call) -> bool {
    call.name == "apply_patch"
}
