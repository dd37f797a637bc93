//! Watching over a run: reading what it writes, ending it in time, collecting it.
//!
//! One loop waits for everything at once: the deadline, the caller's cancellation, the end of the process (its pidfd
//! becomes readable), and the two streams. Nothing polls.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use codex_linux_sandbox::{Ending, MAX_RECORD, Record};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::read;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::outcome::{ExecError, ResourceUsage};
use super::spawn::{Child, Pipes};
use super::subreaper::Subreaper;
use super::sys;
use super::warden::Warden;
use crate::output::{Capture, Captured, OutputBudget};

/// How much is read from a stream at once. What a pipe holds by default.
const CHUNK: usize = 64 * 1024;
/// As much as a pipe holds where nobody asked for more: `/proc/sys/fs/pipe-max-size` bounds what the command can ask for.
const MOST_IN_A_PIPE: usize = 1024 * 1024;
/// More records than a run has.
const MOST_RECORDS: usize = 3;
/// How long streams are read on after the command was killed: what it wrote is in the pipes by then.
const DRAIN_AFTER_KILL: Duration = Duration::from_millis(100);

/// How many times the drain may begin anew: a descendant that writes without end is not waited for without end.
const DRAINS: u32 = 5;
/// How long a killed process is waited for. It is gone within microseconds, unless the kernel holds it in a device or on
/// a network mount; then the call returns without it.
const KILL_PATIENCE: Duration = Duration::from_secs(2);

/// Why we ended the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Killed {
    Deadline(Duration),
    Cancelled,
}

/// When to end a run.
pub(super) struct Limits<'a> {
    pub(super) started: Instant,
    pub(super) deadline: Option<Duration>,
    pub(super) drain: Duration,
    pub(super) cancellation: CancellationToken,
    pub(super) forward: &'a mut Option<UnboundedReceiver<Signal>>,
    pub(super) subreaper: Option<Arc<Subreaper>>,
}

impl Limits<'_> {
    /// Ends the command, and what it has left behind so far.
    fn kill(&self, child: &Child) {
        child.kill_tree();
        if let Some(subreaper) = &self.subreaper {
            subreaper.kill();
        }
    }
}

/// Everything that was seen of a run.
pub(super) struct Seen {
    pub(super) status: Option<(Ending, ResourceUsage)>,
    pub(super) killed: Option<Killed>,
    pub(super) ended: Instant,
    pub(super) stdout: Captured,
    pub(super) stderr: Captured,
    pub(super) output: Captured,
    pub(super) streams_left_open: bool,
    pub(super) records: Vec<Record>,
}

