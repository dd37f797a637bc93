//! `exec_command` and `shell`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use codex_core::exec::{ExecError, ExecRequest, ExecResult, Process, Stdio, TerminalSize};
use codex_core::output::feed::FeedOptions;
use codex_core::output::{OutputBudget, SpillOptions, TextBudget};
use serde_json::{Map, Value};

use crate::arguments::Arguments;
use crate::engine::{Answer, Call, Engine, Running, Started};
use crate::intercept::{self, Intercepted};
use crate::session::{Session, no_directory};
use crate::text::{ended_text, running_text, shown_output};

/// When a `shell` call is ended where the model does not say.
const SHELL_DEADLINE_MS: u64 = 120_000;
const LONGEST_SHELL_DEADLINE_MS: u64 = 3_600_000;
/// What a model gets at most of one call, in tokens.
const MOST_TOKENS: usize = 10_000;

/// The argument by which a call asks for just this or that.
const ADDITIONAL: &str = "additional_permissions";

/// What a call asks for beyond what every call gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// `sandbox_permissions`, where it is not `use_default`.
    pub permissions: Option<String>,
    /// Whether `with_escalated_permissions` is set.
    pub escalated: bool,
    /// `additional_permissions`, where the tool has them.
    pub additional: Option<Map<String, Value>>,
    /// `justification`.
    pub justification: Option<String>,
}

impl Asks {
    fn read(arguments: &Arguments) -> Result<Self, String> {
        Ok(Self {
            permissions: arguments.text("sandbox_permissions")?.filter(|asked| asked != "use_default"),
            escalated: arguments.is_set("with_escalated_permissions"),
            additional: match arguments.knows(ADDITIONAL) {
                true => arguments.object(ADDITIONAL)?.cloned(),
                false => None,
            },
            // Whatever it is, it decides nothing.
            justification: arguments.text("justification").ok().flatten(),
        })
    }

    /// Whether anything is asked for.
    #[must_use]
    pub const fn more(&self) -> bool {
        self.permissions.is_some() || self.escalated || self.additional.is_some()
    }
}

/// A call of `exec_command`.
#[derive(Clone, Debug)]
pub struct ExecCommand {
    /// The shell with the script.
    pub command: Vec<String>,
    /// Where it runs.
    pub directory: PathBuf,
    /// Whether it has a terminal.
    pub tty: bool,
    /// How long it is waited for.
    pub wait: Duration,
    /// How much of its output is shown.
    pub budget: TextBudget,
    /// The patch that the script comes to, where it is one.
    pub patch: Option<Intercepted>,
    /// What it asks for.
    pub asks: Asks,
}

/// A call of `shell`.
#[derive(Clone, Debug)]
pub struct Shell {
    /// The program with its arguments.
    pub command: Vec<String>,
    /// Where it runs.
    pub directory: PathBuf,
    /// When it is ended.
    pub deadline: Duration,
    /// The patch that the command comes to, where it is one.
    pub patch: Option<Intercepted>,
    /// What it asks for.
    pub asks: Asks,
}

/// The arguments of a tool but for the last, which is [`ADDITIONAL`].
const fn without_more(known: &'static [&'static str]) -> &'static [&'static str] {
    match known {
        [others @ .., _] => others,
        [] => known,
    }
}

impl ExecCommand {
    /// The arguments that there are.
    pub const KNOWN: &[&str] = without_more(Self::KNOWN_WITH_MORE);

    /// The arguments that there are, where a call may ask for just this or that.
    pub const KNOWN_WITH_MORE: &[&str] = &[
        "cmd",
        "workdir",
        "shell",
        "login",
        "tty",
        "yield_time_ms",
        "max_output_tokens",
        "sandbox_permissions",
        "justification",
        "prefix_rule",
        ADDITIONAL,
    ];

