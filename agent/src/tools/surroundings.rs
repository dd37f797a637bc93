//! What is set for a command that nobody watches, or that no sandbox holds, beside its environment.

use std::ffi::OsString;

use codex_core::policy::{Way, way};

use super::Tools;
use super::widening::roots;

impl Tools {
    /// The `PATH` of a command without a sandbox: no program is looked up where a command could have put one, in a writable
    /// root or a directory that was given, nor somewhere that depends on where it runs, or on a link that a command could turn.
    pub(super) fn path_of_the_users(&self) -> Option<OsString> {
        let bench = self.engine.bench();
        let (_, path) = bench.environment.iter().find(|(name, _)| name == "PATH")?;
        let mut writable = roots(&self.sandbox.policy().writes)?;
        // Under another policy, an earlier run may have written there.
        writable.push(bench.workspace.clone());
        writable.extend(self.approvals.opened());
        let kept = std::env::split_paths(path).filter_map(|directory| {
            let Way { end, mut links } = way(&directory).ok().filter(|_| directory.is_absolute())?;
            links.push(end.clone());
            let reached = links.iter().any(|place| writable.iter().any(|root| place.starts_with(root)));
            (!reached && end.is_dir()).then_some(end)
        });
        // Joining fails for what splitting does not give, but for a link's target: then nothing is looked up.
        Some(std::env::join_paths(kept).unwrap_or_default())
    }

    /// What is set for a command beside its environment. A command that nobody was asked about, since it asks `git` only to show
    /// something, takes no directory for a repository that could be part of the project: its configuration names programs.
    pub(super) fn careful_environment(&self) -> Vec<(OsString, OsString)> {
        let set = |name: &str| {
            let of = &self.engine.bench().environment;
            of.iter().find(|(set, _)| name == set.as_os_str()).and_then(|(_, value)| value.to_str())
        };
        let count: usize = set("GIT_CONFIG_COUNT").and_then(|count| count.parse().ok()).unwrap_or_default();
        [
            ("GIT_CONFIG_COUNT".to_owned(), (count + 1).to_string()),
            (format!("GIT_CONFIG_KEY_{count}"), "safe.bareRepository".to_owned()),
            (format!("GIT_CONFIG_VALUE_{count}"), "explicit".to_owned()),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .to_vec()
    }
}