/// Waits for a run to end, whatever it takes.
pub(super) async fn supervise(
    mut child: Child,
    pipes: Pipes,
    limits: Limits<'_>,
    budget: OutputBudget,
    warden: &mut Option<Warden>,
) -> Result<Seen, ExecError> {
    let watching = |errno: std::io::Error| ExecError::Prepare {
        call: "epoll_ctl",
        errno: errno.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
    };
    let pidfd = child.pidfd().try_clone().and_then(sys::watch).map_err(watching)?;
    let mut told = Told::new(pipes.status).map_err(watching)?;
    let mut streams = Streams::new(pipes.stdout, pipes.stderr, budget).map_err(watching)?;
    let captured = !streams.are_closed();
    let mut killed: Option<(Killed, Instant)> = None;
    let mut ended: Option<Instant> = None;
    // Whether the process itself has ended. Who stands for the command stays a while, if something of it is left.
    let mut gone = false;
    // While the process lives: the deadline. Afterwards: the end of the drain.
    let deadline = limits.deadline.and_then(|deadline| limits.started.checked_add(deadline));
    let mut last_byte = limits.started;
    loop {
        let until = match (ended, killed) {
            (None, None) => deadline,
            (None, Some((_, at))) => Some(at + KILL_PATIENCE),
            (Some(ended), killed) => {
                let drain = if killed.is_some() { DRAIN_AFTER_KILL } else { limits.drain };
                let silence = (last_byte.max(ended) + drain).min(ended + drain * DRAINS);
                // A deadline that has passed leaves what is in the pipes to be read, and no more.
                Some(deadline.filter(|_| killed.is_none()).map_or(silence, |deadline| silence.min(deadline)))
            }
        };
        if ended.is_some() && streams.are_closed() {
            break;
        }
        tokio::select! {
            biased;
            () = at(until) => {
                let Some(deadline) = limits.deadline.filter(|_| ended.is_none() && killed.is_none()) else { break };
                limits.kill(&child);
                killed = Some((Killed::Deadline(deadline), Instant::now()));
            }
            () = limits.cancellation.cancelled(), if killed.is_none() && ended.is_none() => {
                limits.kill(&child);
                killed = Some((Killed::Cancelled, Instant::now()));
            }
            signal = next(limits.forward), if ended.is_none() => child.signal(signal),
            ready = pidfd.readable(), if !gone => {
                ready.map_err(watching)?.retain_ready();
                gone = true;
                ended.get_or_insert_with(Instant::now);
            }
            // Without streams to read on there is nothing to wait for between the command's end and the rest's.
            () = told.more(), if captured && ended.is_none() => {
                if told.records().any(|record| matches!(record, Record::Ended(_))) {
                    ended = Some(Instant::now());
                }
            }
            () = streams.read() => last_byte = Instant::now(),
            () = tend(warden) => {}
        }
    }
    // Whatever ended the wait: what was written by now is read.
    streams.take_what_is_there();
    let streams_left_open = !streams.are_closed();
    if ended.is_some() && !gone {
        limits.kill(&child);
        gone = tokio::time::timeout(KILL_PATIENCE, pidfd.readable()).await.is_ok();
    }
    // What is left of the group ends before its leader is collected, so that its number is still its own. A process that
    // could not be killed is collected when it lets itself be, by whoever the child is dropped to.
    child.kill_group();
    let status = if gone { child.reap().ok() } else { None };
    told.read();
    let (stdout, stderr, output) = streams.finish();
    Ok(Seen {
        status,
        killed: killed.map(|(why, _)| why),
        ended: ended.unwrap_or_else(Instant::now),
        stdout,
        stderr,
        output,
        streams_left_open,
        records: told.records().collect(),
    })
}

