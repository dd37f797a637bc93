//! The thread that writes.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::sync::PoisonError;

use super::{PIECE, Shared, SpillStop, refused};

/// Writes what comes until nothing will, or something goes wrong.
pub(super) fn run<W: Write>(shared: &Shared, open: impl FnOnce() -> Result<(W, Option<PathBuf>), SpillStop>) {
    match open() {
        Ok((mut file, path)) => {
            shared.lock().path = path;
            write_all_that_comes(shared, &mut file);
        }
        Err(stop) => shared.lock().stop = Some(stop),
    }
    let mut state = shared.lock();
    state.ended = true;
    state.waiting = Vec::new();
    drop(state);
    shared.progress.notify_one();
}

fn write_all_that_comes(shared: &Shared, file: &mut impl Write) {
    let mut piece = Vec::new();
    loop {
        let mut state = shared.lock();
        while !state.closed && state.waiting.len() < PIECE && (state.waiting.is_empty() || !state.flush) {
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.flush = false;
        piece.clear();
        // The two change places, so that neither is allocated again.
        std::mem::swap(&mut piece, &mut state.waiting);
        // Full, or behind: what was taken before that is still written. An error is our own and ends this loop.
        let is_last = piece.is_empty();
        drop(state);
        if is_last {
            return;
        }
        shared.progress.notify_one();
        if let Err(stop) = write(shared, file, &piece) {
            shared.lock().stop = Some(stop);
            return;
        }
    }
}

/// Writes a piece, and counts what was written of it whether or not the rest can be.
fn write(shared: &Shared, file: &mut impl Write, piece: &[u8]) -> Result<(), SpillStop> {
    let mut rest = piece;
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(0) => return Err(refused("write", &ErrorKind::WriteZero.into())),
            Ok(count) => {
                let (written, after) = rest.split_at(count.min(rest.len()));
                shared.lock().written += written.len() as u64;
                shared.lines().add(written);
                rest = after;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(refused("write", &error)),
        }
    }
    Ok(())
}
