//! What a command writes to its terminal, on its way to the person's.

use std::io::{Result, Write as _};

use codex_core::output::Display;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

use crate::terminal;

/// How many pieces may wait to be written.
const WAITING: usize = 2;

/// Whether what comes is filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// Text, and what only displays something.
    Filtered,
    /// All of it.
    Unfiltered,
}

/// What the thread that writes is asked for.
enum Message {
    Show(Vec<u8>),
    /// To put the terminal's modes back, for a while.
    Leave(oneshot::Sender<()>),
    /// To set them as they were.
    Return,
}

/// Standard output, written by a thread of its own: whoever reads it may be slow, or not read at all, and nothing else is
/// to wait for that.
pub(crate) struct Screen {
    messages: Sender<Message>,
}

/// The end of writing: an error where standard output does not take it.
pub(crate) type Written = oneshot::Receiver<Result<()>>;

impl Screen {
    /// Begins to write.
    pub(crate) fn begin(passage: Passage) -> Result<(Self, Written)> {
        let (messages, waiting) = channel(WAITING);
        let (ended, written) = oneshot::channel();
        std::thread::Builder::new().name("codex-screen".to_owned()).spawn(move || {
            // There may be nobody left to hear it.
            drop(ended.send(Writer { passage, display: Display::new(), waiting }.write()));
        })?;
        Ok((Self { messages }, written))
    }

    /// Hands on the next bytes. Says whether they are wanted.
    pub(crate) async fn show(&self, bytes: Vec<u8>) -> bool {
        self.messages.send(Message::Show(bytes)).await.is_ok()
    }

    /// Puts the terminal's modes back, for a while, when all is written.
    pub(crate) async fn leave(&self) {
        let (left, done) = oneshot::channel();
        if self.messages.send(Message::Leave(left)).await.is_ok()
            && let Err(_ended) = done.await
        {}
    }

    /// Sets them as they were.
    pub(crate) async fn come_back(&self) {
        if let Err(_ended) = self.messages.send(Message::Return).await {}
    }
}

struct Writer {
    passage: Passage,
    /// Knows the modes also where it filters nothing.
    display: Display,
    waiting: Receiver<Message>,
}

impl Writer {
    fn write(mut self) -> Result<()> {
        let mut shown = Vec::new();
        let mut noted = Vec::new();
        while let Some(message) = self.waiting.blocking_recv() {
            match message {
                Message::Show(bytes) => {
                    shown.clear();
                    self.display.push(&bytes, &mut shown);
                    let restoration = self.display.restoration();
                    if restoration != noted {
                        noted.clone_from(&restoration);
                        terminal::note_displayed(restoration);
                    }
                    out(if self.passage == Passage::Filtered { &shown } else { &bytes })?;
                }
                Message::Leave(left) => {
                    out(&self.display.restoration())?;
                    // Whoever asked may have given up.
                    if let Err(()) = left.send(()) {}
                }
                Message::Return => out(&self.display.resumption())?,
            }
        }
        shown.clear();
        self.display.finish(&mut shown);
        if self.passage == Passage::Unfiltered {
            shown.clear();
        }
        shown.extend(self.display.restoration());
        out(&shown)?;
        terminal::note_displayed(Vec::new());
        let dropped = self.display.dropped();
        if self.passage == Passage::Filtered && !dropped.is_nothing() {
            tracing::info!(?dropped, "not everything that the command wrote was displayed");
        }
        Ok(())
    }
}

/// Past the buffer of the standard library, which waits for the end of a line.
fn out(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}