/// Never ready: what is to be done is done on the way.
async fn tend(warden: &mut Option<Warden>) {
    match warden {
        Some(warden) => warden.tend().await,
        None => std::future::pending().await,
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// The next signal to pass on. Never ready where there is none to come.
async fn next(forward: &mut Option<UnboundedReceiver<Signal>>) -> Signal {
    if let Some(signals) = forward {
        if let Some(signal) = signals.recv().await {
            return signal;
        }
        *forward = None;
    }
    std::future::pending().await
}

/// What the helper says. Reading does not wait for an end: a helper that the kernel does not let go of still holds the
/// pipe.
struct Told {
    /// Nothing once it was closed on the other side.
    pipe: Option<AsyncFd<OwnedFd>>,
    bytes: Vec<u8>,
}

impl Told {
    fn new(pipe: OwnedFd) -> std::io::Result<Self> {
        Ok(Self { pipe: Some(sys::watch(pipe)?), bytes: Vec::new() })
    }

    /// Waits until there is more, and takes it. Never ready where no more can come.
    async fn more(&mut self) {
        match &self.pipe {
            Some(pipe) => match pipe.readable().await {
                Ok(mut ready) => {
                    ready.clear_ready();
                    self.read();
                }
                Err(_ended) => self.pipe = None,
            },
            None => std::future::pending().await,
        }
    }

    /// Takes what is there. As much as the helper has to say, and no more.
    fn read(&mut self) {
        let mut free = [0; MAX_RECORD];
        while let Some(pipe) = self.pipe.as_ref().filter(|_| self.bytes.len() < MOST_RECORDS * MAX_RECORD) {
            match read(pipe.get_ref(), &mut free) {
                Ok(0) => self.pipe = None,
                Ok(count) => self.bytes.extend_from_slice(free.get(..count).unwrap_or_default()),
                Err(Errno::EINTR) => {}
                Err(_) => break,
            }
        }
    }

    fn records(&self) -> impl Iterator<Item = Record> {
        // What is not ended by a newline has not come whole.
        self.bytes
            .split_inclusive(|byte| *byte == b'\n')
            .filter_map(|line| Record::parse(line.strip_suffix(b"\n")?))
    }
}

/// Both streams of a run and what was kept of them.
struct Streams {
    stdout: Stream,
    stderr: Stream,
    output: Capture,
    chunk: Vec<u8>,
}

struct Stream {
    pipe: Option<Receiver>,
    capture: Capture,
}

impl Streams {
    fn new(stdout: Option<OwnedFd>, stderr: Option<OwnedFd>, budget: OutputBudget) -> std::io::Result<Self> {
        let stream = |end: Option<OwnedFd>| {
            let pipe = end.map(Receiver::from_owned_fd).transpose()?;
            Ok::<_, std::io::Error>(Stream { pipe, capture: Capture::new(budget) })
        };
        let captured = stdout.is_some() || stderr.is_some();
        Ok(Self {
            stdout: stream(stdout)?,
            stderr: stream(stderr)?,
            output: Capture::new(budget),
            chunk: vec![0; if captured { CHUNK } else { 0 }],
        })
    }

    const fn are_closed(&self) -> bool {
        self.stdout.pipe.is_none() && self.stderr.pipe.is_none()
    }

    /// Waits until one of the streams has something, or has ended, and takes one chunk from each that has: a stream that
    /// is never empty must not keep the other one from being read.
    async fn read(&mut self) {
        tokio::select! {
            () = readable(self.stdout.pipe.as_ref()) => {}
            () = readable(self.stderr.pipe.as_ref()) => {}
        }
        // Two pipes have no common clock: of what waits in both, output comes first.
        for stream in [&mut self.stdout, &mut self.stderr] {
            if let Some(pipe) = &stream.pipe {
                let read = pipe.try_read(&mut self.chunk);
                stream.keep(read, &self.chunk, &mut self.output);
            }
        }
    }

    /// Takes what the pipes hold at this moment, waiting for nothing. Not more than they can hold, since a process that
    /// writes on could fill them as fast as they are read.
    fn take_what_is_there(&mut self) {
        for stream in [&mut self.stdout, &mut self.stderr] {
            for _ in 0..MOST_IN_A_PIPE.div_ceil(CHUNK) {
                // Past the runtime, which only knows of what it was told before.
                let Some(pipe) = &stream.pipe else { break };
                let read = read(pipe, &mut self.chunk).map_err(std::io::Error::from);
                let nothing = read.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
                stream.keep(read, &self.chunk, &mut self.output);
                if nothing {
                    break;
                }
            }
        }
    }

    fn finish(self) -> (Captured, Captured, Captured) {
        (self.stdout.capture.finish(), self.stderr.capture.finish(), self.output.finish())
    }
}

/// Never ready where there is no pipe.
async fn readable(pipe: Option<&Receiver>) {
    match pipe {
        // An error shows again in the read that follows.
        Some(pipe) => drop(pipe.readable().await),
        None => std::future::pending().await,
    }
}

impl Stream {
    /// Keeps what was read into the chunk.
    fn keep(&mut self, read: std::io::Result<usize>, chunk: &[u8], output: &mut Capture) {
        match read {
            Ok(0) => self.pipe = None,
            Ok(count) => {
                let bytes = chunk.get(..count).unwrap_or_default();
                self.capture.push(bytes);
                output.push(bytes);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => {
                tracing::warn!(%error, "a stream can't be read on");
                self.pipe = None;
            }
        }
    }
}
