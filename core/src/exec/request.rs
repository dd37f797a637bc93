//! What to run: one request, checked before anything is started.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use codex_linux_sandbox::{CallersSignals, EarlyInit};
use nix::errno::Errno;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use super::error::ExecError;
use super::noted::Labels;
use super::overheard::Overheard;
use super::streams::Sinks;
use super::terminal::TerminalSize;
use crate::limits::ResourceLimits;
use crate::output::feed::FeedOptions;
use crate::output::{CollapsedCapture, OutputBudget, Spill, SpillDirectory, SpillOptions, SpillTap};

/// How long a tool call may take where nobody says otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);

/// How long a command that was asked to end may take to do so before it is killed.
pub const DEFAULT_GRACE: Duration = Duration::from_millis(500);

/// How long to wait for streams that a descendant keeps open after the command itself has ended, counted from the
/// last byte.
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(2);

/// What the command's standard streams are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// Input is empty, output and errors are captured. The command has a session of its own and no terminal, so that no
    /// prompt can wait for a person.
    Capture,
    /// As [`Stdio::Capture`], with an input that the caller writes to.
    Piped,
    /// A terminal of the command's own, of this size, which is all three streams; what appears on it is captured as
    /// standard output, and the caller types. The command has a session of its own, and its jobs are controlled.
    Terminal(TerminalSize),
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

/// When a call is ended, whatever the command does. Each limit is an ending of its own in the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// How long the call may take, set-up included. `None` lets it run.
    pub deadline: Option<Duration>,
    /// How long the command may write nothing. Only where its output is captured.
    pub idle: Option<Duration>,
    /// How many bytes it may write, to both streams together. Only where its output is captured. What it wrote until it
    /// was ended is counted, and can be more.
    pub output: Option<u64>,
    /// How long everything has to end after it was asked to (`SIGTERM`), by a limit or a cancellation. Then it is killed.
    /// Zero asks nobody.
    pub grace: Duration,
    /// How long to wait for streams that stay open after the command's end, since the last byte. Each byte begins the wait
    /// anew, five times at most.
    pub drain: Duration,
}

impl Default for CallLimits {
    /// A tool call: ended after [`DEFAULT_DEADLINE`], with [`DEFAULT_GRACE`] and [`DEFAULT_DRAIN`].
    fn default() -> Self {
        Self {
            deadline: Some(DEFAULT_DEADLINE),
            idle: None,
            output: None,
            grace: DEFAULT_GRACE,
            drain: DEFAULT_DRAIN,
        }
    }
}

/// What becomes of processes that the command leaves behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detach {
    /// They are killed when the call returns.
    #[default]
    Kill,
    /// They go on until they end by themselves, the process is [terminated](super::Process::terminate), or the calling
    /// program ends, by whatever. Not where the command shares the caller's streams.
    Keep,
}

/// What can be asked of a command that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// To send it a signal by its number: the command itself, not what it has started.
    Signal(i32),
    /// That a signal by its number has reached the command already, and whoever waits beside it: nothing is sent.
    Seen(i32),
    /// To interrupt it as Ctrl-C would: the process group in the foreground of its terminal or, where it has none, the
    /// process group that it leads.
    Interrupt,
    /// To let go on what a signal has stopped: the process group in the foreground of its terminal or, where it has none, the
    /// command.
    Continue,
    /// To change the size of its terminal.
    Resize(TerminalSize),
}

impl Control {
    /// Whether it asks the command to end, as a person or a supervisor does.
    pub(super) const fn asks_to_end(&self) -> bool {
        match self {
            Self::Signal(signal) | Self::Seen(signal) => {
                matches!(*signal, libc::SIGINT | libc::SIGQUIT | libc::SIGTERM)
            }
            Self::Interrupt => true,
            Self::Continue | Self::Resize(_) => false,
        }
    }
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
    /// When the call is ended.
    pub limits: CallLimits,
    /// What becomes of what the command leaves behind.
    pub detach: Detach,
    /// How much of each stream is kept as it is, and of both together.
    pub budget: OutputBudget,
    /// How much is kept of both together as a terminal would show it in the end: what a model is given. `None` keeps no such
    /// [view](crate::output::collapse).
    pub view: Option<OutputBudget>,
    /// Where both together are written as a whole, if they are longer than what is kept.
    pub spill: Option<(Arc<SpillDirectory>, SpillOptions)>,
    /// Where a [spill](Self::spill) can be read while it is written, and after that. Its file has no name then, and goes with this.
    pub tap: Option<Arc<SpillTap>>,
    /// How much can be read while the command runs, by [`Process::reader`](super::Process::reader).
    pub feed: Option<FeedOptions>,
    /// What the command may use, beside the sandbox's own limits: of two the tighter one holds.
    pub resources: ResourceLimits,
    /// What the standard streams are.
    pub stdio: Stdio,
    /// What the command finds of signals.
    pub signals: Signals,
    /// Ends the command when cancelled.
    pub cancellation: CancellationToken,
    /// What to do with the command while it runs, as it comes.
    pub control: Option<UnboundedReceiver<Control>>,
    /// Whether this process is a shell's job together with the command, and has to stop when a signal stops the command
    /// (`SIGTSTP`, `SIGSTOP`): else the shell would wait for it.
    pub stops_with_the_command: bool,
    /// Who asked for it, for the audit log.
    pub labels: Labels,
    /// Namespaces that were made ahead, for whoever has one thread and a command that shares its streams. Used where they
    /// are what the command takes.
    pub early: Option<EarlyInit>,
    /// What hears a command that shares the caller's streams, where it [can be](Overheard::begin), for its
    /// [denials](super::ExecResult::denials).
    pub overheard: Option<Overheard>,
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
            limits: CallLimits::default(),
            detach: Detach::default(),
            budget: OutputBudget::default(),
            view: None,
            spill: None,
            tap: None,
            feed: None,
            resources: ResourceLimits::NONE,
            stdio: Stdio::Capture,
            signals: Signals::Default,
            cancellation: CancellationToken::new(),
            control: None,
            stops_with_the_command: false,
            labels: Labels::default(),
            early: None,
            overheard: None,
        }
    }

    /// Where what the command writes goes, but for live readers.
    pub(super) fn sinks(&self) -> Sinks {
        let mut sinks = Sinks::new(self.budget);
        sinks.view = self.view.map(CollapsedCapture::new);
        sinks.spill = self.spill.clone().map(|(directory, options)| match self.tap.clone() {
            Some(tap) => Spill::tapped(directory, options, tap),
            None => Spill::new(directory, options),
        });
        sinks
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
        if self.stdio == Stdio::Inherit && self.detach == Detach::Keep {
            return Err(ExecError::DetachWithStreams);
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
