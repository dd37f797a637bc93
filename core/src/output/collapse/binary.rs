//! Data that is no text: what of a stream is not worth reading, and would take long.

/// How much is judged at once.
pub(super) const WINDOW: usize = 16 * 1024;
/// One control character that has no meaning in text, in so many bytes, makes data of them. Random bytes have one in ten.
const RATIO: usize = 16;

/// Tells text from data, and keeps the end of data back: nobody knows yet what follows it.
#[derive(Clone, Debug, Default)]
pub(super) struct Binary {
    /// How much of the window has come, and what in it is no text.
    filled: usize,
    odd: usize,
    /// Whether what comes is data.
    is_data: bool,
    /// The last window of data, and what has come since.
    held: Vec<u8>,
    /// How many bytes of data were left out since it began, and in all.
    skipped: u64,
    total: u64,
}

/// What becomes of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// They are text.
    Text,
    /// They are data, and left out or kept back.
    Data,
    /// The data has ended: so many bytes were left out, and these follow.
    Ended { skipped: u64, held: Vec<u8> },
}

impl Binary {
    /// How many of these bytes can be judged together.
    pub(super) const fn next(&self, bytes: &[u8]) -> usize {
        let left = WINDOW - self.filled;
        if bytes.len() < left { bytes.len() } else { left }
    }

    /// How many bytes were left out.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// Judges some bytes, at most [`next`](Self::next).
    pub(super) fn judge(&mut self, bytes: &[u8]) -> Verdict {
        self.odd += odd(bytes);
        self.filled += bytes.len();
        let whole = self.filled >= WINDOW;
        let is_data = self.odd * RATIO > WINDOW;
        if whole {
            (self.filled, self.odd) = (0, 0);
        }
        if !self.is_data {
            self.is_data = whole && is_data;
            return Verdict::Text;
        }
        self.held.extend_from_slice(bytes);
        if whole && !is_data {
            return self.end();
        }
        if whole && self.held.len() >= 2 * WINDOW {
            let gone = self.held.len() - WINDOW;
            self.held.drain(..gone);
            self.skipped += gone as u64;
            self.total += gone as u64;
        }
        Verdict::Data
    }

    /// Gives back what was kept back.
    pub(super) fn end(&mut self) -> Verdict {
        self.is_data = false;
        Verdict::Ended { skipped: std::mem::take(&mut self.skipped), held: std::mem::take(&mut self.held) }
    }
}

/// How many odd bytes there are. Counted in bytes first, so that many are at once.
fn odd(bytes: &[u8]) -> usize {
    let in_block =
        |block: &[u8]| usize::from(block.iter().fold(0_u8, |sum, byte| sum + u8::from(is_odd(*byte))));
    bytes.chunks(128).map(in_block).sum()
}

/// Control characters that no text has. NUL stands between names, and in long runs, and the others move the cursor.
const fn is_odd(byte: u8) -> bool {
    ((byte < 0x20) & (byte != 0) & ((byte < 0x07) | (byte > 0x0d)) & (byte != 0x1b)) | (byte == 0x7f)
}
