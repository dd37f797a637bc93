//! Frames: a length, a kind, bytes.
//!
//! ```text
//! length of the payload (4 bytes, little endian)   kind (1 byte)   payload
//! ```

/// The longest payload, in bytes.
pub const LONGEST: usize = 256 * 1024;
/// How much of a body goes into one frame.
pub(super) const PIECE: usize = 64 * 1024;
/// What stands before a payload.
const HEADER: usize = 5;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// To the worker: an [`Order`](super::Order) in JSON.
    Order,
    /// Either way: a piece of a body.
    Data,
    /// To the worker: the body is whole.
    End,
    /// From the worker: the order is carried out; a result in JSON.
    Done,
    /// From the worker: it is not; a [`Failure`](super::Failure) in JSON.
    Failed,
}

impl FrameKind {
    const ALL: [Self; 5] = [Self::Order, Self::Data, Self::End, Self::Done, Self::Failed];

    const fn number(self) -> u8 {
        match self {
            Self::Order => 1,
            Self::Data => 2,
            Self::End => 3,
            Self::Done => 4,
            Self::Failed => 5,
        }
    }
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: FrameKind,
    /// What it holds; [`LONGEST`] at most.
    pub payload: Vec<u8>,
}

/// Bytes that are no frame. Nothing that follows them can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A payload longer than [`LONGEST`].
    #[error("a frame of {0} bytes, where {LONGEST} are the most")]
    TooLong(u32),
    /// A number that means nothing.
    #[error("a frame of the unknown kind {0}")]
    Kind(u8),
}

/// Appends a frame. The payload is [`LONGEST`] at most, or nobody will read it.
pub(super) fn put(out: &mut Vec<u8>, kind: FrameKind, payload: &[u8]) {
    // What does not fit is refused by the reader in any case.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.push(kind.number());
    out.extend_from_slice(payload);
}

/// Finds frames in bytes, however these are cut.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    taken: usize,
}

impl Decoder {
    /// Takes what has come.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
        } else if self.taken > LONGEST {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame. Nothing where it is not whole yet.
    ///
    /// # Errors
    ///
    /// [`WireError`], before memory is taken for what a length only says.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, WireError> {
        let waiting = self.bytes.get(self.taken..).unwrap_or_default();
        let Some((header, rest)) = waiting.split_first_chunk::<HEADER>() else { return Ok(None) };
        let [a, b, c, d, number] = *header;
        let length = u32::from_le_bytes([a, b, c, d]);
        let known = FrameKind::ALL.into_iter().find(|kind| kind.number() == number);
        let kind = known.ok_or(WireError::Kind(number))?;
        let size = usize::try_from(length).ok().filter(|size| *size <= LONGEST);
        let size = size.ok_or(WireError::TooLong(length))?;
        let Some(payload) = rest.get(..size) else { return Ok(None) };
        let payload = payload.to_vec();
        self.taken += HEADER + size;
        Ok(Some(Frame { kind, payload }))
    }

    /// Whether bytes are left that are no whole frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::{Decoder, Frame, FrameKind, LONGEST, WireError, put};

    fn all(decoder: &mut Decoder) -> Result<Vec<Frame>, WireError> {
        let mut frames = Vec::new();
        while let Some(frame) = decoder.next_frame()? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[test]
    fn what_is_no_frame_is_refused_before_it_is_there() {
        let mut decoder = Decoder::default();
        let long = u32::try_from(LONGEST + 1).unwrap();
        decoder.push(&[&long.to_le_bytes()[..], &[2]].concat());
        assert_eq!(decoder.next_frame(), Err(WireError::TooLong(long)));
        let mut decoder = Decoder::default();
        decoder.push(&[0, 0, 0, 0, 9]);
        assert_eq!(decoder.next_frame(), Err(WireError::Kind(9)));
        let mut decoder = Decoder::default();
        decoder.push(&[1, 0, 0, 0]);
        assert_eq!(decoder.next_frame(), Ok(None));
        assert!(!decoder.is_empty());
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut(
            payloads in prop::collection::vec((0..5_usize, prop::collection::vec(any::<u8>(), 0..50)), 0..10),
            cut in 1..20_usize,
        ) {
            let frames: Vec<Frame> = payloads
                .into_iter()
                .map(|(kind, payload)| Frame { kind: FrameKind::ALL[kind], payload })
                .collect();
            let mut bytes = Vec::new();
            for frame in &frames {
                put(&mut bytes, frame.kind, &frame.payload);
            }
            let mut decoder = Decoder::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(cut) {
                decoder.push(piece);
                found.extend(all(&mut decoder).unwrap());
            }
            assert_eq!(found, frames);
            assert!(decoder.is_empty());
        }
    }
}
