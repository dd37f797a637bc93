//! A row as columns: for rows that are written over and are not plain ASCII.

use std::collections::BTreeMap;

use unicode_width::UnicodeWidthChar as _;

use super::row::WIDEST;

/// How many bytes of marks one character may carry.
const MARKS: usize = 32;

/// What the marks of one character take, about.
const ENTRY: usize = 96;

/// Cells that are no character: what a wide one covers beside its own, and bytes that are not UTF-8. Which bytes is not
/// kept: two that were apart could make a character together.
const COVERED: u32 = 0x0020_0000;
const RAW: u32 = 0x0030_0000;
const BLANK: u32 = b' ' as u32;

/// One cell for each column, and what goes on top of some.
#[derive(Clone, Debug, Default)]
pub(super) struct Cells {
    cells: Vec<u32>,
    marks: BTreeMap<usize, Vec<u8>>,
}

impl Cells {
    pub(super) fn of(text: &[u8]) -> Self {
        let mut cells = Self::default();
        cells.write(0, usize::MAX, text);
        cells
    }

    pub(super) const fn len(&self) -> usize {
        self.cells.len()
    }

    /// How much memory they take, about.
    pub(super) fn size(&self) -> usize {
        self.cells.len() * size_of::<u32>() + self.marks.len() * ENTRY
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.cells.capacity() * size_of::<u32>() + self.marks.len() * ENTRY
    }

    /// Writes characters from a column on, as long as they start before `end`, and there is room. Returns the column
    /// after them, and what is left.
    pub(super) fn write<'a>(&mut self, column: usize, end: usize, text: &'a [u8]) -> (usize, &'a [u8]) {
        let mut at = column;
        let mut taken = 0;
        'text: for chunk in text.utf8_chunks() {
            for char in chunk.valid().chars() {
                let width = char.width().unwrap_or(1);
                // A mark still belongs to what was written last, unless that was given on.
                if !self.has_room(at, if width > 0 { end } else { usize::MAX }) {
                    break 'text;
                }
                taken += char.len_utf8();
                match width {
                    // A mark on nothing stands for itself.
                    0 if self.cells.is_empty() => {
                        self.put(at, char.into());
                        at = self.cells.len();
                    }
                    0 => self.mark(at, char),
                    1 => self.put(at, char.into()),
                    _ => {
                        self.put(at, char.into());
                        self.put(at + 1, COVERED);
                    }
                }
                at += width.min(2);
            }
            for _ in chunk.invalid() {
                if !self.has_room(at, end) {
                    break 'text;
                }
                taken += 1;
                self.put(at, RAW);
                at += 1;
            }
        }
        (at, text.get(taken..).unwrap_or_default())
    }

    fn has_room(&self, at: usize, end: usize) -> bool {
        at < end && (at < self.cells.len() || self.cells.len() < WIDEST)
    }

    pub(super) fn pad(&mut self, width: usize) {
        self.cells.resize(width.max(self.cells.len()), BLANK);
    }

    pub(super) fn truncate(&mut self, column: usize) {
        if self.cells.get(column) == Some(&COVERED) {
            self.blank(column.saturating_sub(1));
        }
        self.cells.truncate(column);
        self.marks.retain(|at, _| *at < column);
    }

    /// Erases what stands in a column.
    pub(super) fn blank(&mut self, column: usize) {
        if column < self.cells.len() {
            self.put(column, BLANK);
        }
    }

    pub(super) fn read(&self, text: &mut Vec<u8>) {
        for (column, cell) in self.cells.iter().enumerate() {
            match char::from_u32(*cell) {
                Some(char) => text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
                None if *cell == RAW => text.push(0xff),
                // Covered by the one before.
                None => {}
            }
            if !self.marks.is_empty() {
                text.extend_from_slice(self.marks.get(&column).map_or(&[], Vec::as_slice));
            }
        }
    }

    /// Puts one cell in its place, at most the one behind the last. Half of a wide character is none.
    fn put(&mut self, at: usize, cell: u32) {
        if !self.marks.is_empty() {
            self.marks.remove(&at);
        }
        if cell != COVERED
            && self.cells.get(at) == Some(&COVERED)
            && let Some(first) = at.checked_sub(1).and_then(|first| self.cells.get_mut(first))
        {
            *first = BLANK;
        }
        match self.cells.get_mut(at) {
            Some(place) => *place = cell,
            None => self.cells.push(cell),
        }
        // What this one does not cover any more.
        if let Some(next) = self.cells.get_mut(at + 1).filter(|next| **next == COVERED) {
            *next = BLANK;
        }
    }

    /// Puts a mark on what stands before a column.
    fn mark(&mut self, column: usize, mark: char) {
        let mut at = column.saturating_sub(1).min(self.cells.len().saturating_sub(1));
        if self.cells.get(at) == Some(&COVERED) {
            at = at.saturating_sub(1);
        }
        let marks = self.marks.entry(at).or_default();
        if marks.len() < MARKS {
            marks.extend_from_slice(mark.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}
