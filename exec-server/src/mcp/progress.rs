//! Waiting for an answer, and telling meanwhile how far it is.

use std::time::Duration;

use codex_core::output::FeedReader;
use codex_linux_sandbox::shown;
use codex_mcp::{Client, Pending};
use codex_tools::Answer;
use tokio::sync::oneshot;
use tokio::time::{Instant, interval_at};
use tokio_util::sync::CancellationToken;

/// How often it is told.
const PROGRESS: Duration = Duration::from_millis(500);
/// How much of a command's last line is told.
const LONGEST_LINE: usize = 200;

/// Waits for an answer, tells meanwhile how far it is, and ends the command where the client gives up.
pub(super) async fn waited(
    work: impl Future<Output = Result<Answer, String>>,
    ends: Option<CancellationToken>,
    mut reader: Option<oneshot::Receiver<FeedReader>>,
    client: &Client,
) -> Result<Answer, String> {
    tokio::pin!(work);
    let began = Instant::now();
    let mut ticks = interval_at(began + PROGRESS, PROGRESS);
    let mut seen = Seen::default();
    // One at a time: a client that takes none is told none.
    let mut telling: Option<Pending<'_, ()>> = None;
    loop {
        let told = async {
            match &mut telling {
                Some(telling) => telling.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            answer = &mut work => return answer,
            () = client.cancellation().cancelled() => {
                // Without a command of its own there is nothing to end, and nobody who waits.
                let Some(ends) = ends else { return Err("cancelled".to_owned()) };
                ends.cancel();
                return work.await;
            }
            () = told => telling = None,
            _ = ticks.tick(), if client.wants_progress() => {
                if telling.is_none() {
                    if let Some(Ok(reader)) = reader.as_mut().map(oneshot::Receiver::try_recv) {
                        seen.reader = Some(reader);
                    }
                    let message = seen.message();
                    telling = Some(Box::pin(client.progress(began.elapsed().as_secs_f64(), message)));
                }
            }
        }
    }
}

/// What was seen of a command's output.
#[derive(Debug, Default)]
struct Seen {
    reader: Option<FeedReader>,
    bytes: u64,
    last: Vec<u8>,
}

impl Seen {
    /// How much has come, and the last line of it.
    fn message(&mut self) -> String {
        let Some(reader) = &mut self.reader else { return "it runs".to_owned() };
        let read = reader.read(usize::MAX);
        self.bytes += read.missed.and_then(|missed| missed.bytes).map_or(0, |bytes| bytes.total());
        for chunk in read.chunks {
            self.bytes += chunk.bytes.len() as u64;
            for line in chunk.bytes.split_inclusive(|byte| *byte == b'\n') {
                if self.last.last() == Some(&b'\n') {
                    self.last.clear();
                }
                let room = LONGEST_LINE.saturating_sub(self.last.len());
                self.last.extend(line.iter().take(room));
                if line.ends_with(b"\n") && !self.last.ends_with(b"\n") {
                    self.last.push(b'\n');
                }
            }
        }
        let line = String::from_utf8_lossy(self.last.trim_ascii()).into_owned();
        if line.is_empty() {
            format!("{} bytes of output", self.bytes)
        } else {
            format!("{} bytes of output: {}", self.bytes, shown(line))
        }
    }
}

#[cfg(test)]
mod tests {
    use codex_core::output::{Feed, OutputStream};

    use super::{LONGEST_LINE, Seen};

    #[test]
    fn the_last_line_is_told_within_bounds() {
        let feed = Feed::new(Default::default());
        let mut seen = Seen::default();
        assert_eq!(seen.message(), "it runs");
        seen.reader = Some(feed.reader());
        assert_eq!(seen.message(), "0 bytes of output");
        feed.push(OutputStream::Stdout, b"one\ntw");
        assert_eq!(seen.message(), "6 bytes of output: tw");
        feed.push(OutputStream::Stdout, b"o\x1b[2J\n");
        assert_eq!(seen.message(), r"12 bytes of output: two\u{1b}[2J");
        feed.push(OutputStream::Stdout, &b"x".repeat(1 << 20));
        assert_eq!(seen.message(), format!("1048588 bytes of output: {}", "x".repeat(LONGEST_LINE)));
        feed.push(OutputStream::Stdout, b"\nend\n");
        assert_eq!(seen.message(), "1048593 bytes of output: end");
    }
}
