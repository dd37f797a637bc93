//! A process of a session: from the moment its id is taken to the one it is forgotten.

mod follow;
mod input;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use codex_core::exec::{Ending, Outcome, Process};
use codex_linux_sandbox::shown;
use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;

use crate::protocol::{Chunk, Listed, ReadResult, Stream};
use crate::spill::Spilled;
pub(crate) use follow::{Following, as_chunk, follow, gap};
pub(crate) use input::{InputLane, Put};

/// What shells add to the number of a signal.
const SIGNAL_BASE: i32 = 128;
/// How much of a command line is kept, in bytes.
const KEPT: usize = 4096;
/// The code of what was killed.
const KILLED: i32 = SIGNAL_BASE + 9;

/// A process by the id that the client has given it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: String,
    /// The beginning of its command line.
    argv: Vec<String>,
    pub(crate) tty: bool,
    started_at_ms: u64,
    /// Ends it, whether it is there yet or not.
    pub(crate) end: CancellationToken,
    /// Where it takes input.
    pub(crate) input: Option<InputLane>,
    /// Where all of its output is kept.
    pub(crate) spill: Option<Spilled>,
    /// Nothing where it could not be started.
    process: SetOnce<Option<Arc<Process>>>,
    exit_code: SetOnce<i32>,
    over: AtomicBool,
}

impl Entry {
    pub(crate) fn new(
        id: String,
        argv: &[String],
        tty: bool,
        input: Option<InputLane>,
        spill: Option<Spilled>,
    ) -> Self {
        Self {
            id,
            argv: kept(argv),
            tty,
            started_at_ms: now_ms(),
            end: CancellationToken::new(),
            input,
            spill,
            process: SetOnce::new(),
            exit_code: SetOnce::new(),
            over: AtomicBool::new(false),
        }
    }

    /// Says what became of the start.
    pub(crate) fn started(&self, process: Option<Arc<Process>>) {
        if self.process.set(process).is_err() {
            tracing::warn!(process = shown(&self.id), "a process was started twice");
        }
    }

    /// The process, once it is there. Nothing where it could not be started.
    pub(crate) async fn process(&self) -> Option<Arc<Process>> {
        self.process.wait().await.clone()
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&self) -> bool {
        self.exit_code.get().is_none()
    }

    /// Waits for its end, and notes how that was.
    pub(crate) async fn watch(&self, process: &Process) {
        let code = match process.ended().await {
            Some(Ending::Exited { code }) => code,
            Some(Ending::Signalled { signal, .. }) => SIGNAL_BASE + signal,
            None => match &*process.wait().await {
                // We have killed it.
                Ok(result) if result.outcome == Outcome::Cancelled => KILLED,
                Ok(result) => result.outcome.exit_code(),
                Err(_nothing_ran) => KILLED,
            },
        };
        if self.exit_code.set(code).is_err() {
            tracing::warn!(process = shown(&self.id), "a process has ended twice");
        }
        process.is_over().await;
        if let Some(spill) = &self.spill {
            spill.is_over();
        }
        self.over.store(true, Ordering::Release);
    }

    /// How it has ended, once it has.
    pub(crate) async fn exit_code(&self) -> i32 {
        *self.exit_code.wait().await
    }

    /// Whether nothing of it is left.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    pub(crate) fn listed(&self) -> Listed {
        Listed {
            process_id: self.id.clone(),
            argv: self.argv.clone(),
            tty: self.tty,
            running: self.is_running(),
            exit_code: self.exit_code.get().copied(),
            started_at_ms: self.started_at_ms,
        }
    }

    /// What `process/read` answers, waiting as long as `until` lets it.
    pub(crate) async fn read(
        &self,
        after: u64,
        most: usize,
        until: impl Future<Output = ()>,
        extended: bool,
    ) -> Option<ReadResult> {
        let process = self.process().await?;
        let mut reader = process.reader(after)?;
        let read = tokio::select! {
            biased;
            read = reader.next(most) => read,
            () = until => reader.read(most),
        };
        let exit_code = match read.exited {
            Some(_) => Some(self.exit_code().await),
            None => self.exit_code.get().copied(),
        };
        let missed = read.missed.filter(|_| extended);
        let chunks: Vec<Chunk> = read.chunks.iter().map(as_chunk).collect();
        Some(ReadResult {
            chunks,
            next_seq: read.next_seq,
            exited: exit_code.is_some(),
            exit_code,
            closed: read.closed.is_some() || self.is_over(),
            failure: None,
            sandbox_denied: false,
            missed: missed.map(|missed| gap(self, after, missed, None)),
        })
    }
}

/// A stream by its name on the wire.
pub(crate) const fn stream(stream: codex_core::output::OutputStream) -> Stream {
    use codex_core::output::OutputStream;
    match stream {
        OutputStream::Stdout => Stream::Stdout,
        OutputStream::Stderr => Stream::Stderr,
        OutputStream::Pty => Stream::Pty,
    }
}

/// As much of a command line as is kept, beyond the end of the process too.
fn kept(argv: &[String]) -> Vec<String> {
    let (mut kept, mut left) = (Vec::new(), KEPT);
    for word in argv {
        // A word without a byte takes room as well.
        let Some(rest) = left.checked_sub(word.len() + size_of::<String>()) else {
            let begin = word.get(..word.floor_char_boundary(left)).unwrap_or_default();
            kept.push(format!("{begin}…"));
            break;
        };
        kept.push(word.clone());
        left = rest;
    }
    kept
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{KEPT, kept};

    #[test]
    fn the_beginning_of_a_command_line_is_kept() {
        let short = ["sh".to_owned(), String::new(), "exit 3".to_owned()];
        assert_eq!(kept(&short), short);
        let long = [vec!["sh".to_owned()], vec!["é".repeat(1 << 20)], short.to_vec()].concat();
        let found = kept(&long);
        assert!(found.len() == 2 && found[1].ends_with('…') && found[1].len() <= KEPT + "…".len());
        let many = kept(&vec![String::new(); 1 << 16]);
        assert_eq!((many.len(), many.last().unwrap().as_str()), (KEPT / size_of::<String>() + 1, "…"));
    }
}
