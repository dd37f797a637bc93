//! The rows that can still be drawn over, and where in them the cursor is.

use std::collections::VecDeque;

use super::fold::{Fold, repeated};
use super::row::{Row, WIDEST};

/// How many rows can be drawn over: those of a tall terminal.
pub(super) const ROWS: usize = 64;
/// How much memory these may take together.
const SIZE: usize = 128 * 1024;
/// How many alike control characters are written out.
const WRITTEN_OUT: u64 = 16;

/// How much text may wait for more.
const BLOCK: usize = 64 * 1024;

type Sink<'a> = &'a mut dyn FnMut(&[u8]);

/// What to erase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Erase {
    /// From the cursor to the end of its row.
    ToEnd,
    /// From the start of the cursor's row to the cursor.
    FromStart,
    /// The cursor's row.
    Row,
    /// From the cursor on.
    Below,
}

/// A few rows of text. Those that scroll out of them can't change any more, and are folded and given on.
#[derive(Clone, Debug)]
pub(super) struct Screen {
    /// Never empty.
    rows: VecDeque<Row>,
    /// Whether the first one belongs to a line whose start was given on already.
    continues: bool,
    /// The row of the cursor.
    row: usize,
    /// Its column, or nothing where it is behind the last one.
    column: Option<usize>,
    size: usize,
    /// A control character, and how many of it.
    run: Option<(u8, u64)>,
    fold: Fold,
    redraws: u64,
    line: Vec<u8>,
    spare: Vec<Vec<u8>>,
    /// Text that waits for more, so that lines which were in pieces are written as a block.
    waiting: Vec<u8>,
}

impl Default for Screen {
    fn default() -> Self {
        Self {
            rows: VecDeque::from([Row::default()]),
            continues: false,
            row: 0,
            column: None,
            size: 0,
            run: None,
            fold: Fold::default(),
            redraws: 0,
            line: Vec::new(),
            spare: Vec::new(),
            waiting: Vec::new(),
        }
    }
}

impl Screen {
    pub(super) const fn redraws(&self) -> u64 {
        self.redraws
    }

    /// Takes text, which may have newlines.
    pub(super) fn text(&mut self, text: &[u8], sink: Sink<'_>) {
        if text.is_empty() {
            return;
        }
        self.tell_run();
        if text.len() < BLOCK / 16 {
            self.waiting.extend_from_slice(text);
            if self.waiting.len() >= BLOCK {
                self.catch_up(sink);
            }
        } else {
            self.catch_up(sink);
            self.put(text, sink);
        }
    }

    /// Writes all that was taken.
    fn catch_up(&mut self, sink: Sink<'_>) {
        self.tell_run();
        self.write_waiting(sink);
    }

    /// Writes all text that was taken. A run of control characters may still go on.
    pub(super) fn write_waiting(&mut self, sink: Sink<'_>) {
        let mut waiting = std::mem::take(&mut self.waiting);
        self.put(&waiting, sink);
        waiting.clear();
        self.waiting = waiting;
    }

    fn put(&mut self, text: &[u8], sink: Sink<'_>) {
        let mut rest = text;
        let mut may_pass = true;
        while let Some(newline) = memchr::memchr(b'\n', rest) {
            if may_pass && self.is_at_fresh_row() {
                may_pass = false;
                rest = self.pass_on(rest, sink);
                continue;
            }
            let (line, after) = rest.split_at(newline);
            self.write(line, sink);
            self.new_line(sink);
            rest = after.get(1..).unwrap_or_default();
        }
        self.write(rest, sink);
    }

    /// Gives on whole lines that would scroll out of the rows at once, without making rows of them. Returns the rest.
    fn pass_on<'a>(&mut self, text: &'a [u8], sink: Sink<'_>) -> &'a [u8] {
        // What has to stay: the last lines, and the one that is not ended.
        let Some(newline) = memchr::memrchr_iter(b'\n', text).nth(ROWS) else { return text };
        let (lines, rest) = text.split_at(newline + 1);
        self.give_on_all(sink);
        self.fold.lines(lines, sink);
        rest
    }

