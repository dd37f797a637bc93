//! `exec_command` and `shell`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use codex_core::denial::lines;
use codex_core::exec::{ExecError, ExecRequest, ExecResult, Outcome, Process, Stdio, TerminalSize};
use codex_core::output::feed::FeedOptions;
use codex_core::output::{
    CallReport, CallStreams, OutputBudget, SpillOptions, StreamText, TextBudget, model_text,
};

use super::arguments::Arguments;
use super::session::{Session, no_directory, running_text};
use super::{Tools, forbidden, intercept, shown_directory};
use crate::event::{CommandExecution, Details, Status};

/// When a `shell` call is ended where the model does not say.
const SHELL_DEADLINE_MS: u64 = 120_000;
const LONGEST_SHELL_DEADLINE_MS: u64 = 3_600_000;
/// What a model gets at most of one call, in tokens.
const MOST_TOKENS: usize = 10_000;

/// A command that was started, for those who are told of it.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) item: String,
    pub(super) command: String,
    pub(super) cwd: PathBuf,
    pub(super) session_id: Option<u64>,
}

/// How much text a model asked for.
pub(super) fn budget(tokens: Option<u64>) -> TextBudget {
    let tokens =
        tokens.and_then(|tokens| usize::try_from(tokens).ok()).unwrap_or(MOST_TOKENS).min(MOST_TOKENS);
    TextBudget { tokens, ..TextBudget::default() }
}

pub(super) fn clamped(asked: Option<u64>, default: u64, least: u64, most: u64) -> Duration {
    Duration::from_millis(asked.unwrap_or(default).clamp(least, most))
}

impl Tools {
    /// `exec_command`.
    pub(super) async fn exec_command(&self, text: &str) -> Result<String, String> {
        let known = &[
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
        ];
        let arguments = Arguments::read("exec_command", text, known)?;
        let script = arguments.needed_text("cmd")?;
        let directory = self.directory(arguments.text("workdir")?.as_deref());
        let tty = arguments.flag("tty")?.unwrap_or_default();
        let budget = budget(arguments.number("max_output_tokens")?);
        let limit = clamped(arguments.number("yield_time_ms")?, 10_000, 250, 30_000);
        let shell = arguments.text("shell")?.unwrap_or_else(|| default_shell().to_owned());
        let option = if arguments.flag("login")?.unwrap_or_default() { "-lc" } else { "-c" };
        let command = vec![shell, option.to_owned(), script.clone()];
        if script.trim().is_empty() {
            return Err("the command is empty. Nothing was run.".to_owned());
        }
        if let Some(found) = intercept::script(&script) {
            return Ok(self.intercepted(&found, &directory).await);
        }
        self.no_more_than_the_policy(&arguments, &command, &directory)?;
        if let Some(why) = no_directory(&directory) {
            return Err(format!("{why}. Nothing was run."));
        }
        self.sessions.room()?;
        let mut request = self.request(&command, &directory, tty);
        request.limits.deadline = None;
        request.feed = Some(FeedOptions::default());
        let running = self.told_start(&command, &directory);
        let session = Session::new(Process::start(request, &self.context.sandbox), running, tty);
        let began = tokio::time::Instant::now();
        let (end, output) = session.wait(limit).await;
        Ok(match end {
            Some(result) => {
                self.told_end(&session.running, &result);
                self.ended_text(&session.running, &result, None, &budget)
            }
            None => {
                let (id, _) = self.sessions.keep(session);
                running_text(id, began.elapsed(), &output, &budget)
            }
        })
    }

