//! The whole of a stream in a private file, so that what a text leaves out can still be looked up.
//!
//! ```text
//! push ▶ buffer (bounded) ▶ a thread ▶ file
//! ```
//!
//! - Pushing never touches the disk: it copies into a buffer, and a thread of its own writes that in large pieces. The
//!   thread is started, and the file made, once more has come than [`SpillOptions::at_least`]; most calls write less.
//! - A slow disk holds up the command for [`SpillOptions::stall`] at most, all in all: whoever pushes waits for
//!   [`Spill::ready`] before reading on. After that, or at an error, or at [`SpillOptions::max_bytes`], the file keeps what
//!   it has, and the report says how much that is and why. Everything else about the call goes on as if nothing had been
//!   spilled.
//! - What the kernel has taken may still be lost in a power cut, or at an error of the disk that it only meets later:
//!   nothing is synchronised. It is the output of a command, not a database.
//! - The file has mode 0600, a name that nobody had before, and lies in a [`SpillDirectory`]. No command may be able to
//!   write there; the caller sees to that.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use serde::{Serialize, Serializer};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::OutputStream;
use super::stall::Stall;

pub use directory::{SpillDirectory, SpillDirectoryError, SweepLimits, Swept};
pub use index::{LineIndex, StreamRun, StreamRuns};
pub use tap::{SpillPiece, SpillTap};

mod directory;
mod index;
mod tap;
#[cfg(test)]
mod tests;
mod writer;

/// How much is waited for before it is written, as long as more comes.
const PIECE: usize = 64 * 1024;
/// What the end is always worth waiting for.
const LAST: Duration = Duration::from_millis(250);

/// The bounds of a [`Spill`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpillOptions {
    /// The size of the file.
    pub max_bytes: u64,
    /// A stream of at most so many bytes is not written to a file. At most [`buffer`](Self::buffer).
    pub at_least: usize,
    /// How much may wait to be written. A spill takes at most twice that and 200 KiB of memory.
    pub buffer: usize,
    /// For how long, in the whole life of the spill, whoever pushes waits for the disk.
    pub stall: Duration,
}

impl Default for SpillOptions {
    /// 1 GiB; nothing up to what [`OutputBudget`](super::OutputBudget) keeps by default; 128 KiB; 2 seconds.
    fn default() -> Self {
        Self {
            max_bytes: 1024 * 1024 * 1024,
            at_least: 40 * 1024,
            buffer: 128 * 1024,
            stall: Duration::from_secs(2),
        }
    }
}

/// Why a file does not have the whole stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpillStop {
    /// It has as much as it may have.
    #[error("the file has reached its limit of {0} bytes")]
    Full(u64),
    /// The disk was slower than the command for longer than it may hold it up.
    #[error("the disk is too slow")]
    Behind,
    /// The kernel refused something.
    #[error("{call}: {why} ({errno:?})", why = .errno.desc())]
    Refused {
        /// The system call.
        call: &'static str,
        /// Its error.
        errno: Errno,
    },
}

impl Serialize for SpillStop {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What became of a spill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SpillReport {
    /// The file. [`SpillDirectory::sweep`] takes it away some day. `None` where it could not be made, or has no name.
    pub path: Option<PathBuf>,
    /// How many bytes it has, from the start of the stream.
    pub bytes: u64,
    /// Whether these are all.
    pub complete: bool,
    /// Why they are not.
    pub error: Option<SpillStop>,
    /// Where lines are in it.
    #[serde(skip)]
    pub lines: Arc<LineIndex>,
    /// Which stream its pieces came from.
    #[serde(skip)]
    pub streams: Arc<StreamRuns>,
}

/// Writes a stream, or more than one in the order in which they are pushed, to a file.
#[derive(Debug)]
pub struct Spill {
    shared: Arc<Shared>,
    options: SpillOptions,
    directory: Arc<SpillDirectory>,
    /// What was pushed, and what of it is to be written.
    pushed: u64,
    accepted: u64,
    /// Where it can be read meanwhile. Its file has no name then.
    tap: Option<Arc<SpillTap>>,
    stall: Stall,
    started: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write, or nothing will come any more.
    work: Condvar,
    /// There is room, or the thread has ended.
    progress: Notify,
    /// Counted outside of the state's lock, so that nobody who pushes waits for it.
    lines: Mutex<LineIndex>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// Write what there is, however little.
    flush: bool,
    closed: bool,
    /// The thread has written what it will write.
    ended: bool,
    written: u64,
    stop: Option<SpillStop>,
    path: Option<PathBuf>,
    streams: StreamRuns,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lines(&self) -> MutexGuard<'_, LineIndex> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spill {
    /// A spill to which nothing has come yet. Makes nothing on the disk.
    #[must_use]
    pub fn new(directory: Arc<SpillDirectory>, options: SpillOptions) -> Self {
        Self {
            shared: Arc::default(),
            options,
            directory,
            pushed: 0,
            accepted: 0,
            tap: None,
            stall: Stall::of(options.stall),
            started: false,
        }
    }

    /// A spill whose file has no name: it can be read by the tap alone, and goes with that.
    #[must_use]
    pub fn tapped(directory: Arc<SpillDirectory>, options: SpillOptions, tap: Arc<SpillTap>) -> Self {
        let mut spill = Self::new(directory, options);
        tap.follow(&spill.shared);
        spill.tap = Some(tap);
        spill
    }

