//! Byte offsets of a text as lines and columns.

/// A place in a text as a person counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    /// The line, counted from 1.
    pub(super) line: usize,
    /// The column, counted from 1 in characters.
    pub(super) column: usize,
}

/// Where each line of a text begins.
pub(super) struct LineIndex<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> LineIndex<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let after_breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(after_breaks).collect() }
    }

    /// The line that holds the byte at `offset`, counted from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }

    /// The line and column of the byte at `offset`; an offset past the end is taken as the end.
    pub(super) fn position(&self, offset: usize) -> Position {
        let offset = offset.min(self.text.len());
        let line = self.line(offset);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..).unwrap_or("").char_indices();
        // A byte order mark takes no column of an editor.
        let column = before
            .take_while(|(at, _)| start + at < offset)
            .filter(|(at, character)| !(start + at == 0 && *character == '\u{feff}'))
            .count();
        Position { line, column: column + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::{LineIndex, Position};

    #[test]
    fn columns_count_characters_not_bytes() {
        let text = "äö = 1\r\n  é x";
        let lines = LineIndex::new(text);
        assert_eq!(lines.position(0), Position { line: 1, column: 1 });
        assert_eq!(lines.position(text.find('=').unwrap()), Position { line: 1, column: 4 });
        assert_eq!(lines.position(text.find('x').unwrap()), Position { line: 2, column: 5 });
        assert_eq!(lines.position(text.len()), Position { line: 2, column: 6 });
        assert_eq!(lines.position(9999), Position { line: 2, column: 6 });
    }

    #[test]
    fn a_byte_order_mark_takes_no_column() {
        assert_eq!(LineIndex::new("\u{feff}ab").position(4), Position { line: 1, column: 2 });
    }

    #[test]
    fn an_empty_text_has_one_position() {
        assert_eq!(LineIndex::new("").position(0), Position { line: 1, column: 1 });
    }
}
