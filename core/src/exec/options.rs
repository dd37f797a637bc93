//! What a sandbox is made from, besides the policy: the helper, and what the configuration says.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::mediation::Mediator;
use crate::audit::AuditLog;
use crate::config::{Explain, Isolation, Settings};
use crate::enforcement::Guarantee;
use crate::limits::ResourceLimits;
use crate::policy::{PlaceRules, ProtectionSettings, SandboxPolicy};

/// By what commands are confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxType {
    /// By nothing.
    None,
    /// By macOS's Seatbelt, through [`crate::seatbelt`].
    MacosSeatbelt,
    /// By the helper `codex-linux-sandbox`.
    LinuxSandbox,
}

impl SandboxType {
    /// What a policy takes on this platform. `None` where this platform has nothing that could confine it.
    #[must_use]
    pub const fn select(policy: &SandboxPolicy) -> Option<Self> {
        if matches!(policy, SandboxPolicy::DangerFullAccess) {
            Some(Self::None)
        } else if cfg!(target_os = "linux") {
            Some(Self::LinuxSandbox)
        } else if cfg!(target_os = "macos") {
            Some(Self::MacosSeatbelt)
        } else {
            None
        }
    }
}

/// Where the helper comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Helper {
    /// A program to execute under the helper's name.
    Program(PathBuf),
    /// The calling program, which acts as the helper when it is started under the helper's name. Where it is
    /// single-threaded and the command shares its streams, a fork of it does, which saves the time of executing it.
    ThisProgram,
}

impl Helper {
    /// The program to execute.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Program(path) => path,
            // The file itself, whatever has become of the path that it was started from (`proc_pid_exe(5)`).
            Self::ThisProgram => Path::new("/proc/self/exe"),
        }
    }
}

impl From<PathBuf> for Helper {
    fn from(path: PathBuf) -> Self {
        Self::Program(path)
    }
}

impl From<&str> for Helper {
    fn from(path: &str) -> Self {
        Self::Program(path.into())
    }
}

/// What the configuration says about how to build a sandbox.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// Where the helper comes from.
    pub helper: Helper,
    /// How the level of isolation is chosen.
    pub isolation: Isolation,
    /// Rules about single places.
    pub places: PlaceRules,
    /// What is said about protected metadata.
    pub protection: ProtectionSettings,
    /// Guarantees without which nothing may run.
    pub require: Vec<Guarantee>,
    /// How it is found out what was refused.
    pub explain: Explain,
    /// What commands may use.
    pub limits: ResourceLimits,
    /// Whether the environment that commands get has been cleared of what looks like secrets; for the report.
    pub secrets_filtered: bool,
    /// Shows the writable trees as [views](codex_linux_sandbox::Plan::view) in which so many bytes can be written, so that
    /// nothing changes. Only at level namespaces, for a policy that confines writes, and with [`Explain::Always`] only where
    /// the command can be observed: else nothing runs.
    pub view: Option<NonZeroU64>,
    /// Uses no Landlock feature above this ABI.
    pub landlock_abi_at_most: Option<u8>,
    /// Keeps the namespaces of the next captured call ready while none runs: two processes more, and calls that start in
    /// half the time. For who lives long and calls often; they end with this process, or when the sandbox is dropped.
    ///
    /// What a command inherits without being told (umask, nice value, resource limits, control group) is then as it was in
    /// this process when its namespaces were made: after the call before, at most a minute ago.
    pub standby: bool,
    /// The settings that the policy was made from: where denials name their rules. They decide nothing.
    pub settings: Arc<Settings>,
    /// Who connects commands with the [hosts](PlaceRules::allow_hosts) that they may reach. Without one they reach none.
    pub mediator: Option<Arc<dyn Mediator>>,
    /// Lets the mediator answer, and refuse, where no host may be reached either: to learn which ones are asked for.
    pub always_mediated: bool,
    /// Where each call is noted before it is started, and when it has ended. No command may be able to write it.
    pub audit: Option<Arc<AuditLog>>,
}

impl SandboxOptions {
    /// This helper, nothing required.
    #[must_use]
    pub fn new(helper: impl Into<Helper>) -> Self {
        Self {
            helper: helper.into(),
            isolation: Isolation::default(),
            places: PlaceRules::default(),
            protection: ProtectionSettings::default(),
            require: Vec::new(),
            explain: Explain::default(),
            limits: ResourceLimits::NONE,
            secrets_filtered: true,
            view: None,
            landlock_abi_at_most: None,
            standby: false,
            settings: Arc::default(),
            mediator: None,
            always_mediated: false,
            audit: None,
        }
    }
}
