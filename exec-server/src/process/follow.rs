//! What a process does, told to a connection as it happens and in order.
//!
//! Each follower reads the process's feed at the pace of its own connection. One that is too slow misses the oldest
//! output. A client that knows gaps is told of them; for one that does not, and that would wait for the numbers for
//! ever, the numbers come with nothing in them, and the first of them says so in words.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use codex_core::output::FeedReader;
use codex_core::output::feed::{FeedChunk, FeedRead, Missed};
use serde_json::value::RawValue;

use super::{Entry, stream};
use crate::metrics::Metrics;
use crate::outgoing::{Gone, Outgoing};
use crate::protocol::{
    Base64, Chunk, ClosedParams, ExitedParams, GapParams, MissedBytes, SpillCursor, Stream,
};

/// How much is taken from the feed at a time.
const AT_A_TIME: usize = 256 * 1024;

/// Who follows.
#[derive(Debug)]
pub(crate) struct Following {
    pub(crate) entry: Arc<Entry>,
    /// Events above this number; without one, those from now on.
    pub(crate) after: Option<u64>,
    /// Whether the client knows what is ours.
    pub(crate) extended: bool,
    /// The process's session, where it is not the connection's own.
    pub(crate) session: Option<String>,
    /// A reader that was there from the start: output waits for it, so that none is lost before it is followed.
    pub(crate) reader: Option<FeedReader>,
}

/// A chunk as it is answered.
pub(crate) fn as_chunk(chunk: &FeedChunk) -> Chunk {
    Chunk { seq: chunk.seq, stream: stream(chunk.stream), chunk: Base64(chunk.bytes.to_vec()) }
}

/// What a reader missed that had come to `after`.
pub(crate) fn gap(entry: &Entry, after: u64, missed: Missed, session: Option<&str>) -> GapParams {
    let end = missed.end;
    GapParams {
        process_id: entry.id.clone(),
        from_seq: after.saturating_add(1),
        to_seq: after.saturating_add(missed.events),
        bytes: missed.bytes.map(|bytes| MissedBytes {
            stdout: bytes.stdout,
            stderr: bytes.stderr,
            pty: bytes.pty,
        }),
        spill: entry.spill.is_some().then(|| SpillCursor {
            offset: missed.bytes.map(|bytes| end.saturating_sub(bytes.total())),
            end,
        }),
        session_id: session.map(str::to_owned),
    }
}

/// Tells a connection what a process does, until its streams end or the connection does.
pub(crate) async fn follow(mut following: Following, out: Outgoing, metrics: Arc<Metrics>) {
    let Some(process) = following.entry.process().await else { return };
    // What came before is not told again: who resumes a session asks for it.
    let now = || process.reader(u64::MAX).map(|mut reader| reader.read(0).next_seq.saturating_sub(1));
    let Some(after) = following.after.or_else(now) else { return };
    let Some(mut reader) = following.reader.take().or_else(|| process.reader(after)) else { return };
    let mut teller = Teller::new(following, out, metrics, after);
    while !teller.is_done {
        let read = tokio::select! {
            read = reader.next(AT_A_TIME) => read,
            () = teller.out.gone() => return,
        };
        if teller.tell(read).await.is_err() {
            return;
        }
    }
}

struct Teller {
    following: Following,
    out: Outgoing,
    metrics: Arc<Metrics>,
    /// What an output notification begins with, up to its number.
    prefix: String,
    /// The number after which it began, and the last one that was told.
    start: u64,
    after: u64,
    exited: bool,
    is_done: bool,
}

impl Teller {
    fn new(following: Following, out: Outgoing, metrics: Arc<Metrics>, start: u64) -> Self {
        // A string has a form in JSON whatever it holds.
        let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
        let session =
            following.session.as_deref().map(|session| format!("\"sessionId\":{},", quoted(session)));
        let prefix = format!(
            "{{\"method\":\"process/output\",\"params\":{{{}\"processId\":{},\"seq\":",
            session.unwrap_or_default(),
            quoted(&following.entry.id)
        );
        Self { following, out, metrics, prefix, start, after: start, exited: false, is_done: false }
    }

