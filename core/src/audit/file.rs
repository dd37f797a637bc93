//! The file that grows: locked for the time of a line, put aside when it is full.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::geteuid;

use super::chain::Digest;
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

    /// Appends the line that `line` makes of the digest before it, unless others hold the file until the deadline.
    pub(super) fn append(
        &mut self,
        path: &Path,
        most_bytes: u64,
        deadline: Instant,
        line: impl Fn(Digest) -> Result<Vec<u8>, AuditError>,
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
        line: &impl Fn(Digest) -> Result<Vec<u8>, AuditError>,
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
        let (previous, torn) = match self.end {
            Some((end, digest)) if end == size => (digest, false),
            _ => self.previous(path, size)?,
        };
        let line = line(previous)?;
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

    /// The digest of the last line, and whether that line lacks its newline.
    fn previous(&self, path: &Path, size: u64) -> Result<(Digest, bool), AuditError> {
        if size > 0 {
            return last_line(&self.file, path, size);
        }
        // A new file goes on where the one before it ended.
        let before = put_aside(path, 1);
        match open(&before, OpenOptions::new().read(true)) {
            Ok(file) => {
                let size = check(&file, &before)?;
                let (digest, _) =
                    if size == 0 { (Digest::NONE, false) } else { last_line(&file, &before, size)? };
                Ok((digest, false))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((Digest::NONE, false)),
            Err(error) => Err(failed(&before, "open", &error)),
        }
    }
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

/// Reads the last line from the end on.
fn last_line(file: &File, path: &Path, size: u64) -> Result<(Digest, bool), AuditError> {
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
            Some(newline) => return Ok((Digest::of(&line[newline + 1..]), torn)),
            None if start == 0 => return Ok((Digest::of(line), torn)),
            None if tail.len() > 2 * LONGEST_LINE => return Err(AuditError::Foreign(path.to_owned())),
            None => {}
        }
    }
}

/// Puts the file aside, and the ones before it one place further. The oldest goes.
fn rotate(path: &Path) -> Result<(), AuditError> {
    for age in (1..KEPT_FILES).rev() {
        let (from, to) = (put_aside(path, age), put_aside(path, age + 1));
        match fs::rename(&from, &to) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&from, "rename", &error)),
        }
    }
    fs::rename(path, put_aside(path, 1)).map_err(|error| failed(path, "rename", &error))
}

fn failed(path: &Path, call: &'static str, error: &io::Error) -> AuditError {
    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
    AuditError::Kernel { path: path.to_owned(), call, errno }
}
