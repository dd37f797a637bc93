//! `apply_patch`, in the sandbox.
//!
//! What is wrong with a patch's text or paths is answered at once. The rest is done by this program in the sandbox, started
//! as any command is: what may be read and written there is what the policy says, and the kernel holds it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use codex_core::exec::{Outcome, Process, Stdio};
use codex_core::policy::{AbsentNames, ResolvedWrites};
use serde_json::Value;

use super::Tools;
use super::arguments::Arguments;
use super::command::to_the_end;
use super::intercept::Intercepted;
use crate::conversation::Call;
use crate::event::{ChangeKind, Details, FileChange, Status};
use crate::patch::{Bounds, Change, Patch, parse, program};

/// No patch takes that long.
const DEADLINE: Duration = Duration::from_secs(60);

impl Tools {
    pub(super) async fn apply_patch(&self, call: &Call) -> Result<String, String> {
        let patch = if call.custom {
            call.arguments.clone()
        } else {
            match serde_json::from_str::<Value>(&call.arguments) {
                // Some models give the patch without its wrapping.
                Ok(Value::String(patch)) => patch,
                Err(_) if call.arguments.trim_start().starts_with("*** Begin Patch") => {
                    call.arguments.clone()
                }
                _ => Arguments::read("apply_patch", &call.arguments, &["input"])?.needed_text("input")?,
            }
        };
        Ok(self.patch(&patch, &self.context.workspace).await)
    }

    /// A patch that came as a command.
    pub(super) async fn intercepted(&self, found: &Intercepted, directory: &Path) -> String {
        let directory =
            found.directory.as_ref().map_or_else(|| directory.to_owned(), |below| directory.join(below));
        self.patch(&found.patch, &directory).await
    }

    async fn patch(&self, text: &str, directory: &Path) -> String {
        let patch = match parse::parse(text) {
            Ok(patch) => patch,
            Err(error) => return format!("apply_patch verification failed: {error}\nNothing was changed."),
        };
        let id = self.events.name();
        let changes = changes(&patch, directory);
        let told = |status| Details::FileChange { changes: changes.clone(), status };
        self.events.started(id.clone(), told(Status::InProgress));
        let (status, answer) = match self.allowed(&patch, directory).await {
            Ok(directory) => match self.in_the_sandbox(text, &directory).await {
                Ok(answer) => (Status::Completed, answer),
                Err(why) => (Status::Failed, why),
            },
            Err(why) => (Status::Failed, format!("apply_patch refused: {why}\nNothing was changed.")),
        };
        self.events.completed(id, told(status));
        answer
    }

    /// Looks at the paths alone. The sandbox holds in any case; here it is said in words.
    async fn allowed(&self, patch: &Patch, directory: &Path) -> Result<PathBuf, String> {
        let base = directory
            .canonicalize()
            .map_err(|error| format!("{}: {error}", codex_linux_sandbox::shown(directory)))?;
        let sandbox = self.context.sandbox.clone();
        let (roots, protection) = match &sandbox.policy().writes {
            ResolvedWrites::Everywhere => (vec![PathBuf::from("/")], None),
            ResolvedWrites::Beneath(roots) => {
                let roots = roots.iter().map(|root| root.path.clone()).collect();
                let looked_up = tokio::task::spawn_blocking(move || sandbox.protection()).await;
                (roots, looked_up.map_err(|_| "the protected names can't be looked up".to_owned())?)
            }
        };
        let mut bounds = Bounds { base: base.clone(), roots, protected: Vec::new(), pinned: Vec::new() };
        if let Some(protection) = protection {
            let absent = protection.absent.iter().flat_map(AbsentNames::paths);
            bounds.protected = protection.read_only.into_iter().chain(absent).collect();
            bounds.protected.extend(protection.links.into_iter().map(|link| link.path));
            bounds.pinned = protection.pinned;
        }
        bounds.check(patch).map_err(|error| error.to_string())?;
        Ok(base)
    }

    async fn in_the_sandbox(&self, text: &str, directory: &Path) -> Result<String, String> {
        let mut request = self.request(&[], directory, false);
        request.command = vec![self.context.program.clone().into()];
        request.arg0 = Some(program::PROGRAM.into());
        request.stdio = Stdio::Piped;
        request.limits.deadline = Some(DEADLINE);
        request.spill = None;
        let process = Process::start(request, &self.context.sandbox);
        // Where it can't be written, the program is gone, and its ending says why.
        if let Err(_gone) = process.write(text.as_bytes()).await {}
        process.close_input();
        let result = to_the_end(process).await;
        let result = result.as_ref().as_ref().map_err(|error| format!("apply_patch failed: {error}"))?;
        let said = |stream: &codex_core::output::Captured| stream.text().text;
        let mut answer = match result.outcome {
            Outcome::Exited { code: 0 } => said(&result.stdout),
            Outcome::Exited { .. } => {
                let why = said(&result.stderr);
                let why = why.strip_prefix("apply_patch: ").unwrap_or(&why).trim_end();
                return Err(format!("apply_patch verification failed: {why}"));
            }
            ref other => return Err(format!("apply_patch failed: {}", other.sentence())),
        };
        for moved in &result.quarantined {
            answer.push_str(&format!("protected: {moved}\n"));
        }
        Ok(answer)
    }
}

fn changes(patch: &Patch, directory: &Path) -> Vec<FileChange> {
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
