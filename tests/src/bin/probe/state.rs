//! What a process was given at its start.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{getcwd, getgroups, getpgrp, getpid, getppid, getsid};

use crate::raw::{Word, syscall};
use crate::{Failure, Outcome};

pub(crate) fn act(name: &str, arguments: &[OsString]) -> Option<Outcome> {
    Some(match name {
        "argv" => show(std::env::args_os()),
        "name" => show(std::env::args_os().take(1)),
        "environment" => show(std::env::vars_os().map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            name
        })),
        "state" => state(),
        "descriptors" => descriptors(),
        "echo-input" => echo_input(),
        "fill" => fill(arguments),
        _ => return None,
    })
}

/// One word a line, in hexadecimal, so that no byte is lost.
fn show(words: impl Iterator<Item = OsString>) -> Outcome {
    let mut lines = String::new();
    for word in words {
        for byte in word.as_bytes() {
            lines.push_str(&format!("{byte:02x}"));
        }
        lines.push('\n');
    }
    std::io::stdout().write_all(lines.as_bytes())?;
    Ok(String::new())
}

/// Everything that exec hands on, but arguments, environment and signals: a line each.
///
/// Signals are left to `cat /proc/self/status`: the Rust runtime changes them before `main`.
fn state() -> Outcome {
    let own = |number: i64, arguments: &[u64]| -> Result<i64, Errno> {
        let mut words: Vec<Word> = arguments.iter().copied().map(Word::Number).collect();
        syscall(number, &mut words)
    };
    let control = |option: i32| own(libc::SYS_prctl, &[u64::from(option.unsigned_abs()), 0, 0, 0, 0]);
    let mut lines = vec![
        format!("cwd {}", getcwd()?.display()),
        format!("group-of-its-own {}", getpgrp() == getpid()),
        format!("group {}", getpgrp()),
        format!("session {}", getsid(None)?),
        format!("groups {:?}", getgroups()?),
        // The raw call answers 20 minus the niceness.
        format!("nice {}", 20 - own(libc::SYS_getpriority, &[0, 0])?),
        format!("dumpable {}", control(libc::PR_GET_DUMPABLE)?),
        format!("keep-capabilities {}", control(libc::PR_GET_KEEPCAPS)?),
        format!("subreaper-parent {}", getppid().as_raw() > 0),
        format!("personality {}", own(libc::SYS_personality, &[0xffff_ffff])?),
        format!("timer-slack {}", control(libc::PR_GET_TIMERSLACK)?),
        format!("scheduler {}", own(libc::SYS_sched_getscheduler, &[0])?),
        format!("io-priority {}", own(libc::SYS_ioprio_get, &[1, 0])?),
    ];
    for name in ["oom_score_adj", "coredump_filter", "cgroup"] {
        let content = std::fs::read_to_string(format!("/proc/self/{name}"))?;
        lines.push(format!("{name} {}", content.trim().replace('\n', " ")));
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let wanted = ["Umask:", "Uid:", "Gid:", "Cpus_allowed:", "Mems_allowed:", "SigPnd:"];
    lines.extend(
        status
            .lines()
            .filter(|line| wanted.iter().any(|name| line.starts_with(name)))
            .map(|line| line.replace('\t', " ")),
    );
    let limits = [
        Resource::RLIMIT_AS,
        Resource::RLIMIT_CORE,
        Resource::RLIMIT_CPU,
        Resource::RLIMIT_DATA,
        Resource::RLIMIT_FSIZE,
        Resource::RLIMIT_LOCKS,
        Resource::RLIMIT_MEMLOCK,
        Resource::RLIMIT_MSGQUEUE,
        Resource::RLIMIT_NICE,
        Resource::RLIMIT_NOFILE,
        Resource::RLIMIT_NPROC,
        Resource::RLIMIT_RSS,
        Resource::RLIMIT_RTPRIO,
        Resource::RLIMIT_RTTIME,
        Resource::RLIMIT_SIGPENDING,
        Resource::RLIMIT_STACK,
    ];
    for limit in limits {
        let (soft, hard) = getrlimit(limit)?;
        lines.push(format!("{limit:?} {soft} {hard}"));
    }
    lines.push(String::new());
    std::io::stdout().write_all(lines.join("\n").as_bytes())?;
    Ok(String::new())
}

/// The descriptors that are open, by number and by what they are.
fn descriptors() -> Outcome {
    let mut open = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        // The directory being read is one of them.
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        if !target.ends_with("fd") {
            open.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    open.sort();
    Ok(open.join(" "))
}

/// Copies stdin to stdout, and nothing else.
fn echo_input() -> Outcome {
    let mut content = Vec::new();
    std::io::stdin().read_to_end(&mut content)?;
    std::io::stdout().write_all(&content)?;
    std::process::exit(0);
}

/// `fill COUNT`: writes that many bytes, in lines of 64, until nobody reads any more.
fn fill(arguments: &[OsString]) -> Outcome {
    const LINE: &[u8; 64] = b"..............................................................x\n";
    let count = arguments.first().and_then(|word| word.to_str()).and_then(|word| word.parse::<usize>().ok());
    let count = count.ok_or_else(|| Failure::Usage("fill needs a count".into()))?;
    let mut stdout = std::io::stdout().lock();
    for _ in 0..count / LINE.len() {
        stdout.write_all(LINE)?;
    }
    stdout.flush()?;
    std::process::exit(0);
}
