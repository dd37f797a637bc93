//! Acts on processes, and the process that they are aimed at.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, getegid, geteuid, getgid, getuid, pause, write};

use crate::raw::{Word, duplicate_to, fork, syscall};
use crate::{Failure, Outcome};

pub(crate) fn act(name: &str, arguments: &[OsString]) -> Option<Outcome> {
    let word = |index: usize| {
        arguments.get(index).map(|word| word.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let number = |index: usize| {
        word(index).parse::<i32>().map_err(|_| Failure::Usage(format!("not a number: {}", word(index))))
    };
    Some(match name {
        "victim" => victim(),
        "read" => read(&word(0)),
        "read-link" => {
            std::fs::read_link(word(0)).map(|target| target.display().to_string()).map_err(Failure::from)
        }
        "list" => list(&word(0)),
        "ids" => Ok(format!("{} {} {} {}", getuid(), geteuid(), getgid(), getegid())),
        "exit" => number(0).map(|code| std::process::exit(code)),
        "raise" => number(0).and_then(end_by_signal),
        "signal-by-pidfd" => number(0).and_then(|pid| by_pidfd(libc::SYS_pidfd_send_signal, pid, number(1)?)),
        "descriptor-by-pidfd" => number(0).and_then(|pid| by_pidfd(libc::SYS_pidfd_getfd, pid, number(1)?)),
        "signal-by-owner" => number(0).and_then(by_owner),
        "own-child" => own_child(),
        _ => return None,
    })
}

/// Answers each line of its input until the input ends.
fn victim() -> Outcome {
    let mut stdout = std::io::stdout();
    stdout.write_all(b"ready\n")?;
    for line in std::io::stdin().lines() {
        drop(line?);
        stdout.write_all(b"here\n")?;
    }
    Ok(String::new())
}

/// Reads a file to its end, and says how long it was.
fn read(path: &str) -> Outcome {
    let mut content = Vec::new();
    std::fs::File::open(path)?.read_to_end(&mut content)?;
    Ok(content.len().to_string())
}

/// Lists a directory, and says how much is in it.
fn list(path: &str) -> Outcome {
    let entries = std::fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
    Ok(entries.len().to_string())
}

fn end_by_signal(number: i32) -> Outcome {
    let signal = Signal::try_from(number)?;
    if !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) {
        // The Rust runtime ignores SIGPIPE, and watches SIGSEGV and SIGBUS for overflows of the stack.
        crate::raw::dispose(signal, false)?;
    }
    raise(signal)?;
    Err(Failure::Usage(format!("lived through {signal}")))
}

fn by_pidfd(call: i64, pid: i32, argument: i32) -> Outcome {
    let number = |value: i32| Word::Number(i64::from(value).cast_unsigned());
    let held = syscall(libc::SYS_pidfd_open, &mut [number(pid), Word::Number(0)])?;
    let held = i32::try_from(held).map_err(|_| "not a descriptor".to_owned())?;
    syscall(call, &mut [number(held), number(argument), Word::Number(0), Word::Number(0)])?;
    Ok(String::new())
}

/// Names another process as the owner of a socket, then makes the socket ready: the kernel signals the owner.
fn by_owner(pid: i32) -> Outcome {
    let (end, other) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
    let descriptor = i64::from(end.as_raw_fd()).cast_unsigned();
    let owner = i64::from(pid).cast_unsigned();
    let set_owner = u64::from(libc::F_SETOWN.unsigned_abs());
    syscall(libc::SYS_fcntl, &mut [Word::Number(descriptor), Word::Number(set_owner), Word::Number(owner)])?;
    fcntl(&end, FcntlArg::F_SETFL(OFlag::O_ASYNC | OFlag::O_NONBLOCK))?;
    write(&other, b"x")?;
    Ok(String::new())
}

/// Signals a child of its own: what any shell does.
fn own_child() -> Outcome {
    match fork()? {
        ForkResult::Child => loop {
            pause();
        },
        ForkResult::Parent { child } => {
            kill(child, Signal::SIGTERM)?;
            match waitpid(child, None)? {
                WaitStatus::Signaled(_, Signal::SIGTERM, _) => Ok(String::new()),
                other => Err(Failure::Usage(format!("the child ended otherwise: {other:?}"))),
            }
        }
    }
}

/// Opens `path` as the descriptor `number`, which stays open across exec.
pub(crate) fn open_as(number: i32, path: &str, writable: bool) -> Result<(), Failure> {
    let file = std::fs::OpenOptions::new().read(true).write(writable).open(path)?;
    if file.as_raw_fd() == number {
        return Err(Errno::EEXIST.into());
    }
    duplicate_to(file.as_raw_fd(), number)?;
    Ok(())
}
