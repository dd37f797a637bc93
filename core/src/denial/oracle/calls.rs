//! System calls that are closed under every policy, by the words of programs that make them.
//!
//! `EPERM` from a filter names no object, and most who print it do not say what they tried: that is no evidence. These do. Whether
//! the call would have been made without the sandbox is asked of the machine, as far as it can be known.

use std::fs;

use codex_linux_sandbox::{Denial as Closed, Isolation, Network, Plan, Writes, denials, has_capability};
use nix::errno::Errno;

use super::super::judge::{Judge, Operation};
use super::super::record::Denial;
use super::super::seen::refusal_of;
use super::message::program_of;
use super::{Ended, typed_words};
use crate::enforcement::Level;
use crate::policy::NetworkAccess;

/// Words, in lower case, that stand in one line where a call was refused.
struct Words {
    words: &'static [&'static str],
    call: &'static str,
    takes: Takes,
}

/// What a call takes of whoever makes it, beside that nobody closed it.
#[derive(Clone, Copy, Debug)]
enum Takes {
    /// A capability, by its number in `capabilities(7)`.
    Capability(u32),
    /// Root's, or a user namespace of one's own.
    UserNamespace,
    /// That tracing is not restricted (`ptrace(2)`, Yama).
    Tracing,
}

const EPERM: &str = "operation not permitted";
const CAP_SYS_CHROOT: u32 = 18;
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_TIME: u32 = 25;
const CAP_SYSLOG: u32 = 34;
const CAP_PERFMON: u32 = 38;

/// As strace, ltrace, gdb, unshare of util-linux and of busybox, bubblewrap, mount, umount, chroot, dmesg, date, hostname and perf say it.
const SPOKEN: &[Words] = &[
    Words { words: &["ptrace(", EPERM], call: "ptrace", takes: Takes::Tracing },
    Words { words: &["ptrace: ", EPERM], call: "ptrace", takes: Takes::Tracing },
    Words { words: &["ptrace_traceme: ", EPERM], call: "ptrace", takes: Takes::Tracing },
    Words { words: &["unshare failed", EPERM], call: "unshare", takes: Takes::UserNamespace },
    Words { words: &["unshare(", EPERM], call: "unshare", takes: Takes::UserNamespace },
    Words { words: &["creating new namespace failed", EPERM], call: "clone", takes: Takes::UserNamespace },
    Words {
        words: &["no permissions to create", "new namespace"],
        call: "clone",
        takes: Takes::UserNamespace,
    },
    Words {
        words: &["after failed mount system call"],
        call: "mount",
        takes: Takes::Capability(CAP_SYS_ADMIN),
    },
    Words {
        words: &["must be superuser to unmount"],
        call: "umount2",
        takes: Takes::Capability(CAP_SYS_ADMIN),
    },
    Words {
        words: &["cannot change root directory", EPERM],
        call: "chroot",
        takes: Takes::Capability(CAP_SYS_CHROOT),
    },
    Words {
        words: &["read kernel buffer failed", EPERM],
        call: "syslog",
        takes: Takes::Capability(CAP_SYSLOG),
    },
    Words {
        words: &["cannot set date", EPERM],
        call: "clock_settime",
        takes: Takes::Capability(CAP_SYS_TIME),
    },
    Words {
        words: &["must be root to change the host name"],
        call: "sethostname",
        takes: Takes::Capability(CAP_SYS_ADMIN),
    },
    Words {
        words: &["no permission to enable", "event"],
        call: "perf_event_open",
        takes: Takes::Capability(CAP_PERFMON),
    },
];

/// The calls that a text speaks of and the policy closes.
pub(super) fn refused(text: &str, ended: &Ended<'_>, judge: &Judge<'_>) -> Vec<Denial> {
    let mut spoken = text.lines().filter_map(|line| Some((line, words_of(line)?))).peekable();
    if spoken.peek().is_none() {
        return Vec::new();
    }
    let closed = closed(judge);
    let confirmed = spoken.filter_map(|(line, Words { call, takes, .. })| {
        let mut rows = closed.iter().filter(|denial| denial.name == *call);
        let first = rows.next()?;
        // Where the arguments decide why, the first row is that of user namespaces.
        let is_known = rows.all(|row| row.reason == first.reason)
            || (!judge.root && asks_for_a_user_namespace(line, ended));
        possible(*takes, line, ended, judge).then(|| {
            let refusal = refusal_of(first, is_known.then_some(first.reason));
            Denial::likely(Operation::Call, first.name.to_owned(), refusal, program_of(line))
        })
    });
    confirmed.collect()
}

fn words_of(line: &str) -> Option<&'static Words> {
    let lower = line.to_ascii_lowercase();
    SPOKEN.iter().find(|spoken| spoken.words.iter().all(|word| lower.contains(word)))
}

/// What filters answer with `EPERM` at the judge's level.
fn closed(judge: &Judge<'_>) -> Vec<Closed> {
    let isolation = match judge.level {
        Level::None => return Vec::new(),
        Level::Landlock => Isolation::Landlock,
        Level::Namespaces => Isolation::Namespaces,
    };
    let network = match judge.policy.network {
        NetworkAccess::Restricted => Network::Off,
        NetworkAccess::Enabled => Network::Full,
    };
    let plan = Plan::new(isolation, Writes::Beneath(Vec::new()), network);
    let mut closed = denials(&plan, judge.unix_sockets);
    closed.retain(|denial| denial.answer.errno() == Errno::EPERM);
    closed
}

