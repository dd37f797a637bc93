//! Reading what a command writes, as it comes, into what is kept of it.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::unistd::read;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::sys;
use crate::output::{
    Capture, Captured, CollapsedCapture, Feed, OutputBudget, OutputStream, Spill, SpillReport,
};

/// How much is read from a stream at once. What a pipe holds by default.
const CHUNK: usize = 64 * 1024;
/// As much as a pipe holds where nobody asked for more: `/proc/sys/fs/pipe-max-size` bounds what the command can ask for.
pub(super) const MOST_IN_A_PIPE: usize = 1024 * 1024;

thread_local! {
    /// Where a chunk is on its way from a pipe to what keeps it, which is one step without waiting: each run one of its own would
    /// be most of what a command costs that writes nothing.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// The streams of a run, and where what is read from them goes.
pub(super) struct Streams {
    stdout: Stream,
    stderr: Stream,
    both: Sinks,
    total: u64,
}

struct Stream {
    name: OutputStream,
    /// Nothing once it has ended, or where it is not captured.
    source: Option<Arc<AsyncFd<OwnedFd>>>,
    capture: Capture,
}

/// What takes both streams, in the order in which they are read.
pub(super) struct Sinks {
    /// How much is kept of all of it, and of each stream by itself.
    budget: OutputBudget,
    capture: Capture,
    pub(super) view: Option<CollapsedCapture>,
    pub(super) spill: Option<Spill>,
    pub(super) feed: Option<Arc<Feed>>,
}

impl Sinks {
    pub(super) fn new(budget: OutputBudget) -> Self {
        Self { budget, capture: Capture::new(budget), view: None, spill: None, feed: None }
    }

    fn push(&mut self, stream: OutputStream, bytes: &[u8]) {
        self.capture.push(bytes);
        if let Some(view) = &mut self.view {
            view.push(stream, bytes);
        }
        if let Some(spill) = &mut self.spill {
            spill.push(stream, bytes);
        }
        if let Some(feed) = &self.feed {
            feed.push(stream, bytes);
        }
    }

    /// Waits until everybody has room for a chunk of each stream, for as long as each may hold up the command.
    async fn ready(&mut self) {
        if let Some(spill) = &mut self.spill {
            spill.ready(2 * CHUNK).await;
        }
        if let Some(feed) = &self.feed {
            feed.ready(2 * CHUNK).await;
        }
    }
}

/// What was kept of the streams.
pub(super) struct Kept {
    pub(super) stdout: Captured,
    pub(super) stderr: Captured,
    pub(super) output: Captured,
    pub(super) view: Option<Captured>,
}

impl Streams {
    pub(super) fn new(
        stdout: Option<Arc<AsyncFd<OwnedFd>>>,
        stderr: Option<OwnedFd>,
        is_terminal: bool,
        both: Sinks,
    ) -> std::io::Result<Self> {
        let stderr = stderr.map(|pipe| sys::watch(pipe).map(Arc::new)).transpose()?;
        let stream = |name, source| Stream { name, source, capture: Capture::new(both.budget) };
        let name = if is_terminal { OutputStream::Pty } else { OutputStream::Stdout };
        Ok(Self {
            stdout: stream(name, stdout),
            stderr: stream(OutputStream::Stderr, stderr),
            both,
            total: 0,
        })
    }

    pub(super) const fn are_closed(&self) -> bool {
        self.stdout.source.is_none() && self.stderr.source.is_none()
    }

    /// How many bytes have come, on both together.
    pub(super) const fn bytes_total(&self) -> u64 {
        self.total
    }

    /// Waits until one of the streams has something, or has ended, and takes one chunk from each that has: a stream that
    /// is never empty must not keep the other one from being read.
    pub(super) async fn read(&mut self) {
        tokio::select! {
            () = readable(self.stdout.source.as_deref()) => {}
            () = readable(self.stderr.source.as_deref()) => {}
        }
        self.both.ready().await;
        // Two pipes have no common clock: of what waits in both, output comes first.
        for stream in [&mut self.stdout, &mut self.stderr] {
            self.total += BUFFER.with_borrow_mut(|chunk| {
                let Some(source) = &stream.source else { return 0 };
                let taken = source.try_io(Interest::READABLE, |source| Ok(read(source, chunk)?));
                stream.keep(taken, chunk, &mut self.both)
            });
        }
    }

    /// Takes what the pipes hold at this moment, waiting for nothing. Not more than they can hold, since a process that
    /// writes on could fill them as fast as they are read.
    pub(super) fn take_what_is_there(&mut self) {
        for stream in [&mut self.stdout, &mut self.stderr] {
            for _ in 0..MOST_IN_A_PIPE.div_ceil(CHUNK) {
                // Past the runtime, which only knows of what it was told before.
                let (nothing, count) = BUFFER.with_borrow_mut(|chunk| {
                    let Some(source) = &stream.source else { return (true, 0) };
                    let taken = read(source.get_ref(), chunk).map_err(std::io::Error::from);
                    let nothing = taken.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
                    (nothing, stream.keep(taken, chunk, &mut self.both))
                });
                self.total += count;
                if nothing {
                    break;
                }
            }
        }
    }

    /// Tells whoever follows that the command has ended. What it wrote was taken before.
    pub(super) fn command_has_ended(&self) {
        if let Some(feed) = &self.both.feed {
            feed.exited();
        }
    }

    /// What was kept up to now.
    pub(super) fn snapshot(&self) -> Kept {
        let output = self.both.capture.snapshot();
        Kept {
            stdout: self.stdout.capture.snapshot(),
            stderr: self.stderr.capture.snapshot(),
            view: self.both.view.as_ref().map(|view| view.snapshot(&output)),
            output,
        }
    }

    /// What was kept of all that has come, once it is written to where it goes. Those who follow are told of the end where it is
    /// the call's.
    pub(super) async fn finish(self, is_the_end: bool) -> (Kept, Option<SpillReport>) {
        let Sinks { capture, view, spill, feed, .. } = self.both;
        let output = capture.finish();
        let kept = Kept {
            stdout: self.stdout.capture.finish(),
            stderr: self.stderr.capture.finish(),
            view: view.map(|view| view.finish(&output)),
            output,
        };
        if let Some(feed) = feed.filter(|_| is_the_end) {
            feed.exited();
            feed.close();
        }
        let spill = match spill {
            Some(spill) => spill.finish().await,
            None => None,
        };
        (kept, spill)
    }
}

/// Never ready where there is no stream.
async fn readable(source: Option<&AsyncFd<OwnedFd>>) {
    match source {
        // An error shows again in the read that follows.
        Some(source) => drop(source.readable().await),
        None => std::future::pending().await,
    }
}

impl Stream {
    /// Keeps what was read into the chunk, and says how much it was.
    fn keep(&mut self, taken: std::io::Result<usize>, chunk: &[u8], both: &mut Sinks) -> u64 {
        match taken {
            Ok(0) => self.source = None,
            Ok(count) => {
                let bytes = chunk.get(..count).unwrap_or_default();
                self.capture.push(bytes);
                both.push(self.name, bytes);
                return bytes.len() as u64;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            // What a terminal says when nobody has it open any more.
            Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => self.source = None,
            Err(error) => {
                tracing::warn!(%error, "a stream can't be read on");
                self.source = None;
            }
        }
        0
    }
}
