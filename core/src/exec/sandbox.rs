//! A policy made ready to run commands under: the plan, the helper that enforces it, what it will hold.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use codex_linux_sandbox::{
    Command, Descriptors, Enforced, Invocation, PROGRAM, Plan, PlanError, Support, wire,
};

use super::request::{ExecRequest, Stdio};
use crate::enforcement::{Enforcement, Guarantee, Hold, Level};
use crate::lower::lower;
use crate::policy::{PolicyError, ResolvedPolicy, SandboxPolicy, Surroundings, resolve};

/// Names the level that a command runs at. Unset where nothing is restricted.
pub const LEVEL_VARIABLE: &str = "CODEX_SANDBOX";
/// Set to 1 exactly where the policy keeps the network off.
pub const NETWORK_DISABLED_VARIABLE: &str = "CODEX_SANDBOX_NETWORK_DISABLED";

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
    /// Guarantees without which nothing may run.
    pub require: Vec<Guarantee>,
    /// Whether the environment that commands get has been cleared of what looks like secrets; for the report.
    pub secrets_filtered: bool,
    /// Uses no Landlock feature above this ABI.
    pub landlock_abi_at_most: Option<u8>,
}

impl SandboxOptions {
    /// This helper, nothing required.
    #[must_use]
    pub fn new(helper: impl Into<Helper>) -> Self {
        Self {
            helper: helper.into(),
            require: Vec::new(),
            secrets_filtered: true,
            landlock_abi_at_most: None,
        }
    }
}

/// Why no sandbox can be had for a policy. Nothing runs without one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SandboxError {
    /// The policy's paths can't be what it says.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A path that the helper can't take.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Commands can't be started under a sandbox on this platform. The Seatbelt policy exists ([`crate::seatbelt`]);
    /// what would start `sandbox-exec` with it does not.
    #[error("the policy {mode} can't be enforced on {platform} yet: only Linux is supported")]
    Platform {
        /// The policy's mode.
        mode: crate::policy::SandboxMode,
        /// The platform.
        platform: &'static str,
    },
    /// This kernel has no Landlock for us.
    #[error(
        "this machine does not offer the Landlock that it takes ({why}), so that the policy {mode} can't be enforced; \
         Linux 5.13 and later have it (6.7 for external-sandbox) when `landlock` is in the list of the boot parameter lsm="
    )]
    NoLandlock {
        /// The policy's mode.
        mode: crate::policy::SandboxMode,
        /// The kernel's answer.
        why: String,
    },
    /// This kernel has no seccomp filters for us.
    #[error("this machine refuses seccomp filters ({why}), so that the policy {mode} can't be enforced")]
    NoSeccomp {
        /// The policy's mode.
        mode: crate::policy::SandboxMode,
        /// The kernel's answer.
        why: String,
    },
    /// A guarantee in `sandbox.require` that this machine can't keep.
    #[error(
        "sandbox.require names `{guarantee}` ({promise}), which is {hold} here: {why}",
        guarantee = .guarantee.name(), promise = .guarantee.promise(), hold = hold_name(*.hold)
    )]
    Unmet {
        /// The guarantee.
        guarantee: Guarantee,
        /// How far it holds.
        hold: Hold,
        /// Why no further.
        why: String,
    },
}

const fn hold_name(hold: Hold) -> &'static str {
    match hold {
        Hold::Enforced => "enforced",
        Hold::Partial => "only partly enforced",
        Hold::Absent => "not enforced",
        Hold::NotRequested => "not asked for by the policy",
    }
}

/// A policy made ready: commands run under it as often as wanted.
#[derive(Clone, Debug)]
pub struct Sandbox {
    policy: ResolvedPolicy,
    plan: Plan,
    options: SandboxOptions,
    expected: Enforcement,
}

