//! What is told of a run while it goes on: names and shapes that consumers of `codex exec --json` know, and a few of ours.
//!
//! `docs/exec-events.schema.json` describes them; a test compares real output with it.

use std::sync::atomic::{AtomicU64, Ordering};

use codex_core::denial::Denial;
use serde::Serialize;
use tokio::sync::mpsc::UnboundedSender;

use crate::approval::Approval;
use crate::conversation::Usage;

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type")]
pub enum Event {
    /// The conversation has a name, by which it can be resumed.
    #[serde(rename = "thread.started")]
    ThreadStarted {
        /// The name.
        thread_id: String,
    },
    /// The model is asked.
    #[serde(rename = "turn.started")]
    TurnStarted {},
    /// Something has begun.
    #[serde(rename = "item.started")]
    ItemStarted {
        /// What.
        item: Item,
    },
    /// Something has changed.
    #[serde(rename = "item.updated")]
    ItemUpdated {
        /// What.
        item: Item,
    },
    /// Something is over.
    #[serde(rename = "item.completed")]
    ItemCompleted {
        /// What.
        item: Item,
    },
    /// The model has said its last word.
    #[serde(rename = "turn.completed")]
    TurnCompleted {
        /// What all requests took.
        usage: Usage,
    },
    /// There is no last word.
    #[serde(rename = "turn.failed")]
    TurnFailed {
        /// Why.
        error: Failure,
    },
    /// Something is wrong with the run as a whole.
    #[serde(rename = "error")]
    Error {
        /// What.
        message: String,
    },
}

/// Why a turn failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// In one line.
    pub message: String,
}

/// A thing that is told of, under one name from its start to its end.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Item {
    /// The name.
    pub id: String,
    /// What it is.
    #[serde(flatten)]
    pub details: Details,
}

/// What a thing is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Details {
    /// The model says something.
    AgentMessage {
        /// What.
        text: String,
    },
    /// The model says what it thought.
    Reasoning {
        /// A summary.
        text: String,
    },
    /// A command.
    CommandExecution(Box<CommandExecution>),
    /// Files change.
    FileChange {
        /// Which.
        changes: Vec<FileChange>,
        /// How far it is.
        status: Status,
    },
    /// What the model means to do.
    TodoList {
        /// The steps.
        items: Vec<Todo>,
    },
    /// Somebody decides whether a call runs, and with what.
    Approval(Box<Approval>),
    /// Something that is no reason to stop.
    Error {
        /// What.
        message: String,
    },
}

/// How far a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It goes on.
    InProgress,
    /// It went well.
    Completed,
    /// It did not.
    Failed,
    /// It was not begun: something was asked for that is not to be had.
    Declined,
}

/// A command, and what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CommandExecution {
    /// As a shell would take it.
    pub command: String,
    /// What it wrote, both streams, as the model sees it. Empty until it has ended.
    pub aggregated_output: String,
    /// Its exit code, where it exited by itself.
    pub exit_code: Option<i32>,
    /// How far it is.
    pub status: Status,
    /// Where it runs.
    pub cwd: String,
    /// How long it took, in milliseconds.
    pub duration_ms: Option<f64>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether its deadline ended it.
    pub timed_out: bool,
    /// Whether `aggregated_output` leaves something out.
    pub truncated: bool,
    /// What the sandbox refused.
    pub denials: Vec<Denial>,
    /// The level of the sandbox: `namespaces`, `landlock` or `none`.
    pub enforcement: String,
    /// What it has beyond the policy, a line each.
    pub granted: Vec<String>,
    /// By what the model knows it, where it goes on beyond one call.
    pub session_id: Option<u64>,
}

/// One file that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Its path.
    pub path: String,
    /// What becomes of it.
    pub kind: ChangeKind,
}

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It comes to be.
    Add,
    /// It goes.
    Delete,
    /// It changes.
    Update,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Todo {
    /// The step.
    pub text: String,
    /// Whether it is done.
    pub completed: bool,
}

/// Where events go, and the names of their things.
#[derive(Debug)]
pub struct Events {
    sender: UnboundedSender<Event>,
    next: AtomicU64,
}

impl Events {
    /// Events that go to whoever listens.
    #[must_use]
    pub const fn new(sender: UnboundedSender<Event>) -> Self {
        Self { sender, next: AtomicU64::new(0) }
    }

    /// Tells an event. Where nobody listens any more, the run goes on.
    pub fn tell(&self, event: Event) {
        if let Err(_unheard) = self.sender.send(event) {}
    }

    /// A name for a thing.
    #[must_use]
    pub fn name(&self) -> String {
        format!("item_{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Tells of a thing that is over as soon as it is there.
    pub fn item(&self, details: Details) {
        self.completed(self.name(), details);
    }

    /// Tells that a thing has begun.
    pub fn started(&self, id: String, details: Details) {
        self.tell(Event::ItemStarted { item: Item { id, details } });
    }

    /// Tells that a thing is over.
    pub fn completed(&self, id: String, details: Details) {
        self.tell(Event::ItemCompleted { item: Item { id, details } });
    }
}
