//! The terminal of the person: its size, and its modes while a command in a terminal of its own is displayed in it.
//!
//! Every key is then a byte for the command, Ctrl-C included, and nothing is added to what the command writes. Whatever the
//! way out, the modes are put back: at the end, when `codex` stops, and in a panic, which unwinds nothing.

use std::io::IsTerminal as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use codex_core::exec::TerminalSize;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::world;

/// What has to be put back.
struct Held {
    terminal: OwnedFd,
    modes: Termios,
}

static HELD: Mutex<Option<Held>> = Mutex::new(None);
/// What puts back the modes that the command has set in the terminal by what it wrote.
static DISPLAYED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// The size of the person's terminal, whichever stream it is; else what the environment says, else 24 lines of 80.
pub(crate) fn size() -> TerminalSize {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    [stdout.as_fd(), stdin.as_fd(), stderr.as_fd()].into_iter().find_map(TerminalSize::of).unwrap_or_else(
        || {
            let usual = TerminalSize::default();
            TerminalSize {
                rows: world::terminal_lines().unwrap_or(usual.rows),
                columns: world::terminal_columns().unwrap_or(usual.columns),
            }
        },
    )
}

/// Whether keys come from a terminal.
pub(crate) fn is_typed() -> bool {
    std::io::stdin().is_terminal()
}

/// Whether standard error is a terminal.
pub(crate) fn is_read() -> bool {
    std::io::stderr().is_terminal()
}

/// Whether standard error takes a line, now or before this time is over.
pub(crate) fn takes_complaints(within: Duration) -> bool {
    let stderr = std::io::stderr();
    let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    let within = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
    poll(&mut ready, within).is_ok_and(|count| count > 0)
}

/// Hands every key on as it is. Does nothing where standard input is no terminal, or has no modes to be had.
///
/// In the background, the kernel stops this process (`SIGTTOU`) until the shell gives it the terminal.
pub(crate) fn take_keys() {
    let stdin = std::io::stdin();
    let Ok(modes) = tcgetattr(&stdin) else { return };
    let mut held = lock(&HELD);
    let mut raw = modes.clone();
    cfmakeraw(&mut raw);
    if let Ok(terminal) = stdin.as_fd().try_clone_to_owned() {
        // Before the modes are changed, so that no moment is without somebody who knows them. Once they are, what is there
        // is ours.
        held.get_or_insert(Held { terminal, modes });
        if let Err(errno) = tcsetattr(&stdin, SetArg::TCSANOW, &raw) {
            tracing::warn!(%errno, "keys can't be handed on one by one");
        }
    }
}

/// Puts the terminal's modes back. What the command has set by what it wrote is put back by whoever writes.
pub(crate) fn give_back_keys() {
    put_back(lock(&HELD).take());
}

fn put_back(held: Option<Held>) {
    if let Some(Held { terminal, modes }) = held
        && let Err(errno) = tcsetattr(&terminal, SetArg::TCSANOW, &modes)
    {
        tracing::warn!(%errno, "the terminal's modes can't be put back");
    }
}

/// Notes what would put back the modes that the command has set.
pub(crate) fn note_displayed(restoration: Vec<u8>) {
    *lock(&DISPLAYED) = restoration;
}

/// Puts everything back at once, on the way out of a program that is broken: waits for nobody.
pub(crate) fn give_back_in_panic() {
    if let Ok(displayed) = DISPLAYED.try_lock()
        && !displayed.is_empty()
    {
        crate::render::put_back(&displayed);
    }
    if let Ok(mut held) = HELD.try_lock() {
        put_back(held.take());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
