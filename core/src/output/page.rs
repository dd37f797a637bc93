//! Looking up pieces of a spilled stream.
//!
//! By offset or by lines, each page with the place where the next one starts. What a page takes does not depend on the
//! size of the file: it reads what it shows, and to find a line at most 256 KiB before it, with the index that was made
//! while the file was written. Without that index (a file of another process), the first look-up by lines, or the first
//! question for how many there are, reads the file once.
//!
//! Reading a file blocks; whoever has an asynchronous runtime calls it where that may be.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;

use super::StreamText;
use super::spill::{LineIndex, SpillDirectory, SpillReport};
use super::truncate::boundary;

#[cfg(test)]
mod tests;

/// How much is read at once while looking for something.
const BLOCK: usize = 64 * 1024;
/// The largest page.
const LARGEST: usize = 16 * 1024 * 1024;

/// A piece of a stream.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Page {
    /// The piece as text. Its counts are those of the piece; nothing of it is omitted.
    #[serde(flatten)]
    pub text: StreamText,
    /// The place of its first byte.
    pub start: u64,
    /// The place after its last byte.
    pub end: u64,
    /// Where the next page starts. `None` at the end of the file.
    pub next: Option<u64>,
    /// The number of its first line, counted from 1, where it was asked for lines.
    pub first_line: Option<u64>,
    /// How many bytes the file has.
    pub file_bytes: u64,
    /// How many lines the file has, where it was asked for lines.
    pub file_lines: Option<u64>,
}

/// Reads a spilled file.
#[derive(Debug)]
pub struct SpillReader {
    file: std::fs::File,
    index: Arc<LineIndex>,
}

impl SpillReader {
    /// Opens the file of a report. The index comes with it.
    ///
    /// # Errors
    ///
    /// Where it is gone, or can't be opened.
    pub fn open(directory: &SpillDirectory, report: &SpillReport) -> Result<Self, Errno> {
        let mut reader =
            Self::open_name(directory, report.path.as_deref().and_then(Path::file_name).unwrap_or_default())?;
        reader.index = Arc::clone(&report.lines);
        Ok(reader)
    }

    /// Opens a file by its name in the directory.
    ///
    /// # Errors
    ///
    /// `ENOENT` where there is no spill of this name; and where it can't be opened.
    pub fn open_name(directory: &SpillDirectory, name: &std::ffi::OsStr) -> Result<Self, Errno> {
        Ok(Self { file: directory.read(name)?, index: Arc::default() })
    }

    /// How many bytes the file has now.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn len(&self) -> Result<u64, Errno> {
        Ok(self.file.metadata().map_err(errno)?.len())
    }

    /// Whether the file has no byte now.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn is_empty(&self) -> Result<bool, Errno> {
        Ok(self.len()? == 0)
    }

    /// The page of at most `max_bytes` bytes that starts at an offset.
    ///
    /// It ends with a line where that costs less than half of it, else between characters; where a page has no room for
    /// one character, inside of it. Beyond the end of the file it is empty.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn bytes(&self, start: u64, max_bytes: usize) -> Result<Page, Errno> {
        let file_bytes = self.len()?;
        let start = start.min(file_bytes);
        let bytes = self.read(start, max_bytes.clamp(1, LARGEST), file_bytes)?;
        Ok(self.page(start, &bytes, file_bytes))
    }

    /// The page that starts with a line, counted from 1, and has at most so many of them and so many bytes.
    ///
    /// A line that is longer than `max_bytes` is cut; [`Page::next`] is inside of it then, and
    /// [`bytes`](Self::bytes) goes on from there. Beyond the last line it is empty.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn lines(&mut self, first: u64, count: u64, max_bytes: usize) -> Result<Page, Errno> {
        let file_bytes = self.complete_index()?;
        let first = first.max(1);
        let start = self.start_of_line(first, file_bytes)?;
        let mut bytes = self.read(start, max_bytes.clamp(1, LARGEST), file_bytes)?;
        let last = count.max(1) - 1;
        if let Some(end) = memchr::memchr_iter(b'\n', &bytes).nth(usize::try_from(last).unwrap_or(usize::MAX))
        {
            bytes.truncate(end + 1);
        }
        let lines = self.index.lines();
        let mut page = self.page(start, &bytes, file_bytes);
        page.first_line = (first <= lines).then_some(first);
        page.file_lines = Some(lines);
        Ok(page)
    }

    fn page(&self, start: u64, bytes: &[u8], file_bytes: u64) -> Page {
        let whole = start + bytes.len() as u64 >= file_bytes || bytes.last() == Some(&b'\n');
        let end = if whole { bytes.len() } else { boundary::end_of_first_part(bytes, &[]) };
        // Some progress there has to be.
        let bytes = bytes.get(..end).filter(|bytes| !bytes.is_empty()).unwrap_or(bytes);
        let end = start + bytes.len() as u64;
        Page {
            text: StreamText::whole(bytes),
            start,
            end,
            next: (end < file_bytes).then_some(end),
            first_line: None,
            file_bytes,
            file_lines: None,
        }
    }

    /// Reads so many bytes, or as many as there are.
    fn read(&self, start: u64, count: usize, file_bytes: u64) -> Result<Vec<u8>, Errno> {
        let there = usize::try_from(file_bytes.saturating_sub(start)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; count.min(there)];
        let mut filled = 0;
        while let Some(free) = bytes.get_mut(filled..).filter(|free| !free.is_empty()) {
            match self.file.read_at(free, start + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(errno(error)),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Brings the index up to the end of the file, and returns where that is.
    fn complete_index(&mut self) -> Result<u64, Errno> {
        let file_bytes = self.len()?;
        while self.index.bytes() < file_bytes {
            let block = self.read(self.index.bytes(), BLOCK, file_bytes)?;
            if block.is_empty() {
                break;
            }
            Arc::make_mut(&mut self.index).add(&block);
        }
        Ok(file_bytes)
    }

    /// The place of a line's first byte; the end of the file where it has no such line.
    fn start_of_line(&self, line: u64, file_bytes: u64) -> Result<u64, Errno> {
        let newlines = line - 1;
        if newlines == 0 {
            return Ok(0);
        }
        let (mut at, mut before) = self.index.before_newline(newlines);
        while at < file_bytes {
            let block = self.read(at, BLOCK, file_bytes)?;
            if block.is_empty() {
                break;
            }
            // Where in this block the newline is that ends the line before.
            let nth = usize::try_from(newlines - before - 1).unwrap_or(usize::MAX);
            let mut count = 0;
            if let Some(newline) = memchr::memchr_iter(b'\n', &block).inspect(|_| count += 1).nth(nth) {
                return Ok(at + newline as u64 + 1);
            }
            before += count;
            at += block.len() as u64;
        }
        Ok(file_bytes)
    }
}

fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
