//! One row of text that can be written over.

use super::cells::Cells;

/// How wide a row may be. At this width it is given on, and what follows starts anew.
pub(super) const WIDEST: usize = 4096;
/// Rows that took more memory give it back.
const SPARE: usize = 1024;

/// A row of text. Most rows are only ever appended to, and are just bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    bytes: Vec<u8>,
    /// The same as columns, from when on that matters. `bytes` is empty then.
    cells: Option<Cells>,
    /// Whether something was written over or erased.
    edited: bool,
}

impl Row {
    /// An empty row that uses the memory of another one.
    pub(super) fn reusing(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        Self { bytes, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.width() == 0
    }

    /// Whether it must be given on before more is written.
    pub(super) fn is_full(&self) -> bool {
        self.width() >= WIDEST
    }

    /// Columns, or bytes where that was enough so far.
    fn width(&self) -> usize {
        self.cells.as_ref().map_or(self.bytes.len(), Cells::len)
    }

    /// How much memory it takes, about.
    pub(super) fn size(&self) -> usize {
        self.cells.as_ref().map_or(self.bytes.len(), Cells::size)
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity() + self.cells.as_ref().map_or(0, Cells::memory)
    }

    /// How wide it is. From now on columns count, not bytes.
    pub(super) fn columns(&mut self) -> usize {
        if self.cells.is_none() && self.bytes.is_ascii() { self.bytes.len() } else { self.cells().len() }
    }

    fn cells(&mut self) -> &mut Cells {
        let bytes = &mut self.bytes;
        self.cells.get_or_insert_with(|| {
            let cells = Cells::of(bytes);
            bytes.clear();
            cells
        })
    }

    /// Writes at the end, until it is full. Returns what is left.
    pub(super) fn append<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
        if let Some(cells) = &mut self.cells {
            return cells.write(cells.len(), usize::MAX, text).1;
        }
        let (now, later) = text.split_at(text.len().min(WIDEST.saturating_sub(self.bytes.len())));
        self.bytes.extend_from_slice(now);
        later
    }

    /// Writes over what is there from a column on, up to the end of what is there and not beyond it. Returns the column
    /// after it and what is left of the text.
    pub(super) fn overwrite<'a>(&mut self, column: usize, text: &'a [u8]) -> (usize, &'a [u8]) {
        let end = self.columns();
        if column >= end {
            match &mut self.cells {
                Some(cells) => cells.pad(column),
                None => self.bytes.resize(column, b' '),
            }
            return (column, text);
        }
        self.edited = true;
        let (now, later) = text.split_at(text.len().min(end - column));
        if now.is_ascii()
            && self.cells.is_none()
            && let Some(place) = self.bytes.get_mut(column..column + now.len())
        {
            place.copy_from_slice(now);
            return (column + now.len(), later);
        }
        self.cells().write(column, end, text)
    }

    /// Erases from a column on.
    pub(super) fn truncate(&mut self, column: usize) {
        if column >= self.columns() {
            return;
        }
        self.edited = true;
        match &mut self.cells {
            Some(cells) => cells.truncate(column),
            None => self.bytes.truncate(column),
        }
    }

    /// Erases up to a column, that one included.
    pub(super) fn blank(&mut self, column: usize) {
        let count = self.columns().min(column.saturating_add(1));
        self.edited |= count > 0;
        match &mut self.cells {
            Some(cells) => (0..count).for_each(|at| cells.blank(at)),
            None => self.bytes.iter_mut().take(count).for_each(|byte| *byte = b' '),
        }
    }

    /// Adds its text to some. What erasing has left at its end is not shown.
    pub(super) fn read(&self, text: &mut Vec<u8>) {
        match &self.cells {
            Some(cells) => cells.read(text),
            None => text.extend_from_slice(&self.bytes),
        }
        if self.edited {
            let blanks = text.iter().rev().take_while(|byte| **byte == b' ').count();
            text.truncate(text.len() - blanks);
        }
    }

    /// Its memory, for another one.
    pub(super) fn into_spare(self) -> Option<Vec<u8>> {
        (self.bytes.capacity() <= SPARE).then_some(self.bytes)
    }
}
