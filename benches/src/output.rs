//! What each room of output adds to reading a stream, and what it takes by itself.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use codex_core::output::{
    Capture, CollapsedCapture, Feed, OutputBudget, OutputStream, Spill, SpillDirectory, SpillOptions,
    StreamText, TextBudget,
};

use crate::Outcome;
use crate::measure::{Case, in_turn};
use crate::programs::Programs;
use crate::startup::runtime;
use crate::table::Table;

/// Makes this program a command that writes output of a kind as fast as it can.
pub(crate) const WRITER: &str = "write-output";

/// What is read in one timing.
const BYTES: usize = 1 << 27;
const ROUNDS: usize = 9;
/// What is read at once.
const CHUNK: usize = 64 * 1024;
/// What a command repeats: more than is read at once, and no multiple of it.
const PATTERN: usize = 1_000_000;

const KINDS: [&str; 6] = ["zeros", "short lines", "text", "coloured text", "progress bar", "noise"];

/// About a megabyte of output.
fn pattern(kind: &str) -> Vec<u8> {
    let mut state = 1_u64;
    let mut random = || {
        // Knuth's constants: it only has to look different in each line.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut bytes = Vec::new();
    while bytes.len() < PATTERN {
        let number = random();
        match kind {
            "zeros" => bytes.extend_from_slice(&[0; 1000]),
            "short lines" => bytes.extend_from_slice(b"y\n"),
            "text" => {
                let length = usize::try_from(number % 60).unwrap_or(0);
                let words = &"the quick brown fox jumps over the lazy dog and runs away from it"[..length];
                bytes.extend_from_slice(format!("src/file{number}.rs:{length}: {words}\n").as_bytes());
            }
            "coloured text" => {
                bytes.extend_from_slice(
                    format!("\x1b[32m   Compiling\x1b[0m crate-{number} v1.{}.0\n", number % 50).as_bytes(),
                );
            }
            "progress bar" => {
                bytes
                    .extend_from_slice(format!("\r{:3} % [{:<40}]", number % 100, "=".repeat(20)).as_bytes());
            }
            _ => bytes.extend_from_slice(&number.to_le_bytes()[..3]),
        }
    }
    bytes
}

/// Writes output of a kind.
pub(crate) fn write_output(kind: &str, bytes: usize) -> Outcome<()> {
    let pattern = pattern(kind);
    let mut output = std::io::stdout().lock();
    let mut left = bytes;
    while left > 0 {
        let piece = &pattern[..pattern.len().min(left)];
        for chunk in piece.chunks(CHUNK) {
            output.write_all(chunk)?;
        }
        left -= piece.len();
    }
    Ok(())
}

/// What takes the bytes that are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    /// Each stream, and both: what every call has.
    Captures,
    /// The same, and one of these.
    View,
    Feed,
    Spill,
    All,
}

const TAKES: [(&str, Takes); 6] = [
    ("bare", Takes::Nothing),
    ("captures", Takes::Captures),
    ("and view", Takes::View),
    ("and feed", Takes::Feed),
    ("and spill", Takes::Spill),
    ("and all three", Takes::All),
];

struct Taker {
    captures: Option<[Capture; 2]>,
    view: Option<CollapsedCapture>,
    feed: Option<Feed>,
    spill: Option<Spill>,
}

impl Taker {
    fn new(takes: Takes, directory: &Arc<SpillDirectory>) -> Self {
        let has = |one| takes == one || takes == Takes::All;
        let budget = OutputBudget::default();
        let spill = || Spill::new(Arc::clone(directory), SpillOptions::default());
        Self {
            captures: (takes != Takes::Nothing).then(|| [Capture::new(budget), Capture::new(budget)]),
            view: has(Takes::View).then(|| CollapsedCapture::new(budget)),
            feed: has(Takes::Feed).then(|| Feed::new(codex_core::output::feed::FeedOptions::default())),
            spill: has(Takes::Spill).then(spill),
        }
    }

    async fn take(&mut self, bytes: &[u8]) {
        for capture in self.captures.iter_mut().flatten() {
            capture.push(bytes);
        }
        if let Some(view) = &mut self.view {
            view.push(OutputStream::Stdout, bytes);
        }
        if let Some(feed) = &self.feed {
            feed.push(OutputStream::Stdout, bytes);
        }
        if let Some(spill) = &mut self.spill {
            spill.ready(bytes.len()).await;
            spill.push(OutputStream::Stdout, bytes);
        }
    }

    async fn finish(self) -> Outcome<()> {
        let Some(spill) = self.spill else { return Ok(()) };
        let report = spill.finish().await.ok_or("nothing was spilled")?;
        if let Some(path) = &report.path {
            std::fs::remove_file(path)?;
        }
        if report.complete { Ok(()) } else { Err(format!("{:?}", report.error).into()) }
    }
}

