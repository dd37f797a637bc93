//! `apply_patch`, in the sandbox.
//!
//! What is wrong with a patch's text or paths is answered at once. The rest is done by this program in the sandbox, started
//! as any command is: what may be read and written there is what the policy says, and the kernel holds it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use codex_core::exec::{Outcome, Process, Stdio};
use codex_core::policy::{AbsentNames, ResolvedWrites};
use serde_json::Value;

use crate::arguments::Arguments;
use crate::engine::{Answer, Call, Engine, patched};
use crate::intercept::Intercepted;
use crate::patch::{Bounds, Patch, parse, program};

/// No patch takes that long.
const DEADLINE: Duration = Duration::from_secs(60);

/// The patch in the arguments of `apply_patch`.
///
/// # Errors
///
/// Says what is wrong with them, for a model.
pub fn patch_of(arguments: &str) -> Result<String, String> {
    match serde_json::from_str::<Value>(arguments) {
        // Some models give the patch without its wrapping.
        Ok(Value::String(patch)) => Ok(patch),
        Err(_) if arguments.trim_start().starts_with("*** Begin Patch") => Ok(arguments.to_owned()),
        _ => Arguments::read("apply_patch", arguments, &["input"])?.needed_text("input"),
    }
}

impl Engine {
    /// A patch that came as a command.
    pub(crate) async fn intercepted(&self, found: &Intercepted, directory: &Path, call: &Call<'_>) -> Answer {
        let directory =
            found.directory.as_ref().map_or_else(|| directory.to_owned(), |below| directory.join(below));
        self.apply_patch(&found.patch, &directory, call).await
    }

    /// `apply_patch`: applies a patch in a directory, all of it or nothing.
    pub async fn apply_patch(&self, text: &str, directory: &Path, call: &Call<'_>) -> Answer {
        let patch = match parse::parse(text) {
            Ok(patch) => patch,
            Err(error) => {
                return patched(
                    format!("apply_patch verification failed: {error}\nNothing was changed."),
                    false,
                );
            }
        };
        let name = self.observer.patch_started(&patch, directory);
        let applied = match self.allowed(&patch, directory, call).await {
            Ok(base) => self.in_the_sandbox(text, &base, call).await,
            Err(why) => Err(format!("apply_patch refused: {why}\nNothing was changed.")),
        };
        self.observer.patch_ended(name, &patch, directory, applied.is_ok());
        match applied {
            Ok(answer) => patched(answer, true),
            Err(why) => patched(why, false),
        }
    }

    /// Looks at the paths alone. The sandbox holds in any case; here it is said in words.
    async fn allowed(&self, patch: &Patch, directory: &Path, call: &Call<'_>) -> Result<PathBuf, String> {
        if call.sandbox.places().hide_the_way_to(directory) {
            return Err(format!("{} is hidden by sandbox.deny_read", codex_linux_sandbox::shown(directory)));
        }
        let base = directory
            .canonicalize()
            .map_err(|error| format!("{}: {error}", codex_linux_sandbox::shown(directory)))?;
        let sandbox = call.sandbox.clone();
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

    async fn in_the_sandbox(&self, text: &str, directory: &Path, call: &Call<'_>) -> Result<String, String> {
        let mut request = self.request(&[], directory, false, call);
        request.command = vec![self.bench.program.clone().into()];
        request.arg0 = Some(program::PROGRAM.into());
        request.stdio = Stdio::Piped;
        request.limits.deadline = Some(DEADLINE);
        request.spill = None;
        let process = Process::start(request, call.sandbox);
        // Where it can't be written, the program is gone, and its ending says why.
        if let Err(_gone) = process.write(text.as_bytes()).await {}
        process.close_input();
        let result = process.wait().await;
        process.is_over().await;
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
