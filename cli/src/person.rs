//! The person at the terminal, who is asked what only the user can give.
//!
//! They are asked at `/dev/tty`, whatever the streams are: what is piped in is no answer, and neither is what was typed before
//! the question stood there. Commands have no terminal, or one of their own, and can't type here.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;

use codex_agent::approval::{Answer, Asking, Person, Question};
use codex_core::exec::watch;
use nix::fcntl::OFlag;
use nix::sys::termios::{FlushArg, tcflush};
use nix::unistd::{getpgrp, tcgetpgrp};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::render::question::{prompt, question};

const TERMINAL: &str = "/dev/tty";
/// More than an answer takes.
const LONGEST_ANSWER: usize = 4096;
/// How often somebody who types something else is asked again.
const MOST_TRIES: usize = 3;

/// Whoever sits at the controlling terminal.
#[derive(Debug)]
pub(crate) struct AtTheTerminal {
    /// Where what they are asked is written. Whoever does that waits for a terminal that stands still, and we don't.
    questions: UnboundedSender<Asked>,
}

impl AtTheTerminal {
    /// Somebody, whose questions are written by whoever takes them from there.
    pub(crate) fn new() -> (Self, UnboundedReceiver<Asked>) {
        let (questions, asked) = unbounded_channel();
        (Self { questions }, asked)
    }
}

/// A question that comes to stand at the terminal, where nothing else is written until it is answered or withdrawn.
#[derive(Debug)]
pub(crate) struct Asked {
    terminal: File,
    pieces: UnboundedReceiver<Piece>,
}

/// What is written of it at once, and who waits for that.
type Piece = (String, oneshot::Sender<io::Result<()>>);

impl Asked {
    /// Writes the question. Returns when nobody waits for its answer any more.
    pub(crate) async fn stand(mut self) {
        while let Some(piece) = self.pieces.recv().await {
            self.write(piece);
        }
    }

    /// The same, where there is a thread for it.
    pub(crate) fn stand_here(mut self) {
        while let Some(piece) = self.pieces.blocking_recv() {
            self.write(piece);
        }
    }

    fn write(&mut self, (text, written): Piece) {
        // What is withdrawn already is not asked.
        if !written.is_closed()
            && let Err(_gone) = written.send(self.terminal.write_all(text.as_bytes()))
        {}
    }
}

/// Writes a part of a question, and waits until it stands there.
async fn show(pieces: &UnboundedSender<Piece>, text: &str) -> io::Result<()> {
    let gone = || io::Error::from(ErrorKind::BrokenPipe);
    let (written, stands) = oneshot::channel();
    pieces.send((text.to_owned(), written)).map_err(|_| gone())?;
    stands.await.map_err(|_| gone())?
}

impl Person for AtTheTerminal {
    fn ask<'a>(&'a self, question: &'a Question) -> Asking<'a> {
        Box::pin(async move { ask(question, &self.questions).await.unwrap_or_else(Answer::Nobody) })
    }
}

async fn ask(asked: &Question, questions: &UnboundedSender<Asked>) -> Result<Answer, String> {
    let mut terminal = open()?;
    // It takes a long question whole, where the other would take what there is room for.
    let display = OpenOptions::new()
        .write(true)
        .custom_flags(OFlag::O_NOCTTY.bits())
        .open(TERMINAL)
        .map_err(|error| format!("there is no terminal ({TERMINAL}: {error})"))?;
    let lost = |error: io::Error| format!("the terminal is gone ({error})");
    let readable = terminal.as_fd().try_clone_to_owned().and_then(watch).map_err(lost)?;
    let (pieces, to_write) = unbounded_channel();
    let nobody = |_| "nothing can be asked any more".to_owned();
    questions.send(Asked { terminal: display, pieces: to_write }).map_err(nobody)?;
    let text = question(asked);
    show(&pieces, text.strip_suffix(prompt(asked)).unwrap_or(&text)).await.map_err(lost)?;
    // Who has not seen it has not answered it.
    tcflush(&terminal, FlushArg::TCIFLUSH)
        .map_err(|errno| format!("the terminal can't be asked at ({errno})"))?;
    show(&pieces, prompt(asked)).await.map_err(lost)?;
    let mut typed = Vec::new();
    for _ in 0..MOST_TRIES {
        let line = loop {
            if let Some(end) = typed.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
                let rest = typed.split_off(end + 1);
                let line = std::mem::replace(&mut typed, rest);
                break String::from_utf8_lossy(&line).trim().to_owned();
            }
            if typed.len() > LONGEST_ANSWER {
                return Ok(Answer::No(String::new()));
            }
            let mut ready = readable.readable().await.map_err(lost)?;
            let mut bytes = [0; 512];
            match terminal.read(&mut bytes) {
                // Ctrl-D.
                Ok(0) => return Ok(Answer::No(String::new())),
                Ok(count) => typed.extend_from_slice(bytes.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(lost(error)),
            }
        };
        if let Some(answer) = understood(&line, asked.may_last) {
            return Ok(answer);
        }
        show(&pieces, prompt(asked)).await.map_err(lost)?;
    }
    Ok(Answer::No(String::new()))
}

/// The terminal, to read what is typed.
fn open() -> Result<File, String> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let terminal = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(TERMINAL)
        .map_err(|error| format!("there is no terminal ({TERMINAL}: {error})"))?;
    // Reading would stop us until the shell brings us to the front, and nobody would know why.
    match tcgetpgrp(&terminal) {
        Ok(front) if front == getpgrp() => {}
        Ok(_) => return Err("this run is in the background of its terminal".to_owned()),
        Err(errno) => return Err(format!("there is no terminal ({TERMINAL}: {errno})")),
    }
    Ok(terminal)
}

/// What was typed. Nothing where that is no answer.
fn understood(line: &str, may_last: bool) -> Option<Answer> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let word = word.to_ascii_lowercase();
    match (word.as_str(), rest.trim()) {
        ("" | "d" | "deny" | "n" | "no", words) => Some(Answer::No(words.to_owned())),
        ("o" | "once" | "y" | "yes", "") => Some(Answer::Once),
        ("s" | "session", "") if may_last => Some(Answer::ForThisRun),
        ("a" | "abort", "") => Some(Answer::Abort),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, understood};

    #[test]
    fn only_what_says_yes_is_yes() {
        let no = |words: &str| Some(Answer::No(words.to_owned()));
        assert_eq!(understood("", true), no(""));
        assert_eq!(understood("d  use the cache", true), no("use the cache"));
        assert_eq!(understood("No", true), no(""));
        assert_eq!(understood("y", true), Some(Answer::Once));
        assert_eq!(understood("ONCE", true), Some(Answer::Once));
        assert_eq!(understood("s", true), Some(Answer::ForThisRun));
        assert_eq!(understood("a", false), Some(Answer::Abort));
        for unclear in ["s", "session"] {
            assert_eq!(understood(unclear, false), None);
        }
        for unclear in ["yep", "y es", "o o", "ls", "once more", "abort it"] {
            assert_eq!(understood(unclear, true), None, "{unclear}");
        }
    }
}
