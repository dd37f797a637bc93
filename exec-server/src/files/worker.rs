//! The program that touches files. It has the rights of a command of its policy, and no others.
//!
//! It does one thing at a time, in order, until its standard input ends. It trusts what it is told to do, and nothing that it
//! finds: links are followed by itself, one after the other and a bounded number of them, and what is no regular file is
//! opened neither for reading nor for writing.

mod change;
mod content;
mod facts;
mod place;
mod tree;
mod watch;

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use serde::Serialize;

use super::order::{Changed, Failure, Order};
use super::wire::{Decoder, FrameKind, LONGEST, PIECE, WireError, put};
use crate::protocol::{FileUri, WatchResult};
use watch::Watch;

/// The exit code where the other side is none of ours.
const NONSENSE: i32 = 2;

/// Why the program ends before its input does.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Stream(#[from] std::io::Error),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("an order that can't be read: {0}")]
    Order(#[from] serde_json::Error),
    #[error("a frame out of order")]
    Sequence,
}

/// What an order comes to: the result in JSON, or what failed; and whether there is still somebody to tell.
type Carried = Result<Result<String, Failure>, Broken>;

/// Carries out what comes on standard input until it ends, and returns the exit code.
#[must_use]
pub fn run() -> i32 {
    match serve() {
        Ok(()) => 0,
        Err(_broken) => NONSENSE,
    }
}

fn serve() -> Result<(), Broken> {
    let mut line = Line { decoder: Decoder::default(), chunk: vec![0; PIECE] };
    let mut open = HashMap::new();
    let mut watch = None;
    while let Some((kind, payload)) = line.next()? {
        if kind != FrameKind::Order {
            return Err(Broken::Sequence);
        }
        let order: Order = serde_json::from_slice(&payload)?;
        let carried = match order {
            Order::Watch { missing, present } => Watch::begin(&missing, present.as_ref()).and_then(|begun| {
                let watching = begun.is_some();
                watch = begun;
                json(&WatchResult { watching })
            }),
            Order::Await => match watch.take().map(|watch| watch.wait(std::io::stdin().as_fd())) {
                Some(Ok(true)) | None => json(&Nothing {}),
                // There is nobody any more who waits.
                Some(Ok(false)) => return Ok(()),
                Some(Err(errno)) => Err(Failure::of("what is watched", errno)),
            },
            order => carry_out(&order, &mut line, &mut open)?,
        };
        let mut out = Vec::new();
        match carried {
            Ok(result) => {
                let (pieces, last) = split(result.as_bytes());
                for piece in pieces {
                    put(&mut out, FrameKind::Data, piece);
                }
                put(&mut out, FrameKind::Done, last);
            }
            Err(mut failure) => {
                // A path may be long, and an error has to fit.
                let end = failure.message.floor_char_boundary(LONGEST / 8);
                failure.message.truncate(end);
                put(&mut out, FrameKind::Failed, &serde_json::to_vec(&failure)?);
            }
        }
        say(&out)?;
    }
    Ok(())
}

/// What goes into frames before the last one. A result that fits has none.
fn split(result: &[u8]) -> (impl Iterator<Item = &[u8]>, &[u8]) {
    let (first, last) = if result.len() > PIECE { (result, &[][..]) } else { (&[][..], result) };
    (first.chunks(PIECE), last)
}

fn carry_out(order: &Order, line: &mut Line, open: &mut HashMap<u64, File>) -> Carried {
    match order {
        Order::Read { path, follow, most } => content::read(path.path(), *follow, *most),
        Order::Write { path, follow } => {
            let mut body = Body { line, whole: false };
            let written = content::write(path.path(), *follow, &mut body)?;
            body.skip()?;
            Ok(written.and_then(changed))
        }
        Order::WriteBlock { handle, offset } => {
            let mut body = Body { line, whole: false };
            let written = content::write_block(open.get(handle), *offset, &mut body)?;
            body.skip()?;
            if written.is_err() {
                // What is in it is not known any more.
                open.remove(handle);
            }
            Ok(written.and_then(|()| json(&Nothing {})))
        }
        Order::ReadBlock { handle, offset, length } => {
            content::read_block(open.get(handle), *offset, *length)
        }
        Order::Open { handle, path, mode } => Ok(content::open(path.path(), *mode).and_then(|file| {
            let at = place::path_of(file.as_fd());
            open.insert(*handle, file);
            changed(at)
        })),
        Order::Close { handle } => {
            open.remove(handle);
            Ok(json(&Nothing {}))
        }
        // They are carried out where they are read.
        Order::Watch { .. } | Order::Await => Err(Broken::Sequence),
        Order::CreateDirectory { path, recursive, follow } => {
            Ok(change::create_directory(path.path(), *recursive, *follow).and_then(changed))
        }
        Order::Metadata { path, follow } => {
            Ok(facts::metadata(path.path(), *follow).and_then(|found| json(&found)))
        }
        Order::Canonicalize { path } => Ok(facts::canonicalize(path.path()).and_then(|found| json(&found))),
        Order::List { path, most } => Ok(tree::list(path.path(), *most).and_then(|found| json(&found))),
        Order::Walk { path, options } => Ok(tree::walk(path.path(), *options).and_then(|found| json(&found))),
        Order::Remove { path, recursive, force, follow } => {
            Ok(change::remove(path.path(), *recursive, *force, *follow).and_then(changed))
        }
        Order::Copy { source, destination, recursive } => {
            Ok(change::copy(source.path(), destination.path(), *recursive).and_then(changed))
        }
    }
}

/// Where something was changed, as far as the kernel says.
fn changed(at: Option<PathBuf>) -> Result<String, Failure> {
    json(&Changed { at: at.as_deref().and_then(FileUri::of) })
}

/// `{}`.
#[derive(Serialize)]
struct Nothing {}

fn json(result: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(result)
        .map_err(|error| Failure::invalid(format!("the result has no form in JSON: {error}")))
}

/// Standard input.
struct Line {
    decoder: Decoder,
    chunk: Vec<u8>,
}

impl Line {
    fn next(&mut self) -> Result<Option<(FrameKind, Vec<u8>)>, Broken> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Some((frame.kind, frame.payload)));
            }
            let count = std::io::stdin().lock().read(&mut self.chunk)?;
            match self.chunk.get(..count) {
                Some(read) if count > 0 => self.decoder.push(read),
                _ if self.decoder.is_empty() => return Ok(None),
                _ => return Err(Broken::Sequence),
            }
        }
    }
}

/// The bytes that belong to an order.
struct Body<'l> {
    line: &'l mut Line,
    whole: bool,
}

impl Body<'_> {
    /// The next piece. Nothing at the end; an input that ends before is an error, so that half a body is never taken for a
    /// whole one.
    fn next(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        if self.whole {
            return Ok(None);
        }
        match self.line.next()? {
            Some((FrameKind::Data, payload)) => Ok(Some(payload)),
            Some((FrameKind::End, _)) => {
                self.whole = true;
                Ok(None)
            }
            Some(_) | None => Err(Broken::Sequence),
        }
    }

    /// Takes what is left of it: an order that has failed early is answered after its body.
    fn skip(&mut self) -> Result<(), Broken> {
        while self.next()?.is_some() {}
        Ok(())
    }
}

fn say(bytes: &[u8]) -> Result<(), Broken> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}

/// Sends a piece of a body.
fn say_data(bytes: &[u8]) -> Result<(), Broken> {
    let mut out = Vec::with_capacity(bytes.len() + 8);
    put(&mut out, FrameKind::Data, bytes);
    say(&out)
}
