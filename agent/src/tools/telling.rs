//! Commands and patches as events.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use codex_core::exec::{ExecError, ExecResult, Outcome};
use codex_tools::patch::{Change, Patch};
use codex_tools::{Observer, Running, Started, shown_output};

use crate::event::{ChangeKind, CommandExecution, Details, Events, FileChange, Status};

/// Tells of what the tools do.
#[derive(Debug)]
pub(super) struct Telling {
    events: Arc<Events>,
    /// How many commands have begun and not ended.
    under_way: AtomicUsize,
    /// How the last command ended: whether it went well.
    last_command: Mutex<Option<bool>>,
}

impl Telling {
    pub(super) const fn new(events: Arc<Events>) -> Self {
        Self { events, under_way: AtomicUsize::new(0), last_command: Mutex::new(None) }
    }

    /// How many commands have begun and not ended.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// Tells of a patch that is not applied.
    pub(super) fn patch_declined(&self, patch: &Patch, directory: &Path) {
        self.events
            .item(Details::FileChange { changes: changes(patch, directory), status: Status::Declined });
    }

    /// Whether the last command went well. Nothing where there was none.
    pub(super) fn last_command_went_well(&self) -> Option<bool> {
        *self.last_command.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of a command that is not run.
    pub(super) fn declined(&self, started: &Started) {
        let execution = self.execution(started, None, Status::Declined);
        self.events.item(Details::CommandExecution(Box::new(execution)));
    }

    fn execution(&self, started: &Started, session_id: Option<u64>, status: Status) -> CommandExecution {
        CommandExecution {
            command: started.command.clone(),
            aggregated_output: String::new(),
            exit_code: None,
            status,
            cwd: started.cwd.to_string_lossy().into_owned(),
            duration_ms: None,
            signal: None,
            timed_out: false,
            truncated: false,
            denials: Vec::new(),
            enforcement: started.level.name().to_owned(),
            granted: started.granted.clone(),
            session_id,
        }
    }
}

impl Observer for Telling {
    fn command_started(&self, started: &Started) -> String {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let name = self.events.name();
        let execution = self.execution(started, None, Status::InProgress);
        self.events.started(name.clone(), Details::CommandExecution(Box::new(execution)));
        name
    }

    fn command_ended(&self, running: &Running, result: &Result<ExecResult, ExecError>) {
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        let mut execution = self.execution(&running.started, running.session_id, Status::Failed);
        match result {
            Ok(result) => {
                let output = shown_output(result);
                execution.aggregated_output.clone_from(&output.text);
                execution.truncated = output.bytes_omitted > 0;
                execution.duration_ms = Some((result.duration.as_secs_f64() * 1e6).round() / 1e3);
                execution.timed_out = matches!(result.outcome, Outcome::TimedOut { .. });
                execution.enforcement = result.enforcement.level.name().to_owned();
                execution.denials.clone_from(&result.denials);
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
        let went_well = execution.status == Status::Completed;
        *self.last_command.lock().unwrap_or_else(PoisonError::into_inner) = Some(went_well);
        self.events.completed(running.name.clone(), Details::CommandExecution(Box::new(execution)));
    }

    fn patch_started(&self, patch: &Patch, directory: &Path) -> String {
        let name = self.events.name();
        let details = Details::FileChange { changes: changes(patch, directory), status: Status::InProgress };
        self.events.started(name.clone(), details);
        name
    }

    fn patch_ended(&self, name: String, patch: &Patch, directory: &Path, applied: bool) {
        let status = if applied { Status::Completed } else { Status::Failed };
        self.events.completed(name, Details::FileChange { changes: changes(patch, directory), status });
    }
}

/// What a patch changes, for a person.
pub(super) fn files(patch: &Patch, directory: &Path) -> String {
    let line = |change: &FileChange| {
        let kind = match change.kind {
            ChangeKind::Add => "add",
            ChangeKind::Delete => "delete",
            ChangeKind::Update => "update",
        };
        format!("{kind} {}", change.path)
    };
    changes(patch, directory).iter().map(line).collect::<Vec<_>>().join("; ")
}

pub(super) fn changes(patch: &Patch, directory: &Path) -> Vec<FileChange> {
    let mut changes = Vec::new();
    for change in &patch.changes {
        let mut add = |path: &str, kind| {
            let path = directory.join(path).to_string_lossy().into_owned();
            changes.push(FileChange { path, kind });
        };
        match change {
            Change::Add { path, .. } => add(path, ChangeKind::Add),
            Change::Delete { path } => add(path, ChangeKind::Delete),
            Change::Update { path, move_to: None, .. } => add(path, ChangeKind::Update),
            Change::Update { path, move_to: Some(target), .. } => {
                add(path, ChangeKind::Delete);
                add(target, ChangeKind::Add);
            }
        }
    }
    changes
}