    /// Reads the arguments.
    ///
    /// # Errors
    ///
    /// Says what is wrong with them, for a model.
    pub fn read(arguments: &Arguments, engine: &Engine) -> Result<Self, String> {
        let script = arguments.needed_text("cmd")?;
        let directory = engine.directory(arguments.text("workdir")?.as_deref());
        let tty = arguments.flag("tty")?.unwrap_or_default();
        let budget = budget(arguments.number("max_output_tokens")?);
        let wait = clamped(arguments.number("yield_time_ms")?, 10_000, 250, 30_000);
        let shell = arguments.text("shell")?.unwrap_or_else(|| default_shell().to_owned());
        let option = if arguments.flag("login")?.unwrap_or_default() { "-lc" } else { "-c" };
        if script.trim().is_empty() {
            return Err("the command is empty. Nothing was run.".to_owned());
        }
        let patch = intercept::script(&script);
        let command = vec![shell, option.to_owned(), script];
        Ok(Self { command, directory, tty, wait, budget, patch, asks: Asks::read(arguments)? })
    }
}

impl Shell {
    /// The arguments that there are.
    pub const KNOWN: &[&str] = without_more(Self::KNOWN_WITH_MORE);

    /// The arguments that there are, where a call may ask for just this or that.
    pub const KNOWN_WITH_MORE: &[&str] = &[
        "command",
        "workdir",
        "timeout_ms",
        "sandbox_permissions",
        "with_escalated_permissions",
        "justification",
        ADDITIONAL,
    ];

    /// Reads the arguments.
    ///
    /// # Errors
    ///
    /// Says what is wrong with them, for a model.
    pub fn read(arguments: &Arguments, engine: &Engine) -> Result<Self, String> {
        let command = arguments.texts("command")?.ok_or_else(|| arguments.missing("command"))?;
        let directory = engine.directory(arguments.text("workdir")?.as_deref());
        let deadline =
            clamped(arguments.number("timeout_ms")?, SHELL_DEADLINE_MS, 1, LONGEST_SHELL_DEADLINE_MS);
        let patch = intercept::arguments(&command);
        Ok(Self { command, directory, deadline, patch, asks: Asks::read(arguments)? })
    }
}

impl Engine {
    /// `exec_command`: starts a command, and waits for a while. One that is a patch is applied as one.
    ///
    /// # Errors
    ///
    /// Says, for a model, why nothing was run.
    pub async fn exec_command(&self, asked: ExecCommand, mut call: Call<'_>) -> Result<Answer, String> {
        if let Some(found) = &asked.patch {
            return Ok(self.intercepted(found, &asked.directory, &call).await);
        }
        if let Some(why) = no_directory(&asked.directory, call.sandbox.places()) {
            return Err(format!("{why}. Nothing was run."));
        }
        let place = self.sessions.room()?;
        let mut request = self.request(&asked.command, &asked.directory, asked.tty, &call);
        request.limits.deadline = None;
        request.feed = Some(FeedOptions::default());
        let running = self.told_start(&asked.command, &asked.directory, &call);
        let process = Process::start(request, call.sandbox);
        followed(&process, &mut call);
        let session = Session::new(process, running, asked.tty, call.held.take(), place);
        let began = tokio::time::Instant::now();
        let (end, output) = session.wait(asked.wait).await;
        Ok(match end {
            Some(result) => {
                self.observer.command_ended(&session.running, &result);
                ended_answer(result, session.running.started, &asked.budget)
            }
            None => {
                let of = Some(session.running.started.clone());
                let id = self.sessions.keep(session);
                let text = running_text(id, began.elapsed(), &output, &asked.budget);
                let output = Some(output.within(&asked.budget));
                Answer { text, end: None, output, session_id: Some(id), applied: None, of }
            }
        })
    }

    /// `shell`: runs a command to its end. One that is a patch is applied as one.
    ///
    /// # Errors
    ///
    /// Says, for a model, why nothing was run.
    pub async fn shell(&self, asked: Shell, mut call: Call<'_>) -> Result<Answer, String> {
        if let Some(found) = &asked.patch {
            return Ok(self.intercepted(found, &asked.directory, &call).await);
        }
        if let Some(why) = no_directory(&asked.directory, call.sandbox.places()) {
            return Err(format!("{why}. Nothing was run."));
        }
        let mut request = self.request(&asked.command, &asked.directory, false, &call);
        request.limits.deadline = Some(asked.deadline);
        request.feed = call.follow.is_some().then(FeedOptions::default);
        let running = self.told_start(&asked.command, &asked.directory, &call);
        let process = Process::start(request, call.sandbox);
        followed(&process, &mut call);
        let result = process.wait().await;
        self.observer.command_ended(&running, &result);
        Ok(ended_answer(result, running.started, &TextBudget::default()))
    }

