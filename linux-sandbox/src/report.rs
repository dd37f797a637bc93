//! What the helper tells its parent over the status pipe.
//!
//! A run writes a few records, each one line: first `enforced …` or `failed …`; after `enforced`, `exec …` where the command
//! could not be executed, or `ended …` when it has ended; before that `stopped` and `continued`, where a signal stops it, a
//! `refused …` for each thing that the broker refused, and `untold …` where that was more than is told. A record is shorter than
//! `PIPE_BUF`, so that it arrives whole or not at all.
//!
//! Values are percent-encoded bytes, so that a path with a newline in it stays one word.

mod line;

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use nix::errno::Errno;

use crate::broker::UnixSockets;
use crate::error::{Failure, SetupError, Step};
use crate::handoff::ExecError;
use crate::observe::{Act, Attempt};
use crate::plan::Plan;
use crate::sys::Ending;
use line::{Line, percent_decode};

/// The longest record, the newline included.
pub const MAX_RECORD: usize = 4096;

/// What the command's capability sets hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capabilities {
    /// Whatever the caller had: nothing was asked for.
    Untouched,
    /// Nothing.
    Empty,
    /// At most those over file ownership: `chown`, `dac_override`, `fowner`, `fsetid`. For root only.
    Ownership,
}

/// Whether somebody sees what is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// Nobody was asked to.
    NotAsked,
    /// An [observer](crate::observer_arguments) does.
    Exact,
    /// One was asked, and this machine refused.
    Refused(Errno),
}

/// What is really enforced, measured after the last step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enforced {
    /// The namespaces of the command's own, as `CLONE_NEW*` bits.
    pub namespaces: u64,
    /// The Landlock ABI in use. 0 where Landlock was not asked for.
    pub landlock_abi: u8,
    /// Landlock's file system rights that are handled, as `LANDLOCK_ACCESS_FS_*` bits.
    pub landlock_fs: u64,
    /// Landlock's network rights that are handled, as `LANDLOCK_ACCESS_NET_*` bits.
    pub landlock_net: u64,
    /// Landlock's scopes, as `LANDLOCK_SCOPE_*` bits.
    pub landlock_scopes: u64,
    /// How many system calls the filters answer for some or all arguments. 0 where no filter was asked for.
    pub seccomp_calls: u32,
    /// How unix sockets are kept from reaching the outside.
    pub unix_sockets: UnixSockets,
    /// What is left of privileges.
    pub capabilities: Capabilities,
    /// The limits that were set, as [`LimitKind::bit`](crate::LimitKind::bit).
    pub limits: u64,
    /// Whether somebody sees what is refused.
    pub observation: Observation,
    /// The process whose Landlock domain writes what it refuses to the kernel's audit log, programs that it executes included, by
    /// its number in the namespace of the caller. Nothing where that was not asked for, or there is no Landlock to do it.
    pub logged: Option<i32>,
}

impl Enforced {
    /// What a plan would hold on a kernel with this Landlock ABI.
    #[must_use]
    pub fn expected(plan: &Plan, landlock_abi: u8) -> Self {
        crate::enforce::expected(plan, landlock_abi)
    }

    /// Nothing: the plan restricts nothing.
    pub const NOTHING: Self = Self {
        namespaces: 0,
        landlock_abi: 0,
        landlock_fs: 0,
        landlock_net: 0,
        landlock_scopes: 0,
        seccomp_calls: 0,
        unix_sockets: UnixSockets::Refused,
        capabilities: Capabilities::Untouched,
        limits: 0,
        observation: Observation::NotAsked,
        logged: None,
    };
}

/// One line of the status pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Every step succeeded; the command comes next.
    Enforced(Enforced),
    /// A step failed; nothing ran.
    Failed {
        /// The step.
        step: Step,
        /// The call that failed.
        call: String,
        /// What it was about.
        target: Option<PathBuf>,
        /// Its error.
        errno: Option<Errno>,
        /// The whole message, for people.
        message: String,
    },
    /// The sandbox stood, and the command could not be executed.
    Exec {
        /// The kernel's answer; absent where the command could not even be handed to it.
        errno: Option<Errno>,
        /// The exit code that a shell would give.
        exit_code: i32,
        /// The whole message, for people.
        message: String,
    },
    /// The command has been executed: said by the process that stays beside it.
    Executed,
    /// The command has ended: said by the process that stays beside it, whose own end can't always look like the command's.
    Ended {
        /// How.
        ending: Ending,
        /// Whether something that it has started is left.
        others: bool,
    },
    /// The broker refused something to the command, which has ended since.
    Refused(Attempt),
    /// So often more the broker refused something that is not told, because there was too much of it.
    Untold {
        /// How often.
        count: u64,
    },
    /// The [view](crate::Plan::view) had no room left when the command ended.
    Full,
    /// A signal has stopped the command.
    Stopped,
    /// The command goes on after a stop.
    Continued,
}