    async fn tell(&mut self, read: FeedRead) -> Result<(), Gone> {
        if let Some(missed) = read.missed {
            self.missed(missed, read.exited).await?;
        }
        for chunk in &read.chunks {
            if let Some(exited) = read.exited.filter(|exited| *exited < chunk.seq) {
                self.exit(exited).await?;
            }
            self.metrics.output_bytes.add(chunk.bytes.len() as u64);
            self.output(chunk.seq, stream(chunk.stream), &chunk.bytes).await?;
        }
        if let Some(exited) = read.exited {
            self.exit(exited).await?;
        }
        if let Some(closed) = read.closed {
            self.close(closed).await?;
        }
        self.after = self.after.max(read.next_seq.saturating_sub(1));
        Ok(())
    }

    async fn output(&mut self, seq: u64, stream: Stream, bytes: &[u8]) -> Result<(), Gone> {
        let name = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
            Stream::Pty => "pty",
        };
        let mut text = String::with_capacity(self.prefix.len() + bytes.len() / 3 * 4 + 80);
        text.push_str(&self.prefix);
        text += &format!("{seq},\"stream\":\"{name}\",\"chunk\":\"");
        STANDARD.encode_string(bytes, &mut text);
        text.push_str("\"}}");
        self.after = seq;
        self.out.send(text).await
    }

    async fn exit(&mut self, seq: u64) -> Result<(), Gone> {
        if self.exited || seq <= self.start {
            return Ok(());
        }
        self.exited = true;
        let exit_code = self.following.entry.exit_code().await;
        self.out
            .tell(
                "process/exited",
                ExitedParams {
                    process_id: self.following.entry.id.clone(),
                    seq,
                    exit_code,
                    sandbox_denied: false,
                    session_id: self.following.session.clone(),
                },
            )
            .await
    }

    async fn close(&mut self, seq: u64) -> Result<(), Gone> {
        self.is_done = true;
        if seq <= self.start {
            return Ok(());
        }
        let result = if self.following.extended { self.result().await } else { None };
        self.out
            .tell(
                "process/closed",
                ClosedParams {
                    process_id: self.following.entry.id.clone(),
                    seq,
                    result,
                    session_id: self.following.session.clone(),
                },
            )
            .await
    }

    /// How it ended, in the words of the JSON result, without the streams.
    async fn result(&self) -> Option<Box<RawValue>> {
        let process = self.following.entry.process().await?;
        let answer = process.wait().await;
        let mut result = match &*answer {
            Ok(result) => serde_json::to_value(result).ok()?,
            Err(error) => serde_json::json!({ "outcome": "not_started", "failure": error.to_string() }),
        };
        if let Some(members) = result.as_object_mut() {
            for stream in ["stdout", "stderr", "output", "spill"] {
                members.remove(stream);
            }
        }
        serde_json::value::to_raw_value(&result).ok()
    }

    async fn missed(&mut self, missed: Missed, exited: Option<u64>) -> Result<(), Gone> {
        let told = gap(&self.following.entry, self.after, missed, self.following.session.as_deref());
        let bytes = told.bytes.map_or(0, |bytes| bytes.stdout + bytes.stderr + bytes.pty);
        self.metrics.missed_bytes.add(bytes);
        if self.following.extended {
            self.after = told.to_seq;
            return self.out.tell("process/gap", told).await;
        }
        let (stream, line) =
            if self.following.entry.tty { (Stream::Pty, "\r\n") } else { (Stream::Stderr, "\n") };
        let mut words = format!(
            "{line}[codex: {bytes} bytes of output left out: they came faster than they were taken]{line}"
        );
        for seq in told.from_seq..=told.to_seq {
            if exited == Some(seq) {
                self.exit(seq).await?;
            } else {
                self.output(seq, stream, std::mem::take(&mut words).as_bytes()).await?;
            }
        }
        Ok(())
    }
}
