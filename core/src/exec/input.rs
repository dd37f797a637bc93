//! What the caller has for a command's standard input, on its way there.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::unistd::write;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::Receiver;

/// What ends the input of a terminal in its usual mode, at the start of a line: Ctrl-D (`termios(3)`, VEOF).
const END_OF_TERMINAL_INPUT: u8 = 4;

/// Where it goes: a pipe, or the master of a terminal, which its output is read from as well.
pub(super) struct Sink {
    pub(super) target: Arc<AsyncFd<OwnedFd>>,
    pub(super) is_terminal: bool,
}

/// What is being written, and what waits to be.
pub(super) struct Input {
    /// Ends where the caller closes the input.
    waiting: Receiver<Vec<u8>>,
    /// Nothing once the input is closed, on either side.
    sink: Option<Sink>,
    chunk: Vec<u8>,
    written: usize,
}

impl Input {
    pub(super) const fn new(waiting: Receiver<Vec<u8>>) -> Self {
        Self { waiting, sink: None, chunk: Vec::new(), written: 0 }
    }

    /// Says where it goes. Nothing was written before.
    pub(super) fn goes_to(&mut self, sink: Option<Sink>) {
        self.sink = sink;
    }

    /// Writes what there is to write, as the command takes it. Never ready: may be dropped at any time and called anew.
    pub(super) async fn write(&mut self) {
        loop {
            let Some(sink) = &self.sink else { return std::future::pending().await };
            match self.chunk.get(self.written..).filter(|rest| !rest.is_empty()) {
                Some(rest) => {
                    let written =
                        sink.target.async_io(Interest::WRITABLE, |target| Ok(write(target, rest)?)).await;
                    match written {
                        Ok(count) => self.written += count,
                        Err(error) if error.raw_os_error() == Some(Errno::EINTR as i32) => {}
                        // Nobody reads it any more.
                        Err(_closed) => self.close(),
                    }
                }
                None => match self.waiting.recv().await {
                    Some(chunk) => (self.chunk, self.written) = (chunk, 0),
                    None if sink.is_terminal => {
                        // The terminal stays: only what is read from it ends.
                        let end = sink.target.async_io(Interest::WRITABLE, |target| {
                            Ok(write(target, &[END_OF_TERMINAL_INPUT])?)
                        });
                        if let Err(_closed) = end.await {}
                        self.close();
                    }
                    None => self.close(),
                },
            }
        }
    }

    /// Whoever still writes learns that nobody reads.
    fn close(&mut self) {
        self.sink = None;
        self.waiting.close();
        while self.waiting.try_recv().is_ok() {}
    }
}