/// Whether it would have happened without the sandbox.
fn possible(takes: Takes, line: &str, ended: &Ended<'_>, judge: &Judge<'_>) -> bool {
    match takes {
        Takes::Capability(number) => judge.root && has_capability(number),
        // At level namespaces, users have user namespaces: it stands on one.
        Takes::UserNamespace if judge.root => has_capability(CAP_SYS_ADMIN),
        Takes::UserNamespace => judge.level == Level::Namespaces && asks_for_a_user_namespace(line, ended),
        Takes::Tracing => match yama() {
            0 => true,
            // Root traces whom it likes, others their own children, which let themselves be traced.
            1 => judge.root || is_of_a_child(line),
            2 => judge.root && has_capability(CAP_SYS_PTRACE),
            _ => false,
        },
    }
}

/// `/proc/sys/kernel/yama/ptrace_scope`: 0 where there is no Yama.
fn yama() -> u8 {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    scope.trim().parse().unwrap_or_default()
}

/// Whether tracing was refused to a child. gdb says it with a warning then, and without of a process that was there before.
fn is_of_a_child(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    lower.contains("traceme") || lower.starts_with("warning: ptrace")
}

/// Whether a user namespace was to be made, and not only another one, which a user alone may not have.
fn asks_for_a_user_namespace(line: &str, ended: &Ended<'_>) -> bool {
    const CLONE_NEWUSER: u32 = 0x1000_0000;
    let flags = line.split_once("unshare(0x").and_then(|(_, rest)| {
        let digits: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
        u32::from_str_radix(&digits, 16).ok()
    });
    if let Some(flags) = flags {
        return flags & CLONE_NEWUSER != 0;
    }
    let mut options = typed_words(ended.argv).skip_while(|word| !word.ends_with("unshare"));
    line.contains("new namespace")
        || options.any(|word| match word.strip_prefix("--") {
            Some(option) => option.starts_with("user") || option.starts_with("map-"),
            // Short ones stand together: `-Urn`.
            None => word.starts_with('-') && word.contains(['U', 'r', 'c']),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoken(line: &str) -> Option<&'static str> {
        words_of(line).map(|words| words.call)
    }

    #[test]
    fn programs_that_name_the_call_are_understood() {
        for (line, call) in [
            ("strace: test_ptrace_get_syscall_info: PTRACE_TRACEME: Operation not permitted", "ptrace"),
            ("PTRACE_TRACEME: Operation not permitted", "ptrace"),
            ("warning: ptrace: Operation not permitted", "ptrace"),
            ("unshare: unshare failed: Operation not permitted", "unshare"),
            ("unshare: unshare(0x10000000): Operation not permitted", "unshare"),
            ("bwrap: Creating new namespace failed: Operation not permitted", "clone"),
            ("       dmesg(1) may have more information after failed mount system call.", "mount"),
            ("umount: m: must be superuser to unmount.", "umount2"),
            ("chroot: cannot change root directory to '/': Operation not permitted", "chroot"),
            ("dmesg: read kernel buffer failed: Operation not permitted", "syslog"),
            ("date: cannot set date: Operation not permitted", "clock_settime"),
            ("hostname: you must be root to change the host name", "sethostname"),
            ("No permission to enable task-clock event.", "perf_event_open"),
        ] {
            assert_eq!(spoken(line), Some(call), "{line}");
        }
        for line in [
            "",
            "Operation not permitted",
            "chown: changing ownership of 'file': Operation not permitted",
            "ptrace: No such process",
            "rm: cannot remove '/opt/ptrace/file': Operation not permitted",
            "nice: cannot set niceness: Permission denied",
            "unshare: cannot change root filesystem propagation: Operation not permitted",
        ] {
            assert_eq!(spoken(line), None, "{line}");
        }
    }

    #[test]
    fn every_call_is_closed_at_both_levels() {
        for isolation in [Isolation::Landlock, Isolation::Namespaces] {
            let plan = Plan::new(isolation, Writes::Beneath(Vec::new()), Network::Full);
            let closed = denials(&plan, codex_linux_sandbox::UnixSockets::Refused);
            for Words { call, .. } in SPOKEN {
                let is_closed =
                    |denial: &Closed| denial.name == *call && denial.answer.errno() == Errno::EPERM;
                assert!(closed.iter().any(is_closed), "{call} at {isolation:?}");
            }
        }
    }

    #[test]
    fn a_user_namespace_is_told_from_others() {
        let asks = |line: &str, argv: &[&str]| {
            let argv: Vec<_> = argv.iter().map(std::ffi::OsString::from).collect();
            let outcome = crate::exec::Outcome::Exited { code: 1 };
            let cwd = std::path::Path::new("/");
            asks_for_a_user_namespace(line, &Ended { outcome: &outcome, text: &[], argv: &argv, cwd })
        };
        let failed = "unshare: unshare failed: Operation not permitted";
        assert!(asks(failed, &["unshare", "-Un", "true"]));
        assert!(asks(failed, &["sh", "-c", "unshare --map-root-user true"]));
        assert!(!asks(failed, &["sh", "-c", "unshare -n true"]));
        assert!(asks("unshare: unshare(0x10000000): Operation not permitted", &["unshare", "-n"]));
        assert!(!asks("unshare: unshare(0x40000000): Operation not permitted", &["unshare", "-r"]));
        assert!(asks("bwrap: Creating new namespace failed: Operation not permitted", &["bwrap"]));
    }

    #[test]
    fn children_are_told_from_others() {
        assert!(is_of_a_child("strace: ptrace(PTRACE_TRACEME, ...): Operation not permitted"));
        assert!(is_of_a_child("warning: ptrace: Operation not permitted"));
        assert!(!is_of_a_child("ptrace: Operation not permitted."));
    }
}
