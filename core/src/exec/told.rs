//! What the helper says over the status pipe.

use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

use codex_linux_sandbox::{Enforced, MAX_RECORD, Record};
use nix::errno::Errno;
use nix::unistd::read;
use tokio::io::unix::AsyncFd;

use super::sys;

/// More records than a run has, but for those of stops, which are not kept.
const MOST_RECORDS: usize = 8;
/// More than the broker tells of, and of how much more there was.
const MOST_REFUSED: usize = 64;

/// What was said, and the pipe over which more may come. Reading does not wait for an end: a helper that the kernel does not
/// let go of still holds the pipe.
pub(super) struct Told {
    /// Nothing once it was closed on the other side.
    pipe: Option<AsyncFd<OwnedFd>>,
    /// The beginning of a record.
    unfinished: Vec<u8>,
    records: Vec<Record>,
    /// How many of them tell of what was refused.
    refused: usize,
    /// Whether a signal has stopped the command, by what was said last.
    stopped: bool,
    /// The process whose Landlock domain writes to the kernel's log, once that is said.
    logged: Arc<OnceLock<i32>>,
}

impl Told {
    pub(super) fn new(pipe: OwnedFd) -> std::io::Result<Self> {
        Ok(Self {
            pipe: Some(sys::watch(pipe)?),
            unfinished: Vec::new(),
            records: Vec::new(),
            refused: 0,
            stopped: false,
            logged: Arc::default(),
        })
    }

    /// Waits until there is more, and takes it. Never ready where no more can come.
    pub(super) async fn more(&mut self) {
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
    pub(super) fn read(&mut self) {
        let mut chunk = [0; MAX_RECORD];
        while let Some(pipe) = &self.pipe {
            match read(pipe.get_ref(), &mut chunk) {
                Ok(0) => self.pipe = None,
                Ok(count) => self.hear(chunk.get(..count).unwrap_or_default()),
                Err(Errno::EINTR) => {}
                Err(_) => break,
            }
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.unfinished.extend_from_slice(bytes);
        let end = self.unfinished.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let rest = self.unfinished.split_off(end);
        // What is not ended by a newline has not come whole.
        for line in std::mem::replace(&mut self.unfinished, rest).split(|byte| *byte == b'\n') {
            match Record::parse(line) {
                Some(Record::Stopped) => self.stopped = true,
                Some(Record::Continued) => self.stopped = false,
                Some(record @ (Record::Refused(_) | Record::Untold { .. }))
                    if self.refused < MOST_REFUSED =>
                {
                    self.refused += 1;
                    self.records.push(record);
                }
                Some(Record::Refused(_) | Record::Untold { .. }) => {}
                Some(record) if self.records.len() - self.refused < MOST_RECORDS => {
                    if let Record::Enforced(Enforced { logged: Some(process), .. }) = record {
                        self.logged.get_or_init(|| process);
                    }
                    self.records.push(record);
                }
                Some(_) | None => {}
            }
        }
        // No record is longer: whatever this is, it is not the helper.
        if self.unfinished.len() > MAX_RECORD {
            self.pipe = None;
        }
    }

    /// Whether the command has been executed. Where nobody stays beside it, the pipe is closed by that.
    pub(super) fn command_runs(&self) -> bool {
        let has = |wanted: fn(&Record) -> bool| self.records.iter().any(wanted);
        let is_known = has(|record| matches!(record, Record::Executed | Record::Ended { .. }));
        let confined = has(|record| matches!(record, Record::Enforced(_)));
        let failed = has(|record| matches!(record, Record::Exec { .. } | Record::Failed { .. }));
        is_known || (confined && !failed && self.pipe.is_none())
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    pub(super) fn into_records(self) -> Vec<Record> {
        self.records
    }

    /// Where it will be said whose Landlock domain writes to the kernel's log.
    pub(super) fn logged(&self) -> Arc<OnceLock<i32>> {
        Arc::clone(&self.logged)
    }

    /// Whether a signal has stopped the command since this was asked last.
    pub(super) fn take_stop(&mut self) -> bool {
        std::mem::take(&mut self.stopped)
    }
}
