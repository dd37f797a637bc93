//! The file that grows: locked for the time of a line, put aside when it is full.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::geteuid;

use super::chain::{Before, Digest, head};
use super::{AuditError, KEPT_FILES, LONGEST_LINE, put_aside};

/// The bits of a mode by which others than the owner may write.
const OTHERS_WRITE: u32 = 0o022;
/// How often a file that somebody else has put aside is opened anew.
const PATIENCE: u32 = 100;
/// Between two attempts to lock it.
const SHORTEST_PAUSE: Duration = Duration::from_micros(50);
/// The same, when it has taken long.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);
/// How much of the end is read at a time.
const BLOCK: u64 = 4096;

/// The open file, and its end as we left it.
#[derive(Debug)]
pub(super) struct Open {
    file: File,
    end: Option<(u64, Digest)>,
}

impl Open {
    pub(super) fn new(path: &Path) -> Result<Self, AuditError> {
        let file = open(path, OpenOptions::new().read(true).append(true).create(true).mode(0o600));
        let file = file.map_err(|error| failed(path, "open", &error))?;
        check(&file, path)?;
        Ok(Self { file, end: None })
    }

    /// Appends the line that `line` makes of what comes before it, unless others hold the file until the deadline.
    pub(super) fn append(
        &mut self,
        path: &Path,
        most_bytes: u64,
        deadline: Instant,
        line: impl Fn(Before) -> Result<Vec<u8>, AuditError>,
    ) -> Result<(), AuditError> {
        for _ in 0..PATIENCE {
            lock(&self.file, path, deadline)?;
            let done = self.append_locked(path, most_bytes, &line);
            // Closing it lets go of it as well: an error here would hold nobody up.
            let unlocked = self.file.unlock().map_err(|error| failed(path, "flock", &error));
            match done? {
                Done::Appended => return unlocked,
                Done::Elsewhere => *self = Self::new(path)?,
            }
        }
        Err(AuditError::Replaced(path.to_owned()))
    }

    fn append_locked(
        &mut self,
        path: &Path,
        most_bytes: u64,
        line: &impl Fn(Before) -> Result<Vec<u8>, AuditError>,
    ) -> Result<Done, AuditError> {
        let failed = |call| move |error: io::Error| failed(path, call, &error);
        let ours = self.file.metadata().map_err(failed("fstat"))?;
        match fs::metadata(path) {
            Ok(named) if (named.dev(), named.ino()) == (ours.dev(), ours.ino()) => {}
            Ok(_) => return Ok(Done::Elsewhere),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Done::Elsewhere),
            Err(error) => return Err(failed("stat")(error)),
        }
        let size = ours.size();
        let (before, torn) = match self.end {
            Some((end, digest)) if end == size => (Before { digest, file: None }, false),
            _ => self.before(path, size)?,
        };
        let line = line(before)?;
        let length = line.len() as u64 + u64::from(torn);
        if size > 0 && size.saturating_add(length) > most_bytes {
            // Whoever waits for this file finds it elsewhere when it has it.
            rotate(path)?;
            return Ok(Done::Elsewhere);
        }
        // The line that somebody could not end is ended, and chained like any other.
        let mut bytes = if torn { vec![b'\n'] } else { Vec::new() };
        bytes.extend_from_slice(&line);
        if let Err(error) = self.file.write_all(&bytes) {
            self.end = None;
            // What half a line would be worth is nothing. Where it can't be taken back, the next one ends it.
            return Err(match self.file.set_len(size) {
                Ok(()) | Err(_) => failed("write")(error),
            });
        }
        self.end = Some((size + bytes.len() as u64, Digest::of(line.strip_suffix(b"\n").unwrap_or(&line))));
        Ok(Done::Appended)
    }

    /// What the next line follows, and whether that lacks its newline.
    fn before(&self, path: &Path, size: u64) -> Result<(Before, bool), AuditError> {
        if size > 0 {
            let last = last_line(&self.file, path, size)?;
            // Half a line is not the first of a file.
            let file = if last.torn && last.alone { Some(put_aside_before(path)?.0) } else { None };
            return Ok((Before { digest: last.digest, file }, last.torn));
        }
        // A new file goes on where the one before it ended.
        let (number, digest) = put_aside_before(path)?;
        Ok((Before { digest, file: Some(number) }, false))
    }
}