    /// A command as every call runs it.
    pub(crate) fn request(
        &self,
        command: &[String],
        directory: &Path,
        tty: bool,
        call: &Call<'_>,
    ) -> ExecRequest {
        let command = command.iter().map(OsString::from).collect();
        let mut environment = self.environment(directory, tty);
        environment.retain(|(name, _)| call.environment.iter().all(|(set, _)| name != set));
        environment.extend(call.environment.iter().cloned());
        let mut request = ExecRequest::new(command, directory.to_owned(), environment);
        request.view = Some(OutputBudget::default());
        request.labels = call.labels.clone();
        request.spill = self.bench.spill.clone().map(|directory| (directory, SpillOptions::default()));
        request.cancellation = call.cancellation.child_token();
        if tty {
            request.stdio = Stdio::Terminal(TerminalSize::default());
        }
        request
    }

    /// The environment of a command: nothing in it asks a person, or writes for one.
    fn environment(&self, directory: &Path, tty: bool) -> Vec<(OsString, OsString)> {
        let set: [(&str, &str); 8] = [
            ("NO_COLOR", "1"),
            ("TERM", if tty { "xterm" } else { "dumb" }),
            ("COLORTERM", ""),
            ("PAGER", "cat"),
            ("GIT_PAGER", "cat"),
            ("GH_PAGER", "cat"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("CODEX_CI", "1"),
        ];
        let mut environment = self.bench.environment.clone();
        environment.retain(|(name, _)| name != "PWD" && set.iter().all(|(set, _)| name != set));
        environment.extend(set.map(|(name, value)| (name.into(), value.into())));
        environment.push(("PWD".into(), directory.into()));
        environment
    }

    fn told_start(&self, command: &[String], directory: &Path, call: &Call<'_>) -> Running {
        let started = Started {
            command: quoted(command),
            cwd: directory.to_owned(),
            level: call.sandbox.expected().level,
            granted: call.granted.clone(),
        };
        let name = self.observer.command_started(&started);
        Running { name, started, session_id: None }
    }
}

/// Hands out what follows the command, where somebody wants it, gives up the turn once it runs, and what is held for it at its end.
fn followed(process: &Process, call: &mut Call<'_>) {
    if let Some(turn) = call.turn.take() {
        let started = process.started();
        tokio::spawn(async move {
            started.await;
            drop(turn);
        });
    }
    if let Some(held) = call.until_over.take() {
        let over = process.is_over();
        tokio::spawn(async move {
            over.await;
            drop(held);
        });
    }
    if let (Some(sender), Some(reader)) = (call.follow.take(), process.reader(0)) {
        // Who does not want it any more does without.
        drop(sender.send(reader));
    }
}

/// The answer of a command that has ended, with all that it wrote.
fn ended_answer(result: Arc<Result<ExecResult, ExecError>>, of: Started, budget: &TextBudget) -> Answer {
    let text = ended_text(&result, None, budget);
    let output = result.as_ref().as_ref().ok().map(|result| shown_output(result).within(budget));
    Answer { text, end: Some(result), output, session_id: None, applied: None, of: Some(of) }
}

/// How much text a model asked for.
pub(crate) fn budget(tokens: Option<u64>) -> TextBudget {
    let tokens =
        tokens.and_then(|tokens| usize::try_from(tokens).ok()).unwrap_or(MOST_TOKENS).min(MOST_TOKENS);
    TextBudget { tokens, ..TextBudget::default() }
}

pub(crate) fn clamped(asked: Option<u64>, default: u64, least: u64, most: u64) -> Duration {
    Duration::from_millis(asked.unwrap_or(default).clamp(least, most))
}

fn default_shell() -> &'static str {
    if ["/bin/bash", "/usr/bin/bash"].iter().any(|path| Path::new(path).exists()) { "bash" } else { "sh" }
}

/// A command line that a shell would read as these words.
#[must_use]
pub fn quoted(command: &[String]) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_./=:,@%+".contains(character);
    let words = command.iter().map(|word| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    words.collect::<Vec<_>>().join(" ")
}
