//! Processes that want to stay: their end shows as the end of the stdout that they hold.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write as _;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{ForkResult, alarm, pause, setsid};

use crate::raw::{dispose, fork};
use crate::{Failure, Outcome};

pub(crate) fn act(name: &str, arguments: &[OsString]) -> Option<Outcome> {
    let depth = || arguments.first().and_then(|word| word.to_str()).and_then(|word| word.parse::<u32>().ok());
    Some(match name {
        "stubborn" => stubborn(depth().unwrap_or_default()),
        "scattered" => scattered(depth().unwrap_or_default(), arguments.get(1)),
        "leave-behind" => leave_behind(arguments.first(), false),
        "leave-session-behind" => leave_behind(arguments.first(), true),
        "await-signal" => await_signal(),
        _ => return None,
    })
}

fn say(line: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout();
    stdout.write_all(line.as_bytes())?;
    stdout.write_all(b"\n")?;
    Ok(())
}

/// `stubborn DEPTH`: a chain of that many descendants, none of which ends for a polite signal.
fn stubborn(depth: u32) -> Outcome {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        dispose(signal, true)?;
    }
    for _ in 0..depth {
        if let ForkResult::Parent { .. } = fork()? {
            stay();
        }
    }
    say("ready")?;
    stay()
}

/// `scattered DEPTH [FIFO]`: the same, with each descendant in a session of its own, where no signal to a group finds it.
/// All of them hold the fifo.
fn scattered(depth: u32, fifo: Option<&OsString>) -> Outcome {
    hold(fifo)?;
    for _ in 0..depth {
        if let ForkResult::Parent { .. } = fork()? {
            stay();
        }
        setsid()?;
    }
    say("ready")?;
    stay()
}

/// Ends at once, and leaves a child that holds stdout, and the fifo where one is named.
fn leave_behind(fifo: Option<&OsString>, in_session: bool) -> Outcome {
    let (reader, writer) = nix::unistd::pipe()?;
    if let ForkResult::Child = fork()? {
        if in_session {
            setsid()?;
        }
        hold(fifo)?;
        drop(writer);
        stay();
    }
    drop(writer);
    // The read ends when the child is where it is to be.
    nix::unistd::read(&reader, &mut [0; 1])?;
    say("left")?;
    std::process::exit(0);
}

/// Keeps the fifo open until the end of the process.
fn hold(fifo: Option<&OsString>) -> Result<(), Failure> {
    if let Some(path) = fifo {
        std::mem::forget(OpenOptions::new().write(true).open(path)?);
    }
    Ok(())
}

/// A test that fails may leave this process to nobody: it ends by itself then, long after every test.
fn stay() -> ! {
    alarm::set(300);
    loop {
        pause();
    }
}

/// Waits for a signal, names it, and exits with 7.
fn await_signal() -> Outcome {
    let mut awaited = SigSet::empty();
    for signal in
        [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2]
    {
        awaited.add(signal);
    }
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&awaited), None)?;
    say("ready")?;
    let signal = awaited.wait()?;
    say(signal.as_str())?;
    std::process::exit(7);
}