    /// `shell`.
    pub(super) async fn shell(&self, text: &str) -> Result<String, String> {
        let known = &[
            "command",
            "workdir",
            "timeout_ms",
            "sandbox_permissions",
            "with_escalated_permissions",
            "justification",
        ];
        let arguments = Arguments::read("shell", text, known)?;
        let command = arguments.texts("command")?.ok_or_else(|| arguments.missing("command"))?;
        let directory = self.directory(arguments.text("workdir")?.as_deref());
        let deadline =
            clamped(arguments.number("timeout_ms")?, SHELL_DEADLINE_MS, 1, LONGEST_SHELL_DEADLINE_MS);
        if let Some(found) = intercept::arguments(&command) {
            return Ok(self.intercepted(&found, &directory).await);
        }
        self.no_more_than_the_policy(&arguments, &command, &directory)?;
        if let Some(why) = no_directory(&directory) {
            return Err(format!("{why}. Nothing was run."));
        }
        let mut request = self.request(&command, &directory, false);
        request.limits.deadline = Some(deadline);
        let running = self.told_start(&command, &directory);
        let process = Process::start(request, &self.context.sandbox);
        let result = process.wait().await;
        self.told_end(&running, &result);
        Ok(self.ended_text(&running, &result, None, &TextBudget::default()))
    }

    /// Refuses what the user does not want, and what only the user can give.
    fn no_more_than_the_policy(
        &self,
        arguments: &Arguments,
        command: &[String],
        directory: &Path,
    ) -> Result<(), String> {
        let asked = arguments.text("sandbox_permissions")?;
        let more = !matches!(asked.as_deref(), None | Some("use_default"))
            || arguments.is_set("with_escalated_permissions");
        let why = match forbidden::why_not(command, &self.context.forbid) {
            Some(why) => format!("{why}. Nothing was run."),
            None if more => "the approval policy is never: nobody can give a command more than the sandbox does. Nothing was \
                             run; run it without asking for more, or do what is possible inside the sandbox."
                .to_owned(),
            None => return Ok(()),
        };
        let id = self.events.name();
        let running = Running {
            item: id.clone(),
            command: quoted(command),
            cwd: directory.to_owned(),
            session_id: None,
        };
        let execution = self.execution(&running, Status::Declined);
        self.events.completed(id, Details::CommandExecution(Box::new(execution)));
        Err(why)
    }

    /// A command as every tool call runs it.
    pub(super) fn request(&self, command: &[String], directory: &Path, tty: bool) -> ExecRequest {
        let command = command.iter().map(OsString::from).collect();
        let mut request = ExecRequest::new(command, directory.to_owned(), self.environment(directory, tty));
        request.view = Some(OutputBudget::default());
        request.spill = self.context.spill.clone().map(|directory| (directory, SpillOptions::default()));
        request.cancellation = self.context.cancellation.child_token();
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
        let mut environment = self.context.environment.clone();
        environment.retain(|(name, _)| name != "PWD" && set.iter().all(|(set, _)| name != set));
        environment.extend(set.map(|(name, value)| (name.into(), value.into())));
        environment.push(("PWD".into(), directory.into()));
        environment
    }

    pub(super) fn told_start(&self, command: &[String], directory: &Path) -> Running {
        let item = self.events.name();
        let running = Running {
            item: item.clone(),
            command: quoted(command),
            cwd: directory.to_owned(),
            session_id: None,
        };
        let execution = self.execution(&running, Status::InProgress);
        self.events.started(item, Details::CommandExecution(Box::new(execution)));
        running
    }

    fn execution(&self, running: &Running, status: Status) -> CommandExecution {
        CommandExecution {
            command: running.command.clone(),
            aggregated_output: String::new(),
            exit_code: None,
            status,
            cwd: shown_directory(&running.cwd),
            duration_ms: None,
            signal: None,
            timed_out: false,
            truncated: false,
            denials: Vec::new(),
            enforcement: self.context.sandbox.expected().level.name().to_owned(),
            session_id: running.session_id,
        }
    }

