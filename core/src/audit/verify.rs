//! Whether a log is what was written.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use codex_linux_sandbox::shown;
use nix::errno::Errno;
use serde::Serialize;

use super::chain::{Before, Digest, Head, head};
use super::file::open;
use super::{KEPT_FILES, LONGEST_LINE, followed, put_aside};

/// A log whose lines follow from one another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditVerified {
    /// The files, the oldest first.
    pub files: Vec<PathBuf>,
    /// How many lines they have.
    pub lines: u64,
    /// How many of them are half a record: whoever wrote them was ended, or the disk was full. They are chained all the same.
    pub torn: u64,
    /// Whether the first line is the first that was ever written. Otherwise, older files were removed when younger ones were full.
    pub from_the_beginning: bool,
    /// When the first and the last record were written, in milliseconds since 1970.
    pub first_ms: Option<u64>,
    /// See [`Self::first_ms`].
    pub last_ms: Option<u64>,
    /// The digest of the last line.
    #[serde(serialize_with = "as_text")]
    pub head: Digest,
    /// Whether the digest that was asked for is that of one of the lines. `None` where none was.
    pub contains: Option<bool>,
}

/// Where a log is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}{place}: {kind}", file = shown(.file), place = .line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct AuditFault {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: Option<u64>,
    /// What is wrong with it.
    pub kind: FaultKind,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// The file can't be read.
    #[error("{why} ({errno:?})", why = .0.desc(), errno = .0)]
    Kernel(Errno),
    /// The file is a device, a pipe or a directory.
    #[error("no regular file")]
    NotAFile,
    /// The line does not follow from the one before it.
    #[error("does not follow from the line before: that one, or this one, was changed, removed or put in")]
    Broken,
    /// Lines before this one were removed, and no file with them.
    #[error("is not the first line of its file: what came before it was removed")]
    CutOff,
    /// Files before this one were removed, which would have been kept.
    #[error(
        "is the oldest file that is there, and not the first of the log: files before it were removed that would be kept"
    )]
    OlderMissing,
    /// The line is nothing of ours.
    #[error("longer than any record")]
    TooLong,
}

/// Reads a log and what was put aside of it, from the oldest line to the youngest. `contains` is a digest that one of the lines
/// must have had: that of the last line at some time before.
///
/// Reads with a bounded memory. Who writes meanwhile can make it fail where a file is put aside just then.
///
/// # Errors
///
/// [`AuditFault`]: the first place where the chain does not hold.
pub fn verify(path: &Path, contains: Option<Digest>) -> Result<AuditVerified, AuditFault> {
    let mut seen = AuditVerified {
        files: Vec::new(),
        lines: 0,
        torn: 0,
        from_the_beginning: true,
        first_ms: None,
        last_ms: None,
        head: Digest::NONE,
        contains: contains.map(|_| false),
    };
    let path = followed(path);
    for age in (0..=KEPT_FILES).rev() {
        let file = if age == 0 { path.clone() } else { put_aside(&path, age) };
        match regular(&file) {
            Ok(open) => read(&file, BufReader::new(open), &mut seen, contains)?,
            // One whose end is gone shows: the next does not follow from it.
            Err(FaultKind::Kernel(Errno::ENOENT)) if age != 0 => continue,
            Err(kind) => return Err(AuditFault { file, line: None, kind }),
        }
        seen.files.push(file);
    }
    // One less where somebody is putting them aside just now, or was ended amidst that.
    let all_kept =
        seen.files.first() == Some(&put_aside(&path, KEPT_FILES)) && seen.files.len() >= KEPT_FILES as usize;
    match seen.files.first() {
        Some(oldest) if !seen.from_the_beginning && !all_kept => {
            Err(AuditFault { file: oldest.clone(), line: None, kind: FaultKind::OlderMissing })
        }
        _ => Ok(seen),
    }
}

fn regular(file: &Path) -> Result<File, FaultKind> {
    let open = open(file, OpenOptions::new().read(true)).map_err(|error| kernel(&error))?;
    let metadata = open.metadata().map_err(|error| kernel(&error))?;
    if metadata.is_file() { Ok(open) } else { Err(FaultKind::NotAFile) }
}

fn kernel(error: &io::Error) -> FaultKind {
    FaultKind::Kernel(Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}

fn read(
    file: &Path,
    mut lines: impl BufRead,
    seen: &mut AuditVerified,
    contains: Option<Digest>,
) -> Result<(), AuditFault> {
    let mut number = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        number += 1;
        let fault = |kind| AuditFault { file: file.to_owned(), line: Some(number), kind };
        let read = lines.by_ref().take(2 * LONGEST_LINE as u64).read_until(b'\n', &mut line);
        match read {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(fault(kernel(&error))),
        }
        if line.len() >= 2 * LONGEST_LINE {
            return Err(fault(FaultKind::TooLong));
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        match head(text) {
            Some(Head { time_ms, before: Before { digest, file } }) => {
                if seen.lines > 0 && digest != seen.head {
                    return Err(fault(FaultKind::Broken));
                }
                // The first whole one. What it follows is nothing, or half of a line.
                if seen.lines == seen.torn {
                    seen.from_the_beginning = match file {
                        Some(2..) => false,
                        Some(1) if seen.lines > 0 || digest == Digest::NONE => true,
                        _ => return Err(fault(FaultKind::CutOff)),
                    };
                }
                seen.first_ms.get_or_insert(time_ms);
                seen.last_ms = Some(time_ms);
            }
            // It holds no digest; the next one holds its.
            None => seen.torn += 1,
        }
        seen.lines += 1;
        seen.head = Digest::of(text);
        if contains == Some(seen.head) {
            seen.contains = Some(true);
        }
    }
}

fn as_text<S: serde::Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}
