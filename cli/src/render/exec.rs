//! A run as it is shown: to a person on standard error, to a program as events on standard output.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

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

/// When something moves, after something has been shown.
const STILL: Duration = Duration::from_millis(500);
/// What moves.
const FRAMES: [char; 4] = ['|', '/', '-', '\\'];

/// Shows a run.
#[derive(Debug)]
pub(crate) struct Show {
    json: bool,
    color: bool,
    /// What the model said last: it may be the last message, which belongs to standard output.
    held: Option<String>,
    /// Whether something moves on the terminal while nothing happens.
    moves: bool,
    /// When something was shown.
    since: Instant,
    /// How wide what moves is. Nothing where nothing stands there.
    width: usize,
    /// What became of writing events.
    events: EventsOut,
}

/// Whether events can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EventsOut {
    /// They can, as far as anybody knows.
    Open,
    /// Who read them has gone.
    Unread,
    /// Some are lost.
    Lost,
}

/// What is told before anything happens.
#[derive(Debug)]
pub(crate) struct Beginning {
    /// What a person should know.
    notes: Vec<String>,
    /// What begins.
    what: String,
}

impl Beginning {
    pub(crate) fn of(
        notes: Vec<String>,
        thread_id: &str,
        model: &str,
        provider: &str,
        sandbox: &Sandbox,
    ) -> Self {
        let (mode, level) = (sandbox.policy().mode, sandbox.expected().level.name());
        let (model, provider) = (shown(model), shown(provider));
        let what = format!("session {thread_id}\nmodel {model} at {provider}, policy {mode}, level {level}");
        Self { notes, what }
    }
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
        Self {
            json,
            color,
            held: None,
            moves: false,
            since: Instant::now(),
            width: 0,
            events: EventsOut::Open,
        }
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

    /// Lets something move while nothing happens, where standard error is a terminal. Not where questions are asked there.
    pub(crate) fn may_move(&mut self, may: bool) {
        self.moves = may && self.is_at_a_terminal();
    }

    /// Whether events are shown at a terminal.
    pub(crate) fn is_at_a_terminal(&self) -> bool {
        !self.json && std::io::stderr().is_terminal()
    }

    /// Shows what is left to show, and takes away what moves: something else comes to stand there.
    pub(crate) fn make_way(&mut self) {
        self.stand_still();
        self.say_held();
    }

    /// Shows what the model said last, each line behind a mark: none of them is ours.
    fn say_held(&mut self) {
        if let Some(text) = self.held.take() {
            self.text("> ", &text);
        }
    }

    /// Whether something moves.
    pub(crate) const fn moves(&self) -> bool {
        self.moves
    }

    /// Shows that something goes on, and for how long.
    pub(crate) fn wait(&mut self) {
        let still = self.since.elapsed();
        if still < STILL {
            return;
        }
        let frame = FRAMES[usize::try_from(still.as_millis() / 120).unwrap_or_default() % FRAMES.len()];
        let text = format!("{frame} {} s", still.as_secs());
        self.width = self.width.max(text.len());
        if let Err(_unwritable) = write!(std::io::stderr(), "\r{text}") {}
    }

    /// Takes away what moves.
    fn stand_still(&mut self) {
        self.since = Instant::now();
        let width = std::mem::take(&mut self.width);
        if width > 0
            && let Err(_unwritable) = write!(std::io::stderr(), "\r{:width$}\r", "")
        {}
    }

    /// An event for a program.
    fn write(&mut self, event: &Event) {
        let Ok(mut line) = serde_json::to_vec(event) else { return };
        line.push(b'\n');
        if self.events != EventsOut::Open {
            return;
        }
        let mut out = std::io::stdout().lock();
        match out.write_all(&line).and_then(|()| out.flush()) {
            Ok(()) => {}
            // Whoever has seen enough does not stop the work.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                self.events = EventsOut::Unread;
                super::complaint("nobody reads the events any more; the run goes on");
            }
            Err(error) => {
                self.events = EventsOut::Lost;
                super::complaint(&format!("events are lost: standard output: {error}; the run goes on"));
            }
        }
    }

    /// Says that nothing was begun.
    pub(crate) fn refused(&mut self, message: &str) -> i32 {
        if self.json {
            self.write(&Event::Error { message: message.to_owned() });
        }
        super::refusal(message, exit_code::USAGE)
    }

    /// Says what went wrong at the end.
    pub(crate) fn failed(&mut self, message: &str) -> i32 {
        if self.json {
            self.write(&Event::Error { message: message.to_owned() });
        }
        super::refusal(message, exit_code::FAILED)
    }

    /// Says what begins.
    pub(crate) fn begins(&self, beginning: &Beginning) {
        beginning.notes.iter().for_each(|note| super::complaint(note));
        if !self.json {
            self.line(&self.paint(Paint::Dim, &beginning.what));
        }
    }

    /// Shows an event.
    pub(crate) fn event(&mut self, event: &Event) {
        if self.json {
            return self.write(event);
        }
        self.stand_still();
        if !matches!(event, Event::TurnCompleted { .. }) {
            self.say_held();
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

    /// Shows the end, with the last message where there is one. Gives the exit code of showing.
    pub(crate) fn over(&mut self, message: Option<&str>) -> i32 {
        self.stand_still();
        match message {
            _ if self.events == EventsOut::Lost => exit_code::OUTPUT,
            Some(message) if !self.json => Self::last_message(message),
            Some(_) | None => exit_code::SUCCESS,
        }
    }

    /// The last message: all of standard output, where no program reads events there.
    fn last_message(message: &str) -> i32 {
        // A terminal gets no control characters from a model; a file or a pipe gets what was said.
        let text = if std::io::stdout().is_terminal() {
            message.lines().map(shown).collect::<Vec<_>>().join("\n")
        } else {
            message.trim_end_matches('\n').to_owned()
        };
        let mut out = std::io::stdout().lock();
        // Whoever asked for it and went does not have it, and neither does anybody else.
        match out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => exit_code::SUCCESS,
            Err(error) => super::refusal(
                &format!("not all of the last message was written: standard output: {error}"),
                exit_code::OUTPUT,
            ),
        }
    }
}

fn cut(line: &str) -> String {
    let line = line.lines().next().unwrap_or_default();
    let end = line.floor_char_boundary(LONGEST);
    let start = line.get(..end).unwrap_or_default();
    shown(start) + if end < line.len() { "…" } else { "" }
}
