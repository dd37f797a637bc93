//! How a run ended: every ending by its own name, and what is known of it.

use std::path::PathBuf;
use std::time::Duration;

use codex_linux_sandbox::{EXIT_SETUP_FAILED, Step};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use serde::Serialize;
use serde::ser::SerializeMap as _;

use super::accounting::Exceeded;
use super::left_behind::LeftBehind;
use super::limit_hit::LimitHit;
use super::quarantine::Quarantined;
use super::replay::Replay;
use crate::denial::Denial;
use crate::enforcement::Enforcement;
use crate::limits::Limit;
use crate::output::{Captured, SpillReport, StreamText};
use crate::policy::ProtectionNote;

/// The exit code of a run that a limit ended: its deadline, as `timeout(1)` gives it, or another one.
pub const EXIT_TIMED_OUT: i32 = 124;
/// The exit code of a run that was cancelled, as a shell gives it for Ctrl-C.
pub const EXIT_CANCELLED: i32 = 130;
/// What shells add to the number of the signal that ended a command.
const EXIT_SIGNAL_BASE: i32 = 128;

/// Why a call ended a command that would have gone on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// It took longer than this.
    Deadline(Duration),
    /// It wrote nothing for this long.
    Idle(Duration),
    /// It wrote more bytes than these.
    Output(u64),
    /// It used more than it may.
    Resource(Exceeded),
    /// The caller did not want it any more.
    Cancelled,
}

impl From<Stop> for Outcome {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Deadline(deadline) => Self::TimedOut { deadline },
            Stop::Idle(idle) => Self::IdleTimedOut { idle },
            Stop::Output(limit) => Self::OutputExceeded { limit },
            Stop::Resource(Exceeded { limit, allowed, .. }) => Self::LimitExceeded { limit, allowed },
            Stop::Cancelled => Self::Cancelled,
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command ended by itself.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// A signal ended the command.
    Signalled {
        /// The signal's number.
        signal: i32,
        /// Whether the kernel wrote a core dump.
        core_dumped: bool,
    },
    /// The deadline passed, and the command was ended.
    TimedOut {
        /// The deadline.
        deadline: Duration,
    },
    /// The command wrote nothing for too long, and was ended.
    IdleTimedOut {
        /// For how long it may write nothing.
        idle: Duration,
    },
    /// The command wrote too much, and was ended.
    OutputExceeded {
        /// How many bytes it may write.
        limit: u64,
    },
    /// The command, with all that it has started, used more of something than it may, and was ended. Where the kernel holds a
    /// limit by a signal or an error, it ends as it ends, and [`ExecResult::limit`] names the limit.
    LimitExceeded {
        /// Of what.
        limit: Limit,
        /// How much it may use, in the limit's [unit](Limit::unit).
        allowed: u64,
    },
    /// The caller cancelled the call, and the command was ended.
    Cancelled,
    /// The process that [observed](crate::config::Explain::Always) the command was ended, and the command with it (`SIGKILL`).
    ObserverEnded,
    /// The sandbox could not be set up. Nothing ran.
    SetupFailed {
        /// The step that failed, where the helper got far enough to say so.
        step: Option<Step>,
        /// The system call.
        call: Option<String>,
        /// What the call was about.
        target: Option<PathBuf>,
        /// Its error.
        errno: Option<Errno>,
        /// All of it in one line.
        message: String,
    },
    /// The sandbox stood, but the command could not be executed.
    NotExecuted {
        /// 127 where it was not found, 126 where it was.
        exit_code: i32,
        /// The kernel's answer, where it was asked.
        errno: Option<Errno>,
        /// All of it in one line.
        message: String,
    },
}