impl From<&SetupError> for Record {
    fn from(error: &SetupError) -> Self {
        Self::Failed {
            step: error.step,
            call: error.call.clone().into_owned(),
            target: error.target.clone(),
            errno: error.errno,
            message: error.to_string(),
        }
    }
}

impl From<&ExecError> for Record {
    fn from(error: &ExecError) -> Self {
        let errno = match error {
            ExecError::NotFound { .. } => Some(Errno::ENOENT),
            ExecError::NotExecutable { errno, .. } => Some(*errno),
            ExecError::Nul { .. } => None,
        };
        Self::Exec { errno, exit_code: error.exit_code(), message: error.to_string() }
    }
}

impl Record {
    /// What there is to tell of a failure. Of arguments that could not be read nothing: they say where to.
    pub(crate) fn of(failure: &Failure) -> Option<Self> {
        match failure {
            Failure::Arguments(_) => None,
            Failure::Setup(error) => Some(Self::from(error)),
            Failure::Exec(error) => Some(Self::from(error)),
        }
    }

    /// The record as a line, its newline included.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = Line::default();
        match self {
            Self::Enforced(enforced) => {
                line.word("enforced");
                line.number("namespaces", enforced.namespaces);
                line.number("abi", u64::from(enforced.landlock_abi));
                line.number("fs", enforced.landlock_fs);
                line.number("net", enforced.landlock_net);
                line.number("scopes", enforced.landlock_scopes);
                line.number("calls", u64::from(enforced.seccomp_calls));
                let capabilities = match enforced.capabilities {
                    Capabilities::Untouched => "untouched",
                    Capabilities::Empty => "empty",
                    Capabilities::Ownership => "ownership",
                };
                line.text("capabilities", capabilities.as_bytes());
                let unix = match enforced.unix_sockets {
                    UnixSockets::Refused => "refused",
                    UnixSockets::Broker => "broker",
                    UnixSockets::Landlock => "landlock",
                };
                line.text("unix", unix.as_bytes());
                line.number("limits", enforced.limits);
                match enforced.observation {
                    Observation::NotAsked => line.text("observed", b"no"),
                    Observation::Exact => line.text("observed", b"exactly"),
                    Observation::Refused(errno) => line.errno(Some(errno)),
                }
                if let Some(process) = enforced.logged {
                    line.number("logged", u64::from(process.unsigned_abs()));
                }
            }
            Self::Failed { step, call, target, errno, message } => {
                line.word("failed");
                line.text("step", step.name().as_bytes());
                line.errno(*errno);
                line.text("call", call.as_bytes());
                if let Some(target) = target {
                    line.text("target", target.as_os_str().as_bytes());
                }
                line.text("message", message.as_bytes());
            }
            Self::Exec { errno, exit_code, message } => {
                line.word("exec");
                line.number("code", u64::from(exit_code.unsigned_abs()));
                line.errno(*errno);
                line.text("message", message.as_bytes());
            }
            Self::Executed => line.word("executed"),
            Self::Refused(attempt) => {
                line.word("refused");
                line.text("act", attempt.act.name().as_bytes());
                line.errno(Some(attempt.errno));
                line.number("process", u64::from(attempt.process.unsigned_abs()));
                line.number("count", attempt.count);
                line.number("first", attempt.first);
                line.text("program", attempt.program.as_bytes());
                line.text("target", attempt.target.as_bytes());
            }
            Self::Untold { count } => {
                line.word("untold");
                line.number("count", *count);
            }
            Self::Full => line.word("full"),
            Self::Stopped => line.word("stopped"),
            Self::Continued => line.word("continued"),
            Self::Ended { ending, others } => {
                line.word("ended");
                match ending {
                    Ending::Exited { code } => line.number("code", u64::from(code.unsigned_abs())),
                    Ending::Signalled { signal, core_dumped } => {
                        line.number("signal", u64::from(signal.unsigned_abs()));
                        line.number("core", u64::from(*core_dumped));
                    }
                }
                line.number("others", u64::from(*others));
            }
        }
        line.finish()
    }

    /// Reads a line, without its newline. Nothing where it is not a record: the reader then knows only that the
    /// helper did not get far enough to say anything.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line.split(|byte| *byte == b' ');
        let kind = words.next()?;
        let fields: Vec<(&[u8], Vec<u8>)> = words
            .map(|word| {
                let equals = word.iter().position(|byte| *byte == b'=')?;
                let (name, value) = word.split_at_checked(equals)?;
                Some((name, percent_decode(value.get(1..)?)))
            })
            .collect::<Option<_>>()?;
        let field =
            |name: &str| fields.iter().find(|(key, _)| *key == name.as_bytes()).map(|(_, value)| value);
        let text = |name: &str| field(name).map(|value| String::from_utf8_lossy(value).into_owned());
        let number = |name: &str| std::str::from_utf8(field(name)?).ok()?.parse::<u64>().ok();
        let errno = || match field("errno") {
            None => Some(None),
            Some(_) => Some(Some(Errno::from_raw(i32::try_from(number("errno")?).ok()?))),
        };
        match kind {
            b"enforced" => Some(Self::Enforced(Enforced {
                namespaces: number("namespaces")?,
                landlock_abi: number("abi")?.try_into().ok()?,
                landlock_fs: number("fs")?,
                landlock_net: number("net")?,
                landlock_scopes: number("scopes")?,
                seccomp_calls: number("calls")?.try_into().ok()?,
                capabilities: match field("capabilities")?.as_slice() {
                    b"untouched" => Capabilities::Untouched,
                    b"empty" => Capabilities::Empty,
                    b"ownership" => Capabilities::Ownership,
                    _ => return None,
                },
                unix_sockets: match field("unix")?.as_slice() {
                    b"refused" => UnixSockets::Refused,
                    b"broker" => UnixSockets::Broker,
                    b"landlock" => UnixSockets::Landlock,
                    _ => return None,
                },
                limits: number("limits")?,
                observation: match (field("observed").map(Vec::as_slice), errno()?) {
                    (Some(b"no"), None) => Observation::NotAsked,
                    (Some(b"exactly"), None) => Observation::Exact,
                    (None, Some(errno)) => Observation::Refused(errno),
                    _ => return None,
                },
                logged: match field("logged") {
                    None => None,
                    Some(_) => Some(number("logged")?.try_into().ok()?),
                },
            })),
            b"failed" => Some(Self::Failed {
                step: Step::ALL
                    .into_iter()
                    .find(|step| field("step").is_some_and(|name| name == step.name().as_bytes()))?,
                call: text("call")?,
                target: field("target").map(|value| PathBuf::from(OsString::from_vec(value.clone()))),
                errno: errno()?,
                message: text("message").unwrap_or_default(),
            }),
            b"exec" => Some(Self::Exec {
                errno: errno()?,
                exit_code: number("code")?.try_into().ok()?,
                message: text("message").unwrap_or_default(),
            }),
            b"refused" => Some(Self::Refused(Attempt {
                act: Act::ALL
                    .into_iter()
                    .find(|act| field("act").is_some_and(|name| name == act.name().as_bytes()))?,
                target: OsString::from_vec(field("target")?.clone()),
                second: None,
                places: [None, None],
                errno: errno()??,
                process: number("process")?.try_into().ok()?,
                program: OsString::from_vec(field("program")?.clone()),
                count: number("count")?,
                first: number("first")?,
            })),
            b"untold" => Some(Self::Untold { count: number("count")? }),
            b"executed" => Some(Self::Executed),
            b"full" => Some(Self::Full),
            b"stopped" => Some(Self::Stopped),
            b"continued" => Some(Self::Continued),
            b"ended" => {
                let ending = match number("signal") {
                    None => Ending::Exited { code: number("code")?.try_into().ok()? },
                    Some(signal) => Ending::Signalled {
                        signal: signal.try_into().ok()?,
                        core_dumped: number("core")? == 1,
                    },
                };
                Some(Self::Ended { ending, others: number("others")? == 1 })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
