//! A pipe of ours, and where what comes from it goes.

use std::io::ErrorKind;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use nix::sys::socket::{MsgFlags, send};
use nix::unistd::{read, write};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Onward;
use crate::exec::error::ExecError;
use crate::exec::spawn::watching;
use crate::exec::sys;
use crate::output::{Capture, OutputBudget};

/// How much is taken at a time.
const CHUNK: usize = 16 * 1024;
/// How much a pipe takes as a whole or not at all, whoever else writes to it: `PIPE_BUF` of `pipe(7)`.
const WHOLE: usize = 4096;

#[cfg(test)]
mod tests;

/// What passes through this process.
pub(in crate::exec) struct Passage {
    /// Nothing once nobody takes what comes: then the command finds its reader gone, as it would without us.
    tap: Option<AsyncFd<OwnedFd>>,
    onward: AsyncFd<OwnedFd>,
    is_socket: bool,
    /// What has come and was not taken yet, from `taken` on.
    waiting: Vec<u8>,
    taken: usize,
    heard: Capture,
}

impl Passage {
    pub(super) fn begin(tap: OwnedFd, onward: Onward) -> Result<Self, ExecError> {
        let (onward, is_socket) = match onward {
            Onward::Pipe(pipe) => (pipe, false),
            Onward::Socket(socket) => (socket, true),
        };
        Ok(Self {
            tap: Some(sys::watch(tap).map_err(watching)?),
            onward: sys::watch_writable(onward).map_err(watching)?,
            is_socket,
            waiting: Vec::new(),
            taken: 0,
            heard: Capture::new(OutputBudget::default()),
        })
    }

    /// Waits until something has come, or is taken, and hands on what it can. Never ready once nobody takes it.
    pub(super) async fn tend(&mut self) {
        let Some(tap) = &self.tap else { return std::future::pending().await };
        if self.waiting.is_empty() {
            let ready = tap.readable().await.is_ok();
            if !ready || !self.take(|tap, chunk| tap.try_io(Interest::READABLE, |tap| Ok(read(tap, chunk)?)))
            {
                return;
            }
        } else if self.onward.writable().await.is_err() {
            return self.give_up();
        }
        self.hand_on();
    }

    /// Hands on what is in the pipe at this moment, for as long as it takes. To be called when nobody writes to it any more.
    pub(super) async fn rest(&mut self) {
        // How much that can be depends on how it was put there: one piece that was spliced can be longer than a page.
        let there = self.tap.as_ref().and_then(|tap| sys::bytes_there(tap.get_ref().as_fd()).ok());
        let mut left = there.unwrap_or_default();
        loop {
            self.hand_on();
            if self.tap.is_none() {
                return;
            }
            if !self.waiting.is_empty() {
                if self.onward.writable().await.is_err() {
                    return self.give_up();
                }
                continue;
            }
            // Past the runtime, which only knows of what it was told before. Not more than there was, should somebody write on.
            if left == 0 || !self.take(|tap, chunk| Ok(read(tap.get_ref(), chunk)?)) {
                return;
            }
            left = left.saturating_sub(self.waiting.len());
        }
    }

    /// The beginning and the end of what has come.
    pub(super) fn heard(&self) -> Vec<u8> {
        self.heard.snapshot().both_ends()
    }

    /// Takes a chunk. Says whether there was one. Where nothing can come any more, nobody waits for it.
    fn take(&mut self, take: impl FnOnce(&AsyncFd<OwnedFd>, &mut [u8]) -> std::io::Result<usize>) -> bool {
        let Some(tap) = &self.tap else { return false };
        self.waiting.resize(CHUNK, 0);
        let taken = take(tap, &mut self.waiting);
        self.waiting.truncate(*taken.as_ref().unwrap_or(&0));
        self.heard.push(&self.waiting);
        match taken {
            Ok(count) if count > 0 => return true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Ok(_) | Err(_) => self.tap = None,
        }
        false
    }

    /// Hands on as much as is taken without waiting.
    fn hand_on(&mut self) {
        while let Some(left) = self.waiting.get(self.taken..).filter(|left| !left.is_empty()) {
            let piece = first_lines(left);
            let given = self.onward.try_io(Interest::WRITABLE, |onward| {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                let given = if self.is_socket {
                    send(onward.as_raw_fd(), piece, flags)
                } else {
                    write(onward, piece)
                };
                Ok(given?)
            });
            match given {
                Ok(count) => self.taken += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_nobody_reads) => return self.give_up(),
            }
        }
        self.waiting.clear();
        self.taken = 0;
    }

    fn give_up(&mut self) {
        self.tap = None;
        self.waiting.clear();
        self.taken = 0;
    }
}

/// What is written at once: whole lines as far as they fit, so that no other writer comes between the beginning and the end of
/// one.
fn first_lines(bytes: &[u8]) -> &[u8] {
    let fits = bytes.get(..WHOLE.min(bytes.len())).unwrap_or_default();
    let lines = memchr::memrchr(b'\n', fits).map_or(fits.len(), |newline| newline + 1);
    fits.get(..lines).unwrap_or_default()
}
