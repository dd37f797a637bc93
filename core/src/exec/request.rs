//! What to run: one request, checked before anything is started.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use codex_linux_sandbox::{CallersSignals, EarlyInit};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use super::outcome::ExecError;
use super::subreaper::Subreaper;
use crate::limits::ResourceLimits;
use crate::output::OutputBudget;

/// How long a tool call may take where nobody says otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);

/// How long to wait for streams that a descendant keeps open after the command itself has ended, counted from the
/// last byte.
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(2);

/// What the command's standard streams are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// Input is empty, output and errors are captured. The command has a session of its own and no terminal, so that
    /// its whole process group can be ended, and no prompt can wait for a person.
    Capture,
    /// The caller's own streams, terminal, session and process group.
    Inherit,
}

/// What the command finds of signal masks and dispositions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signals {
    /// No signal blocked, none ignored: whatever the caller's own process needs stays its own.
    Default,
    /// Dispositions as the calling process has them, but for these.
    Inherit(CallersSignals),
}

/// One command to run.
#[derive(Debug)]
pub struct ExecRequest {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// The command's `argv[0]`, where it is not the program as named.
    pub arg0: Option<OsString>,
    /// Where the command runs, where it is not where the caller is. It widens nothing that the policy allows.
    pub cwd: Option<PathBuf>,
    /// The command's environment, complete.
    pub env: Vec<(OsString, OsString)>,
    /// When the command is ended. `None` lets it run.
    pub deadline: Option<Duration>,
    /// How long to wait for streams that stay open after the command's end.
    pub drain: Duration,
    /// How much of each stream is kept.
    pub budget: OutputBudget,
    /// What the command may use, beside the sandbox's own limits: of two the tighter one holds.
    pub limits: ResourceLimits,
    /// What the standard streams are.
    pub stdio: Stdio,
    /// What the command finds of signals.
    pub signals: Signals,
    /// Ends the command when cancelled.
    pub cancellation: CancellationToken,
    /// Signals to pass on to the command as they come.
    pub forward: Option<UnboundedReceiver<Signal>>,
    /// Who answers for what the command leaves behind, where the calling process stands for this one command.
    pub subreaper: Option<Arc<Subreaper>>,
    /// Namespaces that were made ahead, for whoever has one thread and a command that shares its streams. Used where they
    /// are what the command takes.
    pub early: Option<EarlyInit>,
}

impl ExecRequest {
    /// A tool call: captured, ended after [`DEFAULT_DEADLINE`].
    #[must_use]
    pub fn new(command: Vec<OsString>, cwd: PathBuf, env: Vec<(OsString, OsString)>) -> Self {
        Self {
            command,
            arg0: None,
            cwd: Some(cwd),
            env,
            deadline: Some(DEFAULT_DEADLINE),
            drain: DEFAULT_DRAIN,
            budget: OutputBudget::default(),
            limits: ResourceLimits::NONE,
            stdio: Stdio::Capture,
            signals: Signals::Default,
            cancellation: CancellationToken::new(),
            forward: None,
            subreaper: None,
            early: None,
        }
    }

    /// Checks what can be known before anything is started, and returns the program.
    pub(super) fn program(&self) -> Result<&OsStr, ExecError> {
        let program =
            self.command.first().filter(|program| !program.is_empty()).ok_or(ExecError::EmptyCommand)?;
        let has_nul = |text: &OsStr| text.as_bytes().contains(&0);
        if let Some(index) = self.command.iter().position(|argument| has_nul(argument)) {
            return Err(ExecError::NulInArgument { index });
        }
        if self.arg0.as_deref().is_some_and(has_nul) {
            return Err(ExecError::NulInArgument { index: 0 });
        }
        if let Some((name, _)) = self.env.iter().find(|(name, value)| !is_name(name) || has_nul(value)) {
            return Err(ExecError::Environment { name: name.clone() });
        }
        self.cwd.as_deref().map_or(Ok(()), check_directory)?;
        Ok(program)
    }
}

fn is_name(name: &OsStr) -> bool {
    !name.is_empty() && !name.as_bytes().iter().any(|byte| matches!(byte, 0 | b'='))
}

/// The helper enters the directory; this only tells early, in plain words, what would go wrong there.
fn check_directory(path: &Path) -> Result<(), ExecError> {
    let error = |errno| ExecError::Directory { path: path.to_owned(), errno };
    if !path.is_absolute() || path.as_os_str().as_bytes().contains(&0) {
        return Err(error(Errno::EINVAL));
    }
    let directory = nix::sys::stat::stat(path).map_err(error)?;
    if directory.st_mode & libc::S_IFMT != libc::S_IFDIR {
        return Err(error(Errno::ENOTDIR));
    }
    nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).map_err(error)
}
