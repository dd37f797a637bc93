//! What a run was refused, turned into the least that a configuration would have to say for it.
//!
//! It is text for a person: nothing here changes a policy, and nothing that a command does is enough to change one. What is
//! named in it was chosen by the command, so that no name may end a line or a string.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use codex_linux_sandbox::shown;
use serde::Serialize;

use super::grant::{WRITING, was_typed};
use super::record::{Certainty, Denial, Opens};
use super::secret::{is_run_by_itself, is_secret};
use crate::config::{Settings, toml_string};
use crate::policy::SandboxMode;

/// What was learned from a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Learned {
    /// Lines for the top of `config.toml`, each with its reason in comments above. Empty where none is needed, or none would help.
    pub toml: String,
    /// What was refused and is not granted by these lines, a line each, with the reason.
    pub withheld: Vec<String>,
    /// Whether everything that was refused is known: the command was observed, and nothing was dropped.
    pub complete: bool,
}

/// What it takes to learn from a run.
#[derive(Clone, Debug)]
pub struct Lesson {
    /// The settings that the run went by.
    pub settings: Settings,
    /// What `workspace-write` would have opened by itself, without what was typed, links followed.
    pub opened_by_workspace_write: Vec<PathBuf>,
    /// The user's home directory.
    pub home: Option<PathBuf>,
}

/// A thing to be granted, and what was refused for the lack of it.
type Grants<'d> = BTreeMap<&'d Opens, Vec<&'d Denial>>;

impl Lesson {
    /// Learns from the denials of a run. `observed` says whether an observer saw the calls; what is only likely is not granted.
    #[must_use]
    pub fn learn(&self, denials: &[Denial], untold: u64, observed: bool) -> Learned {
        let mut grants = Grants::new();
        let mut withheld = Vec::new();
        for denial in denials {
            match &denial.allow {
                Some(allow)
                    if denial.certainty == Certainty::Exact
                        && !self.is_never_proposed(denial, &allow.opens) =>
                {
                    grants.entry(&allow.opens).or_default().push(denial);
                }
                _ => withheld.push(denial.line()),
            }
        }
        let mut lines = Vec::new();
        self.writes(&grants, &mut lines);
        self.network(&grants, &mut lines, &mut withheld);
        self.sockets(&grants, &mut lines);
        let mut toml = lines.join("\n");
        if !toml.is_empty() {
            toml.push('\n');
        }
        Learned { toml, withheld, complete: observed && untold == 0 }
    }

    /// Whoever proposed the grant may have known of no home, or of another one.
    fn is_never_proposed(&self, denial: &Denial, opens: &Opens) -> bool {
        let home = self.home.as_deref();
        let is_told = |path: &str| is_secret(Path::new(path), home);
        let named = is_told(&denial.target) || denial.resolved_target.as_deref().is_some_and(is_told);
        named
            || matches!(opens, Opens::Write(directory) if is_secret(directory, home) || is_run_by_itself(directory, home))
    }

    fn writes(&self, grants: &Grants<'_>, lines: &mut Vec<String>) {
        let wanted = || {
            grants.iter().filter_map(|(opens, denials)| match opens {
                Opens::Write(directory) => Some((directory.as_path(), denials)),
                Opens::Network | Opens::UnixSocket(_) => None,
            })
        };
        if wanted().next().is_none() {
            return;
        }
        let by_mode = |directory: &Path| {
            self.settings.sandbox_mode.value != SandboxMode::WorkspaceWrite
                && self.opened_by_workspace_write.iter().any(|root| directory.starts_with(root))
        };
        let mode = &self.settings.sandbox_mode;
        if mode.value != SandboxMode::WorkspaceWrite {
            for (_, denials) in wanted().filter(|(directory, _)| by_mode(directory)) {
                lines.extend(denials.iter().map(|denial| reason(denial)));
            }
            let roots: Vec<String> =
                self.opened_by_workspace_write.iter().map(|root| shown(root.as_os_str())).collect();
            lines.push(format!("# this mode opens {}", roots.join(", ")));
        }
        self.mode(lines);
        // One directory holds what lies below it.
        let inside_another =
            |directory: &Path| wanted().any(|(other, _)| other != directory && directory.starts_with(other));
        let roots: Vec<&Path> = wanted()
            .map(|(directory, _)| directory)
            .filter(|directory| !by_mode(directory) && !inside_another(directory))
            .collect();
        if roots.is_empty() {
            return;
        }
        lines.push("sandbox_workspace_write.writable_roots = [".to_owned());
        let known = self.settings.workspace_write.writable_roots.values();
        for root in known.filter(|known| !roots.contains(&known.as_path())) {
            lines.extend(root.to_str().map(item));
        }
        for root in roots {
            for (_, denials) in wanted().filter(|(directory, _)| directory.starts_with(root)) {
                lines.extend(denials.iter().map(|denial| format!("    {}", reason(denial))));
            }
            // A name that is not UTF-8 had no grant.
            lines.extend(root.to_str().map(item));
        }
        lines.push("]".to_owned());
    }

    /// The mode that the lines are about, where a file does not say it already.
    fn mode(&self, lines: &mut Vec<String>) {
        let mode = &self.settings.sandbox_mode;
        if mode.value != SandboxMode::WorkspaceWrite || was_typed(&mode.origin) {
            lines.push(WRITING.to_owned());
        }
    }

    fn network(&self, grants: &Grants<'_>, lines: &mut Vec<String>, withheld: &mut Vec<String>) {
        let Some(denials) = grants.get(&Opens::Network) else { return };
        let mode = self.settings.sandbox_mode.value;
        let says_the_mode = grants.keys().any(|opens| matches!(opens, Opens::Write(_)));
        if says_the_mode || mode == SandboxMode::WorkspaceWrite {
            if !says_the_mode {
                self.mode(lines);
            }
            lines.extend(denials.iter().map(|denial| reason(denial)));
            lines.push("sandbox_workspace_write.network_access = true".to_owned());
        } else {
            // No setting says it for the other modes.
            withheld.extend(denials.iter().map(|denial| denial.line()));
        }
    }

    fn sockets(&self, grants: &Grants<'_>, lines: &mut Vec<String>) {
        let sockets: Vec<(&str, &Vec<&Denial>)> = grants
            .iter()
            .filter_map(|(opens, denials)| match opens {
                Opens::UnixSocket(path) => Some((path.to_str()?, denials)),
                Opens::Network | Opens::Write(_) => None,
            })
            .collect();
        if sockets.is_empty() {
            return;
        }
        lines.push("sandbox.allow_unix_sockets = [".to_owned());
        for known in self.settings.sandbox.allow_unix_sockets.values() {
            lines.extend(known.to_str().map(item));
        }
        for (path, denials) in sockets {
            lines.extend(denials.iter().map(|denial| format!("    {}", reason(denial))));
            lines.push(item(path));
        }
        lines.push("]".to_owned());
    }
}

/// An item of a list, on a line of its own.
fn item(text: &str) -> String {
    format!("    {},", toml_string(text))
}

/// Why there is a line, as a comment.
fn reason(denial: &Denial) -> String {
    let times = if denial.count > 1 { format!(", {} times", denial.count) } else { String::new() };
    let risk = denial.risk.as_deref().map(|risk| format!("; opens: {}", shown(risk))).unwrap_or_default();
    format!("# {} {}{times}{risk}", denial.operation.name(), shown(&denial.target))
}

#[cfg(test)]
mod tests;
