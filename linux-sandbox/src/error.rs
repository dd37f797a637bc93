//! How the helper can fail before the command runs, each with one clear line.

use std::borrow::Cow;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::handoff::ExecError;
use crate::run::EXIT_SETUP_FAILED;
use crate::shown::shown;
use crate::wire::WireError;

/// A step of the set-up, in the order in which the helper takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Reading the plan from the arguments.
    Arguments,
    /// Asking to end with the parent.
    ParentDeath,
    /// Reading the command's environment.
    Environment,
    /// Making namespaces.
    Namespaces,
    /// Arranging what is mounted in them, whatever the plan.
    Mounts,
    /// Arranging the places that the plan names.
    Places,
    /// Listening for what commands ask of hosts outside.
    Proxy,
    /// Entering the command's working directory.
    Directory,
    /// Marking inherited descriptors to be closed.
    Descriptors,
    /// Giving up privileges.
    Privileges,
    /// Confining the file system.
    Landlock,
    /// Closing system calls.
    Seccomp,
    /// Entering a cgroup.
    Cgroup,
    /// Limiting what the command may use.
    Limits,
    /// Telling the parent what was enforced.
    Report,
    /// Starting the command as a process of its own.
    Start,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 16] = [
        Self::Arguments,
        Self::ParentDeath,
        Self::Environment,
        Self::Namespaces,
        Self::Mounts,
        Self::Places,
        Self::Proxy,
        Self::Directory,
        Self::Descriptors,
        Self::Privileges,
        Self::Landlock,
        Self::Seccomp,
        Self::Cgroup,
        Self::Limits,
        Self::Report,
        Self::Start,
    ];

    /// The name used in messages and in the status record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arguments => "arguments",
            Self::ParentDeath => "parent-death",
            Self::Environment => "environment",
            Self::Namespaces => "namespaces",
            Self::Mounts => "mounts",
            Self::Places => "places",
            Self::Proxy => "proxy",
            Self::Directory => "directory",
            Self::Descriptors => "descriptors",
            Self::Privileges => "privileges",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::Cgroup => "cgroup",
            Self::Limits => "limits",
            Self::Report => "report",
            Self::Start => "start",
        }
    }
}

/// A step that could not be finished: which, on what, in which call, why, and what would help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {refusal}", step = self.step.name(), refusal = self.refusal())]
pub struct SetupError {
    /// The step.
    pub step: Step,
    /// The system call that failed, or what stands for it.
    pub call: Cow<'static, str>,
    /// What the call was about.
    pub target: Option<PathBuf>,
    /// Its error, where the kernel gave one.
    pub errno: Option<Errno>,
    /// What is wrong or would help, in a few words.
    pub hint: Option<&'static str>,
}

impl SetupError {
    /// A call that the kernel refused.
    #[must_use]
    pub const fn call(step: Step, call: &'static str, errno: Errno) -> Self {
        Self { step, call: Cow::Borrowed(call), target: None, errno: Some(errno), hint: None }
    }

    /// A condition that is not met, though no call failed.
    #[must_use]
    pub const fn condition(step: Step, call: &'static str, hint: &'static str) -> Self {
        Self { step, call: Cow::Borrowed(call), target: None, errno: None, hint: Some(hint) }
    }

    /// Names what the call was about.
    #[must_use]
    pub fn on(mut self, target: impl Into<PathBuf>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// Says what is wrong or would help.
    #[must_use]
    pub const fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// What was refused, without the step: the call, on what, why, what would help.
    #[must_use]
    pub fn refusal(&self) -> String {
        let mut text = self.call.to_string();
        if let Some(target) = &self.target {
            text.push_str(&format!(" on {}", shown(target)));
        }
        if let Some(errno) = self.errno {
            text.push_str(&format!(": {} ({errno:?})", errno.desc()));
        }
        if let Some(hint) = self.hint {
            text.push_str(&format!(": {hint}"));
        }
        text
    }
}

/// Why the helper could not become the command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The arguments are no invocation.
    #[error("arguments: {0}")]
    Arguments(#[from] WireError),
    /// A step of the set-up failed; nothing ran.
    #[error("{0}")]
    Setup(#[from] SetupError),
    /// The sandbox stands, but the command could not be executed.
    #[error("{0}")]
    Exec(#[from] ExecError),
}

impl Failure {
    /// The exit code that says so.
    #[must_use]
    pub const fn exit_code(&self) -> i32 {
        match self {
            Self::Arguments(_) | Self::Setup(_) => EXIT_SETUP_FAILED,
            Self::Exec(error) => error.exit_code(),
        }
    }
}
