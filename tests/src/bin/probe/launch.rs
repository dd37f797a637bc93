//! Sets up what a caller of `codex` may have set up, then becomes the command.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt as _;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Gid, Uid, close, setgid, setgroups, setsid, setuid};

use crate::processes::open_as;
use crate::raw::{Word, dispose, exec, fork, syscall};
use crate::{Failure, Outcome};

/// `launch OPTION VALUE… -- COMMAND ARGUMENT…`.
pub(crate) fn act(name: &str, arguments: &[OsString]) -> Option<Outcome> {
    (name == "launch").then(|| launch(arguments))
}

fn launch(arguments: &[OsString]) -> Outcome {
    // The Rust runtime of this program ignored it; the command is to find the default.
    dispose(Signal::SIGPIPE, false)?;
    let end = arguments.iter().position(|word| word == "--").ok_or_else(|| "no command".to_owned())?;
    let (options, command) = arguments.split_at(end);
    let mut argv = command
        .iter()
        .skip(1)
        .map(|word| CString::new(word.clone().into_vec()).map_err(|_| "a NUL byte".to_owned()))
        .collect::<Result<Vec<_>, _>>()?;
    let program = argv.first().cloned().ok_or_else(|| "no command".to_owned())?;
    for pair in options.chunks(2) {
        let [option, value] = pair else { return Err(Failure::Usage("an option without its value".into())) };
        let value = value.to_string_lossy().into_owned();
        match option.to_string_lossy().as_ref() {
            "--argv0" => {
                if let Some(first) = argv.first_mut() {
                    *first = CString::new(value).map_err(|_| "a NUL byte".to_owned())?;
                }
            }
            "--session" if value == "new" => new_session()?,
            option => set(option, &value)?,
        }
    }
    Err(exec(&program, &argv).into())
}

fn set(option: &str, value: &str) -> Result<(), Failure> {
    let broken = || Failure::Usage(format!("{option} can't be {value}"));
    match option {
        "--umask" => {
            let bits = u32::from_str_radix(value, 8).map_err(|_| broken())?;
            umask(Mode::from_bits_truncate(bits));
        }
        "--ignore" => dispose(value.parse()?, true)?,
        "--block" => {
            let mut blocked = SigSet::empty();
            blocked.add(value.parse()?);
            sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), None)?;
        }
        "--nice" => {
            let nice = value.parse().map_err(|_| broken())?;
            syscall(libc::SYS_setpriority, &mut [Word::Number(0), Word::Number(0), Word::Number(nice)])?;
        }
        "--limit" => limit(value).ok_or_else(broken)??,
        "--cgroup" => std::fs::write(value, "0")?,
        "--user" => {
            let id = value.parse().map_err(|_| broken())?;
            setgroups(&[])?;
            setgid(Gid::from_raw(id))?;
            setuid(Uid::from_raw(id))?;
        }
        "--close" => close(value.parse::<i32>().map_err(|_| broken())?)?,
        "--open-read" | "--open-write" => {
            let (number, path) = value.split_once('=').ok_or_else(broken)?;
            open_as(number.parse().map_err(|_| broken())?, path, option == "--open-write")?;
        }
        _ => return Err(Failure::Usage(format!("no option is called {option}"))),
    }
    Ok(())
}

/// Lowers a soft limit: `NAME=NUMBER`.
fn limit(value: &str) -> Option<Result<(), Failure>> {
    let (name, number) = value.split_once('=')?;
    let resource = match name {
        "core" => Resource::RLIMIT_CORE,
        "cpu" => Resource::RLIMIT_CPU,
        "fsize" => Resource::RLIMIT_FSIZE,
        "nofile" => Resource::RLIMIT_NOFILE,
        "stack" => Resource::RLIMIT_STACK,
        _ => return None,
    };
    let soft = number.parse().ok()?;
    Some(getrlimit(resource).and_then(|(_, hard)| setrlimit(resource, soft, hard)).map_err(Failure::from))
}

/// Goes on in a new session, without a terminal; this process waits, and ends as that one does.
fn new_session() -> Result<(), Failure> {
    match fork()? {
        ForkResult::Child => {
            setsid()?;
            Ok(())
        }
        ForkResult::Parent { child } => match waitpid(child, None)? {
            WaitStatus::Exited(_, code) => std::process::exit(code),
            WaitStatus::Signaled(_, signal, _) => std::process::exit(128 + signal as i32),
            other => Err(Failure::Usage(format!("the session ended otherwise: {other:?}"))),
        },
    }
}