impl Sandbox {
    /// Resolves a policy, asks the kernel what it offers, and refuses what can't be kept.
    ///
    /// # Errors
    ///
    /// [`SandboxError`] names the root, the kernel feature or the required guarantee.
    pub fn prepare(
        policy: &SandboxPolicy,
        surroundings: Surroundings<'_>,
        options: SandboxOptions,
    ) -> Result<Self, SandboxError> {
        match SandboxType::select(policy) {
            Some(SandboxType::None | SandboxType::LinuxSandbox) => {}
            Some(SandboxType::MacosSeatbelt) | None => {
                return Err(SandboxError::Platform { mode: policy.mode(), platform: std::env::consts::OS });
            }
        }
        let policy = resolve(policy, surroundings)?;
        let plan = Plan { landlock_abi_at_most: options.landlock_abi_at_most, ..lower(&policy)? };
        let mut landlock_abi = 0;
        if !plan.is_unrestricted() {
            let support = Support::probe();
            let (mode, describe) =
                (policy.mode, |errno: nix::errno::Errno| format!("{}, {errno:?}", errno.desc()));
            if let Err(errno) = support.seccomp {
                return Err(SandboxError::NoSeccomp { mode, why: describe(errno) });
            }
            landlock_abi = support.landlock_abi(plan.landlock_abi_at_most);
            let needed = plan.landlock_abi_needed();
            if landlock_abi < needed {
                let too_old = || format!("ABI {landlock_abi}, and ABI {needed} is needed");
                let why = support.landlock.err().map_or_else(too_old, describe);
                return Err(SandboxError::NoLandlock { mode, why });
            }
        }
        let expected =
            Enforcement::of(&plan, &Enforced::expected(&plan, landlock_abi), options.secrets_filtered);
        for guarantee in &options.require {
            if let Some(holding) = expected.holding(*guarantee)
                && holding.hold != Hold::Enforced
            {
                let (guarantee, hold, why) = (*guarantee, holding.hold, holding.why.clone().into_owned());
                return Err(SandboxError::Unmet { guarantee, hold, why });
            }
        }
        Ok(Self { policy, plan, options, expected })
    }

    /// The policy, its paths made real.
    #[must_use]
    pub const fn policy(&self) -> &ResolvedPolicy {
        &self.policy
    }

    /// What will hold, by what the kernel offers. What did hold is in a run's result.
    #[must_use]
    pub const fn expected(&self) -> &Enforcement {
        &self.expected
    }

    /// Where the helper comes from.
    pub(super) const fn helper(&self) -> &Helper {
        &self.options.helper
    }

    /// What holds, by what the helper reports.
    pub(super) fn enforcement(&self, enforced: &Enforced) -> Enforcement {
        Enforcement::of(&self.plan, enforced, self.options.secrets_filtered)
    }

    /// Whether a command under this sandbox is restricted at all.
    #[must_use]
    pub fn is_restricted(&self) -> bool {
        self.expected.level != Level::None
    }

    /// A command's environment: what the caller built, and the two variables by which commands know where they are.
    #[must_use]
    pub fn environment(&self, mut base: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
        base.retain(|(name, _)| name != LEVEL_VARIABLE && name != NETWORK_DISABLED_VARIABLE);
        if self.is_restricted() {
            base.push((LEVEL_VARIABLE.into(), self.expected.level.name().into()));
        }
        if self.plan.network == codex_linux_sandbox::Network::Off {
            base.push((NETWORK_DISABLED_VARIABLE.into(), "1".into()));
        }
        base
    }

    /// The plan and a command as the helper takes them, without what belongs to one run (descriptors, parent).
    pub(super) fn invocation(&self, request: &ExecRequest, program: &OsStr) -> Invocation {
        let command = Command {
            program: program.to_owned(),
            argv0: request.arg0.clone(),
            arguments: request.command.iter().skip(1).cloned().collect(),
        };
        let mut invocation = Invocation::new(self.plan.clone(), command);
        invocation.directory = request.cwd.clone();
        if !self.is_restricted() && request.stdio == Stdio::Inherit {
            // Without restrictions the command gets what it would get without us, a make's job server among it.
            invocation.descriptors = Descriptors::Keep;
        }
        invocation
    }

    /// The helper's command line for a command, as it can be pasted into a shell.
    #[must_use]
    pub fn command_line(&self, request: &ExecRequest) -> Vec<OsString> {
        let program = request.command.first().cloned().unwrap_or_default();
        let mut line = vec![OsString::from(PROGRAM)];
        line.extend(wire::encode(&self.invocation(request, &program)));
        line
    }
}