impl Outcome {
    /// The name used in the result.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Exited { .. } => "exited",
            Self::Signalled { .. } => "signalled",
            Self::TimedOut { .. } => "timed_out",
            Self::IdleTimedOut { .. } => "idle_timed_out",
            Self::OutputExceeded { .. } => "output_exceeded",
            Self::LimitExceeded { .. } => "limit_exceeded",
            Self::Cancelled => "cancelled",
            Self::ObserverEnded => "observer_ended",
            Self::SetupFailed { .. } => "setup_failed",
            Self::NotExecuted { .. } => "not_executed",
        }
    }

    /// The exit code that a program gives which stands for the command.
    #[must_use]
    pub const fn exit_code(&self) -> i32 {
        match self {
            Self::Exited { code } => *code,
            Self::Signalled { signal, .. } => EXIT_SIGNAL_BASE + *signal,
            Self::TimedOut { .. }
            | Self::IdleTimedOut { .. }
            | Self::OutputExceeded { .. }
            | Self::LimitExceeded { .. } => EXIT_TIMED_OUT,
            Self::Cancelled => EXIT_CANCELLED,
            Self::ObserverEnded => EXIT_SIGNAL_BASE + Signal::SIGKILL as i32,
            Self::SetupFailed { .. } => EXIT_SETUP_FAILED,
            Self::NotExecuted { exit_code, .. } => *exit_code,
        }
    }

    /// One sentence, for people and models.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Exited { code } => format!("exited with code {code}"),
            Self::Signalled { signal, core_dumped } => {
                let name = Signal::try_from(*signal)
                    .map_or_else(|_unnamed| format!("signal {signal}"), |signal| signal.as_str().to_owned());
                format!("ended by {name}{}", if *core_dumped { " (core dumped)" } else { "" })
            }
            Self::TimedOut { deadline } => format!("ended at its deadline of {} ms", deadline.as_millis()),
            Self::IdleTimedOut { idle } => {
                format!("ended because it wrote nothing for {} ms", idle.as_millis())
            }
            Self::OutputExceeded { limit } => format!("ended because it wrote more than {limit} bytes"),
            Self::LimitExceeded { limit, allowed } => {
                format!(
                    "ended because it used more than its limit: {} {}",
                    limit.name(),
                    limit.shown(*allowed)
                )
            }
            Self::Cancelled => "cancelled".to_owned(),
            Self::ObserverEnded => {
                "ended because the process of codex that observed it (--explain) was ended from outside"
                    .to_owned()
            }
            Self::SetupFailed { message, .. } => {
                format!("nothing ran, the sandbox could not be set up: {message}")
            }
            Self::NotExecuted { message, .. } => message.clone(),
        }
    }
}

impl Serialize for Outcome {
    /// As the fields `outcome`, `exit_code`, `signal`, `timed_out` and `failure` of the result; what is unknown is
    /// `null`.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Failure<'a> {
            step: Option<&'a str>,
            call: Option<&'a str>,
            target: Option<String>,
            errno: Option<i32>,
            message: &'a str,
        }
        let (code, signal, core_dumped, failure) = match self {
            Self::Exited { code } => (Some(*code), None, None, None),
            Self::Signalled { signal, core_dumped } => (None, Some(*signal), Some(*core_dumped), None),
            Self::TimedOut { .. }
            | Self::IdleTimedOut { .. }
            | Self::OutputExceeded { .. }
            | Self::LimitExceeded { .. }
            | Self::Cancelled
            | Self::ObserverEnded => (None, None, None, None),
            Self::SetupFailed { step, call, target, errno, message } => {
                let target = target.as_ref().map(|path| path.to_string_lossy().into_owned());
                let (step, call) = (step.map(Step::name), call.as_deref());
                let errno = errno.map(|errno| errno as i32);
                (None, None, None, Some(Failure { step, call, target, errno, message }))
            }
            Self::NotExecuted { errno, message, .. } => {
                let errno = errno.map(|errno| errno as i32);
                (
                    None,
                    None,
                    None,
                    Some(Failure { step: Some("exec"), call: Some("execve"), target: None, errno, message }),
                )
            }
        };
        let mut map = serializer.serialize_map(Some(6))?;
        map.serialize_entry("outcome", self.name())?;
        map.serialize_entry("exit_code", &code)?;
        map.serialize_entry("signal", &signal)?;
        map.serialize_entry("core_dumped", &core_dumped)?;
        map.serialize_entry("timed_out", &matches!(self, Self::TimedOut { .. }))?;
        map.serialize_entry("failure", &failure)?;
        map.end()
    }
}

/// What the command used, with everything below it that it waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ResourceUsage {
    /// Processor time in its own code, in microseconds.
    pub user_us: u64,
    /// Processor time in the kernel, in microseconds.
    pub system_us: u64,
    /// The largest resident size of one of its processes, in KiB.
    pub max_rss_kib: u64,
    /// Page faults that needed no disk.
    pub minor_faults: u64,
    /// Page faults that needed one.
    pub major_faults: u64,
    /// Times it gave up the processor to wait.
    pub voluntary_switches: u64,
    /// Times the processor was taken from it.
    pub involuntary_switches: u64,
}

impl ResourceUsage {
    /// Processor time in all.
    #[must_use]
    pub const fn cpu_time(&self) -> Duration {
        Duration::from_micros(self.user_us + self.system_us)
    }
}

