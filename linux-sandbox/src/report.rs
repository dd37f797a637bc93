//! What the helper tells its parent over the status pipe.
//!
//! A run writes at most two records, each one line: first `enforced …` or `failed …`; after `enforced`, `exec …` where
//! the command could not be executed. The pipe closes by itself when the command starts. A record is shorter than
//! `PIPE_BUF`, so that it arrives whole or not at all.
//!
//! Values are percent-encoded bytes, so that a path with a newline in it stays one word.

use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::error::{SetupError, Step};
use crate::handoff::ExecError;
use crate::plan::Plan;

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

/// What is really enforced, measured after the last step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enforced {
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
    /// What is left of privileges.
    pub capabilities: Capabilities,
}

impl Enforced {
    /// What a plan would hold on a kernel with this Landlock ABI.
    #[must_use]
    pub fn expected(plan: &Plan, landlock_abi: u8) -> Self {
        crate::enforce::expected(plan, landlock_abi)
    }

    /// Nothing: the plan restricts nothing.
    pub const NOTHING: Self = Self {
        landlock_abi: 0,
        landlock_fs: 0,
        landlock_net: 0,
        landlock_scopes: 0,
        seccomp_calls: 0,
        capabilities: Capabilities::Untouched,
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
}

impl From<&SetupError> for Record {
    fn from(error: &SetupError) -> Self {
        Self::Failed {
            step: error.step,
            call: error.call.to_owned(),
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
    /// The record as a line, its newline included.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = match self {
            Self::Enforced(enforced) => format!(
                "enforced abi={} fs={} net={} scopes={} calls={} capabilities={}",
                enforced.landlock_abi,
                enforced.landlock_fs,
                enforced.landlock_net,
                enforced.landlock_scopes,
                enforced.seccomp_calls,
                match enforced.capabilities {
                    Capabilities::Untouched => "untouched",
                    Capabilities::Empty => "empty",
                    Capabilities::Ownership => "ownership",
                }
            ),
            Self::Failed { step, call, target, errno, message } => {
                let target = target.as_deref().map(|path| percent_encode(path.as_os_str().as_bytes()));
                let mut line =
                    format!("failed step={} call={}", step.name(), percent_encode(call.as_bytes()));
                push(&mut line, "target", target);
                push(&mut line, "errno", errno.map(|errno| (errno as i32).to_string()));
                push(&mut line, "message", Some(percent_encode(message.as_bytes())));
                line
            }
            Self::Exec { errno, exit_code, message } => {
                let mut line = format!("exec code={exit_code}");
                push(&mut line, "errno", errno.map(|errno| (errno as i32).to_string()));
                push(&mut line, "message", Some(percent_encode(message.as_bytes())));
                line
            }
        };
        // A very long path can push a record over the limit; its end says the least.
        line.truncate(MAX_RECORD - 1);
        line.push('\n');
        line.into_bytes()
    }

    /// Reads a line, without its newline. Nothing where it is not a record: the reader then knows only that the
    /// helper did not get far enough to say anything.
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let mut words = line.split(' ');
        let kind = words.next()?;
        let fields: Vec<(&str, &str)> = words.map(|word| word.split_once('=')).collect::<Option<_>>()?;
        let field = |name: &str| fields.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        let errno = || match field("errno") {
            None => Some(None),
            Some(number) => number.parse().ok().map(|number| Some(Errno::from_raw(number))),
        };
        let text = |name: &str| {
            field(name).map(|value| String::from_utf8_lossy(&percent_decode(value)).into_owned())
        };
        match kind {
            "enforced" => Some(Self::Enforced(Enforced {
                landlock_abi: field("abi")?.parse().ok()?,
                landlock_fs: field("fs")?.parse().ok()?,
                landlock_net: field("net")?.parse().ok()?,
                landlock_scopes: field("scopes")?.parse().ok()?,
                seccomp_calls: field("calls")?.parse().ok()?,
                capabilities: match field("capabilities")? {
                    "untouched" => Capabilities::Untouched,
                    "empty" => Capabilities::Empty,
                    "ownership" => Capabilities::Ownership,
                    _ => return None,
                },
            })),
            "failed" => Some(Self::Failed {
                step: Step::ALL.into_iter().find(|step| Some(step.name()) == field("step"))?,
                call: text("call")?,
                target: field("target")
                    .map(|value| Path::new(&std::ffi::OsString::from_vec(percent_decode(value))).to_owned()),
                errno: errno()?,
                message: text("message")?,
            }),
            "exec" => Some(Self::Exec {
                errno: errno()?,
                exit_code: field("code")?.parse().ok()?,
                message: text("message")?,
            }),
            _ => None,
        }
    }
}

fn push(line: &mut String, name: &str, value: Option<String>) {
    if let Some(value) = value {
        line.push(' ');
        line.push_str(name);
        line.push('=');
        line.push_str(&value);
    }
}

fn percent_encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len()), |mut text, byte| {
        if byte.is_ascii_graphic() && *byte != b'%' {
            text.push(char::from(*byte));
        } else if write!(text, "%{byte:02x}").is_err() {
            text.push('?');
        }
        text
    })
}

/// Undoes [`percent_encode`]. An escape that was cut off by the limit on a record is dropped.
fn percent_decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let Some((digits, tail)) = rest.split_at_checked(2) else { break };
        rest = tail;
        let byte = std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.extend(byte);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Capabilities, Enforced, Errno, MAX_RECORD, PathBuf, Record, Step};

    fn round_trip(record: &Record) -> Option<Record> {
        let line = record.to_line();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        Record::parse(line.strip_suffix(b"\n").unwrap())
    }

    #[test]
    fn enforced_survives_the_pipe() {
        for capabilities in [Capabilities::Untouched, Capabilities::Empty, Capabilities::Ownership] {
            let record = Record::Enforced(Enforced {
                landlock_abi: 7,
                landlock_fs: u64::MAX,
                landlock_net: 3,
                landlock_scopes: 1,
                seccomp_calls: 90,
                capabilities,
            });
            assert_eq!(round_trip(&record), Some(record));
        }
    }

    #[test]
    fn an_over_long_path_shortens_the_message_and_nothing_else() {
        let record = Record::Failed {
            step: Step::Landlock,
            call: "openat2".to_owned(),
            target: Some(PathBuf::from("/a")),
            errno: Some(Errno::ELOOP),
            message: "\n".repeat(2 * MAX_RECORD),
        };
        assert_eq!(record.to_line().len(), MAX_RECORD);
        let Some(Record::Failed { step, errno, message, .. }) = round_trip(&record) else { panic!() };
        assert_eq!((step, errno), (Step::Landlock, Some(Errno::ELOOP)));
        assert!(message.bytes().all(|byte| byte == b'\n'));
    }

    proptest! {
        #[test]
        fn failures_survive_the_pipe(
            step in prop::sample::select(Step::ALL.to_vec()),
            call in "[a-z_]{1,20}",
            target in prop::option::of("[^\u{0}]{0,40}"),
            errno in prop::option::of(1..40),
            message in ".{0,60}",
        ) {
            let errno = errno.map(Errno::from_raw);
            let target = target.map(PathBuf::from);
            let record = Record::Failed { step, call, target, errno, message: message.clone() };
            prop_assert_eq!(round_trip(&record), Some(record));
            let record = Record::Exec { errno, exit_code: 127, message };
            prop_assert_eq!(round_trip(&record), Some(record));
        }

        #[test]
        fn arbitrary_lines_never_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _record = Record::parse(&line);
        }
    }
}
