//! Newline-delimited messages.

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// What a line turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A message, without the newline.
    Message(Vec<u8>),
    /// One that is longer than allowed: so many bytes, none of which were kept.
    TooLong(u64),
}

/// Takes messages from a stream, a line each. Blank lines are none.
#[derive(Debug)]
pub struct LineReader<R> {
    source: R,
    most: usize,
    line: Vec<u8>,
    /// Bytes of a line that is too long.
    skipped: u64,
}

impl<R: AsyncBufRead + Unpin> LineReader<R> {
    /// Reads lines of at most `most` bytes.
    pub const fn new(source: R, most: usize) -> Self {
        Self { source, most, line: Vec::new(), skipped: 0 }
    }

    /// The next message; nothing at the end. A last line without a newline is a message too. May be dropped halfway.
    ///
    /// # Errors
    ///
    /// What the stream says.
    pub async fn next(&mut self) -> std::io::Result<Option<Line>> {
        loop {
            let available = self.source.fill_buf().await?;
            if available.is_empty() {
                return Ok(self.take());
            }
            let (taken, ends) = match memchr::memchr(b'\n', available) {
                Some(at) => (at + 1, true),
                None => (available.len(), false),
            };
            let piece = available.get(..taken).unwrap_or_default();
            let piece = piece.strip_suffix(b"\n").unwrap_or(piece);
            if self.skipped > 0 || self.line.len() + piece.len() > self.most {
                self.skipped += (self.line.len() + piece.len()) as u64;
                self.line = Vec::new();
            } else {
                self.line.extend_from_slice(piece);
            }
            self.source.consume(taken);
            if ends && let Some(line) = self.take() {
                return Ok(Some(line));
            }
        }
    }

    fn take(&mut self) -> Option<Line> {
        let line = std::mem::take(&mut self.line);
        let skipped = std::mem::take(&mut self.skipped);
        if skipped > 0 {
            return Some(Line::TooLong(skipped));
        }
        // A carriage return before the newline is blank to JSON as well.
        (!line.trim_ascii().is_empty()).then_some(Line::Message(line))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};
    use tokio::io::BufReader;

    use super::{Line, LineReader};

    fn lines(bytes: &[u8], buffer: usize, most: usize) -> Vec<Line> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut reader = LineReader::new(BufReader::with_capacity(buffer, bytes), most);
            let mut lines = Vec::new();
            while let Some(line) = reader.next().await.unwrap() {
                lines.push(line);
            }
            lines
        })
    }

    #[test]
    fn a_long_line_costs_nothing_and_those_after_it_come() {
        let found = lines(b"one\r\n\n  \n0123456789\ntwo", 4, 8);
        assert_eq!(
            found,
            [Line::Message(b"one\r".to_vec()), Line::TooLong(10), Line::Message(b"two".to_vec())]
        );
    }

    proptest! {
        #[test]
        fn lines_are_those_of_a_split(bytes in prop::collection::vec(any::<u8>(), 0..200), buffer in 1_usize..64, most in 0_usize..64) {
            let expected: Vec<Line> = bytes
                .split(|byte| *byte == b'\n')
                .filter(|line| line.len() > most || !line.trim_ascii().is_empty())
                .map(|line| if line.len() > most { Line::TooLong(line.len() as u64) } else { Line::Message(line.to_vec()) })
                .collect();
            assert_eq!(lines(&bytes, buffer, most), expected);
        }
    }
}
