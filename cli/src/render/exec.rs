//! A run as it is shown: to a person on standard error, to a program as events on standard output.

use std::io::{IsTerminal as _, Write as _};

use codex_agent::approval::{Approval, Decision};
use codex_agent::event::{ChangeKind, CommandExecution, Details, Event, Status, Todo};
use codex_core::exec::Sandbox;
use codex_linux_sandbox::shown;

use crate::args::ColorChoice;
use crate::{exit_code, world};

/// How much of a command's output a person sees.
const TAIL: usize = 6;
/// How much of a line.
const LONGEST: usize = 200;

/// Shows a run.
pub(crate) struct Show {
    json: bool,
    color: bool,
    /// What the model said last: it may be the last message, which belongs to standard output.
    held: Option<String>,
}

#[derive(Clone, Copy)]
enum Paint {
    Bold,
    Dim,
    Red,
    Green,
}

/// A mistake in what was typed, as an event.
pub(crate) fn usage(error: &clap::Error) {
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    Show::new(true, ColorChoice::Never).write(&Event::Error { message });
}

impl Show {
    pub(crate) fn new(json: bool, color: ColorChoice) -> Self {
        let color = match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => !world::no_color() && std::io::stderr().is_terminal(),
        };
        Self { json, color, held: None }
    }

    fn paint(&self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Bold => 1,
            Paint::Dim => 2,
            Paint::Red => 31,
            Paint::Green => 32,
        };
        if self.color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// A line for a person.
    fn line(&self, line: &str) {
        if let Err(_unwritable) = writeln!(std::io::stderr(), "{line}") {}
    }

    /// An event for a program.
    fn write(&self, event: &Event) {
        let Ok(mut line) = serde_json::to_vec(event) else { return };
        line.push(b'\n');
        let mut out = std::io::stdout().lock();
        // Whoever has seen enough does not stop the work.
        if let Err(_unwritable) = out.write_all(&line).and_then(|()| out.flush()) {}
    }

    /// Says that nothing was begun.
    pub(crate) fn refused(&self, message: &str) -> i32 {
        if self.json {
            self.write(&Event::Error { message: message.to_owned() });
        }
        super::refusal(message, exit_code::USAGE)
    }

    /// Says what went wrong at the end.
    pub(crate) fn failed(&self, message: &str) -> i32 {
        if self.json {
            self.write(&Event::Error { message: message.to_owned() });
        }
        super::refusal(message, exit_code::FAILED)
    }

    /// Says what a person should know.
    pub(crate) fn note(&self, message: &str) {
        super::complaint(message);
    }

    /// Says what begins.
    pub(crate) fn begins(&self, thread_id: &str, model: &str, provider: &str, sandbox: &Sandbox) {
        if self.json {
            return;
        }
        let (mode, level) = (sandbox.policy().mode, sandbox.expected().level.name());
        self.line(&self.paint(
            Paint::Dim,
            &format!(
                "session {thread_id}\nmodel {} at {}, policy {mode}, level {level}",
                shown(model),
                shown(provider)
            ),
        ));
    }

    /// Shows an event.
    pub(crate) fn event(&mut self, event: &Event) {
        if self.json {
            return self.write(event);
        }
        if !matches!(event, Event::TurnCompleted { .. })
            && let Some(text) = self.held.take()
        {
            self.text("", &text);
        }
        match event {
            Event::ThreadStarted { .. } | Event::TurnStarted {} => {}
            Event::ItemStarted { item } => {
                if let Details::CommandExecution(command) = &item.details {
                    self.line(&self.paint(Paint::Bold, &format!("$ {}", cut(&command.command))));
                }
            }
            Event::ItemUpdated { item } => {
                if let Details::TodoList { items } = &item.details {
                    self.todo(items);
                }
            }
            Event::ItemCompleted { item } => self.completed(&item.details),
            Event::TurnCompleted { usage } => self.line(&self.paint(
                Paint::Dim,
                &format!(
                    "tokens: {} read ({} known already), {} written",
                    usage.input_tokens, usage.cached_input_tokens, usage.output_tokens
                ),
            )),
            Event::TurnFailed { error } => super::complaint(&shown(&error.message)),
            Event::Error { message } => super::complaint(&shown(message)),
        }
    }

    fn completed(&mut self, details: &Details) {
        match details {
            Details::AgentMessage { text } => self.held = Some(text.clone()),
            Details::Reasoning { text } => {
                let first = text.lines().next().unwrap_or_default();
                self.line(&self.paint(Paint::Dim, &format!("· {}", cut(first))));
            }
            Details::CommandExecution(command) => self.command(command),
            Details::FileChange { changes, status } => {
                for change in changes {
                    let letter = match change.kind {
                        ChangeKind::Add => 'A',
                        ChangeKind::Delete => 'D',
                        ChangeKind::Update => 'M',
                    };
                    let paint = if *status == Status::Completed { Paint::Green } else { Paint::Red };
                    self.line(&self.paint(paint, &format!("{letter} {}", cut(&change.path))));
                }
                if *status != Status::Completed {
                    self.line("  not applied");
                }
            }
            Details::TodoList { items } => self.todo(items),
            Details::Approval(approval) => self.approval(approval),
            Details::Error { message } => super::complaint(&shown(message)),
        }
    }

    fn approval(&self, approval: &Approval) {
        let said = match approval.decision {
            Some(Decision::Approved) => "approved, this once",
            Some(Decision::ApprovedForRun) => "approved, for this session",
            Some(Decision::ApprovedByRule) => "given by your rules",
            Some(Decision::Denied) => "denied",
            Some(Decision::Aborted) => "the run is ended",
            Some(Decision::NoTerminal) => "refused: nobody could be asked",
            Some(Decision::Withdrawn) | None => "not answered",
        };
        self.line(&self.paint(Paint::Bold, &format!("? {}", cut(&approval.command))));
        for opened in &approval.opens {
            self.line(&self.paint(Paint::Dim, &format!("  opens: {}", cut(opened))));
        }
        self.line(&self.paint(Paint::Bold, &format!("  {said}")));
    }

    fn todo(&self, items: &[Todo]) {
        for item in items {
            let mark = if item.completed { 'x' } else { ' ' };
            self.line(&self.paint(Paint::Dim, &format!("  [{mark}] {}", cut(&item.text))));
        }
    }

    fn command(&self, command: &CommandExecution) {
        let lines: Vec<&str> = command.aggregated_output.lines().collect();
        let hidden = lines.len().saturating_sub(TAIL);
        if hidden > 0 {
            self.line(&self.paint(Paint::Dim, &format!("  | … {hidden} lines above")));
        }
        for line in lines.iter().skip(hidden) {
            self.line(&self.paint(Paint::Dim, &format!("  | {}", cut(line))));
        }
        for denial in codex_core::denial::lines(&command.denials) {
            self.line(&self.paint(Paint::Red, &format!("  denied: {}", cut(&denial))));
        }
        let ending = match (command.status, command.exit_code, command.signal) {
            (Status::Declined, ..) => {
                "not run: it is forbidden, or asks for more than it is given".to_owned()
            }
            (_, Some(code), _) => format!("exit code {code}"),
            (_, _, Some(signal)) => format!("ended by signal {signal}"),
            _ if command.timed_out => "ended at its deadline".to_owned(),
            _ => "ended".to_owned(),
        };
        let took = command.duration_ms.map_or_else(String::new, |took| format!(", {:.2} s", took / 1e3));
        let paint = if command.status == Status::Completed { Paint::Green } else { Paint::Red };
        self.line(&self.paint(paint, &format!("  {ending}{took}")));
    }

    /// Several lines of somebody else's.
    fn text(&self, indent: &str, text: &str) {
        for line in text.lines() {
            self.line(&format!("{indent}{}", shown(line)));
        }
    }

    /// The last message: all of standard output, where no program reads events there.
    pub(crate) fn last_message(&mut self, message: &str) -> i32 {
        if self.json {
            return exit_code::SUCCESS;
        }
        // A terminal gets no control characters from a model; a file or a pipe gets what was said.
        let text = if std::io::stdout().is_terminal() {
            message.lines().map(shown).collect::<Vec<_>>().join("\n")
        } else {
            message.trim_end_matches('\n').to_owned()
        };
        super::bytes(format!("{text}\n").as_bytes())
    }
}

fn cut(line: &str) -> String {
    let line = line.lines().next().unwrap_or_default();
    let end = line.floor_char_boundary(LONGEST);
    let start = line.get(..end).unwrap_or_default();
    shown(start) + if end < line.len() { "…" } else { "" }
}
