//! What clients may ask for at most, and policies made of what they ask for.

mod context;
mod files;
mod kept;
mod named;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use codex_core::audit::AuditLog;
use codex_core::config::Settings;
use codex_core::exec::{Sandbox, SandboxError, SandboxOptions};
use codex_core::policy::{
    HostGrant, NetworkAccess, ResolvedPolicy, ResolvedWrites, SandboxMode, SandboxPolicy, Surroundings,
    resolve,
};
use codex_linux_sandbox::shown;

use crate::protocol::{NamedPolicy, SandboxContext};
pub(crate) use files::{FilesGrant, Sharing};
use kept::Kept;

/// Why a policy is not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is wider than the widest.
    #[error(
        "the request asks for {asked}, and this server allows at most {allowed}; `exec_server.max_policy` in its \
         configuration would allow it"
    )]
    Mode {
        /// What was asked for.
        asked: SandboxMode,
        /// What is allowed.
        allowed: SandboxMode,
    },
    /// It writes elsewhere.
    #[error(
        "the request asks to write below {root}, which lies in none of the directories that this server allows; \
         `exec_server.writable_roots` in its configuration would allow it", root = shown(.0)
    )]
    Root(PathBuf),
    /// It asks for the network.
    #[error(
        "the request asks for the network, which this server does not allow; `exec_server.network_access` in its \
         configuration would allow it"
    )]
    Network,
    /// It asks for a host.
    #[error(
        "the request asks for the host {0}, which this server does not allow; `sandbox.allow_hosts` in its configuration would allow \
         it"
    )]
    Host(HostGrant),
    /// Something that this server can't enforce.
    #[error("the sandbox can't be enforced as asked for: {0}")]
    Unenforceable(String),
    /// What core says.
    #[error("the policy is refused: {0}")]
    Sandbox(#[from] SandboxError),
}

/// What a server's own configuration says.
#[derive(Clone, Debug)]
pub struct CeilingOptions {
    /// The settings.
    pub settings: Settings,
    /// How sandboxes are built, whatever a request says.
    pub sandbox: SandboxOptions,
    /// The server's workspace. Absolute.
    pub workspace: PathBuf,
    /// Where `$TMPDIR` leads.
    pub tmpdir: Option<PathBuf>,
    /// The directory of the configuration.
    pub codex_home: Option<PathBuf>,
    /// Roots that a file names, and when that file was last written.
    pub named_in_files: Vec<(PathBuf, SystemTime)>,
}

/// The bound, ready to be compared with.
#[derive(Debug)]
pub(crate) struct Ceiling {
    options: CeilingOptions,
    /// Where roots may lie, without any link in them.
    roots: Vec<PathBuf>,
    kept: Kept,
    /// The sandbox in which everything can be read and nothing written, and the one that is none, once somebody has asked for
    /// them to read files.
    reading: OnceLock<Sandbox>,
    free: OnceLock<Sandbox>,
}

/// What a request comes to before it is compared.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    policy: SandboxPolicy,
    cwd: PathBuf,
    tmpdir: Option<PathBuf>,
    deny_read: Vec<PathBuf>,
    /// Below each root, beside what is protected anyway.
    protect: Vec<PathBuf>,
    git_read_only: bool,
    /// Single hosts, where the request says which: else those of the configuration.
    hosts: Option<Vec<HostGrant>>,
}

impl Wanted {
    fn of(policy: SandboxPolicy, cwd: PathBuf, tmpdir: Option<PathBuf>) -> Self {
        Self {
            policy,
            cwd,
            tmpdir,
            deny_read: Vec::new(),
            protect: Vec::new(),
            git_read_only: false,
            hosts: None,
        }
    }
}

impl Ceiling {
    /// Where calls are noted.
    pub(crate) fn audit(&self) -> Option<&Arc<AuditLog>> {
        self.options.sandbox.audit.as_ref()
    }

    pub(crate) fn new(options: CeilingOptions) -> Self {
        let settings = &options.settings;
        let workspace = &settings.workspace_write;
        let mut roots = Vec::new();
        let named = settings.exec_server.writable_roots.values().chain(workspace.writable_roots.values());
        for root in named.chain([&options.workspace]) {
            let policy = SandboxPolicy::WorkspaceWrite {
                writable_roots: Vec::new(),
                network: NetworkAccess::Restricted,
                exclude_tmpdir_env_var: true,
                exclude_slash_tmp: true,
            };
            let surroundings = Surroundings {
                policy_cwd: root,
                tmpdir: None,
                codex_home: options.codex_home.as_deref(),
                named_in_files: &options.named_in_files,
            };
            match resolve(&policy, surroundings) {
                Ok(ResolvedPolicy { writes: ResolvedWrites::Beneath(found), .. }) => {
                    roots.extend(found.into_iter().map(|root| root.path));
                }
                Ok(_) => {}
                // Requests that write there are refused; others are not concerned.
                Err(error) => tracing::warn!("no client can write in a directory of this server: {error}"),
            }
        }
        let mut implied = Vec::new();
        if !workspace.exclude_slash_tmp.value {
            implied.extend([PathBuf::from("/tmp"), PathBuf::from("/dev/shm")]);
        }
        implied.extend(options.tmpdir.clone().filter(|_| !workspace.exclude_tmpdir_env_var.value));
        roots.extend(implied.iter().filter_map(|path| path.canonicalize().ok()));
        Self { options, roots, kept: Kept::default(), reading: OnceLock::new(), free: OnceLock::new() }
    }