    /// Takes the next bytes. Never waits; where there is no room for them, since the caller did not wait for
    /// [`ready`](Self::ready) or that gave up, the file ends before them.
    pub fn push(&mut self, stream: OutputStream, bytes: &[u8]) {
        self.pushed += bytes.len() as u64;
        let mut state = self.shared.lock();
        if state.stop.is_some() || bytes.is_empty() {
            return;
        }
        let allowed = self.options.max_bytes.saturating_sub(self.accepted);
        let now = bytes.get(..usize::try_from(allowed).unwrap_or(usize::MAX)).unwrap_or(bytes);
        let room = self.options.buffer.max(PIECE).saturating_sub(state.waiting.len());
        // A chunk larger than the buffer fits when that is empty.
        if now.len() > room && !state.waiting.is_empty() {
            state.stop = Some(SpillStop::Behind);
            return;
        }
        let (length, capacity) = (state.waiting.len(), state.waiting.capacity());
        if self.started && capacity < length + now.len() {
            // All at once, and not by doubling beyond it.
            state.waiting.reserve_exact(self.options.buffer.max(length + now.len()) - length);
        }
        state.waiting.extend_from_slice(now);
        self.accepted += now.len() as u64;
        state.streams.add(stream, now.len() as u64);
        if now.len() < bytes.len() {
            state.stop = Some(SpillStop::Full(self.options.max_bytes));
        }
        let due = state.waiting.len() >= PIECE;
        drop(state);
        if self.pushed > self.options.at_least.min(self.options.buffer) as u64 && !self.started {
            self.start();
        } else if due {
            self.shared.work.notify_one();
        }
    }

    /// Waits until there is room for `bytes` more, but no longer than [`SpillOptions::stall`] all in all; returns at once
    /// where nothing is written any more. May be dropped halfway.
    pub async fn ready(&mut self, bytes: usize) {
        loop {
            let progress = self.shared.progress.notified();
            {
                let mut state = self.shared.lock();
                let fits = state.waiting.is_empty()
                    || state.waiting.len().saturating_add(bytes) <= self.options.buffer.max(PIECE);
                if fits || state.stop.is_some() || !self.started {
                    self.stall.end();
                    return;
                }
                if self.stall.is_used_up() {
                    state.stop = Some(SpillStop::Behind);
                    return;
                }
                state.flush = true;
            }
            self.shared.work.notify_one();
            if timeout_at(self.stall.begin(), progress).await.is_err() {
                self.stall.end();
                self.shared.lock().stop.get_or_insert(SpillStop::Behind);
                return;
            }
        }
    }

    /// Has written what was pushed so far, so that it can be read from the file soon.
    pub fn flush(&mut self) {
        if !self.started && self.pushed > 0 {
            self.start();
        }
        self.shared.lock().flush = true;
        self.shared.work.notify_one();
    }

    /// Waits until all is written, for as long as is left of [`SpillOptions::stall`], and a quarter of a second at least.
    /// `None` where there was too little for a file.
    pub async fn finish(mut self) -> Option<SpillReport> {
        if !self.started {
            return None;
        }
        self.shared.lock().closed = true;
        self.shared.work.notify_one();
        let until = self.stall.begin().max(Instant::now() + LAST);
        loop {
            let progress = self.shared.progress.notified();
            if self.shared.lock().ended {
                break;
            }
            if timeout_at(until, progress).await.is_err() {
                // The thread ends when the disk lets it; what it still writes is not counted on.
                self.shared.lock().stop.get_or_insert(SpillStop::Behind);
                break;
            }
        }
        let mut state = self.shared.lock();
        // Who reads it by a tap still wants to know.
        let streams =
            if self.tap.is_some() { state.streams.clone() } else { std::mem::take(&mut state.streams) };
        Some(SpillReport {
            path: state.path.clone(),
            bytes: state.written,
            complete: state.written == self.pushed,
            error: state.stop.filter(|_| state.written < self.pushed),
            lines: Arc::new(self.shared.lines().clone()),
            streams: Arc::new(streams),
        })
    }

    /// Starts the thread that makes the file and writes to it.
    fn start(&mut self) {
        let directory = Arc::clone(&self.directory);
        match self.tap.clone() {
            None => self.start_with(move || directory.create().map(|(file, path)| (file, Some(path)))),
            Some(tap) => self.start_with(move || {
                let file = directory.create_unnamed()?;
                tap.open(&file)?;
                Ok((file, None))
            }),
        }
    }

    /// Starts the thread with something else to write to.
    fn start_with<W, F>(&mut self, open: F)
    where
        W: Write,
        F: FnOnce() -> Result<(W, Option<PathBuf>), SpillStop> + Send + 'static,
    {
        self.started = true;
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("codex-spill".to_owned());
        if let Err(error) = thread.spawn(move || writer::run(&shared, open)) {
            let errno = error.raw_os_error().map_or(Errno::EAGAIN, Errno::from_raw);
            let mut state = self.shared.lock();
            state.stop = Some(SpillStop::Refused { call: "clone", errno });
            state.ended = true;
        }
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        // There was too little for a file, and nobody else to say so.
        state.ended |= !self.started;
        drop(state);
        self.shared.work.notify_one();
    }
}

/// The kernel's answer in an error of the standard library.
fn refused(call: &'static str, error: &std::io::Error) -> SpillStop {
    let errno = match (error.raw_os_error(), error.kind()) {
        (Some(errno), _) => Errno::from_raw(errno),
        // Nothing was written, and no reason given.
        (None, ErrorKind::WriteZero) => Errno::ENOSPC,
        (None, _) => Errno::EIO,
    };
    SpillStop::Refused { call, errno }
}

/// A file of a spill, locked as long as it is written to, so that nobody takes it away.
type SpillFile = File;
