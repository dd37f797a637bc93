//! Reading a spill while it is written.

use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, OnceLock};

use nix::errno::Errno;

use super::{Shared, SpillFile, SpillStop, refused};
use crate::output::OutputStream;

/// The way to a [`Spill`](super::Spill) whose file has no name: as long as it is there, so is the file, and no longer.
#[derive(Debug, Default)]
pub struct SpillTap {
    shared: OnceLock<Arc<Shared>>,
    pub(super) file: OnceLock<SpillFile>,
}

/// A piece of a spill, with where that stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpillPiece {
    /// Its bytes, by the stream that they came from. Nothing of that is known where streams have taken turns too often.
    pub chunks: Vec<(Option<OutputStream>, Vec<u8>)>,
    /// How many bytes the file has, from the start of the output.
    pub written: u64,
    /// Whether it gets no more.
    pub ended: bool,
    /// Why it does not have all that was written, where that is known already.
    pub stop: Option<SpillStop>,
}

impl SpillTap {
    pub(super) fn follow(&self, shared: &Arc<Shared>) {
        // Where a set-up begins anew, it is the first one's: nothing has come to that, and it says so.
        if self.shared.set(Arc::clone(shared)).is_err() {
            tracing::debug!("a spill is followed already");
        }
    }

    pub(super) fn open(&self, file: &SpillFile) -> Result<(), SpillStop> {
        let file = file.try_clone().map_err(|error| refused("fcntl", &error))?;
        // There is one writer, and it opens once.
        self.file.set(file).map_err(|_second| SpillStop::Refused { call: "openat", errno: Errno::EEXIST })
    }

    /// Whether there is a file.
    #[must_use]
    pub fn has_file(&self) -> bool {
        self.file.get().is_some()
    }

    /// At most so many bytes from an offset on; none beyond what is written. Reads a file, which may block.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn read(&self, offset: u64, most: usize) -> Result<SpillPiece, Errno> {
        let Some(shared) = self.shared.get() else { return Ok(SpillPiece::default()) };
        let mut piece = SpillPiece::default();
        let runs = {
            let state = shared.lock();
            (piece.written, piece.ended, piece.stop) = (state.written, state.ended, state.stop);
            state.streams.runs().to_vec()
        };
        let Some(file) = self.file.get() else { return Ok(piece) };
        let length = piece.written.saturating_sub(offset).min(most as u64);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(most)];
        file.read_exact_at(&mut bytes, offset)
            .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
        let (mut at, mut rest) = (offset, bytes.as_slice());
        for run in runs.iter().skip_while(|run| run.end <= offset) {
            let (now, later) =
                rest.split_at(usize::try_from(run.end - at).unwrap_or(usize::MAX).min(rest.len()));
            if now.is_empty() {
                break;
            }
            piece.chunks.push((Some(run.stream), now.to_vec()));
            (at, rest) = (at + now.len() as u64, later);
        }
        if !rest.is_empty() {
            piece.chunks.push((None, rest.to_vec()));
        }
        Ok(piece)
    }
}