/// Where spilled files are made: in memory where that is possible, for it is not the disk that is measured.
fn directory(programs: &Programs) -> Outcome<(tempfile::TempDir, Arc<SpillDirectory>)> {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory } else { programs.scratch() };
    let parent = tempfile::Builder::new().prefix("codex-benches").tempdir_in(parent)?;
    let directory = SpillDirectory::open(&parent.path().join("spill"))?;
    Ok((parent, Arc::new(directory)))
}

/// Reading from a pipe, with everything that may look at the bytes.
pub(crate) fn through_a_pipe(programs: &Programs) -> Outcome<Table> {
    let (_parent, directory) = directory(programs)?;
    let note = format!(
        "MB/s of a bare reader, and times its speed with what each call has (two captures) and may have beside it. \
         The shortest of {ROUNDS} rounds of 128 MiB; spilled to memory. Budget: 0.7."
    );
    let mut table =
        Table::new(["", "bare MB/s", "captures", "and view", "and feed", "and spill", "and all three"], note);
    for kind in KINDS {
        let cases = TAKES.map(|(name, takes)| {
            let directory = &directory;
            Case::new(name, move || read(programs, kind, Taker::new(takes, directory)))
        });
        let timings = in_turn(ROUNDS, cases.into())?;
        let bare = timings[0].minimum();
        let ratio = |index: usize| format!("{:.2}", bare / timings[index].minimum());
        let speed = Duration::from_secs(BYTES as u64).as_secs_f64() / 1e6 / bare;
        table.row([kind.to_owned(), format!("{speed:.0}"), ratio(1), ratio(2), ratio(3), ratio(4), ratio(5)]);
    }
    Ok(table)
}

fn read(programs: &Programs, kind: &str, mut taker: Taker) -> Outcome<Duration> {
    let runtime = runtime()?;
    let mut command = Command::new(&programs.own);
    command.args([WRITER, kind, &BYTES.to_string()]);
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut pipe = child.stdout.take().ok_or("no pipe")?;
    let mut chunk = vec![0; CHUNK];
    let mut total = 0;
    runtime.block_on(async {
        loop {
            match pipe.read(&mut chunk)? {
                0 => break,
                count => {
                    taker.take(&chunk[..count]).await;
                    total += count;
                }
            }
        }
        taker.finish().await
    })?;
    let status = child.wait()?;
    let taken = start.elapsed();
    if total == BYTES && status.success() {
        Ok(taken)
    } else {
        Err(format!("{total} bytes, {status}").into())
    }
}

/// The rooms by themselves, on bytes that are in memory.
pub(crate) fn in_memory(programs: &Programs) -> Outcome<Table> {
    let (_parent, directory) = directory(programs)?;
    let note = "MB/s, the best of 9 rounds of 64 MB in chunks of 64 KiB. Truncation: microseconds to cut a text of \
                40 KiB to 2000 tokens.";
    let mut table = Table::new(["", "capture", "collapse and capture", "feed", "spill", "truncate µs"], note);
    for kind in KINDS {
        let bytes = pattern(kind);
        let runtime = runtime()?;
        let time = |work: &mut dyn FnMut(&[u8])| {
            let start = Instant::now();
            for _ in 0..64 {
                bytes.chunks(CHUNK).for_each(&mut *work);
            }
            start.elapsed()
        };
        let budget = OutputBudget::default();
        let text = StreamText::whole(&bytes[..40 * 1024]);
        let cases = vec![
            Case::new("capture", || {
                let mut capture = Capture::new(budget);
                let taken = time(&mut |chunk| capture.push(chunk));
                Ok(taken)
            }),
            Case::new("collapse", || {
                let mut view = CollapsedCapture::new(budget);
                Ok(time(&mut |chunk| view.push(OutputStream::Stdout, chunk)))
            }),
            Case::new("feed", || {
                let feed = Feed::new(codex_core::output::feed::FeedOptions::default());
                Ok(time(&mut |chunk| feed.push(OutputStream::Stdout, chunk)))
            }),
            Case::new("spill", || {
                runtime.block_on(async {
                    let mut taker = Taker::new(Takes::Spill, &directory);
                    taker.captures = None;
                    let start = Instant::now();
                    for _ in 0..64 {
                        for chunk in bytes.chunks(CHUNK) {
                            taker.take(chunk).await;
                        }
                    }
                    taker.finish().await?;
                    Ok(start.elapsed())
                })
            }),
            Case::new("truncate", || {
                let start = Instant::now();
                for _ in 0..100 {
                    let budget = TextBudget { tokens: 2000, ..TextBudget::UNBOUNDED };
                    std::hint::black_box(text.within(&budget));
                }
                Ok(start.elapsed())
            }),
        ];
        let timings = in_turn(ROUNDS, cases)?;
        let megabytes = Duration::from_secs(bytes.len() as u64 * 64).as_secs_f64() / 1e6;
        let speed = |index: usize| format!("{:.0}", megabytes / timings[index].minimum());
        let micros = timings[4].minimum() * 1e4;
        table.row([kind.to_owned(), speed(0), speed(1), speed(2), speed(3), format!("{micros:.0}")]);
    }
    Ok(table)
}