    /// The server's workspace.
    pub(crate) fn workspace(&self) -> &Path {
        &self.options.workspace
    }

    /// Where `$TMPDIR` leads.
    pub(crate) fn tmpdir(&self) -> Option<&Path> {
        self.options.tmpdir.as_deref()
    }

    /// The sandbox that a request asks for, where that is within the bound. Without a word about it, that is none. Waits for
    /// the disk.
    pub(crate) fn grant(
        &self,
        context: Option<&SandboxContext>,
        named: Option<&NamedPolicy>,
        without_network: bool,
    ) -> Result<Sandbox, Refusal> {
        let mut wanted = match (context, named) {
            (Some(_), Some(_)) => {
                return Err(Refusal::Unenforceable("both `sandbox` and `policy` are given".to_owned()));
            }
            (Some(context), None) => context::read(context, self.tmpdir())?,
            (None, Some(named)) => named::read(named, &self.options)?,
            (None, None) => Wanted::of(SandboxPolicy::DangerFullAccess, self.options.workspace.clone(), None),
        };
        if without_network {
            restrict_network(&mut wanted.policy);
            wanted.hosts = Some(Vec::new());
        }
        self.prepare(wanted)
    }

    /// The sandbox of a mode with the details of the server's own configuration, with the network where it is asked for or
    /// configured, where that is within the bound. Waits for the disk.
    pub(crate) fn grant_mode(&self, mode: SandboxMode, network: bool) -> Result<Sandbox, Refusal> {
        self.prepare(named::of_mode(mode, network, &self.options))
    }

    /// What the server's configuration says.
    pub(crate) const fn settings(&self) -> &Settings {
        &self.options.settings
    }

    fn prepare(&self, wanted: Wanted) -> Result<Sandbox, Refusal> {
        self.compare_modes(&wanted.policy)?;
        self.compare_hosts(&wanted)?;
        let surroundings = Surroundings {
            policy_cwd: &wanted.cwd,
            tmpdir: wanted.tmpdir.as_deref(),
            codex_home: self.options.codex_home.as_deref(),
            named_in_files: &self.options.named_in_files,
        };
        if let Some(sandbox) = self.kept.find(&wanted, surroundings) {
            self.compare_roots(sandbox.policy())?;
            return Ok(sandbox);
        }
        let sandbox = Sandbox::prepare(&wanted.policy, surroundings, self.sandbox_options(&wanted))?;
        self.compare_roots(sandbox.policy())?;
        self.kept.keep(&wanted, &sandbox);
        Ok(sandbox)
    }

    fn sandbox_options(&self, wanted: &Wanted) -> SandboxOptions {
        let mut options = self.options.sandbox.clone();
        options.standby = true;
        options.places.deny_read.extend_from_slice(&wanted.deny_read);
        options.protection.protect.extend_from_slice(&wanted.protect);
        if let Some(hosts) = &wanted.hosts {
            options.places.allow_hosts.clone_from(hosts);
        }
        if wanted.git_read_only {
            options.protection.git = codex_core::policy::GitProtection::ReadOnly;
        }
        options
    }

    fn compare_modes(&self, policy: &SandboxPolicy) -> Result<(), Refusal> {
        let server = &self.options.settings.exec_server;
        let (asked, allowed) = (policy.mode(), server.max_policy.value);
        if asked > allowed {
            return Err(Refusal::Mode { asked, allowed });
        }
        let bounded = allowed != SandboxMode::DangerFullAccess && !server.network_access.value;
        if bounded && policy.has_full_network_access() {
            return Err(Refusal::Network);
        }
        Ok(())
    }

    fn compare_hosts(&self, wanted: &Wanted) -> Result<(), Refusal> {
        let server = &self.options.settings.exec_server;
        if server.max_policy.value == SandboxMode::DangerFullAccess || server.network_access.value {
            return Ok(());
        }
        let allowed = &self.options.sandbox.places.allow_hosts;
        let mut asked = wanted.hosts.iter().flatten();
        match asked.find(|host| !allowed.iter().any(|allowed| allowed.covers(host))) {
            Some(host) => Err(Refusal::Host(host.clone())),
            None => Ok(()),
        }
    }

    /// Compares what will be writable, links followed, and not what was asked for.
    fn compare_roots(&self, policy: &ResolvedPolicy) -> Result<(), Refusal> {
        let allowed = self.options.settings.exec_server.max_policy.value;
        let ResolvedWrites::Beneath(roots) = &policy.writes else { return Ok(()) };
        if allowed > SandboxMode::WorkspaceWrite {
            return Ok(());
        }
        match roots.iter().find(|root| !self.roots.iter().any(|above| root.path.starts_with(above))) {
            Some(root) => Err(Refusal::Root(root.path.clone())),
            None => Ok(()),
        }
    }
}

/// Takes the network away.
const fn restrict_network(policy: &mut SandboxPolicy) {
    match policy {
        SandboxPolicy::ReadOnly { network }
        | SandboxPolicy::WorkspaceWrite { network, .. }
        | SandboxPolicy::ExternalSandbox { network } => *network = NetworkAccess::Restricted,
        SandboxPolicy::DangerFullAccess => {}
    }
}