/// What is known of a run that has ended.
#[derive(Clone, Debug)]
pub struct ExecResult {
    /// How it ended.
    pub outcome: Outcome,
    /// From its start to its end, streams that stayed open not counted.
    pub duration: Duration,
    /// Standard output. Empty where it was not captured.
    pub stdout: Captured,
    /// Standard error. Empty where it was not captured.
    pub stderr: Captured,
    /// Both, in the order in which they were read.
    pub output: Captured,
    /// Both, as a terminal would show them in the end. Nothing where the request does not ask for it.
    pub view: Option<Captured>,
    /// The file that has both as a whole. Nothing where the request names no place for it, or they are short.
    pub spill: Option<SpillReport>,
    /// Whether a descendant still held a stream open when the call returned, so that more could have come.
    pub streams_left_open: bool,
    /// What the command left behind: what was killed when the call returned or, where the request says so, still runs. The
    /// first [`MOST_LEFT_BEHIND`](super::MOST_LEFT_BEHIND) of them. Empty where the call ended the command itself, and where
    /// its streams were the caller's.
    pub left_behind: Vec<LeftBehind>,
    /// What the sandbox held.
    pub enforcement: Enforcement,
    /// The limit on resources that ended the command, by the evidence: the one that we ended it for, or the one that the
    /// kernel did. A command that merely ended badly was ended by none.
    pub limit: Option<LimitHit>,
    /// What the command used. `None` where the kernel did not say.
    pub rusage: Option<ResourceUsage>,
    /// The most memory that all of the command's processes had at a time, in bytes. `None` without a cgroup that counts it.
    pub memory_peak: Option<u64>,
    /// What there is to say of the [view](super::SandboxOptions::view) that the command was given. `None` where it was none.
    pub replay: Option<Replay>,
    /// What was made where the host would trust or run it, and was moved away.
    pub quarantined: Vec<Quarantined>,
    /// Where the protection of metadata has limits.
    pub notes: Vec<ProtectionNote>,
    /// What the sandbox refused, as far as our own code decided it or the command spoke of it.
    pub denials: Vec<Denial>,
    /// How often more something was refused, or failed in a way that could be a refusal, than there is room for in `denials`, or
    /// could be looked up.
    pub denials_untold: u64,
}

impl ExecResult {
    /// A stream as text, which says where the rest is. `is_output` is whether the file has this very stream.
    fn text_of(&self, stream: &Captured, is_output: bool) -> StreamText {
        let text = stream.text();
        self.spill.as_ref().map_or_else(|| text.clone(), |spill| text.spilled(spill, is_output))
    }

    /// Whether the command ran.
    #[must_use]
    pub const fn has_run(&self) -> bool {
        !matches!(self.outcome, Outcome::SetupFailed { .. } | Outcome::NotExecuted { .. })
    }
}

impl Serialize for ExecResult {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Whole<'a> {
            #[serde(flatten)]
            outcome: &'a Outcome,
            duration_ms: f64,
            stdout: StreamText,
            stderr: StreamText,
            output: StreamText,
            #[serde(skip_serializing_if = "Option::is_none")]
            view: Option<StreamText>,
            spill: Option<&'a SpillReport>,
            streams_left_open: bool,
            left_behind: &'a [LeftBehind],
            denials: &'a [Denial],
            denials_untold: u64,
            enforcement: &'a Enforcement,
            limit: Option<LimitHit>,
            rusage: Option<ResourceUsage>,
            memory_peak: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            replay: Option<&'a Replay>,
            quarantined: Vec<Moved>,
            protection_notes: Vec<String>,
        }
        #[derive(Serialize)]
        struct Moved {
            path: String,
            kept_at: Option<String>,
            why: String,
            stuck: Option<i32>,
        }
        let moved = self.quarantined.iter().map(|one| Moved {
            path: one.path.to_string_lossy().into_owned(),
            kept_at: one.kept_at.as_ref().map(|path| path.to_string_lossy().into_owned()),
            why: one.why.to_string(),
            stuck: one.stuck.map(|errno| errno as i32),
        });
        Whole {
            quarantined: moved.collect(),
            protection_notes: self.notes.iter().map(ToString::to_string).collect(),
            outcome: &self.outcome,
            duration_ms: milliseconds(self.duration),
            stdout: self.text_of(&self.stdout, false),
            stderr: self.text_of(&self.stderr, false),
            output: self.text_of(&self.output, true),
            view: self.view.as_ref().map(|view| self.text_of(view, false)),
            spill: self.spill.as_ref(),
            streams_left_open: self.streams_left_open,
            left_behind: &self.left_behind,
            denials: &self.denials,
            denials_untold: self.denials_untold,
            enforcement: &self.enforcement,
            limit: self.limit,
            rusage: self.rusage,
            memory_peak: self.memory_peak,
            replay: self.replay.as_ref(),
        }
        .serialize(serializer)
    }
}

/// Milliseconds to the microsecond: more digits would be noise.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