    /// Tells how a command ended.
    pub(super) fn told_end(&self, running: &Running, result: &Result<ExecResult, ExecError>) {
        let mut execution = self.execution(running, Status::Failed);
        match result {
            Ok(result) => {
                let output = output(result);
                execution.aggregated_output.clone_from(&output.text);
                execution.truncated = output.bytes_omitted > 0;
                execution.duration_ms = Some((result.duration.as_secs_f64() * 1e6).round() / 1e3);
                execution.timed_out = matches!(result.outcome, Outcome::TimedOut { .. });
                execution.enforcement = result.enforcement.level.name().to_owned();
                execution.denials = lines(&result.denials);
                match result.outcome {
                    Outcome::Exited { code } => {
                        execution.exit_code = Some(code);
                        if code == 0 {
                            execution.status = Status::Completed;
                        }
                    }
                    Outcome::Signalled { signal, .. } => execution.signal = Some(signal),
                    Outcome::NotExecuted { exit_code, ref message, .. } => {
                        execution.exit_code = Some(exit_code);
                        execution.aggregated_output.clone_from(message);
                    }
                    ref other @ Outcome::SetupFailed { .. } => execution.aggregated_output = other.sentence(),
                    _ => {}
                }
            }
            Err(error) => execution.aggregated_output = error.to_string(),
        }
        self.note_command(execution.status == Status::Completed);
        self.events.completed(running.item.clone(), Details::CommandExecution(Box::new(execution)));
    }

    /// What a model is told of a command that has ended: of all that it wrote, or of what is new.
    pub(super) fn ended_text(
        &self,
        _: &Running,
        result: &Result<ExecResult, ExecError>,
        new: Option<&StreamText>,
        budget: &TextBudget,
    ) -> String {
        let result = match result {
            Ok(result) => result,
            Err(error) => return format!("nothing was run: {error}"),
        };
        let whole;
        let stream = match new {
            Some(new) => new,
            None => {
                whole = output(result);
                &whole
            }
        };
        let ending = ending(result);
        let limit = match result.outcome {
            Outcome::TimedOut { .. }
            | Outcome::IdleTimedOut { .. }
            | Outcome::OutputExceeded { .. }
            | Outcome::LimitExceeded { .. } => Some(result.outcome.sentence()),
            _ => None,
        };
        let denials = lines(&result.denials);
        let report = CallReport {
            ending: &ending,
            exit_code: match result.outcome {
                Outcome::Exited { code } => Some(code),
                _ => None,
            },
            limit: limit.as_deref(),
            duration: result.duration,
            denials: &denials,
            still_running: &[],
            streams_left_open: result.streams_left_open,
            spill: result.spill.as_ref(),
            streams: CallStreams::Combined(stream),
        };
        let mut text = model_text(&report, budget);
        for moved in &result.quarantined {
            text.push_str(&format!("protected: {moved}\n"));
        }
        text
    }
}

/// What a command wrote, as a terminal would show it in the end.
fn output(result: &ExecResult) -> StreamText {
    let view = result.view.as_ref().unwrap_or(&result.output).text();
    result.spill.as_ref().map_or_else(|| view.clone(), |spill| view.spilled(spill, false))
}

/// How a command ended, in one line.
fn ending(result: &ExecResult) -> String {
    let mut ending = match result.outcome {
        Outcome::Exited { code } => format!("Process exited with code {code}"),
        ref other => format!("Process {}", other.sentence()),
    };
    if matches!(result.outcome, Outcome::SetupFailed { .. } | Outcome::NotExecuted { .. }) {
        ending = result.outcome.sentence();
    }
    match result.left_behind.as_slice() {
        [] => {}
        left => {
            let commands: Vec<&str> = left.iter().map(|process| process.command.as_str()).collect();
            ending.push_str(&format!(
                "; what it had left in the background was ended ({}): run it in the foreground, and it goes on as a session",
                commands.join("; ")
            ));
        }
    }
    ending
}

fn default_shell() -> &'static str {
    if ["/bin/bash", "/usr/bin/bash"].iter().any(|path| Path::new(path).exists()) { "bash" } else { "sh" }
}

/// A command line that a shell would read as these words.
pub(super) fn quoted(command: &[String]) -> String {
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

/// A process to its end.
pub(super) async fn to_the_end(process: Process) -> Arc<Result<ExecResult, ExecError>> {
    let result = process.wait().await;
    process.is_over().await;
    result
}
