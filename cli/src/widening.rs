//! The policy's sandbox, widened by what the user gave to one call.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use codex_agent::approval::{Grant, Widen};
use codex_core::exec::{Sandbox, SandboxOptions};
use codex_core::policy::{NetworkAccess, PlaceRules, SandboxPolicy, Surroundings};

use crate::meaning::Meaning;

/// What the policy was made from, kept to be made again with more.
#[derive(Debug)]
pub(crate) struct Widening {
    policy: SandboxPolicy,
    workspace: PathBuf,
    tmpdir: Option<PathBuf>,
    codex_home: Option<PathBuf>,
    named_in_files: Vec<(PathBuf, SystemTime)>,
    options: SandboxOptions,
}

impl Widening {
    pub(crate) fn of(meaning: &Meaning, workspace: &Path, options: SandboxOptions) -> Self {
        Self {
            policy: meaning.config.settings.policy(),
            workspace: workspace.to_owned(),
            tmpdir: meaning.world.tmpdir.clone(),
            codex_home: meaning.world.codex_home.clone(),
            named_in_files: meaning.roots_named_in_files(),
            options,
        }
    }
}

impl Widen for Widening {
    fn widen(&self, grant: &Grant) -> Result<Sandbox, String> {
        let mut options = self.options.clone();
        let mut workspace = self.workspace.clone();
        let mut tmpdir = self.tmpdir.clone();
        let mut policy = self.policy.clone();
        if grant.unsandboxed {
            if !options.places.deny_read.is_empty() {
                return Err("without a sandbox, sandbox.deny_read would not hold".to_owned());
            }
            policy = SandboxPolicy::DangerFullAccess;
            options.places = PlaceRules::default();
        } else {
            policy = with_writes(policy, &grant.write, &mut workspace, &mut tmpdir)?;
            if grant.network {
                allow_network(&mut policy);
            }
            options.places.allow_hosts.extend(grant.hosts.iter().cloned());
            for place in &grant.read {
                // What is hidden itself is not hidden; what lies in something hidden is shown.
                let before = options.places.deny_read.len();
                options.places.deny_read.retain(|hidden| hidden.canonicalize().ok().as_ref() != Some(place));
                if options.places.deny_read.len() == before {
                    options.places.allow_read.push(place.clone());
                }
            }
        }
        let surroundings = Surroundings {
            policy_cwd: &workspace,
            tmpdir: tmpdir.as_deref(),
            codex_home: self.codex_home.as_deref(),
            named_in_files: &self.named_in_files,
        };
        Sandbox::prepare(&policy, surroundings, options).map_err(|error| error.to_string())
    }
}

/// The policy with more roots, and no more than these.
fn with_writes(
    policy: SandboxPolicy,
    write: &[PathBuf],
    workspace: &mut PathBuf,
    tmpdir: &mut Option<PathBuf>,
) -> Result<SandboxPolicy, String> {
    let Some((first, others)) = write.split_first() else { return Ok(policy) };
    match policy {
        SandboxPolicy::WorkspaceWrite {
            mut writable_roots,
            network,
            exclude_tmpdir_env_var,
            exclude_slash_tmp,
        } => {
            writable_roots.extend(write.iter().cloned());
            Ok(SandboxPolicy::WorkspaceWrite {
                writable_roots,
                network,
                exclude_tmpdir_env_var,
                exclude_slash_tmp,
            })
        }
        SandboxPolicy::ReadOnly { network } => {
            // The mode has a workspace among its roots: here it is what was given, and the user's own stays closed.
            workspace.clone_from(first);
            *tmpdir = None;
            Ok(SandboxPolicy::WorkspaceWrite {
                writable_roots: others.to_vec(),
                network,
                exclude_tmpdir_env_var: true,
                exclude_slash_tmp: true,
            })
        }
        SandboxPolicy::ExternalSandbox { .. } | SandboxPolicy::DangerFullAccess => {
            Err("the policy confines no writing".to_owned())
        }
    }
}

fn allow_network(policy: &mut SandboxPolicy) {
    match policy {
        SandboxPolicy::ReadOnly { network }
        | SandboxPolicy::WorkspaceWrite { network, .. }
        | SandboxPolicy::ExternalSandbox { network } => *network = NetworkAccess::Enabled,
        SandboxPolicy::DangerFullAccess => {}
    }
}
