//! Under which sandbox files are touched.

use std::sync::OnceLock;

use codex_core::exec::{Labels, Sandbox};
use codex_core::policy::{NetworkAccess, SandboxMode, SandboxPolicy, Surroundings};

use super::{Ceiling, Refusal, Wanted, context};
use crate::protocol::{Permissions, SandboxContext};

/// A sandbox for a worker.
#[derive(Clone, Debug)]
pub(crate) struct FilesGrant {
    pub(crate) sandbox: Sandbox,
    /// With which others its workers may be shared. Nothing where each has to find the places as they are at its start.
    pub(crate) sharing: Option<Sharing>,
    /// Who asks, and for what, for the audit log.
    pub(crate) labels: Labels,
    pub(crate) words: Vec<String>,
}

impl FilesGrant {
    fn of(sandbox: Sandbox, sharing: Option<Sharing>) -> Self {
        Self { sandbox, sharing, labels: Labels::default(), words: Vec::new() }
    }
}

/// Sandboxes that are the same for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sharing {
    /// Everything can be read, and nothing written.
    ReadsAll,
    /// There is none.
    Free,
}

impl Ceiling {
    /// The sandbox for a request that only reads. Whatever is asked for, it is no wider than `read-only`, which every server
    /// allows, with what the request and the server's configuration let nobody read. Waits for the disk.
    pub(crate) fn grant_reading(&self, context: Option<&SandboxContext>) -> Result<FilesGrant, Refusal> {
        let free = context.is_none_or(|context| context.permissions == Permissions::Disabled);
        if free && self.options.settings.exec_server.max_policy.value == SandboxMode::DangerFullAccess {
            return self.reader(&self.free, SandboxPolicy::DangerFullAccess, Sharing::Free);
        }
        let policy = SandboxPolicy::ReadOnly { network: NetworkAccess::Restricted };
        let wanted = match context {
            Some(context) => context::read(context, self.tmpdir())?,
            None => Wanted::of(policy.clone(), self.options.workspace.clone(), None),
        };
        if wanted.deny_read.is_empty() && !self.hides_something() {
            return self.reader(&self.reading, policy, Sharing::ReadsAll);
        }
        Ok(FilesGrant::of(self.prepare_to_read(&policy, &wanted)?, None))
    }

    /// Whether the configuration lets nobody read something.
    fn hides_something(&self) -> bool {
        let places = &self.options.sandbox.places;
        !places.deny_read.is_empty() || places.private_tmp
    }

    /// A sandbox that is made once, and then the same for everybody.
    fn reader(
        &self,
        kept: &OnceLock<Sandbox>,
        policy: SandboxPolicy,
        sharing: Sharing,
    ) -> Result<FilesGrant, Refusal> {
        let sandbox = match kept.get() {
            Some(sandbox) => sandbox.clone(),
            None => {
                let wanted = Wanted::of(policy.clone(), self.options.workspace.clone(), None);
                let sandbox = self.prepare_to_read(&policy, &wanted)?;
                kept.get_or_init(|| sandbox).clone()
            }
        };
        Ok(FilesGrant::of(sandbox, Some(sharing)))
    }

    fn prepare_to_read(&self, policy: &SandboxPolicy, wanted: &Wanted) -> Result<Sandbox, Refusal> {
        let mut options = self.options.sandbox.clone();
        options.places.deny_read.extend_from_slice(&wanted.deny_read);
        // Reads are in no audit log.
        options.audit = None;
        let surroundings = Surroundings {
            policy_cwd: &self.options.workspace,
            tmpdir: None,
            codex_home: self.options.codex_home.as_deref(),
            named_in_files: &self.options.named_in_files,
        };
        Ok(Sandbox::prepare(policy, surroundings, options)?)
    }

    /// The sandbox for a request that changes something: that of a command with the same context, without the network. Waits
    /// for the disk.
    pub(crate) fn grant_changes(&self, context: Option<&SandboxContext>) -> Result<FilesGrant, Refusal> {
        Ok(FilesGrant::of(self.grant(context, None, true)?, None))
    }
}