/// Which file of the log this one is, by the one that was put aside last, and the digest of that one's last line.
fn put_aside_before(path: &Path) -> Result<(u64, Digest), AuditError> {
    let before = put_aside(path, 1);
    let file = match open(&before, OpenOptions::new().read(true)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((1, Digest::NONE)),
        Err(error) => return Err(failed(&before, "open", &error)),
    };
    let size = check(&file, &before)?;
    if size == 0 {
        return Ok((1, Digest::NONE));
    }
    let mut lines = BufReader::new(&file).take(4 * LONGEST_LINE as u64);
    let mut number = None;
    // The first whole line, unless that is far away.
    while number.is_none() {
        let mut line = Vec::new();
        lines.read_until(b'\n', &mut line).map_err(|error| failed(&before, "read", &error))?;
        if line.is_empty() {
            break;
        }
        number = head(&line).map(|head| head.before.file.unwrap_or(0));
    }
    Ok((number.unwrap_or(0).saturating_add(1), last_line(&file, &before, size)?.digest))
}

/// Opens a file of a log, and nothing that a link at its place leads to.
pub(super) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // A pipe without a reader, or a writer, would wait for one.
    options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW).open(path)
}

/// How long a file is that nobody but us can have written.
fn check(file: &File, path: &Path) -> Result<u64, AuditError> {
    let metadata = file.metadata().map_err(|error| failed(path, "fstat", &error))?;
    if !metadata.is_file() {
        return Err(AuditError::NotAFile(path.to_owned()));
    }
    if metadata.mode() & OTHERS_WRITE != 0 {
        return Err(AuditError::Shared { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
    }
    if metadata.nlink() > 1 {
        return Err(AuditError::Linked(path.to_owned()));
    }
    if metadata.uid() != geteuid().as_raw() && metadata.uid() != 0 {
        return Err(AuditError::Owned { path: path.to_owned(), uid: metadata.uid() });
    }
    Ok(metadata.size())
}

/// Locks the file. A command can lock whatever it can read, so that the wait has an end.
fn lock(file: &File, path: &Path, deadline: Instant) -> Result<(), AuditError> {
    let mut pause = SHORTEST_PAUSE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {}
            Err(TryLockError::WouldBlock) => return Err(AuditError::Locked(path.to_owned())),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(error)) => return Err(failed(path, "flock", &error)),
        }
        std::thread::sleep(pause);
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

enum Done {
    Appended,
    /// Another file has this name by now.
    Elsewhere,
}

/// The last line of a file.
struct Last {
    digest: Digest,
    /// It lacks its newline.
    torn: bool,
    /// There is no other.
    alone: bool,
}

/// Reads the last line from the end on.
fn last_line(file: &File, path: &Path, size: u64) -> Result<Last, AuditError> {
    let mut tail = Vec::new();
    let mut start = size;
    loop {
        let length = BLOCK.min(start);
        start -= length;
        let mut block = vec![0; usize::try_from(length).unwrap_or(0)];
        file.read_exact_at(&mut block, start).map_err(|error| failed(path, "read", &error))?;
        block.append(&mut tail);
        tail = block;
        let torn = tail.last() != Some(&b'\n');
        let line = tail.strip_suffix(b"\n").unwrap_or(&tail);
        match line.iter().rposition(|byte| *byte == b'\n') {
            Some(newline) => {
                return Ok(Last { digest: Digest::of(&line[newline + 1..]), torn, alone: false });
            }
            None if start == 0 => return Ok(Last { digest: Digest::of(line), torn, alone: true }),
            None if tail.len() > 2 * LONGEST_LINE => return Err(AuditError::Foreign(path.to_owned())),
            None => {}
        }
    }
}

/// Puts the file aside, and the ones before it one place further. The oldest goes, unless a place is free: whoever was ended
/// amidst this has left one.
fn rotate(path: &Path) -> Result<(), AuditError> {
    let is_free = |age: &u32| match fs::symlink_metadata(put_aside(path, *age)) {
        Err(error) => error.kind() == io::ErrorKind::NotFound,
        Ok(_) => false,
    };
    let last = (1..KEPT_FILES).find(is_free).unwrap_or(KEPT_FILES);
    for age in (0..last).rev() {
        let from = if age == 0 { path.to_owned() } else { put_aside(path, age) };
        fs::rename(&from, put_aside(path, age + 1)).map_err(|error| failed(&from, "rename", &error))?;
    }
    Ok(())
}

fn failed(path: &Path, call: &'static str, error: &io::Error) -> AuditError {
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
    AuditError::Kernel { path: path.to_owned(), call, errno }
}