    /// What it takes, in bytes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let spare: usize = self.spare.iter().map(Vec::capacity).sum();
        let rows: usize = self.rows.iter().map(Row::memory).sum();
        rows + spare + self.waiting.capacity() + self.line.capacity()
    }

    /// Whether nothing was written yet in the last row, and what will be is a line by itself.
    fn is_at_fresh_row(&self) -> bool {
        self.column.is_none()
            && self.row + 1 == self.rows.len()
            && self.rows.back().is_some_and(Row::is_empty)
            && !(self.continues && self.rows.len() == 1)
    }

    /// Gives on all rows but the fresh one at the end.
    fn give_on_all(&mut self, sink: Sink<'_>) {
        while self.rows.len() > 1 {
            self.give_on_first(sink);
        }
    }

    fn give_on_first(&mut self, sink: Sink<'_>) {
        let Some(row) = self.rows.pop_front() else { return };
        self.row = self.row.saturating_sub(1);
        self.size = self.size.saturating_sub(row.size());
        self.line.clear();
        row.read(&mut self.line);
        self.line.push(b'\n');
        if std::mem::take(&mut self.continues) {
            self.fold.piece(&self.line, sink);
        } else {
            self.fold.lines(&self.line, sink);
        }
        if self.spare.len() < ROWS {
            self.spare.extend(row.into_spare());
        }
    }

    /// Does something with the cursor's row, and keeps account of what that takes.
    fn with_row<T>(&mut self, work: impl FnOnce(&mut Row) -> T) -> Option<T> {
        let row = self.rows.get_mut(self.row)?;
        let before = row.size();
        let result = work(row);
        self.size = (self.size + row.size()).saturating_sub(before);
        Some(result)
    }

    /// Writes text without newlines at the cursor.
    fn write(&mut self, text: &[u8], sink: Sink<'_>) {
        let mut rest = text;
        while !rest.is_empty() {
            let column = self.column;
            let written = self.with_row(|row| match column {
                None => (None, row.append(rest), row.is_full()),
                Some(column) => {
                    let (column, after) = row.overwrite(column, rest);
                    let column = (column < row.columns()).then_some(column);
                    (column, after, column.is_none() && row.is_full())
                }
            });
            let Some((column, after, is_full)) = written else { return };
            (self.column, rest) = (column, after);
            if is_full {
                self.give_on_piece(sink);
            }
        }
    }

    /// Gives on a row that is full, and goes on in an empty one that belongs to the same line.
    fn give_on_piece(&mut self, sink: Sink<'_>) {
        if self.row + 1 < self.rows.len() {
            // Rows below it would come before the rest of it. What has not been written yet comes after this.
            self.settle_rows(sink);
            return;
        }
        while self.rows.len() > 1 {
            self.give_on_first(sink);
        }
        if let Some(row) = self.rows.front_mut() {
            self.line.clear();
            row.read(&mut self.line);
            self.fold.piece(&self.line, sink);
            *row = Row::default();
        }
        self.continues = true;
        self.size = 0;
        self.column = None;
    }

    fn new_line(&mut self, sink: Sink<'_>) {
        self.row += 1;
        if self.row == self.rows.len() {
            self.rows.push_back(Row::reusing(self.spare.pop().unwrap_or_default()));
            self.column = None;
        } else {
            self.go_to(0);
        }
        while self.rows.len() > ROWS || self.size > SIZE && self.rows.len() > 1 {
            self.give_on_first(sink);
        }
    }

    /// Goes to a column of the row.
    fn go_to(&mut self, column: usize) {
        let column = column.min(WIDEST - 1);
        let columns = self.with_row(Row::columns).unwrap_or(0);
        self.column = (column != columns).then_some(column);
    }

    fn at(&mut self) -> usize {
        match self.column {
            Some(column) => column,
            None => self.with_row(Row::columns).unwrap_or(0),
        }
    }

    /// Goes to a column.
    pub(super) fn move_to_column(&mut self, column: usize, sink: Sink<'_>) {
        self.catch_up(sink);
        let at = self.at();
        self.redraws += u64::from(column < at);
        self.go_to(column);
    }

    /// Goes to the left.
    pub(super) fn left(&mut self, count: usize, sink: Sink<'_>) {
        self.catch_up(sink);
        let column = self.at().saturating_sub(count);
        self.move_to_column(column, sink);
    }

    /// Goes to the right.
    pub(super) fn right(&mut self, count: usize, sink: Sink<'_>) {
        self.catch_up(sink);
        let column = self.at().saturating_add(count);
        self.go_to(column);
    }

    /// Goes up, at most to the first row that is left.
    pub(super) fn up(&mut self, count: usize, sink: Sink<'_>) {
        self.catch_up(sink);
        let column = self.at();
        self.redraws += u64::from(self.row > 0);
        self.row = self.row.saturating_sub(count);
        self.go_to(column);
    }

    /// Goes down, at most to the last row.
    pub(super) fn down(&mut self, count: usize, sink: Sink<'_>) {
        self.catch_up(sink);
        let column = self.at();
        self.row = self.row.saturating_add(count).min(self.rows.len() - 1);
        self.go_to(column);
    }

    /// Erases something.
    pub(super) fn erase(&mut self, what: Erase, sink: Sink<'_>) {
        self.catch_up(sink);
        let column = self.at();
        self.with_row(|row| match what {
            Erase::ToEnd | Erase::Below => row.truncate(column),
            Erase::FromStart => row.blank(column),
            Erase::Row => row.truncate(0),
        });
        if what == Erase::Below {
            while self.rows.len() > self.row + 1 {
                let size = self.rows.pop_back().map_or(0, |row| row.size());
                self.size = self.size.saturating_sub(size);
            }
        }
        self.go_to(column);
    }

    /// Ends what was being drawn: it stays, and what follows starts in a new row below it.
    pub(super) fn settle(&mut self, sink: Sink<'_>) {
        self.catch_up(sink);
        self.settle_rows(sink);
    }

    fn settle_rows(&mut self, sink: Sink<'_>) {
        self.row = self.rows.len() - 1;
        self.column = None;
        if !self.is_at_fresh_row() {
            self.new_line(sink);
        }
        self.give_on_all(sink);
        // What was erased in it belongs to the drawing.
        if let Some(row) = self.rows.front_mut() {
            *row = Row::default();
        }
        self.size = 0;
    }

    /// A control character that has no meaning in text.
    pub(super) fn control(&mut self, byte: u8, count: u64) {
        match &mut self.run {
            Some((last, sum)) if *last == byte => *sum += count,
            _ => {
                self.tell_run();
                self.run = Some((byte, count));
            }
        }
    }

    fn tell_run(&mut self) {
        let Some((byte, count)) = self.run.take() else { return };
        let visible = [b'^', byte ^ 0x40];
        self.waiting.extend_from_slice(&visible);
        if count > WRITTEN_OUT {
            self.waiting.extend_from_slice(repeated(count - 1).as_bytes());
        } else {
            (1..count).for_each(|_| self.waiting.extend_from_slice(&visible));
        }
    }

    /// Gives on what is left, and says how many lines were folded.
    pub(super) fn finish(mut self, sink: Sink<'_>) -> u64 {
        self.catch_up(sink);
        self.give_on_all(sink);
        if let Some(row) = self.rows.pop_front() {
            self.line.clear();
            row.read(&mut self.line);
            self.fold.piece(&self.line, sink);
        }
        self.fold.finish(sink)
    }
}
